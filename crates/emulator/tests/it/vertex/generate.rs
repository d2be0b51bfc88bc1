//! Answers and streams.

use code_assist_emulator::VERTEX_ACCESS_TOKEN;
use serde_json::{Value, json};

use crate::client::{script, send};
use crate::vertex_client::{body, path, path_at, post, set, vertex};

#[tokio::test]
async fn a_stream_has_the_bytes_of_the_service() {
    let google = vertex().await;
    let target = path_at("global", "gemini-3-flash-preview", "streamGenerateContent?alt=sse");
    let answer = post(&google, &target, &body("hi", &json!({}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.headers["content-disposition"], "attachment");
    assert!(answer.headers["alt-svc"].starts_with("h3="));
    assert!(!answer.headers.contains_key("server-timing"));
    let text = answer.text();
    let start =
        "data: {\"candidates\": [{\"content\": {\"role\": \"model\",\"parts\": [{\"text\": ";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with("}\r\n\r\n"), "{text}");
    assert!(!text.contains("[DONE]") && !text.contains("event:"));
    let events = answer.events();
    let last = events.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["trafficType"], "ON_DEMAND");
    assert_eq!(last["modelVersion"], "gemini-3-flash-preview");
    assert!(last["createTime"].as_str().unwrap().ends_with('Z'));
    assert!(last["candidates"][0].get("index").is_none());
    let said: String = events
        .iter()
        .filter_map(|event| event["candidates"][0]["content"]["parts"][0]["text"].as_str())
        .collect();
    assert_eq!(said, "You said: hi");
}

#[tokio::test]
async fn a_stream_without_alt_is_an_array() {
    let google = vertex().await;
    let answer = post(&google, &path("streamGenerateContent"), &body("hi", &json!({}))).await;
    assert!(answer.headers["content-type"].starts_with("application/json"));
    assert!(answer.text().starts_with("[{\n"), "{}", answer.text());
    assert!(answer.text().contains("}\n,\r\n{"));
    assert_eq!(answer.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_error_of_a_stream_is_an_array_of_one() {
    let google = vertex().await;
    let body = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let answer = post(&google, &path("streamGenerateContent?alt=sse"), &body).await;
    assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (400, Some(1)));
    assert!(post(&google, &path("generateContent"), &body).await.json().is_object());
}

#[tokio::test]
async fn only_a_header_sets_the_tier() {
    let google = vertex().await;
    let bearer = format!("Bearer {VERTEX_ACCESS_TOKEN}");
    let name = "x-vertex-ai-llm-shared-request-type";
    for (tier, wanted) in
        [("flex", "ON_DEMAND_FLEX"), ("priority", "ON_DEMAND_PRIORITY"), ("none", "ON_DEMAND")]
    {
        let body = body("hi", &json!({"serviceTier": "SERVICE_TIER_FLEX"})).to_string();
        let headers = [("authorization", bearer.as_str()), (name, tier)];
        let target = path("generateContent");
        let answer = send(&google, "POST", &target, &headers, body.as_bytes()).await;
        assert_eq!(answer.json()["usageMetadata"]["trafficType"], wanted);
    }
}

#[tokio::test]
async fn model_armor_blocks_with_status_200_when_it_is_set_to() {
    let google = vertex().await;
    let armored = body("hi", &json!({"modelArmorConfig": {"promptTemplateName": "t"}}));
    let target = path("generateContent");
    assert!(post(&google, &target, &armored).await.json().get("candidates").is_some());
    set(&google, "vertex", json!({"model_armor_blocks": true})).await;
    let answer = post(&google, &target, &armored).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["promptFeedback"]["blockReason"], "MODEL_ARMOR");
    assert_eq!(answer["usageMetadata"], json!({"trafficType": "ON_DEMAND"}));
    assert!(answer.get("candidates").is_none());
    let plain = post(&google, &target, &body("hi", &json!({}))).await;
    assert!(plain.json().get("candidates").is_some());
}

#[tokio::test]
async fn a_scripted_429_has_the_words_of_vertex_ai_and_no_details() {
    let google = vertex().await;
    let rule = json!({"match": {"rpc": "streamGenerateContent", "model": "gemini-2.5-flash"},
                      "status": 429});
    script(&google, rule).await;
    let answer = post(&google, &path("streamGenerateContent"), &body("hi", &json!({}))).await;
    assert_eq!(answer.status, 429);
    let error: Value = answer.json()[0]["error"].clone();
    let start = "Resource exhausted. Please try again later. Please refer to https://cloud.google";
    assert!(error["message"].as_str().unwrap().starts_with(start), "{error}");
    assert!(error.get("details").is_none());
}

#[tokio::test]
async fn a_rule_may_name_an_error_of_vertex_ai() {
    let google = vertex().await;
    let target = path("generateContent");
    for (name, status, reason) in [
        ("api_keys_unsupported", 401, "CREDENTIALS_MISSING"),
        ("billing_disabled", 403, "BILLING_DISABLED"),
        ("foreign_signature", 400, ""),
        ("iam_permission_denied", 403, "IAM_PERMISSION_DENIED"),
        ("publisher_model_not_found", 404, ""),
        ("service_disabled", 403, "SERVICE_DISABLED"),
        ("shared_quota", 429, ""),
        ("token_expired", 401, "ACCESS_TOKEN_EXPIRED"),
        ("token_unsupported", 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ] {
        script(&google, json!({"error": name})).await;
        let answer = post(&google, &target, &body("hi", &json!({}))).await;
        assert_eq!(answer.status, status, "{name}");
        let found = &answer.json()["error"]["details"][0]["reason"];
        assert_eq!(found.as_str().unwrap_or_default(), reason, "{name}");
    }
    let wrong = br#"{"error": "nothing"}"#;
    assert_eq!(send(&google, "POST", "/__emulator/script", &[], wrong).await.status, 400);
}

#[tokio::test]
async fn a_stream_may_end_in_a_bare_error() {
    let google = vertex().await;
    script(&google, json!({"keep_events": 1, "tail_error": "shared_quota"})).await;
    let target = path("streamGenerateContent?alt=sse");
    let text = post(&google, &target, &body("hi", &json!({}))).await.text();
    let (events, tail) = text.rsplit_once("\r\n\r\n").unwrap();
    assert!(events.starts_with("data: {") && !events.contains("\n{"), "{text}");
    let tail: Value = serde_json::from_str(tail).unwrap();
    assert_eq!(tail["error"]["code"], 429);
}
