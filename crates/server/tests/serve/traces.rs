//! Spans of the real binary, as a collector gets them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::answer;
use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, get, post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::{GENERATE, HELLO, STREAM};

#[test]
fn a_streamed_request_with_a_retry_is_a_tree_of_spans_whose_ids_client_and_upstream_know() {
    let collector = collector();
    let upstream = failing_once();
    let builder = ProxyBuilder::for_upstream(&upstream)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%20hush")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other")
        .env("OTEL_SERVICE_NAME", "gateway")
        .env("RETRY_BASE_DELAY_MS", "1");
    let proxy = builder.start();
    let trace = format!("traceparent: {CLIENT}");
    let headers = [trace.as_str(), "tracestate: vendor=1", "x-request-id: mine"];
    assert_eq!(proxy.send(post(STREAM, &headers, HELLO)).status(), 200);
    let spans = await_spans(&collector, 6);
    let sent = collector.received();
    assert!(sent[0].head.starts_with("POST /v1/traces "), "{}", sent[0].head);
    let head = sent[0].head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    assert!(head.contains("api-key: hush hush"), "{head}");
    let resource = resource(&sent[0].body);
    assert_eq!(resource["service.name"], "gateway");
    assert_eq!(resource["deployment.environment.name"], "test");

    let root = named(&spans, "generate_content gemini-2.5-flash");
    let [root] = root[..] else { panic!("{spans:?}") };
    assert!(spans.iter().all(|span| hex(&span.trace_id) == CLIENT_TRACE), "{spans:?}");
    assert_eq!((hex(&root.parent_span_id).as_str(), root.kind), (CLIENT_SPAN, SERVER));
    assert_eq!(root.trace_state, "vendor=1");
    let of_root = attributes(&root.attributes);
    for (name, value) in [
        ("gen_ai.operation.name", json!("generate_content")),
        ("gen_ai.provider.name", json!("gcp.gen_ai")),
        ("gen_ai.request.model", json!("gemini-2.5-flash")),
        ("gen_ai.response.finish_reasons", json!(["STOP"])),
        ("gen_ai.usage.input_tokens", json!(5)),
        ("gen_ai.usage.output_tokens", json!(3)),
        ("http.response.status_code", json!(200)),
        ("server.address", json!("127.0.0.1")),
        ("code_assist_proxy.request_id", json!("mine")),
        ("code_assist_proxy.outcome", json!("ok")),
    ] {
        assert_eq!(of_root.get(name), Some(&value), "{name}: {of_root:?}");
    }
    assert!(!of_root.contains_key("error.type"), "{of_root:?}");

    let tries = named(&spans, "try");
    let calls = upstream.received();
    assert_eq!((tries.len(), calls.len()), (2, 2));
    for (span, call) in tries.iter().zip(&calls) {
        assert_eq!((&span.parent_span_id, span.kind), (&root.span_id, CLIENT_KIND));
        let expected = format!("traceparent: 00-{CLIENT_TRACE}-{}-01\r\n", hex(&span.span_id));
        assert!(call.head.contains(&expected), "{expected} {}", call.head);
        assert!(call.head.contains("tracestate: vendor=1\r\n"), "{}", call.head);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano);
    }
    let [first, second] = [tries[0], tries[1]].map(|it| attributes(&it.attributes));
    assert_eq!(
        (&first["http.response.status_code"], &first["error.type"]),
        (&json!(503), &json!("upstream_error"))
    );
    assert_eq!(second["http.response.status_code"], 200);
    assert_eq!((second.get("error.type"), &second["http.request.resend_count"]), (None, &json!(1)));
    assert_eq!(named(&spans, "queue").len(), 2);
    assert!(!format!("{spans:?}").contains("Hello"), "content");
    assert!(!proxy.stdout().contains("hush"), "{}", proxy.stdout());
}

#[test]
fn an_error_has_its_type_and_a_request_that_is_not_sampled_has_no_span() {
    let collector = collector();
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/own/path", collector.url()))
        .start();
    let unsampled = format!("traceparent: {}", CLIENT.replace("-01", "-00"));
    assert_eq!(proxy.send(post(GENERATE, &[&unsampled], HELLO)).status(), 200);
    assert_eq!(proxy.get("/health").status(), 200);
    assert_eq!(proxy.send(post(GENERATE, &[], "{")).status(), 400);
    let spans = await_spans(&collector, 1);
    assert!(collector.received()[0].head.starts_with("POST /own/path "));
    let root = named(&spans, "generate_content gemini-2.5-flash");
    let of_root = attributes(&root[0].attributes);
    assert_eq!(of_root["error.type"], "malformed_json");
    assert_eq!(of_root["http.response.status_code"], 400);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != CLIENT_TRACE), "{spans:?}");
    assert!(root[0].parent_span_id.is_empty());
}

