//! The platform on Cloudflare's runtime: fetch, timers, clocks, randomness, deferred work.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Cx, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::payload::Payload;
use code_assist_core::platform::{
    Broken, Claim, Fence, LoginFile, Millis, Moment, Platform, StoreError, Unreachable,
};
use code_assist_core::policy::line::Ticket;
use code_assist_core::proxy::Chore;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::AbortController;
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{Object, Uint8Array};
use worker::{Context, Env, ScheduleContext};

use crate::alarm::{Alarm, Timer, clock};
use crate::isolate;
use crate::runtime::{self, Chunks};
use crate::store::Store;

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
    life: Life,
    store: Store,
    alarm: Rc<Alarm>,
}

/// What keeps an event alive beyond its answer.
#[derive(Debug)]
pub(crate) enum Life {
    /// A request's.
    Request(Context),
    /// A cron trigger's.
    Schedule(ScheduleContext),
}

impl Edge {
    pub(crate) fn new(env: Env, life: Life) -> Self {
        let store = Store::bound(&env);
        Self { parts: Rc::new(Parts { env, life, store, alarm: Alarm::new() }) }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.parts.env
    }

    /// Runs on after the answer, and after the client has left.
    pub(crate) fn wait_until(&self, work: impl Future<Output = ()> + 'static) {
        match &self.parts.life {
            Life::Request(context) => context.wait_until(work),
            Life::Schedule(context) => context.wait_until(work),
        }
    }
}

impl Platform for Edge {
    type Body = Incoming;
    type Timer = Timer;
    type Place = Place;

    /// The runtime's clock stands still while it computes and moves with input and output, against
    /// attacks that measure time: what the proxy itself takes shows as next to nothing.
    fn now(&self) -> Moment {
        Moment(self.clock().0 * 1000)
    }

    fn clock(&self) -> Millis {
        clock()
    }

    fn random(&self) -> u64 {
        runtime::random()
    }

    fn timer(&self, how_long: Duration) -> Timer {
        self.parts.alarm.timer(how_long)
    }

    /// One request may not wake another, so each looks for itself.
    async fn place(&self) -> Place {
        let place = Place(isolate::line().join(self.now()));
        while !isolate::line().has_place(place.0) {
            self.timer(LOOK_FOR_A_PLACE).await;
        }
        place
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<Incoming>, Unreachable> {
        let (head, payload) = request.into_parts();
        // An array and not a stream: the request has a Content-Length.
        let body = match payload.is_empty() {
            true => JsValue::UNDEFINED,
            false => array_of(&payload)?.into(),
        };
        let controller = AbortController::new().map_err(|why| unreachable(&why))?;
        let signal = controller.signal();
        let exchange = Exchange(Some(controller));
        let url = head.uri.to_string();
        let headers = runtime::headers_to(&head.headers);
        let answer = runtime::send(&url, head.method.as_str(), &headers, &body, &signal);
        let answer = JsFuture::from(answer).await.map_err(|why| unreachable(&why))?;
        let answer: web_sys::Response = answer.unchecked_into();
        let mut headers = runtime::headers_from(&answer.headers());
        // The runtime has asked for a packed answer on its own account, and unpacks what it reads.
        let is_packed = headers
            .get(CONTENT_ENCODING)
            .is_some_and(|it| UNPACKED.iter().any(|known| it == known));
        if is_packed {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        let chunks = Chunks::of(&answer, answer.body(), &headers);
        let mut response = Response::new(Incoming { chunks, exchange });
        *response.status_mut() = StatusCode::from_u16(answer.status())
            .map_err(|why| Unreachable::Disconnected(why.to_string()))?;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.parts.store.load(key).await
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<Fence>,
    ) -> Result<(), StoreError> {
        self.parts.store.save(key, value, ttl, fence).await
    }

    async fn claim(&self, key: &str, how_long: Duration) -> Claim {
        self.parts.store.claim(key, how_long, self.clock()).await
    }

    async fn release(&self, key: &str, fence: Fence) {
        self.parts.store.release(key, fence).await;
    }

    fn store_connected(&self) -> bool {
        self.parts.store.connected()
    }

    async fn login_file(&self, _seen: Option<u64>) -> LoginFile {
        LoginFile::Unsupported
    }

    fn defer(&self, chore: Chore) {
        // There is no chore without a proxy that left it.
        let Ok(proxy) = isolate::proxy(self) else { return };
        let edge = self.clone();
        self.wait_until(async move { Box::pin(proxy.tidy(&edge, chore)).await });
    }
}

/// The payload in JavaScript's memory, copied once.
fn array_of(payload: &Payload) -> Result<Uint8Array, Unreachable> {
    let length = u32::try_from(payload.len())
        .map_err(|_| Unreachable::Connect("the request has more than 4 GiB".to_owned()))?;
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
fn unreachable(error: &JsValue) -> Unreachable {
    let why = told(error);
    match BROKEN.iter().any(|words| why.contains(words)) {
        true => Unreachable::Disconnected(why),
        false => Unreachable::Connect(why),
    }
}

fn told(error: &JsValue) -> String {
    String::from(Object::from(error.clone()).to_string())
}

/// An upstream answer's body.
#[derive(Debug)]
pub(crate) struct Incoming {
    chunks: Chunks,
    exchange: Exchange,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = ready!(Pin::new(&mut self.chunks).poll_frame(cx));
        if self.chunks.ended() {
            self.exchange.0 = None;
        }
        Poll::Ready(next.map(|next| next.map_err(|why| Broken::Disconnected(told(&why)))))
    }
}

/// Cancels what is in flight when it is dropped before its end.
#[derive(Debug)]
struct Exchange(Option<AbortController>);

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(controller) = self.0.take() {
            controller.abort();
        }
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
