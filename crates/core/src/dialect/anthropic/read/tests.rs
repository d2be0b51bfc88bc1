//! Requests of Anthropic's clients, and the Gemini requests that they become.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::caller::Caller;
use crate::dialect::Dialect;
use crate::dialect::translate::fault::Fault;
use crate::dialect::translate::target::SignatureRecall;
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;

fn target(model: &str) -> Target {
    Target::new(model, ProviderKind::GeminiApi)
}

/// The Gemini request for these fields, beside a model, a limit and a message.
fn gemini(model: &str, fields: &Value) -> Value {
    written(&target(model), fields).0
}

/// The Gemini request, and the fields that are left out.
fn written(target: &Target, fields: &Value) -> (Value, Vec<String>) {
    let (written, _) = read_fields(target, fields).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.dropped)
}

fn read_fields(target: &Target, fields: &Value) -> Result<(Written, MessagesPlan), Error> {
    let mut request = json!({
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    });
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    read(&Bytes::from(request.to_string()), target)
}

/// The error for these fields as a client sees it.
fn refusal(fields: &Value) -> (u16, String) {
    let error = read_fields(&target("gemini-3-pro-preview"), fields).unwrap_err();
    let fault = Fault::of(&error, Dialect::Anthropic);
    assert_eq!(fault.kind, "invalid_request_error", "{}", fault.message);
    assert_eq!(fault.should_retry, Some(false));
    (fault.status.as_u16(), fault.message)
}

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
fn sampling_and_limits_become_geminis() {
    let config = |fields: Value| gemini("gemini-2.5-pro", &fields)["generationConfig"].clone();
    assert_eq!(config(json!({"max_tokens": 128_000})), json!({"maxOutputTokens": 65_536}));
    assert_eq!(config(json!({"max_tokens": 0})), json!({"maxOutputTokens": 1}));
    let fields = json!({
        "temperature": 0, "top_p": 0.95, "top_k": 40, "stop_sequences": ["a", "", "b"],
    });
    let expected = json!({
        "maxOutputTokens": 100, "temperature": 0, "topP": 0.95, "topK": 40,
        "stopSequences": ["a", "b"],
    });
    assert_eq!(config(fields), expected);
}

#[test]
fn a_sixth_stop_sequence_is_left_out_and_named() {
    let stop = json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]});
    let (request, dropped) = written(&target("gemini-2.5-pro"), &stop);
    assert_eq!(request["generationConfig"]["stopSequences"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(dropped, ["stop_sequences"]);
}

#[test]
fn a_form_of_the_answer_becomes_a_json_schema() {
    let schema = json!({"type": "object", "properties": {"k": {"type": "string"}}});
    let format = json!({"type": "json_schema", "schema": schema});
    for fields in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let config = gemini("gemini-2.5-pro", &fields)["generationConfig"].clone();
        assert_eq!(config["responseMimeType"], "application/json");
        assert_eq!(config["responseJsonSchema"], schema);
    }
}

#[test]
fn fields_without_a_form_are_left_out_and_those_that_matter_are_named() {
    let fields = json!({
        "metadata": {"user_id": "u"}, "context_management": {"edits": []}, "service_tier": "auto",
        "container": null, "diagnostics": {}, "inference_geo": "eu", "speed": "fast",
        "user_profile_id": "p", "workspace_id": "w", "cache_control": {"type": "ephemeral"},
        "stream": true, "mcp_servers": [], "new_field": null,
    });
    assert_eq!(written(&target("gemini-2.5-pro"), &fields).1, Vec::<String>::new());
    let fields = json!({
        "mcp_servers": [{"url": "https://x.example"}], "container": "c", "a_new_field": 1,
    });
    let dropped = written(&target("gemini-2.5-pro"), &fields).1;
    assert_eq!(dropped, ["a_new_field", "container", "mcp_servers"]);
}

