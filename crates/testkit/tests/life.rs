//! Whole lives of requests, over a scripted platform.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Proxy, SendError};
use code_assist_testkit::client::{Answer, all, ask, get, post};
use code_assist_testkit::google::{event, google, google_but, last_event, sse};
use code_assist_testkit::script::{Piece, Received, Reply, Script};
use code_assist_testkit::subject::{self, proxy_with};

/// The usual login, with so many seconds to live.
fn login(seconds: i64) -> String {
    subject::login("ya29.old", "1//refresh", seconds)
}

fn signed_in(script: &Script, seconds: i64) -> Proxy {
    script.write_login(login(seconds));
    proxy_with(script, &[])
}

fn run(
    script: &Script,
    proxy: &Proxy,
    request: http::Request<code_assist_core::Payload>,
) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

#[test]
fn a_cold_request_finds_token_and_project_and_is_answered() {
    let script = Script::new(google());
    let proxy = signed_in(&script, -10);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.text(),
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"responseId":"t1"}"#
    );
    assert_eq!(answer.header("x-cloudaicompanion-trace-id"), "t1");
    assert!(answer.header("x-request-id").starts_with("req_"));
    assert!(answer.header("server-timing").starts_with("auth;dur="));
    let sent = &script.received(":generateContent")[0];
    assert_eq!(sent.headers["authorization"], "Bearer ya29.new-1");
    assert!(sent.headers["user-agent"].to_str().unwrap().starts_with("code-assist-proxy/"));
    let (head, tail) = sent.body.split_once(r#""user_prompt_id":""#).unwrap();
    assert_eq!(head, r#"{"model":"gemini-2.5-flash","project":"found-project","#);
    assert_eq!(&tail[36..], format!(r#"","request":{HELLO}}}"#));
}

#[test]
fn a_hundred_cold_requests_cause_one_refresh_and_one_discovery() {
    let script = Script::new(google_but(|request| {
        let slow = request.is("/token") || request.is(":loadCodeAssist");
        slow.then(|| google()(request).after(Duration::from_millis(300)))
    }));
    let proxy = signed_in(&script, -10);
    let asked = (0..100).map(|_| ask(&proxy, &script, post(GENERATE, HELLO))).collect();
    let answers = script.run(&proxy, all(asked));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn a_token_that_comes_of_age_is_renewed_while_it_serves() {
    let script = Script::new(google_but(|request| {
        request.is("/token").then(|| google()(request).after(Duration::from_secs(5)))
    }));
    let proxy = signed_in(&script, 200);
    let first = run(&script, &proxy, post(GENERATE, HELLO));
    assert!(first.header("server-timing").starts_with("auth;dur="));
    let sent = &script.received(":generateContent")[0];
    assert_eq!(sent.headers["authorization"], "Bearer ya29.old", "nobody waits for the refresh");
    script.pass(Duration::from_secs(10));
    let second = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(second.status, 200);
    assert_eq!(
        script.received(":generateContent")[1].headers["authorization"],
        "Bearer ya29.new-1"
    );
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn a_401_is_answered_with_one_refresh_and_one_replay() {
    let script = Script::new(google_but(|request| {
        (request.is(":generateContent") && request.headers["authorization"] == "Bearer ya29.old")
            .then(|| {
                Reply::status(
                    401,
                    r#"{"error":{"code":401,"message":"old","status":"UNAUTHENTICATED"}}"#,
                )
            })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200);
    assert_eq!(script.received("/token").len(), 1);
    let sent = script.received(":generateContent");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body, "the replay is the same request");
}

#[test]
fn a_second_401_is_told_as_rejected_credentials_and_not_tried_again() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| {
            Reply::status(
                401,
                r#"{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}"#,
            )
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "CREDENTIALS_REJECTED"));
    assert_eq!(script.received(":generateContent").len(), 2);
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn invalid_grant_is_final_until_the_credentials_change() {
    let script = Script::new(google_but(|request| {
        (request.is("/token") && request.body.contains("1%2F%2Frefresh&")).then(|| {
            Reply::status(400, r#"{"error":"invalid_grant","error_description":"revoked"}"#)
        })
    }));
    let proxy = signed_in(&script, -10);
    for _ in 0..3 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        assert!(answer.text().contains("revoked"), "{}", answer.text());
        script.pass(Duration::from_secs(100));
    }
    assert_eq!(script.received("/token").len(), 1, "a dead login is not hammered");
    script.write_login(login(-10).replace("1//refresh", "1//signed-in-again"));
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_token_endpoint_that_is_down_is_asked_again_later() {
    let mut tries = 0;
    let script = Script::new(google_but(move |request| {
        if !request.is("/token") {
            return None;
        }
        tries += 1;
        (tries < 3).then(|| Reply::unreachable(SendError::Connect("refused".to_owned())))
    }));
    let proxy = signed_in(&script, -10);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "UPSTREAM_UNREACHABLE"));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 503);
    assert_eq!(script.received("/token").len(), 1, "not within the pause");
    script.pass(Duration::from_secs(10));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 503);
    script.pass(Duration::from_secs(10));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_newer_token_in_the_file_is_adopted_without_a_refresh() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 1000);
    run(&script, &proxy, post(GENERATE, HELLO));
    script.write_login("{\"access_token\":\"ya29.half-writ");
    script.run(&proxy, proxy.tick(&script));
    script.write_login(login(3000).replace("ya29.old", "ya29.from-the-cli"));
    script.run(&proxy, proxy.tick(&script));
    run(&script, &proxy, post(GENERATE, HELLO));
    let sent = script.received(":generateContent");
    assert_eq!(sent[1].headers["authorization"], "Bearer ya29.from-the-cli");
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn missing_credentials_are_told_with_where_they_were_looked_for() {
    let script = Script::new(google());
    let proxy = proxy_with(&script, &[]);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "CREDENTIALS_MISSING"));
    assert!(answer.text().contains("oauth_creds.json"));
    assert!(script.all_received().is_empty(), "nothing goes to Google without a token");
    script.write_login(login(3000));
    script.run(&proxy, proxy.tick(&script));
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "no restart is needed: {}", answer.text());
}

