use super::*;

fn contents(model: &str, messages: &Value) -> Value {
    gemini(model, &json!({"messages": messages}))["contents"].clone()
}

/// The parts of the only content, for one message of the user's with these blocks.
fn user_parts(blocks: &Value) -> Value {
    let contents = contents("gemini-3-pro-preview", &json!([{"role": "user", "content": blocks}]));
    assert_eq!(contents.as_array().unwrap().len(), 1, "{contents}");
    contents[0]["parts"].clone()
}

/// The parts of the model's content, for one message of the model's with these blocks.
fn model_parts(model: &str, blocks: &Value) -> Value {
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": "and"},
    ]);
    let contents = contents(model, &messages);
    contents[1]["parts"].clone()
}

#[test]
fn the_system_prompt_has_one_part_for_each_block_and_no_billing() {
    let system = |system: Value| gemini("gemini-2.5-pro", &json!({"system": system}));
    assert_eq!(system(json!("A"))["systemInstruction"], json!({"parts": [{"text": "A"}]}));
    let blocks = json!([
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=12345;"},
        {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": ""},
        {"type": "text", "text": "B"},
    ]);
    let parts = json!({"parts": [{"text": "A"}, {"text": "B"}]});
    assert_eq!(system(blocks)["systemInstruction"], parts);
    assert_eq!(system(Value::Null).get("systemInstruction"), None);
}

#[test]
fn a_system_message_stays_at_its_place() {
    let messages = json!([
        {"role": "user", "content": "a"},
        {"role": "system", "content": "S"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "system", "content": [{"type": "text", "text": "T"}]},
        {"role": "user", "content": [{"type": "text", "text": "c"}]},
    ]);
    let expected = json!([
        {"role": "user", "parts": [{"text": "a"}, {"text": "<system>\nS\n</system>"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"role": "user", "parts": [{"text": "<system>\nT\n</system>"}, {"text": "c"}]},
    ]);
    assert_eq!(contents("gemini-2.5-pro", &messages), expected);
}

#[test]
fn neighbours_of_one_role_are_one_content_and_a_prefill_stays() {
    let messages = json!([
        {"role": "assistant", "content": "z"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]);
    let expected = json!([
        {"role": "model", "parts": [{"text": "z"}]},
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
    ]);
    assert_eq!(contents("gemini-2.5-pro", &messages), expected);
}

#[test]
fn each_block_of_a_user_has_its_part() {
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBE"});
    for (block, expected) in [
        (json!({"type": "text", "text": "a"}), json!([{"text": "a"}])),
        (
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
            json!([{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]),
        ),
        (
            json!({"type": "image", "source": {"type": "url", "url": "data:image/gif;base64,AA=="}}),
            json!([{"inlineData": {"mimeType": "image/gif", "data": "AA=="}}]),
        ),
        (
            json!({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}),
            json!([{"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/a.png"}}]),
        ),
        (
            json!({"type": "document", "source": pdf, "citations": {"enabled": true}}),
            json!([{"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}}]),
        ),
        (
            json!({"type": "document", "source": pdf, "title": "T", "context": "C"}),
            json!([{"text": "T\nC"}, {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}}]),
        ),
        (
            json!({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            json!([{"text": "T"}, {"text": "x"}]),
        ),
        (
            json!({"type": "document", "source": {"type": "url", "url": "https://x.example/doc"}}),
            json!([{"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/doc"}}]),
        ),
        (
            json!({"type": "document", "source": {"type": "content", "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            ]}}),
            json!([{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]),
        ),
        (
            json!({"type": "document", "source": {"type": "content", "content": "x"}}),
            json!([{"text": "x"}]),
        ),
        (
            json!({"type": "search_result", "title": "T", "source": "https://x.example", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
            ]}),
            json!([{"text": "T\nhttps://x.example\na\nb"}]),
        ),
        (
            json!({"type": "tool_addition", "tool": {"type": "tool_reference", "tool_name": "T"}}),
            json!([{"text": "Tool T is available now."}]),
        ),
        (
            json!({"type": "tool_removal", "tool": {"type": "tool_reference", "tool_name": "T"}}),
            json!([{"text": "Tool T is no longer available."}]),
        ),
    ] {
        assert_eq!(user_parts(&json!([block])), expected, "{block}");
    }
}

#[test]
fn each_block_of_a_model_has_its_part() {
    for (block, expected) in [
        (json!({"type": "text", "text": "a", "citations": null}), json!([{"text": "a"}])),
        (
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {"n": 1}}),
            json!([{"functionCall": {"name": "f", "args": {"n": 1}}}]),
        ),
        (
            json!({"type": "tool_use", "id": "t", "name": "f", "input": null}),
            json!([{"functionCall": {"name": "f", "args": {}}}]),
        ),
        (
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q \"x\""}}),
            json!([{"text": "[web_search \"q \\\"x\\\"\"]"}]),
        ),
        (
            json!({"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {"code": "1"}}),
            json!([{"text": "[code_execution {\"code\":\"1\"}]"}]),
        ),
        (
            json!({"type": "mcp_tool_use", "id": "s", "name": "f", "server_name": "m", "input": {}}),
            json!([{"text": "[f]"}]),
        ),
        (
            json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": [
                {"type": "web_search_result", "url": "https://x.example/1", "title": "One", "encrypted_content": "e"},
                {"type": "web_search_result", "url": "https://x.example/2", "title": ""},
            ]}),
            json!([{"text": "One: https://x.example/1\nhttps://x.example/2"}]),
        ),
        (
            json!({"type": "web_search_tool_result", "tool_use_id": "s", "content":
                {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}}),
            json!([{"text": "Error: max_uses_exceeded"}]),
        ),
        (
            json!({"type": "web_fetch_tool_result", "tool_use_id": "s", "content":
                {"type": "web_fetch_result", "url": "https://x.example", "content": {"type": "document", "title": "T"}}}),
            json!([{"text": "T: https://x.example"}]),
        ),
        (
            json!({"type": "code_execution_tool_result", "tool_use_id": "s", "content":
                {"type": "code_execution_result", "stdout": "1\n", "stderr": "", "return_code": 0, "content": []}}),
            json!([{"text": "1\n"}]),
        ),
        (
            json!({"type": "mcp_tool_result", "tool_use_id": "s", "content": [{"type": "text", "text": "x"}]}),
            json!([{"text": "x"}]),
        ),
        (json!({"type": "compaction", "content": "So far."}), json!([{"text": "So far."}])),
        (json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"}), Value::Null),
        (json!({"type": "redacted_thinking", "data": "x"}), Value::Null),
    ] {
        // Without a part of the model's the messages around it are one content.
        assert_eq!(model_parts("gemini-2.5-pro", &json!([block])), expected, "{block}");
    }
}

#[test]
fn a_block_of_another_service_is_left_out_of_a_models_message_and_named() {
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "a"},
            {"type": "container_upload", "file_id": "f"},
            {"type": "fallback", "from": {}, "to": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        ]},
    ]);
    let (request, dropped) = written(&target("gemini-2.5-pro"), &json!({"messages": messages}));
    assert_eq!(request["contents"][1], json!({"role": "model", "parts": [{"text": "a"}]}));
    assert_eq!(dropped, [1, 2, 3].map(|at| format!("messages.1.content.{at}")));
}

#[test]
fn results_are_paired_with_their_calls_in_the_order_of_the_calls() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "", "signature": "gs1.g.f.S"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            {"type": "tool_use", "id": "c", "name": "h", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "content": [image]},
            {"type": "tool_result", "tool_use_id": "b", "content": "bad", "is_error": true},
            {"type": "tool_result", "tool_use_id": "a", "content": [
                {"type": "text", "text": "1"}, {"type": "text", "text": "2"},
            ]},
            {"type": "text", "text": "go on"},
        ]},
    ]);
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}});
    let three = contents("gemini-3-pro-preview", &messages);
    assert_eq!(
        three[1],
        json!({"role": "model", "parts": [
            {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "S"},
            {"functionCall": {"id": "b", "name": "g", "args": {}}},
            {"functionCall": {"id": "c", "name": "h", "args": {}}},
        ]})
    );
    assert_eq!(
        three[2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"id": "a", "name": "f", "response": {"output": "1\n2"}}},
            {"functionResponse": {"id": "b", "name": "g", "response": {"error": "bad"}}},
            {"functionResponse": {"id": "c", "name": "h", "response": {"output": ""}, "parts": [inline]}},
            {"text": "go on"},
        ]})
    );
    let two = contents("gemini-2.5-pro", &messages);
    assert_eq!(
        two[2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"name": "f", "response": {"output": "1\n2"}}},
            {"functionResponse": {"name": "g", "response": {"error": "bad"}}},
            {"functionResponse": {"name": "h", "response": {"output": ""}}},
            {"text": "Returned by h:"}, inline, {"text": "go on"},
        ]})
    );
}

