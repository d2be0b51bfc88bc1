//! What the proto parser refuses: unknown fields, values of the wrong type, bodies that are not JSON.

use code_assist_emulator::{ACCESS_TOKEN, PROJECT};
use serde_json::{Value, json};

use crate::client::{prompt, prompt_with, rpc, send, started, state, stream};

#[tokio::test]
async fn an_unknown_field_is_refused_in_googles_words_with_its_path() {
    let google = started().await;
    let body = prompt_with("hi", &json!({"generationConfig": {"foo": 1}}));
    let answer = rpc(&google, "generateContent", &body).await;
    let message = "Invalid JSON payload received. Unknown name \"foo\" at \
                   'request.generation_config': Cannot find field.";
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT",
            "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "request.generation_config",
                                     "description": message}]}]}})
    );
}

#[tokio::test]
async fn unknown_fields_are_found_in_every_message() {
    let google = started().await;
    let user = |part: Value| json!({"contents": [{"role": "user", "parts": [part]}]});
    let cases = [
        (json!({"serviceTier": "x"}), "serviceTier", "request"),
        (json!({"model": "m"}), "model", "request"),
        (json!({"store": true}), "store", "request"),
        (
            json!({"generationConfig": {"responseFormat": {}}}),
            "responseFormat",
            "request.generation_config",
        ),
        (
            json!({"generationConfig": {"imageConfig": {"ratio": "1:1"}}}),
            "ratio",
            "request.generation_config.image_config",
        ),
        (
            json!({"generationConfig": {"_responseJsonSchema": {}}}),
            "_responseJsonSchema",
            "request.generation_config",
        ),
        (
            json!({"generationConfig": {"thinkingConfig": {"budget": 1}}}),
            "budget",
            "request.generation_config.thinking_config",
        ),
        (
            json!({"generation_config": {"response_schema": {"properties": {"a": {"oneOf": []}}}}}),
            "oneOf",
            "request.generation_config.response_schema.properties[0].value",
        ),
        (json!({"safetySettings": [{"kind": 1}]}), "kind", "request.safety_settings[0]"),
        (
            json!({"tools": [{"functionDeclarations": [{"name": "f", "behavior": 1}]}]}),
            "behavior",
            "request.tools[0].function_declarations[0]",
        ),
        (json!({"tools": [{"fileSearch": {}}]}), "fileSearch", "request.tools[0]"),
        (
            json!({"toolConfig": {"includeServerSideToolInvocations": true}}),
            "includeServerSideToolInvocations",
            "request.tool_config",
        ),
        (
            json!({"contents": [{"author": "me", "role": "user", "parts": [{"text": "x"}]}]}),
            "author",
            "request.contents[0]",
        ),
        (user(json!({"text": "x", "extra": 1})), "extra", "request.contents[0].parts[0]"),
        (
            user(json!({"functionCall": {"name": "f", "arguments": {}}})),
            "arguments",
            "request.contents[0].parts[0].function_call",
        ),
        (
            user(json!({"inline_data": {"mime": "x"}})),
            "mime",
            "request.contents[0].parts[0].inline_data",
        ),
        (
            json!({"systemInstruction": {"parts": [{"txt": "x"}]}}),
            "txt",
            "request.system_instruction.parts[0]",
        ),
    ];
    for (more, name, place) in cases {
        let answer = rpc(&google, "generateContent", &prompt_with("hi", &more)).await;
        let message = format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find field."
        );
        assert_eq!((answer.status, answer.message()), (400, message), "{more}");
    }
}

