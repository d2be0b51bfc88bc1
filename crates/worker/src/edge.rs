//! The platform on Cloudflare's runtime: fetch, timers, clocks, randomness, background jobs.

use std::cell::{Cell, OnceCell};
use std::future::{Future as _, pending, poll_fn};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context as Cx, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{
    BackgroundJob, BodyError, Caller, CredentialFile, Day, FencingToken, LockResult, Monotonic,
    Payload, Platform, RequestBodyError, RsaKey, SendError, SharedReservation, SharedStanding,
    SignError, StoreError, Ticket, Timestamp, UsageBatch, UsageRow,
};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use wasm_bindgen::JsValue;
use worker::Env;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::spawn_local;

use crate::completion::Completion;
use crate::executor::{Task, Timer, clock};
use crate::isolate;
use crate::runtime::{self, ChunkError, Chunks, SMALL, content_length};
use crate::store::Store;
use crate::usage_object::UsageObject;

/// The platform for one event. It is cheap to clone.
///
/// Each event has its own, since the runtime lets no event use what another one has opened.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    inner: Rc<EdgeInner>,
}

#[derive(Debug)]
struct EdgeInner {
    env: Env,
    /// The event's `ExecutionContext`, whose `waitUntil` keeps work alive after the answer.
    ctx: JsValue,
    task: Rc<Task>,
    /// Bound when it is first used, which few events do.
    store: OnceCell<Store>,
    /// What the usage object has last refused.
    refusal: Cell<Option<Refusal>>,
}

/// A reservation that was refused.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    standing: SharedStanding,
    pause: Duration,
    /// When the object is asked again.
    until: Timestamp,
}

impl Edge {
    /// The platform of an event. `request` is undefined for an event without a request.
    pub(crate) fn new(request: &JsValue, env: Env, ctx: JsValue) -> Self {
        let task = Task::new(request, &ctx);
        let (store, refusal) = (OnceCell::new(), Cell::new(None));
        Self { inner: Rc::new(EdgeInner { env, ctx, task, store, refusal }) }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    pub(crate) fn task(&self) -> &Rc<Task> {
        &self.inner.task
    }

    fn store(&self) -> &Store {
        self.inner.store.get_or_init(|| Store::bound(&self.inner.env))
    }

    fn usage_object(&self) -> Result<UsageObject, StoreError> {
        UsageObject::bound(&self.inner.env)
            .ok_or_else(|| StoreError("no Durable Object is bound".to_owned()))
    }
}

impl Platform for Edge {
    type Body = Incoming;
    type Timer = Timer;
    type Permit = Permit;

    /// The runtime moves its clock only with input and output, against timing attacks. So the time that
    /// the proxy itself takes shows as next to nothing.
    fn now(&self) -> Monotonic {
        Monotonic(self.wall_clock().0 * 1000)
    }

    fn wall_clock(&self) -> Timestamp {
        clock()
    }

    fn random(&self) -> u64 {
        runtime::random()
    }

    fn timer(&self, how_long: Duration) -> Timer {
        self.task().timer(how_long)
    }

    /// One request may not wake another, so each one polls.
    async fn acquire_permit(&self, caller: Caller) -> Permit {
        let now = self.now();
        let permit = {
            let mut queue = isolate::wait_queue();
            queue.remove_lost(now);
            Permit(queue.join(caller, now))
        };
        while !isolate::wait_queue().has_permit(permit.0) {
            self.timer(PERMIT_POLL_INTERVAL).await;
        }
        permit
    }

    fn is_at_share(&self, caller: &Caller) -> bool {
        isolate::wait_queue().is_at_share(caller)
    }

    /// There is one thread. Between two pieces of large work the runtime handles other events.
    async fn heavy<T: Send + 'static>(
        &self,
        _: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.timer(Duration::ZERO).await;
        Some(work())
    }

    async fn send(
        &self,
        request: Request<Payload>,
        _again: impl Fn() -> Option<Request<Payload>>,
    ) -> Result<Response<Incoming>, SendError> {
        let (head, payload) = request.into_parts();
        // Events are delivered one by one as they arrive, a whole answer in larger parts.
        let is_live = head.uri.query().is_some_and(|query| query.contains("alt=sse"));
        let mut request_head = format!("{}\n{}\n", head.method, head.uri);
        runtime::add_headers(&mut request_head, &head.headers);
        let task = self.task();
        let completion = task.new_completion();
        // If it is dropped before its end, the runtime cancels the call.
        let chunks = Chunks::of_answer(task, &completion);
        // An array instead of a stream, so that the request has a Content-Length. A small body is joined
        // here and crosses with the head: each piece of a large one costs three calls, and is held once.
        let number = completion.number;
        if payload.is_empty() {
            task.event().send(number, &request_head, &JsValue::UNDEFINED, is_live);
        } else if payload.len() <= SMALL {
            task.event().send_small(number, &request_head, &payload.to_bytes(), is_live);
        } else {
            task.event().send(number, &request_head, &array_of(&payload)?.into(), is_live);
        }
        // `fetch` reports a refused connection, an unknown host and a connection that broke in the same
        // words, and whatever was sent may have been carried out.
        let answer = completion.head().await.map_err(SendError::Disconnected)?;
        response(&answer, &completion, chunks)
    }

