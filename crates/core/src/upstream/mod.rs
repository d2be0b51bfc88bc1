//! The configured upstreams, each an account at a provider. This module owns all state that belongs to an
//! account: credentials, tokens, endpoints, breakers and quotas (in [`Calls`]), and of Code Assist
//! project and models.

mod account;
mod auth;
mod calls;
mod catalog;
mod copied;
mod credentials;
mod failed_answer;
mod health;
mod inability;
mod io;
mod list;
mod models;
mod own_calls;
mod own_login;
mod project;
mod quota;
pub(crate) mod store;
mod vertex;
mod want;

use std::sync::Arc;

use crate::context::RequestContext;
use crate::dialect::{ModelCall, WholeCall};
use crate::job::UpstreamId;
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::provider::Provider;
use crate::provider::code_assist::CodeAssist;
use crate::provider::gemini_api::GeminiApi;
use crate::provider::gemini_api::upload::UploadSigner;
use crate::settings::{
    AccountSettings, ModelAlias, ModelPattern, Settings, UpstreamSettings, VertexAuth,
};

use account::AccountData;
pub(crate) use auth::AccountAuth;
pub(crate) use calls::Calls;
pub(crate) use copied::{CopiedAnswer, CopiedBody};
pub use credentials::ROTATED_KEY;
pub(crate) use credentials::check::Refresh;
use credentials::{CredentialPlace, Credentials};
pub(crate) use list::{KeyLists, UpstreamList, Upstreams};
use models::ModelCatalog;
pub(crate) use own_calls::Counted;
pub use own_calls::ListedModel;
pub(crate) use own_login::OwnLogin;
use project::ProjectDiscovery;
pub(crate) use vertex::VertexAccount;
pub(crate) use want::{
    CopiedEvents, EventStream, FirstCopied, FirstEvent, Head, HeadAnswer, Whole, WholeAnswer,
};

/// An account at a provider.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) id: UpstreamId,
    pub(crate) name: Arc<str>,
    /// The models that the upstream serves; empty is all of them.
    models: Vec<ModelPattern>,
    /// The operator's names of models for this upstream.
    model_map: Vec<ModelAlias>,
    pub(crate) calls: Calls,
    pub(crate) account: Account,
    data: Arc<AccountData>,
}

/// What an account has besides its calls, by provider.
#[derive(Debug)]
pub(crate) enum Account {
    CodeAssist(CodeAssistAccount),
    GeminiApi(UploadSigner),
    Vertex(VertexAccount),
}

/// What an account of Code Assist has besides: its protocol, a project and models.
#[derive(Debug)]
pub(crate) struct CodeAssistAccount {
    pub(crate) protocol: Arc<CodeAssist>,
    pub(crate) projects: ProjectDiscovery,
    pub(crate) models: ModelCatalog,
}

impl Upstream {
    fn new(
        id: UpstreamId,
        configured: &UpstreamSettings,
        first_endpoint: usize,
        own_login: Option<Arc<OwnLogin>>,
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let account = Arc::new(AccountData::new(id, &configured.name, own_login));
        let (provider, auth, own) = match &configured.account {
            AccountSettings::CodeAssist(login) => {
                let protocol = Arc::new(CodeAssist::new(&settings.api_version));
                let projects = ProjectDiscovery::new(
                    settings,
                    metrics,
                    &account,
                    &protocol,
                    login.project_id.as_deref(),
                );
                let models = ModelCatalog::new(settings, metrics, &account, &protocol);
                let place = CredentialPlace::GeminiCli(login.clone());
                let credentials = Credentials::new(settings, metrics, &account, place);
                (
                    Provider::CodeAssist(Arc::clone(&protocol)),
                    AccountAuth::Tokens(Box::new(credentials)),
                    Account::CodeAssist(CodeAssistAccount { protocol, projects, models }),
                )
            }
            AccountSettings::GeminiApi(account) => {
                let auth = AccountAuth::key(&account.api_key);
                let uploads = UploadSigner::new(&account.api_key);
                (Provider::GeminiApi(GeminiApi), auth, Account::GeminiApi(uploads))
            }
            AccountSettings::Vertex(configured) => {
                let own = VertexAccount::new(configured);
                let auth = match &configured.auth {
                    VertexAuth::ApiKey(key) => AccountAuth::key(key),
                    VertexAuth::Google(place) => {
                        let place = CredentialPlace::Google(place.clone());
                        let credentials = Credentials::new(settings, metrics, &account, place);
                        AccountAuth::Tokens(Box::new(credentials))
                    }
                };
                (Provider::Vertex(Arc::clone(&own.protocol)), auth, Account::Vertex(own))
            }
        };
        let endpoints = (&*configured.endpoints, first_endpoint);
        Self {
            id,
            name: Arc::clone(&configured.name),
            models: configured.models.clone(),
            model_map: configured.model_map.clone(),
            calls: Calls::new(settings, metrics, &account, endpoints, provider, auth),
            account: own,
            data: account,
        }
    }

