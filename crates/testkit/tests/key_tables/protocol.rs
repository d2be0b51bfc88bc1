//! Code Assist's own protocol with keys of tables.

use code_assist_testkit::client::post;
use serde_json::json;

use crate::{Fixture, refused, status_and_reason, table};

#[test]
fn the_model_in_the_body_must_be_allowed() {
    let tables = vec![
        table("ada", json!({"models": ["gemini-2.5-*"], "code_assist_protocol": "all"})),
        table("bob", json!({})),
    ];
    let fixture = Fixture::new("code-assist", &tables);
    let request = r#"{"contents":[]}"#;
    for (rpc, body, expected) in [
        ("generateContent", format!(r#"{{"model":"gemini-2.5-pro","request":{request}}}"#), 200),
        (
            "generateContent",
            format!(r#"{{"model":"models/gemini-2.5-pro","request":{request}}}"#),
            200,
        ),
        ("generateContent", format!(r#"{{"model":"gemini-3-pro","request":{request}}}"#), 403),
        (
            "streamGenerateContent?alt=sse",
            format!(r#"{{"model":"gemini-3-pro","request":{request}}}"#),
            403,
        ),
        // Upstream may read the second one.
        (
            "generateContent",
            format!(r#"{{"model":"gemini-2.5-pro","model":"gemini-3-pro","request":{request}}}"#),
            403,
        ),
        (
            "generateContent",
            format!(
                r#"{{"m\u006fdel":"gemini-3-pro","model":"gemini-2.5-pro","request":{request}}}"#
            ),
            403,
        ),
        ("generateContent", format!(r#"{{"request":{request}}}"#), 403),
        ("generateContent", r#"{"model":["gemini-3-pro"]}"#.to_owned(), 403),
        ("generateContent", "{model:'gemini-2.5-pro'}".to_owned(), 400),
        (
            "countTokens",
            r#"{"request":{"model":"models/gemini-3-pro","contents":[]}}"#.to_owned(),
            403,
        ),
        (
            "countTokens",
            r#"{"request":{"model":"models/gemini-2.5-pro","contents":[]}}"#.to_owned(),
            200,
        ),
        ("loadCodeAssist", "{}".to_owned(), 200),
        ("completeCode", "{}".to_owned(), 403),
    ] {
        let before = fixture.sent();
        let answer = fixture.ask("ada", post(&format!("/v1internal:{rpc}"), &body));
        assert_eq!(answer.status.as_u16(), expected, "{rpc} {body} {}", answer.text());
        if expected == 403 {
            assert_eq!(status_and_reason(&answer), refused(), "{rpc} {body}");
            assert_eq!(fixture.sent(), before);
        }
    }
    let body = format!(r#"{{"model":"gemini-3-pro","request":{request}}}"#);
    let answer = fixture.ask("bob", post("/v1internal:generateContent", &body));
    assert_eq!(answer.status.as_u16(), 200);
}

#[test]
fn a_key_may_have_a_rule_of_its_own_for_the_protocol() {
    let tables = vec![
        table("none", json!({"code_assist_protocol": "off"})),
        table("some", json!({"code_assist_protocol": "generate"})),
        table("all", json!({"code_assist_protocol": "all"})),
        table("default", json!({})),
    ];
    for (setting, of_default) in
        [("off", [404, 404]), ("generate", [200, 403]), ("all", [200, 200])]
    {
        let more = [("CODE_ASSIST_PROTOCOL", setting)];
        let fixture = Fixture::with(&more, &tables, |request| {
            let is_rpc = request.line.contains(":setCodeAssistGlobalUserSetting");
            is_rpc.then(|| code_assist_testkit::script::Reply::ok("{}"))
        });
        for (id, expected) in [
            ("none", [404, 404]),
            ("some", [200, 403]),
            ("all", [200, 200]),
            ("default", of_default),
            ("plain", of_default),
        ] {
            let status = |rpc: &str| {
                let answer = fixture.ask(id, post(&format!("/v1internal:{rpc}"), "{}"));
                answer.status.as_u16()
            };
            let found = [status("loadCodeAssist"), status("setCodeAssistGlobalUserSetting")];
            assert_eq!(found, expected, "{setting} {id}");
        }
    }
}

#[test]
fn only_a_key_that_may_send_everything_keeps_its_project() {
    let tables =
        vec![table("all", json!({"code_assist_protocol": "all"})), table("bob", json!({}))];
    let fixture = Fixture::new("code-assist", &tables);
    for (id, project) in [("all", "foreign"), ("bob", "p")] {
        let body = r#"{"model":"m","project":"foreign","request":{"contents":[]}}"#;
        fixture.ask(id, post("/v1internal:generateContent", body));
        let sent = fixture.script.received(":generateContent").pop().unwrap();
        assert!(sent.body.contains(&format!(r#""project":"{project}""#)), "{id} {}", sent.body);
    }
}
