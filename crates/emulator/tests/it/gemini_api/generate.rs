//! Generate, stream, count, embed, and the models.

use code_assist_emulator::GEMINI_API_KEY;
use serde_json::json;

use super::{GENERATE, STREAM, change, get, post, prompt, started};
use crate::client::{log, script, send};

const STREAM_3: &str = "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse";
const GENERATE_3: &str = "/v1beta/models/gemini-3.5-flash:generateContent";

#[tokio::test]
async fn a_unary_answer_has_the_members_of_the_gemini_api() {
    let google = started().await;
    let answer = post(&google, GENERATE, &prompt("cite hello")).await.json();
    let candidate = &answer["candidates"][0];
    assert_eq!(candidate["content"]["parts"][0]["text"], "You said: cite hello");
    assert_eq!(candidate["index"], 0);
    assert!(candidate["citationMetadata"]["citationSources"].is_array());
    assert!(candidate.get("avgLogprobs").is_none() && answer.get("createTime").is_none());
    assert_eq!(answer["usageMetadata"]["serviceTier"], "standard");
    assert!(answer["usageMetadata"].get("trafficType").is_none());
}

#[tokio::test]
async fn events_have_blanks_after_colons_only_and_end_in_crlf() {
    let google = started().await;
    let answer = post(&google, STREAM, &prompt("hello")).await;
    let text = answer.text();
    assert!(
        text.starts_with("data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \""),
        "{text}"
    );
    assert!(text.ends_with("}\r\n\r\n") && !text.contains(", \""), "{text}");
    let events = answer.events();
    assert_eq!(events.len(), 3, "no event after the last text");
    assert_eq!(events[2]["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn a_stream_without_alt_is_a_pretty_array() {
    let google = started().await;
    let target = "/v1/models/gemini-2.5-flash:streamGenerateContent";
    let text = post(&google, target, &prompt("hello")).await.text();
    assert!(text.starts_with("[{\n  \"candidates\": [") && text.ends_with("}\n]\n"), "{text}");
    assert_eq!(text.matches("\n,\r\n").count(), 2);
}

#[tokio::test]
async fn what_only_vertex_knows_is_an_unknown_name() {
    let google = started().await;
    for (member, value, name) in [
        ("modelArmorConfig", json!({}), "modelArmorConfig"),
        ("generationConfig", json!({"routingConfig": {}}), "routingConfig"),
        ("generationConfig", json!({"audioTimestamp": true}), "audioTimestamp"),
        (
            "safetySettings",
            json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF",
                    "method": "SEVERITY"}]),
            "method",
        ),
        ("tools", json!([{"retrieval": {}}]), "retrieval"),
        ("tools", json!([{"enterpriseWebSearch": {}}]), "enterpriseWebSearch"),
        ("project", json!("p"), "project"),
    ] {
        let mut body = prompt("hi");
        body[member] = value;
        let answer = post(&google, GENERATE, &body).await;
        assert_eq!(answer.status, 400, "{name}");
        let wanted = format!("Unknown name \"{name}\"");
        assert!(answer.message().contains(&wanted), "{}", answer.message());
    }
}

#[tokio::test]
async fn what_the_gemini_api_knows_is_taken() {
    let google = started().await;
    for (member, value) in [
        ("serviceTier", json!("flex")),
        ("store", json!(false)),
        ("model", json!("models/gemini-2.5-flash")),
        ("toolConfig", json!({"includeServerSideToolInvocations": true})),
        ("generationConfig", json!({"enableEnhancedCivicAnswers": true})),
        ("generationConfig", json!({"thinkingConfig": {"thinking_budget": 0}})),
        ("safetySettings", json!([{"category": 11, "threshold": "OFF"}])),
        ("contents", json!({"parts": {"text": "no role, no list"}})),
        ("contents", json!([{"role": "function", "parts": [{"text": "x"}]}])),
    ] {
        let mut body = prompt("hi");
        body[member] = value;
        let answer = post(&google, GENERATE, &body).await;
        assert_eq!(answer.status, 200, "{member}: {}", answer.text());
    }
    let flex = json!({"contents": {"parts": {"text": "x"}}, "serviceTier": "flex"});
    assert_eq!(post(&google, GENERATE, &flex).await.headers["x-gemini-service-tier"], "flex");
}

