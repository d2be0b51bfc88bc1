//! Work that a request starts and does not wait for, as plain data: the core cannot spawn, so the
//! shell runs it.

use crate::policy::cache::{self, CacheKey};
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;

/// Work that a request leaves behind for the shell to run: `proxy.run_job(platform, chore)`.
#[derive(Debug)]
pub enum BackgroundJob {
    /// Find out the account's project.
    DiscoverProject(Lease),
    /// Find out the account's models.
    ListModels(Lease),
    /// Get the next access token.
    RefreshToken(Lease),
    /// Tell those who share the store what came of a question that only one of them should ask.
    PublishAnswer {
        /// The question.
        question: CacheKey,
        /// Its answer, if there is one.
        answer: Option<Box<cache::Answer>>,
        /// The turn that is over.
        turn: Option<FencingToken>,
    },
    /// Tell those who share the store which quotas are used up.
    PublishQuotas,
}
