//! `GET /health` and `GET /health/detailed` (`docs/METRICS.md`): no upstream call, no store, no
//! waiting.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram::{Histogram, RECENT_SECONDS};
use super::{BreakerState, EndpointMetrics, Metrics, ratio, rounded};
use crate::platform::ProcessStats;
use crate::time::{Monotonic, Timestamp};

/// What the proxy sees of itself at this moment, besides what was counted.
#[derive(Debug, Clone)]
pub(crate) struct HealthInput {
    /// The wall clock.
    pub(crate) clock: Timestamp,
    /// Monotonic time.
    pub(crate) now: Monotonic,
    /// `Platform::store_connected`.
    pub(crate) store_connected: bool,
    /// How it stands with what we sign in with.
    pub(crate) credentials: CredentialStatus,
    /// When the access token expires: `None` without a living token, `Some(None)` when not known.
    pub(crate) token: Option<Option<Timestamp>>,
    /// `known`, `unknown` or `refused`. Not the project's id, which is nobody's business.
    pub(crate) project: &'static str,
    /// `MAX_CONCURRENT_REQUESTS`.
    pub(crate) most_requests: usize,
    /// `QUEUE_TIMEOUT_MS`.
    pub(crate) queue_timeout: Duration,
    /// Memory, file descriptors, processor time.
    pub(crate) process_stats: ProcessStats,
}

/// How it stands with what we sign in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialStatus {
    /// No token can be got: the label and the message of the error that clients get.
    Failed(&'static str, String),
    /// They give tokens, as far as is known.
    Ok,
}

impl Metrics {
    /// The body of `GET /health`, and whether its status is 200.
    pub(crate) fn health(&self, sight: &HealthInput) -> (bool, String) {
        let (ok, mut body) = self.summary(sight);
        body.push('}');
        (ok, body)
    }

    /// The body of `GET /health/detailed`, and whether its status is 200.
    pub(crate) fn health_detailed(&self, sight: &HealthInput) -> (bool, String) {
        let (ok, mut body) = self.summary(sight);
        body.push_str(r#","checks":"#);
        body.push_str(&self.checks(sight).to_string());
        body.push_str(r#","latency":"#);
        body.push_str(&self.latency(sight.now).to_string());
        body.push('}');
        (ok, body)
    }

    /// `/health` but for its closing brace.
    fn summary(&self, sight: &HealthInput) -> (bool, String) {
        let upstream = self.upstream_status();
        let store_ok = self.store_ok(sight);
        let degraded = !store_ok
            || sight.credentials != CredentialStatus::Ok
            || self.worst_breaker() != BreakerState::Closed
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
            json!(seconds_stamp(sight.clock)),
            json!(env!("CARGO_PKG_VERSION")),
            self.uptime(sight.now).as_secs(),
            requests,
            json!(rounded(ratio(self.token_at_hand.load(Relaxed), asked))),
            json!(rounded(overhead.as_secs_f64() * 1000.0 / (requests.max(1) as f64))),
            self.refreshes.load(Relaxed),
            json!(self.worst_breaker().label()),
            json!(if store_ok { "connected" } else { "disconnected" }),
            json!(upstream),
        );
        (status != "unhealthy", body)
    }

    fn checks(&self, sight: &HealthInput) -> Value {
        let credentials = match &sight.credentials {
            CredentialStatus::Ok => json!({ "status": "ok" }),
            CredentialStatus::Failed(label, message) => {
                json!({ "status": label, "message": message })
            }
        };
        let expiry = sight.token.flatten();
        json!({
            "credentials": credentials,
            "token": {
                "status": if sight.token.is_some() { "alive" } else { "none" },
                "expires_at": expiry.map(seconds_stamp),
                "expires_in_seconds": expiry.map(|at| sight.clock.until(at).as_secs()),
                "refreshes": self.refreshes.load(Relaxed),
                "failed_refreshes": self.failed_refreshes.load(Relaxed),
            },
            "project": { "status": sight.project },
            "store": { "status": if self.store_ok(sight) { "connected" } else { "disconnected" } },
            "endpoints": self.endpoints.iter().map(EndpointMetrics::shown).collect::<Vec<_>>(),
            "queue": {
                "in_flight": self.requests_in_flight(),
                "limit": sight.most_requests,
                "waiting": self.queued.load(Relaxed),
                "timeout_ms": u64::try_from(sight.queue_timeout.as_millis()).unwrap_or(u64::MAX),
            },
        })
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

    /// From the last real traffic.
    pub(super) fn upstream_status(&self) -> &'static str {
        match self.upstream_failures.load(Relaxed) {
            _ if !self.upstream_asked.load(Relaxed) => "unknown",
            0 => "healthy",
            1..UNHEALTHY_FROM => "degraded",
            UNHEALTHY_FROM.. => "unhealthy",
        }
    }

    pub(super) fn store_ok(&self, sight: &HealthInput) -> bool {
        sight.store_connected && !self.store_failed.load(Relaxed)
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

/// `2024-01-15T10:30:00Z`.
fn seconds_stamp(clock: Timestamp) -> String {
    let seconds = i64::try_from(clock.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Failures in a row that make upstream `unhealthy`: the breaker's default threshold.
const UNHEALTHY_FROM: u32 = 5;
