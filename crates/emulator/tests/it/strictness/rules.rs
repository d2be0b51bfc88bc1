//! What the rules beyond the proto message refuse: roles, thinking, signatures, schemas.

use code_assist_emulator::PROJECT;
use serde_json::{Value, json};

use crate::client::{prompt_with, rpc, started};

#[tokio::test]
async fn a_role_is_user_or_model() {
    let google = started().await;
    for role in [Value::Null, json!("function"), json!("system"), json!("")] {
        let more = json!({"contents": [{"role": role, "parts": [{"text": "x"}]}]});
        let answer = rpc(&google, "generateContent", &prompt_with("", &more)).await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (400, "Please use a valid role: user, model."),
            "{role}"
        );
    }
    let more = json!({"systemInstruction": {"role": "system", "parts": [{"text": "x"}]}});
    assert_eq!(rpc(&google, "generateContent", &prompt_with("", &more)).await.status, 200);
}

#[tokio::test]
async fn empty_contents_and_parts_are_an_invalid_argument() {
    let google = started().await;
    let cases = [
        json!({"contents": []}),
        json!({"contents": null}),
        json!({"contents": [{"role": "user"}]}),
        json!({"contents": [{"role": "user", "parts": []}]}),
        json!({"contents": [{"role": "user", "parts": [{}]}]}),
        json!({"systemInstruction": {"parts": []}}),
    ];
    for more in cases {
        let answer = rpc(&google, "generateContent", &prompt_with("hi", &more)).await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (400, "Request contains an invalid argument."),
            "{more}"
        );
    }
}

#[tokio::test]
async fn thinking_settings_have_rules_by_model_family() {
    let google = started().await;
    let cases = [
        ("gemini-2.5-flash", json!({"thinkingLevel": "HIGH"}), "Thinking level is not supported"),
        (
            "gemini-3-flash",
            json!({"thinkingLevel": "HIGH", "thinkingBudget": 5}),
            "You can only set only one of thinking budget and thinking level.",
        ),
        (
            "gemini-3-pro-preview",
            json!({"thinkingLevel": "MEDIUM"}),
            "Thinking level MEDIUM is not",
        ),
        ("gemini-3.1-pro-preview", json!({"thinkingLevel": "minimal"}), "Thinking level MINIMAL"),
        ("gemini-2.5-pro", json!({"thinkingBudget": 0}), "Budget 0 is invalid."),
        ("gemini-2.5-pro", json!({"thinkingBudget": 127}), "between 128 and 32768."),
        ("gemini-2.5-flash", json!({"thinkingBudget": 24_577}), "between 0 and 24576."),
        ("gemini-2.5-flash", json!({"thinkingBudget": -2}), "The thinking budget -2 is invalid."),
        ("gemini-2.5-flash-lite", json!({"thinkingBudget": 511}), "between 512 and 24576."),
        (
            "gemini-2.5-flash",
            json!({"thinkingBudget": 0, "includeThoughts": true}),
            "include_thoughts",
        ),
    ];
    for (model, thinking, part) in cases {
        let mut body =
            prompt_with("hi", &json!({"generationConfig": {"thinkingConfig": thinking}}));
        body["model"] = json!(model);
        let answer = rpc(&google, "generateContent", &body).await;
        assert_eq!(answer.status, 400, "{model} {thinking}");
        assert!(answer.message().contains(part), "{}", answer.message());
    }
    let fine = [
        ("gemini-2.5-pro", json!({"thinkingBudget": -1})),
        ("gemini-2.5-flash", json!({"thinkingBudget": "24576"})),
        ("gemini-2.5-flash-lite", json!({"thinking_budget": 0})),
        ("gemini-3-pro-preview", json!({"thinkingLevel": "low", "includeThoughts": true})),
        ("gemini-3-flash", json!({"thinkingLevel": "MINIMAL"})),
        ("gemini-3.1-flash-lite", json!({"thinkingBudget": 512})),
    ];
    for (model, thinking) in fine {
        let mut body =
            prompt_with("hi", &json!({"generationConfig": {"thinkingConfig": thinking}}));
        body["model"] = json!(model);
        let answer = rpc(&google, "generateContent", &body).await;
        assert_eq!(answer.status, 200, "{model} {thinking}: {}", answer.text());
    }
}

