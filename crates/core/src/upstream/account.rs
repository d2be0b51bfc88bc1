//! What is known of the account in use. All of it is cleared at once when the credentials change to
//! another account.

use std::sync::Mutex;

use super::catalog::Catalog;
use crate::error::Error;
use crate::google::error::UpstreamError;
use crate::policy::project::ProjectState;
use crate::policy::quota::QuotaMemory;
use crate::sync::lock;

/// Lock order: the source of [`super::credentials::Credentials`] first, then any of these, one at a
/// time.
#[derive(Debug, Default)]
pub(crate) struct AccountData {
    pub(super) project: Mutex<ProjectState<Error>>,
    pub(super) quotas: Mutex<QuotaMemory<UpstreamError>>,
    pub(super) models: Mutex<Catalog>,
}

impl AccountData {
    /// Forgets everything, since the credentials now belong to another account.
    pub(super) fn clear(&self) {
        lock(&self.project).clear();
        *lock(&self.quotas) = QuotaMemory::default();
        lock(&self.models).clear();
    }

    /// Ends the memory of failures, since the credentials of the same account have changed.
    pub(super) fn retry_now(&self) {
        lock(&self.project).retry_now();
    }
}
