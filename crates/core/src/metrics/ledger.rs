//! One request from its beginning to the end of its answer's body, and the log line that tells of
//! it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{CacheResult, Metrics, RetryReason, millis};
use crate::platform::Platform;
use crate::policy::breaker;
use crate::policy::in_flight::InFlightGuard;
use crate::provider::code_assist::envelope::Usage;
use crate::time::Monotonic;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client went away before the end.
    ClientGone,
    /// Upstream broke off, or ended a stream without a `finishReason`.
    Cut,
    /// The whole answer was delivered.
    Ok,
    /// An error was the answer.
    Refused,
}

/// What is known of one request.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `x-request-id`.
    pub request_id: String,
    /// The method in the API's own name, such as `streamGenerateContent`, or the path's role.
    pub method: &'static str,
    /// The model as it was sent upstream.
    pub model: String,
    /// The answer is a stream.
    pub stream: bool,
    /// The name or short hash of the client's key.
    pub client: Option<Arc<str>>,
    /// Counts towards `requests_processed`: everything but health checks and the like.
    pub counted: bool,
    /// HTTP status of the answer, 0 as long as there is none.
    pub status: u16,
    /// The reason of the refusal, if it was one.
    pub reason: Option<&'static str>,
    /// An access token was at hand; `None` when none was asked for.
    pub token_at_hand: Option<bool>,
    /// Further tries after the first one.
    pub retries: u32,
    /// What dedup and response cache did, if the request was one for them.
    pub x_cache: Option<CacheResult>,
    /// Upstream's trace id.
    pub trace_id: String,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body so far.
    pub bytes_out: u64,
    /// Token counts, the last ones seen.
    pub usage: Usage,
    /// When the request came.
    pub received: Monotonic,
    /// When the client will have lost its patience, if it named a time.
    pub deadline: Option<Monotonic>,
    /// Time spent on reading the client's body.
    pub intake: Duration,
    /// Time spent waiting for a token and a project.
    pub auth: Duration,
    /// Time spent waiting in line.
    pub queue: Duration,
    /// Time spent waiting for upstream's head and first event.
    pub upstream: Duration,
    /// From the last try's sending to upstream's head, and of a stream to its first event. `None`
    /// when upstream was not asked or did not answer.
    pub first_byte: Option<Duration>,
    /// When the answer's head was ready.
    pub answered: Option<Monotonic>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Entry {
    /// A request that has just come.
    pub fn new(request_id: String, received: Monotonic) -> Self {
        Self {
            request_id,
            method: "",
            model: String::new(),
            stream: false,
            client: None,
            counted: true,
            status: 0,
            reason: None,
            token_at_hand: None,
            retries: 0,
            x_cache: None,
            trace_id: String::new(),
            bytes_in: 0,
            bytes_out: 0,
            usage: Usage::default(),
            received,
            deadline: None,
            intake: Duration::ZERO,
            auth: Duration::ZERO,
            queue: Duration::ZERO,
            upstream: Duration::ZERO,
            first_byte: None,
            answered: None,
            outcome: Outcome::ClientGone,
        }
    }

    /// Says how it ended. The first word stands: what comes after an error is not its end.
    pub fn settle(&mut self, outcome: Outcome) {
        if self.outcome == Outcome::ClientGone {
            self.outcome = outcome;
        }
    }

    /// The proxy's own share of the time until the answer's head.
    pub fn proxy(&self, now: Monotonic) -> Duration {
        let spent = self.intake + self.auth + self.queue + self.upstream;
        self.answered.unwrap_or(now).since(self.received).saturating_sub(spent)
    }

    /// The value of `server-timing`, in milliseconds.
    pub fn server_timing(&self, now: Monotonic) -> HeaderValue {
        let mut timing = Timing { text: [0; SERVER_TIMING], len: 0 };
        for (name, took) in [
            ("auth;dur=", self.auth),
            (", queue;dur=", self.queue),
            (", upstream;dur=", self.upstream),
            (", proxy;dur=", self.proxy(now)),
        ] {
            let micros = took.as_secs() * 1_000_000 + (u64::from(took.subsec_nanos()) + 500) / 1000;
            timing.push(name.as_bytes());
            timing.push_number(micros / 1000);
            let digit = |place| b'0' + (micros / place % 10) as u8;
            timing.push(&[b'.', digit(100), digit(10), digit(1)]);
        }
        HeaderValue::from_bytes(&timing.text[..timing.len]).expect("letters, digits and signs")
    }
}

/// An [`Entry`] that is written down when it is dropped: with the end of the answer's body, or with
/// the client's going away at any moment before.
#[derive(Debug)]
pub struct Ledger<P: Platform> {
    platform: P,
    report: Arc<Metrics>,
    /// The endpoint that works on it.
    visit: Option<InFlightGuard>,
    /// Its place among `MAX_CONCURRENT_REQUESTS`.
    place: Option<P::Place>,
    /// The value of `x-cache`, if its answer has one.
    pub x_cache: Option<&'static str>,
    /// Headers that its answer carries, whatever it will be.
    pub headers: HeaderMap,
    /// The entry, to be filled in.
    pub entry: Entry,
}

