//! The trace of a request: what of it reaches upstream, what the shell gets when the request ends, and what
//! log lines say.

use std::time::Duration;

use code_assist_core::settings::{AccountSettings, GeminiApiSettings, UpstreamSettings};
use code_assist_core::{Proxy, RequestRecord, StepKind, TraceId, UpstreamTry};
use code_assist_testkit::client::{ask, get, post, with};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with, settings};

#[test]
fn upstream_gets_the_clients_trace_with_a_span_of_its_own_for_each_try() {
    let (script, proxy) = failing_once();
    let request = with(with(post(STREAM, HELLO), "traceparent", CLIENT), "tracestate", "a=1");
    assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    let tries = script.received(":streamGenerateContent?alt=sse");
    let [first, second] = [0, 1].map(|at| sent(&tries[at]));
    assert_eq!((first.0, second.0), (CLIENT_TRACE, CLIENT_TRACE));
    assert_ne!(first.1, second.1);
    assert_ne!(first.1, CLIENT_SPAN);
    // Nothing is recorded here, so what the client has said of its own spans stays.
    assert_eq!((first.2, second.2), ("01", "01"));
    assert!(tries.iter().all(|it| it.headers["tracestate"] == "a=1"));
}

#[test]
fn a_request_without_a_trace_has_one_made_that_nothing_records_and_its_line_names_it() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script);
    for path in [GENERATE, STREAM, COUNT, "/v1internal:countTokens"] {
        script.run(&proxy, ask(&proxy, &script, post(path, HELLO)));
    }
    let calls = script.all_received();
    let traces: Vec<&str> = calls
        .iter()
        .filter(|it| it.line.contains(":generate") || it.line.contains(":stream"))
        .map(|it| sent(it).0)
        .collect();
    assert_eq!(traces.len(), 2);
    assert_ne!(traces[0], traces[1], "each request is a trace of its own");
    for call in calls.iter().filter(|it| it.line.contains("v1internal:count")) {
        assert_eq!(sent(call).2, "00");
    }
}

#[test]
fn the_proxys_own_work_is_in_no_trace() {
    let script = ScriptedPlatform::new(google());
    let proxy = proxy_with(&script, &[]);
    script.write_login(login("ya29.old", "1//refresh", -1));
    let request = with(post(GENERATE, HELLO), "traceparent", CLIENT);
    assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    for own in ["/token", ":loadCodeAssist"] {
        let calls = script.received(own);
        assert!(!calls.is_empty(), "{own}");
        assert!(calls.iter().all(|it| !it.headers.contains_key("traceparent")), "{own}");
    }
}

#[test]
fn copies_of_the_gemini_api_go_out_with_the_trace() {
    let mut settings = settings(&[]);
    settings.upstreams = vec![UpstreamSettings {
        name: "gemini-api".into(),
        account: AccountSettings::GeminiApi(GeminiApiSettings {
            api_key: "operators-own-key-0123456789".to_owned().into(),
        }),
        endpoints: vec!["https://google.test".to_owned()],
        models: Vec::new(),
        model_map: Vec::new(),
    }];
    let script = ScriptedPlatform::new(|_| Reply::ok("{}"));
    let proxy = Proxy::new(settings, &script);
    let upload = post("/upload/v1beta/files?uploadType=multipart", "abc");
    for request in [get("/v1beta/files"), post("/v1beta/cachedContents", "{}"), upload] {
        let request = with(with(request, "traceparent", CLIENT), "tracestate", "a=1");
        assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    }
    let calls = script.all_received();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call.headers.get_all("traceparent").iter().count(), 1, "{}", call.line);
        assert_eq!(sent(call).0, CLIENT_TRACE);
        assert_ne!(sent(call).1, CLIENT_SPAN);
        assert_eq!(call.headers["tracestate"], "a=1");
    }
}

#[test]
fn a_recorded_request_has_a_span_for_token_queue_and_each_try_whose_ids_upstream_saw() {
    let (script, proxy) = failing_once();
    script.sample(false);
    let request = with(post(STREAM, HELLO), "traceparent", CLIENT);
    assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    let records = script.records();
    let [record] = &records[..] else { panic!("{records:?}") };
    let spans = record.spans.as_ref().expect("recorded spans");
    assert_eq!(record.trace.to_string(), CLIENT_TRACE);
    assert_eq!(spans.parent.map(|it| format!("{:016x}", it.0)).as_deref(), Some(CLIENT_SPAN));
    let kinds: Vec<&str> = spans.steps.iter().map(|step| word(&step.kind)).collect();
    // The permit was given back for the pause.
    assert_eq!(kinds, ["token", "queue", "try", "token", "queue", "try"]);
    let calls = script.received(":streamGenerateContent?alt=sse");
    let tries = tries(record);
    for (sent_try, call) in tries.iter().zip(&calls) {
        assert_eq!(format!("{:016x}", sent_try.span.0), sent(call).1);
        assert_eq!((sent_try.server.as_str(), sent(call).2), ("127.0.0.1:1", "01"));
    }
    assert_eq!((tries[0].status, tries[0].error), (Some(503), Some("upstream_error")));
    assert_eq!((tries[1].status, tries[1].error), (Some(200), None));
    let last = spans.steps.last().expect("a try");
    assert!(last.began + last.took <= record.duration, "{record:?}");
    assert!(last.began >= Duration::from_millis(1), "the pause before the second try");
}

