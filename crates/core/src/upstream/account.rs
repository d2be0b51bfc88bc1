//! What is known of the account in use. It is cleared as one when the credentials become another
//! account's.

use std::sync::Mutex;

use super::catalog::Catalog;
use crate::error::Error;
use crate::google::error::UpstreamError;
use crate::policy::project::ProjectState;
use crate::policy::quota::QuotaMemory;
use crate::sync::lock;

/// Lock order: the login of [`super::credentials::Credentials`] first, then any of these, one at a
/// time.
#[derive(Debug, Default)]
pub(crate) struct AccountData {
    pub(super) project: Mutex<ProjectState<Error>>,
    pub(super) quotas: Mutex<QuotaMemory<UpstreamError>>,
    pub(super) models: Mutex<Catalog>,
}

impl AccountData {
    /// The credentials are another account's.
    pub(super) fn clear(&self) {
        lock(&self.project).clear();
        lock(&self.quotas).clear();
        lock(&self.models).clear();
    }

    /// The credentials have changed, and the account has not.
    pub(super) fn retry_now(&self) {
        lock(&self.project).retry_now();
    }
}
