//! What happened: counters for `/health`, and one log line a request, written when its body has
//! ended. Nothing here holds a secret: no body, no token, no query string.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use crate::assist::envelope::Usage;
use crate::platform::{Millis, Moment, Platform};

/// Counters of one process (or one isolate). All of them only ever grow, but for the last state of
/// store and upstream.
#[derive(Debug, Default)]
pub struct Report {
    started: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicU64,
    overhead_micros: AtomicU64,
    token_asked: AtomicU64,
    token_at_hand: AtomicU64,
    refreshes: AtomicU64,
    upstream_asked: AtomicBool,
    upstream_failures: AtomicU32,
    store_failed: AtomicBool,
    shutting_down: AtomicBool,
}

impl Report {
    /// Counters at zero, their time beginning now.
    pub fn new(now: Moment) -> Self {
        Self { started: AtomicU64::new(now.0), ..Self::default() }
    }

    /// A request asked for an access token; `at_hand` says whether it had to wait for one.
    pub fn token_asked(&self, at_hand: bool) {
        self.token_asked.fetch_add(1, Relaxed);
        self.token_at_hand.fetch_add(u64::from(at_hand), Relaxed);
    }

    /// A refresh gave a new access token.
    pub fn refreshed(&self) {
        self.refreshes.fetch_add(1, Relaxed);
    }

    /// Upstream answered a call, or failed to: no connection, a timeout, a 5xx, a broken stream.
    pub fn upstream(&self, ok: bool) {
        self.upstream_asked.store(true, Relaxed);
        if ok {
            self.upstream_failures.store(0, Relaxed);
        } else {
            self.upstream_failures.fetch_add(1, Relaxed);
        }
    }

    /// The store did, or did not do, what it was asked.
    pub fn store(&self, ok: bool) {
        self.store_failed.store(!ok, Relaxed);
    }

