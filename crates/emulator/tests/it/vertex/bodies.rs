//! Fields, roles and signatures.

use serde_json::{Value, json};

use crate::vertex_client::{body, path, path_at, post, vertex};

async fn refused(target: &str, body: &Value) -> (u16, String) {
    let answer = post(&vertex().await, target, body).await;
    (answer.status, answer.message())
}

#[tokio::test]
async fn a_missing_or_unknown_role_is_refused() {
    let text = "Please use a valid role: user, model.".to_owned();
    for method in ["generateContent", "streamGenerateContent", "countTokens"] {
        for role in [Value::Null, json!(""), json!("assistant"), json!("system")] {
            let mut body = body("hi", &json!({}));
            body["contents"][0]["role"] = role;
            assert_eq!(refused(&path(method), &body).await, (400, text.clone()), "{method} {body}");
        }
    }
}

#[tokio::test]
async fn gemini_3_refuses_the_roles_function_and_tool_that_gemini_2_takes() {
    for role in ["function", "tool"] {
        let mut body = body("hi", &json!({}));
        body["contents"][0]["role"] = json!(role);
        let new = path_at("global", "gemini-3-flash-preview", "generateContent");
        assert_eq!(refused(&new, &body).await.0, 400, "{role}");
        assert_eq!(refused(&path("generateContent"), &body).await.0, 200, "{role}");
    }
}

#[tokio::test]
async fn fields_of_the_gemini_api_are_unknown() {
    let generate = path("generateContent");
    for (more, name, at) in [
        (json!({"store": true}), "store", ""),
        (
            json!({"toolConfig": {"includeServerSideToolInvocations": true}}),
            "includeServerSideToolInvocations",
            " at 'tool_config'",
        ),
        (
            json!({"generationConfig": {"enableEnhancedCivicAnswers": true}}),
            "enableEnhancedCivicAnswers",
            " at 'generation_config'",
        ),
        (
            json!({"generationConfig": {"_responseJsonSchema": {}}}),
            "_responseJsonSchema",
            " at 'generation_config'",
        ),
        (
            json!({"generationConfig": {"responseJsonSchemaOrdered": {}}}),
            "responseJsonSchemaOrdered",
            " at 'generation_config'",
        ),
        (json!({"tools": [{"fileSearch": {}}]}), "fileSearch", " at 'tools[0]'"),
        (json!({"tools": [{"mcpServers": []}]}), "mcpServers", " at 'tools[0]'"),
        (
            json!({"tools": {"functionDeclarations": {"name": "f", "behavior": "BLOCKING"}}}),
            "behavior",
            " at 'tools.function_declarations'",
        ),
    ] {
        let (status, message) = refused(&generate, &body("hi", &more)).await;
        let wanted = format!(
            "Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field."
        );
        assert_eq!((status, message), (400, wanted));
    }
    for name in ["partMetadata", "toolCall", "toolResponse"] {
        let mut body = body("hi", &json!({}));
        body["contents"][0]["parts"][0][name] = json!({});
        let wanted = format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at 'contents[0].parts[0]': \
             Cannot find field."
        );
        assert_eq!(refused(&generate, &body).await, (400, wanted));
    }
}

#[tokio::test]
async fn fields_of_vertex_ai_are_taken() {
    let more = json!({
        "labels": {"team": "a"},
        "modelArmorConfig": {"promptTemplateName": "projects/p/locations/l/templates/t"},
        "serviceTier": "SERVICE_TIER_FLEX",
        "tools": {"retrieval": {}, "google_search": {"excludeDomains": ["x.example"]}},
        "toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": true}},
        "safetySettings": [{"category": "HARM_CATEGORY_JAILBREAK", "threshold": "OFF",
                            "method": "SEVERITY"}, {"category": 6, "threshold": "OFF"}],
        "generationConfig": {"routingConfig": {}, "audioTimestamp": true, "modelConfig": {},
                             "thinkingConfig": {"thinking_budget": 0}},
        "systemInstruction": {"parts": {"text": "Be short."}},
    });
    assert_eq!(refused(&path("generateContent"), &body("hi", &more)).await.0, 200);
}

#[tokio::test]
async fn both_spellings_of_one_field_are_refused_and_one_object_is_a_list() {
    let both = json!({"generationConfig": {}, "generation_config": {}});
    assert_eq!(refused(&path("generateContent"), &body("hi", &both)).await.0, 400);
    let single = json!({"contents": {"role": "user", "parts": {"text": "hi"}}});
    assert_eq!(refused(&path("generateContent"), &single).await.0, 200);
    let string = json!({"systemInstruction": "Be short."});
    assert_eq!(refused(&path("generateContent"), &body("hi", &string)).await.0, 400);
}