    /// Each chunk of the client's body crosses when the runtime has taken the one before.
    ///
    /// workerd delivers an answer when the body has ended, also one that upstream has sent before. A refused
    /// upload is therefore read to its end, or until the client is too slow.
    async fn send_streamed<B>(
        &self,
        request: Request<()>,
        body: Pin<&mut B>,
    ) -> Result<Response<Incoming>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let (mut head, ()) = request.into_parts();
        let announced = content_length(&head.headers);
        let length = body.size_hint().exact().or(announced);
        if body.is_end_stream() || length == Some(0) {
            return self.send(Request::from_parts(head, Payload::default()), || None).await;
        }
        // The runtime writes it by the length of the stream.
        head.headers.remove(CONTENT_LENGTH);
        let is_live = head.uri.query().is_some_and(|query| query.contains("alt=sse"));
        let mut request_head = format!("{}\n{}\n", head.method, head.uri);
        runtime::add_headers(&mut request_head, &head.headers);
        let task = self.task();
        let (completion, upload) = (task.new_completion(), task.new_completion());
        // If it is dropped, the runtime breaks the request off, whose body has no end.
        let chunks = Chunks::of_answer(task, &completion);
        #[expect(clippy::cast_precision_loss, reason = "no body has 8 PiB")]
        let length = length.map_or(UNKNOWN_LENGTH, |length| length as f64);
        let numbers = (completion.number, upload.number);
        task.event().send_streamed(numbers.0, numbers.1, &request_head, length, is_live);
        let mut answer = pin!(completion.head());
        let mut writing = pin!(write_upload(task, &upload, body));
        let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.map_err(SendError::Disconnected)),
            Poll::Pending => writing.as_mut().poll(cx).map(|error| Err(SendError::Client(error))),
        })
        .await;
        upload.abandon();
        response(&answer?, &completion, chunks)
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.store().load(key).await
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        self.store().save(key, value, ttl, fence).await
    }

    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        self.store().claim(key, ttl, self.wall_clock()).await
    }

    async fn renew(&self, key: &str, token: FencingToken, ttl: Duration) -> bool {
        self.store().renew(key, token, ttl, self.wall_clock()).await
    }

    async fn unlock(&self, key: &str, token: FencingToken) {
        self.store().release(key, token).await;
    }

    /// After a refusal the object is asked again after pauses that double. Until then the refusal is repeated:
    /// a request that waits for others asks often, and the runtime limits the calls of an event.
    async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        let object = self.usage_object().ok()?;
        let refusal = self.inner.refusal.get();
        if let Some(last) = refusal.filter(|last| self.wall_clock() < last.until) {
            return Some(last.standing);
        }
        match object.reserve(request).await {
            Ok(standing) => {
                let pause = refusal.map_or(FIRST_RESERVE_PAUSE, |last| last.pause * 2);
                let pause = pause.min(LONGEST_RESERVE_PAUSE);
                let until = self.wall_clock() + pause;
                let refusal = (!standing.is_granted).then_some(Refusal { standing, pause, until });
                self.inner.refusal.set(refusal);
                Some(standing)
            }
            Err(why) => {
                tracing::warn!("the usage object grants nothing, so this isolate decides: {why}");
                None
            }
        }
    }

    fn has_shared_usage(&self) -> bool {
        static IS_BOUND: OnceLock<bool> = OnceLock::new();
        *IS_BOUND.get_or_init(|| self.usage_object().is_ok())
    }

    async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.usage_object()?.add(batch).await.map_err(|why| usage_failed(&why))
    }

    async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        self.usage_object()?.usage(&days, key).await.map_err(|why| usage_failed(&why))
    }

    /// An isolate asks at its start, and isolates start often, so the object is asked in one hour of the day only.
    async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        let hour = self.wall_clock().0 / 3_600_000 % 24;
        if hour != REMOVAL_HOUR {
            return Ok(());
        }
        self.usage_object()?.remove(before).await.map_err(|why| usage_failed(&why))
    }

    fn store_connected(&self) -> bool {
        self.store().connected()
    }

    async fn credential_file(&self, _path: &str, _seen: Option<u64>) -> CredentialFile {
        CredentialFile::Unsupported
    }

    fn variable(&self, name: &str) -> Option<String> {
        isolate::variable(self.env(), name).filter(|value| !value.is_empty())
    }

    async fn sign_rs256(&self, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest: String = key.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        let task = self.task();
        let completion = task.new_completion();
        let mut signature = Chunks::of_answer(task, &completion);
        task.event().sign(completion.number, &digest, key.pkcs8(), message);
        let delivered = poll_fn(|cx| Pin::new(&mut signature).poll_frame(cx)).await;
        match delivered.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(bytes))) => Ok(bytes.to_vec()),
            Some(Ok(Err(_))) | None => Err(SignError::Failed("there is no signature".to_owned())),
            Some(Err(ChunkError(why))) => Err(match why.strip_prefix(INVALID_KEY) {
                Some(why) => SignError::InvalidKey(format!("it is no RSA key in PKCS#8 ({why})")),
                None => SignError::Failed(why),
            }),
        }
    }

    fn spawn_job(&self, job: BackgroundJob) {
        // Without a proxy there is no job.
        let Ok(proxy) = isolate::proxy(self) else { return };
        let inner = &self.inner;
        let edge = Self::new(&JsValue::UNDEFINED, inner.env.clone(), inner.ctx.clone());
        let task = Rc::clone(edge.task());
        task.event().keep_alive();
        // Later, since the task that spawns the job is being polled now.
        spawn_local(async move {
            task.start(async move {
                Box::pin(proxy.run_job(&edge, job)).await;
                edge.task().event().done();
            });
        });
    }
}

