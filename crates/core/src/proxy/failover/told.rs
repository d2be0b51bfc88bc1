//! What an answer tells of a failover, and which requests may share it.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Choice, Failed, Selection};
use crate::context::RequestContext;
use crate::dialect::gemini::route::{ClientMode, PathForm};
use crate::error::Error;
use crate::platform::Platform;
use crate::provider::{ProviderKind, forward};
use crate::proxy::Proxy;
use crate::proxy::choose::UPSTREAM;
use crate::proxy::prepare::ModelTarget;
use crate::proxy::respond::put;
use crate::upstream::{Upstream, UpstreamList};

impl Proxy {
    /// Tells the client, the log and the metrics that another upstream is asked. Called before each call.
    pub(in crate::proxy) fn announce<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        choice: &mut Choice<'_>,
        context: &mut RequestContext<P>,
    ) {
        if let Some(given) = &upstreams.signatures {
            context.set_signatures(given.notes(choice.upstream().calls.provider.kind()));
        }
        let Choice::Several(selection) = choice else { return };
        let Some(Failed { upstream: from, reason, error }) = selection.failed.last() else {
            return;
        };
        if std::mem::replace(&mut selection.announced, true) {
            return;
        }
        let to = selection.upstream;
        let short = header_text(error.short_reason());
        tracing::info!(
            from = &*from.name,
            to = &*to.name,
            reason = reason.word(),
            error = short,
            "an upstream cannot serve the request: the next one is asked"
        );
        self.metrics.failovers.add(from.id, to.id, *reason);
        context.set_failover_from(Some(&from.name));
        let text = format!("{};reason={short}", from.name);
        put(&mut context.headers, FAILOVER, text);
        if selection.replaced {
            context.headers.insert(SIGNATURES, REPLACED);
        } else {
            context.headers.remove(SIGNATURES);
        }
    }

    /// Where an answer came from that was found, and not asked for.
    pub(in crate::proxy) fn note_giver<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        headers: &HeaderMap,
        context: &mut RequestContext<P>,
    ) {
        let Some(name) = headers.get(UPSTREAM) else { return };
        let giver = upstreams.iter().find(|upstream| name == &*upstream.name);
        if let Some(upstream) = giver {
            self.use_upstream(upstreams, upstream, context);
        }
    }

    /// What else than the body an answer depends on: the client's own choice of the upstream, and of the
    /// form in which the provider answers. `None` for what nearly all clients send.
    pub(in crate::proxy) fn answer_variant(&self, target: &ModelTarget<'_>) -> Option<String> {
        let ModelTarget { parts, form, .. } = target;
        let text = |name: &HeaderName| {
            parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        let pinned = text(&UPSTREAM);
        let is_code_assist =
            |upstream: &Upstream| upstream.calls.provider.kind() == ProviderKind::CodeAssist;
        let is_plain = pinned.is_none() && form.mode == ClientMode::Gemini;
        // Code Assist's answers have one form.
        let upstreams = target.upstreams;
        if let Some(variant) = &upstreams.variant {
            // A reload or a changed file may give the key another account.
            let account = upstreams.primary().calls.auth.fingerprint();
            return Some(format!(
                "{variant} {account} {pinned:?} {form:?} {:?} {:?}",
                forward::query(parts.uri.query().unwrap_or_default()),
                text(&FIELD_MASK)
            ));
        }
        if is_plain && upstreams.iter().all(is_code_assist) {
            return None;
        }
        let (query, fields) = (parts.uri.query().unwrap_or_default(), text(&FIELD_MASK));
        let query = forward::query(query);
        let is_usual = form.version == PathForm::USUAL.version;
        if is_plain && is_usual && query.is_empty() && fields.is_none() {
            return None;
        }
        Some(format!("{pinned:?} {form:?} {query:?} {fields:?}"))
    }

    /// The primary's error, with the names of all that were tried.
    pub(super) fn all_failed<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        context: &mut RequestContext<P>,
    ) -> Error {
        context.headers.remove(FAILOVER);
        context.headers.remove(SIGNATURES);
        context.set_failover_from(None);
        let failed = std::mem::take(&mut selection.failed);
        if failed.len() > 1 {
            let mut tried = String::new();
            for Failed { upstream, error, .. } in &failed {
                let separator = if tried.is_empty() { "" } else { ", " };
                let reason = header_text(error.short_reason());
                let _ = write!(tried, "{separator}{};{reason}", upstream.name);
            }
            put(&mut context.headers, TRIED, tried);
        }
        let Some(primary) = failed.into_iter().next() else { return Error::Internal };
        self.use_upstream(selection.upstreams, primary.upstream, context);
        primary.error
    }
}

/// A reason of Google's as a header may carry it, without what separates it from others.
fn header_text(reason: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !reason.is_empty() && reason.len() <= 64 && reason.bytes().all(is_plain) {
        reason
    } else {
        "UNKNOWN"
    }
}

/// Adds to an answer that several requests share which upstream has given it, and for which one.
pub(in crate::proxy) fn add_shared_headers<P: Platform>(
    headers: &mut HeaderMap,
    context: &RequestContext<P>,
) {
    let Some(name) = context.upstream() else { return };
    put(headers, UPSTREAM, &**name);
    for name in [FAILOVER, SIGNATURES] {
        if let Some(value) = context.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
}

/// Which upstream has failed, and why, in an answer of another one.
const FAILOVER: HeaderName = HeaderName::from_static("x-proxy-failover");
/// What each upstream has failed with, in the primary's error.
const TRIED: HeaderName = HeaderName::from_static("x-proxy-tried");
/// What has become of another provider's thought signatures.
const SIGNATURES: HeaderName = HeaderName::from_static("x-proxy-signatures");
/// Which fields of the answer the client wants.
const FIELD_MASK: HeaderName = HeaderName::from_static("x-goog-fieldmask");
const REPLACED: HeaderValue = HeaderValue::from_static("replaced");
