//! What is known of the account in use. All of it is cleared at once when the credentials change to
//! another account.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use super::catalog::Catalog;
use super::own_login::OwnLogin;
use crate::context::RequestContext;
use crate::error::Error;
use crate::google::error::UpstreamError;
use crate::job::UpstreamId;
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::project::ProjectState;
use crate::policy::quota::QuotaMemory;
use crate::policy::routing::InabilityMemory;
use crate::shards::SharedState;
use crate::sync::{OftenEmpty, lock};

/// Lock order: the source of [`super::credentials::Credentials`] first, then any of these, one at a
/// time.
#[derive(Debug)]
pub(crate) struct AccountData {
    pub(crate) id: UpstreamId,
    /// The upstream's name, a label of metrics and log lines.
    pub(crate) name: Arc<str>,
    /// The login of a key, if the account is not the operator's.
    pub(super) own_login: Option<Arc<OwnLogin>>,
    pub(super) project: SharedState<ProjectState<Error>>,
    pub(super) quotas: OftenEmpty<QuotaMemory<UpstreamError>>,
    pub(super) models: Mutex<Catalog>,
    /// What the account is known to be unable to do, where another upstream may do it.
    pub(super) unable: OftenEmpty<InabilityMemory<Error>>,
}

impl AccountData {
    /// Makes the data of an account of which nothing is known yet.
    pub(super) fn new(id: UpstreamId, name: &Arc<str>, own_login: Option<Arc<OwnLogin>>) -> Self {
        Self {
            id,
            name: Arc::clone(name),
            own_login,
            project: SharedState::new(ProjectState::default()),
            quotas: OftenEmpty::default(),
            models: Mutex::default(),
            unable: OftenEmpty::default(),
        }
    }

    /// The store's key of an entry of this account. The entries of the upstream that the short settings
    /// make for Code Assist keep the names that earlier versions gave them. No upstream's name has a slash,
    /// as the places of keys' logins do.
    pub(super) fn store_key(&self, entry: &'static str) -> Cow<'static, str> {
        match (&self.own_login, &*self.name) {
            (Some(own), _) => Cow::Owned(format!("{entry}/{}", own.place)),
            (None, "code-assist") => Cow::Borrowed(entry),
            (None, name) => Cow::Owned(format!("{entry}/{name}")),
        }
    }

    /// The `id` of the key whose login this is, for log lines.
    pub(super) fn key(&self) -> Option<&str> {
        self.own_login.as_ref().map(|own| &*own.id)
    }

    /// Counts a refresh. Those of keys' logins are counted apart: alerts are about the operator's.
    pub(super) fn count_refresh(&self, metrics: &Metrics, succeeded: bool) {
        match &self.own_login {
            Some(own) => own.count_refresh(succeeded),
            None if succeeded => metrics.refreshed(),
            None => metrics.refresh_failed(),
        }
    }

    /// Records whether a request found its token at hand.
    pub(super) fn note_token<P: Platform>(&self, context: &mut RequestContext<P>, at_hand: bool) {
        if self.own_login.is_some() {
            context.token_at_hand.get_or_insert(at_hand);
        } else {
            context.note_token(at_hand);
        }
    }

    /// Forgets everything, since the credentials now belong to another account.
    pub(super) fn clear(&self) {
        self.project.with(ProjectState::clear);
        self.quotas.with(|quotas| *quotas = QuotaMemory::default());
        lock(&self.models).clear();
        self.unable.with(InabilityMemory::clear);
    }

    /// Ends the memory of failures, since the credentials of the same account have changed.
    pub(super) fn retry_now(&self) {
        self.project.with(ProjectState::retry_now);
        self.unable.with(InabilityMemory::forget_account);
    }
}
