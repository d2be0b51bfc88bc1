//! Which service and which of its calls a request is for.

use std::borrow::Cow;
use std::time::Duration;

use http::request::Parts;

use crate::backend::Backend;
use crate::code_assist::{self, Rpc};
use crate::emulator::Played;
use crate::gemini_api::{self, GeminiCall, UploadSink};
use crate::google_auth::AuthEndpoint;
use crate::oauth::OAuthEndpoint;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::{ApiError, page_not_found};
use crate::vertex::{self, VertexCall};

/// What a request is for.
#[derive(Debug)]
pub(crate) enum Route {
    CodeAssist(Rpc),
    GeminiApi(GeminiCall),
    GoogleAuth(AuthEndpoint),
    OAuth(OAuthEndpoint),
    Unknown,
    Vertex(VertexCall),
}

impl Route {
    pub(crate) fn of(parts: &Parts, played: Played) -> Self {
        let path = parts.uri.path();
        if let Some(endpoint) = OAuthEndpoint::of(&parts.method, path) {
            return Self::OAuth(endpoint);
        }
        if played.vertex() {
            if let Some(endpoint) = AuthEndpoint::of(parts) {
                return Self::GoogleAuth(endpoint);
            }
            if let Some(call) = VertexCall::of(&parts.method, path) {
                return Self::Vertex(call);
            }
        }
        if let Some(rpc) = Rpc::of(&parts.method, path).filter(|_| played.code_assist()) {
            return Self::CodeAssist(rpc);
        }
        let call = GeminiCall::of(&parts.method, path).filter(|_| played.gemini_api());
        call.map_or(Self::Unknown, Self::GeminiApi)
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::CodeAssist(rpc) => rpc.name().into(),
            Self::GeminiApi(call) => call.name().into(),
            Self::GoogleAuth(endpoint) => endpoint.name().into(),
            Self::OAuth(endpoint) => endpoint.name().into(),
            Self::Unknown => "unknown".into(),
            Self::Vertex(call) => call.name().into(),
        }
    }

    /// The model that the path names.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::GeminiApi(call) => call.model(),
            Self::Vertex(call) => call.model(),
            Self::CodeAssist(_) | Self::GoogleAuth(_) | Self::OAuth(_) | Self::Unknown => None,
        }
    }

    /// Headers of every answer of the service.
    pub(crate) fn front_end(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::GeminiApi(_) => &gemini_api::FRONT_END,
            Self::Vertex(_) => &vertex::FRONT_END,
            Self::CodeAssist(_) | Self::GoogleAuth(_) | Self::OAuth(_) | Self::Unknown => {
                &code_assist::FRONT_END
            }
        }
    }

    /// The name of the response header that carries the trace id.
    pub(crate) fn trace_header(&self) -> Option<&'static str> {
        match self {
            Self::CodeAssist(_) => Some("x-cloudaicompanion-trace-id"),
            Self::GeminiApi(_)
            | Self::GoogleAuth(_)
            | Self::OAuth(_)
            | Self::Unknown
            | Self::Vertex(_) => None,
        }
    }

    /// A header that a proxy must not send to the service.
    pub(crate) fn violation(&self, parts: &Parts, backend: &Backend) -> Option<String> {
        match self {
            Self::GeminiApi(_) => gemini_api::violation(&parts.headers, backend),
            Self::GoogleAuth(endpoint) => endpoint.violation(&parts.headers).map(str::to_owned),
            Self::Vertex(_) => vertex::violation(&parts.headers, &backend.state().vertex),
            Self::CodeAssist(_) | Self::OAuth(_) | Self::Unknown => None,
        }
    }

    /// Where the bytes of an upload go while they arrive. It is `None` if the body is read whole.
    pub(crate) fn upload_sink(
        &self,
        request: &ApiRequest<'_>,
        backend: &Backend,
    ) -> Result<Option<UploadSink>, Reply> {
        match self {
            Self::GeminiApi(call) => gemini_api::upload_sink(call, request, backend),
            Self::CodeAssist(_)
            | Self::GoogleAuth(_)
            | Self::OAuth(_)
            | Self::Unknown
            | Self::Vertex(_) => Ok(None),
        }
    }

    /// The error that a rule names, or that of the rule's status.
    pub(crate) fn scripted_error(
        &self,
        name: Option<&str>,
        status: u16,
        request: &ApiRequest<'_>,
        backend: &Backend,
    ) -> Reply {
        let streams = match self {
            Self::GeminiApi(call) => {
                return gemini_api::scripted_error(call, name, status, request, backend);
            }
            Self::Vertex(call) => return vertex::scripted_error(call, name, status),
            Self::CodeAssist(rpc) => rpc.streams(),
            Self::GoogleAuth(_) | Self::OAuth(_) | Self::Unknown => false,
        };
        let named = name.and_then(gemini_api::errors::sample);
        let standard = || ApiError::standard(status, code_assist::GENERATE_CONTENT);
        named.unwrap_or_else(standard).reply(streams)
    }

    /// The ordinary answer, and how long it is delayed.
    pub(crate) fn answer(&self, request: &ApiRequest<'_>, backend: &Backend) -> (Reply, Duration) {
        match self {
            Self::CodeAssist(rpc) => {
                let answered = code_assist::answer(rpc, request, backend);
                (answered.unwrap_or_else(|error| error.reply(rpc.streams())), Duration::ZERO)
            }
            Self::GeminiApi(call) => (gemini_api::answer(call, request, backend), Duration::ZERO),
            Self::GoogleAuth(endpoint) => {
                (endpoint.answer(request, &mut backend.state()), Duration::ZERO)
            }
            Self::OAuth(endpoint) => endpoint.answer(request, &mut backend.state()),
            Self::Unknown => (page_not_found(request.path), Duration::ZERO),
            Self::Vertex(call) => (vertex::answer(call, request, backend), Duration::ZERO),
        }
    }
}
