//! No secret in any output, error or answer.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get, post};
use serde_json::{Value, json};

use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

#[test]
fn no_secret_is_in_any_log_error_or_answer() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"client_id": "own-client", "client_secret": "GOCSPX-hush-client",
        "rotate_refresh": true}));
    let mut login: Value = serde_json::from_str(&google.expired_credentials()).unwrap();
    login["client_id"] = json!("own-client");
    login["client_secret"] = json!("GOCSPX-hush-client");
    login["id_token"] = json!("eyJhush-id-token");
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&login.to_string())
        .env("LOG_LEVEL", "trace")
        .env("OAUTH_CLIENT_SECRET", "GOCSPX-hush-setting")
        .env("PROXY_API_KEYS", "named:hush-key-one,hush-key-two")
        .env("MAX_RETRY_ATTEMPTS", "0");
    let proxy = setup.start();
    let mut output = String::new();
    let mut ask = |request: Vec<u8>| {
        let answer = proxy.send(request);
        // Headers may not contain a secret either.
        output.push_str(&format!("{:?}", answer.head));
        output.push_str(&answer.text());
    };
    let key = "x-goog-api-key: hush-key-one";
    // base64 of named:hush-key-two
    let basic = "Authorization: Basic bmFtZWQ6aHVzaC1rZXktdHdv";
    let bodies = [HELLO, "[]", "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"nope\":1}]}]}"];
    let rounds = [
        json!([]),
        json!({"match": {"rpc": "generateContent"}, "status": 401, "times": 2}),
        json!({"match": {"rpc": "streamGenerateContent"}, "status": 500, "times": 2}),
        json!({"match": {"rpc": "streamGenerateContent"}, "cut_after_bytes": 50, "times": 2}),
        json!({"match": {"rpc": "generateContent"}, "close_before_head": true}),
        json!({"match": {"rpc": "countTokens"}, "body": "<html>"}),
    ];
    for rule in rounds {
        google.add_rules(rule);
        for path in [GENERATE, STREAM, ARRAY, COUNT] {
            let join = if path.contains('?') { '&' } else { '?' };
            let query = format!(
                "{path}{join}key=hush-key-two&access_token=hush-query-1&oauth_token=hush-query-2&x=hush-query-3"
            );
            for body in bodies {
                ask(post(path, &[key], body));
                ask(post(&query, &[], body));
                ask(post(path, &[basic], body));
                ask(post(path, &["Authorization: Bearer hush-wrong-key"], body));
                ask(post(path, &["x-api-key: hush-wrong-key"], body));
            }
        }
        google.clear_rules();
    }
    for path in ["/", "/health", "/health/detailed", "/metrics", "/nothing", "/v1beta/models"] {
        ask(get(path, &[key]));
        ask(get(&format!("{path}?key=hush-wrong-key&x=hush-query-3"), &[]));
        ask(get(&format!("{path}?key=hush-key-two&x=hush-query-3"), &[]));
    }
    // A refresh that fails in every way, and credentials that are refused.
    google.set_state(json!({"expire_tokens": true, "token_body": "{\"error\":\"server_error\"}", "token_status": 503}));
    ask(post(GENERATE, &[key], HELLO));
    google.set_state(json!({"token_body": null, "token_status": null, "revoke_refresh": true}));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    ask(post(GENERATE, &[key], HELLO));

    let mut secrets: Vec<String> =
        ["hush", "bmFtZWQ6aHVzaC1rZXktdHdv", "GOCSPX"].map(str::to_owned).into();
    // Every token that was ever used, by their common prefix.
    secrets.extend(["ya29.", "1//emulator-refresh"].map(str::to_owned));
    let seen = google.log();
    let sent = serde_json::to_string(&seen).unwrap();
    assert!(sent.contains("ya29.") && sent.contains("GOCSPX-hush-client"), "they were in play");
    assert!(sent.contains("1%2F%2Femulator-refresh"), "they were in play");
    let (stdout, stderr) = proxy.into_output();
    assert!(stdout.contains("DEBUG") || stdout.contains("TRACE") || stdout.contains("\"request\""));
    assert!(output.len() > 10_000 && stdout.len() > 10_000);
    for (place, text) in [("an answer", &output), ("stdout", &stdout), ("stderr", &stderr)] {
        for secret in &secrets {
            if let Some(at) = text.find(secret.as_str()) {
                let from = text[..at].char_indices().rev().nth(150).map_or(0, |(at, _)| at);
                panic!("{secret} is in {place}: …{}…", &text[from..at + secret.len()]);
            }
        }
    }
}
