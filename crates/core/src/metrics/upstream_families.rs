//! The metrics of endpoints, upstreams and single models. Where several upstreams are in use, each sample
//! names its own: two of them may have the same endpoint.

use std::collections::BTreeMap;

use super::exposition::{MetricFamily, MetricKind};
use super::families::{counted, counter, family, sample};
use super::labels::{BreakerState, RETRY_REASONS};
use super::{HealthInput, Metrics};

impl Metrics {
    pub(super) fn of_upstream(&self) -> Vec<MetricFamily> {
        let retries = RETRY_REASONS.into_iter().enumerate();
        let retries =
            retries.map(|(at, reason)| counted(self.retries.of(at), &[("reason", reason)]));
        let mut transitions = Vec::new();
        let mut states = Vec::new();
        let mut in_flight = Vec::new();
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            let url = endpoint.url.as_str();
            let upstream = self.upstream_label(endpoint.upstream);
            let now = endpoint.breaker();
            for state in BreakerState::ALL {
                let labels = [("endpoint", url), ("state", state.label())];
                let count = endpoint.transitions.of(state as usize);
                transitions.push(counted(count, &labels).of_upstream(upstream));
                let is_now = f64::from(u8::from(now == state));
                states.push(sample(is_now, &labels).of_upstream(upstream));
            }
            let open = self.calls_in_flight(at) as f64;
            in_flight.push(sample(open, &[("endpoint", url)]).of_upstream(upstream));
        }
        let statuses = self.upstreams.iter().enumerate().flat_map(|(at, upstream)| {
            let now = upstream.status();
            ["healthy", "degraded", "unhealthy", "unknown"].map(|status| {
                let is_now = f64::from(u8::from(status == now.label()));
                sample(is_now, &[("status", status)]).of_upstream(self.upstream_label(at))
            })
        });
        vec![
            counter("retries", "Tries after the first one.", retries.collect()),
            counter(
                "breaker_transitions",
                "Changes of an endpoint's circuit breaker, by the new state.",
                transitions,
            ),
            family(
                MetricKind::Gauge,
                "breaker_state",
                "1 for the state of an endpoint's circuit breaker, else 0.",
                states,
            ),
            family(
                MetricKind::Gauge,
                "upstream_requests_in_flight",
                "Requests in flight at an endpoint.",
                in_flight,
            ),
            family(
                MetricKind::Gauge,
                "upstream_status",
                "1 for the state of upstream by its latest answers, else 0.",
                statuses.collect(),
            ),
        ]
    }

    /// Absent where one upstream is in use.
    pub(super) fn of_failovers(&self) -> Option<MetricFamily> {
        let sample = |(from, to, reason, count)| {
            counted(count, &[("from", from), ("to", to), ("reason", reason)])
        };
        let help = "Requests that an upstream has failed and the next one was asked for, by class of failure.";
        let samples = self.failovers.counted().map(sample).collect();
        (self.upstreams.len() > 1).then(|| counter("failovers", help, samples))
    }

    /// What upstreams are known to be unable to do. Absent where one upstream is in use.
    pub(super) fn of_inabilities(&self, health: &HealthInput) -> Option<MetricFamily> {
        let mut samples = Vec::new();
        for (at, upstream) in health.upstreams.iter().enumerate() {
            let name = self.upstream_label(at)?;
            let mut known = BTreeMap::new();
            for unable in &upstream.unable {
                let scope = if unable.model.is_some() { "model" } else { "account" };
                *known.entry((unable.reason, scope)).or_insert(0_u64) += 1;
            }
            samples.extend(known.into_iter().map(|((reason, scope), count)| {
                let labels = [("reason", reason), ("scope", scope), ("upstream", name)];
                sample(count as f64, &labels)
            }));
        }
        let help =
            "Failures of an upstream that are remembered, so that others take such requests.";
        Some(family(MetricKind::Gauge, "upstream_unable", help, samples))
    }

    /// What keeps requests for single models from upstream. A model without a label of its own is
    /// `other`; of several the worst one is shown.
    pub(super) fn of_models(&self, health: &HealthInput) -> Vec<MetricFamily> {
        let label = |model: &str| self.models.label(self.models.index(model, false));
        let mut worst = BTreeMap::new();
        for resting in health.upstreams.iter().flat_map(|upstream| &upstream.resting) {
            let Some(endpoint) = self.endpoints.get(resting.endpoint) else { continue };
            let model = label(&resting.model).unwrap_or_default();
            let key = (endpoint.upstream, endpoint.url.as_str(), model, resting.method);
            let worst = worst.entry(key).or_insert((resting.state, resting.open_for));
            *worst = (*worst).max((resting.state, resting.open_for));
        }
        let mut states = Vec::new();
        let mut probes = Vec::new();
        for ((upstream, endpoint, model, method), (state, open_for)) in worst {
            let upstream = self.upstream_label(upstream);
            let labels = [("endpoint", endpoint), ("model", model), ("method", method)];
            let [endpoint, model, method] = labels;
            let state = [endpoint, model, method, ("state", state.label())];
            states.push(sample(1.0, &state).of_upstream(upstream));
            let probe = (health.clock + open_for).0 as f64 / 1000.0;
            probes.push(sample(probe, &labels).of_upstream(upstream));
        }
        let mut resets = BTreeMap::new();
        for (at, upstream) in health.upstreams.iter().enumerate() {
            for (model, reset) in &upstream.exhausted {
                let key = (at, label(model).unwrap_or_default());
                let latest = resets.entry(key).or_insert(*reset);
                *latest = (*latest).max(*reset);
            }
        }
        let resets = resets.into_iter().map(|((upstream, model), reset)| {
            let reset = sample(reset.0 as f64 / 1000.0, &[("model", model)]);
            reset.of_upstream(self.upstream_label(upstream))
        });
        vec![
            family(
                MetricKind::Gauge,
                "model_breaker_state",
                "1 for the state of a model's circuit breaker; absent while it is closed.",
                states,
            ),
            family(
                MetricKind::Gauge,
                "model_breaker_probe_timestamp_seconds",
                "When the next request for a resting model may go to the endpoint.",
                probes,
            ),
            family(
                MetricKind::Gauge,
                "model_quota_reset_timestamp_seconds",
                "When a model's exhausted quota is reset, as Google has stated it.",
                resets.collect(),
            ),
        ]
    }
}
