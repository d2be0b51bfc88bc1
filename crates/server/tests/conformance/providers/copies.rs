//! Paths that are copied to the Gemini API and back, and those that no upstream in use has.

use code_assist_harness::{
    GoogleEmulator, Provider, Proxy, ProxyBuilder, Response, ScriptedUpstream, get, post, request,
};
use serde_json::{Value, json};

use crate::HELLO;

const KEY: &str = "alices-secret-key";

/// The emulated Gemini API and a proxy in front of it, whose clients need a key.
fn gemini_api() -> (GoogleEmulator, Proxy) {
    let google = Provider::GeminiApi.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google)
        .env("PROXY_API_KEYS", format!("alice:{KEY}"))
        .start();
    (google, proxy)
}

fn with_key() -> String {
    format!("x-goog-api-key: {KEY}")
}

/// Begins a resumable upload, and returns the path at which its bytes go.
fn begin_upload(proxy: &Proxy, length: usize) -> String {
    let headers = [
        &*with_key(),
        "X-Goog-Upload-Protocol: resumable",
        "X-Goog-Upload-Command: start",
        &*format!("X-Goog-Upload-Header-Content-Length: {length}"),
        "X-Goog-Upload-Header-Content-Type: text/plain",
        &*format!("Host: {}", proxy.address()),
    ];
    let body = r#"{"file":{"displayName":"a file"}}"#;
    let begun = proxy.send(post("/upload/v1beta/files", &headers, body));
    assert_eq!(begun.status(), 200, "{}", begun.text());
    assert_eq!(begun.header("x-goog-upload-status"), "active");
    let url = begun.header("x-goog-upload-url");
    let path = url.strip_prefix(&format!("http://{}", proxy.address()));
    path.unwrap_or_else(|| panic!("{url} is not at the proxy")).to_owned()
}

/// Sends the bytes of an upload, without a key, as python-genai does.
fn finish_upload(proxy: &Proxy, path: &str, bytes: &[u8]) -> Response {
    let headers = ["X-Goog-Upload-Command: upload, finalize", "X-Goog-Upload-Offset: 0"];
    proxy.send(request("POST", path, &headers, bytes))
}

#[test]
fn a_file_is_uploaded_through_the_proxy_asked_for_downloaded_and_deleted() {
    let (google, proxy) = gemini_api();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let path = begin_upload(&proxy, bytes.len());
    let done = finish_upload(&proxy, &path, &bytes);
    assert_eq!(done.status(), 200, "{}", done.text());
    assert_eq!(done.header("x-goog-upload-status"), "final");
    let file = done.json()["file"].clone();
    assert_eq!(file["sizeBytes"], "200000", "{file}");
    // Prompts need Google's own URI.
    let uri = file["uri"].as_str().unwrap().to_owned();
    assert!(uri.starts_with("https://generativelanguage.googleapis.com/v1beta/files/"), "{uri}");

    let name = file["name"].as_str().unwrap();
    let got = proxy.send(get(&format!("/v1beta/{name}"), &[&with_key()]));
    assert_eq!(got.json()["sha256Hash"], file["sha256Hash"], "{}", got.text());
    let listed = proxy.send(get("/v1beta/files?pageSize=10", &[&with_key()]));
    assert_eq!(listed.json()["files"][0]["name"], name);
    let prompt = format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"Hello"}},{{"fileData":{{"fileUri":"{uri}","mimeType":"text/plain"}}}}]}}]}}"#
    );
    let answer = proxy.send(post(crate::GENERATE, &[&with_key()], prompt));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let deleted = proxy.send(request("DELETE", &format!("/v1beta/{name}"), &[&with_key()], b""));
    assert_eq!(deleted.status(), 200, "{}", deleted.text());
    assert!(google.log().iter().all(|record| record["violation"].is_null()));
}

#[test]
fn an_upload_without_a_length_arrives_too() {
    let (_google, proxy) = gemini_api();
    let path = begin_upload(&proxy, 100_000);
    let piece = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let sent = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Goog-Upload-Command: upload, finalize\r\n\
         X-Goog-Upload-Offset: 0\r\nTransfer-Encoding: chunked\r\n\r\n{piece}{piece}0\r\n\r\n"
    );
    let done = proxy.send(sent);
    assert_eq!(done.status(), 200, "{}", done.text());
    assert_eq!(done.json()["file"]["sizeBytes"], "100000", "{}", done.text());
}

