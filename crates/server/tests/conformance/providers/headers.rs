//! Exactly one credential arrives at a provider, the operator's, and nothing of the client's network.

use code_assist_harness::{Provider, ProxyBuilder, ScriptedUpstream, post, request};

use super::WHOLE;
use crate::{GENERATE, HELLO, STREAM};

const KEY: &str = "alices-secret-key";

/// What a client or a proxy in front may send, and what no provider may see.
const PRIVATE: [&str; 15] = [
    "Cookie: SID=private-value",
    "Forwarded: for=private-value",
    "Origin: http://localhost:3000",
    "Proxy-Authorization: Basic private-value",
    "Referer: http://localhost:3000/private-value",
    "Via: 1.1 private-value",
    "X-Forwarded-For: 203.0.113.7",
    "X-Forwarded-Host: private-value",
    "X-Forwarded-Proto: https",
    "X-Goog-User-Project: private-value",
    "X-Goog-Iam-Authorization-Token: private-value",
    "X-Goog-Authenticated-User-Email: private-value",
    "X-Real-Ip: 203.0.113.7",
    "X-Own-Header: private-value",
    "User-Agent: private-value",
];

/// Every way in which a client presents its key for the proxy.
fn carriers(path: &str) -> Vec<(String, String)> {
    let query = |name: &str| {
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}{name}={KEY}")
    };
    vec![
        (path.to_owned(), format!("x-goog-api-key: {KEY}")),
        (path.to_owned(), format!("Authorization: Bearer {KEY}")),
        (path.to_owned(), format!("x-api-key: {KEY}")),
        (query("key"), "Accept: */*".to_owned()),
    ]
}

#[test]
fn one_credential_goes_out_and_nothing_of_the_clients_network() {
    for provider in Provider::ALL {
        let upstream = ScriptedUpstream::answering("200 OK", "", &provider.answer(WHOLE));
        let proxy = ProxyBuilder::for_scripted(provider, &upstream)
            .env("PROXY_API_KEYS", format!("alice:{KEY}"))
            .env("ALLOWED_ORIGINS", "http://localhost:3000")
            .start();
        let mut paths = vec![GENERATE, STREAM];
        if provider == Provider::GeminiApi {
            paths.extend([
                "/upload/v1beta/files",
                "/v1beta/cachedContents",
                "/v1beta/openai/embeddings",
            ]);
        }
        for (path, carrier) in paths.into_iter().flat_map(carriers) {
            let pin = format!("x-proxy-upstream: {}", provider.name());
            let headers: Vec<&str> = PRIVATE.into_iter().chain([&*carrier, &*pin]).collect();
            let before = upstream.received().len();
            let answer = proxy.send(post(&path, &headers, HELLO));
            let received = upstream.received();
            assert_eq!(received.len(), before + 1, "{path} with {carrier}: {}", answer.text());
            let head = received.last().unwrap().head.to_ascii_lowercase();
            for never in [
                "private-value",
                "203.0.113.7",
                "localhost:3000",
                KEY,
                "x-api-key",
                "cookie:",
                "key=",
                "x-proxy-",
                "x-forwarded-",
                "x-goog-user-project",
                "alice",
            ] {
                assert!(!head.contains(never), "{never} at {}: {head}", provider.name());
            }
            let credentials: Vec<&str> = head
                .lines()
                .filter(|line| {
                    line.starts_with("authorization:") || line.starts_with("x-goog-api-key:")
                })
                .collect();
            let [credential] = credentials[..] else { panic!("{credentials:?}") };
            let wanted = match provider {
                Provider::CodeAssist => "authorization: bearer ya29.given",
                Provider::GeminiApi => "x-goog-api-key: aq.emulator-key",
                // A token that a service account has signed: three parts.
                Provider::Vertex => "authorization: bearer ey",
            };
            assert!(credential.starts_with(wanted), "{credential}");
            assert!(head.contains("\r\nuser-agent: code-assist-proxy/"), "{head}");
            assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
        }
    }
}

#[test]
fn the_emulators_accept_what_arrives_with_every_header() {
    // They refuse two credentials, and every header that a proxy must not send on.
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google)
            .env("PROXY_API_KEYS", format!("alice:{KEY}"))
            .env("ALLOWED_ORIGINS", "http://localhost:3000")
            .start();
        for (path, carrier) in carriers(GENERATE) {
            let headers: Vec<&str> = PRIVATE.into_iter().chain([&*carrier]).collect();
            let answer = proxy.send(post(&path, &headers, HELLO));
            assert_eq!(answer.status(), 200, "{}: {}", provider.name(), answer.text());
        }
        let log = google.log();
        assert!(log.iter().all(|record| record["violation"].is_null()), "{log:?}");
        assert!(!serde_json::to_string(&log).unwrap().contains(KEY));
    }
}

#[test]
fn headers_that_clients_of_gemini_send_arrive() {
    for provider in Provider::BARE {
        let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        let sent = [
            "x-goog-api-client: genai-js/1.0",
            "x-server-timeout: 60",
            "x-goog-request-params: a=b",
        ];
        proxy.send(post(GENERATE, &sent, HELLO));
        let head = upstream.received().pop().unwrap().head.to_ascii_lowercase();
        for header in sent {
            assert!(
                head.contains(&format!("\r\n{header}\r\n")),
                "{header} at {}: {head}",
                provider.name()
            );
        }
    }
}

#[test]
fn an_answer_brings_nothing_of_googles_own_host() {
    let google = [
        "Alt-Svc: h3=\":443\"",
        "Set-Cookie: NID=private-value",
        "Strict-Transport-Security: max-age=1",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Expose-Headers: x",
        "Server: ESF",
        "X-Xss-Protection: 0",
        "WWW-Authenticate: Bearer realm=\"private-value\"",
        "Server-Timing: gfet4t7; dur=361",
        "X-Gemini-Service-Tier: standard",
    ]
    .map(|header| format!("{header}\r\n"))
    .concat();
    for provider in Provider::BARE {
        let upstream = ScriptedUpstream::answering("200 OK", &google, WHOLE);
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        let mut calls = vec![("POST", GENERATE)];
        if provider == Provider::GeminiApi {
            calls.extend([("GET", "/v1beta/files/x"), ("POST", "/v1/interactions")]);
        }
        for (method, path) in calls {
            let answer = proxy.send(request(method, path, &[], HELLO.as_bytes()));
            for name in [
                "alt-svc",
                "set-cookie",
                "strict-transport-security",
                "access-control-allow-origin",
                "access-control-expose-headers",
                "server",
                "x-xss-protection",
                "www-authenticate",
            ] {
                assert_eq!(answer.head.find(name), None, "{path}: {name}");
            }
            // A client of the Gemini API does not know Vertex AI's headers.
            let tier = if provider == Provider::GeminiApi { "standard" } else { "" };
            assert_eq!(answer.header("x-gemini-service-tier"), tier, "{path}");
            assert!(!answer.header("x-request-id").is_empty(), "{path}");
        }
    }
}
