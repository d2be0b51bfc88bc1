//! The bodies of `GET /health` and `GET /health/detailed` (`docs/METRICS.md`). They need no upstream
//! call, no access to the store and no waiting.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram::{Histogram, RECENT_SECONDS};
use super::{BreakerState, EndpointMetrics, Metrics, ratio, rounded};
use crate::platform::{ProcessStats, StoreStats};
use crate::policy::token::TokenExpiry;
use crate::time::{Monotonic, Timestamp};

/// The proxy's state at this moment, besides what was counted.
#[derive(Debug, Clone)]
pub(crate) struct HealthInput {
    pub(crate) clock: Timestamp,
    pub(crate) now: Monotonic,
    /// `Platform::store_connected`.
    pub(crate) store_connected: bool,
    pub(crate) store_stats: StoreStats,
    pub(crate) credentials: CredentialStatus,
    pub(crate) token: TokenExpiry,
    /// `known`, `unknown` or `refused`. The project's id is left out, since it is private.
    pub(crate) project: &'static str,
    /// `MAX_CONCURRENT_REQUESTS`.
    pub(crate) most_requests: usize,
    /// How many of them one caller may have.
    pub(crate) most_per_caller: usize,
    /// `QUEUE_TIMEOUT_MS`.
    pub(crate) queue_timeout: Duration,
    /// The models whose circuit breakers are not closed.
    pub(crate) resting: Vec<RestingModelStatus>,
    /// The models whose quotas are known to be exhausted, and when each quota is reset.
    pub(crate) exhausted: Vec<(String, Timestamp)>,
    /// `GET /ready` answers 200.
    pub(crate) ready: bool,
    /// How much of the memory budget is reserved.
    pub(crate) memory_used: usize,
    /// `MEMORY_BUDGET_BYTES`.
    pub(crate) memory_limit: usize,
    pub(crate) process_stats: ProcessStats,
}

/// A model whose circuit breaker is not closed.
#[derive(Debug, Clone)]
pub(crate) struct RestingModelStatus {
    /// The position of the endpoint in the settings.
    pub(crate) endpoint: usize,
    pub(crate) model: String,
    /// The API's method.
    pub(crate) method: &'static str,
    pub(crate) state: BreakerState,
    /// The time until the next request may go as a probe.
    pub(crate) open_for: Duration,
}

/// The state of the proxy's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialStatus {
    /// No token can be obtained. Holds the label and the message of the error that clients get.
    Failed(&'static str, String),
    /// Tokens can be obtained, as far as is known.
    Ok,
}

impl Metrics {
    /// Writes the body of `GET /health`, and returns it with true if the status is 200.
    pub(crate) fn health(&self, input: &HealthInput) -> (bool, String) {
        let (ok, mut body) = self.summary(input);
        body.push('}');
        (ok, body)
    }

    /// Writes the body of `GET /health/detailed`, and returns it with true if the status is 200.
    pub(crate) fn health_detailed(&self, input: &HealthInput) -> (bool, String) {
        let (ok, mut body) = self.summary(input);
        body.push_str(r#","checks":"#);
        body.push_str(&self.checks(input).to_string());
        body.push_str(r#","latency":"#);
        body.push_str(&self.latency(input.now).to_string());
        body.push('}');
        (ok, body)
    }

    /// Writes the body of `/health` without its closing brace.
    fn summary(&self, input: &HealthInput) -> (bool, String) {
        let upstream = self.upstream_status();
        let store_ok = self.store_ok(input);
        let degraded = !store_ok
            || input.credentials != CredentialStatus::Ok
            || !input.exhausted.is_empty()
            || self.worst_breaker(input) != BreakerState::Closed
            || matches!(upstream, "degraded" | "unhealthy");
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
                r#""token_refreshes":{},"circuit_breaker_state":{}}},"#,
                r#""kv_status":{},"upstream_status":{}"#
            ),
            json!(status),
            json!(seconds_stamp(input.clock)),
            json!(env!("CARGO_PKG_VERSION")),
            self.uptime(input.now).as_secs(),
            requests,
            json!(rounded(ratio(self.token_at_hand.load(Relaxed), asked))),
            json!(rounded(overhead.as_secs_f64() * 1000.0 / (requests.max(1) as f64))),
            self.refreshes.load(Relaxed),
            json!(self.worst_breaker(input).label()),
            json!(if store_ok { "connected" } else { "disconnected" }),
            json!(upstream),
        );
        (status != "unhealthy", body)
    }

