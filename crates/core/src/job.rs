//! Work that a request starts and does not wait for, as plain data: the core cannot spawn, so the
//! shell runs it.

use crate::policy::cache::{CacheKey, CachedAnswer};
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;

/// Work for the shell to run: `proxy.run_job(platform, job)`.
#[derive(Debug)]
#[must_use = "the work is lost when it is dropped"]
pub struct BackgroundJob(pub(crate) Job);

/// The kinds of work.
#[derive(Debug)]
pub(crate) enum Job {
    /// Find the account's project.
    DiscoverProject(Lease),
    /// Find the account's models.
    ListModels(Lease),
    /// Put the answer to a repeatable request into the store that other processes share.
    PublishAnswer {
        /// The request.
        key: CacheKey,
        /// Its answer, if there is one.
        answer: Option<Box<CachedAnswer>>,
        /// The lock to release.
        lock: Option<FencingToken>,
    },
    /// Tell the processes that share the store which quotas are used up.
    PublishQuotas,
    /// Get the next access token.
    RefreshToken(Lease),
}
