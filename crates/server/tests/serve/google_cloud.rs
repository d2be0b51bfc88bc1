//! Google Cloud's credentials, from the file to an answer of Vertex AI. The emulator checks each signature,
//! each field and each header.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_emulator as emulator;
use code_assist_emulator::{IdentityPool, Options, Played, SubjectSource};
use code_assist_harness::{GoogleEmulator, ProxyBuilder};
use serde_json::json;

use crate::{GENERATE, HELLO};

fn vertex() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::Vertex, ..Options::default() })
}

/// A proxy whose only upstream is the emulator's Vertex AI. `name` is `VERTEX_CREDENTIALS` or any other
/// variable.
fn setup(google: &GoogleEmulator, name: &str, value: &str) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "vertex")
        .env("VERTEX_PROJECT", emulator::VERTEX_PROJECT)
        .env("VERTEX_LOCATION", emulator::VERTEX_LOCATION)
        .env("VERTEX_ENDPOINT", google.url())
        .env("OAUTH_TOKEN_URL", google.token_url())
        .env("ALLOW_UNAUTHENTICATED", "true")
        .env(name, value)
}

#[test]
fn every_kind_of_credential_gets_an_answer() {
    let google = vertex();
    let url = google.url();
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = write("subject", emulator::SUBJECT_TOKEN);
    let json = write("subject.json", &emulator::subject_token_json());
    let external = |source, pool, impersonated| {
        emulator::external_account_json(&url, source, pool, impersonated)
    };
    let (work, force) = (IdentityPool::Workload, IdentityPool::Workforce);
    for (what, file) in [
        ("a service account", emulator::service_account_json(&url)),
        ("a login", emulator::authorized_user_json(&url)),
        ("a login that impersonates", emulator::impersonated_json(&url, true)),
        ("a service account that impersonates", emulator::impersonated_json(&url, false)),
        ("a text file", external(SubjectSource::TextFile(&text), work, false)),
        ("a JSON file", external(SubjectSource::JsonFile(&json), work, false)),
        ("a URL of text", external(SubjectSource::TextUrl, work, false)),
        ("a URL of JSON, impersonated", external(SubjectSource::JsonUrl, work, true)),
        ("AWS", external(SubjectSource::Aws, work, false)),
        ("AWS, impersonated", external(SubjectSource::Aws, work, true)),
        ("a workforce", external(SubjectSource::TextFile(&text), force, false)),
        (
            "a workforce with a client",
            external(SubjectSource::TextFile(&text), IdentityPool::WorkforceClient, false),
        ),
    ] {
        let path = write("credentials.json", &file);
        let proxy = setup(&google, "VERTEX_CREDENTIALS", &path).start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
    }
    // The JSON itself is taken too, and AWS' keys of the environment.
    let proxy = setup(&google, "VERTEX_CREDENTIALS", &external(SubjectSource::Aws, work, false))
        .env("AWS_REGION", emulator::AWS_REGION)
        .env("AWS_ACCESS_KEY_ID", emulator::AWS_ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", emulator::AWS_SECRET_ACCESS_KEY)
        .start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
}

#[test]
fn the_metadata_server_is_asked_past_the_corporate_proxy() {
    let google = vertex();
    let host = google.url().strip_prefix("http://").unwrap().to_owned();
    // Nothing listens there.
    let proxy =
        setup(&google, "GCE_METADATA_HOST", &host).env("HTTP_PROXY", "http://127.0.0.1:9").start();
    let answer = proxy.post(GENERATE, HELLO);
    // The emulator's Vertex AI is on the same host and port.
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn a_token_that_vertex_refuses_by_its_kind_is_exchanged() {
    let google = vertex();
    google.set_google_auth(json!({"refuse_self_signed": true}));
    let file = emulator::service_account_json(&google.url());
    let proxy = setup(&google, "VERTEX_CREDENTIALS", &file).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(google.count("token"), 1);
}

#[test]
fn a_refused_impersonation_names_the_role_until_the_file_changes() {
    let google = vertex();
    google.set_google_auth(json!({"iam_denied": true}));
    let setup = setup(&google, "VERTEX_CREDENTIALS", "");
    setup.write("credentials.json", emulator::impersonated_json(&google.url(), false));
    let path = setup.path("credentials.json");
    let proxy = setup.env("VERTEX_CREDENTIALS", path.display().to_string()).start();
    for _ in 0..3 {
        let refused = proxy.post(GENERATE, HELLO);
        assert_eq!(refused.status_and_reason(), (503, "CREDENTIALS_REJECTED".to_owned()));
        assert!(refused.text().contains("Service Account Token Creator"), "{}", refused.text());
    }
    assert_eq!(google.count("generateAccessToken"), 1);
    std::fs::write(&path, emulator::service_account_json(&google.url())).unwrap();
    let begun = Instant::now();
    while proxy.post(GENERATE, HELLO).status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the new file is not read");
        thread::sleep(Duration::from_millis(100));
    }
}
