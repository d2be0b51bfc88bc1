//! Each row of the table of errors, in each dialect (`docs/reference/dialects.md` 1.4).

use code_assist_emulator::{Options, Played};
use code_assist_harness::samples::answer;
use code_assist_harness::{
    GoogleEmulator, Provider, Proxy, ProxyBuilder, Response, ScriptedUpstream, post,
};
use serde_json::json;

use super::Api;
use super::rows::{INVALID, Row, googles_errors};

const MODEL: &str = "gemini-2.5-flash";

#[test]
fn each_error_of_googles_has_the_words_of_its_row() {
    // The model's name says which error upstream answers with.
    let upstream = ScriptedUpstream::new(|request, connection| {
        let (_, rest) = request.text().split_once("gemini-9-case-").expect("a model");
        let number = rest.split('-').next().expect("a number");
        let case = &googles_errors()[number.parse::<usize>().expect("a number")];
        let body = case.body();
        let body = if request.head.contains("stream") { format!("[{body}]") } else { body };
        connection.write(answer(case.status, &body));
    });
    let proxy = ProxyBuilder::for_upstream(&upstream)
        .env("MAX_RETRY_ATTEMPTS", "0")
        .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100")
        .start();
    for (number, case) in googles_errors().iter().enumerate() {
        for api in Api::ALL {
            for is_streamed in [false, true] {
                // A quota that is used up is remembered for its model.
                let model = format!("gemini-9-case-{number}-{api:?}-{is_streamed}");
                let asked = api.hello(&model, json!({"stream": is_streamed}));
                let answer = proxy.post(&api.path(&model), asked);
                let error = case.row.check(api, &answer);
                let told = case.rewritten.filter(|_| api == Api::Messages).unwrap_or(case.message);
                assert_eq!(error["message"], told, "{api:?}");
                assert_eq!(error["status"], case.google, "{api:?}");
                assert!(answer.text().contains(case.detail), "{api:?}: {}", answer.text());
                assert_eq!(answer.header("retry-after"), case.retry_after, "{api:?}: {told}");
                let received = upstream.received();
                let sent = received.iter().filter(|it| it.text().contains(&model)).count();
                assert_eq!(sent, 1, "{api:?}: {told}");
            }
        }
    }
}

fn hello(proxy: &Proxy, api: Api, headers: &[&str]) -> Response {
    proxy.send(post(&api.path(MODEL), headers, api.hello(MODEL, json!({}))))
}

const UNAVAILABLE: Row = Row::overloaded("model_overloaded");

