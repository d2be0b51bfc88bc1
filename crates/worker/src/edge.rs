//! The platform on Cloudflare's runtime: fetch, timers, clocks, randomness, deferred work.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Cx, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::payload::Payload;
use code_assist_core::platform::{
    Broken, Claim, Fence, LoginFile, Millis, Moment, Platform, StoreError, Unreachable,
};
use code_assist_core::policy::line::Ticket;
use code_assist_core::proxy::Chore;
use futures_util::Stream;
use http::{Request, Response};
use http_body::Frame;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Uint8Array;
use worker::{
    AbortController, ByteStream, Context, Date, Delay, Env, Fetch, Headers, Method, RequestInit,
    RequestRedirect, ScheduleContext,
};

use crate::isolate;
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
        Self { parts: Rc::new(Parts { env, life, store }) }
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
        Millis(Date::now().as_millis())
    }

    fn random(&self) -> u64 {
        let array = Uint8Array::new_with_length(8);
        fill_with_random(&array);
        let mut bytes = [0; 8];
        array.copy_to(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn timer(&self, how_long: Duration) -> Timer {
        Timer { ends: self.clock() + how_long, waiting: None }
    }

    /// One request may not wake another, so each looks for itself.
    async fn place(&self) -> Place {
        let place = Place(isolate::line().join());
        while !isolate::line().has_place(place.0) {
            Delay::from(LOOK_FOR_A_PLACE).await;
        }
        place
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<Incoming>, Unreachable> {
        let (head, payload) = request.into_parts();
        let mut init = RequestInit::new();
        init.with_method(Method::from(head.method.as_str().to_owned()))
            .with_headers(Headers::from(&head.headers))
            .with_redirect(RequestRedirect::Manual);
        if !payload.is_empty() {
            // An array and not a stream: the request has a Content-Length.
            init.with_body(Some(array_of(&payload)?.into()));
        }
        let request = worker::Request::new_with_init(&head.uri.to_string(), &init);
        let request = request.map_err(|error| Unreachable::Connect(error.to_string()))?;
        let controller = AbortController::default();
        let signal = controller.signal();
        let exchange = Exchange(Some(controller));
        let answer = Fetch::Request(request).send_with_signal(&signal).await;
        let mut answer = answer.map_err(|error| unreachable(&error))?;
        let mut response = Response::builder().status(answer.status_code());
        if let Some(headers) = response.headers_mut() {
            *headers = answer.headers().into();
        }
        let body = Incoming { stream: answer.stream().ok(), exchange };
        response.body(body).map_err(|error| Unreachable::Disconnected(error.to_string()))
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
fn unreachable(error: &worker::Error) -> Unreachable {
    let why = error.to_string();
    match BROKEN.iter().any(|words| why.contains(words)) {
        true => Unreachable::Disconnected(why),
        false => Unreachable::Connect(why),
    }
}

/// An upstream answer's body.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Option<ByteStream>,
    exchange: Exchange,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let next = ready!(Pin::new(stream).poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.stream = None;
            self.exchange.0 = None;
        }
        Poll::Ready(next.map(|chunk| match chunk {
            Ok(chunk) => Ok(Frame::data(Bytes::from(chunk))),
            Err(error) => Err(Broken::Disconnected(error.to_string())),
        }))
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

/// A timer that may go from one task to another, as a body's does when it is handed over: `Delay`
/// wakes for ever whoever has polled it first.
#[derive(Debug)]
pub(crate) struct Timer {
    ends: Millis,
    waiting: Option<(Delay, Waker)>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        if !self.waiting.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            let now = Millis(Date::now().as_millis());
            let left = now.until(self.ends).min(LONGEST_TIMER);
            self.waiting = Some((Delay::from(left), cx.waker().clone()));
        }
        match &mut self.waiting {
            Some((delay, _)) => Pin::new(delay).poll(cx),
            None => Poll::Pending,
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

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn fill_with_random(array: &Uint8Array);
}

/// `setTimeout` counts in 32 bits.
const LONGEST_TIMER: Duration = Duration::from_millis(i32::MAX as u64);

const LOOK_FOR_A_PLACE: Duration = Duration::from_millis(5);

const BROKEN: [&str; 2] = ["Network connection lost", "disconnected"];
