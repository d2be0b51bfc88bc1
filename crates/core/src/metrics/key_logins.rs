//! The logins of keys in metrics and detailed health. They are kept apart from the operator's upstreams,
//! which health and alerts are about.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::exposition::{MetricFamily, MetricKind};
use super::families::{counted, counter, family, sample};
use super::health::exhausted;
use super::{CredentialStatus, HealthInput, Metrics, UpstreamInput};
use crate::time::Timestamp;

/// The state of a key's own login.
#[derive(Debug, Clone)]
pub(crate) struct KeyLoginInput {
    /// The `id` of the key.
    pub(crate) key: Arc<str>,
    pub(crate) state: UpstreamInput,
    pub(crate) refreshes: u64,
    pub(crate) failed_refreshes: u64,
}

impl Metrics {
    /// The state of a key's login in `GET /health/detailed`.
    pub(super) fn shown_login(&self, login: &KeyLoginInput, clock: Timestamp) -> Value {
        let KeyLoginInput { key, state, refreshes, failed_refreshes } = login;
        let mut token = state.token(clock);
        token["refreshes"] = json!(refreshes);
        token["failed_refreshes"] = json!(failed_refreshes);
        let resting: Vec<_> = state.resting.iter().map(|it| self.resting(it, clock)).collect();
        let quotas: Vec<_> = state.exhausted.iter().map(|it| exhausted(it, clock)).collect();
        json!({
            "key": &**key,
            "credentials": state.credentials(),
            "token": token,
            "project": { "status": state.project },
            "resting_models": resting,
            "exhausted_quotas": quotas,
        })
    }

    /// The families of keys' logins. Absent where no key has one.
    pub(super) fn of_key_logins(health: &HealthInput) -> Vec<MetricFamily> {
        // An `id` may have several logins.
        let mut by_key: BTreeMap<&str, (bool, u64, u64)> = BTreeMap::new();
        for login in &health.key_logins {
            let (is_ok, refreshes, failed) = by_key.entry(&login.key).or_insert((true, 0, 0));
            *is_ok &= login.state.credentials == CredentialStatus::Ok;
            *refreshes += login.refreshes;
            *failed += login.failed_refreshes;
        }
        if by_key.is_empty() {
            return Vec::new();
        }
        let states = by_key
            .iter()
            .map(|(key, (is_ok, ..))| sample(f64::from(u8::from(*is_ok)), &[("key", *key)]));
        let refreshes = by_key.iter().flat_map(|(key, (_, refreshes, failed))| {
            let of = |count, result| counted(count, &[("key", *key), ("result", result)]);
            [of(*refreshes, "ok"), of(*failed, "failed")]
        });
        vec![
            family(
                MetricKind::Gauge,
                "key_login_ok",
                "1 unless no access token can be obtained with a key's own login.",
                states.collect(),
            ),
            counter(
                "key_login_refreshes",
                "Calls for a new access token with a key's own login.",
                refreshes.collect(),
            ),
        ]
    }
}