#[tokio::test]
async fn both_spellings_of_a_field_at_once_are_refused() {
    let google = started().await;
    let mut body = prompt("hi");
    body["systemInstruction"] = json!({"parts": [{"text": "x"}]});
    body["system_instruction"] = json!({"parts": [{"text": "x"}]});
    assert_eq!(post(&google, GENERATE, &body).await.status, 400);
}

#[tokio::test]
async fn a_foreign_thought_signature_is_corrupted() {
    let google = started().await;
    let turn = |signature: &str| {
        json!({"contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}, "id": "1"},
                                         "thoughtSignature": signature}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "id": "1",
                                                             "response": {}}}]},
        ]})
    };
    let first = post(&google, STREAM_3, &prompt("hello")).await.events();
    let parts = &first.last().unwrap()["candidates"][0]["content"]["parts"];
    let own = parts[0]["thoughtSignature"].as_str().unwrap().to_owned();
    for (signature, status) in [
        (own.as_str(), 200),
        ("skip_thought_signature_validator", 200),
        ("context_engineering_is_the_way_to_go", 200),
        ("ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=", 400),
    ] {
        let answer = post(&google, GENERATE_3, &turn(signature)).await;
        assert_eq!(answer.status, status, "{signature}: {}", answer.text());
        if status == 400 {
            assert_eq!(answer.message(), "Corrupted thought signature.");
        }
    }
    let missing = post(&google, GENERATE_3, &turn("")).await;
    assert!(missing.message().contains("function call `default_api:f` in the 2. content block"));
}

#[tokio::test]
async fn an_unknown_model_is_named_with_the_version_of_the_path() {
    let google = started().await;
    for version in ["v1", "v1beta", "v1alpha"] {
        let target = format!("/{version}/models/nothing:generateContent");
        let answer = post(&google, &target, &prompt("hi")).await;
        assert_eq!(answer.status, 404);
        let wanted = format!("models/nothing is not found for API version {version}, or");
        assert!(answer.message().starts_with(&wanted), "{}", answer.message());
    }
    let wrong = "/v1beta/models/gemini-embedding-001:generateContent";
    assert_eq!(post(&google, wrong, &prompt("hi")).await.status, 404);
}

#[tokio::test]
async fn tokens_are_counted_in_both_forms() {
    let google = started().await;
    let target = "/v1beta/models/gemini-2.5-flash:countTokens";
    let flat = post(&google, target, &prompt("hello")).await.json();
    assert_eq!(flat["totalTokens"], 2);
    let mut inner = prompt("hello");
    inner["model"] = json!("models/gemini-2.5-flash");
    let nested = json!({"generateContentRequest": inner});
    assert_eq!(post(&google, target, &nested).await.json()["totalTokens"], 2);
    let mut flat = prompt("hello");
    flat["systemInstruction"] = json!({"parts": [{"text": "x"}]});
    assert_eq!(post(&google, target, &flat).await.status, 400, "only Vertex takes this one flat");
}

#[tokio::test]
async fn texts_are_embedded_alone_and_in_batches() {
    let google = started().await;
    let content = json!({"parts": [{"text": "hello"}]});
    let target = "/v1beta/models/gemini-embedding-001:embedContent";
    let body = json!({"content": content, "outputDimensionality": 8});
    let one = post(&google, target, &body).await.json();
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 8);
    let target = "/v1beta/models/gemini-embedding-001:batchEmbedContents";
    let item = json!({"model": "models/gemini-embedding-001", "content": content});
    let batch = post(&google, target, &json!({"requests": [item, item]})).await.json();
    assert_eq!(batch["embeddings"].as_array().unwrap().len(), 2);
    let foreign = json!({"requests": [{"model": "models/other", "content": content}]});
    assert_eq!(post(&google, target, &foreign).await.status, 400);
}

