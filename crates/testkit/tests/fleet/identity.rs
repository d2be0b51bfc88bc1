//! Gateways that share a store and know the same names for different keys: a caller is its key.

use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, ask, post, with};
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;
use code_assist_testkit::subject::{login, proxy_with, settings};
use http::Request;

use crate::{GENERATE, HELLO, REPEATABLE};

/// A gateway with one key and a limit of three requests.
fn gateway(script: &ScriptedPlatform, key: &str) -> (ScriptedPlatform, Proxy) {
    let script = script.another_process();
    let proxy = proxy_with(&script, &of_team(key));
    (script, proxy)
}

fn of_team(key: &str) -> [(&'static str, &str); 3] {
    [
        ("PROXY_API_KEYS", key),
        ("RATE_LIMIT_MAX_REQUESTS", "3"),
        ("VALIDATE_TOKENS_BEFORE_USE", "false"),
    ]
}

/// A gateway with one key and no limit.
fn unlimited(script: &ScriptedPlatform, key: &str) -> (ScriptedPlatform, Proxy) {
    let script = script.another_process();
    let proxy = proxy_with(&script, &[("PROXY_API_KEYS", key)]);
    (script, proxy)
}

fn asked((script, proxy): &(ScriptedPlatform, Proxy), request: Request<Payload>) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

fn request(key: &str, body: &str) -> Request<Payload> {
    with(post(GENERATE, body), "x-goog-api-key", key)
}

fn with_idempotency_key(key: &str, body: &str) -> Request<Payload> {
    with(request(key, body), "idempotency-key", "job-1")
}

fn signed_in() -> ScriptedPlatform {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    script
}

#[test]
fn two_gateways_that_give_one_name_to_different_keys_share_nothing_of_a_caller() {
    let script = signed_in();
    let (ours, theirs) =
        (gateway(&script, "team:key-of-ours"), gateway(&script, "team:key-of-theirs"));
    assert_eq!(asked(&ours, request("key-of-ours", REPEATABLE)).header("x-cache"), "MISS");
    assert_eq!(asked(&theirs, request("key-of-theirs", REPEATABLE)).header("x-cache"), "MISS");
    // An idempotency key belongs to a caller too.
    assert_eq!(asked(&ours, with_idempotency_key("key-of-ours", HELLO)).header("x-cache"), "MISS");
    let other = HELLO.replace("Hello", "Bye");
    let answer = asked(&theirs, with_idempotency_key("key-of-theirs", &other));
    assert_eq!((answer.status.as_u16(), answer.header("x-cache")), (200, "MISS"));
    // And so does a limit.
    assert_eq!(asked(&ours, request("key-of-ours", HELLO)).status, 200);
    assert_eq!(asked(&ours, request("key-of-ours", HELLO)).reason(), "RATE_LIMITED");
    assert_eq!(asked(&theirs, request("key-of-theirs", HELLO)).status, 200);
    // A gateway with the same key, under whatever name, is the same caller.
    let third = gateway(&script, "other:key-of-theirs");
    assert_eq!(asked(&third, request("key-of-theirs", HELLO)).reason(), "RATE_LIMITED");
}

#[test]
fn a_key_that_gets_the_name_of_another_gets_nothing_of_its_caller() {
    let script = signed_in();
    let gateway = gateway(&script, "team:the-old-key");
    assert_eq!(asked(&gateway, request("the-old-key", REPEATABLE)).header("x-cache"), "MISS");
    assert_eq!(asked(&gateway, with_idempotency_key("the-old-key", HELLO)).status, 200);
    assert_eq!(asked(&gateway, request("the-old-key", HELLO)).status, 200);
    assert_eq!(asked(&gateway, request("the-old-key", HELLO)).reason(), "RATE_LIMITED");

    gateway.1.reload(&settings(&of_team("team:the-new-key")));
    assert_eq!(asked(&gateway, request("the-old-key", HELLO)).reason(), "API_KEY_INVALID");
    assert_eq!(asked(&gateway, request("the-new-key", REPEATABLE)).header("x-cache"), "MISS");
    let other = HELLO.replace("Hello", "Bye");
    let answer = asked(&gateway, with_idempotency_key("the-new-key", &other));
    assert_eq!((answer.status.as_u16(), answer.header("x-cache")), (200, "MISS"));
    assert_eq!(asked(&gateway, request("the-new-key", HELLO)).status, 200);
}

#[test]
fn an_answer_stored_under_the_key_of_another_request_is_not_used() {
    let script = signed_in();
    let writer = unlimited(&script, "team:key-of-ours");
    asked(&writer, request("key-of-ours", REPEATABLE));
    let (key, stored) = script.stored_with_prefix("answer/").pop().expect("the answer is stored");
    let other = REPEATABLE.replace("Hello", "Bye");
    asked(&writer, request("key-of-ours", &other));
    let all = script.stored_with_prefix("answer/");
    let (other_key, _) = all.iter().find(|(name, _)| *name != key).expect("two answers");
    // Planted, or renamed by mistake.
    script.put(other_key, stored.clone());
    let reader = unlimited(&script, "team:key-of-ours");
    let answer = asked(&reader, request("key-of-ours", &other));
    assert_eq!((answer.status.as_u16(), answer.header("x-cache")), (200, "MISS"));

    // An answer that does not say whose it is: an earlier version wrote it.
    let head = String::from_utf8_lossy(&stored).replacen(r#""key":"#, r#""of":"#, 1);
    script.put(&key, head);
    let reader = unlimited(&script, "team:key-of-ours");
    assert_eq!(asked(&reader, request("key-of-ours", REPEATABLE)).header("x-cache"), "MISS");
    script.put(&key, stored);
    let reader = unlimited(&script, "team:key-of-ours");
    assert_eq!(asked(&reader, request("key-of-ours", REPEATABLE)).header("x-cache"), "HIT");
}