fn usage_failed(why: &worker::Error) -> StoreError {
    StoreError(format!("the usage object: {why}"))
}

/// The response of a head in the runtime's form.
fn response(
    answer: &str,
    completion: &Completion,
    chunks: Chunks,
) -> Result<Response<Incoming>, SendError> {
    let mut lines = answer.split('\n');
    let status = lines.next().and_then(|status| status.parse::<u16>().ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    if lines.next() == Some("0") {
        completion.end();
    }
    let mut headers = runtime::headers_from(lines);
    // The runtime asks for a compressed answer by itself and decompresses what it reads.
    let is_compressed = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| DECOMPRESSED.iter().any(|known| coding == known));
    if is_compressed {
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    let mut response = Response::new(Incoming(chunks));
    *response.status_mut() = status
        .ok_or_else(|| SendError::Disconnected("an answer with an invalid status".to_owned()))?;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Writes a client's body into the stream of an upload. Returns only if the body breaks.
async fn write_upload<B>(
    task: &Task,
    upload: &Completion,
    mut body: Pin<&mut B>,
) -> RequestBodyError
where
    B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>>,
{
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return error.into(),
        };
        let Ok(chunk) = frame.into_data() else { continue };
        task.event().write_upload(upload.number, &chunk);
        // A byte is delivered when the runtime has taken the chunk.
        let taken = poll_fn(|_| upload.poll_chunk(|| {})).await;
        if !matches!(taken, Some(Ok(_))) {
            // Upstream takes no more. The answer, or the error in its place, tells why.
            return pending().await;
        }
    }
    task.event().end_upload();
    pending().await
}

/// Copies the payload into JavaScript's memory, once.
fn array_of(payload: &Payload) -> Result<Uint8Array, SendError> {
    let length = u32::try_from(payload.len())
        .map_err(|_| SendError::Connect("the request has more than 4 GiB".to_owned()))?;
    let array = Uint8Array::new_with_length(length);
    let mut at = 0;
    for piece in payload.pieces() {
        // It stays within `length`, the sum of all pieces.
        let end = at + u32::try_from(piece.len()).unwrap_or(u32::MAX);
        array.subarray(at, end).copy_from(piece);
        at = end;
    }
    Ok(array)
}

/// The body of an upstream answer.
#[derive(Debug)]
pub(crate) struct Incoming(Chunks);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(next.map(|next| next.map_err(|ChunkError(why)| BodyError::Disconnected(why))))
    }
}

/// A permit for one upstream request. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit(Ticket);

impl Drop for Permit {
    fn drop(&mut self) {
        isolate::wait_queue().leave(self.0);
    }
}

/// What an error of a signature begins with that concerns the key. `runtime.js` has the same text.
const INVALID_KEY: &str = "key: ";

/// Stands for a body whose length is known at its end only. `runtime.js` has the same number.
const UNKNOWN_LENGTH: f64 = -1.0;

/// A request that waits for a minute asks about 25 times, half as often as the free plan allows.
const FIRST_RESERVE_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_RESERVE_PAUSE: Duration = Duration::from_secs(3);

/// In UTC.
const REMOVAL_HOUR: u64 = 3;

const PERMIT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The codings that the runtime decompresses. Its compatibility flag `brotli_content_encoding` is on
/// since 2024.
const DECOMPRESSED: [&str; 2] = ["br", "gzip"];
