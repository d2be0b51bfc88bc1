//! Every setting has a test that shows its effect: the table says which, and is checked.

use code_assist_harness::{GoogleEmulator, ProxyBuilder};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use code_assist_core::settings::KNOBS;
use serde_json::Value;

/// Setting, file below `tests`, test. The test's text has to name the setting.
const PROOFS: &[(&str, &str, &str)] = &[
    ("HOST", "settings.rs", "host_is_where_it_listens"),
    ("PORT", "serve/start.rs", "a_port_that_is_taken_is_told_and_ends_with_1"),
    (
        "PROXY_API_KEYS",
        "conformance/access.rs",
        "a_missing_or_wrong_key_is_a_401_and_nothing_leaves",
    ),
    ("ALLOW_UNAUTHENTICATED", "serve/start.rs", "a_public_address_without_keys_is_refused"),
    ("ALLOWED_ORIGINS", "conformance/access.rs", "web_pages_get_in_only_from_allowed_origins"),
    ("TRUST_FORWARDED_FOR", "faults/limits.rs", "rate_limit_forged"),
    ("RATE_LIMIT_MAX_REQUESTS", "faults/limits.rs", "rate_limit"),
    ("RATE_LIMIT_WINDOW_MS", "faults/limits.rs", "rate_limit"),
    (
        "GOOGLE_CLOUD_ACCESS_TOKEN",
        "conformance/credentials.rs",
        "every_variable_with_credentials_serves",
    ),
    ("GCP_SERVICE_ACCOUNT", "conformance/credentials.rs", "every_variable_with_credentials_serves"),
    ("GEMINI_OAUTH_CREDS_FILE", "serve/credentials.rs", "a_file_serves_wherever_it_is_said_to_be"),
    ("OAUTH_CLIENT_ID", "conformance/settings.rs", "version_aliases_and_oauth_client_are_settings"),
    (
        "OAUTH_CLIENT_SECRET",
        "conformance/settings.rs",
        "version_aliases_and_oauth_client_are_settings",
    ),
    ("GEMINI_PROJECT_ID", "conformance/project.rs", "a_project_that_is_set_is_used_without_asking"),
    ("PROJECT_ID_CACHE_TTL_HOURS", "settings.rs", "a_project_is_kept_as_long_as_was_set"),
    (
        "TOKEN_REFRESH_BUFFER_MINUTES",
        "conformance/settings.rs",
        "a_token_is_renewed_as_early_as_was_set",
    ),
    ("TOKEN_CACHE_TTL_HOURS", "settings.rs", "a_token_is_stored_as_long_as_was_set"),
    (
        "VALIDATE_TOKENS_BEFORE_USE",
        "conformance/credentials.rs",
        "a_loaded_token_is_validated_once",
    ),
    ("KV_URL", "serve/start.rs", "a_killed_proxy_finds_token_and_project_again"),
    ("KV_ENCRYPTION_KEY", "settings.rs", "entries_are_sealed_with_the_key_that_was_set"),
    (
        "CODE_ASSIST_ENDPOINT",
        "conformance/errors.rs",
        "an_upstream_that_refuses_the_connection_is_unavailable",
    ),
    (
        "CODE_ASSIST_API_VERSION",
        "conformance/settings.rs",
        "version_aliases_and_oauth_client_are_settings",
    ),
    ("OAUTH_TOKEN_URL", "faults/credentials.rs", "token_endpoint_down"),
    ("OAUTH_TOKENINFO_URL", "conformance/settings.rs", "tokens_are_validated_where_was_set"),
    (
        "ENABLE_CONNECTION_POOLING",
        "serve/wiring.rs",
        "upstream_connections_are_kept_unless_told_otherwise",
    ),
    ("CONNECTION_TIMEOUT_MS", "faults/network.rs", "connect_stalls"),
    ("FIRST_BYTE_TIMEOUT_MS", "faults/network.rs", "half_open"),
    ("STREAM_IDLE_TIMEOUT_MS", "faults/network.rs", "silent_mid_stream"),
    (
        "KEEP_ALIVE_TIMEOUT_MS",
        "serve/wiring.rs",
        "an_idle_upstream_connection_is_closed_after_its_time",
    ),
    ("MODEL_ALIASES", "conformance/settings.rs", "version_aliases_and_oauth_client_are_settings"),
    (
        "ENABLE_MODEL_NAME_CACHE",
        "conformance/settings.rs",
        "the_catalogue_is_kept_unless_told_otherwise",
    ),
    ("MAX_RETRY_ATTEMPTS", "faults/tries.rs", "error_500_always"),
    (
        "RETRY_BASE_DELAY_MS",
        "conformance/settings.rs",
        "pauses_between_tries_are_as_long_as_was_set",
    ),
    (
        "RETRY_MAX_DELAY_MS",
        "conformance/settings.rs",
        "pauses_between_tries_are_as_long_as_was_set",
    ),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "faults/sharing.rs", "cached_while_open"),
    ("CIRCUIT_BREAKER_TIMEOUT_MS", "faults/tries.rs", "recovery"),
    (
        "MAX_REQUEST_BODY_BYTES",
        "conformance/bytes.rs",
        "a_body_beyond_the_limit_is_a_413_however_it_comes",
    ),
    ("MAX_EVENT_BYTES", "faults/answers.rs", "event_too_long"),
    ("MAX_CONCURRENT_REQUESTS", "faults/limits.rs", "one_at_a_time"),
    ("QUEUE_TIMEOUT_MS", "faults/limits.rs", "queue_timeout"),
    (
        "REQUEST_DEDUP_WINDOW_MS",
        "conformance/settings.rs",
        "equal_requests_are_shared_as_long_as_was_set",
    ),
    ("RESPONSE_CACHE_TTL_SECONDS", "faults/sharing.rs", "cached_answer"),
    ("RESPONSE_CACHE_MAX_BYTES", "faults/sharing.rs", "cache_full"),
    (
        "SHUTDOWN_GRACE_MS",
        "serve/shutdown.rs",
        "a_stream_beyond_the_grace_ends_with_a_proper_error",
    ),
    ("LOG_LEVEL", "serve/wiring.rs", "logs_have_the_level_and_the_form_that_were_asked_for"),
    ("LOG_FORMAT", "serve/wiring.rs", "logs_have_the_level_and_the_form_that_were_asked_for"),
    ("HTTPS_PROXY", "faults/network.rs", "corporate_proxy_refuses"),
    ("HTTP_PROXY", "serve/wiring.rs", "the_corporate_proxy_is_used_and_no_proxy_is_kept_to"),
    ("NO_PROXY", "serve/wiring.rs", "the_corporate_proxy_is_used_and_no_proxy_is_kept_to"),
    ("SSL_CERT_FILE", "faults/network.rs", "tls_certificate_unknown"),
];

