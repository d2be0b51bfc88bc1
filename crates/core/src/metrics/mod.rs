//! Counters and histograms for `/metrics`, `/health` and the status page, and one log line for each
//! request, written when its body has ended.
//!
//! Nothing here holds a secret: no body, no token, no query string. Recording takes relaxed atomic
//! operations only, no lock and no allocation; the costly work is done when the metrics are read. What
//! every request counts is sharded. Only the log lines of refused requests take a lock.

mod access_log;
mod connections;
mod dialects;
mod exposition;
mod failovers;
mod families;
mod health;
mod histogram;
mod key_families;
mod key_logins;
mod labels;
mod names;
mod request_counts;
#[cfg(test)]
mod tests;
mod upstream_families;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dialect::Dialect;
use crate::policy::line_limit::{LineLimit, UnwrittenLines};
use crate::shards::Sharded;
use crate::sync::lock;
use crate::time::{Monotonic, Timestamp};

pub(crate) use access_log::{AccessLogRecord, RequestOutcome};
pub use connections::{ConnectionCounts, ConnectionEnd};
pub(crate) use exposition::ExpositionFormat;
pub(crate) use health::{
    CredentialStatus, HealthInput, InabilityStatus, RestingModelStatus, UpstreamInput,
};
pub(crate) use key_families::KeysInput;
pub(crate) use key_logins::KeyLoginInput;
pub(crate) use labels::{BreakerState, CacheResult, RetryReason};

use dialects::DialectCounts;
use failovers::FailoverCounts;
use histogram::Histogram;
use labels::{CACHE_RESULTS, Counters, RETRY_REASONS, STATUS_CLASSES};
use labels::{error_label, method_index, status_index};
use names::{BoundedLabels, BoundedNames, CLIENTS, LABELS, MODELS};
use request_counts::RequestCounts;

/// Counts what has happened in one process (or one isolate) since its start.
#[derive(Debug)]
pub struct Metrics {
    started: Monotonic,
    started_clock: Timestamp,
    counts: Sharded<RequestCounts>,
    /// How many tables of models there are: see [`RequestCounts`].
    tables: usize,
    refreshes: AtomicU64,
    failed_refreshes: AtomicU64,
    store_failed: AtomicBool,
    shutting_down: AtomicBool,
    refusing: AtomicBool,
    /// When settings were last read again, in milliseconds since the epoch: the last success, and the
    /// last failure. Zero stands for never.
    reloads: [AtomicU64; 2],
    models: BoundedNames<MODELS>,
    clients: BoundedNames<CLIENTS>,
    reasons: BoundedLabels,
    by_reason: Counters<LABELS>,
    /// Requests that were not admitted, by the index of their reason.
    refused: Counters<LABELS>,
    refusal_lines: Mutex<LineLimit>,
    retries: Counters<{ RETRY_REASONS.len() }>,
    cache: Counters<{ CACHE_RESULTS.len() }>,
    gone_before_answer: AtomicU64,
    gone_during_answer: AtomicU64,
    cut: AtomicU64,
    connections: ConnectionCounts,
    endpoints: Vec<EndpointMetrics>,
    /// At least one, in order of preference.
    upstreams: Vec<UpstreamMetrics>,
    pub(crate) dialects: DialectCounts,
    pub(crate) failovers: FailoverCounts,
}

/// The counts and the state of one endpoint.
#[derive(Debug)]
struct EndpointMetrics {
    url: String,
    /// The position of its upstream.
    upstream: usize,
    breaker: AtomicU8,
    transitions: Counters<{ BreakerState::ALL.len() }>,
}

/// What the latest answers of one upstream say of it.
#[derive(Debug)]
struct UpstreamMetrics {
    name: Arc<str>,
    asked: AtomicBool,
    failures: AtomicU32,
}

impl Metrics {
    /// The position of the endpoints of keys' own upstreams: no failure there says anything of the operator's
    /// upstreams, which health and alerts are about.
    pub(crate) const NO_ENDPOINT: usize = 1 << 30;

