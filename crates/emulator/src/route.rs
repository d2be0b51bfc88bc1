//! Which service and which of its calls a request is for.

use std::time::Duration;

use http::request::Parts;

use crate::backend::Backend;
use crate::code_assist::{self, Rpc};
use crate::emulator::Played;
use crate::oauth::OAuthEndpoint;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::{ServiceMethod, page_not_found};

/// What a request is for.
#[derive(Debug)]
pub(crate) enum Route {
    CodeAssist(Rpc),
    OAuth(OAuthEndpoint),
    Unknown,
}

impl Route {
    pub(crate) fn of(parts: &Parts, played: Played) -> Self {
        let path = parts.uri.path();
        if let Some(endpoint) = OAuthEndpoint::of(&parts.method, path) {
            return Self::OAuth(endpoint);
        }
        let rpc = Rpc::of(&parts.method, path).filter(|_| played.code_assist());
        rpc.map_or(Self::Unknown, Self::CodeAssist)
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CodeAssist(rpc) => rpc.name(),
            Self::OAuth(endpoint) => endpoint.name(),
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn streams(&self) -> bool {
        matches!(self, Self::CodeAssist(rpc) if rpc.streams())
    }

    /// The method that the error of a rule names.
    pub(crate) fn error_method(&self) -> ServiceMethod<'static> {
        code_assist::GENERATE_CONTENT
    }

    /// The name of the response header that carries the trace id.
    pub(crate) fn trace_header(&self) -> Option<&'static str> {
        match self {
            Self::CodeAssist(_) => Some("x-cloudaicompanion-trace-id"),
            Self::OAuth(_) | Self::Unknown => None,
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
            Self::OAuth(endpoint) => endpoint.answer(request, &mut backend.state()),
            Self::Unknown => (page_not_found(path), Duration::ZERO),
        }
    }
}