    /// Requests whose answer has not ended, those of the proxy's own included.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// The shell has begun to shut down.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Relaxed);
    }

    /// True once the shell has begun to shut down.
    pub fn shutting_down(&self) -> bool {
        self.shutting_down.load(Relaxed)
    }

    /// The body of `GET /health` (`spec.md` 13), and whether its status is 200.
    pub fn health(
        &self,
        clock: Millis,
        now: Moment,
        credentials_ok: bool,
        store_connected: bool,
    ) -> (bool, String) {
        let upstream = match self.upstream_failures.load(Relaxed) {
            _ if !self.upstream_asked.load(Relaxed) => "unknown",
            0 => "healthy",
            1..UNHEALTHY_FROM => "degraded",
            UNHEALTHY_FROM.. => "unhealthy",
        };
        let store_ok = store_connected && !self.store_failed.load(Relaxed);
        let degraded = !store_ok || !credentials_ok || matches!(upstream, "degraded" | "unhealthy");
        let status = match (self.shutting_down(), degraded) {
            (true, _) => "unhealthy",
            (false, true) => "degraded",
            (false, false) => "healthy",
        };
        let requests = self.requests.load(Relaxed);
        let asked = self.token_asked.load(Relaxed);
        let overhead = Duration::from_micros(self.overhead_micros.load(Relaxed));
        let body = format!(
            concat!(
                r#"{{"status":{},"timestamp":{},"version":{},"metrics":{{"uptime":{},"#,
                r#""requests_processed":{},"cache_hit_rate":{},"avg_response_time_ms":{},"#,
                r#""token_refreshes":{},"circuit_breaker_state":"closed"}},"#,
                r#""kv_status":{},"upstream_status":{}}}"#
            ),
            json!(status),
            json!(seconds_stamp(clock)),
            json!(env!("CARGO_PKG_VERSION")),
            now.since(Moment(self.started.load(Relaxed))).as_secs(),
            requests,
            json!(rounded(ratio(self.token_at_hand.load(Relaxed), asked))),
            json!(rounded(overhead.as_secs_f64() * 1000.0 / (requests.max(1) as f64))),
            self.refreshes.load(Relaxed),
            json!(if store_ok { "connected" } else { "disconnected" }),
            json!(upstream),
        );
        (status != "unhealthy", body)
    }

    fn request_ended(&self, entry: &Entry, proxy: Duration) {
        if entry.counted {
            self.requests.fetch_add(1, Relaxed);
            let micros = u64::try_from(proxy.as_micros()).unwrap_or(u64::MAX);
            self.overhead_micros.fetch_add(micros, Relaxed);
        }
    }
}

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
    /// Upstream's trace id.
    pub trace_id: String,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body so far.
    pub bytes_out: u64,
    /// Token counts, the last ones seen.
    pub usage: Usage,
    /// When the request came.
    pub received: Moment,
    /// Time spent on reading the client's body.
    pub intake: Duration,
    /// Time spent waiting for a token and a project.
    pub auth: Duration,
    /// Time spent waiting in line.
    pub queue: Duration,
    /// Time spent waiting for upstream's head and first event.
    pub upstream: Duration,
    /// When the answer's head was ready.
    pub answered: Option<Moment>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Entry {
    /// A request that has just come.
    pub fn new(request_id: String, received: Moment) -> Self {
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
            trace_id: String::new(),
            bytes_in: 0,
            bytes_out: 0,
            usage: Usage::default(),
            received,
            intake: Duration::ZERO,
            auth: Duration::ZERO,
            queue: Duration::ZERO,
            upstream: Duration::ZERO,
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
    pub fn proxy(&self, now: Moment) -> Duration {
        let spent = self.intake + self.auth + self.queue + self.upstream;
        self.answered.unwrap_or(now).since(self.received).saturating_sub(spent)
    }

    /// The value of `server-timing`.
    pub fn server_timing(&self, now: Moment) -> String {
        format!(
            "auth;dur={:.3}, queue;dur={:.3}, upstream;dur={:.3}, proxy;dur={:.3}",
            millis(self.auth),
            millis(self.queue),
            millis(self.upstream),
            millis(self.proxy(now)),
        )
    }
}

/// An [`Entry`] that is written down when it is dropped: with the end of the answer's body, or with
/// the client's going away at any moment before.
#[derive(Debug)]
pub struct Ledger<P: Platform> {
    platform: P,
    report: Arc<Report>,
    /// The entry, to be filled in.
    pub entry: Entry,
}

impl<P: Platform> Ledger<P> {
    /// Opens a ledger for one request.
    pub fn open(platform: &P, report: &Arc<Report>, entry: Entry) -> Self {
        report.in_flight.fetch_add(1, Relaxed);
        Self { platform: platform.clone(), report: Arc::clone(report), entry }
    }

    /// The platform that the ledger keeps time with.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// The counters that the entry goes into.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl<P: Platform> Drop for Ledger<P> {
    fn drop(&mut self) {
        self.report.in_flight.fetch_sub(1, Relaxed);
        let now = self.platform.now();
        let entry = &self.entry;
        let proxy = entry.proxy(now);
        self.report.request_ended(entry, proxy);
        if !entry.counted {
            return;
        }
        let outcome = match entry.outcome {
            Outcome::ClientGone => "client_gone",
            Outcome::Cut => "cut",
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
        };
        let ttfb = entry.answered.map_or(0.0, |at| millis(at.since(entry.received)));
        tracing::info!(
            target: "request",
            request_id = entry.request_id,
            duration_ms = millis(now.since(entry.received)),
            cache_hit = entry.token_at_hand.unwrap_or(false),
            model = entry.model,
            status = entry.status,
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
            "request"
        );
    }
}

/// `2024-01-15T10:30:00Z`.
fn seconds_stamp(clock: Millis) -> String {
    let seconds = i64::try_from(clock.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// To three decimals: microseconds are what the clock knows.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Failures in a row that make upstream `unhealthy`: the breaker's default threshold.
const UNHEALTHY_FROM: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = Millis(1_705_314_600_000);

    #[test]
    fn health_has_exactly_the_documented_shape() {
        let report = Report::new(Moment(0));
        report.token_asked(true);
        report.token_asked(false);
        report.refreshed();
        report.upstream(true);
        let (ok, body) = report.health(NOON, Moment(3_600_000_000), true, true);
        assert!(ok);
        assert_eq!(
            body,
            format!(
                concat!(
                    r#"{{"status":"healthy","timestamp":"2024-01-15T10:30:00Z","version":"{}","#,
                    r#""metrics":{{"uptime":3600,"requests_processed":0,"cache_hit_rate":0.5,"#,
                    r#""avg_response_time_ms":0.0,"token_refreshes":1,"#,
                    r#""circuit_breaker_state":"closed"}},"kv_status":"connected","#,
                    r#""upstream_status":"healthy"}}"#
                ),
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn health_tells_of_store_upstream_and_shutdown() {
        let report = Report::new(Moment(0));
        let health = |report: &Report| report.health(NOON, Moment(1), true, true);
        assert!(health(&report).1.contains(r#""upstream_status":"unknown""#));
        report.store(false);
        let (ok, body) = health(&report);
        assert!(ok && body.contains(r#""status":"degraded""#));
        assert!(body.contains(r#""kv_status":"disconnected""#));
        report.store(true);
        report.upstream(false);
        assert!(health(&report).1.contains(r#""upstream_status":"degraded""#));
        for _ in 0..5 {
            report.upstream(false);
        }
        assert!(health(&report).1.contains(r#""upstream_status":"unhealthy""#));
        report.upstream(true);
        assert!(health(&report).1.contains(r#""status":"healthy""#));
        report.shut_down();
        let (ok, body) = health(&report);
        assert!(!ok && body.contains(r#""status":"unhealthy""#));
    }
}
