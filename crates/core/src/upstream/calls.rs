//! Calls to one upstream. This module holds the loop that retries them. A body that is sent while it is read
//! cannot be sent again: `copied.rs` connects anew for one of which nothing has been sent.
//!
//! Each try gets a token, a concurrency permit and an endpoint whose breaker lets the call pass, then
//! sends the request once and judges the result. The loop ends before the client has received a byte.
//!
//! Functions that wait return the time at their end, so that the clock is not read twice.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::account::AccountData;
use super::auth::AccountAuth;
use super::failed_answer::{may_pass_unchanged, read_error, unreadable};
use super::io::sent_within;
use super::quota::Quotas;
use super::want::{Want, Whole};
use crate::body::EventLimits;
use crate::context::{RequestContext, first_byte_error};
use crate::error::{BrokenAt, Error};
use crate::failure::{Failure, FailureClass};
use crate::metrics::{Metrics, RestingModelStatus, RetryReason};
use crate::platform::Platform;
use crate::policy::breaker::{self, CallOutcomes};
use crate::policy::endpoint::{Endpoints, Tries};
use crate::policy::in_flight::{InFlightGuard, SharedEndpoints};
use crate::policy::retry;
use crate::provider::Provider;
use crate::provider::request::{BaseUrl, CountedFor, UpstreamRequest, UrlError};
use crate::record::StepKind;
use crate::request_texts::RequestTexts;
use crate::settings::Settings;
use crate::shards::Replicas;
use crate::time::Monotonic;
use crate::wait::{at_once, within};

/// Sends requests to one upstream. It owns the endpoints with their breakers, and everything else that
/// a call needs.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Shared with work on large bodies, which may outlive its request.
    pub(crate) provider: Arc<Provider>,
    pub(crate) auth: AccountAuth,
    pub(crate) quotas: Quotas,
    account: Arc<AccountData>,
    /// Shared with the in-flight guards, each of which reports the end of its own call.
    endpoints: Replicas<SharedEndpoints>,
    /// The base URLs of the endpoints, in order.
    bases: Vec<Result<BaseUrl, UrlError>>,
    /// The position of the first endpoint among those of all upstreams, as metrics count them.
    first_endpoint: usize,
    retries: retry::RetryLimits,
    /// `FIRST_BYTE_TIMEOUT_MS`.
    first_byte_timeout: Duration,
    /// `QUEUE_TIMEOUT_MS`.
    queue_timeout: Duration,
    event_limits: EventLimits,
    metrics: Arc<Metrics>,
}

impl Calls {
    pub(super) fn new(
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
        account: &Arc<AccountData>,
        (endpoints, first_endpoint): (&[String], usize),
        provider: Provider,
        auth: AccountAuth,
    ) -> Self {
        Self {
            provider: Arc::new(provider),
            auth,
            quotas: Quotas::new(metrics, account),
            account: Arc::clone(account),
            endpoints: Replicas::of(&Arc::new(SharedEndpoints::new(Endpoints::new(
                endpoints.len(),
                settings.breaker_threshold,
                settings.breaker_timeout,
            )))),
            bases: endpoints.iter().map(|url| BaseUrl::new(url)).collect(),
            first_endpoint,
            retries: retry::RetryLimits {
                max_retries: settings.max_retries,
                base: settings.retry_base_delay,
                max: settings.retry_max_delay,
            },
            first_byte_timeout: settings.first_byte_timeout,
            queue_timeout: settings.queue_timeout,
            event_limits: EventLimits {
                event_bytes: settings.max_event_bytes,
                idle: settings.stream_idle_timeout,
                queue_timeout: settings.queue_timeout,
            },
            metrics: Arc::clone(metrics),
        }
    }

    /// Fails while open breakers let a request for `model` go to no endpoint. A request calls this
    /// before it waits for a token, a project or a permit that it could not use.
    pub(crate) fn check_breakers(
        &self,
        counted_for: CountedFor,
        model: &str,
        now: Monotonic,
    ) -> Result<(), Error> {
        match self.endpoints.own().all_open(counted_for.scope(model), now) {
            Some(all_open) => Err(Error::circuit_open(all_open, model)),
            None => Ok(()),
        }
    }

    /// Updates the states of the endpoints' breakers in the metrics, which also change with time alone,
    /// and returns the models whose breakers are not closed.
    pub(crate) fn report_breakers(&self, now: Monotonic) -> Vec<RestingModelStatus> {
        let status = |(endpoint, resting): (usize, breaker::RestingModel<'_>)| RestingModelStatus {
            endpoint: self.first_endpoint + endpoint,
            model: resting.of.model.to_owned(),
            method: resting.of.operation,
            state: resting.state.into(),
            open_for: resting.open_for,
        };
        self.endpoints.own().with(|endpoints| {
            for (index, state) in endpoints.states(now).enumerate() {
                self.metrics.breaker(self.first_endpoint + index, state);
            }
            endpoints.resting(now).map(status).collect()
        })
    }