#[test]
fn a_loaded_token_is_validated_once_and_a_dead_one_is_refreshed() {
    let script = Script::new(google_but(|request| {
        (request.is("/tokeninfo")).then(|| Reply::status(400, r#"{"error":"invalid_token"}"#))
    }));
    let proxy = signed_in(&script, 3000);
    for _ in 0..3 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    }
    assert_eq!(script.received("/tokeninfo").len(), 1);
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":generateContent").len(), 3);
}

#[test]
fn an_unreachable_tokeninfo_condemns_no_token() {
    let script = Script::new(google_but(|request| {
        request.is("/tokeninfo").then(|| Reply::unreachable(SendError::Connect(String::new())))
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn a_rotated_refresh_token_is_kept_across_a_restart() {
    let script = Script::new(google_but(|request| {
        request.is("/token").then(|| {
            Reply::ok(r#"{"access_token":"ya29.r","expires_in":60,"refresh_token":"1//rotated"}"#)
        })
    }));
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    script.pass(Duration::from_secs(3600));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    let refreshes = script.received("/token");
    assert!(refreshes[0].body.contains("1%2F%2Frefresh"));
    assert!(refreshes[1].body.contains("1%2F%2Frotated"), "{}", refreshes[1].body);
}

#[test]
fn a_restart_finds_token_and_project_in_the_store() {
    let script = Script::new(google());
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn another_accounts_stored_facts_are_not_used() {
    let script = Script::new(google());
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    script.write_login(login(-10).replace("1//refresh", "1//somebody-else"));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    assert_eq!(script.received("/token").len(), 2);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn the_seeds_own_entries_are_used_and_its_absurd_expiry_is_not() {
    let soon = 1_750_000_000_000_u64 + 3_000_000;
    for (expiry, refreshes) in [(soon, 0), (soon * 1000, 1)] {
        let script = Script::new(google());
        script.put(
            "oauth_token_cache",
            format!(r#"{{"access_token":"ya29.seed","expiry_date":{expiry},"refresh_count":1,"last_used":1,"created_at":1,"token_type":"Bearer","scope":""}}"#),
        );
        script.put(
            "project_id_cache",
            format!(r#"{{"project_id":"seed-project","discovered_at":1,"ttl":{soon},"source":"discovery","validation_count":1}}"#),
        );
        let proxy = signed_in(&script, -10);
        run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(script.received("/token").len(), refreshes);
        assert_eq!(script.received(":loadCodeAssist").len(), 0);
        assert!(script.received(":generateContent")[0].body.contains("seed-project"));
    }
}

#[test]
fn a_store_that_fails_never_fails_a_request() {
    let script = Script::new(google());
    let proxy = signed_in(&script, -10);
    script.break_store(true);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert!(run(&script, &proxy, get("/health")).text().contains(r#""kv_status":"disconnected""#));
}

#[test]
fn health_checks_ask_nobody_and_write_nothing() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    for _ in 0..10 {
        assert_eq!(run(&script, &proxy, get("/health")).status, 200);
    }
    assert_eq!((script.all_received().len(), script.saves()), (0, 0));
}

#[test]
fn a_stream_is_reframed_event_by_event() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(answer.header("x-cloudaicompanion-trace-id"), "t1");
    assert_eq!(answer.pieces.len(), 2);
    assert_eq!(
        answer.text(),
        concat!(
            r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}],"responseId":"r1"}"#,
            "\r\n\r\n",
            r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"lo"}]},"finishReason":"STOP"}],"responseId":"r1"}"#,
            "\r\n\r\n",
        )
    );
}

