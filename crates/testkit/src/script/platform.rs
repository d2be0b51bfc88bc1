//! The port over the scripted state.

use std::collections::btree_map::Entry;
use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{
    BackgroundJob, Caller, CredentialFile, Day, FencingToken, LockResult, Monotonic, Payload,
    Platform, Rate, RateStanding, RequestBodyError, RequestLine, RequestRecord, RsaKey, SendError,
    SharedReservation, SharedStanding, SignError, StoreError, Ticket, Timestamp, TraceId,
    UsageBatch, UsageRow,
};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::body::{Exchange, ScriptedBody};
use super::{HeavyThreads, Received, ScriptedPlatform, lock};

impl Platform for ScriptedPlatform {
    type Body = ScriptedBody;
    type Timer = ScriptedTimer;
    type Permit = ScriptedPermit;

    fn now(&self) -> Monotonic {
        let mut state = self.state();
        state.clock_reads += 1;
        state.now
    }

    fn wall_clock(&self) -> Timestamp {
        let state = self.state();
        state.epoch + state.now.since(Monotonic(0))
    }

    fn random(&self) -> u64 {
        let mut state = self.state();
        if let Some(bits) = state.fixed_random {
            return bits;
        }
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.random
    }

    fn timer(&self, how_long: Duration) -> ScriptedTimer {
        let mut state = self.state();
        let at = state.now + how_long;
        state.timers.push(at);
        ScriptedTimer { script: self.clone(), at }
    }

    async fn acquire_permit(&self, caller: Caller) -> ScriptedPermit {
        let ticket = {
            let mut state = self.state();
            let now = state.now;
            state.queue.join(caller, now)
        };
        let permit = ScriptedPermit { script: self.clone(), ticket };
        poll_fn(|_| {
            let permitted = self.state().queue.has_permit(ticket);
            if permitted { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        permit
    }

    fn is_at_share(&self, caller: &Caller) -> bool {
        self.state().queue.is_at_share(caller)
    }

    async fn heavy<T: Send + 'static>(
        &self,
        longest: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let mode = {
            let mut state = self.state();
            state.heavy_work += 1;
            state.heavy_threads
        };
        match mode {
            HeavyThreads::Free => Some(work()),
            HeavyThreads::Taken => {
                self.timer(longest).await;
                None
            }
            HeavyThreads::Slow => {
                self.state().unfinished_work.push(Box::new(move || drop(work())));
                std::future::pending().await
            }
        }
    }

    async fn send(
        &self,
        request: Request<Payload>,
        again: impl Fn() -> Option<Request<Payload>>,
    ) -> Result<Response<ScriptedBody>, SendError> {
        let again = again().map(Request::into_parts);
        let (head, payload) = request.into_parts();
        if let Some((again, repeated)) = again {
            // What goes to another connection is the same request.
            assert_eq!((&again.method, &again.uri), (&head.method, &head.uri));
            assert_eq!(again.headers, head.headers);
            assert!(repeated == payload, "the body of the repetition differs");
        }
        self.exchange(head, &payload.to_bytes()).await
    }

    /// Upstream sees the request when its body has ended.
    async fn send_streamed<B>(
        &self,
        request: Request<()>,
        mut body: Pin<&mut B>,
    ) -> Result<Response<ScriptedBody>, SendError>
    where
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let mut collected = Vec::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|error| SendError::Client(error.into()))?;
            collected.extend(frame.into_data().unwrap_or_default());
        }
        self.exchange(request.into_parts().0, &collected).await
    }

    fn has_upgrades(&self) -> bool {
        true
    }

    async fn upgrade(&self, request: Request<()>) -> Result<Response<ScriptedBody>, SendError> {
        let mut response = self.exchange(request.into_parts().0, b"").await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            response.extensions_mut().insert(ScriptedUpgrade);
        }
        Ok(response)
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let clock = self.wall_clock();
        let state = self.state();
        if state.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        let found = state.store.get(key).filter(|(_, until)| clock < *until);
        Ok(found.map(|(value, _)| value.clone()))
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        token: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let until = self.wall_clock() + ttl;
        let mut state = self.state();
        state.saves += 1;
        if state.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        if let (Some(token), Some(locks)) = (token, &mut state.locks)
            && !locks.entry(key.to_owned()).or_default().write(token)
        {
            return Ok(());
        }
        state.store.insert(key.to_owned(), (value, until));
        Ok(())
    }

    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        let clock = self.wall_clock();
        match &mut self.state().locks {
            Some(locks) => locks.entry(key.to_owned()).or_default().claim(clock, ttl),
            None => LockResult::NotShared,
        }
    }

    async fn renew(&self, key: &str, token: FencingToken, ttl: Duration) -> bool {
        let clock = self.wall_clock();
        match &mut self.state().locks {
            Some(locks) => locks.entry(key.to_owned()).or_default().renew(clock, token, ttl),
            None => false,
        }
    }

    async fn unlock(&self, key: &str, token: FencingToken) {
        if let Some(locks) = &mut self.state().locks {
            locks.entry(key.to_owned()).or_default().release(token);
        }
    }

    fn has_shared_store(&self) -> bool {
        self.state().locks.is_some()
    }

    async fn count_request(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let state = &mut *self.state();
        let now = state.now;
        if state.locks.is_none() || state.store_broken {
            return None;
        }
        let limiter = match state.limiters.entry(rate.limit) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(RateLimiter::new(rate.limit, rate.window)?),
        };
        Some(limiter.ask(caller, now))
    }

    async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        let clock = self.wall_clock();
        let (standing, late) = {
            let mut state = self.state();
            if state.locks.is_none() || state.store_broken {
                return None;
            }
            (state.usage.reserve(request, clock), state.reservations_take)
        };
        if !late.is_zero() {
            self.timer(late).await;
        }
        Some(standing)
    }

    async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let clock = self.wall_clock();
        let mut state = self.state();
        if state.store_broken || state.usage_refused {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        state.usage.add(batch, clock);
        if state.usage_answers_lost {
            return Err(StoreError("the test lost the store's answer".to_owned()));
        }
        Ok(())
    }

    async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let state = self.state();
        if state.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        Ok(state.usage.rows(days, key))
    }

    async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        self.state().usage.remove(before);
        Ok(())
    }

    fn store_connected(&self) -> bool {
        true
    }

    async fn credential_file(&self, path: &str, seen: Option<u64>) -> CredentialFile {
        let state = self.state();
        let (file, path) = match state.files.is_empty() {
            true => (state.credential_file.as_ref(), "oauth_creds.json"),
            false => (state.files.get(path), path),
        };
        match file {
            None => CredentialFile::Absent { path: path.to_owned(), encrypted_store: false },
            Some((stamp, _)) if seen == Some(*stamp) => CredentialFile::Unchanged,
            Some((stamp, content)) => {
                CredentialFile::Read { stamp: *stamp, content: content.clone() }
            }
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.state().variables.get(name).cloned()
    }

    /// The signature is a hash of key and message.
    async fn sign_rs256(&self, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if key.pkcs8() == BROKEN_KEY {
            return Err(SignError::InvalidKey("it is broken".to_owned()));
        }
        self.state().signatures += 1;
        let mut hasher = DefaultHasher::new();
        (key.pkcs8(), message).hash(&mut hasher);
        Ok(hasher.finish().to_be_bytes().to_vec())
    }

    fn samples(&self, _: TraceId, client: Option<bool>) -> Option<bool> {
        self.state().samples.map(|samples| client.unwrap_or(samples))
    }

    fn is_auditing(&self) -> bool {
        self.state().auditing
    }

    fn record(&self, record: RequestRecord) {
        self.state().records.push(record);
    }

    fn log_request(&self, line: &RequestLine<'_>) {
        let observer = self.state().request_lines.clone();
        if let Some(observe) = observer {
            observe(line);
        }
        line.emit();
    }

    fn spawn_job(&self, job: BackgroundJob) {
        lock(&self.jobs).push(job);
    }
}

