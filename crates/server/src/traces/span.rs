//! The spans of a request, by OpenTelemetry's conventions for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>) and HTTP.

use std::str::FromStr;
use std::time::SystemTime;

use code_assist_core::{ProviderKind, RequestRecord, RequestSpans, StepKind, UpstreamTry};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// How many spans a request has.
pub(super) fn count(record: &RequestRecord) -> u64 {
    record.spans.as_ref().map_or(0, |spans| 1 + spans.steps.len() as u64)
}

/// The spans of a request that has ended at this time.
pub(super) fn of(ended: SystemTime, record: &RequestRecord) -> Vec<SpanData> {
    let Some(spans) = &record.spans else { return Vec::new() };
    let came = ended.checked_sub(record.duration).unwrap_or(ended);
    let root = SpanId::from_bytes(spans.span.0.to_be_bytes());
    let parent = spans.parent.map_or(SpanId::INVALID, |it| SpanId::from_bytes(it.0.to_be_bytes()));
    let mut all = vec![SpanData {
        parent_span_id: parent,
        parent_span_is_remote: spans.parent.is_some(),
        span_kind: SpanKind::Server,
        name: name(record).into(),
        attributes: attributes(record, spans),
        status: status(record),
        ..blank(record, spans, root, (came, ended))
    }];
    let mut tries = 0;
    for step in &spans.steps {
        let began = came + step.began;
        let times = (began, (began + step.took).min(ended));
        let child = |id, kind, name: &'static str| SpanData {
            parent_span_id: root,
            span_kind: kind,
            name: name.into(),
            ..blank(record, spans, id, times)
        };
        let own = || SpanId::from_bytes(fastrand::u64(1..).to_be_bytes());
        all.push(match &step.kind {
            StepKind::Queue => child(own(), SpanKind::Internal, "queue"),
            StepKind::Token => child(own(), SpanKind::Internal, "token"),
            StepKind::Try(sent) => {
                let id = SpanId::from_bytes(sent.span.0.to_be_bytes());
                let attributes = try_attributes(sent, tries);
                tries += 1;
                let status = sent.error.map_or(Status::Unset, Status::error);
                SpanData { attributes, status, ..child(id, SpanKind::Client, "try") }
            }
        });
    }
    all
}

fn blank(
    record: &RequestRecord,
    spans: &RequestSpans,
    id: SpanId,
    (start_time, end_time): (SystemTime, SystemTime),
) -> SpanData {
    let state = spans.state.as_ref().and_then(|state| state.to_str().ok());
    let state = state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
    let trace = TraceId::from_bytes(record.trace.0.to_be_bytes());
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, state),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time,
        end_time,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("code-assist-proxy")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// `chat gemini-2.5-flash`; without a model the operation alone.
fn name(record: &RequestRecord) -> String {
    match (operation(record), &*record.model) {
        ("", _) => "request".to_owned(),
        (operation, "") => operation.to_owned(),
        (operation, model) => format!("{operation} {model}"),
    }
}

/// The conventions' name of what the client has asked for, or the log's where they have none.
fn operation(record: &RequestRecord) -> &'static str {
    match record.operation {
        "generateContent" | "streamGenerateContent" if record.dialect != "gemini" => "chat",
        "generateContent" | "streamGenerateContent" => "generate_content",
        "embedContent" | "batchEmbedContents" => "embeddings",
        other => other,
    }
}

fn provider(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::CodeAssist => "gcp.gen_ai",
        ProviderKind::GeminiApi => "gcp.gemini",
        ProviderKind::Vertex => "gcp.vertex_ai",
    }
}

fn status(record: &RequestRecord) -> Status {
    // A server's span is no error where the fault is the client's.
    match record.error {
        Some(error) if record.status >= 500 || record.outcome == "cut" => Status::error(error),
        _ => Status::Unset,
    }
}

fn attributes(record: &RequestRecord, spans: &RequestSpans) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("code_assist_proxy.request_id", record.request_id.clone()),
        KeyValue::new("code_assist_proxy.dialect", record.dialect),
        KeyValue::new("code_assist_proxy.outcome", record.outcome),
    ];
    let texts = [
        ("gen_ai.operation.name", operation(record)),
        ("gen_ai.request.model", &record.model),
        ("code_assist_proxy.client", &record.caller),
        ("code_assist_proxy.upstream", &record.upstream),
        ("error.type", record.error.unwrap_or_default()),
    ];
    for (key, text) in texts {
        if !text.is_empty() {
            all.push(KeyValue::new(key, text.to_owned()));
        }
    }
    if record.status != 0 {
        all.push(KeyValue::new("http.response.status_code", i64::from(record.status)));
    }
    let tries = spans.steps.iter().rev();
    let last = tries.map(|step| &step.kind).find_map(|kind| match kind {
        StepKind::Try(sent) => Some(sent),
        StepKind::Queue | StepKind::Token => None,
    });
    if let Some(last) = last {
        all.push(KeyValue::new("gen_ai.provider.name", provider(last.provider)));
        // The name before version 1.37 of the conventions.
        all.push(KeyValue::new("gen_ai.system", provider(last.provider)));
        push_server(&mut all, last);
    }
    if let Some(reason) = spans.finish_reason {
        let reasons = Array::String(vec![StringValue::from(reason)]);
        all.push(KeyValue::new("gen_ai.response.finish_reasons", Value::Array(reasons)));
    }
    let usage = record.usage;
    let counts = [
        ("gen_ai.usage.input_tokens", usage.prompt),
        ("gen_ai.usage.output_tokens", usage.output + usage.thoughts),
        ("gen_ai.usage.reasoning.output_tokens", usage.thoughts),
        ("gen_ai.usage.cache_read.input_tokens", usage.cached),
    ];
    for (key, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        all.push(KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX)));
    }
    all
}

fn try_attributes(sent: &UpstreamTry, earlier: i64) -> Vec<KeyValue> {
    let mut all = vec![KeyValue::new("gen_ai.provider.name", provider(sent.provider))];
    push_server(&mut all, sent);
    if let Some(status) = sent.status {
        all.push(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    if let Some(error) = sent.error {
        all.push(KeyValue::new("error.type", error));
    }
    if earlier > 0 {
        all.push(KeyValue::new("http.request.resend_count", earlier));
    }
    all
}

fn push_server(all: &mut Vec<KeyValue>, sent: &UpstreamTry) {
    let (host, port) = match sent.server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<i64>().ok()),
        _ => (sent.server.as_str(), None),
    };
    all.push(KeyValue::new("server.address", host.to_owned()));
    if let Some(port) = port {
        all.push(KeyValue::new("server.port", port));
    }
}
