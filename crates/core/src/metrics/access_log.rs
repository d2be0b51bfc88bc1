//! What is known of a request when the answer's body has ended.

use std::net::IpAddr;
use std::time::Duration;

use super::CacheResult;
use crate::dialect::{Dialect, Operation};
use crate::google::usage::TokenUsage;
use crate::request_line::RequestLine;
use crate::trace::TraceContext;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The client went away before the end.
    ClientGone,
    /// Upstream broke off the answer, or ended a stream without a `finishReason`.
    Cut,
    /// The whole answer was delivered.
    Ok,
    /// The answer was an error.
    Refused,
}

impl RequestOutcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Cut => "cut",
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

/// What the log and the metrics say about one request. The record is derived from the request's
/// context at the end, and no code reads data of the request from it.
#[derive(Debug, Clone)]
pub(crate) struct AccessLogRecord<'a> {
    /// `x-request-id`.
    pub(crate) request_id: &'a str,
    /// `None` for an unknown path.
    pub(crate) operation: Option<Operation>,
    /// What the client speaks.
    pub(crate) dialect: Dialect,
    /// The model as it was sent upstream.
    pub(crate) model: &'a str,
    /// The answer is a stream.
    pub(crate) stream: bool,
    /// The label of the client's key.
    pub(crate) client: Option<&'a str>,
    /// The upstream that gave the answer, where several are in use.
    pub(crate) upstream_name: Option<&'a str>,
    /// The upstream for which that one stood in.
    pub(crate) failover_from: Option<&'a str>,
    /// HTTP status of the answer, 0 when there was none.
    pub(crate) status: u16,
    /// The label of the error, if it was one.
    pub(crate) error: Option<&'static str>,
    /// An access token was at hand; `None` when none was needed.
    pub(crate) token_at_hand: Option<bool>,
    /// Further tries after the first one.
    pub(crate) retries: u32,
    /// The result of coalescing and response cache, for a request that they apply to.
    pub(crate) cache: Option<CacheResult>,
    /// The trace that the request is part of.
    pub(crate) trace: &'a TraceContext,
    /// Google's own trace id.
    pub(crate) google_trace_id: &'a str,
    /// Bytes of the request's body.
    pub(crate) bytes_in: u64,
    /// Bytes of the answer's body.
    pub(crate) bytes_out: u64,
    /// The last token counts.
    pub(crate) usage: TokenUsage,
    /// The calls that a client which takes one at a time has not got, if any.
    pub(crate) withheld_calls: Option<usize>,
    /// From the request's arrival to the end of the answer's body.
    pub(crate) total: Duration,
    /// Time spent waiting for upstream's head and first event.
    pub(crate) upstream: Duration,
    /// The proxy's own share of the time until the answer's head.
    pub(crate) overhead: Duration,
    /// From the last try's sending to upstream's head, and of a stream to its first event. `None`
    /// when upstream was not asked or did not answer.
    pub(crate) first_byte: Option<Duration>,
    /// From the request's arrival to the answer's head; `None` when there was none.
    pub(crate) answered: Option<Duration>,
    pub(crate) outcome: RequestOutcome,
}

impl<'a> AccessLogRecord<'a> {
    /// The log line. `peer` is the client's address, for a request that the proxy has refused by itself.
    pub(crate) fn line(&self, peer: Option<IpAddr>) -> RequestLine<'a> {
        RequestLine {
            request_id: self.request_id,
            trace_id: self.trace.id_text(),
            duration: self.total,
            cache_hit: self.token_at_hand.unwrap_or(false),
            model: self.model,
            status: self.status,
            x_cache: self.cache.map_or("", CacheResult::header),
            method: self.operation.map_or("", Operation::label),
            dialect: self.dialect.label(),
            stream: self.stream,
            upstream_time: self.upstream,
            overhead: self.overhead,
            answered: self.answered.unwrap_or_default(),
            retries: self.retries,
            google_trace_id: self.google_trace_id,
            client: self.client.unwrap_or_default(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            prompt_tokens: self.usage.prompt,
            output_tokens: self.usage.output,
            reason: self.error.unwrap_or_default(),
            outcome: self.outcome.label(),
            peer,
            upstream: self.upstream_name,
            failover_from: self.failover_from,
            withheld_calls: self.withheld_calls,
        }
    }
}
