//! What the proxy answers by itself: its name, its health, the models.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::ask::marks;
use super::{Answer, Content, JSON, Proxy, lock, page};
use crate::gemini::models::{self, Model};
use crate::gemini::route::Route;
use crate::platform::{Millis, Platform, Vitals};
use crate::refusal::Refusal;
use crate::report::{Credentials, Format, Ledger, Sight};

/// The account's models, good until then.
#[derive(Debug)]
pub(super) struct Catalogue {
    models: std::sync::Arc<[Model]>,
    until: Millis,
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
                let sight = Sight { vitals: platform.vitals(), ..self.sight(platform) };
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

    /// What is to be seen of the proxy at this moment. The vitals are left out: they cost a few
    /// system calls, and `/health` is asked for often.
    fn sight<P: Platform>(&self, platform: &P) -> Sight {
        let (clock, now) = (platform.clock(), platform.now());
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
        Sight {
            clock,
            now,
            store_connected: platform.store_connected(),
            credentials,
            token,
            project,
            most_requests: self.settings.max_concurrent_requests,
            queue_timeout: self.settings.queue_timeout,
            vitals: Vitals::default(),
        }
    }

    /// `GET /v1beta/models`.
    pub(super) async fn model_list<P: Platform>(
        &self,
        platform: &P,
        page_size: Option<usize>,
        page_token: Option<&str>,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
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
    ) -> Result<Answer<P>, Refusal> {
        let models = self.catalogue(platform, ledger).await;
        if let Some(body) = models::one(&models, asked) {
            return Ok(json_answer(HeaderMap::new(), body));
        }
        let live = self.live();
        let model = models::resolve(asked, &live.model_aliases);
        match models::one(&models, model) {
            Some(body) => Ok(json_answer(marks(asked, model, &[]), body)),
            None => Err(Refusal::NotFound { what: format!("models/{asked}") }),
        }
    }

    /// The built-in models and the account's own. Google's not answering costs the account's own,
    /// not the list: pickers and constructors depend on it.
    async fn catalogue<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> std::sync::Arc<[Model]> {
        let clock = platform.clock();
        if let Some(known) = &*lock(&self.catalogue)
            && clock < known.until
        {
            return std::sync::Arc::clone(&known.models);
        }
        let (ids, until) = match self.own_model_ids(platform, ledger).await {
            Ok(ids) => {
                let ttl = if self.settings.model_name_cache { CATALOGUE_TTL } else { NO_TTL };
                (ids, clock + ttl)
            }
            Err(refusal) => {
                tracing::warn!(
                    reason = refusal.label(),
                    "only the built-in models are listed: {}",
                    refusal.message()
                );
                (Vec::new(), clock + FAILED_TTL)
            }
        };
        let models: std::sync::Arc<[Model]> =
            models::catalogue(ids.iter().map(String::as_str)).into();
        *lock(&self.catalogue) = Some(Catalogue { models: std::sync::Arc::clone(&models), until });
        models
    }

    /// From the store, else from `retrieveUserQuota`.
    async fn own_model_ids<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> Result<Vec<String>, Refusal> {
        let cached = self.settings.model_name_cache;
        if cached && let Some(text) = self.recall(platform, CATALOGUE_KEY).await {
            let stored: Option<(String, Vec<String>)> = serde_json::from_slice(&text).ok();
            if let Some((owner, ids)) = stored
                && owner == self.account(platform).await
            {
                return Ok(ids);
            }
        }
        let project = self.project(platform, ledger).await?;
        let answer = self.quota(platform, &project, ledger).await?;
        let ids = models::bucket_ids(&answer).ok_or_else(|| Refusal::UpstreamMalformed {
            what: "retrieveUserQuota answered with something that is not JSON".to_owned(),
        })?;
        if cached {
            let text = json!([self.account(platform).await, ids]).to_string();
            self.remember(platform, CATALOGUE_KEY, Bytes::from(text), CATALOGUE_TTL).await;
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

const CATALOGUE_KEY: &str = "model_catalogue";
/// `ENABLE_MODEL_NAME_CACHE`: the catalogue is kept for a day.
const CATALOGUE_TTL: Duration = Duration::from_secs(24 * 3600);
const NO_TTL: Duration = Duration::ZERO;
/// After a failure the built-in models stand in for so long.
const FAILED_TTL: Duration = Duration::from_secs(30);