    /// Makes counters at zero, whose time begins now. `upstreams` are the names in order of preference,
    /// each with its base URLs.
    pub(crate) fn new<'a>(
        upstreams: impl IntoIterator<Item = (&'a Arc<str>, &'a [String])>,
        clock: Timestamp,
        now: Monotonic,
    ) -> Self {
        let mut endpoints = Vec::new();
        let mut of_upstreams: Vec<UpstreamMetrics> = Vec::new();
        for (name, urls) in upstreams {
            endpoints.extend(urls.iter().map(|url| EndpointMetrics {
                url: without_login(url),
                upstream: of_upstreams.len(),
                breaker: AtomicU8::default(),
                transitions: Counters::default(),
            }));
            of_upstreams.push(UpstreamMetrics {
                name: Arc::clone(name),
                asked: AtomicBool::default(),
                failures: AtomicU32::default(),
            });
        }
        let are_several = of_upstreams.len() > 1;
        let names = of_upstreams.iter().filter(|_| are_several).map(|it| Arc::clone(&it.name));
        let failovers = FailoverCounts::new(names.collect());
        let tables = if are_several { of_upstreams.len() + 1 } else { 1 };
        Self {
            started: now,
            started_clock: clock,
            counts: Sharded::new(|| RequestCounts::new(endpoints.len(), tables)),
            tables,
            refreshes: AtomicU64::default(),
            failed_refreshes: AtomicU64::default(),
            store_failed: AtomicBool::default(),
            shutting_down: AtomicBool::default(),
            refusing: AtomicBool::default(),
            reloads: Default::default(),
            models: BoundedNames::of_models(),
            clients: BoundedNames::default(),
            reasons: BoundedLabels::with(&ALERTED_REASONS),
            by_reason: Counters::default(),
            refused: Counters::default(),
            refusal_lines: Mutex::default(),
            retries: Counters::default(),
            cache: Counters::default(),
            gone_before_answer: AtomicU64::default(),
            gone_during_answer: AtomicU64::default(),
            cut: AtomicU64::default(),
            connections: ConnectionCounts::default(),
            endpoints,
            upstreams: of_upstreams,
            dialects: DialectCounts::default(),
            failovers,
        }
    }

    /// Counts a request that needs an access token. `at_hand` is false if it had to wait for one.
    pub(crate) fn token_asked(&self, at_hand: bool) {
        let counts = self.counts.own();
        counts.token_asked.fetch_add(1, Relaxed);
        if at_hand {
            counts.token_at_hand.fetch_add(1, Relaxed);
        }
    }

    /// Counts a refresh that gave a new access token.
    pub(crate) fn refreshed(&self) {
        self.refreshes.fetch_add(1, Relaxed);
    }

    /// Counts a refresh that gave no access token.
    pub(crate) fn refresh_failed(&self) {
        self.failed_refreshes.fetch_add(1, Relaxed);
    }

    /// Records whether the upstream of an endpoint answered a call. No connection, a timeout, a 5xx and a
    /// broken stream are failures.
    pub(crate) fn upstream(&self, endpoint: usize, ok: bool) {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        let upstream = &self.upstreams[endpoint.upstream];
        // All requests share these: they are written only when they change.
        if !upstream.asked.load(Relaxed) {
            upstream.asked.store(true, Relaxed);
        }
        if !ok {
            upstream.failures.fetch_add(1, Relaxed);
        } else if upstream.failures.load(Relaxed) > 0 {
            upstream.failures.store(0, Relaxed);
        }
    }

    /// The name of an upstream as a label; `None` where there is one upstream.
    fn upstream_label(&self, upstream: usize) -> Option<&str> {
        let named = self.upstreams.get(upstream).filter(|_| self.upstreams.len() > 1);
        named.map(|upstream| &*upstream.name)
    }

    /// The name of the only upstream; `None` where there are several.
    pub(crate) fn sole_upstream(&self) -> Option<&Arc<str>> {
        let [sole] = &self.upstreams[..] else { return None };
        Some(&sole.name)
    }

    /// The table of a request that went to the upstream of this name, or to none.
    fn table(&self, upstream: Option<&str>) -> usize {
        let last = self.tables - 1;
        let at = upstream.and_then(|name| self.upstreams.iter().position(|it| *it.name == *name));
        at.unwrap_or(last).min(last)
    }

    /// Records whether an access to the store succeeded.
    pub(crate) fn store(&self, ok: bool) {
        self.store_failed.store(!ok, Relaxed);
    }

    /// Counts a retry.
    pub(crate) fn retried(&self, reason: RetryReason) {
        self.retries.add(reason as usize, 1);
    }

    /// Records the state of an endpoint's breaker. A change is counted, and the same state again costs
    /// nothing.
    pub(crate) fn breaker(&self, endpoint: usize, state: impl Into<BreakerState>) {
        let state = state.into();
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        let state_index = state as u8;
        // All requests share it: it is written only when it changes.
        if endpoint.breaker.load(Relaxed) != state_index
            && endpoint.breaker.swap(state_index, Relaxed) != state_index
        {
            endpoint.transitions.add(state as usize, 1);
        }
    }

    /// Counts a request as waiting for a concurrency permit until the guard is dropped.
    pub(crate) fn queued(&self) -> QueuedGuard<'_> {
        self.counts.own().queued.fetch_add(1, Relaxed);
        QueuedGuard(self)
    }

    /// Counts a concurrency permit as held.
    pub(crate) fn permit_acquired(&self) {
        self.counts.own().permits_in_use.fetch_add(1, Relaxed);
    }

    /// Counts a concurrency permit as given back.
    pub(crate) fn permit_released(&self) {
        self.counts.own().permits_in_use.fetch_sub(1, Relaxed);
    }

    /// The number of requests whose answer has not ended, with those for the proxy itself.
    pub fn in_flight(&self) -> u64 {
        self.gauge(|counts| &counts.in_flight)
    }

    /// The counts of the shell's client connections.
    pub fn connections(&self) -> &ConnectionCounts {
        &self.connections
    }

    /// Records that the shell has read the settings again, and whether it succeeded.
    pub fn settings_reloaded(&self, succeeded: bool, clock: Timestamp) {
        self.reloads[usize::from(!succeeded)].store(clock.0, Relaxed);
    }

    /// Records that the shell is about to shut down. Health checks fail from now on, and requests are
    /// still served.
    pub fn announce_shutdown(&self) {
        self.shutting_down.store(true, Relaxed);
    }

    /// Records that the shell shuts down. Requests are refused from now on.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Relaxed);
        self.refusing.store(true, Relaxed);
    }

    /// True once requests are refused, since the shell shuts down.
    pub(crate) fn refuses_requests(&self) -> bool {
        self.refusing.load(Relaxed)
    }

    /// True once the shell has begun to shut down, or is about to.
    pub fn shutting_down(&self) -> bool {
        self.shutting_down.load(Relaxed)
    }

    /// Records that a call to an endpoint begins or ends.
    pub(crate) fn endpoint_in_flight(&self, endpoint: usize, begins: bool) {
        match self.counts.own().at_endpoints.get(endpoint) {
            Some(in_flight) if begins => in_flight.fetch_add(1, Relaxed),
            Some(in_flight) => in_flight.fetch_sub(1, Relaxed),
            None => 0,
        };
    }

    /// A counter of all shards.
    fn sum(&self, of: impl Fn(&RequestCounts) -> &AtomicU64) -> u64 {
        self.counts.iter().fold(0, |sum, counts| sum.wrapping_add(of(counts).load(Relaxed)))
    }

    /// A gauge of all shards. While they are read one after the other, a request may be missing or be there still.
    fn gauge(&self, of: impl Fn(&RequestCounts) -> &AtomicU64) -> u64 {
        u64::try_from(self.sum(of).cast_signed()).unwrap_or(0)
    }

    /// The calls in flight at an endpoint.
    fn calls_in_flight(&self, endpoint: usize) -> u64 {
        self.gauge(|counts| &counts.at_endpoints[endpoint])
    }

    /// A histogram of all shards.
    fn merged(&self, of: impl Fn(&RequestCounts) -> &Histogram) -> Histogram {
        Histogram::merged(self.counts.iter().map(of))
    }

    /// The number of requests in flight, without those for the proxy itself.
    fn requests_in_flight(&self) -> u64 {
        self.in_flight().saturating_sub(self.gauge(|counts| &counts.set_aside))
    }

    fn uptime(&self, now: Monotonic) -> Duration {
        now.since(self.started)
    }

    /// Records that a request begins. One that is not `counted` is for the proxy itself.
    pub(crate) fn request_began(&self, counted: bool) {
        let counts = self.counts.own();
        counts.in_flight.fetch_add(1, Relaxed);
        if !counted {
            counts.set_aside.fetch_add(1, Relaxed);
        }
    }

    /// Records that a request that has begun is for the proxy itself.
    pub(crate) fn request_set_aside(&self) {
        self.counts.own().set_aside.fetch_add(1, Relaxed);
    }

    /// Records that a request is over.
    pub(crate) fn request_over(&self, counted: bool) {
        let counts = self.counts.own();
        counts.in_flight.fetch_sub(1, Relaxed);
        if !counted {
            counts.set_aside.fetch_sub(1, Relaxed);
        }
    }

    /// Counts a request that was not admitted. It is in no other count, so that strangers can shift no
    /// ratio and no latency.
    pub(crate) fn request_refused(&self, reason: &'static str) {
        let index = self.reasons.index(reason);
        self.by_reason.add(index, 1);
        self.refused.add(index, 1);
    }

    /// Calls `write` for the log line of a request that the proxy has refused by itself, or counts the line if
    /// there are too many.
    pub(crate) fn log_refusal(&self, reason: &'static str, now: Monotonic, write: impl FnOnce()) {
        let (may_write, left_out) = {
            let mut lines = lock(&self.refusal_lines);
            (lines.ask(reason, now), lines.take_of(reason, now))
        };
        if may_write {
            write();
        }
        left_out.into_iter().for_each(log_left_out);
    }

    /// Logs how many lines were left out, for reasons that do not occur any more. With `all`, also those of
    /// the last second.
    pub(crate) fn log_left_out(&self, all: bool, now: Monotonic) {
        let left_out = lock(&self.refusal_lines).take(all, now);
        left_out.into_iter().for_each(log_left_out);
    }

    /// Counts a request that was admitted and has ended.
    pub(crate) fn request_ended(&self, record: &AccessLogRecord<'_>, now: Monotonic) {
        let counts = self.counts.own();
        counts.requests.fetch_add(1, Relaxed);
        match record.dialect {
            Dialect::Gemini => {}
            Dialect::Anthropic => _ = counts.anthropic.fetch_add(1, Relaxed),
            Dialect::OpenAi => _ = counts.openai.fetch_add(1, Relaxed),
        }
        let micros = u64::try_from(record.overhead.as_micros()).unwrap_or(u64::MAX);
        counts.overhead_micros.fetch_add(micros, Relaxed);
        counts.total.record(record.total, now);
        counts.overhead.record(record.overhead, now);
        if let Some(first_byte) = record.first_byte {
            counts.first_byte.record(first_byte, now);
        }
        counts.bytes_in.fetch_add(record.bytes_in, Relaxed);
        counts.bytes_out.fetch_add(record.bytes_out, Relaxed);

        let class = status_index(record.status);
        let model = self.models.index(record.model, class == 0);
        let of_model = counts.of_model(self.table(record.upstream_name), model);
        of_model.requests.add(method_index(record.operation) * STATUS_CLASSES.len() + class, 1);
        if record.cache.is_none_or(CacheResult::asks_upstream) {
            let usage = &record.usage;
            let tokens = [usage.prompt, usage.output, usage.thoughts, usage.cached];
            for (kind, count) in tokens.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                of_model.tokens.add(kind, count);
            }
        }
        counts.by_client.add(self.clients.index(record.client.unwrap_or_default(), true), 1);
        if let Some(error) = record.error {
            self.by_reason.add(self.reasons.index(error_label(error, record.status)), 1);
        }
        if let Some(result) = record.cache {
            self.cache.add(result as usize, 1);
        }
        match record.outcome {
            RequestOutcome::ClientGone if record.answered.is_none() => &self.gone_before_answer,
            RequestOutcome::ClientGone => &self.gone_during_answer,
            RequestOutcome::Cut => &self.cut,
            RequestOutcome::Ok | RequestOutcome::Refused => return,
        }
        .fetch_add(1, Relaxed);
    }
}

impl EndpointMetrics {
    fn breaker(&self) -> BreakerState {
        BreakerState::from_index(self.breaker.load(Relaxed))
    }
}

/// Keeps a request in the gauge of waiting requests.
#[derive(Debug)]
#[must_use = "the request counts as waiting until the guard is dropped"]
pub(crate) struct QueuedGuard<'a>(&'a Metrics);

impl Drop for QueuedGuard<'_> {
    fn drop(&mut self) {
        self.0.counts.own().queued.fetch_sub(1, Relaxed);
    }
}

/// The reasons that `monitoring/alerts.yml` queries.
const ALERTED_REASONS: [&str; 7] = [
    "api_key_invalid",
    "connections_exhausted",
    "internal",
    "overloaded",
    "queue_timeout",
    "too_many_attempts",
    "upstream_429",
];

/// The line belongs to no span, since it concerns many requests.
fn log_left_out(UnwrittenLines { reason, count }: UnwrittenLines) {
    tracing::info!(parent: None, reason, count, "refused requests without a line of their own");
}

/// The URL without user name and password, which must not appear in a metric.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The number to three decimals.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