#[tokio::test]
async fn a_service_tier_in_lower_case_is_an_invalid_value() {
    let (status, message) =
        refused(&path("generateContent"), &body("hi", &json!({"serviceTier": "flex"}))).await;
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "Invalid value at 'service_tier' (type.googleapis.com/google.cloud.aiplatform.v1beta1.\
         GenerateContentRequest.ServiceTier), \"flex\""
    );
}

#[tokio::test]
async fn the_gemini_apis_numbers_of_categories_are_refused() {
    for number in [7, 8, 10, 11] {
        let more = json!({"safetySettings": [{"category": number, "threshold": "BLOCK_NONE"}]});
        let (status, message) = refused(&path("generateContent"), &body("hi", &more)).await;
        assert_eq!(status, 400, "{number}");
        assert!(message.contains("safety_settings[0].category"), "{message}");
    }
}

#[tokio::test]
async fn v1_knows_no_ids_of_function_calls() {
    let turns = json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "f",
                                                         "response": {}}}]},
    ]});
    let beta = path("generateContent");
    assert_eq!(refused(&beta, &turns).await.0, 200);
    let (status, message) = refused(&beta.replace("v1beta1", "v1"), &turns).await;
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "Invalid JSON payload received. Unknown name \"id\" at \
         'contents[1].parts[0].function_call': Cannot find field.\nInvalid JSON payload received. \
         Unknown name \"id\" at 'contents[2].parts[0].function_response': Cannot find field."
    );
}

#[tokio::test]
async fn count_tokens_takes_the_flat_form_only() {
    let flat = body("hello there", &json!({"generationConfig": {}, "tools": []}));
    let answer = post(&vertex().await, &path("countTokens"), &flat).await;
    assert_eq!(
        answer.json(),
        json!({"totalTokens": 3, "totalBillableCharacters": 10,
               "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}]})
    );
    let wrapped = json!({"generateContentRequest": {"contents": []}});
    let (status, message) = refused(&path("countTokens"), &wrapped).await;
    assert_eq!(status, 400);
    assert!(message.contains("Unknown name \"generateContentRequest\": Cannot"), "{message}");
}

fn tool_turn(signature: Option<&str>) -> Value {
    let mut call = json!({"functionCall": {"name": "look", "args": {}}});
    if let Some(signature) = signature {
        call["thoughtSignature"] = json!(signature);
    }
    json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]},
    ]})
}

#[tokio::test]
async fn a_signature_must_be_its_own_or_the_placeholder() {
    let google = vertex().await;
    let new = path_at("global", "gemini-3-flash-preview", "generateContent");
    let tools = json!({"tools": [{"functionDeclarations": [{"name": "look"}]}]});
    let answer = post(&google, &new, &body("please look", &tools)).await.json();
    let part = &answer["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"]["name"], "look");
    let own = part["thoughtSignature"].as_str().unwrap();
    let foreign = "Unable to submit request because Thought signature is not valid..";
    for (signature, status) in [
        (own, 200),
        ("skip_thought_signature_validator", 200),
        ("context_engineering_is_the_way_to_go", 400),
        ("ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=", 400),
        ("Z2VtaW5pLWFwaSB0aG91Z2h0IHNpZ25hdHVyZQ==", 400),
    ] {
        let answer = post(&google, &new, &tool_turn(Some(signature))).await;
        assert_eq!(answer.status, status, "{signature}");
        if status == 400 {
            assert_eq!(answer.message(), foreign);
        }
    }
    let old = path("generateContent");
    let answer = post(&google, &old, &tool_turn(Some("ZW11bGF0b3I="))).await;
    assert_eq!(answer.message(), foreign, "older models check it too");
}

#[tokio::test]
async fn gemini_3_requires_a_signature_of_a_call() {
    let new = path_at("global", "gemini-3-flash-preview", "generateContent");
    let (status, message) = refused(&new, &tool_turn(None)).await;
    assert_eq!(status, 400);
    let start = "Unable to submit request because function call `default_api:look` in the 2. \
                 content block is missing a `thought_signature`.";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(refused(&path("generateContent"), &tool_turn(None)).await.0, 200);
}