#[test]
fn thinking_becomes_a_budget_or_a_level() {
    let none = json!({});
    for (thinking, effort, pro_2_5, pro_3, flash_3) in [
        (json!(null), None, Value::Null, Value::Null, Value::Null),
        (
            json!({"type": "disabled"}),
            None,
            json!({"thinkingBudget": 128}),
            json!({"thinkingLevel": "LOW"}),
            json!({"thinkingLevel": "MINIMAL"}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 10_000}),
            None,
            json!({"thinkingBudget": 10_000, "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            json!({"thinkingLevel": "MEDIUM", "includeThoughts": true}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 100_000}),
            None,
            json!({"thinkingBudget": 32_768, "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 1000, "display": "omitted"}),
            None,
            json!({"thinkingBudget": 1000}),
            json!({"thinkingLevel": "LOW"}),
            json!({"thinkingLevel": "MINIMAL"}),
        ),
        (
            json!({"type": "adaptive", "display": "omitted"}),
            Some("medium"),
            json!({"thinkingBudget": 8192}),
            json!({"thinkingLevel": "HIGH"}),
            json!({"thinkingLevel": "MEDIUM"}),
        ),
        (
            json!({"type": "between_tools"}),
            Some("low"),
            json!({"thinkingBudget": 1024, "includeThoughts": true}),
            json!({"thinkingLevel": "LOW", "includeThoughts": true}),
            json!({"thinkingLevel": "LOW", "includeThoughts": true}),
        ),
        (
            json!({"type": "adaptive"}),
            None,
            json!({"thinkingBudget": -1, "includeThoughts": true}),
            json!({"includeThoughts": true}),
            json!({"includeThoughts": true}),
        ),
        (
            json!({"type": "adaptive", "display": "omitted"}),
            None,
            json!({"thinkingBudget": -1}),
            Value::Null,
            Value::Null,
        ),
    ] {
        let mut fields = none.clone();
        fields["thinking"] = thinking;
        if let Some(effort) = effort {
            fields["output_config"] = json!({"effort": effort});
        }
        for (model, expected) in [
            ("gemini-2.5-pro", pro_2_5),
            ("gemini-3-pro-preview", pro_3),
            ("gemini-3-flash-preview", flash_3),
        ] {
            let config = &gemini(model, &fields)["generationConfig"];
            assert_eq!(config["thinkingConfig"], expected, "{model} {fields}");
        }
    }
}

#[test]
fn the_plan_says_what_the_client_has_asked_for() {
    let plan = |fields: Value| read_fields(&target("gemini-3-pro-preview"), &fields).unwrap().1;
    for (thinking, is_asked_for, is_shown) in [
        (json!(null), false, false),
        (json!({"type": "disabled"}), false, false),
        (json!({"type": "enabled", "budget_tokens": 2000}), true, true),
        (json!({"type": "adaptive", "display": "omitted"}), true, false),
        (json!({"type": "adaptive", "display": "summarized"}), true, true),
        (json!({"type": "a_new_type"}), false, false),
    ] {
        let plan = plan(json!({"thinking": thinking}));
        assert_eq!((plan.thinking, plan.plan.shows_thoughts), (is_asked_for, is_shown));
    }
    let first = plan(json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert!(first.plan.one_call);
    let second = plan(json!({}));
    assert!(!second.plan.one_call);
    assert_eq!(&*second.plan.model, "claude-opus-5-5");
    assert_eq!(second.plan.provider, ProviderKind::GeminiApi);
}

#[test]
fn an_effort_without_its_use_and_an_unknown_way_to_think_are_named() {
    let dropped = |fields: Value| written(&target("gemini-3-pro-preview"), &fields).1;
    assert_eq!(dropped(json!({"output_config": {"effort": "high"}})), ["output_config.effort"]);
    assert_eq!(dropped(json!({"thinking": {"type": "a_new_type"}})), ["thinking"]);
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
        assert_eq!(
            model_parts("gemini-2.5-pro", &json!([block])),
            match expected {
                // Without a part of the model's the messages around it are one content.
                Value::Null => Value::Null,
                expected => expected,
            },
            "{block}"
        );
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
    assert_eq!(with("gs1.g.-.", extra.clone(), &plain), (json!("E"), None));
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

#[test]
fn functions_are_declared_with_their_own_schemas() {
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}, "additionalProperties": false});
    let tools = json!([
        {"name": "f", "description": "F", "input_schema": schema, "eager_input_streaming": true,
            "input_examples": [], "cache_control": {"type": "ephemeral"}, "allowed_callers": ["direct"]},
        {"type": "custom", "name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]);
    let (request, dropped) = written(&target("gemini-2.5-pro"), &json!({"tools": tools}));
    let expected = json!([{"functionDeclarations": [
        {"name": "f", "description": "F", "parametersJsonSchema": schema},
        {"name": "g"},
    ]}]);
    assert_eq!(request["tools"], expected);
    assert_eq!(request.get("toolConfig"), None);
    assert!(dropped.is_empty());
}

#[test]
fn the_choice_becomes_a_mode() {
    let config = |strict: bool, choice: Value| {
        let tools = json!([{"name": "f", "input_schema": {"type": "object"}, "strict": strict}]);
        let fields = json!({"tools": tools, "tool_choice": choice});
        gemini("gemini-2.5-pro", &fields)["toolConfig"]["functionCallingConfig"].clone()
    };
    assert_eq!(config(false, json!({"type": "auto"})), Value::Null);
    assert_eq!(config(false, json!({"type": "any"})), json!({"mode": "ANY"}));
    assert_eq!(config(false, json!({"type": "none"})), json!({"mode": "NONE"}));
    let named = json!({"type": "tool", "name": "f"});
    assert_eq!(config(false, named), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
    assert_eq!(config(true, Value::Null), json!({"mode": "VALIDATED"}));
}

#[test]
fn tools_that_anthropic_runs_become_googles_where_it_has_one() {
    let search = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 8,
        "allowed_domains": ["x.example"], "blocked_domains": null});
    let fetch = json!({"type": "web_fetch_20250910", "name": "web_fetch"});
    let code = json!({"type": "code_execution_20250825", "name": "code_execution"});
    let function = json!({"name": "f", "input_schema": {"type": "object"}});
    let options = ["tools.0.allowed_domains", "tools.0.max_uses"];
    for (model, tools, expected, dropped) in [
        ("gemini-2.5-pro", json!([search]), json!([{"googleSearch": {}}]), options.to_vec()),
        ("gemini-2.5-pro", json!([fetch]), json!([{"urlContext": {}}]), vec![]),
        ("gemini-2.5-pro", json!([code]), json!([{"codeExecution": {}}]), vec![]),
        (
            "gemini-2.5-pro",
            json!([fetch, function]),
            json!([{"functionDeclarations": [{"name": "f"}]}]),
            vec!["tools.0"],
        ),
        (
            "gemini-3-pro-preview",
            json!([search, function]),
            json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]),
            options.to_vec(),
        ),
        (
            "gemini-3-pro-preview",
            json!([
                {"type": "bash_20250124", "name": "bash"},
                {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
                {"type": "memory_20250818", "name": "memory"},
                {"type": "computer_20250124", "name": "computer"},
                {"type": "browser_toolset_20260801"},
                {"type": "mcp_toolset", "mcp_server_name": "m"},
                function,
            ]),
            json!([{"functionDeclarations": [{"name": "f"}]}]),
            vec!["tools.0", "tools.1", "tools.2", "tools.3", "tools.4", "tools.5"],
        ),
    ] {
        let (request, left_out) = written(&target(model), &json!({"tools": tools}));
        assert_eq!(request["tools"], expected, "{tools}");
        assert_eq!(left_out, dropped, "{tools}");
    }
}

/// The names of the declared functions.
fn declared(fields: &Value) -> Vec<String> {
    let request = gemini("gemini-3-pro-preview", fields);
    let functions = request["tools"][0]["functionDeclarations"].as_array().cloned();
    let functions = functions.unwrap_or_default();
    functions.iter().map(|function| function["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_deferred_tool_is_declared_once_the_conversation_refers_to_it() {
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}, "defer_loading": true});
    let tools = json!([
        {"name": "ToolSearch", "input_schema": {"type": "object"}},
        tool("DeferredToolPlaceholder"), tool("WebSearch"), tool("WebFetch"),
    ]);
    assert_eq!(declared(&json!({"tools": tools})), ["ToolSearch"]);
    let found = |content: Value| {
        json!({"tools": tools, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "ToolSearch", "input": {}}]},
            {"role": "user", "content": content},
        ]})
    };
    let reference = found(json!([{"type": "tool_result", "tool_use_id": "t", "content": [
        {"type": "tool_reference", "tool_name": "WebSearch"},
        {"type": "tool_reference", "tool_name": "DeferredToolPlaceholder"},
    ]}]));
    assert_eq!(declared(&reference), ["ToolSearch", "WebSearch"]);
    let response = &gemini("gemini-2.5-pro", &reference)["contents"][2]["parts"][0];
    let text = "Tool WebSearch is available now.\nTool DeferredToolPlaceholder is available now.";
    assert_eq!(response["functionResponse"]["response"], json!({"output": text}));

    let change = |kind: &str, name: &str| json!({"type": kind, "tool": {"type": "tool_reference", "tool_name": name}});
    let changed = found(json!([
        {"type": "tool_result", "tool_use_id": "t", "content": "x"},
        change("tool_addition", "WebFetch"),
        change("tool_removal", "ToolSearch"),
    ]));
    assert_eq!(declared(&changed), ["WebFetch"]);
}