#[tokio::test]
async fn all_violations_are_reported_at_once_in_the_order_of_the_body() {
    let google = started().await;
    let body = format!(
        r#"{{"zeta":1,"model":"gemini-2.5-flash","project":"{PROJECT}","alpha":2,
            "request":{{"contents":[{{"role":"user","parts":[{{"text":5}}]}}]}}}}"#
    );
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let answer =
        send(&google, "POST", "/v1internal:generateContent", &headers, body.as_bytes()).await;
    assert_eq!(
        answer.message(),
        "Invalid JSON payload received. Unknown name \"zeta\": Cannot find field.\n\
         Invalid JSON payload received. Unknown name \"alpha\": Cannot find field.\n\
         Invalid value at 'request.contents[0].parts[0].text' (TYPE_STRING), 5"
    );
    let error = &answer.json()["error"];
    assert!(error["details"][0]["fieldViolations"][0].get("field").is_none());
}

#[tokio::test]
async fn a_field_has_two_spellings_but_may_be_set_once() {
    let google = started().await;
    let snake = json!({"system_instruction": {"parts": [{"text": "s"}]},
                       "generation_config": {"max_output_tokens": 5},
                       "safety_settings": [], "tool_config": {}});
    let answer = rpc(&google, "generateContent", &prompt_with("hi", &snake)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let both = json!({"generation_config": {}, "generationConfig": {}});
    let answer = rpc(&google, "generateContent", &prompt_with("hi", &both)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("is already set. Cannot set 'generation"), "{answer:?}");
}

#[tokio::test]
async fn a_part_holds_one_kind_of_data() {
    let google = started().await;
    let part = json!({"text": "x", "inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let body = prompt_with("", &json!({"contents": [{"role": "user", "parts": [part]}]}));
    let answer = rpc(&google, "generateContent", &body).await;
    assert_eq!(answer.status, 400);
    // serde_json writes members in alphabetical order, so the text comes second.
    assert_eq!(
        answer.message(),
        "Invalid value at 'request.contents[0].parts[0]' (oneof), oneof field 'data' is already \
         set. Cannot set 'text'"
    );
}

#[tokio::test]
async fn free_form_data_is_not_checked() {
    let google = started().await;
    let body = json!({"model": "gemini-2.5-flash", "project": PROJECT, "request": {
        "contents": [
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"any": [1]}}}]},
            {"role": "user", "parts": [{"functionResponse":
                {"id": "1", "name": "f", "response": {"response": {"error": null}}}}]},
        ],
        "labels": {"any": "thing"},
        "tools": [{"functionDeclarations": [
            {"name": "f", "parametersJsonSchema": {"$schema": "x", "oneOf": []}},
            {"name": "g", "parameters": {"type": "object", "properties": {"oneOf": {}}}},
        ]}],
        "generationConfig": {"seed": 12_345_678_901_234_567_000_u64, "temperature": 0},
    }});
    let answer = rpc(&google, "generateContent", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = prompt_with(
        "hi",
        &json!({"generationConfig": {
        "responseMimeType": "application/json", "responseJsonSchema": {"oneOf": [{"x": 1}]}}}),
    );
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 200);
}