#[test]
fn the_signature_of_a_call_comes_from_its_block_the_call_the_memory_or_is_skipped() {
    let with = |thinking: &str, extra: Value, target: &Target| {
        let fields = json!({"messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": thinking},
                {"type": "tool_use", "id": "a", "name": "f", "input": {}, "extra_content": extra},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        ]});
        let (written, _) = read_fields(target, &fields).unwrap();
        let request: Value = serde_json::from_slice(&written.body).unwrap();
        (request["contents"][1]["parts"][0]["thoughtSignature"].clone(), written.foreign)
    };
    let extra = json!({"google": {"thought_signature": "E"}});
    let plain = target("gemini-3-pro-preview");
    let skip = json!("skip_thought_signature_validator");
    assert_eq!(with("gs1.g.f.S", Value::Null, &plain), (json!("S"), None));
    assert_eq!(with("gs1.g.-.", extra, &plain), (json!("E"), None));
    assert_eq!(with("EqQBclaude", Value::Null, &plain), (skip.clone(), None));
    assert_eq!(with("", json!("?"), &plain), (skip.clone(), None));
    let foreign = Some(ProviderKind::Vertex);
    assert_eq!(with("gs1.v.f.S", Value::Null, &plain), (skip, foreign));
    let memory = Arc::new(CallSignatures::new(1 << 16));
    let signatures = SignatureRecall::new(memory, Caller::default());
    signatures.remember("a", "M");
    let known = Target { signatures, ..plain };
    assert_eq!(with("EqQBclaude", Value::Null, &known), (json!("M"), None));
    assert_eq!(with("x", Value::Null, &target("gemini-2.5-pro")), (Value::Null, None));
}
