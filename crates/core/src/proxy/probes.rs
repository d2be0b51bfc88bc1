//! The readiness of this process (`docs/OPERATING.md`).

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::Proxy;
use crate::job::{BackgroundJob, Job};
use crate::platform::Platform;
use crate::upstream::Upstream;

impl Proxy {
    /// Answers `GET /ready`: 200 if a request could be served, by whichever upstream.
    ///
    /// Breakers, quotas and failing endpoints do not count. They concern all processes alike: a load
    /// balancer would take all of them out, and clients would get no explanation.
    pub(super) fn readiness<P: Platform>(&self, platform: &P) -> (StatusCode, Bytes) {
        let (clock, now) = (platform.wall_clock(), platform.now());
        // A process that has no regular work of its own must ask Google before it can know.
        for upstream in self.upstreams.operators.iter() {
            if let Some(lease) = upstream.calls.auth.begin_first_token(clock, now) {
                platform.spawn_job(BackgroundJob::new(Job::RefreshToken(upstream.id, lease)));
            }
        }
        let reasons = self.unready_reasons(platform);
        if !reasons.is_empty() {
            // The keys with a login of their own may be served all the same.
            for own in self.upstreams.own() {
                if let Some(lease) = own.calls.auth.begin_first_token(clock, now) {
                    platform.spawn_job(BackgroundJob::new(Job::RefreshToken(own.id, lease)));
                }
            }
        }
        if reasons.is_empty() {
            return (StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#));
        }
        let body = json!({ "status": "not_ready", "reasons": reasons });
        (StatusCode::SERVICE_UNAVAILABLE, Bytes::from(body.to_string()))
    }

    /// Why no request could be served now; empty if one could.
    pub(super) fn unready_reasons<P: Platform>(&self, platform: &P) -> Vec<&'static str> {
        let stopping = self.metrics.shutting_down().then_some("shutting_down");
        let memory = self.memory.is_exhausted().then_some("memory_exhausted");
        let clock = platform.wall_clock();
        let mut credentials =
            self.upstreams.operators.iter().map(|it| it.calls.auth.unready_reason(clock));
        let first = credentials.next().flatten();
        let is_ready = |it: &Arc<Upstream>| it.calls.auth.unready_reason(clock).is_none();
        let credentials = first.filter(|_| {
            credentials.all(|reason| reason.is_some()) && !self.upstreams.own().iter().any(is_ready)
        });
        [stopping, credentials, memory].into_iter().flatten().collect()
    }
}
