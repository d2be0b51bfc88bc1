//! Answers that are not good enough to be kept: they go to the requests that wait for them, and to no
//! later one.

use code_assist_testkit::client::{all, post, with};
use code_assist_testkit::script::Reply;

use crate::fixture::{COUNT, Fixture, GENERATE, HELLO, ZERO, in_turn, ms};

/// A request at temperature 0 with these tools.
fn with_tools(tools: &str) -> String {
    ZERO.replace(r#""generationConfig""#, &format!(r#""tools":{tools},"generationConfig""#))
}

fn candidate(reason: &str, content: &str) -> String {
    format!(
        r#"{{"response":{{"candidates":[{{"content":{content},"finishReason":"{reason}"}}]}},"traceId":"t"}}"#
    )
}

const CONTENT: &str = r#"{"role":"model","parts":[{"text":"Hi"}]}"#;

/// Answers that no later request may get.
fn bad_answers() -> Vec<String> {
    let thought = r#"{"role":"model","parts":[{"text":"hm","thought":true}]}"#;
    let blocked = r#"{"response":{"promptFeedback":{"blockReason":"OTHER"}}}"#;
    let one_of_two = candidate("STOP", CONTENT).replace("}]}", r#"},{"finishReason":"OTHER"}]}"#);
    vec![
        candidate("MAX_TOKENS", CONTENT),
        candidate("SAFETY", CONTENT),
        candidate("STOP", r#"{"role":"model"}"#),
        candidate("STOP", thought),
        r#"{"response":{}}"#.to_owned(),
        blocked.to_owned(),
        one_of_two,
    ]
}

#[test]
fn an_answer_that_is_cut_or_empty_is_asked_for_again() {
    for bad in bad_answers() {
        for key in ["", "order-66"] {
            let fixture = Fixture::new(&[], in_turn([Reply::ok(bad.clone())]));
            let ask = || fixture.ask(with(post(GENERATE, ZERO), "idempotency-key", key));
            let first = ask();
            assert_eq!((first.status.as_u16(), first.header("x-cache")), (200, "MISS"), "{bad}");
            let second = ask();
            assert_eq!(second.header("x-cache"), "MISS", "{bad}");
            assert_ne!(second.text(), first.text());
            assert_eq!(ask().header("x-cache"), "HIT", "a good answer is kept");
            assert_eq!(fixture.calls().len(), 2);
        }
    }
}

#[test]
fn the_window_does_not_share_such_an_answer_either() {
    for bad in bad_answers() {
        let settings = [("RESPONSE_CACHE_TTL_SECONDS", "0"), ("REQUEST_DEDUP_WINDOW_MS", "60000")];
        let fixture = Fixture::new(&settings, in_turn([Reply::ok(bad.clone())]));
        let x_caches =
            [(); 3].map(|()| fixture.ask(post(GENERATE, ZERO)).header("x-cache").to_owned());
        assert_eq!(x_caches, ["MISS", "MISS", "COALESCED"], "{bad}");
    }
}

#[test]
fn requests_in_flight_share_such_an_answer() {
    for bad in bad_answers() {
        let fixture = Fixture::new(&[], in_turn([Reply::ok(bad).after(ms(1000))]));
        let asked = (0..20).map(|_| fixture.asking(post(GENERATE, ZERO))).collect();
        let answers = fixture.run(all(asked));
        assert_eq!(fixture.calls().len(), 1);
        assert!(answers.iter().all(|answer| answer.text() == answers[0].text()));
        assert!(answers[1..].iter().all(|answer| answer.header("x-cache") == "COALESCED"));
        assert_eq!(fixture.ask(post(GENERATE, ZERO)).header("x-cache"), "MISS");
    }
}

#[test]
fn an_idempotency_key_whose_answer_was_not_kept_may_be_used_for_another_request() {
    let fixture = Fixture::new(&[], in_turn([Reply::ok(candidate("MAX_TOKENS", CONTENT))]));
    let keyed = |body: &str| with(post(GENERATE, body), "idempotency-key", "order-66");
    assert_eq!(fixture.ask(keyed(HELLO)).status, 200);
    assert_eq!(fixture.ask(keyed(ZERO)).header("x-cache"), "MISS");
    assert_eq!(fixture.ask(keyed(HELLO)).status, 409, "the second request's answer was kept");
}

#[test]
fn with_a_tool_that_looks_outside_no_answer_is_kept() {
    for tool in [
        r#"{"googleSearch":{}}"#,
        r#"{"google_search":{}}"#,
        r#"{"googleSearchRetrieval":{}}"#,
        r#"{"urlContext":{}}"#,
        r#"{"url_context":{}}"#,
        r#"{"codeExecution":{}}"#,
        r#"{"code_execution":{}}"#,
        r#"{"googleMaps":{}}"#,
        r#"{"enterpriseWebSearch":{}}"#,
        r#"{"computerUse":{}}"#,
        r#"{"fileSearch":{}}"#,
        r#"{"toolOfTheFuture":{}}"#,
        r#"{"functionDeclarations":[],"g\u006fogleSearch":{}}"#,
    ] {
        for tools in [tool.to_owned(), format!("[{tool}]"), format!("[{{}},{tool}]")] {
            let body = with_tools(&tools);
            for key in ["", "order-66"] {
                let fixture = Fixture::new(&[], |_| None);
                for _ in 0..2 {
                    let request = with(post(GENERATE, &body), "idempotency-key", key);
                    assert_eq!(fixture.ask(request).header("x-cache"), "MISS", "{body}");
                }
                assert_eq!(fixture.calls().len(), 2);
            }
        }
    }
}

#[test]
fn with_functions_only_an_answer_is_kept() {
    for tools in [
        "[]",
        "null",
        "[{}]",
        r#"[{"functionDeclarations":[{"name":"googleSearch"}]}]"#,
        r#"{"function_declarations":[{"name":"f"}],"googleSearch":null}"#,
    ] {
        let fixture = Fixture::new(&[], |_| None);
        let body = with_tools(tools);
        let x_caches =
            [(); 2].map(|()| fixture.ask(post(GENERATE, &body)).header("x-cache").to_owned());
        assert_eq!(x_caches, ["MISS", "HIT"], "{tools}");
    }
}

#[test]
fn a_count_is_kept_also_with_tools_and_an_answer_without_a_count_is_not() {
    let fixture = Fixture::new(&[], in_turn([Reply::ok("{}")]));
    let body = with_tools(r#"[{"googleSearch":{}}]"#);
    let x_caches = [(); 3].map(|()| fixture.ask(post(COUNT, &body)).header("x-cache").to_owned());
    assert_eq!(x_caches, ["MISS", "MISS", "HIT"]);
}
