//! What is sent upstream.

use code_assist_testkit::client::post;
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;

use crate::{GENERATE, HELLO, run, signed_in};

#[test]
fn a_client_cannot_close_our_envelope() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    for body in [r#"{}, "project":"x""#, r#"{}}"#, "[]", "", "{\"a\":1} {}", "nonsense", "\"text\""]
    {
        let answer = run(&script, &proxy, post(GENERATE, body));
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (400, "MALFORMED_JSON"),
            "{body}"
        );
        assert!(answer.text().contains("line 1 column"), "{}", answer.text());
    }
    assert_eq!(script.received(":generateContent").len(), 0);
}

#[test]
fn the_clients_bytes_arrive_as_they_were_written() {
    let body = r#"{ "zzz" : {"b":1,"a":[ ]}, "generationConfig":{"temperature":0.10,"seed":12345678901234567890,"topK":0,"x":false,"y":""},
      "contents":[{"role":"user","parts":[{"text":"\u00e9\/\ud83d\ude00 é"}]}]}"#;
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    run(&script, &proxy, post(GENERATE, body));
    let sent = &script.received(":generateContent")[0].body;
    assert!(sent.ends_with(&format!(r#""request":{body}}}"#)), "{sent}");
}

#[test]
fn dropped_fields_and_a_changed_model_are_named_in_headers() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let body =
        r#"{"model":"x","contents":[],"generationConfig":{"responseFormat":1,"temperature":0}}"#;
    let answer = run(&script, &proxy, post("/v1/models/gemini-1.5-pro:generateContent", body));
    assert_eq!(answer.header("x-proxy-dropped-fields"), "model, generationConfig.responseFormat");
    assert_eq!(answer.header("x-proxy-model"), "gemini-2.5-pro");
    let sent = &script.received(":generateContent")[0].body;
    assert!(
        sent.ends_with(r#""request":{"contents":[],"generationConfig":{"temperature":0}}}"#),
        "{sent}"
    );
}

#[test]
fn a_count_has_an_envelope_of_its_own() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let path = "/v1beta/models/gemini-2.5-flash:countTokens";
    let answer = run(&script, &proxy, post(path, HELLO));
    assert_eq!(answer.text(), r#"{"totalTokens":7}"#);
    let form = format!(r#"{{"generateContentRequest":{HELLO}}}"#);
    run(&script, &proxy, post(path, &form));
    for sent in script.received(":countTokens") {
        assert_eq!(
            sent.body,
            r#"{"request":{"model":"models/gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"Hello"}]}]}}"#
        );
    }
    assert_eq!(script.received(":loadCodeAssist").len(), 0, "a count needs no project");
}

#[test]
fn code_assists_own_protocol_is_passed_on_untouched() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let body = r#"{"model":"m","project":"mine","request":{"any":[1]}}"#;
    let answer =
        run(&script, &proxy, post("/v1internal:streamGenerateContent?alt=sse&key=k", body));
    assert!(answer.text().contains(r#""traceId":"t1""#), "still wrapped: {}", answer.text());
    let sent = &script.received(":streamGenerateContent?alt=sse")[0];
    assert_eq!(sent.body, body);
    assert_eq!(sent.headers["authorization"], "Bearer ya29.old");
}