#[test]
fn a_download_arrives_whole_and_in_parts() {
    let (google, proxy) = gemini_api();
    google.set_gemini_api(json!({"make_file": {"name": "files/video", "bytes": 3_000_000}}));
    let path = "/v1beta/files/video:download?alt=media";
    let whole = proxy.send(get(path, &[&with_key()]));
    assert_eq!((whole.status(), whole.body.len()), (200, 3_000_000));
    assert!(whole.body.iter().enumerate().all(|(n, byte)| usize::from(*byte) == n % 251));
    assert_eq!(whole.header("content-type"), "video/mp4");
    let part = proxy.send(get(path, &[&with_key(), "Range: bytes=1000-1009"]));
    if part.status() == 206 {
        assert_eq!(part.body, whole.body[1000..1010]);
        assert!(part.header("content-range").starts_with("bytes 1000-1009/"));
    }
    assert_eq!(google.received("files.download")[1]["headers"]["range"], "bytes=1000-1009");
}

#[test]
fn an_upload_url_opens_nothing_else() {
    let (google, proxy) = gemini_api();
    let path = begin_upload(&proxy, 5);
    let before = google.log().len();
    let id = path.split("upload_id=").nth(1).unwrap().split('&').next().unwrap();
    for other in [
        path.replace(id, "another"),
        path.replace("proxy_upload=", "proxy_upload=0"),
        path.replace("/upload/v1beta/files", "/v1beta/files"),
        path.split("&proxy_upload").next().unwrap().to_owned(),
        format!("/upload/v1beta/files?upload_id={id}"),
    ] {
        let answer = finish_upload(&proxy, &other, b"hello");
        assert_eq!(answer.status_and_reason(), (401, "API_KEY_MISSING".into()), "{other}");
    }
    let wrong = ["x-goog-api-key: wrong-key-0123456789", "X-Goog-Upload-Command: upload, finalize"];
    assert_eq!(proxy.send(request("POST", &path, &wrong, b"hello")).status(), 401);
    assert_eq!(google.log().len(), before, "nothing of that reaches Google");
    assert_eq!(finish_upload(&proxy, &path, b"hello").status(), 200);
}

#[test]
fn caches_batches_videos_and_operations_are_copied() {
    let (google, proxy) = gemini_api();
    let key = with_key();
    let made = proxy.send(post("/v1beta/cachedContents", &[&key], r#"{"model":"models/gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"long"}]}],"ttl":"300s"}"#));
    assert_eq!(made.status(), 200, "{}", made.text());
    let name = made.json()["name"].as_str().unwrap().to_owned();
    let patch = [&*key, "Content-Type: application/json", "Content-Length: 15"];
    let patched = proxy.send(request(
        "PATCH",
        &format!("/v1beta/{name}?updateMask=ttl"),
        &patch,
        br#"{"ttl": "600s"}"#,
    ));
    assert_eq!(patched.status(), 200, "{}", patched.text());
    let prompt = format!(r#"{},"cachedContent":"{name}"}}"#, &HELLO[..HELLO.len() - 1]);
    let used = proxy.send(post(crate::GENERATE, &[&key], prompt));
    assert_eq!(used.status(), 200, "{}", used.text());
    let deleted = proxy.send(request("DELETE", &format!("/v1beta/{name}"), &[&key], b""));
    assert_eq!(deleted.status(), 200, "{}", deleted.text());

    let batch = r#"{"batch":{"displayName":"b","inputConfig":{"requests":{"requests":[{"request":{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]},"metadata":{"key":"k"}}]}}}}"#;
    let begun =
        proxy.send(post("/v1beta/models/gemini-2.5-flash:batchGenerateContent", &[&key], batch));
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let name = begun.json()["name"].as_str().unwrap().to_owned();
    let polled = proxy.send(get(&format!("/v1beta/{name}"), &[&key]));
    assert_eq!(polled.json()["name"], *name, "{}", polled.text());

    let video = r#"{"instances":[{"prompt":"a cat"}]}"#;
    let begun =
        proxy.send(post("/v1beta/models/veo-3.0-generate-001:predictLongRunning", &[&key], video));
    if begun.status() == 200 {
        let name = begun.json()["name"].as_str().unwrap().to_owned();
        assert_eq!(proxy.send(get(&format!("/v1beta/{name}"), &[&key])).status(), 200);
    } else {
        assert_eq!(begun.reason(), "", "{}", begun.text());
    }
    assert!(google.log().iter().all(|record| record["violation"].is_null()));
}

#[test]
fn events_of_interactions_and_of_googles_openai_endpoint_keep_their_bytes() {
    let events = "event: interaction.created\ndata: {\"event_type\":\"interaction.created\"}\n\n: \u{2028}\nevent: done\ndata: [DONE]\n\n";
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        events.as_bytes().chunks(9).for_each(|piece| connection.chunk(piece));
        connection.end();
    });
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
    let body = r#"{"model":"gemini-2.5-flash","stream":true,"n":1.0}"#;
    for path in ["/v1/interactions", "/v1beta/openai/chat/completions"] {
        let answer = proxy.send(post(path, &["Api-Revision: 2026-05-20"], body));
        assert_eq!((answer.status(), &*answer.text()), (200, events), "{path}");
        assert_eq!(answer.header("content-type"), "text/event-stream");
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.text(), body);
        assert!(received.head.to_ascii_lowercase().contains("\r\napi-revision: 2026-05-20\r\n"));
    }
}

