//! One configured upstream: an account at a provider. This module owns all state that belongs to an
//! account: credentials, tokens, endpoints, breakers and quotas (in [`Calls`]), project and models.

mod account;
mod calls;
mod catalog;
mod credentials;
mod failed_answer;
mod io;
mod models;
mod project;
mod quota;
pub(crate) mod store;
mod want;

use std::sync::Arc;

use crate::context::RequestContext;
use crate::dialect::{ModelCall, WholeCall};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::settings::Settings;

use account::AccountData;
pub(crate) use calls::Calls;
pub(crate) use credentials::Credentials;
pub use credentials::ROTATED_KEY;
pub(crate) use credentials::check::Refresh;
pub(crate) use models::ModelCatalog;
pub(crate) use project::ProjectDiscovery;
pub(crate) use want::{EventStream, FirstEvent, Head, HeadAnswer, Whole, WholeAnswer};

/// An account at a provider.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) calls: Calls,
    pub(crate) projects: ProjectDiscovery,
    pub(crate) models: ModelCatalog,
}

impl Upstream {
    /// Makes the upstream of these settings, with nothing known of its account yet.
    pub(crate) fn new(settings: &Arc<Settings>, metrics: &Arc<Metrics>) -> Self {
        let account = Arc::new(AccountData::default());
        Self {
            calls: Calls::new(settings, metrics, &account),
            projects: ProjectDiscovery::new(settings, metrics, &account),
            models: ModelCatalog::new(settings, metrics, &account),
        }
    }

    /// Reads a changed credential file, refreshes a token that is about to expire, and learns from the
    /// store which quotas other processes have found exhausted. Called about once a second.
    pub(crate) async fn tick<P: Platform>(&self, platform: &P) {
        self.calls.credentials.tick(platform).await;
        if platform.has_shared_store() {
            let account = self.calls.credentials.fingerprint();
            self.calls.quotas.learn_from_others(platform, &account).await;
        }
    }

    /// True when the token and, if the call needs one, the project are at hand.
    pub(crate) fn has_account<P: Platform>(&self, call: WholeCall, platform: &P) -> bool {
        let clock = platform.wall_clock();
        self.calls.credentials.has_token(clock)
            && (!needs_project(call) || self.projects.is_known(clock))
    }

    /// Waits for the token and, if the call needs one, the project. Whatever fails is left to the call,
    /// which asks again and gets the same failure from memory. A call that a breaker refuses does not
    /// wait.
    pub(crate) async fn await_account<P: Platform>(
        &self,
        call: WholeCall,
        context: &mut RequestContext<P>,
    ) {
        let now = context.platform().now();
        let counted_for = self.calls.provider.counted_for(ModelCall::Whole(call));
        if self.calls.check_breakers(counted_for, &context.model, now).is_err() {
            return;
        }
        if needs_project(call) {
            // A discovery waits for the token.
            let (project, now) = self.projects.project(&self.calls, context, now).await;
            if project.is_ok() {
                let _ = self.calls.credentials.bearer(context, now).await;
            }
        } else {
            let _ = self.calls.credentials.bearer(context, now).await;
        }
    }

    /// Shares the exhausted quotas with other processes.
    pub(crate) async fn publish_quotas<P: Platform>(&self, platform: &P) {
        let account = self.calls.credentials.fingerprint();
        self.calls.quotas.publish(platform, &account).await;
    }

    /// Gets the next access token; the lease's work.
    pub(crate) async fn refresh_token<P: Platform>(&self, platform: &P, lease: Lease) {
        self.calls.credentials.renew(platform, lease).await;
    }

    /// Finds the account's project; the lease's work.
    pub(crate) async fn discover_project<P: Platform>(&self, platform: &P, lease: Lease) {
        self.projects.discover(&self.calls, platform, lease).await;
    }

    /// Finds the account's models; the lease's work.
    pub(crate) async fn list_models<P: Platform>(&self, platform: &P, lease: Lease) {
        self.models.discover(&self.calls, &self.projects, platform, lease).await;
    }
}

/// Counting tokens uses no project.
fn needs_project(call: WholeCall) -> bool {
    match call {
        WholeCall::CountTokens => false,
        WholeCall::Generate => true,
    }
}