#[tokio::test]
async fn gemini_3_requires_thought_signatures_on_function_calls() {
    let google = started().await;
    let body = |model: &str, signature: Value| {
        json!({"model": model, "project": PROJECT, "request": {"contents": [
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}},
                                         "thoughtSignature": signature}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ]}})
    };
    let bare = rpc(&google, "generateContent", &body("gemini-3-flash", Value::Null)).await;
    assert_eq!(bare.status, 400);
    assert!(
        bare.message().starts_with("Function call is missing a thought_signature in functionCall")
    );
    for signature in [json!("ZW11"), json!("skip_thought_signature_validator")] {
        let answer = rpc(&google, "generateContent", &body("gemini-3-flash", signature)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let old = rpc(&google, "generateContent", &body("gemini-2.5-pro", Value::Null)).await;
    assert_eq!(old.status, 200);
    let mut earlier = body("gemini-3-flash", Value::Null);
    let contents = earlier["request"]["contents"].as_array_mut().unwrap();
    contents.push(json!({"role": "model", "parts": [{"text": "done"}]}));
    contents.push(json!({"role": "user", "parts": [{"text": "a new turn"}]}));
    assert_eq!(rpc(&google, "generateContent", &earlier).await.status, 200);
}

#[tokio::test]
async fn each_function_call_needs_one_function_response() {
    let google = started().await;
    let call = json!({"functionCall": {"name": "f", "args": {}}});
    let response = json!({"functionResponse": {"name": "f", "response": {}}});
    let more = json!({"contents": [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [call, call]},
        {"role": "user", "parts": [response]},
    ]});
    let answer = rpc(&google, "generateContent", &prompt_with("", &more)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("Please ensure that the number of function response"));
}

#[tokio::test]
async fn schemas_exclude_each_other_and_need_a_json_answer() {
    let google = started().await;
    let function = json!([{"functionDeclarations": [{"name": "f"}]}]);
    let json_type = "application/json";
    let cases = [
        json!({"generationConfig": {"responseSchema": {"type": "STRING"}}}),
        json!({"generationConfig": {"responseMimeType": json_type, "responseJsonSchema": {},
                                    "responseSchema": {"type": "STRING"}}}),
        json!({"generationConfig": {"responseMimeType": json_type}, "tools": function}),
        json!({"tools": [{"functionDeclarations": [
            {"name": "f", "parameters": {"type": "OBJECT"}, "parametersJsonSchema": {}}]}]}),
        json!({"tools": [{"functionDeclarations": [{"name": "1 f"}]}]}),
        json!({"contents": [{"role": "user", "parts": [{"fileData":
            {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}}]}]}),
    ];
    for more in cases {
        let answer = rpc(&google, "generateContent", &prompt_with("hi", &more)).await;
        assert_eq!(answer.status, 400, "{more}");
    }
    let cached = json!({"cachedContent": "cachedContents/x"});
    let answer = rpc(&google, "generateContent", &prompt_with("hi", &cached)).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn count_tokens_has_an_envelope_of_its_own() {
    let google = started().await;
    let contents = json!([{"role": "user", "parts": [{"text": "12345"}]}]);
    let inner = json!({"model": "models/gemini-2.5-pro", "contents": contents});
    let good = rpc(&google, "countTokens", &json!({"request": inner})).await;
    assert_eq!((good.status, good.json()), (200, json!({"totalTokens": 2})));
    for name in ["model", "project", "user_prompt_id"] {
        let answer = rpc(&google, "countTokens", &json!({"request": inner, name: "x"})).await;
        let message =
            format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
        assert_eq!((answer.status, answer.message()), (400, message));
    }
    let with = |name: &str, value: Value| {
        let mut inner = inner.clone();
        inner[name] = value;
        json!({"request": inner})
    };
    let refused = [
        with("safetySettings", json!([])),
        with("session_id", json!("s")),
        with("model", json!("gemini-2.5-pro")),
        with("contents", json!([])),
        with("contents", json!([{"parts": [{"text": "x"}]}])),
        with("contents", json!([{"role": "user", "parts": []}])),
        with("contents", json!([{"role": "user", "parts": [{"thoughtSignature": "AAAA"}]}])),
        with("contents", json!([{"role": "model", "parts": [{"text": "x", "thought": true}]}])),
    ];
    for body in refused {
        assert_eq!(rpc(&google, "countTokens", &body).await.status, 400, "{body}");
    }
    let taken = with("generationConfig", json!({"temperature": 1}));
    assert_eq!(rpc(&google, "countTokens", &taken).await.status, 200);
}