#[test]
fn without_alt_a_stream_is_a_json_array() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(ARRAY, HELLO));
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(answer.pieces.len(), 3);
    let text = answer.text();
    assert!(text.starts_with("[{\"candidates\"") && text.ends_with("}\n]"), "{text}");
    assert!(text.contains("}\n,\r\n{"));
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 2);
}

#[test]
fn wherever_the_network_cuts_the_client_reads_the_same() {
    let whole = format!(
        "data: {}\r\n\r\n: note\r\ndata:{}\r\n\r\ndata: {}",
        event("grüße 🦀"),
        event("two").replace(",\"traceId\"", ",\r\ndata: \"traceId\""),
        last_event("end")
    );
    let expected = {
        let script = Script::new(with_stream(vec![whole.clone().into()]));
        let proxy = signed_in(&script, 3000);
        run(&script, &proxy, post(STREAM, HELLO)).text()
    };
    assert_eq!(expected.matches("data: ").count(), 3);
    for cut in 1..whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let pieces = vec![Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail)];
        let script = Script::new(with_stream(pieces));
        let proxy = signed_in(&script, 3000);
        assert_eq!(run(&script, &proxy, post(STREAM, HELLO)).text(), expected, "cut at {cut}");
    }
}

fn with_stream(pieces: Vec<Bytes>) -> impl FnMut(&Received) -> Reply + Send + 'static {
    google_but(move |request| {
        let data = pieces.iter().cloned().map(Piece::Data);
        request.is("?alt=sse").then(|| Reply::pieces(data))
    })
}

#[test]
fn an_error_before_the_first_event_is_an_http_error_with_upstreams_details() {
    let body = "[{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"slow down\",\n    \"status\": \"RESOURCE_EXHAUSTED\",\n    \"details\": [{\"@type\": \"type.googleapis.com/google.rpc.RetryInfo\", \"retryDelay\": \"12.5s\"}]\n  }\n}\n]\n";
    let script = Script::new(google_but(move |request| {
        request.is("?alt=sse").then(|| Reply::status(429, body))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "13");
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert!(answer.text().starts_with('{'), "an object for SSE clients: {}", answer.text());
    assert!(answer.text().contains("\"retryDelay\": \"12.5s\""), "details byte for byte");
    let array = run(&script, &proxy, post(ARRAY, HELLO));
    assert!(array.text().starts_with('['), "an array for array clients");
    assert_eq!(array.status, 429);
}

#[test]
fn an_error_as_the_first_event_is_an_http_error_too() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    let script =
        Script::new(google_but(move |request| request.is("?alt=sse").then(|| sse(&[error]))));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, error));
}

