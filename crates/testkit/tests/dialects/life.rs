//! What the dialects share with the Gemini API: models, errors, the cache, access.

use code_assist_testkit::client::{ask, get, post, with};
use code_assist_testkit::script::Reply;
use serde_json::Value;

use crate::fixture::{ALL, Api, Fixture};

#[test]
fn a_whole_answer_has_the_dialects_form_and_the_name_that_the_client_sent() {
    let fixture = Fixture::new();
    for api in ALL {
        let answer = fixture.ask(api.path(), &api.body("google/gemini-2.5-pro", ""));
        assert_eq!(answer.status, 200, "{api:?}: {}", answer.text());
        assert_eq!(api.text(&answer), "Hello", "{api:?}");
        assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
        assert_eq!(answer.header("x-proxy-model"), "gemini-2.5-pro", "{api:?}");
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(body["model"], "google/gemini-2.5-pro", "{api:?}");
    }
    for sent in fixture.bodies() {
        assert_eq!(sent["contents"][0]["parts"][0]["text"], "hi");
    }
}

#[test]
fn the_names_of_other_vendors_need_an_alias() {
    let fixture = Fixture::with(
        &[("MODEL_ALIASES", "claude-*haiku*=gemini-2.5-flash,claude-*=gemini-2.5-pro")],
        |_| None,
    );
    for (name, model) in [
        ("claude-haiku-4-5", Some("gemini-2.5-flash")),
        ("claude-opus-5-5", Some("gemini-2.5-pro")),
        ("gpt-5", None),
    ] {
        for api in ALL {
            let answer = fixture.ask(api.path(), &api.body(name, ""));
            match model {
                Some(model) => {
                    assert_eq!(answer.header("x-proxy-model"), model, "{name}: {}", answer.text());
                }
                None => {
                    assert_eq!(answer.status, 404, "{}", answer.text());
                    assert_eq!(answer.header("x-should-retry"), "false");
                }
            }
        }
    }
}

#[test]
fn an_error_has_the_dialects_form() {
    let quota = r#"{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"9s"}]}}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("enerateContent").then(|| Reply::status(429, quota))
    });
    for (api, kind) in [
        (Api::Chat, "rate_limit_error"),
        (Api::Responses, "rate_limit_error"),
        (Api::Messages, "rate_limit_error"),
    ] {
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", ""));
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 429, "{api:?}");
        assert_eq!(answer.header("retry-after"), "9", "{api:?}");
        assert_eq!(body["error"]["type"], kind, "{api:?}: {body}");
        assert_eq!(body["error"]["message"], "Slow down.", "{api:?}");
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED", "{api:?}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_named_by_its_field() {
    let too_long = r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("enerateContent").then(|| Reply::status(400, too_long))
    });
    let completions = r#"{"model":"gemini-2.5-pro","prompt":"hi"}"#.to_owned();
    for (path, body, param) in [
        (Api::Chat.path(), Api::Chat.body("gemini-2.5-pro", ""), "messages"),
        (Api::Responses.path(), Api::Responses.body("gemini-2.5-pro", ""), "input"),
        ("/v1/completions", completions, "prompt"),
    ] {
        let answer = fixture.ask(path, &body);
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(body["error"]["code"], "context_length_exceeded", "{path}");
        assert_eq!(body["error"]["param"], param, "{path}");
    }
}

#[test]
fn a_stranger_is_refused_in_the_dialect_of_the_path() {
    let keys = [("PROXY_API_KEYS", "0123456789abcdef")];
    let fixture = Fixture::with(&keys, |_| None);
    for (api, code) in [(Api::Chat, "/error/code"), (Api::Messages, "/error/type")] {
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", ""));
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("x-should-retry"), "false");
        let expected = if api == Api::Chat { "invalid_api_key" } else { "authentication_error" };
        assert_eq!(body.pointer(code).unwrap(), expected);
    }
    let key = with(
        post(Api::Chat.path(), &Api::Chat.body("gemini-2.5-pro", "")),
        "authorization",
        "Bearer 0123456789abcdef",
    );
    let answer = fixture.script.run(&fixture.proxy, ask(&fixture.proxy, &fixture.script, key));
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Claude Code asks so before its first request, without a key.
    let hello =
        fixture.script.run(&fixture.proxy, ask(&fixture.proxy, &fixture.script, get("/api/hello")));
    assert_eq!((hello.status.as_u16(), hello.text()), (200, String::new()));
}

