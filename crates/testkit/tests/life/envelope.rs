//! What is sent upstream.

use code_assist_testkit::client::post;
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;

use crate::{ARRAY, GENERATE, HELLO, STREAM, run, signed_in};

const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";

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
fn what_was_rewritten_as_strict_json_is_named_in_a_header() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let body = "\u{feff}{contents:{'parts':{text:'a\tb'}},store:1,}";
    for path in [GENERATE, STREAM, ARRAY, COUNT] {
        let answer = run(&script, &proxy, post(path, body));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.header("x-proxy-normalized"),
            "byte-order-mark, trailing-commas, single-quotes, bare-keys, control-characters"
        );
        assert_eq!(answer.header("x-proxy-dropped-fields"), "store", "{path}");
    }
    let sent = &script.received(":generateContent")[0].body;
    let request = r#""request":{"contents":[{"role":"user","parts":[{"text":"a\tb"}]}]}}"#;
    assert!(sent.ends_with(request), "{sent}");
    let counted = r#""contents":[{"role":"user","parts":[{"text":"a\tb"}]}]}}"#;
    assert!(script.received(":countTokens")[0].body.ends_with(counted));
}

#[test]
fn an_answer_to_a_rewritten_body_is_cached_under_the_bytes_of_the_client() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let ask = |body: &str| {
        let answer = run(&script, &proxy, post(COUNT, body));
        ["x-cache", "x-proxy-normalized"].map(|name| answer.header(name).to_owned())
    };
    let lenient = HELLO.replace("]}", "],}");
    assert_eq!(ask(&lenient), ["MISS", "trailing-commas"]);
    assert_eq!(ask(&lenient), ["HIT", "trailing-commas"]);
    assert_eq!(ask(HELLO), ["MISS", ""]);
}

#[test]
fn a_body_that_cannot_be_rewritten_gets_the_error_of_the_strict_reading() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    for (body, what) in [
        ("{\n 'contents':[],} // x", "expected a key at line 2 column 2"),
        ("\u{feff}[{}]", "byte order mark at line 1 column 1"),
        ("{\"contents\":[1,,]}", "expected a value at line 1 column 16"),
        ("[]", "expected an object at line 1 column 1"),
    ] {
        for path in [GENERATE, STREAM, COUNT] {
            let answer = run(&script, &proxy, post(path, body));
            assert_eq!(answer.status, 400, "{body:?}");
            assert!(answer.text().contains(what), "{}", answer.text());
            assert_eq!(answer.header("x-proxy-normalized"), "");
        }
    }
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
