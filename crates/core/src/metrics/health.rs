//! The bodies of `GET /health` and `GET /health/detailed` (`docs/METRICS.md`). They need no upstream
//! call, no access to the store and no waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram::{Histogram, RECENT_SECONDS};
use super::{
    BreakerState, EndpointMetrics, KeyLoginInput, KeysInput, Metrics, UpstreamMetrics, ratio,
    rounded,
};
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
    /// In order of preference; at least one.
    pub(crate) upstreams: Vec<UpstreamInput>,
    /// The logins of keys. None of them makes the proxy's health worse.
    pub(crate) key_logins: Vec<KeyLoginInput>,
    /// False if the upstreams above lack credentials, and no request needs them.
    pub(crate) needs_operators: bool,
    /// Another upstream takes the requests that one cannot serve (`FAILOVER`).
    pub(crate) fails_over: bool,
    /// `MAX_CONCURRENT_REQUESTS`.
    pub(crate) most_requests: usize,
    /// How many of them one caller may have.
    pub(crate) most_per_caller: usize,
    /// `QUEUE_TIMEOUT_MS`.
    pub(crate) queue_timeout: Duration,
    /// `GET /ready` answers 200.
    pub(crate) ready: bool,
    /// How much of the memory budget is reserved.
    pub(crate) memory_used: usize,
    /// `MEMORY_BUDGET_BYTES`.
    pub(crate) memory_limit: usize,
    pub(crate) process_stats: ProcessStats,
    /// What keys have used. `None` without `[[key]]` tables, and where it is not shown.
    pub(crate) keys: Option<KeysInput>,
}

/// The state of one upstream.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamInput {
    pub(crate) name: Arc<str>,
    pub(crate) provider: &'static str,
    pub(crate) credentials: CredentialStatus,
    pub(crate) token: TokenExpiry,
    /// `known`, `unknown` or `refused`. The project's id is left out, since it is private.
    pub(crate) project: &'static str,
    /// Where Vertex AI carries requests out.
    pub(crate) location: Option<String>,
    /// The models whose circuit breakers are not closed.
    pub(crate) resting: Vec<RestingModelStatus>,
    /// The models whose quotas are known to be exhausted, and when each quota is reset.
    pub(crate) exhausted: Vec<(String, Timestamp)>,
    /// What the upstream is known to be unable to do.
    pub(crate) unable: Vec<InabilityStatus>,
}

