//! What clients may call of Code Assist's own protocol: `CODE_ASSIST_PROTOCOL`.

use code_assist_core::Proxy;
use code_assist_testkit::client::{get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;

use crate::{login, run};

/// A proxy that is signed in and knows no project yet.
fn started(settings: &[(&str, &str)]) -> (ScriptedPlatform, Proxy) {
    let script = ScriptedPlatform::new(google_but(|request| {
        let is_of_a_client = request.body.contains("of-a-client") || request.is("UserSetting");
        (is_of_a_client || request.is("Metrics")).then(|| Reply::ok("{}"))
    }));
    script.write_login(login(3000));
    let proxy = proxy_with(&script, settings);
    (script, proxy)
}

/// The body that arrives upstream for this one.
fn sent(settings: &[(&str, &str)], method: &str, body: &str) -> String {
    let (script, proxy) = started(settings);
    let answer = run(&script, &proxy, post(&format!("/v1internal:{method}"), body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    script.received(&format!(":{method}")).pop().expect("it was sent").body
}

#[test]
fn a_foreign_project_is_replaced_by_the_operators_and_every_other_byte_stays() {
    let operators = [("GEMINI_PROJECT_ID", "the-operators")];
    for (method, body, expected) in [
        (
            "generateContent",
            r#"{ "model":"m","project" : "foreign","request":{"any":[1],"project":"mine"} }"#,
            r#"{ "model":"m","project" : "the-operators","request":{"any":[1],"project":"mine"} }"#,
        ),
        (
            "loadCodeAssist",
            r#"{"cloudaicompanionProject":"a","metadata":{"ideType":"X","duetProject":"b"},"x":"of-a-client"}"#,
            r#"{"cloudaicompanionProject":"the-operators","metadata":{"ideType":"X","duetProject":"the-operators"},"x":"of-a-client"}"#,
        ),
        (
            "recordCodeAssistMetrics",
            r#"{"pro\u006aect":"a","project":{"b":1},"metadata":{"duet_project":null}}"#,
            r#"{"pro\u006aect":"the-operators","project":"the-operators","metadata":{"duet_project":null}}"#,
        ),
        (
            "generateContent",
            r#"{"model":"m","project":"the-operators","request":{}}"#,
            r#"{"model":"m","project":"the-operators","request":{}}"#,
        ),
        ("recordCodeAssistMetrics", "", ""),
        ("recordCodeAssistMetrics", r#"{"metrics":[]}"#, r#"{"metrics":[]}"#),
    ] {
        assert_eq!(sent(&operators, method, body), expected, "{method}");
    }
}

#[test]
fn the_project_that_was_discovered_replaces_a_foreign_one() {
    let body = r#"{"model":"m","project":"foreign","request":{}}"#;
    let sent = sent(&[], "generateContent", body);
    assert_eq!(sent, r#"{"model":"m","project":"found-project","request":{}}"#);
}

#[test]
fn a_body_without_a_project_gets_none_and_waits_for_none() {
    let (script, proxy) = started(&[]);
    let body = r#"{"request":{"model":"models/m","contents":[]}}"#;
    run(&script, &proxy, post("/v1internal:countTokens", body));
    assert_eq!(script.received(":countTokens")[0].body, body);
    assert_eq!(script.received(":loadCodeAssist").len(), 0);
}

#[test]
fn a_body_that_cannot_be_read_is_refused_and_one_that_google_reads_is_written_strictly() {
    let (script, proxy) = started(&[("GEMINI_PROJECT_ID", "ours")]);
    for body in ["no JSON", "[]", r#"{"project":"a"}{}"#, r#"{"project":"a""#] {
        let answer = run(&script, &proxy, post("/v1internal:generateContent", body));
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "MALFORMED_JSON"));
    }
    assert_eq!(script.all_received().len(), 0);
    let lenient = "{'model':'m',project:'foreign','request':{},}";
    let answer = run(&script, &proxy, post("/v1internal:generateContent", lenient));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("x-proxy-normalized").contains("single-quotes"));
    let sent = &script.received(":generateContent")[0].body;
    assert_eq!(sent, r#"{"model":"m","project":"ours","request":{}}"#);
}

#[test]
fn what_a_session_of_the_cli_does_not_need_is_refused_without_a_call_or_a_count() {
    let (script, proxy) =
        started(&[("RATE_LIMIT_MAX_REQUESTS", "1"), ("GEMINI_PROJECT_ID", "ours")]);
    let refused = [
        post("/v1internal:onboardUser", r#"{"tierId":"free-tier"}"#),
        post("/v1internal:setCodeAssistGlobalUserSetting", "{}"),
        post("/v1internal:fetchAvailableModels", "{}"),
        get("/v1internal/operations/7"),
    ];
    for request in refused {
        let path = request.uri().to_string();
        let answer = run(&script, &proxy, request);
        let seen = (answer.status.as_u16(), answer.reason());
        assert_eq!(seen, (403, "RPC_NOT_ALLOWED".to_owned()), "{path}");
        assert!(answer.text().contains("CODE_ASSIST_PROTOCOL"), "{}", answer.text());
    }
    assert_eq!(script.all_received().len(), 0);
    let setting = get("/v1internal:getCodeAssistGlobalUserSetting");
    assert_eq!(run(&script, &proxy, setting).status, 200, "the first one that counts");
}

#[test]
fn the_protocol_that_is_off_has_no_paths() {
    let (script, proxy) = started(&[("CODE_ASSIST_PROTOCOL", "off")]);
    for request in [
        post("/v1internal:generateContent", "{}"),
        post("/v1internal:onboardUser", "{}"),
        get("/v1internal:generateContent"),
        get("/v1internal/operations/7"),
        post("/v1internal/operations/7", ""),
    ] {
        let path = request.uri().to_string();
        let answer = run(&script, &proxy, request);
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (404, "NOT_FOUND"),
            "{path}"
        );
    }
    assert_eq!(script.all_received().len(), 0);
    assert!(!run(&script, &proxy, get("/")).text().contains("v1internal"));
}

#[test]
fn with_all_every_request_is_passed_on_untouched() {
    let all = [("CODE_ASSIST_PROTOCOL", "all"), ("GEMINI_PROJECT_ID", "ours")];
    for body in [r#"{"model":"m","project":"mine","request":{"any":[1]}}"#, "no JSON"] {
        assert_eq!(sent(&all, "generateContent", body), body);
    }
    let body = r#"{"tierId":"free-tier","x":"of-a-client"}"#;
    assert_eq!(sent(&all, "onboardUser", body), body);
    let (script, proxy) = started(&all);
    run(&script, &proxy, get("/v1internal/operations/7"));
    assert_eq!(script.received("/v1internal/operations/7").len(), 1);
}

#[test]
fn answers_of_code_assists_own_protocol_stay_wrapped_and_have_the_proxys_token() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login(3000));
    let proxy = proxy_with(&script, &[]);
    let body = r#"{"model":"m","project":"found-project","request":{"any":[1]}}"#;
    let path = "/v1internal:streamGenerateContent?alt=sse&key=k";
    let answer = run(&script, &proxy, post(path, body));
    assert!(answer.text().contains(r#""traceId":"t1""#), "still wrapped: {}", answer.text());
    let sent = &script.received(":streamGenerateContent?alt=sse")[0];
    assert_eq!(sent.body, body);
    assert_eq!(sent.headers["authorization"], "Bearer ya29.old");
}