#[test]
fn beside_anthropics_search_for_tools_every_tool_is_declared() {
    let fields = json!({"tools": [
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        {"name": "f", "input_schema": {"type": "object"}, "defer_loading": true},
    ]});
    assert_eq!(declared(&fields), ["f"]);
    assert_eq!(written(&target("gemini-3-pro-preview"), &fields).1, ["tools.0"]);
}

#[test]
fn claude_codes_first_request_becomes_a_plain_one() {
    let fields = json!({
        "model": "gemini-3-pro-preview",
        "max_tokens": 32_000,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.a1b; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nx\n</system-reminder>"},
                {"type": "text", "text": "list files", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "system", "content": "# Environment\nlinux"},
        ],
        "tools": [
            {"name": "Bash", "description": "Runs", "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"command": {"type": "string"}, "timeout": {"type": "number", "maximum": 9_007_199_254_740_991_u64}},
                "required": ["command"], "additionalProperties": false}},
            {"name": "DeferredToolPlaceholder", "description": "-", "input_schema": {"type": "object"}, "defer_loading": true},
        ],
        "metadata": {"user_id": "{}"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "diagnostics": {"previous_message_id": null},
        "stream": true,
    });
    let (written, plan) = read_fields(&target("gemini-3-pro-preview"), &fields).unwrap();
    let expected = r#"{"systemInstruction":{"parts":[{"text":"You are Claude Code."},{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"<system-reminder>\nx\n</system-reminder>"},{"text":"list files"},{"text":"<system>\n# Environment\nlinux\n</system>"}]}],"tools":[{"functionDeclarations":[{"name":"Bash","description":"Runs","parametersJsonSchema":SCHEMA}]}],"generationConfig":{"maxOutputTokens":32000,"thinkingConfig":{"thinkingLevel":"HIGH"}}}"#;
    let schema = fields["tools"][0]["input_schema"].to_string();
    assert_eq!(written.body, expected.replace("SCHEMA", &schema));
    assert_eq!(written.dropped, Vec::<String>::new());
    assert!(plan.thinking && !plan.plan.shows_thoughts);
}

