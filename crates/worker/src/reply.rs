//! Converts the core's answers into the runtime's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use code_assist_core::{BodyError, EarlyHead, Error, Platform as _, gemini_error_body};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body::Body;

use crate::edge::Edge;
use crate::executor::Task;
use crate::runtime;

/// Answers the client. If the client leaves before the answer begins, the work is dropped, and with it
/// the upstream call.
///
/// `early` says after which time the head of a stream goes first (`EARLY_HEARTBEAT_MS`).
pub(crate) async fn unless_gone<B>(
    edge: &Edge,
    mut answer: Pin<Box<impl Future<Output = http::Response<B>>>>,
    early: Option<(EarlyHead, Duration)>,
) where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let task = edge.task();
    if let Some((early, after)) = early {
        loop {
            match while_here(task, Box::pin(within(edge, after, answer.as_mut()))).await {
                None => return task.event().answer(CLIENT_GONE, "", None),
                Some(Some(response)) => return whole_or_stream(task, response).await,
                Some(None) => {}
            }
            if let Some(headers) = early.begin() {
                return stream_early(edge, answer, &early, &headers).await;
            }
        }
    }
    match while_here(task, answer).await {
        Some(response) => whole_or_stream(task, response).await,
        None => task.event().answer(CLIENT_GONE, "", None),
    }
}

/// Sends the head of a stream, and heartbeats until the answer is there.
async fn stream_early<B>(
    edge: &Edge,
    mut answer: Pin<Box<impl Future<Output = http::Response<B>>>>,
    early: &EarlyHead,
    headers: &HeaderMap,
) where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let task = edge.task();
    task.event().stream(StatusCode::OK.as_u16(), &header_lines(headers));
    let writing = Box::pin(async {
        let response = loop {
            task.write(&early.heartbeat()).await;
            if let Some(response) = within(edge, EarlyHead::PAUSE, answer.as_mut()).await {
                break response;
            }
        };
        write(task, response.into_body()).await;
    });
    if while_here(task, writing).await.is_none() {
        task.event().abandon_stream();
    }
}

/// The output of a future, or `None` when it takes longer than `limit`. The future can be asked again.
pub(crate) async fn within<F: Future + ?Sized>(
    edge: &Edge,
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let mut timer = pin!(edge.timer(limit));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Answers with an error for which no proxy is needed: the settings are invalid or the request cannot
/// be read.
pub(crate) fn refused(edge: &Edge, error: &Error) {
    let mut headers = error.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    let (status, headers) = (error.status().as_u16(), header_lines(&headers));
    edge.task().event().answer(status, &headers, Some(&gemini_error_body(error)));
}

/// The output of a future; `None` if the client leaves first.
async fn while_here<F: Future>(task: &Task, mut future: Pin<Box<F>>) -> Option<F::Output> {
    poll_fn(|cx| {
        if task.client_has_left() {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if task.client_has_left() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Answers with a whole body and its Content-Length if the length is known, else with a stream.
async fn whole_or_stream<B>(task: &Task, response: http::Response<B>)
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let (head, body) = response.into_parts();
    let (status, headers) = (head.status.as_u16(), header_lines(&head.headers));
    if BODILESS.contains(&head.status) {
        task.event().answer(status, &headers, None);
    } else if body.size_hint().exact().is_some() {
        // A large body comes in several pieces.
        let (mut body, mut all) = (pin!(body), Bytes::new());
        while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            all = concat(all, frame.into_data().unwrap_or_default());
        }
        task.event().answer(status, &headers, (!all.is_empty()).then_some(&*all));
    } else {
        task.event().stream(status, &headers);
        if while_here(task, Box::pin(write(task, body))).await.is_none() {
            task.event().abandon_stream();
        }
    }
}

/// Writes a stream as it arrives, no faster than the client reads.
async fn write<B: Body<Data = Bytes, Error = BodyError>>(task: &Task, body: B) {
    let (mut body, mut end) = (pin!(body), None);
    loop {
        match poll_fn(|cx| poll_ready(body.as_mut(), &mut end, cx)).await {
            Some(Ok(chunk)) => task.write(&chunk).await,
            Some(Err(broken)) => return task.event().end_stream(Some(&broken.to_string())),
            None => return task.event().end_stream(None),
        }
    }
}

/// Everything that is ready, as one chunk, since each chunk costs several calls. An end that comes with
/// it is kept in `end` for the next poll.
fn poll_ready<B: Body<Data = Bytes, Error = BodyError>>(
    mut body: Pin<&mut B>,
    end: &mut Option<Result<(), BodyError>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BodyError>>> {
    let mut ready = Bytes::new();
    while end.is_none() && ready.len() < LARGE {
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                ready = concat(ready, frame.into_data().unwrap_or_default());
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

fn concat(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut both = BytesMut::from(first);
    both.extend_from_slice(&second);
    both.freeze()
}

fn header_lines(headers: &HeaderMap) -> String {
    let mut text = String::new();
    runtime::add_headers(&mut text, headers);
    text
}

/// In bytes: a chunk of this size is written without waiting for more.
const LARGE: usize = 1 << 16;

/// Answers with these statuses have no body, even if upstream sends one (Fetch Standard, "null body
/// status").
const BODILESS: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

/// The status that nginx uses for a client that has left. No client sees it.
const CLIENT_GONE: u16 = 499;
