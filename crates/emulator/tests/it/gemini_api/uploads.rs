//! Uploads and files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use code_assist_emulator::{Emulator, GEMINI_API_KEY, GEMINI_STANDARD_API_KEY};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{GENERATE, call, change, get, post, started};
use crate::client::{Answer, log, script, send};

const GRANULE: usize = 262_144;

/// Starts a resumable upload with the default key, and returns the path of its URL.
async fn begun(google: &Emulator, size: usize) -> String {
    let answer = start(google, "/upload/v1beta/files", size).await;
    path(google, &answer)
}

async fn start(google: &Emulator, target: &str, size: usize) -> Answer {
    let size = size.to_string();
    let headers = [
        ("x-goog-api-key", GEMINI_API_KEY),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-length", &size),
        ("x-goog-upload-header-content-type", "text/plain"),
        ("content-type", "application/json"),
    ];
    let body = json!({"file": {"displayName": "x", "mimeType": "text/plain", "sizeBytes": size}});
    send(google, "POST", target, &headers, body.to_string().as_bytes()).await
}

/// The path and query of the upload URL.
fn path(google: &Emulator, answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers["x-goog-upload-url"].strip_prefix(&google.url()).unwrap().to_owned()
}

async fn step(
    google: &Emulator,
    target: &str,
    command: &str,
    offset: usize,
    data: &[u8],
) -> Answer {
    let offset = offset.to_string();
    let headers = [("x-goog-upload-command", command), ("x-goog-upload-offset", &offset)];
    send(google, "POST", target, &headers, data).await
}

