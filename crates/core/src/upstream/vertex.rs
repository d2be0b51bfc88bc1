//! What an account of Vertex AI has besides its calls: the project, and the project that is charged.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Upstream;
use super::calls::Calls;
use super::catalog::KnownModels;
use crate::context::RequestContext;
use crate::dialect::gemini::models::Model;
use crate::error::{CredentialKind, Error};
use crate::google::credentials::adc::TokenSource;
use crate::google::error::{self, UpstreamError};
use crate::payload::Payload;
use crate::platform::Platform;
use crate::provider::edits::ServiceTier;
use crate::provider::request::UpstreamRequest;
use crate::provider::vertex::models;
use crate::provider::vertex::path::{Location, VertexPathError, VertexPaths};
use crate::provider::vertex::{TIER, USER_PROJECT, Vertex, user_project};
use crate::settings::{VertexAuth, VertexSettings};
use crate::sync::lock;
use crate::time::Monotonic;
use crate::wait::within;

/// An account of Vertex AI.
#[derive(Debug)]
pub(crate) struct VertexAccount {
    pub(crate) protocol: Arc<Vertex>,
    /// The operator's project for quotas. Without it the credentials' own counts, if they name one.
    quota_project: Option<HeaderValue>,
}

impl VertexAccount {
    pub(super) fn new(configured: &VertexSettings) -> Self {
        let VertexSettings { auth, project, location, api_version, quota_project } = configured;
        let location = Location::new(location).unwrap_or_else(|_| Location::global());
        let protocol = match auth {
            VertexAuth::ApiKey(_) => Vertex::express(api_version, location.clone()),
            VertexAuth::Google(_) => Ok(Vertex::new(api_version, location.clone())),
        };
        let protocol = protocol.unwrap_or_else(|_| Vertex::new(api_version, location));
        if let (VertexAuth::Google(_), Some(project)) = (auth, project) {
            // A project that is no name of Google's fails with the first request, with a message.
            let _ = protocol.set_project(project);
        }
        let quota_project = quota_project.as_deref().and_then(user_project);
        Self { protocol: Arc::new(protocol), quota_project }
    }

    /// The paths of the upstream. Waits for the project that the credentials name if none is set.
    pub(crate) async fn paths<P: Platform>(
        &self,
        calls: &Calls,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<&VertexPaths, Error>, Monotonic) {
        // The credentials name the project that is charged, and perhaps the one that is used.
        let is_read = calls
            .auth
            .credentials()
            .is_none_or(|credentials| credentials.google_credential().is_some());
        if let Some(paths) = self.protocol.paths().filter(|_| is_read) {
            return (Ok(paths), now);
        }
        // Also for a failure that is known already: without credentials there is no project.
        let (authorized, then) = Box::pin(calls.auth.authorize(context, now)).await;
        if let Err(error) = authorized {
            return (Err(error), then);
        }
        if let Some(paths) = self.protocol.paths() {
            return (Ok(paths), then);
        }
        let (found, then) = Box::pin(self.find_project(calls, context, then)).await;
        let project = match found {
            Ok(project) => project,
            Err(error) => return (Err(error), then),
        };
        let kind = CredentialKind::GoogleCloud;
        let paths = match project {
            None => {
                let why = "VERTEX_PROJECT is not set, and the credentials name no project; set \
                           VERTEX_PROJECT";
                Err(Error::CredentialsMissing { why: why.to_owned(), kind })
            }
            Some(project) => self.protocol.set_project(&project).map_err(|_| {
                let why = format!(
                    "the credentials name {project:?}, which is no project; set VERTEX_PROJECT"
                );
                Error::CredentialsMissing { why, kind }
            }),
        };
        (paths, then)
    }

    /// The project that the credentials name. Their file has it at hand; the metadata server is asked, and
    /// answers or fails within seconds.
    async fn find_project<P: Platform>(
        &self,
        calls: &Calls,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<Option<String>, Error>, Monotonic) {
        let Some(credentials) = calls.auth.credentials() else { return (Ok(None), now) };
        let late = |after| Error::TokenUnavailable {
            why: "the metadata server does not say which project this is".to_owned(),
            after,
        };
        let platform = context.platform().clone();
        let (limit, late) = context.wait_limit(PROJECT_TIMEOUT, late, now);
        let asked = pin!(credentials.google_project(&platform));
        let found = within(&platform, limit, asked).await;
        let then = platform.now();
        context.timings.auth += then.since(now);
        (found.ok_or(late), then)
    }

    /// The project and the location, once the project is known, for the operator.
    pub(crate) fn place(&self) -> String {
        match self.protocol.paths() {
            Some(paths) => paths.to_string(),
            None => format!("the credentials' project in {}", self.protocol.location().as_str()),
        }
    }

    /// True at the location that has every model, and in express mode.
    pub(crate) fn is_global(&self) -> bool {
        *self.protocol.location() == Location::global()
    }