/// A failure that is remembered, so that another upstream takes such requests.
#[derive(Debug, Clone)]
pub(crate) struct InabilityStatus {
    /// The class of the failure, a word of `FAILOVER`.
    pub(crate) reason: &'static str,
    /// The label of the error.
    pub(crate) error: &'static str,
    /// The model and the API's method; `None` for every request.
    pub(crate) model: Option<(String, &'static str)>,
    /// The time until the next request may go there as a probe.
    pub(crate) lasts: Duration,
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
        let upstream = self.upstream_status(input);
        let store_ok = self.store_ok(input);
        let degraded = !store_ok
            || input.deciding().iter().any(|it| it.credentials != CredentialStatus::Ok)
            || input.deciding().iter().any(|it| !it.exhausted.is_empty())
            || input.deciding().iter().any(|it| it.unable.iter().any(|it| it.model.is_none()))
            || self.worst_breaker(input) != BreakerState::Closed
            || matches!(upstream, UpstreamStatus::Degraded | UpstreamStatus::Unhealthy);
        let status = match (self.shutting_down(), degraded) {
            (true, _) => "unhealthy",
            (false, true) => "degraded",
            (false, false) => "healthy",
        };
        let requests = self.sum(|counts| &counts.requests);
        let asked = self.sum(|counts| &counts.token_asked);
        let overhead = Duration::from_micros(self.sum(|counts| &counts.overhead_micros));
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
            json!(rounded(ratio(self.sum(|counts| &counts.token_at_hand), asked))),
            json!(rounded(overhead.as_secs_f64() * 1000.0 / (requests.max(1) as f64))),
            self.refreshes.load(Relaxed),
            json!(self.worst_breaker(input).label()),
            json!(if store_ok { "connected" } else { "disconnected" }),
            json!(upstream.label()),
        );
        (status != "unhealthy", body)
    }

    fn checks(&self, input: &HealthInput) -> Value {
        let primary = &input.upstreams[0];
        let mut token = primary.token(input.clock);
        token["refreshes"] = json!(self.refreshes.load(Relaxed));
        token["failed_refreshes"] = json!(self.failed_refreshes.load(Relaxed));
        let all = || input.upstreams.iter().enumerate();
        let named = |mut shown: Value, upstream: usize| {
            if let Some(name) = self.upstream_label(upstream) {
                shown["upstream"] = json!(name);
            }
            shown
        };
        let endpoints = self.endpoints.iter().enumerate();
        let endpoints = endpoints.map(|(at, it)| named(self.shown_endpoint(at), it.upstream));
        let resting = all().flat_map(|(at, upstream)| {
            upstream.resting.iter().map(move |it| named(self.resting(it, input.clock), at))
        });
        let quotas = all().flat_map(|(at, upstream)| {
            upstream.exhausted.iter().map(move |it| named(exhausted(it, input.clock), at))
        });
        let mut checks = json!({
            "credentials": primary.credentials(),
            "token": token,
            "project": { "status": primary.project },
            "reload": { "succeeded_at": self.reload(0), "failed_at": self.reload(1) },
            "store": { "status": if self.store_ok(input) { "connected" } else { "disconnected" } },
            "endpoints": endpoints.collect::<Vec<_>>(),
            "resting_models": resting.collect::<Vec<_>>(),
            "exhausted_quotas": quotas.collect::<Vec<_>>(),
            "queue": {
                "in_flight": self.requests_in_flight(),
                "in_use": self.gauge(|counts| &counts.permits_in_use),
                "limit": input.most_requests,
                "per_caller": input.most_per_caller,
                "waiting": self.gauge(|counts| &counts.queued),
                "timeout_ms": u64::try_from(input.queue_timeout.as_millis()).unwrap_or(u64::MAX),
            },
            "memory": { "used_bytes": input.memory_used, "limit_bytes": input.memory_limit },
        });
        if !input.key_logins.is_empty() {
            let shown = input.key_logins.iter().map(|it| self.shown_login(it, input.clock));
            checks["key_logins"] = shown.collect();
        }
        if let Some(lost) = input.process_stats.audit_lines_lost {
            checks["audit_log"] = json!({ "lines_lost": lost });
        }
        if self.upstreams.len() > 1 {
            let shown = all().map(|(at, upstream)| self.shown_upstream(at, upstream, input.clock));
            checks["upstreams"] = shown.collect();
        }
        checks
    }

    /// One of several upstreams.
    fn shown_upstream(&self, at: usize, upstream: &UpstreamInput, clock: Timestamp) -> Value {
        let own = (0..self.endpoints.len()).filter(|it| self.endpoints[*it].upstream == at);
        json!({
            "name": &*upstream.name,
            "provider": upstream.provider,
            "status": self.upstreams[at].status().label(),
            "credentials": upstream.credentials(),
            "token": upstream.token(clock),
            "project": { "status": upstream.project, "location": upstream.location },
            "endpoints": own.map(|endpoint| self.shown_endpoint(endpoint)).collect::<Vec<_>>(),
            "resting_models": upstream.resting.iter().map(|it| self.resting(it, clock)).collect::<Vec<_>>(),
            "exhausted_quotas": upstream.exhausted.iter().map(|it| exhausted(it, clock)).collect::<Vec<_>>(),
            "unable": upstream.unable.iter().map(|it| it.shown(clock)).collect::<Vec<_>>(),
        })
    }

    fn shown_endpoint(&self, at: usize) -> Value {
        let endpoint = &self.endpoints[at];
        json!({
            "url": endpoint.url,
            "breaker": endpoint.breaker().label(),
            "in_flight": self.calls_in_flight(at),
        })
    }

    fn reload(&self, which: usize) -> Option<String> {
        let at = Timestamp(self.reloads[which].load(Relaxed));
        (at.0 != 0).then(|| seconds_stamp(at))
    }

    pub(super) fn resting(&self, model: &RestingModelStatus, clock: Timestamp) -> Value {
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
        let deciding = input.deciding();
        let endpoints = self.endpoints.iter().filter(|it| it.upstream < deciding.len());
        let endpoints = endpoints.map(EndpointMetrics::breaker);
        let models = deciding.iter().flat_map(|it| &it.resting).map(|model| model.state);
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
            "overhead": shown(&self.merged(|counts| &counts.overhead)),
            "upstream_first_byte": shown(&self.merged(|counts| &counts.first_byte)),
            "total": shown(&self.merged(|counts| &counts.total)),
        })
    }

    /// The worst state of an upstream that decides.
    fn upstream_status(&self, input: &HealthInput) -> UpstreamStatus {
        let deciding = self.upstreams.iter().take(input.deciding().len());
        deciding.map(UpstreamMetrics::status).max().unwrap_or_default()
    }

    pub(super) fn store_ok(&self, input: &HealthInput) -> bool {
        input.store_connected && !self.store_failed.load(Relaxed)
    }
}

