//! From the core's answers to the runtime's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use code_assist_core::{BodyError, Error};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body::Body;

use crate::edge::Edge;
use crate::runtime;
use crate::task::Task;

/// Answers, unless the client leaves before the answer begins: then the work is dropped, and with
/// it what is in flight upstream.
pub(crate) async fn unless_gone<B>(
    edge: &Edge,
    answer: Pin<Box<impl Future<Output = http::Response<B>>>>,
) where
    B: Body<Data = Bytes, Error = BodyError>,
{
    match while_here(edge.task(), answer).await {
        Some(response) => whole_or_stream(edge.task(), response).await,
        None => edge.task().event().answer(CLIENT_GONE, "", None),
    }
}

/// The answer of a Worker that has no proxy, or to a request that none can read.
pub(crate) fn refused(edge: &Edge, refusal: &Error) {
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    let (status, headers) = (refusal.status().as_u16(), lines(&headers));
    edge.task().event().answer(status, &headers, Some(&refusal.body()));
}

/// What a future gives, `None` when the client leaves before.
async fn while_here<F: Future>(task: &Task, mut future: Pin<Box<F>>) -> Option<F::Output> {
    poll_fn(|cx| {
        if task.has_left() {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if task.has_left() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A body of known length is handed over as a whole, with its Content-Length; a stream is piped.
async fn whole_or_stream<B>(task: &Task, response: http::Response<B>)
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let (head, body) = response.into_parts();
    let (status, headers) = (head.status.as_u16(), lines(&head.headers));
    if BODILESS.contains(&head.status) {
        task.event().answer(status, &headers, None);
    } else if body.size_hint().exact().is_some() {
        let mut body = pin!(body);
        let all = match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => frame.into_data().ok(),
            Some(Err(_)) | None => None,
        };
        task.event().answer(status, &headers, all.as_deref());
    } else {
        task.event().stream(status, &headers);
        if while_here(task, Box::pin(write(task, body))).await.is_none() {
            task.event().leave();
        }
    }
}

/// Writes a stream as it comes, as fast as the client takes it.
async fn write<B: Body<Data = Bytes, Error = BodyError>>(task: &Task, body: B) {
    let (mut body, mut end) = (pin!(body), None);
    loop {
        match poll_fn(|cx| poll_ready(body.as_mut(), &mut end, cx)).await {
            Some(Ok(piece)) => task.write(&piece).await,
            Some(Err(broken)) => return task.event().finish(Some(&broken.to_string())),
            None => return task.event().finish(None),
        }
    }
}

/// All that is ready, as one piece: each piece that goes over costs several calls. An end that comes
/// with it is kept for the next time.
fn poll_ready<B: Body<Data = Bytes, Error = BodyError>>(
    mut body: Pin<&mut B>,
    end: &mut Option<Result<(), BodyError>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BodyError>>> {
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

fn lines(headers: &HeaderMap) -> String {
    let mut text = String::new();
    runtime::add_headers(&mut text, headers);
    text
}

/// Enough for one piece.
const LARGE: usize = 1 << 16;

/// These have no body, whatever upstream may send (Fetch Standard, "null body status").
const BODILESS: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

/// nginx's number for it; nobody sees it.
const CLIENT_GONE: u16 = 499;
