//! The metadata server of Compute Engine, GKE, Cloud Run and others (`docs/reference/upstreams.md` 2.3 c).

use http::header::USER_AGENT;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use super::CLOUD_PLATFORM;
use crate::google;
use crate::google::credentials::refresh::{RefreshError, RefreshedToken, clip, issued};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The metadata server. The shell reaches it without a forward proxy.
#[derive(Debug, Clone)]
pub struct MetadataServer {
    host: String,
}

impl MetadataServer {
    /// The server at `host`, or at Google's own name.
    pub fn new(host: Option<&str>) -> Self {
        let host = host.map(str::trim).filter(|host| !host.is_empty()).unwrap_or(GOOGLES_NAME);
        Self { host: host.to_owned() }
    }

    /// Host, and port if it is not 80.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The request for a token of the service account that is attached to the machine.
    pub fn token_request(&self) -> Option<Request<Payload>> {
        let scopes: String = form_urlencoded::byte_serialize(CLOUD_PLATFORM.as_bytes()).collect();
        self.request(&format!("instance/service-accounts/default/token?scopes={scopes}"))
    }

    /// The request for the name of the machine's project.
    pub fn project_request(&self) -> Option<Request<Payload>> {
        self.request("project/project-id")
    }

    /// Reads the answer to [`MetadataServer::token_request`].
    pub fn read_token(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        let host = &self.host;
        if !is_metadata_server(headers) {
            // A captive portal, for example.
            let why = format!("{host} answered {status}, but is no metadata server");
            return Err(RefreshError::Transient(why));
        }
        if status == StatusCode::NOT_FOUND {
            let why = format!(
                "the metadata server {host} has no service account: attach one to this machine \
                 (on GKE: set up Workload Identity), or set VERTEX_CREDENTIALS"
            );
            return Err(RefreshError::Rejected(why));
        }
        if !status.is_success() {
            let text = clip(&String::from_utf8_lossy(body));
            let why = format!("the metadata server {host} answered {status}: {text}");
            // A pod's identity may take minutes to be known (403), and the server itself to start (500, 503).
            return Err(RefreshError::Transient(why));
        }
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        issued(&value, clock).ok_or_else(|| {
            let why = format!("the metadata server {host} answered without an access_token");
            RefreshError::Transient(why)
        })
    }

    fn request(&self, path: &str) -> Option<Request<Payload>> {
        Request::builder()
            .uri(format!("http://{}/computeMetadata/v1/{path}", self.host))
            .header(FLAVOR, GOOGLE)
            .header(USER_AGENT, google::USER_AGENT)
            .body(Payload::default())
            .ok()
    }
}

/// Reads the answer to [`MetadataServer::project_request`].
pub fn read_project(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let is_name = (1..=MOST_PROJECT_LETTERS).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-:._".contains(&it));
    (status.is_success() && is_metadata_server(headers) && is_name).then(|| text.to_owned())
}

fn is_metadata_server(headers: &HeaderMap) -> bool {
    headers.get(FLAVOR).is_some_and(|flavor| flavor == GOOGLE)
}

const FLAVOR: &str = "metadata-flavor";
const GOOGLE: &str = "Google";
const GOOGLES_NAME: &str = "metadata.google.internal";

/// A project's name has 30 letters at most, to which old ones add a domain.
const MOST_PROJECT_LETTERS: usize = 200;
