//! Failover: a request whose upstream fails goes to the next one, before the client has got a byte
//! (`docs/RESILIENCE.md`). The only place that decides so.
//!
//! Nothing here costs a request anything where one upstream may serve it.

mod told;

use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use super::Proxy;
use super::allowed::{check_model, restricted};
use super::choose::Candidates;
use super::prepare::{ModelRequest, ModelTarget, PreparedRequest};
use crate::context::RequestContext;
use crate::dialect::gemini::models::bare;
use crate::error::Error;
use crate::failure::{FailoverReason, FailureClass};
use crate::keys::KeyHolder;
use crate::memory;
use crate::platform::Platform;
use crate::policy::cache;
use crate::policy::routing::RoutingVerdict;
use crate::provider::ProviderKind;
use crate::provider::facts::{self, BodyFacts};
use crate::settings::FailoverSignatures;
use crate::upstream::{Upstream, UpstreamList};

pub(super) use told::add_shared_headers;

/// The upstreams that may serve a request.
pub(super) enum Choice<'a> {
    One(&'a Upstream),
    /// Boxed, since a request seldom has the choice.
    Several(Box<Selection<'a>>),
}

impl<'a> Choice<'a> {
    /// The upstream that is asked now.
    pub(super) fn upstream(&self) -> &'a Upstream {
        match self {
            Self::One(upstream) => upstream,
            Self::Several(selection) => selection.upstream,
        }
    }

    /// True if an upstream has failed, and another one is asked.
    pub(super) fn has_moved(&self) -> bool {
        matches!(self, Self::Several(selection) if selection.has_moved())
    }
}

/// Several upstreams that may serve a request, and what has become of it so far.
pub(super) struct Selection<'a> {
    upstreams: &'a UpstreamList,
    /// The one that is asked now.
    upstream: &'a Upstream,
    /// The operator's choice.
    first: &'a Upstream,
    rest: Candidates<'a>,
    /// The holder of a key that may use some models only.
    holder: Option<Arc<KeyHolder>>,
    facts: Option<BodyFacts>,
    /// The client's own body, once the request has one with other signatures.
    original: Option<Bytes>,
    /// The failures so far; the first one is the primary's.
    failed: Vec<Failed<'a>>,
    /// The header that tells of the failover to `upstream`, until it is announced.
    announced: bool,
    /// The signatures were replaced for `upstream`.
    replaced: bool,
    /// How many bytes are reserved for a body with placeholders.
    placeholder_bytes: usize,
}

/// An upstream that cannot serve the request.
struct Failed<'a> {
    upstream: &'a Upstream,
    reason: FailoverReason,
    error: Error,
}

impl<'a> Selection<'a> {
    fn has_moved(&self) -> bool {
        !self.failed.is_empty()
    }

    /// All candidates that have not failed and are not asked now, in order.
    fn others(&self) -> impl Iterator<Item = &'a Upstream> {
        let is_left = |other: &&Upstream| {
            other.id != self.upstream.id
                && !self.failed.iter().any(|failed| failed.upstream.id == other.id)
        };
        iter::once(self.first).chain(self.rest.clone()).filter(is_left)
    }

    fn kind(&self) -> ProviderKind {
        self.upstream.calls.provider.kind()
    }
}

impl Proxy {
    /// The upstreams for a request; the operator's first choice is asked first. Fails if none may serve
    /// the request.
    pub(super) fn select<'a, P: Platform>(
        &'a self,
        target: &'a ModelTarget<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<Choice<'a>, Error> {
        let upstreams = target.upstreams;
        let (first, rest) = self.candidates(upstreams, target.parts, target.asked(context))?;
        self.use_upstream(upstreams, first, context);
        if restricted(context).is_some() {
            let reloadable = self.reloadable();
            let model = first.model(target.model, &reloadable.model_aliases);
            context.model = model.into();
            check_model(context, model)?;
        }
        if !upstreams.are_several() {
            return Ok(Choice::One(first));
        }
        let has_others = !rest.is_pinned && rest.clone().next().is_some();
        if !has_others {
            return Ok(Choice::One(first));
        }
        Ok(Choice::Several(Box::new(Selection {
            upstreams,
            upstream: first,
            first,
            rest,
            holder: restricted(context).cloned(),
            facts: None,
            original: None,
            failed: Vec::new(),
            announced: false,
            replaced: false,
            placeholder_bytes: 0,
        })))
    }

