//! All that is known of one request while it lives.
//!
//! The context holds the request's state, and reports it to the metrics. It ends with the answer's body,
//! or when the client goes away at any moment before: then its access log line is derived from it.

mod client_headers;
mod deadline;
mod routing;
mod server_timing;
mod signatures;
mod spans;
mod usage;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::caller::Caller;
use crate::dialect::{Dialect, LeftOut, Operation};
use crate::error::Error;
use crate::google::usage::TokenUsage;
use crate::ids;
use crate::keys::KeyHolder;
use crate::metrics::{AccessLogRecord, CacheResult, Metrics, RequestOutcome, RetryReason};
use crate::platform::Platform;
use crate::policy::breaker::CallOutcomes;
use crate::policy::budget::{Cost, ReservationTicket};
use crate::policy::endpoint::{AfterCall, BreakerScope, Tries};
use crate::policy::in_flight::InFlightGuard;
use crate::policy::memory::MemoryReservation;
use crate::provider::request::CountedFor;
use crate::record::RequestSpans;
use crate::request_ids::{self, RequestId, RequestIds};
use crate::request_texts::RequestTexts;
use crate::shards::Replica;
use crate::time::Monotonic;
use crate::trace::TraceContext;

use client_headers::ClientHeaders;
pub(crate) use deadline::{Deadline, first_byte_error};
use routing::Routing;
pub(crate) use signatures::{GivenSignatures, SignatureNotes};
pub(crate) use usage::ChargeRule;

/// One request, or one piece of the proxy's own work.
#[derive(Debug)]
pub(crate) struct RequestContext<P: Platform> {
    platform: P,
    metrics: Replica<Metrics>,
    pub(crate) id: RequestId,
    pub(crate) trace: TraceContext,
    /// Set where the trace is recorded.
    spans: Option<Box<RequestSpans>>,
    /// When the request came.
    pub(crate) received: Monotonic,
    /// `None` until the route is known, and for a path that leads nowhere.
    pub(crate) operation: Option<Operation>,
    /// What the client speaks.
    pub(crate) dialect: Dialect,
    /// The field of the client's request that has the prompt, in other dialects than Gemini's.
    pub(crate) prompt_field: &'static str,
    /// The model as it is sent upstream; empty where there is none.
    pub(crate) model: Arc<str>,
    pub(crate) caller: Caller,
    /// Set where several upstreams are in use only.
    routing: Option<Box<Routing>>,
    /// The client's address, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// The request was admitted: key, host, origin, route and rate limit let it through.
    pub(crate) admitted: bool,
    /// The name of the client's key for logs and metrics.
    pub(crate) client: Option<Arc<str>>,
    /// The holder of the client's key, where there are `[[key]]` tables.
    pub(crate) holder: Option<Arc<KeyHolder>>,
    /// What it has reserved of the limits of its key.
    reservation: Option<ReservationTicket>,
    charge_rule: ChargeRule,
    /// What its tries have cost that were charged.
    cost: Cost,
    /// When the client stops waiting, if it has said so.
    pub(crate) deadline: Option<Deadline>,
    /// Headers that the answer carries, whatever it will be.
    pub(crate) headers: HeaderMap,
    pub(crate) timings: Timings,
    pub(crate) cache: CacheUse,
    /// The answer is a stream.
    pub(crate) stream: bool,
    /// A good answer ends the memory of an exhausted quota.
    pub(crate) proves_quota: bool,
    /// An access token was at hand; `None` when none was needed.
    pub(crate) token_at_hand: Option<bool>,
    /// Google's own trace id.
    pub(crate) google_trace_id: Bytes,
    /// What is written for this request.
    pub(crate) texts: RequestTexts,
    /// The last token counts.
    pub(crate) usage: TokenUsage,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// How much of a whole answer had come when it broke off.
    pub(crate) cut_bytes: u64,
    /// A call went to an endpoint.
    pub(crate) asked_upstream: bool,
    /// HTTP status of the answer, 0 as long as there is none.
    pub(crate) status: u16,
    /// The label of the error, if it is one.
    pub(crate) error: Option<&'static str>,
    retries: u32,
    /// The calls that a client which takes one at a time has not got.
    withheld_calls: usize,
    /// `ClientGone` until something else is settled.
    outcome: RequestOutcome,
    /// False for health checks and the like, and for the proxy's own work. These count as in flight, so
    /// that shutdown waits for them, but in no statistic and no log line.
    counted: bool,
    /// What the request holds of the memory budget. `None` until it has reserved memory for its
    /// body, and for the proxy's own work.
    pub(crate) memory: Option<MemoryReservation>,
    /// The concurrency permit, while it is held.
    permit: Option<P::Permit>,
    /// The call that is in flight.
    call: Option<InFlightGuard>,
    /// The position of its endpoint among those of all upstreams.
    endpoint: u32,
    /// The breakers that the calls count for.
    counted_for: CountedFor,
    /// A hash of the request's body, for a stream that breaks after its body was dropped.
    pub(crate) body_hash: u64,
}

