//! What the stand-in model answers.

use code_assist_emulator::PROJECT;
use serde_json::{Value, json};

use crate::client::{prompt, prompt_with, rpc, script, started, state, stream};

fn part(answer: &Value) -> &Value {
    let parts = &answer["response"]["candidates"][0]["content"]["parts"];
    parts.as_array().unwrap().last().unwrap()
}

fn weather_tool() -> Value {
    json!({"tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": {
        "type": "OBJECT", "required": ["city"],
        "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER", "maximum": 3}},
    }}]}]})
}

#[tokio::test]
async fn a_unary_answer_has_the_members_of_vertex() {
    let google = started().await;
    let answer = rpc(&google, "generateContent", &prompt("hello")).await;
    let whole = answer.json();
    assert_eq!(whole["traceId"], answer.headers["x-cloudaicompanion-trace-id"].as_str());
    let candidate = &whole["response"]["candidates"][0];
    assert_eq!(
        candidate["content"],
        json!({"role": "model", "parts": [{"text": "You said: hello"}]})
    );
    assert_eq!(candidate["finishReason"], "STOP");
    assert!(candidate["avgLogprobs"].is_number());
    assert!(candidate.get("index").is_none());
    let response = &whole["response"];
    assert_eq!(response["modelVersion"], "gemini-2.5-flash");
    assert!(response["createTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(response["usageMetadata"]["promptTokenCount"], 2);
    assert_eq!(response["usageMetadata"]["totalTokenCount"], 6);
    assert_eq!(response["usageMetadata"]["trafficType"], "ON_DEMAND");
}

#[tokio::test]
async fn a_stream_has_thoughts_text_a_usage_tail_and_a_metadata_tail() {
    let google = started().await;
    let thinking = json!({"generationConfig": {"thinkingConfig": {"includeThoughts": true}}});
    let answer = stream(&google, &prompt_with("hello there", &thinking)).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    assert!(answer.complete);
    assert_eq!(answer.said(), "You said: hello there");
    let events = answer.events();
    assert_eq!(events.len(), 6, "a thought, three pieces, two tails");
    assert_eq!(part(&events[0])["thought"], true);
    let reasons = events.iter().map(|event| &event["response"]["candidates"][0]["finishReason"]);
    let reasons: Vec<_> = reasons.filter(|reason| !reason.is_null()).collect();
    assert_eq!(reasons, [&json!("STOP")]);
    assert!(events[4]["response"].get("candidates").is_none());
    assert!(events[4]["response"]["usageMetadata"].is_object());
    assert!(events[5].get("response").is_none());
    let totals: Vec<u64> = events[..5]
        .iter()
        .map(|event| event["response"]["usageMetadata"]["totalTokenCount"].as_u64().unwrap())
        .collect();
    assert!(totals.is_sorted() && totals[3] == totals[4], "cumulative: {totals:?}");
    assert!(events.iter().all(|event| event["traceId"] == events[0]["traceId"]));
}

#[tokio::test]
async fn a_stream_without_alt_is_a_json_array() {
    let google = started().await;
    let answer = rpc(&google, "streamGenerateContent", &prompt("hello")).await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    let text = answer.text();
    assert!(text.starts_with("[{\n  \"response\": {") && text.ends_with("}\n]\n"));
    assert_eq!(text.matches("\n,\r\n").count(), 4);
    assert_eq!(answer.json().as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn the_pace_of_a_stream_can_be_set() {
    let google = started().await;
    state(
        &google,
        json!({"stream_events": 5, "usage_chunk": false, "metadata_chunk": false,
                          "stream_interval_ms": 20}),
    )
    .await;
    let before = std::time::Instant::now();
    let answer = stream(&google, &prompt("a longer text to cut")).await;
    assert_eq!(answer.events().len(), 5);
    assert!(before.elapsed().as_millis() >= 80);
}

#[tokio::test]
async fn a_text_that_names_a_function_calls_it() {
    let google = started().await;
    let body = prompt_with("What is the weather in Paris?", &weather_tool());
    let answer = rpc(&google, "generateContent", &body).await.json();
    let call = &part(&answer)["functionCall"];
    assert_eq!(call["name"], "get_weather");
    assert_eq!(call["args"], json!({"city": "What is the weather in Paris?", "days": 3}));
    assert!(call["id"].as_str().unwrap().starts_with("emulator-call-"));
    assert!(part(&answer).get("thoughtSignature").is_none(), "2.5 without thoughts");
    let mut third = body.clone();
    third["model"] = json!("gemini-3-flash");
    let events = stream(&google, &third).await.events();
    assert!(part(&events[0])["thoughtSignature"].is_string());
    assert_eq!(events[0]["response"]["candidates"][0]["finishReason"], "STOP");
    let plain = rpc(&google, "generateContent", &prompt_with("hello", &weather_tool())).await;
    assert_eq!(part(&plain.json())["text"], "You said: hello");
}

#[tokio::test]
async fn the_function_calling_mode_is_obeyed() {
    let google = started().await;
    let called = async |text: &str, mode: &str| {
        let mut more = weather_tool();
        more["toolConfig"] = json!({"functionCallingConfig": {"mode": mode}});
        let answer = rpc(&google, "generateContent", &prompt_with(text, &more)).await.json();
        part(&answer).get("functionCall").is_some()
    };
    assert!(called("hello", "ANY").await);
    assert!(!called("the weather?", "NONE").await);
    assert!(called("the weather?", "VALIDATED").await);
}

#[tokio::test]
async fn a_function_response_is_put_into_words() {
    let google = started().await;
    let mut more = weather_tool();
    more["contents"] = json!([
        {"role": "user", "parts": [{"text": "weather?"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse":
            {"name": "get_weather", "response": {"sky": "clear"}}}]},
    ]);
    let answer = rpc(&google, "generateContent", &prompt_with("", &more)).await.json();
    assert_eq!(part(&answer)["text"], "The function get_weather answered: {\"sky\":\"clear\"}");
}

#[tokio::test]
async fn a_response_schema_gets_an_instance() {
    let google = started().await;
    let schema = json!({"type": "object", "required": ["name", "kind", "age"], "properties": {
        "name": {"type": "string"}, "kind": {"enum": ["x", "y"]}, "age": {"type": "integer"}}});
    for (field, schema) in [
        ("responseJsonSchema", schema.clone()),
        (
            "responseSchema",
            json!({"type": "OBJECT", "properties": {
            "name": {"type": "STRING"}, "kind": {"type": "STRING", "enum": ["x"]},
            "age": {"type": "INTEGER"}}}),
        ),
    ] {
        let config = json!({"responseMimeType": "application/json", field: schema});
        let body = prompt_with("Bo", &json!({"generationConfig": config}));
        let said = stream(&google, &body).await.said();
        let made: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(made, json!({"name": "You said: Bo", "kind": "x", "age": 7}), "{field}");
    }
    let body = prompt_with(
        "Bo",
        &json!({"generationConfig":
        {"responseMimeType": "application/json"}}),
    );
    let said = stream(&google, &body).await.said();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({"answer": "You said: Bo"}));
}

#[tokio::test]
async fn citations_separators_and_blocks_come_on_request() {
    let google = started().await;
    let cited = rpc(&google, "generateContent", &prompt("please cite a source")).await.json();
    let metadata = &cited["response"]["candidates"][0]["citationMetadata"];
    assert_eq!(metadata["citations"][0]["uri"], "https://example.org/source");
    let separated = stream(&google, &prompt("a separator please")).await;
    assert!(separated.text().contains('\u{2028}') && separated.text().contains('\u{2029}'));
    let blocked = rpc(&google, "generateContent", &prompt("block-this-prompt")).await;
    assert_eq!(blocked.status, 200);
    let response = &blocked.json()["response"];
    assert!(response.get("candidates").is_none());
    assert_eq!(response["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
}

#[tokio::test]
async fn output_limits_and_stop_sequences_are_obeyed() {
    let google = started().await;
    let short = json!({"generationConfig": {"maxOutputTokens": 1}});
    let answer = rpc(&google, "generateContent", &prompt_with("hello", &short)).await.json();
    assert_eq!(part(&answer)["text"], "You ");
    assert_eq!(answer["response"]["candidates"][0]["finishReason"], "MAX_TOKENS");
    let stop = json!({"generationConfig": {"stopSequences": [": "]}});
    let answer = rpc(&google, "generateContent", &prompt_with("hello", &stop)).await.json();
    assert_eq!(part(&answer)["text"], "You said");
}

#[tokio::test]
async fn equal_requests_get_equal_text() {
    let google = started().await;
    let one = stream(&google, &prompt("the same")).await.said();
    let other = stream(&google, &prompt("the same")).await.said();
    assert_eq!(one, other);
}

#[tokio::test]
async fn models_and_project_can_be_set() {
    let google = started().await;
    state(&google, json!({"models": ["other-model"], "project": "elsewhere"})).await;
    let mut body = prompt("hi");
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 403);
    body["project"] = json!("elsewhere");
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 404);
    body["model"] = json!("other-model");
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 200);
}

#[tokio::test]
async fn the_envelope_of_the_gemini_cli_is_accepted() {
    let google = started().await;
    // docs/reference/clients.md 3, Gemini CLI 0.61.0.
    let body = json!({"model": "gemini-2.5-flash", "project": PROJECT, "user_prompt_id": "u",
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "systemInstruction": {"role": "user", "parts": [{"text": "You are a CLI."}]},
            "tools": [{"functionDeclarations": [{"name": "list_directory", "description": "d",
                "parametersJsonSchema": {"type": "object", "properties": {}}}]}],
            "generationConfig": {"temperature": 1, "topP": 0.95, "topK": 64,
                "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 8192}},
            "session_id": "s"},
        "enabled_credit_types": ["GOOGLE_ONE_AI"]});
    let answer = stream(&google, &body).await;
    assert_eq!((answer.status, answer.said().as_str()), (200, "You said: hello"));
    script(&google, json!({"match": {"rpc": "countTokens"}, "status": 500})).await;
    assert_eq!(stream(&google, &body).await.status, 200, "the rule is for another call");
}
