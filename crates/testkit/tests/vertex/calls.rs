//! Calls of models: generate, stream, count.

use code_assist_testkit::client::{post, with};
use code_assist_testkit::script::{Piece, Reply};
use serde_json::Value;

use crate::{GOOGLE, HELLO, PLACE, TOKEN, account, answering, at_vertex, run, sent, with_google};

const ANSWER: &str = r#"{"candidates": [{"content": {"role": "model","parts": [{"text": "Hi"}]},"finishReason": "STOP","citationMetadata": {"citations": [{"uri": "u"}]}}],"createTime": "x"}"#;

#[test]
fn a_client_of_the_gemini_api_gets_its_own_form_from_the_operators_project() {
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    let body = r#"{"contents":[{"parts":[]}],"store":true,"serviceTier":"flex"}"#;
    let asked = post("/v1beta/models/gemini-9:generateContent?key=K", body);
    let asked = with(asked, "x-goog-user-project", "clients");
    let answer = run(&script, &proxy, with(asked, "x-goog-api-key", "clients-key"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let value: Value = serde_json::from_str(&answer.text()).unwrap();
    let citations = &value["candidates"][0]["citationMetadata"]["citationSources"];
    assert_eq!(citations[0]["uri"], "u");
    assert_eq!(answer.header("x-proxy-dropped-fields"), "store");
    let sent = sent(&script);
    let path = format!("/v1beta1/{PLACE}/publishers/google/models/gemini-9:generateContent");
    assert_eq!(sent.line, format!("POST {GOOGLE}{path}"));
    assert_eq!(sent.body, r#"{"contents":[{"role":"user","parts":[]}]}"#);
    assert_eq!(sent.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(sent.headers["x-vertex-ai-llm-shared-request-type"], "flex");
    assert!(!sent.headers.contains_key("x-goog-user-project"));
    assert!(!sent.headers.contains_key("x-goog-api-key"));
}

#[test]
fn a_clients_header_for_a_tier_counts_more_than_its_body() {
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    let body = r#"{"contents":[],"serviceTier":"flex"}"#;
    let asked = post("/v1beta/models/gemini-9:generateContent", body);
    let asked = with(asked, "x-vertex-ai-llm-shared-request-type", "priority");
    run(&script, &proxy, asked);
    assert_eq!(sent(&script).headers["x-vertex-ai-llm-shared-request-type"], "priority");
}

#[test]
fn a_client_in_vertex_mode_keeps_its_version_and_its_bytes() {
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    let body = "{ \"contents\":[{\"parts\":[]}],\"serviceTier\":\"flex\" }\n";
    let path = "/v1/projects/theirs/locations/us-central1/publishers/google/models/gemini-9\
                :generateContent?%24alt=json;enum-encoding=int&key=K";
    let answer = run(&script, &proxy, post(path, body));
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, ANSWER));
    let sent = sent(&script);
    let path = format!("/v1/{PLACE}/publishers/google/models/gemini-9:generateContent");
    assert_eq!(sent.line, format!("POST {GOOGLE}{path}?%24alt=json;enum-encoding=int"));
    assert_eq!(sent.body, body);
}

#[test]
fn cached_content_of_another_project_is_refused_in_either_mode() {
    for path in [
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        "/v1beta1/projects/x/locations/y/publishers/google/models/m:generateContent",
        "/v1/publishers/google/models/m:streamGenerateContent",
    ] {
        for body in [
            r#"{"cachedContent":"projects/other/locations/europe-west4/cachedContents/1"}"#,
            r#"{"cached_content":"projects\/other\/locations\/europe-west4\/cachedContents\/1"}"#,
            // Google's own parser takes this.
            r#"{'cachedContent':'projects/other/locations/europe-west4/cachedContents/1',}"#,
        ] {
            let (script, proxy) = answering(|| Reply::ok(ANSWER));
            let answer = run(&script, &proxy, post(path, body));
            assert_eq!(answer.status, 400, "{path} {body} {}", answer.text());
            assert_eq!(answer.reason(), "FIELD_NOT_TAKEN", "{path} {body}");
            assert!(script.all_received().iter().all(|it| !it.line.contains(GOOGLE)));
        }
        let (script, proxy) = answering(|| Reply::status(404, "{}"));
        let own = r#"{"cachedContent":"projects/123/locations/europe-west4/cachedContents/1"}"#;
        run(&script, &proxy, post(path, own));
        let expected = format!(r#"{{"cachedContent":"{PLACE}/cachedContents/1"}}"#);
        assert_eq!(sent(&script).body, expected, "{path}");
    }
}

#[test]
fn a_stream_of_a_client_in_vertex_mode_is_copied_byte_for_byte() {
    let stream = ": x\r\ndata: {\"candidates\": [{\"citationMetadata\": {\"citations\": []}}]}\r\n\r\n\
                  data: {\"candidates\":[{\"finishReason\":\"STOP\"}],  \"x\":\"\u{2028}\"}\r\n\r\n";
    let reply = || {
        let pieces = stream.as_bytes().chunks(7).map(|it| Piece::Data(it.to_vec().into()));
        Reply::pieces(pieces).with_header("content-type", "text/event-stream")
    };
    let (script, proxy) = answering(reply);
    let path = "/v1beta1/publishers/google/models/m:streamGenerateContent?alt=sse";
    let answer = run(&script, &proxy, post(path, HELLO));
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, stream));
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(sent(&script).line.ends_with(":streamGenerateContent?alt=sse"));

    let (script, proxy) = answering(reply);
    let answer =
        run(&script, &proxy, post("/v1beta/models/m:streamGenerateContent?alt=sse", HELLO));
    assert!(answer.text().contains("citationSources"), "{}", answer.text());
    assert!(answer.text().contains("\"STOP\""), "{}", answer.text());
}

#[test]
fn a_stream_in_an_array_is_asked_for_as_events() {
    let stream = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\r\n\r\n";
    for query in ["", "?alt=json", "?%24alt=json;enum-encoding=int"] {
        let (script, proxy) =
            answering(move || Reply::ok(stream).with_header("content-type", "text/event-stream"));
        let path = format!("/v1beta/models/m:streamGenerateContent{query}");
        let answer = run(&script, &proxy, post(&path, HELLO));
        let value: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(value[0]["candidates"][0]["finishReason"], "STOP", "{value}");
        assert!(sent(&script).line.ends_with(":streamGenerateContent?alt=sse"));
    }
}

#[test]
fn an_error_before_a_stream_has_the_form_that_the_client_knows() {
    let error = "[{\n  \"error\": {\n    \"code\": 404,\n    \"message\": \"Publisher Model `x` was not found\",\n    \"status\": \"NOT_FOUND\"\n  }\n}\n]";
    let in_vertex_mode = "/v1beta1/publishers/google/models/m:streamGenerateContent?alt=sse";
    let (script, proxy) = answering(move || Reply::status(404, error));
    let answer = run(&script, &proxy, post(in_vertex_mode, HELLO));
    assert_eq!((answer.status.as_u16(), &*answer.text()), (404, error));

    for (path, in_array) in [
        ("/v1beta/models/m:streamGenerateContent?alt=sse", false),
        ("/v1beta/models/m:streamGenerateContent", true),
    ] {
        let (script, proxy) = answering(move || Reply::status(404, error));
        let answer = run(&script, &proxy, post(path, HELLO));
        let value: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((answer.status.as_u16(), value.is_array()), (404, in_array), "{path}");
        let value = if in_array { &value[0] } else { &value };
        assert_eq!(value["error"]["message"], "Publisher Model `x` was not found");
    }
}

#[test]
fn a_token_that_is_refused_twice_is_the_operators_affair() {
    let (script, proxy) = answering(|| {
        Reply::status(401, r#"{"error":{"code":401,"message":"No.","status":"UNAUTHENTICATED"}}"#)
    });
    let path = "/v1beta1/publishers/google/models/m:generateContent";
    let answer = run(&script, &proxy, post(path, HELLO));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "CREDENTIALS_REJECTED"));
}