#[tokio::test]
async fn models_are_listed_in_pages() {
    let google = started().await;
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page =
            get(&google, &format!("/v1beta/models?pageSize=5&pageToken={token}")).await.json();
        let models = page["models"].as_array().unwrap().clone();
        names.extend(models.iter().map(|model| model["name"].clone()));
        match page["nextPageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(names.len(), 14);
    let one = get(&google, "/v1/models/gemini-2.5-flash").await.json();
    assert_eq!(one["name"], "models/gemini-2.5-flash");
    assert_eq!(get(&google, "/v1/models/nothing").await.status, 404);
}

#[tokio::test]
async fn a_rule_names_one_of_googles_errors() {
    let google = started().await;
    for (error, status, text) in [
        ("quota_per_minute", 429, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        ("quota_per_day", 429, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        ("quota_zero", 429, "limit: 0"),
        ("spend_cap", 429, "spending cap"),
        ("credits_depleted", 429, "prepayment credits are depleted"),
        ("overloaded", 503, "The model is overloaded."),
        ("location", 400, "FAILED_PRECONDITION"),
        ("service_disabled", 403, "SERVICE_DISABLED"),
        ("key_suspended", 403, GEMINI_API_KEY),
        ("model_not_found", 404, "models/gemini-2.5-flash is not found for API version v1beta"),
    ] {
        script(&google, json!({"match": {"model": "gemini-2.5-flash"}, "error": error})).await;
        let answer = post(&google, GENERATE, &prompt("hi")).await;
        assert_eq!(answer.status, status, "{error}");
        assert!(answer.text().contains(text), "{error}: {}", answer.text());
    }
    let wrong = send(&google, "POST", "/__emulator/script", &[], br#"{"error": "nonsense"}"#).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn an_error_of_a_stream_is_an_object_or_an_array() {
    let google = started().await;
    let mut shapes = Vec::new();
    for form in ["object", "array"] {
        change(&google, json!({"stream_errors": form})).await;
        let answer = post(&google, STREAM, &json!({"nonsense": 1})).await;
        shapes.push((answer.status, answer.json().is_array()));
    }
    assert_eq!(shapes, [(400, false), (400, true)]);
}

#[tokio::test]
async fn a_stream_can_end_in_a_bare_error() {
    let google = started().await;
    script(&google, json!({"keep_events": 2, "tail_error": "high_demand"})).await;
    let text = post(&google, STREAM, &prompt("hello")).await.text();
    let tail = text.rsplit("\r\n\r\n").next().unwrap();
    assert!(tail.starts_with("{\n  \"error\": {\n    \"code\": 503,\n"), "{tail}");
    assert!(tail.ends_with("\"status\": \"UNAVAILABLE\"\n  }\n}\n"), "{tail}");
}

#[tokio::test]
async fn the_log_has_the_bytes_of_the_request() {
    let google = started().await;
    let body = "{ \"contents\" : [{\"parts\":[{\"text\":\"a\u{2028}b\"}]}] }\n";
    let headers = [("x-goog-api-key", GEMINI_API_KEY), ("x-goog-api-client", "x/1")];
    let target = format!("{GENERATE}?$alt=json");
    assert_eq!(send(&google, "POST", &target, &headers, body.as_bytes()).await.status, 200);
    let log = log(&google).await;
    let last = log.last().unwrap();
    assert_eq!(last["body"], body);
    assert_eq!((&last["path"], &last["query"]), (&json!(GENERATE), &json!("$alt=json")));
    assert_eq!(last["headers"]["x-goog-api-client"], "x/1");
    assert_eq!(last["rpc"], "generateContent");
}
