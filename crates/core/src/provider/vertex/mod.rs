//! The provider Vertex AI (`docs/reference/upstreams.md` 1.2, 1.3, 3 to 5).

pub mod adapt;
pub(crate) mod answer;
pub(crate) mod copied;
pub mod models;
pub mod path;
pub(crate) mod stream;

use std::sync::OnceLock;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::edits::AdaptedRequest;
use super::request::{CountedFor, UpstreamRequest, UrlError};
use super::vertex_client::{self, VertexClientError};
use super::{forward, method, unedited};
use crate::dialect::gemini::route::{ClientMode, PathForm};
use crate::dialect::{ModelCall, WholeCall};
use crate::payload::Payload;
use path::{Location, VertexPathError, VertexPaths};

/// Vertex AI, in one project and location or in express mode.
#[derive(Debug)]
pub(crate) struct Vertex {
    version: String,
    location: Location,
    /// Not known until the credentials have named their project.
    paths: OnceLock<VertexPaths>,
}

impl Vertex {
    /// Vertex AI in express mode, with an API key.
    pub(crate) fn express(version: &str, location: Location) -> Result<Self, VertexPathError> {
        let paths = OnceLock::from(VertexPaths::express(version)?);
        Ok(Self { version: version.to_owned(), location, paths })
    }

    /// Vertex AI in the project that the credentials will name.
    pub(crate) fn new(version: &str, location: Location) -> Self {
        Self { version: version.to_owned(), location, paths: OnceLock::new() }
    }

    /// The location; `global` in express mode.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// True with an API key and no project. Such an upstream has nothing but three methods of models.
    pub(crate) fn is_express(&self) -> bool {
        self.paths().is_some_and(|paths| paths.project().is_none())
    }

    /// The paths, once the project is known.
    pub(crate) fn paths(&self) -> Option<&VertexPaths> {
        self.paths.get()
    }

    /// Sets the project. The first one stays.
    pub(crate) fn set_project(&self, project: &str) -> Result<&VertexPaths, VertexPathError> {
        let paths = VertexPaths::in_project(&self.version, project, self.location.clone())?;
        Ok(self.paths.get_or_init(|| paths))
    }

    /// Makes the body of a client of the Gemini API acceptable. One of a client in Vertex mode stays as it
    /// is, but for names of the operator's own resources.
    pub(crate) fn adapt(
        &self,
        call: ModelCall,
        mode: ClientMode,
        body: &Bytes,
    ) -> Result<AdaptedRequest, VertexClientError> {
        let unplaced;
        let paths = match self.paths() {
            Some(paths) => paths,
            None => {
                unplaced = VertexPaths::without_project(&self.version);
                &unplaced
            }
        };
        match (mode, call) {
            (ClientMode::Gemini, ModelCall::Whole(WholeCall::CountTokens)) => {
                Ok(adapt::count(body)?)
            }
            (ClientMode::Gemini, ModelCall::Whole(WholeCall::BatchEmbed | WholeCall::Embed)) => {
                Ok(unedited(call, body))
            }
            (ClientMode::Gemini, _) => adapt::generate(body, paths),
            (ClientMode::Vertex, _) => {
                let request = vertex_client::at_vertex(body, paths)?;
                Ok(AdaptedRequest { request, ..unedited(call, body) })
            }
        }
    }

    /// The request for a call of a client's. `own` are headers of the upstream's.
    pub(crate) fn request(
        &self,
        paths: &VertexPaths,
        call: ModelCall,
        (parts, form): (&Parts, PathForm),
        model: &str,
        adapted: (Payload, HeaderMap),
    ) -> Result<UpstreamRequest, VertexPathError> {
        let (body, own) = adapted;
        let client = parts.uri.query().unwrap_or_default();
        let (version, query) = match form.mode {
            ClientMode::Vertex => (form.version, forward::query(client)),
            ClientMode::Gemini => (None, gemini_query(call, client)),
        };
        let path = paths.method(version, model, method(call), query.strip_prefix('?'))?;
        let mut headers = forward::headers(&parts.headers);
        // What the client's own header says counts more than its body.
        for (name, value) in &own {
            if !(name == TIER && headers.contains_key(name)) {
                headers.insert(name, value.clone());
            }
        }
        let request = UpstreamRequest::post(Ok::<_, UrlError>(path), body)
            .with_headers(headers)
            .counted_for(CountedFor::Model(method(call)));
        let request = match form.mode {
            ClientMode::Vertex => request.with_errors_as_sent(),
            ClientMode::Gemini => request,
        };
        Ok(match call {
            ModelCall::Stream => request.streamed(),
            ModelCall::Whole(_) => request,
        })
    }
}

/// The query for a call of a Gemini client's. A stream comes as events, from which the proxy writes the
/// array that the client may want.
fn gemini_query(call: ModelCall, client: &str) -> String {
    let alt = forward::alt(client);
    match call {
        ModelCall::Stream if !alt.contains("=sse") => "?alt=sse".to_owned(),
        _ => alt,
    }
}

/// The header for a tier, which Vertex AI takes in no body.
pub(crate) const TIER: HeaderName = HeaderName::from_static("x-vertex-ai-llm-shared-request-type");

/// The header for the project that is charged.
pub(crate) const USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// A project as a header value; `None` for what no header may carry.
pub(crate) fn user_project(project: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(project).ok()
}