#[test]
fn the_operators_project_for_quotas_goes_with_every_request() {
    let mut account = account();
    account.quota_project = Some("payer".to_owned());
    let (script, proxy) = with_google(account, |_| Reply::ok("{}"));
    for path in [
        "/v1beta/models/m:countTokens",
        "/v1/projects/x/locations/y/publishers/google/models/m:predict",
        "/v1beta/cachedContents",
    ] {
        run(&script, &proxy, with(post(path, HELLO), "x-goog-user-project", "clients"));
    }
    let sent = at_vertex(&script);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|it| it.headers["x-goog-user-project"] == "payer"), "{sent:?}");
}

#[test]
fn a_model_that_no_path_can_have_is_not_found() {
    let (script, proxy) = answering(|| Reply::ok("{}"));
    let answer = run(&script, &proxy, post("/v1beta/models/a%25b:generateContent", HELLO));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(at_vertex(&script).is_empty());
}

#[test]
fn openais_embeddings_are_one_call_or_as_many_as_the_model_wants() {
    for (takes_one, most) in [(false, 1), (true, 4)] {
        let (script, proxy) = with_google(account(), move |request| {
            let texts = request.body.matches(r#""content""#).count();
            if takes_one && texts > 1 {
                let refusal = r#"{"error":{"code":400,"message":"One instance only.","status":"INVALID_ARGUMENT"}}"#;
                return Reply::status(400, refusal);
            }
            let one = r#"{"embeddings":{"values":[0.5],"statistics":{"token_count":2}}}"#;
            Reply::status(200, format!(r#"{{"predictions":[{}]}}"#, vec![one; texts].join(",")))
        });
        let body = r#"{"model":"gemini-embedding-001","input":["a","b","c"]}"#;
        let answer = run(&script, &proxy, post("/v1/embeddings", body));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(r#""index":2,"embedding":[0.5]"#), "{}", answer.text());
        assert!(answer.text().contains(r#""prompt_tokens":6"#), "{}", answer.text());
        let calls = at_vertex(&script).iter().filter(|call| call.line.contains(":predict")).count();
        assert_eq!(calls, most);
    }
}