#[test]
fn the_proxys_own_errors_have_the_words_of_their_rows() {
    let key =
        Row::new(401, (INVALID, Some("invalid_api_key"), None), "authentication_error", "false");
    let forbidden =
        |code| Row::new(403, ("permission_error", Some(code), None), "permission_error", "false");
    let limited = Row::new(
        429,
        ("rate_limit_error", Some("rate_limit_exceeded"), None),
        "rate_limit_error",
        "",
    );
    let large =
        Row::new(413, (INVALID, Some("request_too_large"), None), "request_too_large", "false");
    let invalid = Row::new(400, (INVALID, None, None), INVALID, "false");
    for api in Api::ALL {
        let google = GoogleEmulator::start();
        let proxy = ProxyBuilder::for_emulator(&google)
            .env("PROXY_API_KEYS", "alice:alices-secret-key")
            .env("RATE_LIMIT_MAX_REQUESTS", "3")
            .env("MAX_REQUEST_BODY_BYTES", "100000")
            .start();
        let right = "Authorization: Bearer alices-secret-key";
        key.check(api, &hello(&proxy, api, &[]));
        for wrong in
            ["Authorization: Bearer wrong-key-0123456789", "x-api-key: wrong-key-0123456789"]
        {
            let error = key.check(api, &hello(&proxy, api, &[wrong]));
            assert_eq!(error["details"][0]["reason"], "API_KEY_INVALID", "{api:?}");
        }
        let send = |body: &str| proxy.send(post(&api.path(MODEL), &[right], body));
        large.check(api, &send(&format!("{{\"model\":\"{}\"}}", "x".repeat(200_000))));
        invalid.check(api, &send(r#"{"model":"gemini-2.5-flash","#));
        assert_eq!(google.log().iter().filter(|it| it["rpc"] == "generateContent").count(), 0);
        for right in [right, "x-api-key: alices-secret-key", right, right] {
            let answer = hello(&proxy, api, &[right]);
            if answer.status() != 200 {
                let error = limited.check(api, &answer);
                assert!(!answer.header("retry-after").is_empty(), "{api:?}: {error}");
            }
        }
        let last = hello(&proxy, api, &[right]);
        let error = limited.check(api, &last);
        assert_eq!(error["details"][0]["reason"], "RATE_LIMITED", "{error}");

        let closed =
            ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "https://mine.test");
        let closed = closed.start();
        let stranger = hello(&closed, api, &["Origin: https://other.test"]);
        forbidden("origin_not_allowed").check(api, &stranger);
    }
}

#[test]
fn a_model_of_another_vendor_is_not_found_and_not_asked_for() {
    for api in Api::ALL {
        let google = GoogleEmulator::start();
        let proxy = ProxyBuilder::for_emulator(&google).start();
        for name in ["gpt-5", "claude-opus-5-5", "o3"] {
            let answer = proxy.post(&api.path(name), api.hello(name, json!({})));
            let row = Row::new(
                404,
                (INVALID, Some("model_not_found"), Some("model")),
                "not_found_error",
                "false",
            );
            let error = row.check(api, &answer);
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(name), "{message}");
            assert_eq!(message.starts_with("model: "), api == Api::Messages, "{message}");
        }
        assert_eq!(google.count("generateContent"), 0);
    }
}

#[test]
fn a_field_that_cannot_be_used_is_named_with_its_path() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let unknown = json!([{"role": "user", "content": [{"type": "hologram"}]}]);
    for (api, members, code, path) in [
        (Api::Chat, json!({"n": 9}), "unsupported_value", "n"),
        (
            Api::Chat,
            json!({"messages": unknown}),
            "unsupported_value",
            "messages[0].content[0].type",
        ),
        (Api::Responses, json!({"background": true}), "unsupported_parameter", "background"),
        (
            Api::Responses,
            json!({"previous_response_id": "resp_1"}),
            "previous_response_not_found",
            "previous_response_id",
        ),
        (Api::Messages, json!({"messages": unknown}), "", "messages.0.content.0"),
        (Api::Messages, json!({"max_tokens": null}), "", "max_tokens"),
    ] {
        let answer = proxy.post(&api.path(MODEL), api.hello(MODEL, members.clone()));
        let text = answer.text();
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status(), &error["type"]), (400, &json!(INVALID)), "{text}");
        assert_eq!(answer.header("x-should-retry"), "false", "{text}");
        if api == Api::Messages {
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with(path), "{members}: {message}");
        } else {
            assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(path)), "{text}");
        }
    }
    assert_eq!(google.count("generateContent"), 0);
}

#[test]
fn credentials_that_fail_are_the_operators_matter() {
    for api in Api::ALL {
        let row = |code| Row::new(503, ("server_error", Some(code), None), "api_error", "false");
        let none = ProxyBuilder::without_upstream().start();
        row("credentials_missing").check(api, &hello(&none, api, &[]));

        let google = Provider::GeminiApi.emulator();
        google.add_rules(json!({"error": "key_invalid", "times": 0}));
        let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google).start();
        let error = row("credentials_rejected").check(api, &hello(&proxy, api, &[]));
        assert!(error["message"].as_str().unwrap().contains("API key not valid"), "{error}");
        assert_eq!(google.count("generateContent"), 1, "{api:?}");
    }
}