impl HealthInput {
    /// The upstreams that the state of the whole depends on. Without failover the others serve only what the
    /// first one does not offer.
    fn deciding(&self) -> &[UpstreamInput] {
        match (self.needs_operators, self.fails_over) {
            (false, _) => &[],
            (true, false) => &self.upstreams[..1],
            (true, true) => &self.upstreams,
        }
    }
}

impl UpstreamInput {
    /// True if no credentials are set, which is no failure where only keys have logins.
    pub(crate) fn has_no_credentials(&self) -> bool {
        matches!(self.credentials, CredentialStatus::Failed("credentials_missing", _))
    }

    pub(super) fn credentials(&self) -> Value {
        match &self.credentials {
            CredentialStatus::Ok => json!({ "status": "ok" }),
            CredentialStatus::Failed(label, message) => {
                json!({ "status": label, "message": message })
            }
        }
    }

    pub(super) fn token(&self, clock: Timestamp) -> Value {
        let expiry = self.token.at();
        json!({
            "status": if self.token == TokenExpiry::NoToken { "none" } else { "alive" },
            "expires_at": expiry.map(seconds_stamp),
            "expires_in_seconds": expiry.map(|at| clock.until(at).as_secs()),
        })
    }
}

impl InabilityStatus {
    fn shown(&self, clock: Timestamp) -> Value {
        let model = self.model.as_ref();
        json!({
            "reason": self.reason,
            "error": self.error,
            "model": model.map(|(model, _)| model),
            "method": model.map(|(_, method)| method),
            "until": seconds_stamp(clock + self.lasts),
            "seconds_left": whole_seconds(self.lasts),
        })
    }
}

/// The state of an upstream by its latest answers, in ascending order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum UpstreamStatus {
    /// It has not been asked.
    #[default]
    Unknown,
    Healthy,
    Degraded,
    Unhealthy,
}

impl UpstreamStatus {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl UpstreamMetrics {
    /// The state, from the last calls of clients' requests.
    pub(super) fn status(&self) -> UpstreamStatus {
        match self.failures.load(Relaxed) {
            _ if !self.asked.load(Relaxed) => UpstreamStatus::Unknown,
            0 => UpstreamStatus::Healthy,
            1..UNHEALTHY_FROM => UpstreamStatus::Degraded,
            UNHEALTHY_FROM.. => UpstreamStatus::Unhealthy,
        }
    }
}

pub(super) fn exhausted((model, reset): &(String, Timestamp), clock: Timestamp) -> Value {
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
