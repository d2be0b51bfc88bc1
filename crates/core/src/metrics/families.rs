//! All metrics with their names, help texts and values. `docs/METRICS.md` lists them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::exposition::{ExpositionFormat, MetricFamily, MetricKind, Sample, SampleValue};
use super::histogram::Histogram;
use super::labels::{CACHE_RESULTS, METHODS, STATUS_CLASSES, TOKEN_KINDS};
use super::names::LABELS;
use super::request_counts::ModelCounts;
use super::{CredentialStatus, HealthInput, Metrics};
use crate::dialect::Dialect;

impl Metrics {
    /// Writes the body of `GET /metrics`.
    pub(crate) fn exposition(&self, health: &HealthInput, format: ExpositionFormat) -> String {
        format.write(&self.families(health))
    }

    fn families(&self, health: &HealthInput) -> Vec<MetricFamily> {
        let mut families = self.of_requests();
        families.extend(self.of_dialects());
        families.extend(Self::of_keys(health.keys.as_ref()));
        families.extend(self.connection_families());
        families.extend(self.permit_families(health));
        families.extend(self.of_upstream());
        families.extend(self.of_failovers());
        families.extend(self.of_inabilities(health));
        families.extend(self.of_models(health));
        families.extend(self.of_credentials(health));
        families.extend(Self::of_key_logins(health));
        families.extend(self.of_process(health));
        families
    }

    fn of_dialects(&self) -> [MetricFamily; 3] {
        let requests = [
            (Dialect::Anthropic, self.sum(|counts| &counts.anthropic)),
            (Dialect::OpenAi, self.sum(|counts| &counts.openai)),
        ];
        let requests =
            requests.map(|(dialect, count)| counted(count, &[("dialect", dialect.label())]));
        [
            counter(
                "translated_requests",
                "Admitted requests of other dialects than Gemini whose answer has ended, by dialect.",
                requests.into(),
            ),
            counter(
                "signature_fallbacks",
                "Requests that were sent again without thought signatures, which upstream had refused.",
                vec![counted(self.dialects.fallbacks(), &[])],
            ),
            counter(
                "dialect_unknown_parts",
                "Parts of answers that the client's dialect has no form for.",
                vec![counted(self.dialects.left_out(), &[])],
            ),
        ]
    }

