//! A line of the audit log.

use std::time::{Duration, SystemTime};

use code_assist_core::{Cost, RequestRecord};
use jiff::Timestamp;
use serde::Serialize;

/// The members, in the order in which they are written.
#[derive(Debug, Serialize)]
struct AuditLine<'a> {
    time: String,
    request_id: &'a str,
    trace_id: String,
    caller: &'a str,
    dialect: &'a str,
    operation: &'a str,
    model: &'a str,
    upstream: &'a str,
    status: u16,
    outcome: &'a str,
    reason: &'a str,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    thought_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    duration_ms: f64,
}

/// The line, with its end.
pub(super) fn of(ended: SystemTime, record: &RequestRecord) -> Vec<u8> {
    let time = Timestamp::try_from(ended).unwrap_or(Timestamp::UNIX_EPOCH);
    let line = AuditLine {
        time: format!("{time:.6}"),
        request_id: &record.request_id,
        trace_id: record.trace.to_string(),
        caller: &record.caller,
        dialect: record.dialect,
        operation: record.operation,
        model: &record.model,
        upstream: &record.upstream,
        status: record.status,
        outcome: record.outcome,
        reason: record.error.unwrap_or_default(),
        prompt_tokens: record.usage.prompt,
        cached_tokens: record.usage.cached,
        output_tokens: record.usage.output,
        thought_tokens: record.usage.thoughts,
        cost: record.cost.map(Cost::units),
        duration_ms: millis(record.duration),
    };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