#[test]
fn every_setting_has_a_test_that_names_it() {
    let proven: BTreeSet<&str> = PROOFS.iter().map(|(name, ..)| *name).collect();
    let known: BTreeSet<&str> = KNOBS.iter().map(|knob| knob.name).collect();
    let missing: Vec<_> = known.difference(&proven).collect();
    assert!(missing.is_empty(), "without a test that shows their effect: {missing:?}");
    let gone: Vec<_> = proven.difference(&known).collect();
    assert!(gone.is_empty(), "no settings any more: {gone:?}");
    for (name, file, test) in PROOFS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let text = fs::read_to_string(&path).expect("a file of ours");
        let begin = text.find(&format!("fn {test}(")).expect("a test of that name");
        let end = text[begin..].find("\n}\n").expect("an end");
        let named = text[begin..begin + end].contains(&format!("\"{name}\""));
        assert!(named, "{file}: {test} says nothing of {name}");
    }
}

#[test]
fn host_is_where_it_listens() {
    let proxy = ProxyBuilder::without_upstream().env("HOST", "127.0.0.2").start();
    assert!(proxy.address().starts_with("127.0.0.2:"), "{}", proxy.address());
    assert_eq!(proxy.get("/health").status(), 200);
    let elsewhere = proxy.address().replace("127.0.0.2", "127.0.0.1");
    assert!(std::net::TcpStream::connect(elsewhere).is_err(), "it listens elsewhere too");
}