#[test]
fn nothing_is_sampled_or_sent_where_the_settings_say_so() {
    let collector = collector();
    let upstream = answering();
    for (name, value) in [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SDK_DISABLED", "true")] {
        let mut proxy = ProxyBuilder::for_upstream(&upstream)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
            .env(name, value)
            .start();
        let trace = format!("traceparent: {CLIENT}");
        assert_eq!(proxy.send(post(GENERATE, &[&trace], HELLO)).status(), 200);
        proxy.signal("TERM");
        assert_eq!(proxy.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
    }
    assert_eq!(collector.connections(), 0);
    let flags: Vec<bool> =
        upstream.received().iter().map(|call| call.head.contains("-01\r\n")).collect();
    assert_eq!(flags, [false, true], "without any sampling the client's word stays");
}

#[test]
fn spans_that_wait_are_sent_when_the_proxy_stops() {
    let collector = collector();
    let upstream = answering();
    let mut proxy = ProxyBuilder::for_upstream(&upstream)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .start();
    let mut connection = proxy.connect();
    for _ in 0..20 {
        assert_eq!(connection.send(post(GENERATE, &["x-no-cache: 1"], HELLO)).status(), 200);
    }
    drop(connection);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
    assert_eq!(named(&spans(&collector), "generate_content gemini-2.5-flash").len(), 20);
}

#[test]
fn a_collector_that_is_away_slows_no_request_and_costs_one_line_and_a_count() {
    let upstream = answering();
    let mut proxy = ProxyBuilder::for_upstream(&upstream)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .start();
    let mut connection = proxy.connect();
    for _ in 0..50 {
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 200);
    }
    drop(connection);
    let started = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(8));
    let (output, _) = proxy.into_output();
    let lines: Vec<Value> = output
        .lines()
        .filter(|line| line.contains("spans did not reach the collector"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line["lost"].as_u64().is_some_and(|lost| lost >= 50), "{line}");
    assert!(line["message"].as_str().unwrap().contains("http://127.0.0.1:9/v1/traces"), "{line}");
}

#[test]
fn spans_that_the_collector_refuses_are_counted() {
    let collector = ScriptedUpstream::answering("400 Bad Request", "", "no");
    let upstream = answering();
    let proxy = ProxyBuilder::for_upstream(&upstream)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    proxy.await_output("spans did not reach the collector");
    let metrics = proxy.get("/metrics").text();
    let lost = metrics
        .lines()
        .find_map(|line| line.strip_prefix("code_assist_proxy_spans_lost_total "))
        .expect("a count");
    assert!(lost.parse::<u64>().unwrap() >= 2, "{lost}");
    assert_eq!(collector.received().len(), 1, "a refused batch is not sent again");
    assert_eq!(proxy.send(get("/health", &[])).status(), 200);
}

#[test]
fn settings_that_no_exporter_takes_keep_the_proxy_from_starting() {
    for (name, value, why) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "OTEL_TRACES_SAMPLER"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "OTEL_TRACES_SAMPLER_ARG"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush", "OTEL_EXPORTER_OTLP_HEADERS"),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "gzip",
            "is not supported, since spans are sent uncompressed; wanted: none",
        ),
    ] {
        let builder = ProxyBuilder::without_upstream()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
        let output = builder.env(name, value).run_to_exit();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why) && !printed.contains("hush"), "{printed}");
    }
}

/// A collector that takes everything.
fn collector() -> ScriptedUpstream {
    ScriptedUpstream::answering("200 OK", "Content-Type: application/x-protobuf\r\n", "")
}

fn answering() -> ScriptedUpstream {
    ScriptedUpstream::new(|_, connection| connection.write(answer("200 OK", WHOLE)))
}

/// An upstream that refuses its first request, and streams an answer to the second.
fn failing_once() -> ScriptedUpstream {
    let failed = std::sync::atomic::AtomicBool::new(false);
    ScriptedUpstream::new(move |_, connection| {
        if !failed.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return connection.write(answer("503 Service Unavailable", "{}"));
        }
        connection.begin_stream();
        connection.chunk(format!("data: {WHOLE}\r\n\r\n"));
        connection.end();
    })
}

/// Waits for so many spans.
fn await_spans(collector: &ScriptedUpstream, count: usize) -> Vec<Span> {
    let started = Instant::now();
    loop {
        let spans = spans(collector);
        if spans.len() >= count {
            return spans;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{spans:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The spans that the collector has got, in order.
fn spans(collector: &ScriptedUpstream) -> Vec<Span> {
    let decoded = collector.received().into_iter().map(|it| decode(&it.body));
    let resources = decoded.flat_map(|it| it.resource_spans);
    resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
}

fn decode(body: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(body).expect("a message of OTLP")
}

fn resource(body: &[u8]) -> BTreeMap<String, Value> {
    let resource = decode(body).resource_spans[0].resource.clone().expect("a resource");
    attributes(&resource.attributes)
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, Value> {
    all.iter()
        .map(|it| (it.key.clone(), value(it.value.as_ref().and_then(|it| it.value.as_ref()))))
        .collect()
}

fn value(value_of: Option<&any_value::Value>) -> Value {
    match value_of {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.iter().map(|it| value(it.value.as_ref())).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CLIENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// The kinds of OTLP.
const SERVER: i32 = 2;
const CLIENT_KIND: i32 = 3;

const WHOLE: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3}}}"#;
