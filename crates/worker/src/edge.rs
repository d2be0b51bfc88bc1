//! The platform on Cloudflare's runtime: fetch, timers, clocks, randomness, deferred work.

use std::cell::OnceCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Cx, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{
    BackgroundJob, BodyError, CredentialFile, FencingToken, LockResult, Monotonic, Payload,
    Platform, SendError, StoreError, Ticket, Timestamp,
};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use wasm_bindgen::JsValue;
use worker::Env;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::spawn_local;

use crate::isolate;
use crate::runtime::{self, Chunks};
use crate::store::Store;
use crate::task::{Task, Timer, clock};

/// Hands on Cloudflare, for one event. Cheap to clone.
///
/// Made anew for each: the runtime lets no event use what another one has opened.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    parts: Rc<Parts>,
}

#[derive(Debug)]
struct Parts {
    env: Env,
    /// What keeps the event alive beyond its answer.
    life: JsValue,
    task: Rc<Task>,
    /// Looked for when it is needed, which is seldom.
    store: OnceCell<Store>,
}

impl Edge {
    /// For the event with this request, if it has one.
    pub(crate) fn new(request: &JsValue, env: Env, life: JsValue) -> Self {
        let task = Task::new(request, &life);
        Self { parts: Rc::new(Parts { env, life, task, store: OnceCell::new() }) }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.parts.env
    }

    pub(crate) fn task(&self) -> &Rc<Task> {
        &self.parts.task
    }

    fn store(&self) -> &Store {
        self.parts.store.get_or_init(|| Store::bound(&self.parts.env))
    }
}

impl Platform for Edge {
    type Body = Incoming;
    type Timer = Timer;
    type Permit = Place;

    /// The runtime's clock stands still while it computes and moves with input and output, against
    /// attacks that measure time: what the proxy itself takes shows as next to nothing.
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

    /// One request may not wake another, so each looks for itself.
    async fn acquire_permit(&self) -> Place {
        let place = Place(isolate::line().join(self.now()));
        while !isolate::line().has_place(place.0) {
            self.timer(LOOK_FOR_A_PLACE).await;
        }
        place
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<Incoming>, SendError> {
        let (head, payload) = request.into_parts();
        // An array and not a stream: the request has a Content-Length.
        let body = match payload.is_empty() {
            true => JsValue::UNDEFINED,
            false => array_of(&payload)?.into(),
        };
        // Events go over one by one, as they come; a whole answer need not.
        let is_live = head.uri.query().is_some_and(|query| query.contains("alt=sse"));
        let mut call = format!("{}\n{}\n", head.method, head.uri);
        runtime::add_headers(&mut call, &head.headers);
        let task = self.task();
        let awaited = task.awaited();
        // Dropped before its end, it has the runtime cancel the call.
        let chunks = Chunks::of_answer(task, &awaited);
        task.event().send(awaited.number, &call, &body, is_live);
        let answer = awaited.head().await.map_err(unreachable)?;
        let mut lines = answer.split('\n');
        let status = lines.next().and_then(|status| status.parse::<u16>().ok());
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        if lines.next() == Some("0") {
            awaited.end();
        }
        let mut headers = runtime::headers_from(lines);
        // The runtime has asked for a packed answer on its own account, and unpacks what it reads.
        let is_packed = headers
            .get(CONTENT_ENCODING)
            .is_some_and(|it| UNPACKED.iter().any(|known| it == known));
        if is_packed {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        let mut response = Response::new(Incoming(chunks));
        *response.status_mut() =
            status.ok_or_else(|| SendError::Disconnected("a status that is none".to_owned()))?;
        *response.headers_mut() = headers;
        Ok(response)
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

    async fn unlock(&self, key: &str, token: FencingToken) {
        self.store().release(key, token).await;
    }

    fn store_connected(&self) -> bool {
        self.store().connected()
    }

    async fn credential_file(&self, _seen: Option<u64>) -> CredentialFile {
        CredentialFile::Unsupported
    }

    fn spawn_job(&self, chore: BackgroundJob) {
        // There is no chore without a proxy that left it.
        let Ok(proxy) = isolate::proxy(self) else { return };
        let parts = &self.parts;
        let edge = Self::new(&JsValue::UNDEFINED, parts.env.clone(), parts.life.clone());
        let task = Rc::clone(edge.task());
        task.event().keep();
        // Not at once: whoever leaves it behind is at work.
        spawn_local(async move {
            task.begin(async move {
                Box::pin(proxy.run_job(&edge, chore)).await;
                edge.task().event().done();
            });
        });
    }
}

/// The payload in JavaScript's memory, copied once.
fn array_of(payload: &Payload) -> Result<Uint8Array, SendError> {
    let length = u32::try_from(payload.len())
        .map_err(|_| SendError::Connect("the request has more than 4 GiB".to_owned()))?;
    let array = Uint8Array::new_with_length(length);
    let mut at = 0;
    for piece in payload.pieces() {
        // Within `length`, which is their sum.
        let end = at + u32::try_from(piece.len()).unwrap_or(u32::MAX);
        array.subarray(at, end).copy_from(piece);
        at = end;
    }
    Ok(array)
}

/// `fetch` has one kind of error, and says in words what happened. These are workerd's for a
/// connection that was there and broke; everything else is one that did not come about.
fn unreachable(why: String) -> SendError {
    match BROKEN.iter().any(|words| why.contains(words)) {
        true => SendError::Disconnected(why),
        false => SendError::Connect(why),
    }
}

/// An upstream answer's body.
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
        Poll::Ready(next.map(|next| next.map_err(BodyError::Disconnected)))
    }
}

/// A place at work.
#[derive(Debug)]
pub(crate) struct Place(Ticket);

impl Drop for Place {
    fn drop(&mut self) {
        isolate::line().leave(self.0);
    }
}

const LOOK_FOR_A_PLACE: Duration = Duration::from_millis(5);

/// What the runtime unpacks (its compatibility flag `brotli_content_encoding` is on since 2024).
const UNPACKED: [&str; 2] = ["br", "gzip"];

const BROKEN: [&str; 2] = ["Network connection lost", "disconnected"];