#[test]
fn an_upstream_that_fails_is_a_server_error() {
    for api in Api::ALL {
        let failed =
            |status, code, kind| Row::new(status, ("server_error", Some(code), None), kind, "");
        let garbage = ScriptedUpstream::answering("200 OK", "", "nonsense");
        let cut = ScriptedUpstream::new(|_, connection| connection.close());
        let silent = ScriptedUpstream::new(|_, connection| {
            connection.is_closed_within(std::time::Duration::from_secs(10));
            connection.close();
        });
        for (upstream, row) in [
            (garbage, failed(502, "upstream_malformed", "api_error")),
            (cut, failed(502, "upstream_disconnected", "api_error")),
            (silent, failed(504, "upstream_timeout", "timeout_error")),
        ] {
            let proxy = ProxyBuilder::for_upstream(&upstream)
                .env("MAX_RETRY_ATTEMPTS", "0")
                .env("FIRST_BYTE_TIMEOUT_MS", "400")
                .start();
            row.check(api, &hello(&proxy, api, &[]));
            assert_eq!(upstream.received().len(), 1, "{api:?}");
        }
    }
}

#[test]
fn an_open_circuit_is_an_overload() {
    for api in Api::ALL {
        // Something before the API answers, so that the endpoint is at fault.
        let page = "Content-Type: text/html\r\n";
        let upstream = ScriptedUpstream::answering("500 Internal Server Error", page, "<html>");
        let proxy = ProxyBuilder::for_upstream(&upstream)
            .env("MAX_RETRY_ATTEMPTS", "0")
            .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2")
            .start();
        let ask = |n: u32| {
            let body = api.hello(MODEL, json!({})).replace("Hello", &format!("Hello {n}"));
            proxy.post(&api.path(MODEL), body)
        };
        assert_eq!([ask(0).status(), ask(1).status()], [500, 500], "{api:?}");
        let answer = ask(2);
        Row::overloaded("circuit_open").check(api, &answer);
        assert!(!answer.header("retry-after").is_empty());
        assert_eq!(upstream.received().len(), 2, "{api:?}");
    }
}

#[test]
fn a_failure_that_may_pass_is_tried_again_first() {
    for api in Api::ALL {
        let google = GoogleEmulator::start();
        let proxy = ProxyBuilder::for_emulator(&google)
            .env("MAX_RETRY_ATTEMPTS", "2")
            .env("RETRY_BASE_DELAY_MS", "1")
            .start();
        for (is_streamed, rpc) in [(false, "generateContent"), (true, "streamGenerateContent")] {
            let body = api.hello(MODEL, json!({"stream": is_streamed}));
            google.add_rules(json!({"match": {"rpc": rpc}, "status": 503}));
            let answer = proxy.post(&api.path(MODEL), &body);
            assert_eq!(api.text(&api.answer(&answer)), "You said: Hello", "{api:?}");
            assert_eq!(google.count(rpc), 2, "{api:?}");
            google.add_rules(json!({"match": {"rpc": rpc}, "status": 503, "times": 3}));
            UNAVAILABLE.check(api, &proxy.post(&api.path(MODEL), &body));
            assert_eq!(google.count(rpc), 5, "{api:?}");
        }
    }
}

#[test]
fn what_only_one_model_lacks_is_said_of_the_model() {
    let google = GoogleEmulator::start_with(Options { played: Played::All, ..Options::default() });
    for provider in Provider::ALL {
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        for api in Api::ALL {
            let answer =
                proxy.post(&api.path("gemini-0-none"), api.hello("gemini-0-none", json!({})));
            let row = Row::new(
                404,
                (INVALID, Some("model_not_found"), Some("model")),
                "not_found_error",
                "false",
            );
            row.check(api, &answer);
        }
    }
}

#[test]
fn a_problem_of_the_operators_account_is_forbidden_and_told_once() {
    for (account, code) in [
        ("ineligible", "account_ineligible"),
        ("validation_required", "validation_required"),
        ("no_project", "project_required"),
    ] {
        let google = GoogleEmulator::start();
        google.set_state(json!({"account": account}));
        let proxy = ProxyBuilder::for_emulator(&google).start();
        for api in Api::ALL {
            let row =
                Row::new(403, ("permission_error", Some(code), None), "permission_error", "false");
            row.check(api, &hello(&proxy, api, &[]));
        }
        assert_eq!((google.count("loadCodeAssist"), google.count("generateContent")), (1, 0));
    }
}
