//! Background jobs: work that a request starts and does not wait for. A job is plain data, since the core
//! cannot spawn; the shell runs it.

use crate::policy::cache::{CacheKey, CachedAnswer};
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;
use crate::request_ids::RequestIds;

/// A job for the shell to run with `proxy.run_job(platform, job)`.
#[derive(Debug)]
#[must_use = "the work is lost when it is dropped"]
pub struct BackgroundJob {
    pub(crate) job: Job,
    /// Those of the request that started it, which the log lines of the job carry.
    pub(crate) ids: Option<RequestIds>,
}

impl BackgroundJob {
    /// A job of the request that is being polled.
    pub(crate) fn new(job: Job) -> Self {
        Self { job, ids: RequestIds::current() }
    }
}

/// Identifies an upstream for the life of the process. Those of [`crate::settings::Settings::upstreams`] have
/// their position there, and those of keys the numbers after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamId(pub u32);

impl UpstreamId {
    /// The position among the operator's upstreams, if the upstream is one of them.
    pub(crate) fn position(self) -> usize {
        self.0 as usize
    }
}

/// The kinds of background jobs.
#[derive(Debug)]
pub(crate) enum Job {
    /// Finds the account's project.
    DiscoverProject(UpstreamId, Lease),
    /// Finds the account's models.
    ListModels(UpstreamId, Lease),
    /// Does the regular work of a key's own upstream.
    LookAfter(UpstreamId),
    /// Writes the answer to a repeatable request to the store that other processes share.
    PublishAnswer {
        /// The upstream whose answers these are.
        upstream: UpstreamId,
        key: CacheKey,
        /// Its answer, if there is one.
        answer: Option<Box<CachedAnswer>>,
        /// The lock to release.
        lock: Option<FencingToken>,
    },
    /// Writes the exhausted quotas to the store for the other processes.
    PublishQuotas(UpstreamId),
    /// Gets the next access token.
    RefreshToken(UpstreamId, Lease),
}
