//! The choice of an upstream: those that may serve a request, in the operator's order.

use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

use super::Proxy;
use crate::context::RequestContext;
use crate::dialect::Operation;
use crate::error::Error;
use crate::platform::Platform;
use crate::provider::ProviderKind;
use crate::provider::vertex::path::VertexPathError;
use crate::upstream::{Upstream, UpstreamList};

/// What a request asks of an upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) operation: Option<Operation>,
    /// The model as the client wrote it; empty where there is none.
    pub(super) model: &'a str,
}

/// The upstreams that may serve a request, from the most to the least preferred.
#[derive(Debug, Clone)]
pub(super) struct Candidates<'a> {
    rest: std::slice::Iter<'a, Arc<Upstream>>,
    asked: Asked<'a>,
    /// The client has named the upstream, so that no other one is tried.
    pub(super) is_pinned: bool,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = &'a Upstream;

    fn next(&mut self) -> Option<&'a Upstream> {
        let asked = self.asked;
        self.rest.find(|upstream| may_serve(upstream, asked)).map(|upstream| &**upstream)
    }
}

fn may_serve(upstream: &Upstream, asked: Asked<'_>) -> bool {
    asked.operation.is_some_and(|operation| upstream.calls.provider.offers(operation))
        && upstream.serves(asked.model)
}

impl Proxy {
    /// The upstreams that may serve a request; at least one, which comes first. A client may name one
    /// with a header.
    pub(super) fn candidates<'a>(
        &self,
        upstreams: &'a UpstreamList,
        parts: &Parts,
        asked: Asked<'a>,
    ) -> Result<(&'a Upstream, Candidates<'a>), Error> {
        let pinned = parts.headers.get(UPSTREAM).map(|name| name.to_str().unwrap_or_default());
        let all = upstreams.as_slice();
        let among = match pinned {
            None => all,
            Some(name) => {
                let at = all.iter().position(|upstream| *upstream.name == *name);
                let at = at.ok_or_else(|| Error::UnknownUpstream {
                    name: name.chars().take(LONGEST_SHOWN).collect(),
                    known: all.iter().map(|upstream| upstream.name.to_string()).collect(),
                })?;
                &all[at..=at]
            }
        };
        let mut candidates = Candidates { rest: among.iter(), asked, is_pinned: pinned.is_some() };
        match candidates.next() {
            Some(first) => Ok((first, candidates)),
            None => Err(not_offered(upstreams, &among[0], asked)),
        }
    }

    /// Records which upstream a request goes to. A client with one upstream knows it.
    pub(super) fn use_upstream<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        upstream: &Upstream,
        context: &mut RequestContext<P>,
    ) {
        if upstreams.is_named {
            context.set_upstream(&upstream.name);
        }
    }
}

/// The error for a request that `upstream`, the preferred one, cannot serve.
fn not_offered(upstreams: &UpstreamList, upstream: &Upstream, asked: Asked<'_>) -> Error {
    let others = upstreams.iter().filter(|other| may_serve(other, asked));
    let others = others.map(|other| other.name.to_string()).collect();
    let what = asked.operation.map(Operation::label).unwrap_or_default().to_owned();
    let upstream_name = upstream.name.to_string();
    if upstream.calls.provider.is_express() && upstream.serves(asked.model) {
        return Error::NeedsProject { what, upstream: upstream_name, others };
    }
    // An upstream at the same provider that does not serve the model would lack it too.
    let has_it = asked.operation.is_some_and(|it| upstream.calls.provider.offers(it));
    let provider = asked.operation.map(|operation| match operation {
        Operation::VertexResource => ProviderKind::Vertex,
        Operation::PassThrough => ProviderKind::CodeAssist,
        _ => ProviderKind::GeminiApi,
    });
    Error::NotOffered {
        what,
        model: Some(asked.model).filter(|model| !model.is_empty()).map(str::to_owned),
        upstream: Some(upstream_name),
        others,
        provider: provider.filter(|_| !has_it).map(ProviderKind::word),
    }
}

/// The error for a path that leads nowhere at the upstream.
pub(super) fn path_error(why: VertexPathError, what: &str, upstream: &Upstream) -> Error {
    let what = what.to_owned();
    match why {
        VertexPathError::BadName => {
            Error::NotFound { what: format!("{what} (Vertex AI has no such names)") }
        }
        VertexPathError::NeedsProject => {
            Error::NeedsProject { what, upstream: upstream.name.to_string(), others: Vec::new() }
        }
    }
}

/// Names the upstream: in a request the one that the client wants, in an answer the one that gave it.
pub(super) const UPSTREAM: HeaderName = HeaderName::from_static("x-proxy-upstream");

/// How much of an unknown name an error shows.
const LONGEST_SHOWN: usize = 100;
