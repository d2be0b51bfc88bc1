//! Who may ask for what: the first step in the life of a request.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::Proxy;
use super::allowed::check_admin;
use crate::access::{self, Attempt, Needs};
use crate::caller::Caller;
use crate::context::RequestContext;
use crate::dialect::Operation;
use crate::dialect::gemini::route::{Route, RouteError};
use crate::error::Error;
use crate::platform::{Peer, Platform};
use crate::upstream::UpstreamList;

impl Proxy {
    /// Refuses strangers, unknown routes, and callers beyond their rate limit. Requests that are refused
    /// here do not count in the statistics of served requests. Returns the upstreams of the key too;
    /// `None` stands for the operator's.
    pub(super) async fn admit<P: Platform>(
        &self,
        peer: &Peer,
        parts: &Parts,
        route: Result<Route, RouteError>,
        context: &mut RequestContext<P>,
    ) -> Result<(Route, Option<Arc<UpstreamList>>), Error> {
        let route = match route {
            Err(error)
                if self.settings.dialects.gemini
                    && !self.upstreams.operators.is_code_assist_alone() =>
            {
                self.with_copies(error, parts)
            }
            route => route,
        };
        let needs = match &route {
            Ok(Route::Root) => Needs::Nothing,
            Ok(Route::Copy(path)) if self.is_issued_upload(path, parts) => Needs::NoKey,
            Ok(route) if !route.operation().needs_key() => Needs::NoKey,
            _ => Needs::Key,
        };
        // Known before the key is checked, since the audit log has requests that are refused too.
        context.operation = route.as_ref().ok().map(Route::operation);
        if context.platform().is_auditing()
            && let Some(model) = route.as_ref().ok().and_then(Route::model)
        {
            context.set_asked_model(model);
        }
        let trusted = self.settings.trust_forwarded_for;
        let address = access::address(&parts.headers, peer.address, trusted);
        context.peer = address;
        let from = Caller::new(None, address);
        let attempt = Attempt { guesses: &self.guesses, from, now: context.received };
        let reloadable = self.reloadable();
        let client = reloadable.access.admit(&parts.headers, &parts.uri, needs, &attempt)?;
        context.caller = client.key.map_or(from, Caller::Key);
        context.client = client.label;
        let mut upstreams = None;
        if let Some(holder) = client.holder {
            if let Some(since) = holder.expired(|| context.platform().wall_clock()) {
                return Err(Error::ApiKeyExpired { since });
            }
            upstreams = reloadable.upstreams.of(&holder.settings.digest);
            context.holder = Some(holder);
        }
        let route = route.map_err(|error| self.route_error(error, parts.uri.path(), context))?;
        let route = self.on_port(route, parts)?;
        let operation = route.operation();
        if operation != Operation::Usage
            && context.holder.as_ref().is_some_and(|holder| holder.is_operator())
        {
            return Err(Error::ApiKeyInvalid);
        }
        self.check_protocol(&route, context)?;
        check_admin(context, &route)?;
        if self.metrics.refuses_requests() && !operation.is_answered_while_stopping() {
            return Err(Error::ShuttingDown);
        }
        if operation.asks_upstream() {
            self.limits.admit(context).await?;
        } else {
            context.deadline = None;
        }
        if operation.asks_upstream()
            && let Some(shell) = &peer.admission
            && !shell.admitted(context.caller)
        {
            return Err(Error::Overloaded { after: MEMORY_RETRY_AFTER });
        }
        context.admitted = true;
        Ok((route, upstreams))
    }
}

/// When a client should try again for whose body its connection has no memory.
const MEMORY_RETRY_AFTER: Duration = Duration::from_secs(1);