    fn of_requests(&self) -> Vec<MetricFamily> {
        let mut requests = Vec::new();
        let mut tokens = Vec::new();
        let rows = (0..self.tables)
            .flat_map(|at| self.models.labels().map(move |(index, model)| (at, index, model)));
        for (at, index, model) in rows {
            let shards: Vec<&ModelCounts> =
                self.counts.iter().filter_map(|counts| counts.known_model(at, index)).collect();
            let upstream =
                (self.tables > 1).then(|| self.upstream_label(at).unwrap_or(NO_UPSTREAM));
            for (method_at, method) in METHODS.into_iter().enumerate() {
                for (class_at, class) in STATUS_CLASSES.into_iter().enumerate() {
                    let cell = method_at * STATUS_CLASSES.len() + class_at;
                    let count: u64 = shards.iter().map(|counts| counts.requests.of(cell)).sum();
                    if count > 0 {
                        let labels = [("method", method), ("model", model), ("status", class)];
                        requests.push(counted(count, &labels).of_upstream(upstream));
                    }
                }
            }
            for (kind_at, kind) in TOKEN_KINDS.into_iter().enumerate() {
                let count: u64 = shards.iter().map(|counts| counts.tokens.of(kind_at)).sum();
                if count > 0 {
                    let labels = [("model", model), ("kind", kind)];
                    tokens.push(counted(count, &labels).of_upstream(upstream));
                }
            }
        }
        let clients = self.clients.labels().filter_map(|(index, client)| {
            let count: u64 = self.counts.iter().map(|counts| counts.by_client.of(index)).sum();
            (count > 0).then(|| counted(count, &[("client", client)]))
        });
        let refusals = (0..LABELS).filter_map(|index| {
            let reason = self.reasons.label(index)?;
            Some(counted(self.by_reason.of(index), &[("reason", reason)]))
        });
        let refused = (0..LABELS).filter_map(|index| {
            let reason = self.reasons.label(index)?;
            let count = self.refused.of(index);
            (count > 0).then(|| counted(count, &[("reason", reason)]))
        });
        let rate_limited = (0..LABELS)
            .find(|index| self.reasons.label(*index) == Some("rate_limited"))
            .map_or(0, |index| self.by_reason.of(index));
        let cache = CACHE_RESULTS.into_iter().enumerate();
        let cache = cache.map(|(at, result)| counted(self.cache.of(at), &[("result", result)]));
        vec![
            counter(
                "requests",
                "Admitted requests whose answer has ended, by API method, model sent upstream, and status class.",
                requests,
            ),
            counter(
                "refused_requests",
                "Requests that were not admitted, by reason. They are in no other count but refusals.",
                refused.collect(),
            ),
            counter(
                "client_requests",
                "Admitted requests by the name of the client's key, or its place in the list.",
                clients.collect(),
            ),
            histogram(
                "request_duration_seconds",
                "From a request's arrival to the end of its answer's body.",
                &self.merged(|counts| &counts.total),
            ),
            histogram(
                "upstream_first_byte_seconds",
                "From sending a call upstream to its response head, or a stream's first event.",
                &self.merged(|counts| &counts.first_byte),
            ),
            histogram(
                "overhead_seconds",
                "The proxy's own share of the time until the answer's head.",
                &self.merged(|counts| &counts.overhead),
            ),
            counter(
                "refusals",
                "Errors sent to clients, by reason; upstream's own errors by status.",
                refusals.collect(),
            ),
            counter(
                "rate_limited",
                "Requests refused by the proxy's own rate limit.",
                vec![counted(rate_limited, &[])],
            ),
            counter(
                "client_disconnects",
                "Clients that disconnected before their answer had ended.",
                vec![
                    counted(self.gone_before_answer.load(Relaxed), &[("phase", "before_answer")]),
                    counted(self.gone_during_answer.load(Relaxed), &[("phase", "during_answer")]),
                ],
            ),
            counter(
                "streams_cut",
                "Answers that upstream cut off, or ended without a finishReason.",
                one(&self.cut),
            ),
            counter(
                "cache_requests",
                "Repeatable requests by the result of coalescing and response cache.",
                cache.collect(),
            ),
            counter("tokens", "Model tokens that upstream has counted, by kind.", tokens),
            counter(
                "request_bytes",
                "Bytes of request bodies.",
                vec![counted(self.sum(|counts| &counts.bytes_in), &[])],
            ),
            counter(
                "response_bytes",
                "Bytes of answers' bodies.",
                vec![counted(self.sum(|counts| &counts.bytes_out), &[])],
            ),
            gauge(
                "requests_in_flight",
                "Requests whose answer has not ended.",
                self.requests_in_flight() as f64,
            ),
            gauge(
                "requests_queued",
                "Requests that wait for one of MAX_CONCURRENT_REQUESTS.",
                self.gauge(|counts| &counts.queued) as f64,
            ),
        ]
    }

    /// A shell without connections of its own has none of these.
    fn connection_families(&self) -> Vec<MetricFamily> {
        let counts = self.connections();
        if counts.limit() == 0 {
            return Vec::new();
        }
        let ended = counts.by_end().map(|(why, count)| counted(count, &[("reason", why)]));
        let reset = counts.reset_streams().map(|(why, count)| counted(count, &[("reason", why)]));
        vec![
            gauge(
                "connections",
                "Open connections of clients (without those to ADMIN_PORT).",
                counts.open() as f64,
            ),
            gauge(
                "connections_limit",
                "How many connections of clients may be open.",
                counts.limit() as f64,
            ),
            counter(
                "connections_closed",
                "Connections that the proxy has closed before their time, by reason.",
                ended.collect(),
            ),
            counter(
                "streams_reset",
                "HTTP/2 streams of clients that the proxy has reset, by reason.",
                reset.into(),
            ),
        ]
    }