#[test]
fn equal_requests_share_an_answer_and_each_gets_ids_of_its_own() {
    let fixture = Fixture::new();
    // Equal requests of one dialect share an answer, by whatever path they come.
    for (api, model) in
        ALL.into_iter().zip(["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-pro"])
    {
        let body = api.body(model, r#","temperature":0"#);
        let [first, second] = [(), ()].map(|()| fixture.ask(api.path(), &body));
        assert_eq!(first.header("x-cache"), "MISS", "{api:?}");
        assert_eq!(second.header("x-cache"), "HIT", "{api:?}");
        let id = |answer: &code_assist_testkit::client::Answer| {
            let body: Value = serde_json::from_str(&answer.text()).unwrap();
            body["id"].as_str().unwrap().to_owned()
        };
        assert_ne!(id(&first), id(&second), "{api:?}");
        assert_eq!(api.text(&first), api.text(&second));
    }
}

#[test]
fn what_is_left_out_is_named() {
    let fixture = Fixture::new();
    let body = Api::Chat.body("gemini-2.5-pro", r#","logit_bias":{"1":2},"invented":1"#);
    let answer = fixture.ask(Api::Chat.path(), &body);
    let dropped = answer.header("x-proxy-dropped-fields");
    assert!(dropped.contains("logit_bias") && dropped.contains("invented"), "{dropped}");
    // A name that no header may have hides no other one.
    let body = Api::Chat.body("gemini-2.5-pro", r#","a\nb":1,"invented":1"#);
    let answer = fixture.ask(Api::Chat.path(), &body);
    assert_eq!(answer.header("x-proxy-dropped-fields"), "a?b, invented");
    let long = "x".repeat(10_000);
    let body = Api::Chat.body("gemini-2.5-pro", &format!(r#","first":1,"{long}":1"#));
    let answer = fixture.ask(Api::Chat.path(), &body);
    let cut = format!("first, {}", "x".repeat(128));
    assert_eq!(answer.header("x-proxy-dropped-fields"), cut);
}

#[test]
fn a_count_of_tokens_names_no_field_that_the_client_has_not_sent() {
    let count = r#"{"totalTokens":7}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("countTokens").then(|| Reply::status(200, count))
    });
    let body = Api::Responses.body("gemini-2.5-pro", "");
    let answer = fixture.ask("/v1/responses/input_tokens", &body);
    assert_eq!(answer.text(), r#"{"object":"response.input_tokens","input_tokens":7}"#);
    assert!(answer.headers.get("x-proxy-dropped-fields").is_none(), "{:?}", answer.headers);
}

#[test]
fn a_dialect_that_is_off_does_not_exist() {
    let fixture = Fixture::with(&[("DIALECTS", "openai")], |_| None);
    let chat = fixture.ask(Api::Chat.path(), &Api::Chat.body("gemini-2.5-pro", ""));
    assert_eq!(chat.status, 200);
    for (path, body) in [
        (Api::Messages.path(), Api::Messages.body("gemini-2.5-pro", "")),
        ("/v1beta/models/gemini-2.5-pro:generateContent", r#"{"contents":[]}"#.to_owned()),
    ] {
        assert_eq!(fixture.ask(path, &body).status, 404, "{path}");
    }
}

#[test]
fn tokens_are_counted_and_models_listed() {
    let fixture = Fixture::new();
    let body = Api::Messages.body("gemini-2.5-pro", "");
    assert_eq!(fixture.ask("/v1/messages/count_tokens", &body).text(), r#"{"input_tokens":7}"#);
    let body = Api::Responses.body("gemini-2.5-pro", "");
    assert_eq!(
        fixture.ask("/v1/responses/input_tokens", &body).text(),
        r#"{"object":"response.input_tokens","input_tokens":7}"#
    );
    for (header, value, list) in
        [("authorization", "Bearer x", "object"), ("anthropic-version", "2023-06-01", "has_more")]
    {
        let request = with(get("/v1/models"), header, value);
        let answer =
            fixture.script.run(&fixture.proxy, ask(&fixture.proxy, &fixture.script, request));
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert!(!body[list].is_null(), "{header}: {body}");
        assert!(answer.text().contains("gemini-2.5-pro"));
    }
}

#[test]
fn what_the_dialects_have_and_this_proxy_has_not_is_404_in_their_form() {
    let fixture = Fixture::new();
    for (path, code) in [
        ("/v1/images/generations", "unsupported_endpoint"),
        ("/v1/audio/speech", "unsupported_endpoint"),
    ] {
        let answer = fixture.ask(path, "{}");
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((answer.status.as_u16(), &body["error"]["code"]), (404, &code.into()), "{path}");
    }
    let answer = fixture.ask("/v1/messages/batches", "{}");
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status.as_u16(), &body["error"]["type"]), (404, &"not_found_error".into()));
    let embeddings =
        fixture.ask("/v1/embeddings", r#"{"model":"gemini-embedding-001","input":"x"}"#);
    assert_eq!(embeddings.status, 404, "{}", embeddings.text());
}

#[test]
fn a_whole_answer_that_does_not_say_why_it_ended_is_complete() {
    let whole =
        r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]}}]}}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("enerateContent").then(|| Reply::ok(whole))
    });
    for (api, end, reason) in [
        (Api::Chat, "/choices/0/finish_reason", "stop"),
        (Api::Responses, "/status", "completed"),
        (Api::Messages, "/stop_reason", "end_turn"),
    ] {
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", ""));
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(api.text(&answer), "Hello", "{api:?}: {body}");
        assert_eq!(body.pointer(end), Some(&reason.into()), "{api:?}");
    }
}

