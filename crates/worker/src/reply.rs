//! From the core's answers to the runtime's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use code_assist_core::platform::Broken;
use code_assist_core::refusal::Refusal;
use futures_util::future::{Either, select};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Body;
use wasm_bindgen::JsValue;
use web_sys::{AbortSignal, Response};
use worker::js_sys::Uint8Array;
use worker::js_sys::futures::JsFuture;

use crate::edge::Edge;
use crate::runtime::{self, Pipe};

/// The answer, unless the client leaves before it begins: then the work is dropped, and with it
/// what is in flight upstream.
///
/// Without the compatibility flag `enable_request_signal` nobody is ever seen to leave.
pub(crate) async fn unless_gone<B>(
    edge: &Edge,
    signal: &AbortSignal,
    answer: impl Future<Output = http::Response<B>>,
) -> Response
where
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    match select(pin!(answer), JsFuture::from(runtime::left(signal))).await {
        Either::Left((response, gone)) => whole_or_stream(edge, gone, response).await,
        Either::Right((_, _)) => runtime::answer(CLIENT_GONE, "", &JsValue::UNDEFINED),
    }
}

/// The answer of a Worker that has no proxy, or to a request that none can read.
pub(crate) fn refused(refusal: &Refusal) -> Response {
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    let body = Uint8Array::from(&*refusal.body());
    runtime::answer(refusal.status().as_u16(), &runtime::headers_to(&headers), &body)
}

/// A body of known length is handed over as a whole, with its Content-Length; a stream is piped.
async fn whole_or_stream<B>(edge: &Edge, gone: JsFuture, response: http::Response<B>) -> Response
where
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    let (head, body) = response.into_parts();
    let mut body = Box::pin(body);
    let body = if BODILESS.contains(&head.status) {
        JsValue::UNDEFINED
    } else if body.size_hint().exact().is_some() {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => {
                frame.into_data().map_or(JsValue::UNDEFINED, |all| Uint8Array::from(&*all).into())
            }
            Some(Err(_)) | None => JsValue::UNDEFINED,
        }
    } else {
        let pipe = runtime::pipe();
        let readable = pipe.readable();
        // Waited for, however it ends. When the client leaves, the runtime would else throw away all
        // that belongs to the request without telling anybody: no log line, and a place that never
        // comes free.
        edge.wait_until(async move {
            let lost = JsFuture::from(pipe.lost());
            select(pin!(write(body, &pipe)), select(gone, lost)).await;
        });
        readable
    };
    runtime::answer(head.status.as_u16(), &runtime::headers_to(&head.headers), &body)
}

/// Writes a stream as it comes, as fast as the client takes it.
async fn write<B: Body<Data = Bytes, Error = Broken>>(mut body: Pin<Box<B>>, pipe: &Pipe) {
    let mut end = None;
    loop {
        match poll_fn(|cx| poll_ready(body.as_mut(), &mut end, cx)).await {
            Some(Ok(piece)) => {
                if JsFuture::from(pipe.write(&Uint8Array::from(&*piece))).await.is_err() {
                    return;
                }
            }
            // Neither is ever rejected.
            Some(Err(broken)) => {
                let _ = JsFuture::from(pipe.abort(&broken.to_string())).await;
                return;
            }
            None => {
                let _ = JsFuture::from(pipe.close()).await;
                return;
            }
        }
    }
}

/// All that is ready, as one piece: each piece that goes over costs several calls. An end that comes
/// with it is kept for the next time.
fn poll_ready<B: Body<Data = Bytes, Error = Broken>>(
    mut body: Pin<&mut B>,
    end: &mut Option<Result<(), Broken>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Broken>>> {
    let mut ready = Bytes::new();
    while end.is_none() && ready.len() < LARGE {
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                ready = joined(ready, frame.into_data().unwrap_or_default());
            }
            Poll::Ready(Some(Err(broken))) => *end = Some(Err(broken)),
            Poll::Ready(None) => *end = Some(Ok(())),
            Poll::Pending if ready.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    if !ready.is_empty() {
        return Poll::Ready(Some(Ok(ready)));
    }
    Poll::Ready(end.take().and_then(Result::err).map(Err))
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut both = BytesMut::from(first);
    both.extend_from_slice(&second);
    both.freeze()
}

/// Enough for one piece.
const LARGE: usize = 1 << 16;

/// These have no body, whatever upstream may send (Fetch Standard, "null body status").
const BODILESS: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

/// nginx's number for it; nobody sees it.
const CLIENT_GONE: u16 = 499;
