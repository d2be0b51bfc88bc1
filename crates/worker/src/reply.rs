//! From the core's answers to the runtime's.

use std::future::{Future, poll_fn};
use std::pin::pin;

use bytes::Bytes;
use code_assist_core::refusal::Refusal;
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Body;
use worker::js_sys::Promise;
use worker::js_sys::futures::JsFuture;
use worker::{AbortSignal, Headers, Response, ResponseBuilder};

/// The answer, unless the client leaves before it begins: then the work is dropped, and with it
/// what is in flight upstream.
///
/// Without the compatibility flag `enable_request_signal` nobody is ever seen to leave.
pub(crate) async fn unless_gone<B>(
    signal: Option<AbortSignal>,
    answer: impl Future<Output = http::Response<B>>,
) -> worker::Result<Response>
where
    B: Body<Data = Bytes> + 'static,
{
    match select(pin!(answer), pin!(gone(signal))).await {
        Either::Left((response, _)) => whole_or_stream(response).await,
        Either::Right(((), _)) => Ok(ResponseBuilder::new().with_status(CLIENT_GONE).empty()),
    }
}

/// The answer of a Worker that has no proxy.
pub(crate) fn refused(refusal: &Refusal) -> Response {
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    ResponseBuilder::new()
        .with_status(refusal.status().as_u16())
        .with_headers(Headers::from(headers))
        .fixed(refusal.body().to_vec())
}

/// Ends when the client has left.
async fn gone(signal: Option<AbortSignal>) {
    let Some(signal) = signal else { return std::future::pending().await };
    let left = Promise::new(&mut |left, _| {
        // Should it fail, nobody is seen to leave.
        let _ = signal.add_event_listener_with_callback("abort", &left);
    });
    // It is never rejected.
    let _ = JsFuture::from(left).await;
}

/// A body of known length is handed over as a whole, with its Content-Length: a stream would cost
/// several calls between the two languages.
async fn whole_or_stream<B>(response: http::Response<B>) -> worker::Result<Response>
where
    B: Body<Data = Bytes> + 'static,
{
    let Some(length) = response.body().size_hint().exact() else {
        return response.try_into();
    };
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(piece) = frame.into_data() {
            bytes.extend_from_slice(&piece);
        }
    }
    let builder =
        ResponseBuilder::new().with_status(head.status.as_u16()).with_headers(head.headers.into());
    Ok(if bytes.is_empty() { builder.empty() } else { builder.fixed(bytes) })
}

/// nginx's number for it; nobody sees it.
const CLIENT_GONE: u16 = 499;
