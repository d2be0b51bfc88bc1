//! Vertex AI and Google Cloud's credentials: where the operator's token and secrets go.

use std::thread;

use code_assist_emulator as emulator;
use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{
    ProxyBuilder, ReceivedRequest, ScriptedUpstream, TestProxy, post, request,
};
use serde_json::{Value, json};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Vertex AI and Google Cloud's credentials"
    both {
    }
    native {
        foreign_places: "projects, locations, models, endpoints, caches and methods of a client with dots, slashes, hosts, escapes, queries and other people's names",
            "the operator's project and location at the configured endpoint, with one token, or 4xx; never another host",
            because "not run against the Worker yet";
        foreign_names_in_bodies: "a body that names a cache, a model or an endpoint of another project",
            "the operator's project in its place, or 4xx", because "not run against the Worker yet";
        other_methods_of_vertex: "TRACE, PUT, `:setIamPolicy`, `:deployModel`, `customJobs` and what else the token could do",
            "404 or 405; only what is listed is copied", because "not run against the Worker yet";
        foreign_credential_urls: "credential files whose token, STS or impersonation URL is at another host, at a look-alike, with a login, or an upload into a bucket",
            "503 `CREDENTIALS_REJECTED` or exit 2, and nothing is sent there", because "a Worker has no files and no forward proxy";
        metadata_redirects: "a metadata server that redirects, or is another server", "503, and no request follows",
            because "a Worker asks no metadata server";
        secrets_of_credentials: "token endpoints that fail and repeat what they got, at `LOG_LEVEL=trace`",
            "no refresh token, client secret, private key, assertion or subject token in a log line or an error",
            because "not run against the Worker yet";
    }
    proved {
        credential_hosts: "URLs of a credential file, names that resemble Google's among them", "https below the configured domain and loopback only",
            by "crates/core/src/google/credentials/adc/tests/files.rs::secrets_are_posted_to_google_and_to_this_machine_only";
    }
}

const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}]}"#;

const OWN: &str = "projects/own-project/locations/us-central1/";

fn google() -> ScriptedUpstream {
    ScriptedUpstream::answering("200 OK", "Content-Type: application/json\r\n", WHOLE)
}

fn in_front_of(url: &str, credentials: &str) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "vertex")
        .env("VERTEX_PROJECT", "own-project")
        .env("VERTEX_LOCATION", "us-central1")
        .env("VERTEX_ENDPOINT", url)
        .env("VERTEX_CREDENTIALS", credentials)
}

fn with_account(upstream: &ScriptedUpstream) -> TestProxy {
    let account = emulator::service_account_json(&upstream.url());
    TestProxy::start(in_front_of(&upstream.url(), &account), &[])
}

/// Asserts that a request is in the operator's project, or outside of all, and has one token.
#[track_caller]
fn assert_own(received: &ReceivedRequest, upstream: &ScriptedUpstream, what: &str) {
    let lower = received.head.to_ascii_lowercase();
    let path = received.head.split(' ').nth(1).expect("a path");
    let path = path.split('?').next().expect("a path");
    let below =
        path.split_once("/v1/").or_else(|| path.split_once("/v1beta1/")).expect("a version");
    assert_eq!(below.0, "", "{what}: {path}");
    let is_own = below.1.starts_with(OWN) || below.1.starts_with("publishers/");
    assert!(is_own && !path.contains("..") && !path.contains('%'), "{what}: {path}");
    assert!(!path.contains("victim") && !path.contains("evil"), "{what}: {path}");
    let host = lower.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    assert_eq!(format!("http://{host}"), upstream.url(), "{what}");
    assert_eq!(lower.matches("\r\nauthorization: bearer ").count(), 1, "{what}");
    assert!(!lower.contains("client"), "{what}: {lower}");
}