/// Where a request's time went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timings {
    /// Reading the client's body.
    pub(crate) intake: Duration,
    /// Waiting for a token and a project.
    pub(crate) auth: Duration,
    /// Waiting for a concurrency permit and for memory.
    pub(crate) queue: Duration,
    /// Waiting for upstream's head and first event, and between tries.
    pub(crate) upstream: Duration,
    /// From the last try's sending to upstream's head, and of a stream to its first event.
    pub(crate) first_byte: Option<Duration>,
    /// When the answer's head was ready.
    pub(crate) answered: Option<Monotonic>,
}

impl Timings {
    /// The proxy's own share of the time until the answer's head.
    fn overhead(&self, received: Monotonic, now: Monotonic) -> Duration {
        let spent = self.intake + self.auth + self.queue + self.upstream;
        self.answered.unwrap_or(now).since(received).saturating_sub(spent)
    }
}

/// What coalescing and response cache had to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// They have looked for an answer.
    Asked(CacheResult),
    /// The request is not repeatable.
    NotRepeatable,
    /// The request did not come that far, or they have nothing to do with its operation.
    Untouched,
}

impl<P: Platform> RequestContext<P> {
    /// The context of a client's request.
    pub(crate) fn new(
        platform: &P,
        metrics: &Replica<Metrics>,
        headers: &HeaderMap,
        received: Monotonic,
    ) -> Self {
        metrics.request_began(true);
        let sent = ClientHeaders::of(headers);
        let id = ids::request_id(platform, sent.request_id);
        let trace = TraceContext::of(sent.traceparent, headers, || platform.random());
        let mut context = Self::of(platform, metrics, (id, trace), received, true);
        context.deadline = sent.server_timeout.and_then(|timeout| Deadline::of(timeout, received));
        context.sample();
        context
    }

    /// The context of the proxy's own work, which is in no statistic.
    pub(crate) fn own(platform: &P, metrics: &Arc<Metrics>, now: Monotonic) -> Self {
        metrics.request_began(false);
        Self::of(
            platform,
            &Arc::new(Arc::clone(metrics)),
            (RequestId::NONE, TraceContext::NONE),
            now,
            false,
        )
    }

    fn of(
        platform: &P,
        metrics: &Replica<Metrics>,
        (id, trace): (RequestId, TraceContext),
        received: Monotonic,
        counted: bool,
    ) -> Self {
        Self {
            platform: platform.clone(),
            metrics: Arc::clone(metrics),
            id,
            trace,
            spans: None,
            received,
            operation: None,
            dialect: Dialect::Gemini,
            prompt_field: "messages",
            model: Arc::default(),
            caller: Caller::Unknown,
            routing: None,
            peer: None,
            admitted: false,
            client: None,
            holder: None,
            reservation: None,
            charge_rule: ChargeRule::Nothing,
            cost: Cost::default(),
            deadline: None,
            headers: HeaderMap::new(),
            timings: Timings::default(),
            cache: CacheUse::Untouched,
            stream: false,
            proves_quota: false,
            token_at_hand: None,
            google_trace_id: Bytes::new(),
            texts: RequestTexts::default(),
            usage: TokenUsage::default(),
            bytes_in: 0,
            bytes_out: 0,
            cut_bytes: 0,
            asked_upstream: false,
            status: 0,
            error: None,
            retries: 0,
            withheld_calls: 0,
            outcome: RequestOutcome::ClientGone,
            counted,
            memory: None,
            permit: None,
            call: None,
            endpoint: 0,
            counted_for: CountedFor::Nothing,
            body_hash: 0,
        }
    }

    /// The platform that the request runs on.
    pub(crate) fn platform(&self) -> &P {
        &self.platform
    }

    /// The request is for the proxy itself (health, metrics, the status page): it is in no
    /// statistic.
    pub(crate) fn set_aside(&mut self) {
        if self.counted {
            self.counted = false;
            self.metrics.request_set_aside();
        }
    }