    /// Calls upstream, with retries, until there is an answer or a final failure.
    pub(crate) async fn call_with_retries<P: Platform, W: Want<P> + Copy>(
        &self,
        request: &UpstreamRequest,
        want: W,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<W::Answer, Error> {
        let answer = self.try_until_answered(request, want, context, now).await;
        if answer.is_err() {
            // The client may read the error slowly, and upstream is no longer needed.
            context.release_permit();
        }
        answer
    }

    /// Tries until there is an answer or a final failure. No other loop sends a request again.
    async fn try_until_answered<P: Platform, W: Want<P> + Copy>(
        &self,
        request: &UpstreamRequest,
        want: W,
        context: &mut RequestContext<P>,
        mut now: Monotonic,
    ) -> Result<W::Answer, Error> {
        let mut tries = Tries::default();
        let (mut number, mut reauthorized) = (0, false);
        let mut failed: Option<(Error, RetryReason)> = None;
        loop {
            let bearer;
            let began = now;
            (bearer, now) = self.auth.authorize(context, now).await;
            self.note_token(context, began, now);
            let bearer = bearer?;
            let guard = {
                let guard;
                (guard, now) =
                    self.acquire_permit_and_endpoint(request, &tries, context, now).await;
                match guard {
                    Ok(guard) => guard,
                    // The earlier failure says more than that no try followed it. If it was a 401, the
                    // request has not been sent with the new token: that token is not rejected.
                    Err(error) => {
                        let error = failed.map_or(error, |(earlier, _)| earlier);
                        return Err(self.record_final_failure(request, error, false, context, now));
                    }
                }
            };
            if let Some((_, reason)) = failed.take() {
                context.retried(reason);
            }
            let index = guard.index;
            let base = self.bases[index].as_ref().map_err(|error| *error)?;
            context.begin_try();
            let auth = self.auth.header(&bearer);
            let http_request =
                request.to_http(base, &auth, (&context.trace, &mut context.texts))?;
            context.begin_call(guard, self.first_endpoint + index, request.counts_for());
            // The work on the request is the proxy's own time and not upstream's.
            now = context.platform().now_anew();
            context.note_try(&self.provider, base, now);
            let platform = context.platform().clone();
            let trace = context.trace.clone();
            let again =
                || request.to_http(base, &auth, (&trace, &mut RequestTexts::default())).ok();
            let began = now;
            let sent;
            (sent, now) = {
                // Ends before the answer is read, so that both futures share their place.
                let sending = pin!(platform.send(http_request, again));
                self.await_head(sending, context, began).await
            };
            let answer;
            (answer, now) = self.read_sent(sent, request, want, context, (began, now)).await;
            let error = match answer {
                Ok(answer) => {
                    if context.proves_quota {
                        self.quotas.recovered(context.platform(), &context.model);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            context.charge_try();
            context.note_try_error(&error);
            let mut failure = error.failure();
            if matches!(error, Error::UpstreamTimeout { .. })
                && now.since(began) >= self.first_byte_timeout
            {
                // The client has waited for longer than the proxy would have.
                failure.class = FailureClass::TimedOut;
            }
            let outcomes = CallOutcomes::of(failure);
            tries.failed(index, outcomes);
            context.body_hash = request.body_hash(WHOLE_BODY);
            let after = context.end_call(outcomes, &tries, now);
            let verdict = retry::judge(
                &retry::Try {
                    number,
                    failure: harmless_if_repeatable(failure, request),
                    reauthorized,
                    more_endpoints: after.is_some_and(|after| after.more_endpoints),
                },
                &self.retries,
                platform.random(),
                context.time_left(now),
            );
            match verdict {
                retry::RetryVerdict::Deliver => {
                    return Err(self.record_final_failure(
                        request,
                        error,
                        reauthorized,
                        context,
                        now,
                    ));
                }
                retry::RetryVerdict::Reauthorize => {
                    self.auth.note_refusal(&error);
                    if !self.auth.invalidate(&bearer, now) {
                        return Err(self.record_final_failure(request, error, false, context, now));
                    }
                    reauthorized = true;
                    // The endpoint is not at fault.
                    tries.excuse(index);
                    failed = Some((error, RetryReason::Unauthorized));
                }
                retry::RetryVerdict::Again { after: pause } => {
                    if after.is_some_and(|after| after.all_open_for > pause) {
                        // This failure was the last one that the breakers allowed.
                        return Err(self.record_final_failure(
                            request,
                            error,
                            reauthorized,
                            context,
                            now,
                        ));
                    }
                    number += 1;
                    failed = Some((error, RetryReason::of(failure.class)));
                    if !pause.is_zero() {
                        // A request that only waits must not keep others from upstream.
                        context.release_permit();
                        platform.timer(pause).await;
                        context.timings.upstream += pause;
                        now = platform.now();
                    }
                }
            }
        }
    }

    /// Begins a call that is sent once: its request, without a body, and the endpoint that it goes to.
    pub(super) async fn begin_single<P: Platform>(
        &self,
        request: &UpstreamRequest,
        tries: &Tries,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<((Request<()>, usize), Monotonic), Error> {
        let began = now;
        let (bearer, now) = self.auth.authorize(context, began).await;
        self.note_token(context, began, now);
        let bearer = bearer?;
        let (guard, _) = self.acquire_permit_and_endpoint(request, tries, context, now).await;
        let guard = guard?;
        let index = guard.index;
        let base = self.bases[index].as_ref().map_err(|error| *error)?;
        context.begin_try();
        let trace = (&context.trace, &mut context.texts);
        let http_request = request.head_to_http(base, &self.auth.header(&bearer), trace)?;
        context.begin_call(guard, self.first_endpoint + index, request.counts_for());
        let now = context.platform().now_anew();
        context.note_try(&self.provider, base, now);
        Ok(((http_request, index), now))
    }

    /// Records the wait for a token, where tokens are used.
    fn note_token<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        began: Monotonic,
        now: Monotonic,
    ) {
        if self.auth.credentials().is_some() {
            context.note_step(StepKind::Token, began, now);
        }
    }

    /// What the settings allow of retries.
    pub(super) fn retries(&self) -> &retry::RetryLimits {
        &self.retries
    }

    /// `FIRST_BYTE_TIMEOUT_MS`.
    pub(super) fn first_byte_timeout(&self) -> Duration {
        self.first_byte_timeout
    }

    /// The base URL of the first endpoint.
    pub(crate) fn base(&self) -> Option<&BaseUrl> {
        self.bases.first()?.as_ref().ok()
    }

    /// Acquires a concurrency permit, then an endpoint whose breaker lets the call pass.
    async fn acquire_permit_and_endpoint<P: Platform>(
        &self,
        request: &UpstreamRequest,
        tries: &Tries,
        context: &mut RequestContext<P>,
        mut now: Monotonic,
    ) -> (Result<InFlightGuard, Error>, Monotonic) {
        let permitted;
        (permitted, now) = self.acquire_permit(context, now).await;
        if let Err(error) = permitted {
            return (Err(error), now);
        }
        let scope = request.counts_for().scope(&context.model);
        let call = InFlightGuard::begin(self.endpoints.own(), scope, tries, now)
            .map_err(|error| Error::circuit_open(error, &context.model));
        if let Ok(call) = &call
            && call.is_probe
        {
            self.metrics.breaker(self.first_endpoint + call.index, breaker::State::HalfOpen);
        }
        (call, now)
    }

    /// Acquires one of `MAX_CONCURRENT_REQUESTS` permits within `QUEUE_TIMEOUT_MS`. A try that follows
    /// another one without a pause keeps the permit of the first.
    pub(crate) async fn acquire_permit<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<(), Error>, Monotonic) {
        if context.has_permit() {
            return (Ok(()), now);
        }
        let full = |_| Error::QueueTimeout { after: QUEUE_RETRY_AFTER, own_share: false };
        let (limit, late) = context.wait_limit(self.queue_timeout, full, now);
        let (permit, then) = {
            let platform = context.platform();
            let mut acquiring = pin!(platform.acquire_permit(context.caller));
            match at_once(acquiring.as_mut()).await {
                // No time has passed.
                Some(permit) => (Some(permit), now),
                None => {
                    let _waiting = self.metrics.queued();
                    (within(platform, limit, acquiring).await, platform.now())
                }
            }
        };
        context.timings.queue += then.since(now);
        context.note_step(StepKind::Queue, now, then);
        let permitted = match (permit, late) {
            (Some(permit), _) => {
                context.keep_permit(permit);
                Ok(())
            }
            (None, Error::QueueTimeout { after, .. }) => {
                let own_share = context.platform().is_at_share(&context.caller);
                Err(Error::QueueTimeout { after, own_share })
            }
            (None, late) => Err(late),
        };
        (permitted, then)
    }

    /// Awaits the head of the answer to a request that is being sent.
    pub(super) async fn await_head<P: Platform, E: Into<Error>>(
        &self,
        sending: Pin<&mut impl Future<Output = Result<Response<P::Body>, E>>>,
        context: &mut RequestContext<P>,
        began: Monotonic,
    ) -> (Result<Response<P::Body>, Error>, Monotonic) {
        let limit = context.first_byte_limit(self.first_byte_timeout, began);
        let sent = sent_within(context.platform(), limit, sending).await;
        let now = context.platform().now();
        let waited = now.since(began);
        context.timings.upstream += waited;
        context.timings.first_byte = sent.is_ok().then_some(waited);
        (sent, now)
    }

    /// Reads as much of the answer as `want` says.
    pub(super) async fn read_sent<P: Platform, W: Want<P>>(
        &self,
        sent: Result<Response<P::Body>, Error>,
        request: &UpstreamRequest,
        want: W,
        context: &mut RequestContext<P>,
        (began, mut now): (Monotonic, Monotonic),
    ) -> (Result<W::Answer, Error>, Monotonic) {
        let (head, body) = match sent {
            Ok(sent) => sent.into_parts(),
            Err(error) => return (Err(error), now),
        };
        context.note_try_status(head.status.as_u16());
        let passes = match request.is_copied() {
            true => head.status != StatusCode::UNAUTHORIZED,
            false => request.passes_errors() && may_pass_unchanged(head.status),
        };
        let answer = if !head.status.is_success() && !passes {
            let form = (&self.auth, request.keeps_errors());
            // Boxed, since errors are few and their future is large.
            let idle = self.event_limits.idle;
            Err(Box::pin(read_error(&head, body, idle, form, context, now)).await)
        } else if !request.is_copied()
            && let Some(error) = unreadable(&head.headers, W::IS_STREAM)
        {
            Err(error)
        } else {
            let (platform, deadline) = (context.platform().clone(), context.deadline);
            // A stream's first byte is its first event, and a comment is none.
            let left = if W::IS_STREAM {
                let (limit, _) = context.first_byte_limit(self.first_byte_timeout, began);
                Some(limit.saturating_sub(now.since(began)))
            } else {
                deadline.map(|deadline| deadline.left(now))
            };
            let reading = pin!(want.read(&self.provider, self.event_limits, head, body, context));
            match left {
                None => reading.await,
                Some(left) => within(&platform, left, reading)
                    .await
                    .unwrap_or_else(|| Err(first_byte_error(deadline, self.first_byte_timeout))),
            }
        };
        let then = context.platform().now();
        let waited = then.since(now);
        now = then;
        context.timings.upstream += waited;
        if let Ok(answer) = &answer {
            if W::IS_STREAM {
                context.timings.first_byte = context.timings.first_byte.map(|head| head + waited);
            }
            if W::GOES_ON && request.counts_for() != CountedFor::Nothing {
                context.body_hash = request.body_hash(BODY_ENDS);
            }
            W::record(answer, context, now);
        }
        (answer, now)
    }

    /// Records what the failure says about project, token and quota, then returns it as the error for
    /// the client.
    fn record_final_failure<P: Platform>(
        &self,
        request: &UpstreamRequest,
        error: Error,
        reauthorized: bool,
        context: &RequestContext<P>,
        now: Monotonic,
    ) -> Error {
        let Error::Upstream(error) = error else { return error };
        let class = error.class();
        if class == FailureClass::Unauthenticated && reauthorized {
            self.auth.rejected_again(now);
        }
        if let Some(project) = request.project()
            && class == FailureClass::Project
        {
            self.account.project.with(|state| state.invalidate(project, now));
        }
        if request.uses_quota() {
            self.quotas.note(context.platform(), &context.model, &error);
        }
        self.auth.shown(*error)
    }

    /// Makes a call of the proxy's own, with the same token and the same retries. Such a call asks for
    /// something and uses no quota, so that it is repeated after a broken connection too.
    pub(crate) async fn call<P: Platform>(
        &self,
        request: &UpstreamRequest,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        let (request, now) = (request.clone().repeatable(), context.platform().now());
        match self.call_with_retries(&request, Whole(None), context, now).await {
            Ok(answer) => Ok(answer.body),
            // The request of the client, which waits for this call, has not been sent.
            Err(Error::UpstreamDisconnected { .. }) => {
                Err(Error::UpstreamDisconnected { at: BrokenAt::Unprocessed })
            }
            Err(error) => Err(error),
        }
    }
}

/// Treats the break of a connection as one before the request was processed, if it does no harm to carry
/// out the request twice.
fn harmless_if_repeatable(failure: Failure, request: &UpstreamRequest) -> Failure {
    match failure.class {
        FailureClass::BrokenAnswer | FailureClass::Disconnected if request.is_repeatable() => {
            Failure { class: FailureClass::NotProcessed, ..failure }
        }
        _ => failure,
    }
}

/// Bytes at each end of a body that tell its request from others, in case the answer breaks off later.
/// The body itself is dropped with the request, and what a user adds to a conversation changes its length.
const BODY_ENDS: usize = 512;

/// Bytes at each end of a body that tell a failed request from others: all of most bodies.
const WHOLE_BODY: usize = 512 << 10;

/// The `Retry-After` for a client that got no permit: permits become free one at a time.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);