    /// The selection, if anything is known for which a request might not begin with the operator's first
    /// choice.
    pub(super) fn may_begin_elsewhere<'s, 'a>(
        &self,
        choice: &'s mut Choice<'a>,
        request: &ModelRequest<'_>,
    ) -> Option<&'s mut Selection<'a>> {
        let Choice::Several(selection) = choice else { return None };
        let is_unable = !self.settings.failover.is_off() && selection.upstream.has_inability();
        let given = request.target.upstreams.signatures.as_ref();
        let is_foreign =
            request.source.as_ref().is_some_and(|source| source.foreign_signatures().is_some());
        let may_begin = is_unable
            || given.is_some() && is_foreign
            || given.is_some_and(|given| !given.is_empty())
                && memchr::memmem::find(&request.body, b"ignature\"").is_some();
        may_begin.then_some(selection)
    }

    /// Chooses an upstream that takes the request's signatures, and none that is known to be unable.
    pub(super) async fn begin_among_others<'a, P: Platform>(
        &'a self,
        selection: &mut Selection<'a>,
        request: &mut ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        let first = selection.upstream.id;
        self.follow_signature(selection, request, context).await?;
        let primary = selection.upstream;
        self.use_upstream(request.target.upstreams, primary, context);
        if !self.settings.failover.is_off()
            && self.may_leave(selection, request, None, context).await
            && self.permitted(selection, request).is_some()
            && let Some(known) = self.known_inability(selection, primary, request, context)
        {
            selection.failed.push(known);
            return self.next(selection, request, context).await;
        }
        self.name_model(selection, request);
        if primary.id != first {
            self.translate(primary, request, context).await?;
        }
        self.prepare(primary, request, context).await
    }

    /// The selection, unless an error of the upstream is the client's whatever it is.
    pub(super) fn may_fail_over<'s, 'a>(
        &self,
        choice: &'s mut Choice<'a>,
    ) -> Option<&'s mut Selection<'a>> {
        match choice {
            Choice::Several(selection) if !self.settings.failover.is_off() => Some(selection),
            _ => None,
        }
    }

    /// Adapts a request for the next upstream after `error`. Fails with the error for the client if there
    /// is none.
    pub(super) async fn after_failure<'a, P: Platform>(
        &'a self,
        selection: &mut Selection<'a>,
        request: &mut ModelRequest<'_>,
        error: Error,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        let failover = self.settings.failover;
        let reason = match (error.failover_reason(), &error) {
            // A model rests whatever it has failed with.
            (Some(reason), Error::CircuitOpen { .. }) if !failover.includes(reason) => {
                Some(FailoverReason::Unreachable)
            }
            (reason, _) => reason,
        };
        let Some(reason) = reason.filter(|reason| failover.includes(*reason)) else {
            return Err(self.not_moved(selection, error, context));
        };
        let now = context.platform().now();
        selection.upstream.note_inability(reason, request.call, &context.model, &error, now);
        if !self.may_leave(selection, request, Some(&error), context).await {
            return Err(self.not_moved(selection, error, context));
        }
        selection.failed.push(Failed { upstream: selection.upstream, reason, error });
        self.next(selection, request, context).await
    }

    /// Records that the upstream has served the request.
    pub(super) fn note_served<P: Platform>(
        &self,
        choice: &mut Choice<'_>,
        request: &ModelRequest<'_>,
        context: &RequestContext<P>,
    ) {
        if let Some(selection) = self.may_fail_over(choice) {
            selection.upstream.note_served(request.call, &context.model);
        }
    }

    /// Prepares the request for the first of the other upstreams that is not known to be unable either.
    async fn next<'a, P: Platform>(
        &'a self,
        selection: &mut Selection<'a>,
        request: &mut ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        selection.announced = false;
        let original = selection.original.take().unwrap_or_else(|| request.body.clone());
        selection.original = Some(original.clone());
        loop {
            let Some((upstream, is_foreign)) = self.permitted(selection, request) else {
                return Err(self.all_failed(selection, context));
            };
            if let Some(known) = self.known_inability(selection, upstream, request, context) {
                selection.failed.push(known);
                continue;
            }
            selection.upstream = upstream;
            selection.replaced = is_foreign;
            self.name_model(selection, request);
            if request.source.is_none() {
                request.body = original.clone();
            } else if let Err(error) = self.translate(upstream, request, context).await {
                // This provider cannot take what the client asks for.
                let reason = FailoverReason::NotFound;
                selection.failed.push(Failed { upstream, reason, error });
                continue;
            }
            if selection.replaced {
                match self.without_signatures(selection, &request.body, context).await {
                    Ok(body) => request.body = body,
                    Err(_) => return Err(self.all_failed(selection, context)),
                }
            }
            self.use_upstream(request.target.upstreams, upstream, context);
            match self.prepare(upstream, request, context).await {
                Ok(prepared) => return Ok(prepared),
                // This provider cannot take the body, which says nothing to a client of another one.
                Err(error) => {
                    let reason = FailoverReason::NotFound;
                    selection.failed.push(Failed { upstream, reason, error });
                }
            }
        }
    }

    /// The first of the other upstreams that may get the request, and whether the request's signatures
    /// are foreign there.
    fn permitted<'a>(
        &self,
        selection: &Selection<'a>,
        request: &ModelRequest<'_>,
    ) -> Option<(&'a Upstream, bool)> {
        let signed_by = selection.facts.and_then(|facts| facts.last_signature).map(|signature| {
            let known = selection.upstreams.signatures.as_ref().and_then(|it| it.giver(signature));
            // A signature that is not known is taken for one of the upstream that comes first.
            let first = selection.failed.first().map_or(selection.upstream, |it| it.upstream);
            known.unwrap_or_else(|| first.calls.provider.kind())
        });
        let is_foreign =
            |other: &Upstream| signed_by.is_some_and(|kind| kind != other.calls.provider.kind());
        let may_replace = self.settings.failover_signatures == FailoverSignatures::Placeholder;
        let others = selection.others().filter(|other| self.is_allowed(selection, other, request));
        let mut others = others.map(|other| (other, is_foreign(other)));
        others.find(|(_, is_foreign)| may_replace || !is_foreign)
    }

    /// Whether the key of the request may use the model that stands in at another upstream.
    fn is_allowed(
        &self,
        selection: &Selection<'_>,
        upstream: &Upstream,
        request: &ModelRequest<'_>,
    ) -> bool {
        let Some(holder) = &selection.holder else { return true };
        let requested = request.target.model;
        let reloadable = self.reloadable();
        let stand_in = self.failover_model(selection, upstream, requested);
        let model =
            stand_in.unwrap_or_else(|| upstream.model(requested, &reloadable.model_aliases));
        holder.settings.allows_model(model)
    }

    /// The error of an upstream that is known to be unable.
    fn known_inability<'a, P: Platform>(
        &self,
        selection: &Selection<'a>,
        upstream: &'a Upstream,
        request: &ModelRequest<'_>,
        context: &RequestContext<P>,
    ) -> Option<Failed<'a>> {
        let reloadable = self.reloadable();
        let requested = request.target.model;
        let model = || match self.failover_model(selection, upstream, requested) {
            Some(model) => model,
            None => upstream.model(requested, &reloadable.model_aliases),
        };
        match upstream.ability(request.call, model, context.platform().now()) {
            RoutingVerdict::Ask | RoutingVerdict::Probe => None,
            RoutingVerdict::Unable(reason, error) => Some(Failed { upstream, reason, error }),
        }
    }

    /// Whether a request may leave its upstream after `error`, or before any call without one. The
    /// facts of its body are known afterwards.
    async fn may_leave<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        request: &ModelRequest<'_>,
        error: Option<&Error>,
        context: &mut RequestContext<P>,
    ) -> bool {
        let now = context.platform().now();
        if context.time_left(now).is_some_and(|left| left.is_zero()) {
            return false;
        }
        // Two upstreams could carry out what the client wants done once.
        let is_named = cache::idempotency_key(&request.target.parts.headers).is_some();
        if is_named && error.is_some_and(|error| !error.is_not_carried_out()) {
            return false;
        }
        let facts = self.facts(selection, &request.body, context).await;
        facts.is_ok_and(|facts| facts.may_move())
    }

    /// What a body says, found once.
    async fn facts<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        body: &Bytes,
        context: &mut RequestContext<P>,
    ) -> Result<BodyFacts, Error> {
        if let Some(facts) = selection.facts {
            return Ok(facts);
        }
        let text = body.clone();
        let (length, longest) = (body.len(), self.settings.queue_timeout);
        let work = move || BodyFacts::of(&text);
        let facts = Box::pin(memory::work_on(length, context, longest, work)).await?;
        selection.facts = Some(facts);
        Ok(facts)
    }

    /// Begins with an upstream of the provider that has given the body's last signature, if that is known.
    async fn follow_signature<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        request: &ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let Some(given) = selection.upstreams.signatures.as_ref() else { return Ok(()) };
        let facts = self.facts(selection, &request.body, context).await?;
        let giver = facts.last_signature.and_then(|last| given.giver(last));
        let foreign = request.source.as_ref().and_then(|source| source.foreign_signatures());
        let Some(giver) = giver.or(foreign) else { return Ok(()) };
        if selection.kind() != giver {
            let of_giver = |other: &&Upstream| {
                other.calls.provider.kind() == giver && self.is_allowed(selection, other, request)
            };
            let upstream = selection.others().find(of_giver);
            selection.upstream = upstream.unwrap_or(selection.upstream);
        }
        Ok(())
    }

    /// The body with placeholders for its signatures.
    async fn without_signatures<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        body: &Bytes,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        let (length, longest) = (body.len(), self.settings.queue_timeout);
        let more = length.saturating_sub(selection.placeholder_bytes);
        memory::grow(context, more, longest).await?;
        selection.placeholder_bytes += more;
        let text = body.clone();
        let work = move || facts::replace_signatures(&text).to_bytes();
        Box::pin(memory::work_on(length, context, longest, work)).await
    }

    /// Sets the model that the operator wants of an upstream that stands in.
    fn name_model(&self, selection: &Selection<'_>, request: &mut ModelRequest<'_>) {
        let requested = request.target.model;
        let named = self.failover_model(selection, selection.upstream, requested);
        request.stand_in_model = named.map(Arc::from);
    }

    fn failover_model(
        &self,
        selection: &Selection<'_>,
        upstream: &Upstream,
        requested: &str,
    ) -> Option<&str> {
        if upstream.id == selection.first.id {
            return None;
        }
        let requested = bare(requested);
        let named = self
            .settings
            .failover_models
            .iter()
            .find(|entry| *entry.upstream == *upstream.name && bare(&entry.model) == requested);
        named.map(|entry| bare(&entry.name))
    }

    /// The error for the client after one that moves no request.
    fn not_moved<P: Platform>(
        &self,
        selection: &mut Selection<'_>,
        error: Error,
        context: &mut RequestContext<P>,
    ) -> Error {
        // What the second upstream finds wrong with the request is an answer to it.
        let is_answer =
            matches!(&error, Error::Upstream(error) if error.class() == FailureClass::Request);
        if !selection.has_moved() || is_answer {
            return error;
        }
        let reason = FailoverReason::Unreachable;
        selection.failed.push(Failed { upstream: selection.upstream, reason, error });
        self.all_failed(selection, context)
    }
}