fn foreign_places() -> Vec<Attacked> {
    let upstream = google();
    let proxy = with_account(&upstream);
    let google = "publishers/google/models";
    for path in [
        "/v1beta1/projects/victim/locations/global/publishers/google/models/m:generateContent"
            .to_owned(),
        "/v1/projects/victim/locations/europe-west4/endpoints/1:generateContent".to_owned(),
        "/v1/projects/victim/locations/europe-west4/cachedContents".to_owned(),
        format!("/v1/projects/../locations/global/{google}/m:generateContent"),
        format!("/v1/projects/%2e%2e/locations/global/{google}/m:generateContent"),
        format!("/v1/projects/victim/locations/evil.test%2f/{google}/m:generateContent"),
        format!("/v1/projects/victim/locations/evil.test/{google}/m:generateContent"),
        format!("/v1/projects/victim/locations/evil.test%23/{google}/m:generateContent"),
        format!("/v1/projects/victim/locations/@evil.test/{google}/m:generateContent"),
        format!("/v1/projects/victim/locations/-/{google}/m:generateContent"),
        format!("/v1/projects/a%2flocations%2fb/locations/global/{google}/m:generateContent"),
        format!("/v1/projects/victim%3f/locations/global/{google}/m:generateContent"),
        format!("/v1/{google}/..:generateContent"),
        format!("/v1/{google}/m%2f..%2f..%2f..%2fvictim:generateContent"),
        format!("/v1/{google}/m%3fkey=evil:generateContent"),
        format!("/v1/{google}/m%0d%0aHost:evil.test:generateContent"),
        format!("/v1/{google}/m:generateContent:evil"),
        format!("/v1/{google}/@evil.test:generateContent"),
        "/v1/publishers/..%2fgoogle/models/m:generateContent".to_owned(),
        "/v1/publishers/../../models/m:predict".to_owned(),
        "/v1/projects/victim/locations/global/cachedContents/..%2f..%2fendpoints".to_owned(),
        "/v1/projects/victim/locations/global/cachedContents/../endpoints".to_owned(),
        "/v1/projects/victim/locations/global/operations/evil%5c".to_owned(),
        "/v1beta/models/projects%2fvictim%2flocations%2fglobal%2fendpoints%2f1:generateContent"
            .to_owned(),
        "/v1beta/cachedContents/..%2fendpoints".to_owned(),
        "/v1beta/cachedContents".to_owned(),
        "//evil.test/v1/publishers/google/models/m:generateContent".to_owned(),
        GENERATE.to_owned(),
    ] {
        let seen = upstream.received().len();
        let headers = [
            "Authorization: Bearer client",
            "x-goog-user-project: client",
            "x-goog-api-key: client",
        ];
        let mut connection = proxy.connect();
        connection.write(post(&format!("{path}?key=client&$userProject=client"), &headers, HELLO));
        let status = connection.try_head().map_or(400, |head| head.status);
        let received = upstream.received();
        if status == 200 {
            for one in &received[seen..] {
                assert_own(one, &upstream, &path);
            }
            assert!(received.len() > seen, "{path}");
        } else {
            assert!([400, 404, 405].contains(&status), "{path}: {status}");
            assert_eq!(received.len(), seen, "{path}: {:?}", received.last());
        }
    }
    vec![proxy.into()]
}

fn foreign_names_in_bodies() -> Vec<Attacked> {
    let upstream = google();
    let proxy = with_account(&upstream);
    let cache = "projects/victim/locations/us-central1/cachedContents/1";
    let model = "projects/victim/locations/us-central1/publishers/google/models/m";
    let contents = json!([{"role": "user", "parts": [{"text": "Hello"}]}]);
    for (path, body) in [
        (
            "/v1/publishers/google/models/m:generateContent",
            json!({"contents": contents, "cachedContent": cache}),
        ),
        (
            "/v1/publishers/google/models/m:countTokens",
            json!({"contents": contents, "model": model}),
        ),
        (
            "/v1/projects/p/locations/l/cachedContents",
            json!({"model": model, "contents": contents}),
        ),
        (
            "/v1/projects/p/locations/l/cachedContents",
            json!({"model": "projects/victim/locations/us-central1/endpoints/1"}),
        ),
    ] {
        let seen = upstream.received().len();
        let answer = proxy.post(path, body.to_string());
        let received = upstream.received();
        let (status, text) = (answer.status(), answer.text());
        assert!([200, 400].contains(&status), "{path}: {status} {text}");
        for one in &received[seen..] {
            assert!(!one.text().contains("victim"), "{path}: {}", one.text());
        }
    }
    vec![proxy.into()]
}