impl ScriptedPlatform {
    /// Passes a request to the script, and waits for the head of its reply.
    async fn exchange(
        &self,
        head: Parts,
        body: &[u8],
    ) -> Result<Response<ScriptedBody>, SendError> {
        let reply = {
            let mut state = self.state();
            let received = Received {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body: String::from_utf8_lossy(body).into_owned(),
                at: state.now,
            };
            state.received.push(received.clone());
            (state.upstream)(&received)
        };
        let exchange = Exchange::new(self);
        if !reply.delay.is_zero() {
            self.timer(reply.delay).await;
        }
        let (status, headers) = reply.head?;
        let pieces = reply.pieces.into_iter();
        let script = self.clone();
        let body =
            ScriptedBody { script, pieces, silence: None, ended: false, _exchange: exchange };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// A key that signs nothing: `broken` in base64 is `YnJva2Vu`.
const BROKEN_KEY: &[u8] = b"broken";

/// What the extensions of an answer with the status 101 hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptedUpgrade;

/// A concurrency permit, or the wait for one.
#[derive(Debug)]
pub struct ScriptedPermit {
    script: ScriptedPlatform,
    ticket: Ticket,
}

impl Drop for ScriptedPermit {
    fn drop(&mut self) {
        let ticket = self.ticket;
        let mut state = self.script.state();
        state.permits_released += 1;
        state.queue.leave(ticket);
    }
}

/// A timer of the scripted clock.
#[derive(Debug)]
pub struct ScriptedTimer {
    script: ScriptedPlatform,
    at: Monotonic,
}

impl Future for ScriptedTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.script.state().now >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}