/// Announces `length` bytes and sends fewer.
async fn half_sent(
    google: &Emulator,
    target: &str,
    headers: &str,
    length: usize,
    sent: &[u8],
) -> TcpStream {
    let url = google.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

fn sha256(data: &[u8]) -> String {
    STANDARD.encode(sha2::Sha256::digest(data))
}

#[tokio::test]
async fn a_resumable_upload_takes_its_bytes_without_a_key() {
    let google = started().await;
    let begun = start(&google, "/upload/v1/files", 5).await;
    assert_eq!(begun.headers["x-goog-upload-status"], "active");
    assert_eq!(begun.headers["content-length"], "0");
    assert_eq!(begun.headers["x-goog-upload-chunk-granularity"], "262144");
    assert_eq!(begun.headers["x-goog-upload-control-url"], begun.headers["x-goog-upload-url"]);
    let target = path(&google, &begun);
    assert!(target.starts_with("/upload/v1/files?upload_id="), "{target}");
    let done = step(&google, &target, "upload, finalize", 0, b"hello").await;
    assert_eq!(done.headers["x-goog-upload-status"], "final");
    let file = done.json()["file"].clone();
    assert_eq!((&file["sizeBytes"], &file["state"]), (&json!("5"), &json!("ACTIVE")));
    assert_eq!(file["sha256Hash"], sha256(b"hello"));
    let name = file["name"].as_str().unwrap();
    let uri = format!("https://generativelanguage.googleapis.com/v1/{name}");
    assert_eq!(file["uri"], uri);
    let listed = get(&google, "/v1beta/files").await.json();
    assert_eq!(listed["files"][0]["name"], name);
    let got = get(&google, &format!("/v1beta/{name}:download?alt=media")).await;
    assert_eq!(
        (got.text().as_str(), got.headers["content-type"].as_str()),
        ("hello", "text/plain")
    );
    let body = json!({"contents": [{"parts": [{"fileData": {"fileUri": uri}}]}]});
    assert_eq!(post(&google, GENERATE, &body).await.status, 200);
    let deleted = call(&google, "DELETE", &format!("/v1beta/{name}"), &Value::Null).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(post(&google, GENERATE, &body).await.status, 403);
}

#[tokio::test]
async fn a_key_of_the_query_is_echoed_in_the_url_and_that_of_a_header_is_not() {
    let google = started().await;
    assert!(!begun(&google, 5).await.contains("key="));
    let headers = [("x-goog-upload-protocol", "resumable"), ("x-goog-upload-command", "start")];
    let target = format!("/upload/v1beta/files?key={GEMINI_STANDARD_API_KEY}");
    let answer = send(&google, "POST", &target, &headers, b"").await;
    let url = &answer.headers["x-goog-upload-url"];
    assert!(url.contains(&format!("?key={GEMINI_STANDARD_API_KEY}&upload_id=")), "{url}");
    let target = path(&google, &answer);
    assert_eq!(step(&google, &target, "upload, finalize", 0, b"x").await.status, 200);
}

#[tokio::test]
async fn a_second_step_refuses_a_wrong_key() {
    let google = started().await;
    let target = begun(&google, 5).await;
    let headers = [
        ("x-goog-upload-command", "upload, finalize"),
        ("x-goog-upload-offset", "0"),
        ("x-goog-api-key", "wrong"),
    ];
    assert_eq!(send(&google, "POST", &target, &headers, b"hello").await.status, 400);
    assert_eq!(step(&google, &target, "upload, finalize", 0, b"hello").await.status, 200);
}

#[tokio::test]
async fn offsets_and_granules_are_checked() {
    let google = started().await;
    let data = vec![7; GRANULE + 10];
    let target = begun(&google, data.len()).await;
    let odd = step(&google, &target, "upload", 0, &data[..1000]).await;
    assert_eq!(odd.status, 400, "not a multiple of the granule");
    let first = step(&google, &target, "upload", 0, &data[..GRANULE]).await;
    assert_eq!((first.status, first.headers["x-goog-upload-status"].as_str()), (200, "active"));
    let again = step(&google, &target, "upload, finalize", 0, &data).await;
    assert!(again.message().contains("the next byte is 262144"), "{}", again.text());
    let query = step(&google, &target, "query", 0, b"").await;
    assert_eq!(query.headers["x-goog-upload-size-received"], "262144");
    let done = step(&google, &target, "upload, finalize", GRANULE, &data[GRANULE..]).await;
    assert_eq!(done.json()["file"]["sha256Hash"], sha256(&data));
    let over = step(&google, &target, "upload, finalize", data.len(), b"x").await;
    assert_eq!(over.status, 400, "the upload is over");
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_at_the_last_granule() {
    let google = started().await;
    let data: Vec<u8> = (0..3 * GRANULE).map(|place| (place % 250) as u8).collect();
    let target = begun(&google, data.len()).await;
    script(
        &google,
        json!({"match": {"rpc": "upload"}, "read_body_bytes": GRANULE + 1000,
               "close_before_head": true}),
    )
    .await;
    assert_eq!(step(&google, &target, "upload, finalize", 0, &data).await.status, 0);
    let query = step(&google, &target, "query", 0, b"").await;
    assert_eq!(query.headers["x-goog-upload-size-received"], GRANULE.to_string());
    let rest = step(&google, &target, "upload, finalize", GRANULE, &data[GRANULE..]).await;
    assert_eq!(rest.json()["file"]["sha256Hash"], sha256(&data));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_whole_granules() {
    let google = started().await;
    let target = begun(&google, 10 * GRANULE).await;
    let head = "x-goog-upload-command: upload, finalize\r\nx-goog-upload-offset: 0\r\n";
    let sent = vec![1; 2 * GRANULE + 5];
    let stream = half_sent(&google, &target, head, 10 * GRANULE, &sent).await;
    drop(stream);
    for _ in 0..500 {
        if log(&google).await.last().unwrap()["cancelled"] == true {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let query = step(&google, &target, "query", 0, b"").await;
    assert_eq!(query.headers["x-goog-upload-size-received"], (2 * GRANULE).to_string());
}

#[tokio::test]
async fn a_length_that_differs_from_the_announced_one_is_refused() {
    let google = started().await;
    let target = begun(&google, 6).await;
    let answer = step(&google, &target, "upload, finalize", 0, b"hello").await;
    assert!(answer.message().contains("5 bytes, but 6 were announced"), "{}", answer.text());
}

#[tokio::test]
async fn a_cancelled_upload_and_an_unknown_one_are_refused() {
    let google = started().await;
    let target = begun(&google, 5).await;
    let cancelled = step(&google, &target, "cancel", 0, b"").await;
    assert_eq!(cancelled.headers["x-goog-upload-status"], "cancelled");
    assert_eq!(step(&google, &target, "upload, finalize", 0, b"hello").await.status, 400);
    let query = step(&google, &target, "query", 0, b"").await;
    assert_eq!(query.headers["x-goog-upload-status"], "cancelled");
    let unknown = "/upload/v1beta/files?upload_id=none&upload_protocol=resumable";
    assert_eq!(step(&google, unknown, "query", 0, b"").await.status, 404);
}

#[tokio::test]
async fn raw_and_multipart_uploads_are_taken() {
    let google = started().await;
    let headers = [
        ("x-goog-api-key", GEMINI_API_KEY),
        ("x-goog-upload-protocol", "raw"),
        ("content-type", "image/png"),
    ];
    let raw = send(&google, "POST", "/upload/v1beta/files", &headers, b"png").await.json();
    assert_eq!(
        (&raw["file"]["mimeType"], &raw["file"]["sizeBytes"]),
        (&json!("image/png"), &json!("3"))
    );
    let body = "--b\r\nContent-Type: application/json\r\n\r\n{\"file\": {\"displayName\": \"d\"}}\
                \r\n--b\r\nContent-Type: text/csv\r\n\r\na,b\r\n--b--\r\n";
    let headers = [
        ("x-goog-api-key", GEMINI_API_KEY),
        ("x-goog-upload-protocol", "multipart"),
        ("content-type", "multipart/related; boundary=b"),
    ];
    let many = send(&google, "POST", "/upload/v1beta/files", &headers, body.as_bytes()).await;
    let file = many.json()["file"].clone();
    assert_eq!(
        (&file["mimeType"], &file["displayName"], &file["sha256Hash"]),
        (&json!("text/csv"), &json!("d"), &json!(sha256(b"a,b")))
    );
}

#[tokio::test]
async fn the_log_has_the_digest_of_a_large_upload_and_not_its_bytes() {
    let google = started().await;
    let data = vec![9; 3 << 20];
    let target = begun(&google, data.len()).await;
    assert_eq!(step(&google, &target, "upload, finalize", 0, &data).await.status, 200);
    let log = log(&google).await;
    let last = log.last().unwrap();
    assert!(last.get("body").is_none() && last.get("body_base64").is_none());
    assert_eq!(last["body_len"], data.len());
    let digest: String =
        sha2::Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(last["body_sha256"], digest);
}

#[tokio::test]
async fn a_rule_answers_an_upload_and_its_bytes_do_not_count() {
    let google = started().await;
    let target = begun(&google, 5).await;
    script(&google, json!({"match": {"rpc": "upload"}, "status": 503})).await;
    assert_eq!(step(&google, &target, "upload, finalize", 0, b"hello").await.status, 503);
    assert_eq!(step(&google, &target, "upload, finalize", 0, b"hello").await.status, 200);
}

#[tokio::test]
async fn a_rule_can_answer_before_the_body_has_come() {
    let google = started().await;
    script(&google, json!({"read_body_bytes": 0, "error": "overloaded"})).await;
    let head = format!("x-goog-api-key: {GEMINI_API_KEY}\r\n");
    let mut stream = half_sent(&google, GENERATE, &head, 1, b"").await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 503");
}

#[tokio::test]
async fn files_expire_after_48_hours() {
    let google = started().await;
    let target = begun(&google, 1).await;
    let file = step(&google, &target, "upload, finalize", 0, b"x").await.json();
    let name = format!("/v1beta/{}", file["file"]["name"].as_str().unwrap());
    change(&google, json!({"advance_ms": 47 * 3_600_000})).await;
    assert_eq!(get(&google, &name).await.status, 200);
    change(&google, json!({"advance_ms": 2 * 3_600_000})).await;
    let uri = file["file"]["uri"].clone();
    let body = json!({"contents": [{"parts": [{"fileData": {"fileUri": uri}}]}]});
    assert_eq!(post(&google, GENERATE, &body).await.status, 403);
    assert_eq!(get(&google, &name).await.status, 403);
}

#[tokio::test]
async fn a_file_of_any_size_can_be_made_and_downloaded() {
    let google = started().await;
    let bytes = (5 << 20) + 3;
    change(&google, json!({"make_file": {"name": "files/big", "bytes": bytes}})).await;
    let file = get(&google, "/v1beta/files/big").await.json();
    assert_eq!(
        (&file["sizeBytes"], &file["source"]),
        (&json!(bytes.to_string()), &json!("GENERATED"))
    );
    let got = get(&google, "/v1beta/files/big:download?alt=media").await;
    assert_eq!(got.headers["content-length"], bytes.to_string());
    assert!(
        got.complete && got.body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8)
    );
    assert_eq!(get(&google, "/v1beta/files/big:download").await.status, 400);
    assert_eq!(get(&google, "/v1beta/files/none:download?alt=media").await.status, 403);
}