    fn checks(&self, input: &HealthInput) -> Value {
        let credentials = match &input.credentials {
            CredentialStatus::Ok => json!({ "status": "ok" }),
            CredentialStatus::Failed(label, message) => {
                json!({ "status": label, "message": message })
            }
        };
        let expiry = input.token.at();
        json!({
            "credentials": credentials,
            "token": {
                "status": if input.token == TokenExpiry::NoToken { "none" } else { "alive" },
                "expires_at": expiry.map(seconds_stamp),
                "expires_in_seconds": expiry.map(|at| input.clock.until(at).as_secs()),
                "refreshes": self.refreshes.load(Relaxed),
                "failed_refreshes": self.failed_refreshes.load(Relaxed),
            },
            "project": { "status": input.project },
            "reload": { "succeeded_at": self.reload(0), "failed_at": self.reload(1) },
            "store": { "status": if self.store_ok(input) { "connected" } else { "disconnected" } },
            "endpoints": self.endpoints.iter().map(EndpointMetrics::shown).collect::<Vec<_>>(),
            "resting_models": input.resting.iter().map(|it| self.resting(it, input.clock)).collect::<Vec<_>>(),
            "exhausted_quotas": input.exhausted.iter().map(|it| exhausted(it, input.clock)).collect::<Vec<_>>(),
            "queue": {
                "in_flight": self.requests_in_flight(),
                "in_use": self.permits_in_use.load(Relaxed),
                "limit": input.most_requests,
                "per_caller": input.most_per_caller,
                "waiting": self.queued.load(Relaxed),
                "timeout_ms": u64::try_from(input.queue_timeout.as_millis()).unwrap_or(u64::MAX),
            },
            "memory": { "used_bytes": input.memory_used, "limit_bytes": input.memory_limit },
        })
    }

    fn reload(&self, which: usize) -> Option<String> {
        let at = Timestamp(self.reloads[which].load(Relaxed));
        (at.0 != 0).then(|| seconds_stamp(at))
    }

    fn resting(&self, model: &RestingModelStatus, clock: Timestamp) -> Value {
        json!({
            "model": model.model,
            "method": model.method,
            "endpoint": self.endpoints.get(model.endpoint).map(|endpoint| &endpoint.url),
            "breaker": model.state.label(),
            "until": seconds_stamp(clock + model.open_for),
            "seconds_left": whole_seconds(model.open_for),
        })
    }

    /// The state of the worst breaker, of an endpoint or of a model.
    pub(super) fn worst_breaker(&self, input: &HealthInput) -> BreakerState {
        let endpoints = self.endpoints.iter().map(EndpointMetrics::breaker);
        let models = input.resting.iter().map(|model| model.state);
        endpoints.chain(models).max().unwrap_or_default()
    }

    /// Quantiles of about the last minute.
    fn latency(&self, now: Monotonic) -> Value {
        let shown = |histogram: &Histogram| {
            let recent = histogram.recent(now);
            let at = |q: f64| recent.millis(q).map(rounded);
            json!({ "count": recent.count(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99) })
        };
        json!({
            "unit": "ms",
            "window_seconds": RECENT_SECONDS,
            "overhead": shown(&self.overhead),
            "upstream_first_byte": shown(&self.first_byte),
            "total": shown(&self.total),
        })
    }

    /// The state of upstream, from the last calls of clients' requests.
    pub(super) fn upstream_status(&self) -> &'static str {
        match self.upstream_failures.load(Relaxed) {
            _ if !self.upstream_asked.load(Relaxed) => "unknown",
            0 => "healthy",
            1..UNHEALTHY_FROM => "degraded",
            UNHEALTHY_FROM.. => "unhealthy",
        }
    }

    pub(super) fn store_ok(&self, input: &HealthInput) -> bool {
        input.store_connected && !self.store_failed.load(Relaxed)
    }
}

impl EndpointMetrics {
    fn shown(&self) -> Value {
        json!({
            "url": self.url,
            "breaker": self.breaker().label(),
            "in_flight": self.in_flight.load(Relaxed),
        })
    }
}

fn exhausted((model, reset): &(String, Timestamp), clock: Timestamp) -> Value {
    json!({
        "model": model,
        "until": seconds_stamp(*reset),
        "seconds_left": whole_seconds(clock.until(*reset)),
    })
}

/// The seconds, rounded up: after so many the time is over.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// `2024-01-15T10:30:00Z`.
fn seconds_stamp(clock: Timestamp) -> String {
    let seconds = i64::try_from(clock.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Failures in a row that make upstream `unhealthy`: the breaker's default threshold.
const UNHEALTHY_FROM: u32 = 5;
