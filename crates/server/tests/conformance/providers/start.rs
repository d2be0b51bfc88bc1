//! The settings of each provider, at the start.

use code_assist_emulator as emulator;
use code_assist_harness::{Provider, ProxyBuilder};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO};

#[test]
fn the_first_provider_with_a_credential_is_chosen() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).without_env("UPSTREAMS").start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}: {}", provider.name(), answer.text());
        let rpc = google.received("generateContent").pop().unwrap();
        let path = rpc["path"].as_str().unwrap();
        let begin = match provider {
            Provider::CodeAssist => "/v1internal:",
            Provider::GeminiApi => "/v1beta/models/",
            Provider::Vertex => "/v1beta1/projects/emulator-vertex-project/",
        };
        assert!(path.starts_with(begin), "{path}");
    }
}

#[test]
fn a_service_account_signs_its_own_tokens_and_asks_nothing_for_them() {
    let google = Provider::Vertex.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::Vertex, &google).start();
    for _ in 0..3 {
        // The emulator checks the signature and each claim.
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(google.count("token"), 0);
    let calls = google.received("generateContent");
    let tokens: Vec<&Value> = calls.iter().map(|call| &call["headers"]["authorization"]).collect();
    assert!(tokens[0].as_str().unwrap().starts_with("Bearer ey"), "{tokens:?}");
    assert!(tokens.iter().all(|token| *token == tokens[0]), "one token for all: {tokens:?}");
    // A token of this kind may be refused, and is exchanged then.
    google.set_google_auth(json!({"refuse_self_signed": true}));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(google.count("token"), 1);
}

#[test]
fn a_broken_key_of_a_service_account_is_named_and_not_printed() {
    let google = Provider::Vertex.emulator();
    let mut file: Value =
        serde_json::from_str(&emulator::service_account_json(&google.url())).unwrap();
    let key = file["private_key"].as_str().unwrap().to_owned();
    file["private_key"] = json!(key.replacen("MII", "AAA", 1));
    let proxy = ProxyBuilder::for_provider(Provider::Vertex, &google)
        .env("VERTEX_CREDENTIALS", file.to_string())
        .start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    let middle = &key[200..230];
    assert!(!answer.text().contains(middle) && !proxy.stdout().contains(middle));
    assert_eq!(google.log().len(), 0);
}

#[test]
fn a_login_and_an_impersonation_of_it_get_an_answer() {
    let google = Provider::Vertex.emulator();
    let url = google.url();
    for file in [
        emulator::authorized_user_json(&url),
        emulator::impersonated_json(&url, true),
        emulator::impersonated_json(&url, false),
    ] {
        let proxy = ProxyBuilder::for_provider(Provider::Vertex, &google)
            .env("VERTEX_CREDENTIALS", file)
            .start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

#[test]
fn a_key_of_express_mode_needs_no_project() {
    let google = Provider::Vertex.emulator();
    let proxy = ProxyBuilder::without_upstream()
        .env("VERTEX_API_KEY", emulator::VERTEX_API_KEY)
        .env("VERTEX_ENDPOINT", google.url())
        .start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let call = google.received("generateContent").pop().unwrap();
    let path = "/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent";
    assert_eq!(call["path"], path);
}

#[test]
fn a_worker_has_neither_a_metadata_server_nor_files_and_says_so() {
    let proxy = |credentials: Option<&str>| {
        let setup = ProxyBuilder::without_upstream()
            .env("UPSTREAMS", "vertex")
            .env("VERTEX_PROJECT", emulator::VERTEX_PROJECT)
            .env("VERTEX_ENDPOINT", "http://127.0.0.1:9")
            .env("NO_GCE_CHECK", "true");
        match credentials {
            Some(credentials) => setup.env("VERTEX_CREDENTIALS", credentials).start(),
            None => setup.start(),
        }
    };
    for credentials in [None, Some("/etc/service-account.json")] {
        let proxy = proxy(credentials);
        let answer = proxy.post(GENERATE, HELLO);
        if proxy.is_native() {
            // It starts, and complains.
            assert_eq!(answer.status(), 503, "{}", answer.text());
            continue;
        }
        assert_eq!(
            answer.status_and_reason(),
            (503, "SETTINGS_INVALID".into()),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("VERTEX_CREDENTIALS"), "{}", answer.text());
    }
}