#[test]
fn the_emulated_openai_endpoint_and_interactions_answer() {
    let (_google, proxy) = gemini_api();
    // Clients of OpenAI's API present their key as a bearer token.
    let bearer = format!("Authorization: Bearer {KEY}");
    let chat = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"Hello"}]}"#;
    let answer = proxy.send(post("/v1beta/openai/chat/completions", &[&bearer], chat));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "You said: Hello");
    let models = proxy.send(get("/v1beta/openai/models", &[&bearer]));
    assert_eq!((models.status(), &models.json()["object"]), (200, &json!("list")));
    let interaction = r#"{"model":"gemini-2.5-flash","input":"Hello","stream":true}"#;
    let answer = proxy.send(post("/v1beta/interactions", &[&with_key()], interaction));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().starts_with("event: "), "{}", answer.text());
}

#[test]
fn tokens_that_lead_around_the_proxy_are_made_only_if_the_operator_allows_it() {
    let (google, proxy) = gemini_api();
    for path in ["/v1alpha/auth_tokens", "/v1alpha/auth%5Ftokens", "//v1beta//auth_tokens"] {
        let answer = proxy.send(post(path, &[&with_key()], "{}"));
        assert_eq!(answer.status_and_reason(), (403, "NOT_ALLOWED".into()), "{path}");
    }
    assert_eq!(google.count("authTokens.create"), 0);
    let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google)
        .env("ALLOW_AUTH_TOKENS", "true")
        .start();
    let made = proxy.post("/v1alpha/auth_tokens", "{}");
    assert_eq!(made.status(), 200, "{}", made.text());
    assert_eq!(google.count("authTokens.create"), 1);
}

#[test]
fn what_code_assist_lacks_is_named_with_who_would_have_it() {
    let google = Provider::CodeAssist.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::CodeAssist, &google).start();
    for path in [
        "/v1beta/models/gemini-embedding-001:embedContent",
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        "/v1beta/files",
        "/v1beta/cachedContents",
        "/upload/v1beta/files",
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
    ] {
        let answer = proxy.post(path, "{}");
        assert_eq!(
            answer.status_and_reason(),
            (404, "NOT_OFFERED_BY_CODE_ASSIST".into()),
            "{path}"
        );
        assert!(answer.text().contains("GEMINI_API_KEY"), "{path}: {}", answer.text());
    }
}

#[test]
fn what_vertex_ai_lacks_is_named_by_the_upstream() {
    let google = Provider::Vertex.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::Vertex, &google).start();
    for path in [
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        "/v1beta/files",
        "/upload/v1beta/files",
    ] {
        let answer = proxy.post(path, "{}");
        assert_eq!(
            answer.status_and_reason(),
            (404, "NOT_OFFERED_BY_UPSTREAM".into()),
            "{path}: {}",
            answer.text()
        );
        let details = answer.error()["details"].clone();
        let own = details
            .as_array()
            .unwrap()
            .iter()
            .find(|detail| detail["domain"] == "code-assist-proxy");
        assert_eq!(own.unwrap()["metadata"]["upstream"], "vertex", "{details}");
    }
    assert!(google.log().iter().all(|record| record["rpc"] != "unknown"), "nothing is tried");
}

#[test]
fn the_live_api_is_answered_with_what_the_build_can_do() {
    let (_google, proxy) = gemini_api();
    let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    let upgrade = [
        &*with_key(),
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let mut connection = proxy.connect();
    connection.write(get(path, &upgrade));
    let head = connection.head();
    if proxy.is_native() {
        assert_eq!(head.status, 101);
        // RFC 6455, 1.3: the answer to that key.
        assert_eq!(head.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    } else {
        let body = connection.body(&head);
        let error: Value = serde_json::from_slice(&body).unwrap();
        let reason = code_assist_harness::proxy_error_reason(&error["error"]);
        assert_eq!((head.status, &*reason), (501, "WEBSOCKET_UNSUPPORTED"), "{error}");
    }
}