#[test]
fn what_the_client_says_of_its_trace_holds_and_other_requests_are_sampled() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script);
    let unsampled = CLIENT.replace("-01", "-00");
    script.sample(true);
    let request = with(post(STREAM, HELLO), "traceparent", &unsampled);
    script.run(&proxy, ask(&proxy, &script, request));
    assert!(script.records().is_empty());
    script.run(&proxy, ask(&proxy, &script, post(STREAM, HELLO)));
    script.run(&proxy, ask(&proxy, &script, get("/health")));
    assert_eq!(script.records().len(), 1, "{:?}", script.records());
    let flags: Vec<String> = script
        .received(":streamGenerateContent?alt=sse")
        .iter()
        .map(|call| sent(call).2.to_owned())
        .collect();
    assert_eq!(flags, ["00", "01"]);
}

#[test]
fn a_client_that_leaves_ends_its_try_too() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script);
    script.sample(true);
    let response = script.run(&proxy, proxy.handle(&script, post(STREAM, HELLO)));
    script.advance(Duration::from_secs(3));
    drop(response);
    let records = script.records();
    assert_eq!(records[0].outcome, "client_gone");
    let spans = records[0].spans.as_ref().expect("recorded spans");
    assert_eq!(spans.steps.last().map(|it| it.took), Some(Duration::from_secs(3)));
}

#[test]
fn an_audited_request_is_told_whether_it_was_answered_or_refused_and_others_are_not() {
    let script = ScriptedPlatform::new(google());
    let proxy = proxy_with(&script, &[("PROXY_API_KEYS", "ada:0123456789abcdef")]);
    script.write_login(login("ya29.first", "1//refresh", 3600));
    script.audit();
    let key = |request| with(request, "x-goog-api-key", "0123456789abcdef");
    script.run(&proxy, ask(&proxy, &script, key(post(GENERATE, HELLO))));
    script.run(&proxy, ask(&proxy, &script, post(GENERATE, HELLO)));
    script.run(&proxy, ask(&proxy, &script, key(post(GENERATE, "{"))));
    script.run(&proxy, ask(&proxy, &script, key(get("/v1beta/models"))));
    script.run(&proxy, ask(&proxy, &script, get("/health")));
    let recorded: Vec<_> = script
        .records()
        .into_iter()
        .map(|it| (it.caller, it.operation, it.model.to_string(), it.status, it.error))
        .collect();
    let (generate, model) = ("generateContent", "gemini-2.5-flash".to_owned());
    assert_eq!(
        recorded,
        [
            ("ada".to_owned(), generate, model.clone(), 200, None),
            (String::new(), generate, model.clone(), 401, Some("api_key_missing")),
            ("ada".to_owned(), generate, model, 400, Some("malformed_json")),
        ]
    );
    assert!(script.records().iter().all(|it| it.spans.is_none() && it.trace != TraceId(0)));
    assert!(!format!("{:?}", script.records()).contains("0123456789abcdef"));
}

/// A proxy whose first request to a model fails.
fn failing_once() -> (ScriptedPlatform, Proxy) {
    let mut failed = false;
    let script = ScriptedPlatform::new(google_but(move |request| {
        let fails = request.is(":streamGenerateContent?alt=sse") && !failed;
        failed |= fails;
        fails.then(|| Reply::status(503, "{}"))
    }));
    let proxy = signed_in(&script);
    (script, proxy)
}

fn signed_in(script: &ScriptedPlatform) -> Proxy {
    script.write_login(login("ya29.first", "1//refresh", 3600));
    proxy_with(script, &[])
}

/// Trace, span and flags that upstream got.
fn sent(call: &Received) -> (&str, &str, &str) {
    let value = call.headers.get("traceparent").expect("a trace").to_str().expect("text");
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { panic!("{value}") };
    assert_eq!((version, trace.len(), span.len()), ("00", 32, 16));
    (trace, span, flags)
}

fn tries(record: &RequestRecord) -> Vec<UpstreamTry> {
    let steps = &record.spans.as_ref().expect("recorded spans").steps;
    let sent = steps.iter().filter_map(|step| match &step.kind {
        StepKind::Try(sent) => Some(sent.clone()),
        StepKind::Queue | StepKind::Token => None,
    });
    sent.collect()
}

fn word(kind: &StepKind) -> &'static str {
    match kind {
        StepKind::Queue => "queue",
        StepKind::Token => "token",
        StepKind::Try(_) => "try",
    }
}

const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CLIENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
