//! One request of a client: its answer, in a box that the next request uses again.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{AdminPort, EarlyHead, OnAdmission, Peer, ProxyBody, RequestBodyError};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::task::yield_now;
use tokio_util::sync::ReusableBoxFuture;

use super::connection::RefusedRequest;
use super::early::{self, First};
use super::request_body::RequestBody;
use super::response::{OpenResponse, TrackedBody};
use super::{ConnectionContext, tunnel};
use crate::platform::TokioPlatform;

/// Answers one request.
pub(super) async fn respond(
    context: &Arc<ConnectionContext>,
    mut request: Request<Incoming>,
    open: Result<Arc<OpenResponse>, RefusedRequest>,
) -> Result<Response<TrackedBody>, RefusedRequest> {
    let open = open?;
    let ConnectionContext { server, origin } = &**context;
    if origin.is_admin {
        request.extensions_mut().insert(AdminPort);
    }
    let version = request.version();
    let client = tunnel::requested(&mut request);
    let refusal = open.check(&request).err();
    let request = request.map(|body| RequestBody::new(body, version));
    let mut response = match (&refusal, server.proxy.early_heartbeat()) {
        (Some(error), _) => {
            open.refused();
            let address = Some(origin.address);
            Box::pin(server.proxy.refuse(address, server.platform.own(), request, error)).await
        }
        (None, None) => {
            let answer = Answering::new(answer(context, &open, request));
            after_others(WhileClientStays { open: &open, answer }).await?
        }
        (None, Some(after)) => {
            let first = Box::pin(answer_early(context, &open, request, after));
            match after_others(WhileClientStays { open: &open, answer: first }).await? {
                First::Answer(response) => response,
                First::Head(headers, body) => {
                    let mut response = Response::new(open.with_awaited(body));
                    *response.headers_mut() = headers;
                    return Ok(response);
                }
            }
        }
    };
    if version < Version::HTTP_2 && (refusal.is_some() || server.proxy.metrics().shutting_down()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    open.answered(response.body())?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(tunnel::begin(response, client, open));
    }
    Ok(response.map(|body| open.with_body(body)))
}

/// The core's answer. The future owns what it needs, since it may outlive the service's call.
fn answer<B>(
    context: &Arc<ConnectionContext>,
    open: &Arc<OpenResponse>,
    request: Request<B>,
) -> impl Future<Output = Answer> + Send + 'static
where
    B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>> + Send + 'static,
{
    let admission: Arc<dyn OnAdmission> = Arc::clone(open) as _;
    let peer = Peer { address: Some(context.origin.address), admission: Some(admission) };
    let context = Arc::clone(context);
    async move {
        let server = &context.server;
        server.proxy.handle_from(peer, server.platform.own(), request).await
    }
}

/// Waits for the answer, or for the time after which the head of a stream is sent without it.
async fn answer_early<B>(
    context: &Arc<ConnectionContext>,
    open: &Arc<OpenResponse>,
    mut request: Request<B>,
    after: Duration,
) -> First
where
    B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>> + Send + 'static,
{
    let early = EarlyHead::default();
    request.extensions_mut().insert(early.clone());
    early::first(Box::pin(answer(context, open, request)), early, after).await
}

/// Waits for an answer, and ends with an error if its client leaves before.
struct WhileClientStays<'a, F> {
    open: &'a OpenResponse,
    answer: F,
}

impl<F: Future + Unpin> Future for WhileClientStays<'_, F> {
    type Output = Result<F::Output, RefusedRequest>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.answer).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending if self.open.has_left(cx) => Poll::Ready(Err(RefusedRequest)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The output of a future. If it was there at once, other tasks run before it is returned: hyper answers
/// many pipelined requests of a connection in one go, and hundreds of such connections would keep the
/// serving threads from everyone else for seconds. A request that asks upstream waits anyway.
pub(super) async fn after_others<F: Future + Unpin>(mut future: F) -> F::Output {
    let mut polls = 0_u64;
    let output = poll_fn(|cx| {
        polls += 1;
        Pin::new(&mut future).poll(cx)
    })
    .await;
    if polls == 1 {
        yield_now().await;
    }
    output
}

type Answer = Response<ProxyBody<TokioPlatform>>;
type AnswerBox = ReusableBoxFuture<'static, Answer>;

/// The future of an answer. It is boxed, so that an idle connection has no space for it.
pub(super) struct Answering(Option<AnswerBox>);

impl Answering {
    pub(super) fn new(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(Some(match SPARE.with_borrow_mut(Vec::pop) {
            Some(mut spare) => {
                spare.set(answer);
                spare
            }
            None => AnswerBox::new(answer),
        }))
    }
}

impl Future for Answering {
    type Output = Answer;

    /// Keeps the box once the answer is there: its future has ended, and holds nothing.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(answer) = &mut self.0 else { return Poll::Pending };
        let polled = answer.poll(cx);
        if polled.is_ready()
            && let Some(ended) = self.0.take()
        {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < MOST_SPARE {
                    spare.push(ended);
                }
            });
        }
        polled
    }
}

thread_local! {
    /// The boxes that this thread has for its next requests.
    static SPARE: RefCell<Vec<AnswerBox>> = const { RefCell::new(Vec::new()) };
}

/// Of 7 KiB each. As many requests of a thread as usually end before the next ones begin.
const MOST_SPARE: usize = 32;