    /// The login of the key that the upstream belongs to; `None` for one of the operator's.
    pub(crate) fn own_login(&self) -> Option<&Arc<OwnLogin>> {
        self.data.own_login.as_ref()
    }

    /// What only an account of Code Assist has.
    pub(crate) fn code_assist(&self) -> Option<&CodeAssistAccount> {
        match &self.account {
            Account::CodeAssist(account) => Some(account),
            Account::GeminiApi(_) | Account::Vertex(_) => None,
        }
    }

    /// What signs the URLs of uploads, at the Gemini API.
    pub(crate) fn uploads(&self) -> Option<&UploadSigner> {
        match &self.account {
            Account::GeminiApi(uploads) => Some(uploads),
            Account::CodeAssist(_) | Account::Vertex(_) => None,
        }
    }

    /// Whether the operator lets this upstream serve a model. What concerns no model is served too.
    pub(crate) fn serves(&self, model: &str) -> bool {
        self.models.is_empty()
            || model.is_empty()
            || self.models.iter().any(|pattern| pattern.matches(model))
    }

    /// The name of the model at this upstream. The operator's names for the upstream come last.
    pub(crate) fn model<'a>(&'a self, requested: &'a str, aliases: &'a [ModelAlias]) -> &'a str {
        let model = self.calls.provider.resolve(requested, aliases);
        let mapped = self.model_map.iter().find(|alias| alias.from == model);
        mapped.map_or(model, |alias| &alias.to)
    }

    /// Reads a changed credential file, refreshes a token that is about to expire, and learns from the
    /// store which quotas other processes have found exhausted. Called about once a second.
    pub(crate) async fn tick<P: Platform>(&self, platform: &P) {
        self.calls.auth.tick(platform).await;
        if platform.has_shared_store() {
            let account = self.calls.auth.fingerprint();
            self.calls.quotas.learn_from_others(platform, &account).await;
        }
    }

    /// True when the token and, if the call needs one, the project are at hand.
    pub(crate) fn has_account<P: Platform>(&self, call: WholeCall, platform: &P) -> bool {
        let clock = platform.wall_clock();
        self.calls.auth.has_token(clock)
            && (!needs_project(call)
                || self.code_assist().is_none_or(|it| it.projects.is_known(clock)))
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
        match self.code_assist() {
            Some(account) if needs_project(call) => {
                // A discovery waits for the token.
                let (project, now) = account.projects.project(&self.calls, context, now).await;
                if project.is_ok() {
                    let _ = self.calls.auth.authorize(context, now).await;
                }
            }
            _ => {
                let _ = self.calls.auth.authorize(context, now).await;
            }
        }
    }

    /// Shares the exhausted quotas with other processes.
    pub(crate) async fn publish_quotas<P: Platform>(&self, platform: &P) {
        let account = self.calls.auth.fingerprint();
        self.calls.quotas.publish(platform, &account).await;
    }

    /// Gets the next access token; the lease's work.
    pub(crate) async fn refresh_token<P: Platform>(&self, platform: &P, lease: Lease) {
        self.calls.auth.renew(platform, lease).await;
    }

    /// Finds the account's project; the lease's work.
    pub(crate) async fn discover_project<P: Platform>(&self, platform: &P, lease: Lease) {
        if let Some(account) = self.code_assist() {
            account.projects.discover(&self.calls, platform, lease).await;
        }
    }

    /// Finds the account's models; the lease's work.
    pub(crate) async fn list_models<P: Platform>(&self, platform: &P, lease: Lease) {
        if let Some(account) = self.code_assist() {
            account.models.discover(&self.calls, &account.projects, platform, lease).await;
        }
    }
}

/// Counting tokens uses no project.
fn needs_project(call: WholeCall) -> bool {
    match call {
        WholeCall::BatchEmbed | WholeCall::CountTokens | WholeCall::Embed => false,
        WholeCall::Generate => true,
    }
}