impl<P: Platform> Ledger<P> {
    /// Opens a ledger for one request.
    pub fn open(platform: &P, report: &Arc<Metrics>, entry: Entry) -> Self {
        report.in_flight.fetch_add(1, Relaxed);
        report.set_aside.fetch_add(u64::from(!entry.counted), Relaxed);
        let (platform, report) = (platform.clone(), Arc::clone(report));
        Self {
            platform,
            report,
            visit: None,
            place: None,
            x_cache: None,
            headers: HeaderMap::new(),
            entry,
        }
    }

    /// The request is for the proxy itself (health, metrics, the status page): it is counted nowhere.
    pub fn set_aside(&mut self) {
        if self.entry.counted {
            self.entry.counted = false;
            self.report.set_aside.fetch_add(1, Relaxed);
        }
    }

    /// The next try begins, for this reason.
    pub fn retried(&mut self, reason: RetryReason) {
        self.entry.retries += 1;
        self.report.retried(reason);
    }

    /// A place in line has been reached. It is kept until upstream has been heard out.
    pub fn keep(&mut self, place: P::Place) {
        self.place = Some(place);
    }

    /// True while the request has its place.
    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// A call goes to an endpoint. It is in flight there until upstream has been heard out.
    pub fn visit(&mut self, visit: InFlightGuard) {
        self.leave();
        self.report.endpoint_in_flight(visit.index, true);
        self.visit = Some(visit);
    }

    /// Upstream's answer has begun.
    pub fn upstream_alive(&self) {
        if let Some(visit) = &self.visit {
            let state = visit.alive(self.platform.now());
            self.report.breaker(visit.index, state);
        }
    }

    /// Upstream has been heard out, or has failed. A place in line is given back only when the
    /// request is over, since a failed try may be followed by another.
    pub fn upstream_did(&mut self, outcome: breaker::Outcome) {
        match outcome {
            breaker::Outcome::Failure => self.report.upstream(false),
            breaker::Outcome::Alive | breaker::Outcome::Success => self.report.upstream(true),
            breaker::Outcome::Neutral => {}
        }
        if let Some(visit) = self.visit.take() {
            let index = visit.index;
            self.report.endpoint_in_flight(index, false);
            self.report.breaker(index, visit.end(outcome, self.platform.now()));
        }
    }

    /// Upstream is needed no more.
    pub fn leave_line(&mut self) {
        self.place = None;
    }

    fn leave(&mut self) {
        if let Some(visit) = self.visit.take() {
            self.report.endpoint_in_flight(visit.index, false);
        }
    }

    /// The platform that the ledger keeps time with.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// The counters that the entry goes into.
    pub fn report(&self) -> &Metrics {
        &self.report
    }
}

impl<P: Platform> Drop for Ledger<P> {
    fn drop(&mut self) {
        self.leave();
        self.report.in_flight.fetch_sub(1, Relaxed);
        self.report.set_aside.fetch_sub(u64::from(!self.entry.counted), Relaxed);
        let now = self.platform.now();
        let entry = &self.entry;
        let proxy = entry.proxy(now);
        if !entry.counted {
            return;
        }
        self.report.request_ended(entry, proxy, now);
        let outcome = match entry.outcome {
            Outcome::ClientGone => "client_gone",
            Outcome::Cut => "cut",
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
        };
        let ttfb = entry.answered.map_or(0.0, |at| millis(at.since(entry.received)));
        tracing::info!(
            target: "request",
            // As a field of its own: a literal would go through `fmt`.
            message = "request",
            request_id = entry.request_id,
            duration_ms = millis(now.since(entry.received)),
            cache_hit = entry.token_at_hand.unwrap_or(false),
            model = entry.model,
            status = entry.status,
            x_cache = entry.x_cache.map_or("", CacheResult::header),
            method = entry.method,
            stream = entry.stream,
            upstream_ms = millis(entry.upstream),
            overhead_ms = millis(proxy),
            ttfb_ms = ttfb,
            retries = entry.retries,
            trace_id = entry.trace_id,
            client = entry.client.as_deref().unwrap_or_default(),
            bytes_in = entry.bytes_in,
            bytes_out = entry.bytes_out,
            prompt_tokens = entry.usage.prompt,
            output_tokens = entry.usage.output,
            reason = entry.reason.unwrap_or_default(),
            outcome,
        );
    }
}

/// A text in the making. Through `write!` and a `String` the four times were a twentieth of the
/// proxy's own work for a small request.
struct Timing {
    text: [u8; SERVER_TIMING],
    len: usize,
}

impl Timing {
    fn push(&mut self, more: &[u8]) {
        self.text[self.len..][..more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    fn push_number(&mut self, number: u64) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

/// Room for four times of twenty digits each, longer than any there can be.
const SERVER_TIMING: usize = 160;