#[test]
fn a_stream_that_breaks_ends_with_an_error_in_both_framings() {
    let script = Script::new(google_but(|request| {
        request.is("?alt=sse").then(|| {
            Reply::pieces([
                Piece::Data(format!("data: {}\r\n\r\ndata: {{\"resp", event("Hel")).into()),
                Piece::Break("reset".to_owned()),
            ])
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.pieces.len(), 3, "event, error event, bare error in a flush of its own");
    let (event, bare) = (&answer.pieces[1], &answer.pieces[2]);
    assert_eq!(&event[..], [b"data: ", &bare[..], b"\r\n\r\n"].concat());
    assert!(bare.starts_with(br#"{"error":{"code":502,"#));
    let array = run(&script, &proxy, post(ARRAY, HELLO)).text();
    let elements: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(elements[1]["error"]["details"][0]["reason"], "UPSTREAM_DISCONNECTED");
}

#[test]
fn an_error_inside_a_stream_is_passed_on_however_it_was_written() {
    let error = "{\n \"error\": {\"code\": 429, \"message\": \"enough\", \"status\": \"RESOURCE_EXHAUSTED\"}\n}\n";
    for late in [
        format!("data: {}\r\n\r\n", error.replace('\n', "")),
        error.to_owned(),
        format!("[{error}]\n"),
    ] {
        let body = format!("data: {}\r\n\r\n{late}", event("Hel"));
        let script = Script::new(with_stream(vec![body.into()]));
        let proxy = signed_in(&script, 3000);
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!(answer.pieces.len(), 3, "{}", answer.text());
        assert!(answer.text().contains("enough"), "{}", answer.text());
        assert!(!answer.text().contains("\n \"error\""), "one line");
    }
}

#[test]
fn a_silent_stream_is_ended_after_the_idle_timeout_and_not_before() {
    let silent = |seconds| {
        let script = Script::new(google_but(move |request| {
            request.is("?alt=sse").then(|| {
                Reply::pieces([
                    Piece::Data(format!("data: {}\r\n\r\n", event("Hel")).into()),
                    Piece::Silence(Duration::from_secs(seconds)),
                    Piece::Data(format!("data: {}\r\n\r\n", last_event("lo")).into()),
                ])
            })
        }));
        let proxy = signed_in(&script, 3000);
        run(&script, &proxy, post(STREAM, HELLO)).text()
    };
    assert!(!silent(299).contains("error"), "there is no total timeout on a live stream");
    assert!(silent(301).contains("UPSTREAM_TIMEOUT"));
}

#[test]
fn a_head_that_does_not_come_is_a_504() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| google()(request).after(Duration::from_secs(301)))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "UPSTREAM_TIMEOUT"));
    assert_eq!(script.received(":generateContent").len(), 1, "a slow answer is not started twice");
}

#[test]
fn chunks_without_a_response_are_swallowed_and_an_empty_stream_stays_empty() {
    let only_trace = r#"{"traceId":"t9","remainingCredits":[]}"#;
    let script =
        Script::new(google_but(move |request| request.is("?alt=sse").then(|| sse(&[only_trace]))));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""));
    assert_eq!(run(&script, &proxy, post(ARRAY, HELLO)).text(), "[]");
}

#[test]
fn a_client_that_goes_away_cancels_upstream() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    script.run(&proxy, async {
        let response = proxy.handle(&script, post(STREAM, HELLO)).await;
        drop(response);
    });
    assert_eq!(script.cancelled(), 1);
    assert_eq!(proxy.metrics().in_flight(), 0);
}