fn other_methods_of_vertex() -> Vec<Attacked> {
    let upstream = google();
    let proxy = with_account(&upstream);
    let seen = upstream.received().len();
    let place = "/v1/projects/p/locations/l";
    for (method, path) in [
        ("TRACE", "ragCorpora/1"),
        ("PUT", "ragCorpora/1"),
        ("TRACE", "endpoints/1"),
        ("TRACE", "cachedContents"),
        ("CONNECT", "ragCorpora/1"),
        ("POST", "endpoints/1:deployModel"),
        ("POST", "endpoints/1:setIamPolicy"),
        ("POST", "models/1:setIamPolicy"),
        ("POST", "ragCorpora/1:setIamPolicy"),
        ("POST", "customJobs"),
        ("POST", "pipelineJobs"),
        ("POST", "endpoints"),
        ("DELETE", "endpoints/1"),
        ("DELETE", "models/1"),
        ("POST", "reasoningEngines/1:query"),
        ("GET", "datasets"),
        ("POST", "models:upload"),
    ] {
        let mut connection = proxy.connect();
        connection.write(request(method, &format!("{place}/{path}"), &[], b"{}"));
        let status = connection.try_head().map_or(400, |head| head.status);
        assert!([400, 404, 405].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(upstream.received().len(), seen, "{:?}", upstream.received().last());
    vec![proxy.into()]
}

fn foreign_credential_urls() -> Vec<Attacked> {
    let upstream = google();
    // Everything that is not of this machine goes through it.
    let forward = ScriptedUpstream::answering("502 Bad Gateway", "", "");
    let base = upstream.url();
    let account = |url: &str| changed(&emulator::service_account_json(&base), "token_uri", url);
    let subject = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(subject.path(), "SUBJECT").expect("a writable file");
    let path = subject.path().display().to_string();
    let external = |name: &str, url: &str| {
        let source = emulator::SubjectSource::TextFile(&path);
        let pool = emulator::IdentityPool::Workload;
        changed(&emulator::external_account_json(&base, source, pool, true), name, url)
    };
    let impersonated = |url: &str| {
        changed(&emulator::impersonated_json(&base, true), "service_account_impersonation_url", url)
    };
    let mut attacked = Vec::new();
    let urls = [
        "https://evil.test/token",
        "https://sts.googleapis.com.evil.test/v1/token",
        "https://sts.googleapis.com@evil.test/v1/token",
        "http://sts.googleapis.com/v1/token",
        "https://storage.googleapis.com/upload/storage/v1/b/evil/o?uploadType=media&name=x",
    ];
    for url in urls {
        for file in [
            account(url),
            external("token_url", url),
            external("service_account_impersonation_url", url),
            impersonated(url),
        ] {
            let setup = in_front_of(&base, &file)
                .env("HTTPS_PROXY", forward.url())
                .env("HTTP_PROXY", forward.url())
                .env("NO_PROXY", "127.0.0.1")
                .env("MAX_RETRY_ATTEMPTS", "0");
            let output = setup
                .command(&["config"])
                .envs([
                    ("UPSTREAMS", "vertex"),
                    ("VERTEX_CREDENTIALS", &*file),
                    ("VERTEX_PROJECT", "p"),
                ])
                .output()
                .expect("it runs");
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(text.contains("secrets are sent to no other server"), "{url}: {text}");
                continue;
            }
            let proxy = TestProxy::start(setup, &[]);
            let answer = proxy.post(GENERATE, HELLO);
            let rejected = (503, "CREDENTIALS_REJECTED".to_owned());
            assert_eq!(answer.status_and_reason(), rejected, "{url}: {}", answer.text());
            attacked.push(Attacked::without_upstream(proxy));
        }
    }
    assert!(forward.received().is_empty(), "{:?}", forward.received().last());
    assert!(upstream.received().is_empty(), "{:?}", upstream.received().last());
    attacked
}

fn changed(file: &str, name: &str, value: &str) -> String {
    let mut file: Value = serde_json::from_str(file).expect("JSON");
    file[name] = value.into();
    file.to_string()
}

fn metadata_redirects() -> Vec<Attacked> {
    let upstream = google();
    let other = ScriptedUpstream::answering(
        "200 OK",
        "Metadata-Flavor: Google\r\n",
        r#"{"access_token":"ya29.evil","expires_in":3599,"token_type":"Bearer"}"#,
    );
    let to = format!("Location: {}/token\r\nMetadata-Flavor: Google\r\n", other.url());
    let servers = [
        ScriptedUpstream::answering("302 Found", &to, ""),
        ScriptedUpstream::answering("307 Temporary Redirect", &to, ""),
        // Without the header that says so, it is no metadata server.
        ScriptedUpstream::answering(
            "200 OK",
            "",
            r#"{"access_token":"ya29.evil","expires_in":3599}"#,
        ),
    ];
    let attack = |server: &ScriptedUpstream| {
        let host = server.url().trim_start_matches("http://").to_owned();
        let setup = in_front_of(&upstream.url(), "")
            .without_env("VERTEX_CREDENTIALS")
            .env("GCE_METADATA_HOST", host);
        let proxy = TestProxy::start(setup, &[("MAX_RETRY_ATTEMPTS", "0")]);
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 503, "{}", answer.text());
        Attacked::without_upstream(proxy)
    };
    let attacked = thread::scope(|scope| {
        let all: Vec<_> =
            servers.iter().map(|server| scope.spawn(move || attack(server))).collect();
        all.into_iter().map(|one| one.join().expect("an attack")).collect()
    });
    assert!(other.received().is_empty());
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    attacked
}

