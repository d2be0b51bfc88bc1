//! Vertex AI through the real binary, in front of the emulator, which is as strict as Google.

use code_assist_emulator::{
    Options, Played, VERTEX_LOCATION, VERTEX_PROJECT, authorized_user_json, service_account_json,
};
use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, Response, request};

use crate::{ARRAY, GENERATE, HELLO, STREAM};

const KEY: &str = "a-key-of-the-proxy-0123456789";
const THEIRS: &str = "/v1beta1/projects/theirs/locations/us-central1";

fn google() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::Vertex, ..Options::default() })
}

fn setup(google: &GoogleEmulator, credentials: &str) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "vertex")
        .env("VERTEX_PROJECT", VERTEX_PROJECT)
        .env("VERTEX_LOCATION", VERTEX_LOCATION)
        .env("VERTEX_ENDPOINT", google.url())
        .env("VERTEX_CREDENTIALS", credentials)
        .env("OAUTH_TOKEN_URL", google.token_url())
        .env("PROXY_API_KEYS", KEY)
}

fn ask(proxy: &Proxy, method: &str, path: &str, body: &str) -> Response {
    let headers = [
        &*format!("authorization: Bearer {KEY}"),
        "content-type: application/json",
        "x-goog-user-project: theirs",
    ];
    let answer = proxy.send(request(method, path, &headers, body.as_bytes()));
    assert_eq!(answer.status(), 200, "{method} {path} {}", answer.text());
    answer
}

#[test]
fn both_kinds_of_clients_generate_stream_and_count() {
    let google = google();
    let proxy = setup(&google, &service_account_json(&google.url())).start();
    let model = format!("{THEIRS}/publishers/google/models/gemini-2.5-flash");
    let without_project = "/v1/publishers/google/models/gemini-2.5-flash:generateContent";
    for path in [GENERATE, STREAM, ARRAY, without_project] {
        let answer = ask(&proxy, "POST", path, HELLO);
        assert!(answer.text().contains("finishReason"), "{path} {}", answer.text());
    }
    let answer = ask(&proxy, "POST", &format!("{model}:streamGenerateContent?alt=sse"), HELLO);
    assert!(answer.text().ends_with("\r\n\r\n"), "{:?}", answer.text());
    for path in
        [format!("{model}:countTokens"), "/v1beta/models/gemini-2.5-flash:countTokens".to_owned()]
    {
        assert!(ask(&proxy, "POST", &path, HELLO).json()["totalTokens"].is_u64(), "{path}");
    }
}

#[test]
fn both_kinds_of_clients_get_the_models_with_a_users_credentials() {
    let google = google();
    let proxy = setup(&google, &authorized_user_json(&google.url())).start();
    let list = ask(&proxy, "GET", "/v1beta/models?pageSize=2", "").json();
    assert_eq!(list["models"][0]["name"], "models/gemini-2.5-pro", "{list}");
    assert!(list["nextPageToken"].is_string(), "{list}");
    let one = ask(&proxy, "GET", "/v1beta/models/gemini-2.5-flash", "").json();
    assert_eq!(one["supportedGenerationMethods"][0], "generateContent", "{one}");
    let list = ask(&proxy, "GET", "/v1beta1/publishers/google/models", "").json();
    assert_eq!(list["publisherModels"][0]["name"], "publishers/google/models/gemini-2.5-pro");
}

#[test]
fn embeddings_images_and_videos_are_made() {
    let google = google();
    let proxy = setup(&google, &service_account_json(&google.url())).start();
    let text = r#"{"content":{"role":"user","parts":[{"text":"x"}]}}"#;
    for model in [format!("{THEIRS}/publishers/google/models"), "/v1beta/models".to_owned()] {
        let path = format!("{model}/gemini-embedding-001:embedContent");
        let answer = ask(&proxy, "POST", &path, text).json();
        assert!(answer["embedding"]["values"].is_array(), "{answer}");
        let path = format!("{model}/imagen-4.0-generate-001:predict");
        let answer = ask(&proxy, "POST", &path, r#"{"instances":[{"prompt":"a fish"}]}"#).json();
        assert!(answer["predictions"][0]["bytesBase64Encoded"].is_string(), "{answer}");
        let veo = format!("{model}/veo-3.1-generate-001");
        let started = ask(
            &proxy,
            "POST",
            &format!("{veo}:predictLongRunning"),
            r#"{"instances":[{"prompt":"a fish swims"}]}"#,
        );
        let name = started.json()["name"].as_str().unwrap().to_owned();
        let body = format!(r#"{{"operationName":"{name}"}}"#);
        let path = format!("{THEIRS}/publishers/google/models/veo-3.1-generate-001");
        ask(&proxy, "POST", &format!("{path}:fetchPredictOperation"), &body);
        let done = ask(&proxy, "POST", &format!("{path}:fetchPredictOperation"), &body).json();
        assert_eq!(done["done"], true, "{done}");
    }
}

#[test]
fn content_is_cached_used_changed_and_deleted_by_the_name_in_the_answer() {
    let google = google();
    let proxy = setup(&google, &service_account_json(&google.url())).start();
    let text = "word ".repeat(3000);
    for (create, model, version, generate) in [
        (
            format!("{THEIRS}/cachedContents"),
            "projects/theirs/locations/us-central1/publishers/google/models/gemini-2.5-flash",
            "v1beta1",
            format!("{THEIRS}/publishers/google/models/gemini-2.5-flash:generateContent"),
        ),
        (
            "/v1beta/cachedContents".to_owned(),
            "models/gemini-2.5-flash",
            "v1beta",
            GENERATE.to_owned(),
        ),
    ] {
        let body = format!(
            r#"{{"model":"{model}","contents":[{{"role":"user","parts":[{{"text":"{text}"}}]}}]}}"#
        );
        let created = ask(&proxy, "POST", &create, &body).json();
        let name = created["name"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
        let body = format!(
            r#"{{"cachedContent":"{name}","contents":[{{"role":"user","parts":[{{"text":"x"}}]}}]}}"#
        );
        let answer = ask(&proxy, "POST", &generate, &body).json();
        assert!(answer["candidates"].is_array(), "{answer}");
        let path = format!("/{version}/{name}");
        assert_eq!(ask(&proxy, "GET", &path, "").json()["name"], *name);
        ask(&proxy, "PATCH", &format!("{path}?updateMask=ttl"), r#"{"ttl":"60s"}"#);
        ask(&proxy, "DELETE", &path, "");
        assert!(ask(&proxy, "GET", &create, "").json()["cachedContents"][0].is_null());
    }
}

#[test]
fn a_client_of_openais_api_is_served_by_googles_own_endpoint() {
    let google = google();
    let proxy = setup(&google, &service_account_json(&google.url())).start();
    let path = format!("{THEIRS}/endpoints/openapi/chat/completions");
    let body = r#"{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
    let answer = ask(&proxy, "POST", &path, body);
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}