    /// The limit, and how much of it is in use. An autoscaler divides the second by the first.
    fn permit_families(&self, health: &HealthInput) -> Vec<MetricFamily> {
        vec![
            gauge("concurrency_limit", "MAX_CONCURRENT_REQUESTS.", health.most_requests as f64),
            gauge(
                "concurrency_in_use",
                "How many of MAX_CONCURRENT_REQUESTS are taken.",
                self.gauge(|counts| &counts.permits_in_use) as f64,
            ),
        ]
    }

    fn of_credentials(&self, health: &HealthInput) -> Vec<MetricFamily> {
        let at_hand = self.sum(|counts| &counts.token_at_hand);
        let waited = self.sum(|counts| &counts.token_asked).saturating_sub(at_hand);
        let upstreams = || health.upstreams.iter().enumerate();
        let expiry = upstreams().filter_map(|(at, upstream)| {
            let expiry = sample(upstream.token.at()?.0 as f64 / 1000.0, &[]);
            Some(expiry.of_upstream(self.upstream_label(at)))
        });
        let credentials_ok = upstreams().map(|(at, upstream)| {
            let is_ok = upstream.credentials == CredentialStatus::Ok;
            sample(f64::from(u8::from(is_ok)), &[]).of_upstream(self.upstream_label(at))
        });
        vec![
            counter(
                "token_requests",
                "Requests that needed an access token: one was at hand, or they waited.",
                vec![
                    counted(at_hand, &[("result", "at_hand")]),
                    counted(waited, &[("result", "waited")]),
                ],
            ),
            counter(
                "token_refreshes",
                "Calls for a new access token.",
                vec![
                    counted(self.refreshes.load(Relaxed), &[("result", "ok")]),
                    counted(self.failed_refreshes.load(Relaxed), &[("result", "failed")]),
                ],
            ),
            family(
                MetricKind::Gauge,
                "token_expiry_timestamp_seconds",
                "Expiry of the access token in use; absent without a token or when it is not known.",
                expiry.collect(),
            ),
            family(
                MetricKind::Gauge,
                "credentials_ok",
                "1 unless no access token can be obtained.",
                credentials_ok.collect(),
            ),
            gauge("ready", "1 while GET /ready answers 200.", f64::from(u8::from(health.ready))),
            gauge(
                "store_connected",
                "1 when the configured key-value store is in use and works.",
                f64::from(u8::from(self.store_ok(health))),
            ),
            gauge_if_known(
                "store_evicted_keys",
                "Entries that the store's server has dropped for want of memory since it was started.",
                health.store_stats.evicted_keys,
            ),
            gauge_if_known(
                "store_memory_bytes",
                "Memory that the store's server uses.",
                health.store_stats.memory_used,
            ),
            gauge_if_known(
                "store_memory_limit_bytes",
                "Memory that the store's server may use; absent without a limit.",
                health.store_stats.memory_limit,
            ),
        ]
    }