    /// How long a wait may take that has a limit of its own, and the error when it takes longer. The
    /// client's deadline holds where it comes first.
    pub(crate) fn wait_limit(
        &self,
        own: Duration,
        error: impl FnOnce(Duration) -> Error,
        now: Monotonic,
    ) -> (Duration, Error) {
        match self.deadline {
            Some(deadline) if deadline.left(now) < own => (deadline.left(now), deadline.error()),
            _ => (own, error(own)),
        }
    }

    /// How long upstream may take to begin its answer, and the error when it takes longer. The
    /// client's deadline replaces the proxy's own limit, whether it is shorter or longer.
    pub(crate) fn first_byte_limit(&self, own: Duration, now: Monotonic) -> (Duration, Error) {
        let limit = self.deadline.map_or(own, |deadline| deadline.left(now));
        (limit, first_byte_error(self.deadline, own))
    }

    /// What the client's deadline leaves; `None` without one.
    pub(crate) fn time_left(&self, now: Monotonic) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.left(now))
    }

    /// Notes what the client has not got of its answer.
    pub(crate) fn note_left_out(&mut self, left_out: LeftOut) {
        self.metrics.dialects.unknown_parts(left_out.unknown_parts);
        self.withheld_calls = left_out.withheld_calls;
    }

    /// Records, once, whether a client's request found its access token at hand.
    pub(crate) fn note_token(&mut self, at_hand: bool) {
        if self.counted && self.token_at_hand.is_none() {
            self.token_at_hand = Some(at_hand);
            self.metrics.token_asked(at_hand);
        }
    }

    /// The next try begins, for this reason.
    pub(crate) fn retried(&mut self, reason: RetryReason) {
        self.retries += 1;
        self.metrics.retried(reason);
    }

    /// Begins the span of the next try, whose id upstream gets.
    pub(crate) fn begin_try(&mut self) {
        self.trace.begin_span(self.platform.random());
    }

    /// Keeps a concurrency permit until upstream's answer has ended.
    pub(crate) fn keep_permit(&mut self, permit: P::Permit) {
        self.release_permit();
        self.permit = Some(permit);
        self.metrics.permit_acquired();
    }

    /// True while the request has a concurrency permit.
    pub(crate) fn has_permit(&self) -> bool {
        self.permit.is_some()
    }

    /// Gives the permit back: upstream is needed no more, or not for a while.
    pub(crate) fn release_permit(&mut self) {
        if self.permit.take().is_some() {
            self.metrics.permit_released();
        }
    }

    /// Reserves more memory for a request that has some. False while too little is free.
    pub(crate) fn try_grow_memory(&mut self, more: usize) -> bool {
        self.memory.as_mut().is_none_or(|memory| memory.try_grow(more))
    }

    /// Gives memory back that the request does not need any more: all but `bytes`.
    pub(crate) fn shrink_memory(&mut self, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.shrink_to(bytes);
        }
    }

    /// Gives back so many bytes.
    pub(crate) fn shrink_memory_by(&mut self, less: usize) {
        if let Some(memory) = &mut self.memory {
            memory.shrink_to(memory.bytes().saturating_sub(less));
        }
    }

    /// A call goes to an endpoint. It is in flight there until upstream's answer has ended.
    pub(crate) fn begin_call(
        &mut self,
        call: InFlightGuard,
        endpoint: usize,
        counted_for: CountedFor,
    ) {
        self.drop_call();
        self.metrics.endpoint_in_flight(endpoint, true);
        self.endpoint = u32::try_from(endpoint).unwrap_or_default();
        self.call = Some(call);
        self.counted_for = counted_for;
        self.asked_upstream = true;
    }

    /// Upstream's answer has begun.
    pub(crate) fn call_alive(&self, now: Monotonic) {
        if let Some(call) = &self.call {
            self.metrics.breaker(self.endpoint(), call.alive(self.breaker_scope(), now));
        }
    }

    /// Ends the call. `tries` are those of the request, this one included, if it has failed. The permit
    /// stays, since a failed try may be followed by another one.
    pub(crate) fn end_call(
        &mut self,
        outcomes: CallOutcomes,
        tries: &Tries,
        now: Monotonic,
    ) -> Option<AfterCall> {
        if self.counted_for != CountedFor::Nothing {
            match outcomes {
                CallOutcomes::NEUTRAL => {}
                _ => self.metrics.upstream(self.endpoint(), !outcomes.has_failed()),
            }
        }
        let call = self.call.take()?;
        self.end_try(outcomes, now);
        self.metrics.endpoint_in_flight(self.endpoint(), false);
        let scope = self.breaker_scope();
        let after = call.end(scope, outcomes, self.body_hash, tries, now);
        self.metrics.breaker(self.endpoint(), after.state);
        if let (true, BreakerScope::Model(of)) = (after.model_opened, scope) {
            // The answer's body is sent after the request was polled.
            let mut ids = RequestIds::current().or_else(|| Some(self.ids()));
            let _entered = request_ids::enter(&mut ids);
            tracing::warn!(
                model = of.model,
                method = of.operation,
                "the model has failed several times in a row: its circuit breaker is open"
            );
        }
        Some(after)
    }

    /// Upstream's answer has ended, and with it the request's use of upstream.
    pub(crate) fn upstream_ended(&mut self, outcomes: CallOutcomes) {
        self.end_call(outcomes, &Tries::default(), self.platform.now());
        self.release_permit();
    }

    fn endpoint(&self) -> usize {
        self.endpoint as usize
    }

    fn breaker_scope(&self) -> BreakerScope<'_> {
        self.counted_for.scope(&self.model)
    }

    /// Records how the request ended. Later calls are ignored.
    pub(crate) fn settle(&mut self, outcome: RequestOutcome) {
        if self.outcome == RequestOutcome::ClientGone {
            self.outcome = outcome;
        }
    }

    /// The value of `server-timing`.
    pub(crate) fn server_timing(&mut self, now: Monotonic) -> HeaderValue {
        let overhead = self.timings.overhead(self.received, now);
        server_timing::header(&self.timings, overhead, &mut self.texts)
    }

    /// What every log line of the request carries.
    pub(crate) fn ids(&self) -> RequestIds {
        RequestIds { request_id: self.id.clone(), trace_id: self.trace.id() }
    }

    fn access_log(&self, now: Monotonic) -> AccessLogRecord<'_> {
        AccessLogRecord {
            request_id: self.id.as_str(),
            trace: &self.trace,
            operation: self.operation,
            dialect: self.dialect,
            model: &self.model,
            stream: self.stream,
            client: self.client.as_deref(),
            upstream_name: self.upstream().map(|name| &**name),
            failover_from: self.routing.as_ref().and_then(|it| it.failover_from.as_deref()),
            status: self.status,
            error: self.error,
            token_at_hand: self.token_at_hand,
            retries: self.retries,
            cache: match self.cache {
                CacheUse::Asked(result) => Some(result),
                CacheUse::NotRepeatable | CacheUse::Untouched => None,
            },
            google_trace_id: str::from_utf8(&self.google_trace_id).unwrap_or_default(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            usage: self.usage,
            withheld_calls: (self.withheld_calls > 0).then_some(self.withheld_calls),
            total: now.since(self.received),
            upstream: self.timings.upstream,
            overhead: self.timings.overhead(self.received, now),
            first_byte: self.timings.first_byte,
            answered: self.timings.answered.map(|at| at.since(self.received)),
            outcome: self.outcome,
        }
    }

    /// Ends a call that says nothing about its endpoint.
    fn drop_call(&mut self) {
        if self.call.is_some() {
            self.end_call(CallOutcomes::NEUTRAL, &Tries::default(), self.platform.now());
        }
    }
}

impl<P: Platform> Drop for RequestContext<P> {
    fn drop(&mut self) {
        if self.holder.is_some() {
            self.settle_usage();
        }
        self.drop_call();
        self.release_permit();
        self.metrics.request_over(self.counted);
        if !self.counted {
            return;
        }
        let now = self.platform.now();
        self.hand_over(now);
        let record = self.access_log(now);
        match self.error {
            Some(reason) if !self.admitted => self.metrics.request_refused(reason),
            _ => self.metrics.request_ended(&record, now),
        }
        let is_own_refusal = self.outcome == RequestOutcome::Refused && !self.asked_upstream;
        match self.error.filter(|_| is_own_refusal) {
            Some(reason) => self.metrics.log_refusal(reason, now, || {
                self.platform.log_request(&record.line(self.peer));
            }),
            None => self.platform.log_request(&record.line(None)),
        }
    }
}

impl CacheUse {
    /// The value of `x-cache`, where the answer has one.
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::Asked(result) => Some(result.header()),
            Self::NotRepeatable => Some(CacheResult::Bypass.header()),
            Self::Untouched => None,
        }
    }
}
