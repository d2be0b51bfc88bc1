//! What the metrics say of requests in other dialects.

use code_assist_testkit::client::{ask, get};
use code_assist_testkit::script::Reply;

use crate::fixture::{ALL, Api, Fixture};

/// The value of a metric, with its labels.
fn metric(fixture: &Fixture, name: &str) -> String {
    let metrics =
        fixture.script.run(&fixture.proxy, ask(&fixture.proxy, &fixture.script, get("/metrics")));
    let text = metrics.text();
    let values = text.lines().filter_map(|line| line.strip_prefix("code_assist_proxy_"));
    let mut values = values.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next().unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

fn translated(fixture: &Fixture) -> [String; 2] {
    ["openai", "anthropic"].map(|dialect| {
        metric(fixture, &format!(r#"translated_requests_total{{dialect="{dialect}"}}"#))
    })
}

#[test]
fn admitted_requests_are_counted_by_dialect_and_as_the_gemini_requests_that_they_become() {
    let fixture = Fixture::new();
    fixture.ask(GENERATE, r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#);
    assert_eq!(translated(&fixture), ["0", "0"]);
    for api in ALL {
        fixture.ask(api.path(), &api.body("gemini-2.5-pro", ""));
        fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        fixture.ask(api.path(), "{");
    }
    assert_eq!(translated(&fixture), ["6", "3"]);
    for method in ["generateContent", "streamGenerateContent"] {
        let labels = format!(r#"{{method="{method}",model="gemini-2.5-pro",status="2xx"}}"#);
        let expected = if method == "generateContent" { "4" } else { "3" };
        assert_eq!(metric(&fixture, &format!("requests_total{labels}")), expected);
    }
}

#[test]
fn strangers_do_not_count_as_translated() {
    let fixture = Fixture::with(&[("PROXY_API_KEYS", "0123456789abcdef")], |_| None);
    let answer = fixture.ask(Api::Chat.path(), &Api::Chat.body("gemini-2.5-pro", ""));
    assert_eq!(answer.status, 401);
    let request =
        code_assist_testkit::client::with(get("/metrics"), "x-api-key", "0123456789abcdef");
    let metrics = fixture.script.run(&fixture.proxy, ask(&fixture.proxy, &fixture.script, request));
    let none = r#"code_assist_proxy_translated_requests_total{dialect="openai"} 0"#;
    assert!(metrics.text().contains(none), "{}", metrics.text());
}

#[test]
fn parts_that_have_no_form_are_counted_in_streams_and_whole_answers() {
    const CANDIDATE: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"a"},{"hologram":{}}]},"finishReason":"STOP"}]},"traceId":"t"}"#;
    let fixture = Fixture::with(&[], |request| match () {
        () if request.line.contains("streamGenerateContent") => {
            Some(Reply::ok(format!("data: {CANDIDATE}\r\n\r\n")))
        }
        () => request.line.contains("generateContent").then(|| Reply::ok(CANDIDATE)),
    });
    for (stream, expected) in [("false", "3"), ("true", "6")] {
        for api in ALL {
            let body = api.body("gemini-2.5-pro", &format!(r#","stream":{stream}"#));
            assert_eq!(fixture.ask(api.path(), &body).status, 200);
        }
        assert_eq!(metric(&fixture, "dialect_unknown_parts_total"), expected, "{stream}");
    }
    // A Gemini client gets every part.
    fixture.ask(GENERATE, r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#);
    assert_eq!(metric(&fixture, "dialect_unknown_parts_total"), "6");
}

#[test]
fn a_second_try_without_signatures_is_counted() {
    let refused = r#"{"error":{"code":400,"message":"Invalid thought_signature.","status":"INVALID_ARGUMENT"}}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("enerateContent").then(|| Reply::status(400, refused))
    });
    assert_eq!(metric(&fixture, "signature_fallbacks_total"), "0");
    fixture.ask(Api::Messages.path(), &Api::Messages.body("gemini-3-pro-preview", ""));
    assert_eq!(metric(&fixture, "signature_fallbacks_total"), "1");
    // A Gemini client's signatures are its own.
    fixture.ask(GENERATE, r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#);
    assert_eq!(metric(&fixture, "signature_fallbacks_total"), "1");
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";