#[test]
fn a_request_whose_translation_never_fits_is_too_large_and_not_to_be_sent_again() {
    let settings = [("MEMORY_BUDGET_BYTES", "4MiB")];
    let fixture = Fixture::with(&settings, |_| None);
    let many = vec![r#"{"role":"user","content":"x"}"#; 10_000].join(",");
    let body = format!(r#"{{"model":"gemini-2.5-pro","max_tokens":9,"messages":[{many}]}}"#);
    for api in [Api::Chat, Api::Messages] {
        let answer = fixture.ask(api.path(), &body);
        assert_eq!(answer.status, 413, "{api:?}: {}", answer.text());
        assert!(answer.text().contains("MEMORY_BUDGET_BYTES"), "{api:?}: {}", answer.text());
        assert_eq!(answer.header("x-should-retry"), "false");
    }
}

#[test]
fn a_whole_answer_has_memory_in_both_forms_while_it_is_translated() {
    let text = "x".repeat(3 << 20);
    let answer = format!(
        r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}},"finishReason":"STOP"}}]}}}}"#
    );
    for (budget, fits) in [("5MiB", false), ("16MiB", true)] {
        let answer = answer.clone();
        let fixture = Fixture::with(&[("MEMORY_BUDGET_BYTES", budget)], move |request| {
            request.line.contains("enerateContent").then(|| Reply::ok(answer.clone()))
        });
        for api in ALL {
            let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", ""));
            let overloaded = if api == Api::Messages { 529 } else { 503 };
            let expected = if fits { 200 } else { overloaded };
            assert_eq!(answer.status, expected, "{api:?} with {budget}");
        }
        let gemini = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
        let answer = fixture.ask("/v1beta/models/gemini-2.5-pro:generateContent", gemini);
        assert_eq!(answer.status, 200, "nothing is translated");
    }
}
