//! What clients may call of Code Assist's own protocol: `CODE_ASSIST_PROTOCOL`.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get, post, request};

use crate::HELLO;

#[test]
fn a_session_of_the_cli_works_in_the_operators_project_and_the_account_cannot_be_changed() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let body = |project: &str| {
        format!(
            r#"{{ "model": "gemini-2.5-flash", "project":"{project}", "user_prompt_id":"p","request":{HELLO}}}"#
        )
    };
    let answer = proxy.post("/v1internal:generateContent", body("a-foreign-project"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let sent = &google.received("generateContent")[0]["body"];
    assert_eq!(*sent, body("emulator-project"), "all other bytes are the client's");
    let metadata =
        r#"{"cloudaicompanionProject":"a","metadata":{"pluginType":"GEMINI","duetProject":"a"}}"#;
    assert_eq!(proxy.post("/v1internal:loadCodeAssist", metadata).status(), 200);
    let sent =
        google.received("loadCodeAssist").pop().unwrap()["body"].as_str().unwrap().to_owned();
    assert_eq!(sent, metadata.replace(r#":"a""#, r#":"emulator-project""#));
    for method in ["retrieveUserQuota", "fetchAdminControls"] {
        let answer = proxy.post(&format!("/v1internal:{method}"), r#"{"project":"a"}"#);
        assert_eq!(answer.status(), 200, "{method}: {}", answer.text());
    }
    assert_eq!(proxy.get("/v1internal:getCodeAssistGlobalUserSetting").status(), 200);

    let calls = calls_of_clients(&google);
    for refused in [
        post("/v1internal:setCodeAssistGlobalUserSetting", &[], "{}"),
        post("/v1internal:onboardUser", &[], r#"{"tierId":"free-tier"}"#),
        get("/v1internal/operations/1", &[]),
    ] {
        let answer = proxy.send(&refused);
        assert_eq!(answer.status_and_reason(), (403, "RPC_NOT_ALLOWED".to_owned()));
        assert_eq!(answer.error()["status"], "PERMISSION_DENIED");
    }
    for (method, path, allow) in [
        ("GET", "/v1internal:loadCodeAssist", "POST"),
        ("GET", "/v1internal:generateContent", "POST"),
        ("POST", "/v1internal/operations/1", "GET, HEAD"),
    ] {
        let answer = proxy.send(request(method, path, &[], b""));
        assert_eq!((answer.status(), answer.header("allow")), (405, allow), "{method} {path}");
    }
    let unreadable = proxy.post("/v1internal:generateContent", "no JSON");
    assert_eq!(unreadable.status_and_reason(), (400, "MALFORMED_JSON".to_owned()));
    assert_eq!(calls_of_clients(&google), calls, "none of this is sent");
}

#[test]
fn with_all_requests_are_sent_on_as_they_are_and_with_off_there_is_no_such_path() {
    let google = GoogleEmulator::start();
    let all = ProxyBuilder::for_emulator(&google).env("CODE_ASSIST_PROTOCOL", "all").start();
    let body = r#"{"cloudaicompanionProject":"mine","freeTierDataCollectionOptin":false}"#;
    assert_eq!(all.post("/v1internal:setCodeAssistGlobalUserSetting", body).status(), 200);
    assert_eq!(google.received("setCodeAssistGlobalUserSetting")[0]["body"], body);
    drop(all);

    let off = ProxyBuilder::for_emulator(&google).env("CODE_ASSIST_PROTOCOL", "off").start();
    let calls = calls_of_clients(&google);
    for request in [
        post("/v1internal:generateContent", &[], HELLO),
        get("/v1internal:generateContent", &[]),
        get("/v1internal/operations/1", &[]),
    ] {
        let answer = off.send(&request);
        assert_eq!(answer.status_and_reason(), (404, "NOT_FOUND".to_owned()));
    }
    assert_eq!(calls_of_clients(&google), calls);
}

/// The calls that Google has got, without those that the proxy makes at any time for itself.
fn calls_of_clients(google: &GoogleEmulator) -> usize {
    let of_the_proxy = |path: &str| path.contains("token") || path.ends_with(":loadCodeAssist");
    let log = google.log();
    log.iter().filter(|record| !of_the_proxy(record["path"].as_str().unwrap_or_default())).count()
}