    /// The upstream's own headers of a request.
    pub(crate) fn headers(&self, calls: &Calls, tier: Option<ServiceTier>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let own = || {
            let credential = calls.auth.credentials()?.google_credential()?;
            user_project(credential.quota_project_id()?)
        };
        if let Some(project) = self.quota_project.clone().or_else(own) {
            headers.insert(USER_PROJECT, project);
        }
        if let Some(tier) = tier {
            headers.insert(TIER, HeaderValue::from_static(tier.as_str()));
        }
        headers
    }
    /// The headers of a request for the catalogue. It is outside of projects, and so a user's credentials
    /// need to name one that is charged.
    pub(crate) fn catalogue_headers(&self, calls: &Calls, paths: &VertexPaths) -> HeaderMap {
        let mut headers = self.headers(calls, None);
        let credential = calls.auth.credentials().and_then(|own| own.google_credential());
        let is_user = credential.is_some_and(|credential| {
            let source = &credential.source;
            matches!(source, TokenSource::AuthorizedUser(_) | TokenSource::ExternalUser(_))
                && credential.impersonations.is_empty()
        });
        if is_user
            && !headers.contains_key(USER_PROJECT)
            && let Some(project) = paths.project().and_then(user_project)
        {
            headers.insert(USER_PROJECT, project);
        }
        headers
    }
}

impl Upstream {
    /// The models that the catalogue of Vertex AI has, from the first to the last page. It is asked once
    /// in a while. Concurrent requests ask for themselves.
    pub(crate) async fn vertex_models<P: Platform>(
        &self,
        account: &VertexAccount,
        context: &mut RequestContext<P>,
    ) -> Result<Arc<[Model]>, Error> {
        let now = context.platform().now();
        if let Some(known) = &lock(&self.data.models).known
            && now < known.until
        {
            return Ok(Arc::clone(&known.models));
        }
        let (mut found, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = "pageSize=200".to_owned();
            if let Some(token) = &token {
                query.push_str("&pageToken=");
                query.extend(form_urlencoded::byte_serialize(token.as_bytes()));
            }
            let answer = self.ask_catalogue(account, None, Some(&query), context).await?;
            let page = models::page(&answer).map_err(|_| unreadable())?;
            found.extend(page.models);
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        let (models, since) = (Arc::<[Model]>::from(found), context.platform().now());
        let known = KnownModels { models: Arc::clone(&models), since, until: since + KEPT_FOR };
        lock(&self.data.models).known = Some(known);
        Ok(models)
    }

    /// One model of the catalogue; `None` if the Gemini API has no method for it.
    pub(crate) async fn vertex_model<P: Platform>(
        &self,
        account: &VertexAccount,
        model: &str,
        context: &mut RequestContext<P>,
    ) -> Result<Option<Model>, Error> {
        let answer = self.ask_catalogue(account, Some(model), None, context).await?;
        models::one(&answer).map_err(|_| unreadable())
    }

    async fn ask_catalogue<P: Platform>(
        &self,
        account: &VertexAccount,
        model: Option<&str>,
        query: Option<&str>,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        let now = context.platform().now();
        let (paths, _) = account.paths(&self.calls, context, now).await;
        let paths = paths?;
        let path = paths.catalogue(model, query);
        let path = path.map_err(|why: VertexPathError| Error::NotFound {
            what: format!("models/{} ({why})", model.unwrap_or_default()),
        })?;
        let request = UpstreamRequest::new(Method::GET, Ok(path), Payload::default())
            .with_headers(account.catalogue_headers(&self.calls, paths));
        self.calls.call(&request, context).await.map_err(of_catalogue)
    }
}

/// Says of which request an error of Google's is: models can be called although their list is refused.
fn of_catalogue(error: Error) -> Error {
    match error {
        Error::Upstream(refused) if refused.http != StatusCode::NOT_FOUND => {
            let UpstreamError { http, message, status, details, retry_delay, .. } = *refused;
            let message = format!(
                "Vertex AI does not give its list of models; models can be called all the same. Google \
                 says: {message}"
            );
            let details: serde_json::Value = serde_json::from_slice(&details).unwrap_or_default();
            let code = http.as_u16();
            let mut body = serde_json::json!({
                "error": {"code": code, "message": message, "status": status},
            });
            if details.is_array() {
                body["error"]["details"] = details;
            }
            let text = Bytes::from(body.to_string());
            let mut stated = error::read(http, &HeaderMap::new(), &text);
            stated.retry_delay = retry_delay;
            Error::Upstream(Box::new(stated))
        }
        error => error,
    }
}

fn unreadable() -> Error {
    let what = "the catalogue of models is in a form that is not known here".to_owned();
    Error::UpstreamMalformed { what }
}

/// Longer than a metadata server takes to answer or to fail.
const PROJECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the catalogue answers requests. It changes a few times a month.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Pages of the catalogue, of which there are one or two.
const MOST_PAGES: usize = 20;
