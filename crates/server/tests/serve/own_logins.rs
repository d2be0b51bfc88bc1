//! Keys with a login of their own, through the real binary: the emulator sees each request with the right
//! token and project, and what happens to one login has no effect on another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, Response, post};
use serde_json::{Value, json};

use crate::{GENERATE, STREAM};

const FILE: &str = "c.toml";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";

/// The keys, and the beginning of the access tokens and the project that each has to be seen with.
const KEYS: [(&str, &str, &str); 3] = [
    ("ada", "Bearer ya29.emulator-of-ada-", "project-of-ada"),
    ("ben", "Bearer ya29.emulator-of-ben-", "project-of-ben"),
    ("eve", "Bearer ya29.emulator-0", "emulator-project"),
];

/// The tables: `ada` has her login in a file, `ben` has his in the table, `eve` uses the operator's.
fn tables(google: &GoogleEmulator) -> String {
    let ben = google.credentials_of("ben");
    format!(
        "[[key]]\nid = \"ada\"\nkey = \"key-of-ada-123456\"\ncredentials = \"~/ada.json\"\n\
         [[key]]\nid = \"ben\"\nkey = \"key-of-ben-123456\"\ncredentials = '{ben}'\n\
         [[key]]\nid = \"eve\"\nkey = \"key-of-eve-123456\"\nadmin = true\n"
    )
}

fn start(google: &GoogleEmulator) -> Proxy {
    let builder = ProxyBuilder::for_emulator(google)
        .env("CODE_ASSIST_PROXY_CONFIG", FILE)
        .env("RETRY_BASE_DELAY_MS", "10")
        .env("MAX_RETRY_ATTEMPTS", "0");
    builder.write("ada.json", google.credentials_of("ada"));
    builder.write(FILE, tables(google));
    builder.start()
}

fn request(id: &str, path: &str, text: &str) -> Vec<u8> {
    let key = format!("x-goog-api-key: key-of-{id}-123456");
    let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    post(path, &[&key], body.to_string())
}

/// Sends a request that differs from all others: a breaker counts equal ones once.
fn generate(proxy: &Proxy, id: &str) -> Response {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    proxy.send(request(id, GENERATE, &format!("from {id}. {number}")))
}

/// Fails if a call in the log was sent with another token or project than that of the key which its text
/// names. Returns how many calls there were.
#[track_caller]
fn check_log(google: &GoogleEmulator) -> usize {
    let log = google.log();
    let calls = log.iter().filter(|call| {
        let rpc = call["rpc"].as_str().unwrap_or_default();
        ["countTokens", "generateContent", "streamGenerateContent"].contains(&rpc)
    });
    let mut count = 0;
    for call in calls {
        let body = call["body"].as_str().expect("a short body");
        let (_, after) = body.split_once("from ").expect("a text that names the key");
        let id = after.split('.').next().unwrap_or_default();
        let (_, token, project) = KEYS.iter().find(|key| key.0 == id).expect("one of the keys");
        let sent = call["headers"]["authorization"].as_str().unwrap_or_default();
        assert!(sent.starts_with(token), "a request of {id} was sent with {sent}");
        let named = serde_json::from_str::<Value>(body).expect("JSON")["project"].clone();
        if call["rpc"] != "countTokens" {
            assert_eq!(named, *project, "a request of {id}");
        }
        count += 1;
    }
    count
}

#[test]
fn ten_thousand_mixed_requests_go_out_with_the_token_and_the_project_of_their_keys() {
    const ROUNDS: usize = 2;
    const CLIENTS: usize = 8;
    const EACH: usize = 10_000 / ROUNDS / CLIENTS;
    let google = GoogleEmulator::start();
    let proxy = start(&google);
    let began = Instant::now();
    for round in 0..ROUNDS {
        google.clear_log();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut connection = proxy.connect();
                    for n in 0..EACH {
                        let id = KEYS[(n * 7 + client + n / 5) % 3].0;
                        let path = [GENERATE, STREAM, COUNT, GENERATE][(n + client) % 4];
                        let text = format!("from {id}. {round} {client} {n}");
                        let response = connection.send(request(id, path, &text));
                        assert_eq!(response.status(), 200, "{id} {path}: {}", response.text());
                        assert!(path != GENERATE || response.text().contains(&text), "{text}");
                        assert!(began.elapsed() < Duration::from_secs(240), "it takes too long");
                    }
                });
            }
            // Tokens expire in the middle: 401, a refresh, the same request again.
            thread::sleep(Duration::from_millis(300));
            google.set_state(json!({"expire_tokens": true}));
        });
        assert!(check_log(&google) >= CLIENTS * EACH);
    }
}