#[test]
fn texts_are_copied_as_they_are_written() {
    let body = r#"{"model":"m","max_tokens":1,"temperature":1.00,"messages":[{"role":"user","content":"cut \ud83d \u00e4"}]}"#;
    let (written, _) = read(&Bytes::from(body), &target("gemini-2.5-pro")).unwrap();
    let expected = r#"{"contents":[{"role":"user","parts":[{"text":"cut \ud83d \u00e4"}]}],"generationConfig":{"maxOutputTokens":1,"temperature":1.00}}"#;
    assert_eq!(written.body, expected);
}

#[test]
fn a_count_needs_no_limit_and_asks_upstream_for_the_same_prompt() {
    let body = r#"{"model":"m","system":"A","messages":[{"role":"user","content":"hi"}]}"#;
    let written = read_count(&Bytes::from(body), &target("gemini-2.5-pro")).unwrap();
    let expected = json!({"generateContentRequest": {
        "model": "models/gemini-2.5-pro",
        "systemInstruction": {"parts": [{"text": "A"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    }});
    assert_eq!(serde_json::from_slice::<Value>(&written.body).unwrap(), expected);
    let error = read_count(&Bytes::from(r#"{"model":"m"}"#), &target("gemini-2.5-pro"));
    assert_eq!(error.unwrap_err().to_string(), "Field required");
}

#[test]
fn a_refusal_begins_with_the_path_of_the_field() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let model = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let image = |source: Value| user(json!({"type": "image", "source": source}));
    for (fields, begin) in [
        (json!({"model": null}), "model: Field required"),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (json!({"max_tokens": "many"}), "max_tokens: This must be a whole number"),
        (json!({"max_tokens": -1}), "max_tokens: "),
        (json!({"temperature": "hot"}), "temperature: This must be a number."),
        (json!({"stop_sequences": "x"}), "stop_sequences: "),
        (json!({"stop_sequences": ["a", 1]}), "stop_sequences.1: This must be a string."),
        (json!({"system": 1}), "system: This must be an array."),
        (json!({"system": [{"type": "image"}]}), "system.0: "),
        (json!({"messages": null}), "messages: Field required"),
        (json!({"messages": []}), "messages: There must be at least one message."),
        (json!({"messages": {}}), "messages: This must be an array."),
        (
            json!({"messages": [{"role": "user", "content": "a"}, "b"]}),
            "messages.1: This must be an object.",
        ),
        (json!({"messages": [{"content": "a"}]}), "messages.0.role: Field required"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "messages.0.role: "),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content: Field required"),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            "messages.0.content: This must be an array.",
        ),
        (user(json!("x")), "messages.0.content.0: This must be an object."),
        (user(json!({"text": "x"})), "messages.0.content.0.type: Field required"),
        (user(json!({"type": "text"})), "messages.0.content.0.text: Field required"),
        (
            user(json!({"type": "text", "text": 1})),
            "messages.0.content.0.text: This must be a string.",
        ),
        (user(json!({"type": "container_upload", "file_id": "f"})), "messages.0.content.0: "),
        (
            user(json!({"type": "a_new_type"})),
            "messages.0.content.0: A user's message has no block `a_new_type`",
        ),
        (
            image(json!({"type": "file", "file_id": "f"})),
            "messages.0.content.0: No files are kept here",
        ),
        (
            image(json!({"type": "base64", "data": "AA=="})),
            "messages.0.content.0.source.media_type: Field required",
        ),
        (
            image(json!({"type": "url", "url": "http://169.254.169.254/a"})),
            "messages.0.content.0: URLs of images are not fetched here",
        ),
        (user(json!({"type": "image"})), "messages.0.content.0.source: Field required"),
        (user(json!({"type": "tool_result"})), "messages.0.content.0.tool_use_id: Field required"),
        (
            user(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "audio"}]}),
            ),
            "messages.0.content.0.content.0: ",
        ),
        (
            model(json!({"type": "tool_use", "id": "t"})),
            "messages.0.content.0.name: Field required",
        ),
        (model(json!({"type": "tool_result", "tool_use_id": "t"})), "messages.0.content.0: "),
        (json!({"thinking": "on"}), "thinking: This must be an object."),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens: Field required"),
        (json!({"output_config": {"effort": "huge"}}), "output_config.effort: The effort `huge`"),
        (
            json!({"output_config": {"format": {"type": "json_schema"}}}),
            "output_config.format.schema: Field required",
        ),
        (json!({"tools": [{"input_schema": {}}]}), "tools.0.name: Field required"),
        (json!({"tools": ["x"]}), "tools.0: This must be an object."),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type: "),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name: Field required"),
        (json!({"tool_choice": {"type": "tool", "name": "f"}}), "tool_choice.name: "),
    ] {
        let (status, message) = refusal(&fields);
        assert_eq!(status, 400);
        assert!(message.starts_with(begin), "{fields}: {message}");
    }
}

#[test]
fn a_thread_is_refused_in_the_words_that_make_sdks_send_whole_conversations() {
    for (fields, code, path) in [
        (json!({"thread": {"type": "create"}}), RefusalCode::ThreadUnsupported, "thread"),
        (
            json!({"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
            RefusalCode::ThreadNotFound,
            "thread.previous_message_id",
        ),
        (
            json!({"previous_message_id": "msg_1"}),
            RefusalCode::ThreadNotFound,
            "previous_message_id",
        ),
    ] {
        let Err(Error::Refused(refusal)) = read_fields(&target("gemini-2.5-pro"), &fields) else {
            panic!("{fields}")
        };
        assert_eq!((refusal.code, &*refusal.path), (code, path));
    }
    assert!(read_fields(&target("gemini-2.5-pro"), &json!({"thread": null})).is_ok());
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    let read = |body: &'static str| read(&Bytes::from(body), &target("gemini-2.5-pro"));
    assert!(matches!(read("{"), Err(Error::MalformedJson { .. })));
    assert!(matches!(read(""), Err(Error::MalformedJson { .. })));
    assert!(matches!(read("{} {}"), Err(Error::MalformedJson { .. })));
    assert!(matches!(read("[]"), Err(Error::Refused(_))));
}