fn secrets_of_credentials() -> Vec<Attacked> {
    let upstream = google();
    let base = upstream.url();
    let subject = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(subject.path(), emulator::SUBJECT_TOKEN).expect("a writable file");
    let path = subject.path().display().to_string();
    let mut attacked = Vec::new();
    for (status, shape) in [
        ("400 Bad Request", r#"{"error":"invalid_grant","error_description":"TEXT"}"#),
        ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"TEXT"}"#),
        (
            "403 Forbidden",
            r#"{"error":{"code":403,"message":"TEXT","status":"PERMISSION_DENIED"}}"#,
        ),
        ("500 Internal Server Error", "TEXT"),
        ("200 OK", r#"{"access_token":7,"TEXT":1}"#),
    ] {
        let endpoint = ScriptedUpstream::new(move |request, connection| {
            let said = request.head.replace("\r\n", " ").replace('"', "'") + request.text();
            let body = shape.replace("TEXT", &said.replace('"', "'"));
            connection.write(format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        });
        let token = format!("{}/token", endpoint.url());
        let source = emulator::SubjectSource::TextFile(&path);
        let pool = emulator::IdentityPool::WorkforceClient;
        let external = emulator::external_account_json(&base, source, pool, false);
        for (file, secrets) in [
            (emulator::authorized_user_json(&base), vec!["refresh_token", "client_secret"]),
            (
                changed(&emulator::external_authorized_user_json(&base), "token_url", &token),
                vec!["refresh_token", "client_secret"],
            ),
            (changed(&external, "token_url", &token), vec!["client_secret"]),
        ] {
            let read: Value = serde_json::from_str(&file).expect("JSON");
            let setup = in_front_of(&base, &file)
                .env("OAUTH_TOKEN_URL", &*token)
                .env("LOG_LEVEL", "trace")
                .env("MAX_RETRY_ATTEMPTS", "0");
            let proxy = TestProxy::start(setup, &[]);
            let answer = proxy.post(GENERATE, HELLO);
            assert_eq!(answer.status(), 503, "{status}: {}", answer.text());
            proxy.await_request_lines(1);
            let said = proxy.stdout() + &proxy.stderr() + &answer.text();
            let known = [emulator::SUBJECT_TOKEN.to_owned()].into_iter();
            for secret in known
                .chain(secrets.iter().map(|name| read[name].as_str().expect("a secret").to_owned()))
            {
                let line = said.lines().find(|line| line.contains(&secret));
                assert!(line.is_none(), "{status}: {secret} in {line:?}");
            }
            attacked.push(Attacked::without_upstream(proxy));
        }
    }
    attacked
}