#[test]
fn a_login_that_fails_is_felt_by_its_own_key_only() {
    let google = GoogleEmulator::start();
    let proxy = start(&google);
    let statuses = || KEYS.map(|(id, ..)| generate(&proxy, id).status());
    assert_eq!(statuses(), [200, 200, 200]);

    google.set_logins(json!({"ada": {"exhausted": true}}));
    assert_eq!(statuses(), [429, 200, 200]);
    google.set_logins(json!({"ada": {"exhausted": false}, "ben": {"status": 503}}));
    for _ in 0..8 {
        assert_eq!(statuses(), [429, 503, 200], "the quota is remembered");
    }
    assert_eq!(generate(&proxy, "ben").reason(), "CIRCUIT_OPEN");
    // The operator's account fails, and the keys with a login go on.
    google.set_state(json!({"account": "ineligible"}));
    google.set_logins(json!({"ben": {"status": null}}));
    let health = proxy.get("/health").json();
    assert_eq!(
        (&health["status"], &health["upstream_status"]),
        (&json!("healthy"), &json!("healthy"))
    );
    assert_eq!(generate(&proxy, "eve").status(), 403);
    check_log(&google);
}

#[test]
fn a_refused_login_is_its_holders_error_until_the_file_has_another_one() {
    let google = GoogleEmulator::start();
    google.set_logins(json!({"ada": {"revoked": true}, "ben": {"token_delay_ms": 4000}}));
    let proxy = start(&google);
    // The regular work of one login does not wait for that of another.
    let began = Instant::now();
    let refused = generate(&proxy, "ada");
    assert_eq!(refused.status_and_reason(), (503, "CREDENTIALS_REJECTED".to_owned()));
    assert!(refused.text().contains("your own Google login"), "{}", refused.text());
    assert_eq!(generate(&proxy, "eve").status(), 200);
    assert!(began.elapsed() < Duration::from_millis(3500), "{:?}", began.elapsed());
    assert_eq!(generate(&proxy, "ben").status(), 200);
    let ready = proxy.get("/ready");
    assert_eq!(ready.status(), 200, "{}", ready.text());
    let detailed = proxy
        .send(code_assist_harness::get("/health/detailed", &["x-goog-api-key: key-of-eve-123456"]));
    assert_eq!(detailed.json()["checks"]["key_logins"][0]["key"], "ada");
    assert!(!detailed.text().contains("1//") && !detailed.text().contains("ya29."));

    google.set_logins(json!({"ada": {"revoked": false}}));
    std::fs::write(proxy.path("ada.json"), format!("{} ", google.credentials_of("ada")))
        .expect("a writable folder");
    while generate(&proxy, "ada").status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "the new login is not taken");
        thread::sleep(Duration::from_millis(50));
    }
    check_log(&google);
    let output = proxy.stdout();
    assert!(!output.contains("1//emulator") && !output.contains("key-of-ada"), "{output}");
}

#[test]
fn check_has_a_block_for_each_login_of_a_key() {
    let google = GoogleEmulator::start();
    google.set_logins(json!({"ada": {"revoked": true}}));
    let builder = ProxyBuilder::for_emulator(&google);
    builder.write("ada.json", google.credentials_of("ada"));
    builder.write(FILE, tables(&google));
    let mut command = builder.command(&["check"]);
    command.env("CODE_ASSIST_PROXY_CONFIG", FILE).envs([
        ("CODE_ASSIST_ENDPOINT", google.url()),
        ("OAUTH_TOKEN_URL", google.token_url()),
        ("OAUTH_TOKENINFO_URL", google.tokeninfo_url()),
        ("GCP_SERVICE_ACCOUNT", google.credentials()),
    ]);
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "a key's login is not the operator's: {text}");
    assert!(text.contains("key ada") && text.contains("your own Google login"), "{text}");
    assert!(text.contains("project-of-ben (discovered)"), "{text}");
}