#[test]
fn a_client_cannot_close_our_envelope() {
    let script = Script::new(google());
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
fn what_the_client_wrote_arrives_as_it_was_written() {
    let body = r#"{ "zzz" : {"b":1,"a":[ ]}, "generationConfig":{"temperature":0.10,"seed":12345678901234567890,"topK":0,"x":false,"y":""},
      "contents":[{"role":"user","parts":[{"text":"\u00e9\/\ud83d\ude00 é"}]}]}"#;
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    run(&script, &proxy, post(GENERATE, body));
    let sent = &script.received(":generateContent")[0].body;
    assert!(sent.ends_with(&format!(r#""request":{body}}}"#)), "{sent}");
}

#[test]
fn dropped_fields_and_a_changed_model_are_told_in_headers() {
    let script = Script::new(google());
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
fn a_living_model_is_sent_as_it_is() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    for model in ["gemini-3-pro-preview", "gemini-2.5-flash-lite", "gemini-9-unheard-of"] {
        let answer =
            run(&script, &proxy, post(&format!("/v1/models/{model}:generateContent"), HELLO));
        assert_eq!(answer.header("x-proxy-model"), "");
        let sent = script.received(":generateContent");
        assert!(sent.last().unwrap().body.starts_with(&format!(r#"{{"model":"{model}""#)));
    }
}

#[test]
fn a_count_has_an_envelope_of_its_own() {
    let script = Script::new(google());
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
fn models_are_the_table_and_the_accounts_own() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    let list = run(&script, &proxy, get("/v1beta/models?pageSize=1000")).text();
    assert!(
        list.contains(r#""name":"models/gemini-2.5-pro""#) && list.contains("models/gemini-9-test")
    );
    let one = run(&script, &proxy, get("/v1/models/gemini-2.5-pro"));
    assert!(one.text().starts_with(r#"{"name":"models/gemini-2.5-pro""#));
    let none = run(&script, &proxy, get("/v1/models/nope"));
    assert_eq!((none.status.as_u16(), none.reason().as_str()), (404, "NOT_FOUND"));
    assert_eq!(script.received(":retrieveUserQuota").len(), 1);
}

#[test]
fn code_assists_own_protocol_is_passed_on_untouched() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    let body = r#"{"model":"m","project":"mine","request":{"any":[1]}}"#;
    let answer =
        run(&script, &proxy, post("/v1internal:streamGenerateContent?alt=sse&key=k", body));
    assert!(answer.text().contains(r#""traceId":"t1""#), "still wrapped: {}", answer.text());
    let sent = &script.received(":streamGenerateContent?alt=sse")[0];
    assert_eq!(sent.body, body);
    assert_eq!(sent.headers["authorization"], "Bearer ya29.old");
}

#[test]
fn a_project_that_upstream_refuses_is_discovered_anew() {
    let mut refused = false;
    let script = Script::new(google_but(move |request| {
        if !request.is(":generateContent") || std::mem::replace(&mut refused, true) {
            return None;
        }
        Some(Reply::status(
            403,
            r#"{"error":{"code":403,"message":"Permission denied on resource project x.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_INVALID","domain":"googleapis.com"}]}}"#,
        ))
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn onboarding_is_polled_to_its_end() {
    let mut polls = 0;
    let script = Script::new(google_but(move |request| {
        if request.is(":loadCodeAssist") {
            return Some(Reply::ok(r#"{"allowedTiers":[{"id":"free-tier","isDefault":true}]}"#));
        }
        if request.is(":onboardUser") {
            return Some(Reply::ok(r#"{"name":"operations/7","done":false}"#));
        }
        request.is("/v1internal/operations/7").then(|| {
            polls += 1;
            Reply::ok(if polls < 3 {
                r#"{"name":"operations/7"}"#
            } else {
                r#"{"done":true,"response":{"cloudaicompanionProject":{"id":"new-project"}}}"#
            })
        })
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert!(script.received(":generateContent")[0].body.contains("new-project"));
    assert_eq!(script.received(":onboardUser").len(), 1);
}

#[test]
fn onboarding_that_never_ends_is_given_up_and_not_hammered() {
    let script = Script::new(google_but(|request| {
        if request.is(":loadCodeAssist") {
            return Some(Reply::ok(r#"{"allowedTiers":[{"id":"free-tier","isDefault":true}]}"#));
        }
        (request.is(":onboardUser") || request.is("operations/7"))
            .then(|| Reply::ok(r#"{"name":"operations/7","done":false}"#))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "ACCOUNT_INELIGIBLE"));
    let asked = script.all_received().len();
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
    assert_eq!(script.all_received().len(), asked);
}

#[test]
fn an_ineligible_account_is_told_every_reason() {
    let script = Script::new(google_but(|request| {
        request.is(":loadCodeAssist").then(|| Reply::ok(r#"{"allowedTiers":[{"id":"standard-tier","userDefinedCloudaicompanionProject":true,"isDefault":true}],"ineligibleTiers":[{"reasonCode":"UNSUPPORTED_CLIENT","reasonMessage":"This client is no longer supported","tierId":"free-tier"}]}"#))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "ACCOUNT_INELIGIBLE"));
    assert!(answer.text().contains("UNSUPPORTED_CLIENT"));
    assert!(answer.text().contains("This client is no longer supported"));
}

#[test]
fn a_configured_project_is_used_without_asking() {
    let script = Script::new(google());
    script.write_login(login(3000));
    let proxy = proxy_with(&script, &[("GOOGLE_CLOUD_PROJECT", "mine")]);
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received(":generateContent")[0].body.contains(r#""project":"mine""#));
    assert_eq!(script.received(":loadCodeAssist").len(), 0);
}

#[test]
fn an_access_token_is_used_as_it_is_and_never_refreshed() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.mine"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    assert_eq!(script.received(":generateContent")[0].headers["authorization"], "Bearer ya29.mine");
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn a_body_beyond_the_limit_is_a_413_before_anything_is_sent() {
    let script = Script::new(google());
    script.write_login(login(3000));
    let proxy = proxy_with(&script, &[("MAX_REQUEST_BODY_BYTES", "1024")]);
    let body = format!(r#"{{"contents":[],"x":"{}"}}"#, "y".repeat(2000));
    let answer = run(&script, &proxy, post(GENERATE, &body));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert!(script.all_received().is_empty());
}

#[test]
fn what_is_not_offered_is_a_404_that_says_so() {
    let script = Script::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post("/v1beta/models/m:embedContent", "{}"));
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (404, "NOT_OFFERED_BY_CODE_ASSIST")
    );
    let answer = run(&script, &proxy, get(GENERATE));
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    let answer = run(&script, &proxy, get("/nowhere"));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (404, "NOT_FOUND"));
}

#[test]
fn an_upstream_that_refuses_every_token_is_not_a_refresh_for_each_request() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let proxy = signed_in(&script, 3000);
    for _ in 0..10 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    }
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":generateContent").len(), 11);
}

#[test]
fn code_assists_own_errors_are_passed_on_as_they_are_to_its_own_clients() {
    let error = "[{\n  \"error\": {\"code\": 429, \"message\": \"slow\", \"status\": \"X\"}\n}\n]";
    let script = Script::new(google_but(move |request| {
        request.is("?alt=sse").then(|| {
            Reply::status(429, error).with_header("content-type", "application/json; charset=UTF-8")
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post("/v1internal:streamGenerateContent?alt=sse", "{}"));
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (429, error));
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
}

#[test]
fn a_bug_costs_its_own_request_and_no_other() {
    let mut first = true;
    let script = Script::new(google_but(move |request| {
        if request.is(":generateContent") && std::mem::replace(&mut first, false) {
            panic!("the test's own bug");
        }
        None
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (500, "INTERNAL"));
    assert!(!answer.text().contains("own bug"), "what went wrong is for the log");
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(proxy.metrics().in_flight(), 0);
}

#[test]
fn a_page_with_the_status_of_a_stream_is_a_502() {
    let script = Script::new(google_but(|request| {
        request
            .is("?alt=sse")
            .then(|| Reply::ok("<!doctype html>\n<p>Sign in to the hotel's network</p>\n"))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (502, "UPSTREAM_MALFORMED"));
}

#[test]
fn a_single_json_answer_to_a_stream_is_read_all_the_same() {
    let script = Script::new(google_but(|request| {
        request.is("?alt=sse").then(|| Reply::ok(format!("[{}]\n", last_event("Hello"))))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("data: {\"candidates\""), "{}", answer.text());
}

#[test]
fn a_401_as_the_first_event_is_refreshed_and_replayed_like_any_other() {
    let script = Script::new(google_but(|request| {
        let refused =
            request.is("?alt=sse") && request.headers["authorization"] == "Bearer ya29.old";
        let error = r#"{"error":{"code":401,"message":"old","status":"UNAUTHENTICATED"}}"#;
        refused.then(|| sse(&[error]))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received("?alt=sse").len(), 2);
}
