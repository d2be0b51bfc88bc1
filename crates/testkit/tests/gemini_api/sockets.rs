//! WebSockets of the Live API.

use code_assist_core::{Payload, Proxy, WebSocketRequest};
use code_assist_testkit::client::{get, with};
use code_assist_testkit::script::{Reply, ScriptedPlatform, ScriptedUpgrade};
use http::Request;

use crate::{OPERATORS_KEY, answering, gemini_settings, run};

const LIVE: &str = "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=clients-key";

fn socket(path: &str) -> Request<Payload> {
    let mut request = get(path);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-goog-api-key", "clients-key"),
    ] {
        request = with(request, name, value);
    }
    request.extensions_mut().insert(WebSocketRequest);
    request
}

fn switching() -> Reply {
    Reply::status(101, "")
        .with_header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        .with_header("sec-websocket-extensions", "permessage-deflate")
        .with_header("alt-svc", "h3")
}

#[test]
fn a_websocket_is_connected_with_the_operators_key_in_a_header() {
    for (path, line) in [
        (
            LIVE,
            "GET https://google.test/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        ),
        ("/v1/interactions/live?key=K&x=1", "GET https://google.test/v1/interactions/live?x=1"),
    ] {
        let (script, proxy) = answering(switching);
        let response = script.run(&proxy, proxy.handle(&script, socket(path)));
        assert_eq!(response.status(), 101);
        assert!(response.extensions().get::<ScriptedUpgrade>().is_some(), "the shell's connection");
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-extensions"], "permessage-deflate");
        assert!(!response.headers().contains_key("alt-svc"));
        let received = &script.all_received()[0];
        assert_eq!(received.line, line);
        assert_eq!(received.headers["x-goog-api-key"], OPERATORS_KEY);
        assert_eq!(received.headers["sec-websocket-version"], "13");
    }
}

#[test]
fn a_refused_handshake_is_shown_and_not_tried_again() {
    let text = r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
    let (script, proxy) = answering(move || Reply::status(503, text));
    let answer = run(&script, &proxy, socket(LIVE));
    assert_eq!((answer.status.as_u16(), &*answer.text()), (503, text));
    assert_eq!(script.all_received().len(), 1);
    let broken = || Reply::unreachable(code_assist_core::SendError::Connect("no".to_owned()));
    let (script, proxy) = answering(broken);
    assert_eq!(run(&script, &proxy, socket(LIVE)).status, 503);
    assert_eq!(script.all_received().len(), 1);
}

#[test]
fn a_request_that_asks_for_no_websocket_is_told_so() {
    let (script, proxy) = answering(switching);
    let answer = run(&script, &proxy, get(LIVE));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "WEBSOCKET_REQUIRED"));
    assert!(script.all_received().is_empty());
}

#[test]
fn an_ephemeral_token_is_used_only_if_the_operator_allows_it() {
    let constrained = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained?access_token=auth_tokens/abc";
    let in_header = with(
        get("/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent"),
        "authorization",
        "Token auth_tokens/abc",
    );
    for mut request in [get(constrained), in_header] {
        request.extensions_mut().insert(WebSocketRequest);
        let (script, proxy) = answering(switching);
        let answer = run(&script, &proxy, request);
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (403, "NOT_ALLOWED"));
        assert!(script.all_received().is_empty());
    }
    let script = ScriptedPlatform::new(|_| switching());
    let mut settings = gemini_settings(&[]);
    settings.allow_auth_tokens = true;
    let proxy = Proxy::new(settings, &script);
    let mut request = get(constrained);
    request.extensions_mut().insert(WebSocketRequest);
    let response = script.run(&proxy, proxy.handle(&script, request));
    assert_eq!(response.status(), 101);
    let received = &script.all_received()[0];
    assert!(received.line.ends_with("?access_token=auth_tokens/abc"), "{}", received.line);
    assert!(!received.headers.contains_key("x-goog-api-key"), "one credential");
}
