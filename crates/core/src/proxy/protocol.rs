//! What clients may call of the provider's own protocol: `CODE_ASSIST_PROTOCOL` (`docs/ACCESS.md`).

use bytes::Bytes;
use http::HeaderMap;

use super::Proxy;
use crate::context::RequestContext;
use crate::dialect::gemini::route::{self, Route, RouteError};
use crate::error::Error;
use crate::memory;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::provider::ProviderKind;
use crate::provider::code_assist::pass_through;
use crate::provider::vertex;
use crate::settings::AllowedProtocol;
use crate::time::Monotonic;
use crate::upstream::{CodeAssistAccount, Upstream};

impl Proxy {
    /// The error for a request without a route. A protocol that is off has no paths.
    pub(super) fn route_error(&self, error: RouteError, path: &str) -> Error {
        let is_off = self.settings.code_assist_protocol == AllowedProtocol::Off;
        if is_off && matches!(error, RouteError::WrongMethod { .. }) && route::is_own_path(path) {
            return protocol_is_off();
        }
        match error {
            // The public API is no stranger to an operator with several upstreams.
            RouteError::NotOffered { what, model } if !self.upstreams.is_code_assist_alone() => {
                let primary = self.upstreams.primary();
                let (upstream, others) = (primary.name.to_string(), Vec::new());
                if primary.calls.provider.is_express() && vertex::copied::has_in_project(&what) {
                    return Error::NeedsProject { what, upstream, others };
                }
                let provider = Some(ProviderKind::GeminiApi.word());
                Error::NotOffered { what, model, upstream: Some(upstream), others, provider }
            }
            error => error.into(),
        }
    }

    /// Fails for a request of the provider's own protocol that clients may not send.
    pub(super) fn check_protocol(&self, route: &Route) -> Result<(), Error> {
        let Route::PassThrough { suffix, .. } = route else { return Ok(()) };
        match self.settings.code_assist_protocol {
            AllowedProtocol::All => Ok(()),
            AllowedProtocol::Off => Err(protocol_is_off()),
            AllowedProtocol::Generate if pass_through::is_session_method(suffix) => Ok(()),
            AllowedProtocol::Generate => {
                let rpc = suffix.trim_start_matches([':', '/']).to_owned();
                Err(Error::RpcNotAllowed { rpc })
            }
        }
    }

    /// The body of a request of the provider's own protocol as it is sent on: with the operator's
    /// project in place of any other, unless clients may send everything. `headers` tell the client
    /// about other changes. Returns the time too.
    pub(super) async fn passed_body<P: Platform>(
        &self,
        (upstream, account): (&Upstream, &CodeAssistAccount),
        body: Bytes,
        headers: &mut HeaderMap,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<(Payload, Monotonic), Error> {
        if self.settings.code_assist_protocol == AllowedProtocol::All {
            return Ok((Payload::from(body), now));
        }
        let text = body.clone();
        let search = move || pass_through::named_projects(&text);
        let longest = self.settings.queue_timeout;
        let named = memory::work_on(body.len(), context, longest, search).await?;
        let (body, named) = match named {
            Ok(named) => (body, named),
            Err(refused) => {
                let search = |text: &Bytes| Ok((text.clone(), pass_through::named_projects(text)?));
                Box::pin(self.read_leniently(&body, refused, search, context, headers)).await?
            }
        };
        if named.is_empty() {
            return Ok((Payload::from(body), now));
        }
        let (project, now) = account.projects.project(&upstream.calls, context, now).await;
        Ok((pass_through::in_project(&body, named, &project?), now))
    }
}

fn protocol_is_off() -> Error {
    Error::NotFound { what: "Code Assist's own protocol (CODE_ASSIST_PROTOCOL is off)".to_owned() }
}
