//! What is known of one request when it has ended, for traces and for the audit log. It holds nothing of
//! what was said, and no key.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::google::ProviderKind;
use crate::google::usage::TokenUsage;
use crate::policy::budget::Cost;
use crate::trace::{SpanId, TraceId};

/// One request that has ended. The shell takes the time of [`crate::Platform::record`] as its end.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// `x-request-id`.
    pub request_id: String,
    /// The trace.
    pub trace: TraceId,
    /// The spans of the request; `None` when the trace is not recorded.
    pub spans: Option<Box<RequestSpans>>,
    /// From the request's arrival to the end of the answer's body.
    pub duration: Duration,
    /// The request asks a model, or would have if it had not been refused.
    pub asks_model: bool,
    /// The name of the client's key, else the client's address; empty if neither is known.
    pub caller: String,
    /// What the client speaks.
    pub dialect: &'static str,
    /// The operation, as the log names it; empty for an unknown path.
    pub operation: &'static str,
    /// The answer is a stream.
    pub stream: bool,
    /// The model as it was sent upstream, or as the client has asked for it where the request was refused before;
    /// empty where it is not known.
    pub model: Arc<str>,
    /// The upstream that was asked last; empty where none was.
    pub upstream: String,
    /// HTTP status of the answer, 0 when there was none.
    pub status: u16,
    /// How the request ended, as the log names it.
    pub outcome: &'static str,
    /// The label of the error, if it was one.
    pub error: Option<&'static str>,
    /// The token counts.
    pub usage: TokenUsage,
    /// What the request has cost the holder of its key; `None` without prices.
    pub cost: Option<Cost>,
}

/// The parts of a request that are spans of their own.
#[derive(Debug, Clone)]
pub struct RequestSpans {
    /// The request's own span.
    pub span: SpanId,
    /// The client's.
    pub parent: Option<SpanId>,
    /// The client's `tracestate`.
    pub state: Option<HeaderValue>,
    /// In the order in which they began.
    pub steps: Vec<RequestStep>,
    /// Why a model has ended its answer, if that is known.
    pub finish_reason: Option<&'static str>,
}

/// A part of a request.
#[derive(Debug, Clone)]
pub struct RequestStep {
    /// From the request's arrival to the step's beginning.
    pub began: Duration,
    /// How long the step took.
    pub took: Duration,
    /// What happened meanwhile.
    pub kind: StepKind,
}

/// The kinds of steps.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Waiting for a concurrency permit, or for memory.
    Queue,
    /// Waiting for a credential.
    Token,
    /// One request to an upstream, until its answer has ended.
    Try(UpstreamTry),
}

/// One request to an upstream.
#[derive(Debug, Clone)]
pub struct UpstreamTry {
    /// The span, whose id upstream has got as its parent.
    pub span: SpanId,
    /// The provider of the upstream.
    pub provider: ProviderKind,
    /// Host, and port if one is given.
    pub server: String,
    /// HTTP status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// The label of the error, if the try has failed.
    pub error: Option<&'static str>,
}