#[tokio::test]
async fn the_image_config_has_its_fields_in_both_spellings() {
    let google = started().await;
    for config in [
        json!({"imageConfig": {}}),
        json!({"imageConfig": {"aspectRatio": "16:9", "imageSize": "4K"}}),
        json!({"image_config": {"aspect_ratio": "16:9", "image_size": "4K",
               "person_generation": "ALLOW_ADULT", "prominent_people": "BLOCK_PROMINENT_PEOPLE",
               "image_output_options": {"mime_type": "image/jpeg", "compression_quality": 75}}}),
    ] {
        let body = prompt_with("hi", &json!({"generationConfig": config}));
        let answer = rpc(&google, "generateContent", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_refused() {
    let google = started().await;
    let cases = [
        (json!({"contents": {"role": "user", "parts": []}}), "'request.contents' (repeated"),
        (json!({"systemInstruction": "be brief"}), "'request.system_instruction' (type.googleapis"),
        (
            json!({"generationConfig": {"temperature": "hot"}}),
            "'request.generation_config.temperature' (TYPE_DOUBLE), \"hot\"",
        ),
        (
            json!({"generationConfig": {"mediaResolution": "low"}}),
            "'request.generation_config.media_resolution' (",
        ),
        (
            json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "MOST"}}}),
            "'request.generation_config.thinking_config.thinking_level' (",
        ),
        (
            json!({"contents": [{"role": "user",
                                 "parts": [{"text": "x", "thoughtSignature": "*"}]}]}),
            "'request.contents[0].parts[0].thought_signature' (TYPE_BYTES), Base64 decoding failed",
        ),
        (
            json!({"contents": [{"role": "model",
                                 "parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]}),
            "'request.contents[0].parts[0].function_call.args' (type.googleapis.com/google.protobuf",
        ),
    ];
    for (more, start) in cases {
        let answer = rpc(&google, "generateContent", &prompt_with("hi", &more)).await;
        assert_eq!(answer.status, 400, "{more}");
        let wanted = format!("Invalid value at {start}");
        assert!(answer.message().starts_with(&wanted), "{wanted} / {}", answer.message());
    }
}

#[tokio::test]
async fn harm_categories_have_vertex_numbers_and_names() {
    let google = started().await;
    let status = async |category: Value| {
        let more = json!({"safetySettings": [{"category": category, "threshold": "BLOCK_NONE"}]});
        rpc(&google, "generateContent", &prompt_with("hi", &more)).await.status
    };
    for category in [json!(1), json!(4), json!("HARM_CATEGORY_HARASSMENT")] {
        assert_eq!(status(category.clone()).await, 200, "{category}");
    }
    for category in [json!(7), json!(10), json!("HARM_CATEGORY_DEROGATORY")] {
        assert_eq!(status(category.clone()).await, 400, "{category}");
    }
}

#[tokio::test]
async fn a_body_is_exactly_one_json_object() {
    let google = started().await;
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let target = "/v1internal:generateContent";
    let whole = prompt("hi").to_string();
    let cases = [
        (format!("{whole}, \"project\": \"x\"}}"), "Parsing terminated before end of input."),
        (format!("{whole}{whole}"), "Parsing terminated before end of input."),
        (whole[..whole.len() - 1].to_owned(), "Unexpected end of string."),
        ("[]".to_owned(), "Unknown name \"\": Root element must be a message."),
        ("nonsense".to_owned(), "Unexpected token."),
        ("\u{feff}{}".to_owned(), "Unexpected token."),
    ];
    for (body, what) in cases {
        let answer = send(&google, "POST", target, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        let start = format!("Invalid JSON payload received. {what}");
        assert!(answer.message().starts_with(&start), "{body}: {}", answer.message());
    }
    let padded = format!(" {whole}\n");
    assert_eq!(send(&google, "POST", target, &headers, padded.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_gzip_body_is_accepted() {
    use std::io::Write as _;
    let google = started().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(prompt("packed").to_string().as_bytes()).unwrap();
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("content-encoding", "gzip")];
    let target = "/v1internal:generateContent";
    let answer = send(&google, "POST", target, &headers, &packed.finish().unwrap()).await;
    assert!(answer.text().contains("You said: packed"));
}

#[tokio::test]
async fn an_error_of_a_stream_is_an_array_of_one() {
    let google = started().await;
    let mut body = prompt("hi");
    body["foo"] = json!(1);
    let streamed = stream(&google, &body).await;
    assert_eq!(streamed.headers["content-type"], "application/json; charset=UTF-8");
    assert!(streamed.text().starts_with("[\n  {\n    \"error\": {\n      \"code\": 400,"));
    let unary = rpc(&google, "generateContent", &body).await;
    assert!(unary.text().starts_with("{\n  \"error\": {\n    \"code\": 400,"));
    assert_eq!(streamed.json()[0], unary.json());
}

#[tokio::test]
async fn strictness_can_be_turned_off() {
    let google = started().await;
    let body = prompt_with("hi", &json!({"future": {"field": 1}}));
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 400);
    state(&google, json!({"strict": false})).await;
    assert_eq!(rpc(&google, "generateContent", &body).await.status, 200);
}
