//! Caches, batches, operations, stores, webhooks, tokens.

use serde_json::{Value, json};

use super::{GENERATE, call, change, get, post, prompt, started};
use crate::client::send;

#[tokio::test]
async fn a_cached_content_is_made_used_changed_and_deleted() {
    let google = started().await;
    let body = json!({"model": "models/gemini-2.5-flash", "ttl": "60s",
                      "contents": [{"parts": [{"text": "hello"}]}]});
    let made = post(&google, "/v1beta/cachedContents", &body).await.json();
    let name = made["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("cachedContents/"));
    let mut using = prompt("hi");
    using["cachedContent"] = json!(name);
    assert_eq!(post(&google, GENERATE, &using).await.status, 200);
    let other = "/v1beta/models/gemini-2.5-pro:generateContent";
    let answer = post(&google, other, &using).await;
    assert!(answer.message().ends_with("has to be the same."), "{}", answer.text());
    let target = format!("/v1beta/{name}?updateMask=ttl");
    let changed = call(&google, "PATCH", &target, &json!({"ttl": "7200s"})).await.json();
    assert!(changed["expireTime"].as_str() > made["expireTime"].as_str());
    change(&google, json!({"advance_ms": 3_600_000})).await;
    assert_eq!(get(&google, &format!("/v1beta/{name}")).await.status, 200);
    let listed = get(&google, "/v1beta/cachedContents").await.json();
    assert_eq!(listed["cachedContents"].as_array().unwrap().len(), 1);
    let deleted = call(&google, "DELETE", &format!("/v1beta/{name}"), &Value::Null).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(post(&google, GENERATE, &using).await.status, 403);
}

#[tokio::test]
async fn a_cache_expires_after_an_hour() {
    let google = started().await;
    let body = json!({"model": "models/gemini-2.5-flash",
                      "contents": [{"parts": [{"text": "hello"}]}]});
    let made = post(&google, "/v1beta/cachedContents", &body).await.json();
    let target = format!("/v1beta/{}", made["name"].as_str().unwrap());
    change(&google, json!({"advance_ms": 3_601_000})).await;
    let gone = get(&google, &target).await;
    assert_eq!(
        (gone.status, gone.message().as_str()),
        (403, "CachedContent not found (or permission denied)")
    );
    let mut using = prompt("hi");
    using["cachedContent"] = made["name"].clone();
    assert_eq!(post(&google, GENERATE, &using).await.status, 403);
}

#[tokio::test]
async fn a_batch_is_pending_then_done_and_has_the_answers() {
    let google = started().await;
    let request = json!({"request": prompt("one"), "metadata": {"key": "a"}});
    let body = json!({"batch": {"displayName": "b", "inputConfig": {"requests": {
        "requests": [request],
    }}}});
    let target = "/v1beta/models/gemini-2.5-flash:batchGenerateContent";
    let made = post(&google, target, &body).await.json();
    let name = made["name"].as_str().unwrap();
    assert_eq!(made["metadata"]["state"], "BATCH_STATE_PENDING");
    assert!(made.get("done").is_none());
    let done = get(&google, &format!("/v1beta/{name}")).await.json();
    assert_eq!(
        (&done["done"], &done["metadata"]["state"]),
        (&json!(true), &json!("BATCH_STATE_SUCCEEDED"))
    );
    let first = &done["response"]["inlinedResponses"]["inlinedResponses"][0];
    assert_eq!(first["metadata"]["key"], "a");
    assert_eq!(first["response"]["candidates"][0]["content"]["parts"][0]["text"], "You said: one");
    let unknown = json!({"batch": {"inputConfig": {"fileName": "files/none"}}});
    assert_eq!(post(&google, target, &unknown).await.status, 403);
    assert_eq!(call(&google, "DELETE", &format!("/v1beta/{name}"), &Value::Null).await.status, 200);
    assert_eq!(get(&google, &format!("/v1beta/{name}")).await.status, 404);
}

#[tokio::test]
async fn a_batch_can_be_cancelled() {
    let google = started().await;
    change(&google, json!({"job_polls": 5})).await;
    let body = json!({"batch": {"inputConfig": {"requests": {"requests": [
        {"request": prompt("one")},
    ]}}}});
    let target = "/v1beta/models/gemini-2.5-flash:batchGenerateContent";
    let made = post(&google, target, &body).await.json();
    let name = made["name"].as_str().unwrap();
    assert_eq!(post(&google, &format!("/v1beta/{name}:cancel"), &Value::Null).await.status, 200);
    let listed = get(&google, "/v1beta/batches").await.json();
    assert_eq!(listed["operations"][0]["metadata"]["state"], "BATCH_STATE_CANCELLED");
}

#[tokio::test]
async fn a_video_takes_polls_and_can_be_downloaded() {
    let google = started().await;
    let target = "/v1beta/models/veo-3.1-generate-preview:predictLongRunning";
    let made = post(&google, target, &json!({"instances": [{"prompt": "x"}]})).await.json();
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("models/veo-3.1-generate-preview/operations/"));
    let done = get(&google, &format!("/v1beta/{name}")).await.json();
    let uri = done["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
        .as_str()
        .unwrap();
    let path = uri.strip_prefix("https://generativelanguage.googleapis.com").unwrap();
    let video = get(&google, path).await;
    assert_eq!((video.status, video.body.len()), (200, 3 << 20));
    assert_eq!(video.headers["content-type"], "video/mp4");
}

#[tokio::test]
async fn an_image_is_predicted() {
    let google = started().await;
    let target = "/v1beta/models/imagen-4.0-generate-001:predict";
    let answer = post(&google, target, &json!({"instances": [{"prompt": "x"}]})).await.json();
    assert_eq!(answer["predictions"][0]["mimeType"], "image/png");
    assert_eq!(post(&google, target, &json!({"instances": []})).await.status, 400);
}

#[tokio::test]
async fn a_store_takes_an_upload() {
    let google = started().await;
    let store = post(&google, "/v1beta/fileSearchStores", &json!({"displayName": "s"})).await;
    let name = store.json()["name"].as_str().unwrap().to_owned();
    let headers = [
        ("x-goog-api-key", code_assist_emulator::GEMINI_API_KEY),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
    ];
    let target = format!("/upload/v1beta/{name}:uploadToFileSearchStore");
    let begun = send(&google, "POST", &target, &headers, b"").await;
    let url = begun.headers["x-goog-upload-url"].strip_prefix(&google.url()).unwrap();
    let headers = [("x-goog-upload-command", "upload, finalize"), ("x-goog-upload-offset", "0")];
    let done = send(&google, "POST", url, &headers, b"hello").await.json();
    assert_eq!((&done["done"], &done["response"]["sizeBytes"]), (&json!(true), &json!("5")));
    let target = format!("/v1beta/{name}?force=true");
    assert_eq!(call(&google, "DELETE", &target, &Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_secret_of_a_webhook_is_shown_once() {
    let google = started().await;
    let made = post(&google, "/v1beta/webhooks", &json!({"uri": "https://x"})).await.json();
    assert!(made["signingSecret"].is_string());
    let got = get(&google, &format!("/v1beta/{}", made["name"].as_str().unwrap())).await.json();
    assert!(got.get("signingSecret").is_none());
    assert_eq!(get(&google, "/v1beta/tunedModels").await.json(), json!({}));
}

#[tokio::test]
async fn unknown_query_parameters_and_page_tokens_are_refused() {
    let google = started().await;
    assert_eq!(get(&google, "/v1beta/files?nonsense=1").await.status, 400);
    assert_eq!(get(&google, "/v1beta/files?pageSize=1").await.status, 200);
    assert_eq!(get(&google, "/v1beta/models?pageToken=nonsense").await.status, 400);
}