    /// `process_…` have the names that Prometheus's own client libraries use.
    fn of_process(&self, health: &HealthInput) -> Vec<MetricFamily> {
        let optional = |name: &str, help: &'static str, number: Option<f64>| MetricFamily {
            name: name.to_owned(),
            help,
            kind: MetricKind::Gauge,
            samples: number.map(|number| sample(number, &[])).into_iter().collect(),
        };
        let process_stats = &health.process_stats;
        let started = self.started_clock.0 as f64 / 1000.0;
        let cpu = process_stats.cpu_seconds.map(|seconds| sample(seconds, &[]));
        vec![
            family(
                MetricKind::Info,
                "build",
                "The program's version.",
                vec![sample(1.0, &[("version", env!("CARGO_PKG_VERSION"))])],
            ),
            gauge(
                "memory_budget_used_bytes",
                "Memory that is reserved for what is held for clients.",
                health.memory_used as f64,
            ),
            gauge(
                "memory_budget_limit_bytes",
                "MEMORY_BUDGET_BYTES: the most that may be reserved.",
                health.memory_limit as f64,
            ),
            gauge("uptime_seconds", "Time since the start.", self.uptime(health.now).as_secs_f64()),
            optional(
                "process_start_time_seconds",
                "Start of the process, in seconds since the Unix epoch.",
                Some(started),
            ),
            MetricFamily {
                name: "process_cpu_seconds".to_owned(),
                help: "Processor time, user and system.",
                kind: MetricKind::Counter,
                samples: cpu.into_iter().collect(),
            },
            optional(
                "process_resident_memory_bytes",
                "Resident memory.",
                process_stats.resident_bytes.map(|bytes| bytes as f64),
            ),
            optional(
                "process_open_fds",
                "Open file descriptors.",
                process_stats.open_fds.map(|count| count as f64),
            ),
            optional(
                "process_max_fds",
                "The limit of open file descriptors.",
                process_stats.max_fds.map(|count| count as f64),
            ),
            counter(
                "log_lines_lost",
                "Log lines that were dropped because standard output was not read in time.",
                process_stats.log_lines_lost.map(|count| counted(count, &[])).into_iter().collect(),
            ),
            counter(
                "audit_lines_lost",
                "Lines that are missing in the audit log, because it could not be written.",
                process_stats.audit_lines_lost.map(|lost| counted(lost, &[])).into_iter().collect(),
            ),
            counter(
                "spans_lost",
                "Spans that did not reach the collector.",
                process_stats.spans_lost.map(|lost| counted(lost, &[])).into_iter().collect(),
            ),
        ]
    }
}

pub(super) fn family(
    kind: MetricKind,
    name: &str,
    help: &'static str,
    samples: Vec<Sample>,
) -> MetricFamily {
    MetricFamily { name: format!("{PREFIX}{name}"), help, kind, samples }
}

pub(super) fn counter(name: &str, help: &'static str, samples: Vec<Sample>) -> MetricFamily {
    family(MetricKind::Counter, name, help, samples)
}

fn gauge(name: &str, help: &'static str, number: f64) -> MetricFamily {
    family(MetricKind::Gauge, name, help, vec![sample(number, &[])])
}

/// A gauge that is absent while its value is not known.
fn gauge_if_known(name: &str, help: &'static str, number: Option<u64>) -> MetricFamily {
    let samples = number.map(|number| sample(number as f64, &[])).into_iter().collect();
    family(MetricKind::Gauge, name, help, samples)
}

fn histogram(name: &str, help: &'static str, histogram: &Histogram) -> MetricFamily {
    let cumulative = histogram.cumulative();
    let count = cumulative.last().copied().unwrap_or(0);
    let below = histogram.bounds_seconds().zip(cumulative).collect();
    let value = SampleValue::Buckets { below, count, sum: histogram.sum_seconds() };
    family(MetricKind::Histogram, name, help, vec![Sample { labels: Vec::new(), value }])
}

fn one(counter: &AtomicU64) -> Vec<Sample> {
    vec![counted(counter.load(Relaxed), &[])]
}

pub(super) fn counted(count: u64, labels: &[(&'static str, &str)]) -> Sample {
    Sample { labels: owned(labels), value: SampleValue::Count(count) }
}

pub(super) fn sample(number: f64, labels: &[(&'static str, &str)]) -> Sample {
    Sample { labels: owned(labels), value: SampleValue::Number(number) }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// The label of requests that went to no upstream.
const NO_UPSTREAM: &str = "none";

const PREFIX: &str = "code_assist_proxy_";
