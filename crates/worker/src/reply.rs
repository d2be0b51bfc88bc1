//! From the core's answers to the runtime's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::refusal::Refusal;
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::{Body, Frame};
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{Function, Promise};
use worker::wasm_bindgen::JsValue;
use worker::{AbortSignal, Headers, Response, ResponseBuilder};

use crate::edge::Edge;

/// The answer, unless the client leaves before it begins: then the work is dropped, and with it
/// what is in flight upstream.
///
/// Without the compatibility flag `enable_request_signal` nobody is ever seen to leave.
pub(crate) async fn unless_gone<B>(
    edge: &Edge,
    signal: Option<AbortSignal>,
    answer: impl Future<Output = http::Response<B>>,
) -> worker::Result<Response>
where
    B: Body<Data = Bytes> + 'static,
{
    match select(pin!(answer), pin!(gone(signal))).await {
        Either::Left((response, _)) => whole_or_stream(edge, response).await,
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
async fn whole_or_stream<B>(edge: &Edge, response: http::Response<B>) -> worker::Result<Response>
where
    B: Body<Data = Bytes> + 'static,
{
    let Some(length) = response.body().size_hint().exact() else {
        return response.map(|body| Attended::new(edge, body)).try_into();
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

/// A stream whose end is waited for, however it ends. When the client leaves, the runtime would else
/// throw everything away that belongs to the request without telling anybody: no log line, and a
/// place that never comes free.
#[derive(Debug)]
struct Attended<B> {
    body: Pin<Box<B>>,
    ended: Function,
}

impl<B> Attended<B> {
    fn new(edge: &Edge, body: B) -> Self {
        let mut ended = Function::default();
        let end = Promise::new(&mut |end, _| ended = end);
        edge.wait_until(async {
            // It is never rejected.
            let _ = JsFuture::from(end).await;
        });
        Self { body: Box::pin(body), ended }
    }
}

impl<B> Drop for Attended<B> {
    fn drop(&mut self) {
        let _ = self.ended.call0(&JsValue::UNDEFINED);
    }
}

impl<B: Body<Data = Bytes>> Body for Attended<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// nginx's number for it; nobody sees it.
const CLIENT_GONE: u16 = 499;
