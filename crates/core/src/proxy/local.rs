//! What the proxy answers by itself: its name, its health, the models.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::ask::marks;
use super::attempt::within;
use super::{Answer, BackgroundJob, Content, JSON, Proxy, lock, page};
use crate::dialect::gemini::route::Route;
use crate::error::Error;
use crate::metrics::{Credentials, Format, HealthInput, Ledger};
use crate::platform::{Platform, ProcessStats};
use crate::policy::lease::{Lease, Leases};
use crate::provider::code_assist::models::{self, Model};
use crate::time::Monotonic;

/// The models that are listed, and whose turn it is to find out the account's own.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    known: Option<Known>,
    leases: Leases,
}

#[derive(Debug)]
struct Known {
    models: Arc<[Model]>,
    /// When they were found out.
    since: Monotonic,
    /// How long they are good for requests that come later.
    until: Monotonic,
}

impl Catalogue {
    /// The account is another one, which may have other models.
    pub(super) fn forget(&mut self) {
        self.known = None;
        self.leases.void();
    }
}

impl Proxy {
    /// `GET /`, `/health`, `/health/detailed`, `/metrics` and `OPTIONS *`: no upstream call, no
    /// store, no waiting.
    pub(super) fn local<P: Platform>(
        &self,
        platform: &P,
        route: &Route,
        parts: &Parts,
    ) -> Answer<P> {
        let mut headers = HeaderMap::new();
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let accept = accept.unwrap_or_default();
        let (status, body) = match route {
            Route::Options => {
                headers.extend(self.live().access.preflight(&parts.headers));
                (StatusCode::NO_CONTENT, Bytes::new())
            }
            Route::Health | Route::HealthDetailed => {
                let sight = self.sight(platform);
                let (ok, body) = match route {
                    Route::Health => self.report.health(&sight),
                    _ => self.report.health_detailed(&sight),
                };
                let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(CACHE_CONTROL, NO_STORE);
                (status, Bytes::from(body))
            }
            Route::Metrics { format } => {
                let format = Format::choose(format.as_deref(), accept);
                headers.insert(CONTENT_TYPE, format.content_type());
                headers.insert(CACHE_CONTROL, NO_STORE);
                headers.insert(VARY, HeaderValue::from_static("Accept"));
                let sight =
                    HealthInput { process_stats: platform.process_stats(), ..self.sight(platform) };
                (StatusCode::OK, Bytes::from(self.report.metrics(&sight, format)))
            }
            _ if accept.contains("text/html") => {
                headers.extend(page::headers());
                (StatusCode::OK, Bytes::from_static(page::HTML.as_bytes()))
            }
            _ => {
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(VARY, HeaderValue::from_static("Accept"));
                (StatusCode::OK, Bytes::from(root()))
            }
        };
        Answer { status, headers, body: Content::Whole(body) }
    }

    /// What is to be seen of the proxy at this moment. The process_stats are left out: they cost a few
    /// system calls, and `/health` is asked for often.
    fn sight<P: Platform>(&self, platform: &P) -> HealthInput {
        let (clock, now) = (platform.wall_clock(), platform.now());
        // A breaker also changes with time alone.
        for (index, health) in lock(&self.endpoints).health(now).enumerate() {
            self.report.breaker(index, health.state);
        }
        let (credentials, token) = {
            let tokens = self.tokens();
            let credentials = tokens.trouble().map_or(Credentials::Ok, |refusal| {
                Credentials::Refused(refusal.label(), refusal.message())
            });
            (credentials, tokens.expiry(clock))
        };
        let project = match &self.settings.project_id {
            Some(_) => "known",
            None => lock(&self.projects).standing(clock, now),
        };
        HealthInput {
            clock,
            now,
            store_connected: platform.store_connected(),
            credentials,
            token,
            project,
            most_requests: self.settings.max_concurrent_requests,
            queue_timeout: self.settings.queue_timeout,
            process_stats: ProcessStats::default(),
        }
    }

