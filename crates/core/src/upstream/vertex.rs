//! What an account of Vertex AI has besides its calls: the project, and the project that is charged.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::calls::Calls;
use crate::context::RequestContext;
use crate::error::{CredentialKind, Error};
use crate::platform::Platform;
use crate::provider::edits::ServiceTier;
use crate::provider::vertex::path::{Location, VertexPaths};
use crate::provider::vertex::{TIER, USER_PROJECT, Vertex, user_project};
use crate::settings::{VertexAuth, VertexSettings};
use crate::time::Monotonic;

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
        if let Some(paths) = self.protocol.paths() {
            return (Ok(paths), now);
        }
        let platform = context.platform().clone();
        let project = match calls.auth.credentials() {
            Some(credentials) => credentials.google_project(&platform).await,
            None => None,
        };
        let then = platform.now();
        context.timings.auth += then.since(now);
        let why = || {
            "VERTEX_PROJECT is not set, and the credentials name no project; set VERTEX_PROJECT"
                .to_owned()
        };
        let paths = match project {
            Some(project) => self.protocol.set_project(&project).ok(),
            None => None,
        };
        (
            paths.ok_or_else(|| Error::CredentialsMissing {
                why: why(),
                kind: CredentialKind::GoogleCloud,
            }),
            then,
        )
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
}
