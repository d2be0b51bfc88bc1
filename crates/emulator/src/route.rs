//! Which service and which of its calls a request is for.

use std::time::Duration;

use http::request::Parts;

use crate::backend::Backend;
use crate::code_assist::{self, Rpc};
use crate::emulator::Played;
use crate::google_auth::AuthEndpoint;
use crate::oauth::OAuthEndpoint;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::{ServiceMethod, page_not_found};
use crate::vertex::{self, VertexCall};

/// What a request is for.
#[derive(Debug)]
pub(crate) enum Route {
    CodeAssist(Rpc),
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
        let rpc = Rpc::of(&parts.method, path).filter(|_| played.code_assist());
        rpc.map_or(Self::Unknown, Self::CodeAssist)
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CodeAssist(rpc) => rpc.name(),
            Self::GoogleAuth(endpoint) => endpoint.name(),
            Self::OAuth(endpoint) => endpoint.name(),
            Self::Unknown => "unknown",
            Self::Vertex(call) => call.name(),
        }
    }

    pub(crate) fn streams(&self) -> bool {
        match self {
            Self::CodeAssist(rpc) => rpc.streams(),
            Self::GoogleAuth(_) | Self::OAuth(_) | Self::Unknown => false,
            Self::Vertex(call) => call.streams(),
        }
    }

    /// The method that the error of a rule names.
    pub(crate) fn error_method(&self) -> ServiceMethod<'static> {
        code_assist::GENERATE_CONTENT
    }

    /// The name of the response header that carries the trace id.
    pub(crate) fn trace_header(&self) -> Option<&'static str> {
        match self {
            Self::CodeAssist(_) => Some("x-cloudaicompanion-trace-id"),
            Self::GoogleAuth(_) | Self::OAuth(_) | Self::Unknown | Self::Vertex(_) => None,
        }
    }

    /// The ordinary answer, and how long it is delayed.
    pub(crate) fn answer(
        &self,
        path: &str,
        request: &ApiRequest<'_>,
        backend: &Backend,
    ) -> (Reply, Duration) {
        match self {
            Self::CodeAssist(rpc) => {
                let answered = code_assist::answer(rpc, request, backend);
                (answered.unwrap_or_else(|error| error.reply(rpc.streams())), Duration::ZERO)
            }
            Self::GoogleAuth(endpoint) => {
                (endpoint.answer(request, &mut backend.state()), Duration::ZERO)
            }
            Self::OAuth(endpoint) => endpoint.answer(request, &mut backend.state()),
            Self::Unknown => (page_not_found(path), Duration::ZERO),
            Self::Vertex(call) => {
                let answered = vertex::answer(call, request, backend);
                (answered.unwrap_or_else(|error| vertex::refused(error, call)), Duration::ZERO)
            }
        }
    }
}
