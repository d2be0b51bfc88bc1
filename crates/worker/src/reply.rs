//! From the core's answers to the runtime's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use code_assist_core::platform::Broken;
use code_assist_core::refusal::Refusal;
use futures_util::future::{Either, select};
use futures_util::stream::Stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Body;
use wasm_bindgen::JsValue;
use wasm_streams::ReadableStream;
use web_sys::{AbortSignal, Response};
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{Error, Function, Promise, Uint8Array};

use crate::edge::Edge;
use crate::runtime;

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

/// A body of known length is handed over as a whole, with its Content-Length: a stream would cost
/// several calls between the two languages.
async fn whole_or_stream<B>(edge: &Edge, gone: JsFuture, response: http::Response<B>) -> Response
where
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    let (head, body) = response.into_parts();
    let is_whole = body.size_hint().exact().is_some();
    let body = if is_whole {
        let mut body = pin!(body);
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => {
                frame.into_data().map_or(JsValue::UNDEFINED, |all| Uint8Array::from(&*all).into())
            }
            Some(Err(_)) | None => JsValue::UNDEFINED,
        }
    } else {
        ReadableStream::from_stream(Attended::new(edge, gone, body)).into_raw().into()
    };
    runtime::answer(head.status.as_u16(), &runtime::headers_to(&head.headers), &body)
}

/// A stream whose end is waited for, however it ends. When the client leaves, the runtime would else
/// throw away all that belongs to the request without telling anybody: no log line, and a place
/// that never comes free.
struct Attended<B> {
    /// `None` when the client has left.
    body: Option<Pin<Box<B>>>,
    gone: JsFuture,
    ended: Option<Function>,
}

impl<B> Attended<B> {
    fn new(edge: &Edge, gone: JsFuture, body: B) -> Self {
        let ended = OnceLock::new();
        let end = Promise::new(&mut |end, _| {
            let _ = ended.set(end);
        });
        edge.wait_until(async {
            // It is never rejected.
            let _ = JsFuture::from(end).await;
        });
        Self { body: Some(Box::pin(body)), gone, ended: ended.into_inner() }
    }
}

impl<B> Drop for Attended<B> {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            let _ = ended.call0(&JsValue::UNDEFINED);
        }
    }
}

impl<B: Body<Data = Bytes, Error = Broken>> Stream for Attended<B> {
    type Item = Result<JsValue, JsValue>;

    /// All that is ready goes over in one piece.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if Pin::new(&mut self.gone).poll(cx).is_ready() {
            self.body = None;
        }
        let mut ready = Bytes::new();
        while let Some(body) = &mut self.body {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    ready = joined(ready, frame.into_data().unwrap_or_default());
                    if ready.len() >= LARGE {
                        break;
                    }
                }
                Poll::Ready(Some(Err(broken))) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(Error::new(&broken.to_string()).into())));
                }
                Poll::Ready(None) => self.body = None,
                Poll::Pending if ready.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((!ready.is_empty()).then(|| Ok(Uint8Array::from(&*ready).into())))
    }
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

/// nginx's number for it; nobody sees it.
const CLIENT_GONE: u16 = 499;
