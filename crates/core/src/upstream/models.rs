//! The account's models and their discovery.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::account::AccountData;
use super::calls::Calls;
use super::catalog::KnownModels;
use super::project::ProjectDiscovery;
use super::store;
use crate::context::RequestContext;
use crate::dialect::gemini::models::Model;
use crate::error::Error;
use crate::job::{BackgroundJob, Job};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::provider::code_assist::{CodeAssist, models};
use crate::settings::Settings;
use crate::sync::lock;
use crate::time::Monotonic;
use crate::wait::{poll_until, within};

/// Finds the models of an account.
#[derive(Debug)]
pub(crate) struct ModelCatalog {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    account: Arc<AccountData>,
    protocol: Arc<CodeAssist>,
}

impl ModelCatalog {
    pub(super) fn new(
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
        account: &Arc<AccountData>,
        protocol: &Arc<CodeAssist>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            metrics: Arc::clone(metrics),
            account: Arc::clone(account),
            protocol: Arc::clone(protocol),
        }
    }

    /// Returns the built-in models and the account's own. Concurrent requests share one call upstream.
    pub(crate) async fn models<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        began: Monotonic,
    ) -> Result<Arc<[Model]>, Error> {
        let platform = context.platform().clone();
        let (models, then) = poll_until(&platform, context.deadline, began, |now| {
            let mut catalog = lock(&self.account.models);
            match &catalog.known {
                Some(known) if began < known.until || began <= known.since => {
                    return Some(Ok(Arc::clone(&known.models)));
                }
                _ => {}
            }
            if let Some(lease) = catalog.leases.take(now, LEASE) {
                platform.spawn_job(BackgroundJob::new(Job::ListModels(self.account.id, lease)));
            }
            None
        })
        .await;
        context.timings.upstream += then.since(began);
        models
    }

    /// Finds the account's models; the lease's work. If Google does not answer, the list has only the
    /// built-in models: model pickers and SDK constructors depend on a list, and wait for it.
    pub(super) async fn discover<P: Platform>(
        &self,
        calls: &Calls,
        projects: &ProjectDiscovery,
        platform: &P,
        lease: Lease,
    ) {
        let account = calls.auth.read_fingerprint(platform).await;
        let asked = pin!(self.own_ids(calls, projects, platform, &account));
        let (ids, ttl) = match within(platform, TIME_LIMIT, asked).await {
            Some(Ok(ids)) if self.settings.model_name_cache => (ids, KEPT_FOR),
            Some(Ok(ids)) => (ids, Duration::ZERO),
            Some(Err(error)) => {
                tracing::warn!(
                    reason = error.label(),
                    "only the built-in models are listed: {}",
                    error.message()
                );
                (Vec::new(), FAILED_TTL)
            }
            None => {
                tracing::warn!("only the built-in models are listed: no answer in {TIME_LIMIT:?}");
                (Vec::new(), FAILED_TTL)
            }
        };
        let models = models::catalogue(ids.iter().map(String::as_str)).into();
        let mut catalog = lock(&self.account.models);
        if catalog.leases.settle(lease) {
            let since = platform.now();
            catalog.known = Some(KnownModels { models, since, until: since + ttl });
        }
    }

    /// Asks `retrieveUserQuota` for the ids of the account's models in this project. The call is
    /// authenticated and uses no model tokens.
    pub(crate) async fn ask_google<P: Platform>(
        &self,
        calls: &Calls,
        context: &mut RequestContext<P>,
        project: &Arc<str>,
    ) -> Result<Option<Vec<String>>, Error> {
        let request = self.protocol.user_quota(project);
        Ok(models::bucket_ids(&calls.call(&request, context).await?))
    }

    /// Takes the ids of the account's models from the store, else from Google.
    async fn own_ids<P: Platform>(
        &self,
        calls: &Calls,
        projects: &ProjectDiscovery,
        platform: &P,
        account: &str,
    ) -> Result<Vec<String>, Error> {
        let is_kept = self.settings.model_name_cache;
        if is_kept
            && let Some(text) =
                store::recall(platform, &self.metrics, &self.account.store_key(KEY)).await
        {
            let stored: Option<(String, Vec<String>)> = serde_json::from_slice(&text).ok();
            if let Some((_, ids)) = stored.filter(|(owner, _)| owner == account) {
                return Ok(ids);
            }
        }
        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        let (project, _) = projects.project(calls, &mut context, now).await;
        let ids = self.ask_google(calls, &mut context, &project?).await?;
        let ids = ids.ok_or_else(|| Error::UpstreamMalformed {
            what: "retrieveUserQuota answered with something that is not JSON".to_owned(),
        })?;
        if is_kept && calls.auth.is_account(account) {
            let text = Bytes::from(json!([account, ids]).to_string());
            let key = self.account.store_key(KEY);
            store::remember(platform, &self.metrics, &key, text, KEPT_FOR, None).await;
        }
        Ok(ids)
    }
}

/// How long a request waits for the list. After that the list has no models of the account's own.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Longer than [`TIME_LIMIT`] and the reading of the credentials before it.
const LEASE: Duration = Duration::from_secs(10);

/// The store's key for the ids.
const KEY: &str = "model_catalogue";
/// How long the ids are kept with `ENABLE_MODEL_NAME_CACHE`.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long the list has only the built-in models after a failure.
const FAILED_TTL: Duration = Duration::from_secs(30);