#[test]
fn a_project_is_kept_as_long_as_was_set() {
    for (hours, seconds) in [("0.1", 360), ("2", 7200)] {
        let google = GoogleEmulator::start();
        let setup = ProxyBuilder::for_emulator(&google).env("PROJECT_ID_CACHE_TTL_HOURS", hours);
        let entry = stored(setup, "project_id_cache");
        let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).unwrap();
        let left = value["ttl"].as_u64().expect("a time") / 1000 - now();
        assert!((seconds - 20..=seconds).contains(&left), "{left} s left of {hours} h");
    }
}

#[test]
fn entries_are_sealed_with_the_key_that_was_set() {
    let (old, new) = ("0f".repeat(32), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
    let url = format!("file:{}", setup.path("kv.redb").display());
    let setup = setup.env("KV_URL", &url).env("KV_ENCRYPTION_KEY", &old);
    let kv = |words: &[&str], key: &str| {
        let mut kv = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"));
        kv.env_clear().env("HOME", setup.path(".")).env("KV_URL", &url);
        kv.args(["kv"]).args(words).env("KV_ENCRYPTION_KEY", key).output().expect("it runs")
    };
    let export = |key: &str| -> Vec<Value> {
        serde_json::from_slice(&kv(&["export"], key).stdout).expect("an export")
    };
    let asked = |key: &str| {
        let proxy = setup.same_home_with_env("KV_ENCRYPTION_KEY", key).start();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        // Written after the answer.
        thread::sleep(Duration::from_millis(300));
        let (stdout, stderr) = proxy.into_output();
        format!("{stdout}{stderr}")
    };

    asked(&old);
    let sealed = export(&old);
    assert!(sealed.iter().any(|entry| entry["key"] == "oauth_token_cache"), "{sealed:?}");
    assert!(sealed.iter().all(|entry| entry["base64"] == true), "all are sealed: {sealed:?}");
    let bytes = fs::read(setup.path("kv.redb")).expect("the store");
    for secret in [&b"ya29"[..], b"\"access_token\"", b"\"project_id\""] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "in the clear");
    }
    assert_eq!(google.count("token"), 1);

    // The old key still opens; what an import rewrites is the new one's.
    asked(&format!("{new},{old}"));
    assert_eq!(google.count("token"), 1);
    let file = setup.path("all.json").display().to_string();
    assert!(kv(&["export", &file], &old).status.success());
    assert!(!kv(&["import", &file], &new).status.success(), "that key opens none of it");
    assert!(kv(&["import", &file], &format!("{new},{old}")).status.success());
    asked(&new);
    assert_eq!(google.count("token"), 1);

    // With another key it is as if nothing were there, and that is told once.
    let said = asked(&old);
    assert_eq!(google.count("token"), 2);
    assert_eq!(said.matches("is left alone").count(), 1, "{said}");
    assert!(!said.contains(&old) && !said.contains(&new), "{said}");
}

#[test]
fn a_token_is_stored_as_long_as_was_set() {
    for (hours, seconds) in [("0.1", 360), ("0.5", 1800), ("1", 3599)] {
        let google = GoogleEmulator::start();
        let setup = ProxyBuilder::for_emulator(&google)
            .credentials(&google.expired_credentials())
            .env("TOKEN_CACHE_TTL_HOURS", hours);
        let left = stored(setup, "oauth_token_cache")["expiration"].as_u64().expect("a time");
        let left = left - now();
        assert!((seconds - 20..=seconds).contains(&left), "{left} s left of {hours} h");
    }
}

/// Serves a request from a store in a file, stops, and exports an entry of it.
#[track_caller]
fn stored(setup: ProxyBuilder, key: &str) -> Value {
    let file = setup.path("kv.redb");
    let url = format!("file:{}", file.display());
    let setup = setup.env("KV_URL", &url);
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    // Written after the answer.
    thread::sleep(Duration::from_millis(300));
    proxy.kill();
    let mut export = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"));
    let output = export.args(["kv", "export", "--kv-url", &url]).env("HOME", setup.path("."));
    let output = output.output().expect("the binary runs");
    let entries: Value = serde_json::from_slice(&output.stdout).expect("an export");
    let list = entries.as_array().expect("a list");
    list.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("{list:?}")).clone()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