    /// `GET /v1beta/models`.
    pub(super) async fn model_list<P: Platform>(
        &self,
        platform: &P,
        page_size: Option<usize>,
        page_token: Option<&str>,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Error> {
        let models = self.catalogue(platform, ledger).await;
        let body = models::list(&models, page_size, page_token)?;
        Ok(json_answer(HeaderMap::new(), body))
    }

    /// `GET /v1beta/models/{m}`: an alias is answered with the model it stands for.
    pub(super) async fn model<P: Platform>(
        &self,
        platform: &P,
        asked: &str,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Error> {
        let models = self.catalogue(platform, ledger).await;
        if let Some(body) = models::one(&models, asked) {
            return Ok(json_answer(HeaderMap::new(), body));
        }
        let live = self.live();
        let model = models::resolve(asked, &live.model_aliases);
        match models::one(&models, model) {
            Some(body) => {
                Ok(json_answer(marks(Some(model).filter(|model| *model != asked), &[]), body))
            }
            None => Err(Error::NotFound { what: format!("models/{asked}") }),
        }
    }

    /// The built-in models and the account's own. However many ask at once, one call finds out.
    async fn catalogue<P: Platform>(&self, platform: &P, ledger: &mut Ledger<P>) -> Arc<[Model]> {
        let begun = platform.now();
        let mut pause = FIRST_LOOK;
        let models = loop {
            let lease = {
                let mut catalogue = lock(&self.catalogue);
                match &catalogue.known {
                    Some(known) if begun < known.until || begun <= known.since => {
                        break Arc::clone(&known.models);
                    }
                    _ => catalogue.leases.take(platform.now(), LEASE),
                }
            };
            if let Some(lease) = lease {
                platform.spawn_job(BackgroundJob::ListModels(lease));
            }
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        };
        ledger.entry.upstream += platform.now().since(begun);
        models
    }

    /// Finds out the account's models; the lease's work. Google's not answering costs the account's
    /// own, not the list: pickers and constructors depend on it, and wait for it.
    pub(super) async fn list<P: Platform>(&self, platform: &P, lease: Lease) {
        let account = self.account(platform).await;
        let asked = within(platform, PATIENCE, pin!(self.own_model_ids(platform, &account))).await;
        let (ids, ttl) = match asked {
            Some(Ok(ids)) if self.settings.model_name_cache => (ids, CATALOGUE_TTL),
            Some(Ok(ids)) => (ids, NO_TTL),
            Some(Err(refusal)) => {
                tracing::warn!(
                    reason = refusal.label(),
                    "only the built-in models are listed: {}",
                    refusal.message()
                );
                (Vec::new(), FAILED_TTL)
            }
            None => {
                tracing::warn!("only the built-in models are listed: no answer in {PATIENCE:?}");
                (Vec::new(), FAILED_TTL)
            }
        };
        let models = models::catalogue(ids.iter().map(String::as_str)).into();
        let mut catalogue = lock(&self.catalogue);
        if catalogue.leases.settle(lease) {
            let since = platform.now();
            catalogue.known = Some(Known { models, since, until: since + ttl });
        }
    }

    /// From the store, else from `retrieveUserQuota`.
    async fn own_model_ids<P: Platform>(
        &self,
        platform: &P,
        account: &str,
    ) -> Result<Vec<String>, Error> {
        let cached = self.settings.model_name_cache;
        if cached && let Some(text) = self.recall(platform, CATALOGUE_KEY).await {
            let stored: Option<(String, Vec<String>)> = serde_json::from_slice(&text).ok();
            if let Some((_, ids)) = stored.filter(|(owner, _)| owner == account) {
                return Ok(ids);
            }
        }
        let mut ledger = self.own_ledger(platform);
        let project = self.project(platform, &mut ledger).await?;
        let answer = self.quota(platform, &project, &mut ledger).await?;
        let ids = models::bucket_ids(&answer).ok_or_else(|| Error::UpstreamMalformed {
            what: "retrieveUserQuota answered with something that is not JSON".to_owned(),
        })?;
        if cached && self.is_account(account) {
            let text = json!([account, ids]).to_string();
            self.remember(platform, CATALOGUE_KEY, Bytes::from(text), CATALOGUE_TTL, None).await;
        }
        Ok(ids)
    }
}

fn json_answer<P: Platform>(mut headers: HeaderMap, body: Bytes) -> Answer<P> {
    headers.insert(CONTENT_TYPE, JSON);
    Answer { status: StatusCode::OK, headers, body: Content::Whole(body) }
}

fn root() -> String {
    json!({
        "name": "code-assist-proxy",
        "description": "A transparent proxy between the standard Gemini API and Google's Code Assist API",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "proxy": [
                "POST /v1beta/models/{model}:generateContent",
                "POST /v1beta/models/{model}:streamGenerateContent",
                "POST /v1beta/models/{model}:countTokens",
                "GET /v1beta/models",
                "GET /v1beta/models/{model}",
                "POST /v1internal:{method}",
            ],
            "monitoring": ["GET /health", "GET /health/detailed", "GET /metrics"],
        },
    })
    .to_string()
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A waiting request looks again after this, then after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// A list is drawn up while somebody looks at it: later than this it comes without the account's
/// own models.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than that and what goes before it.
const LEASE: Duration = Duration::from_secs(10);

const CATALOGUE_KEY: &str = "model_catalogue";
/// `ENABLE_MODEL_NAME_CACHE`: the catalogue is kept for a day.
const CATALOGUE_TTL: Duration = Duration::from_secs(24 * 3600);
const NO_TTL: Duration = Duration::ZERO;
/// After a failure the built-in models stand in for so long.
const FAILED_TTL: Duration = Duration::from_secs(30);
