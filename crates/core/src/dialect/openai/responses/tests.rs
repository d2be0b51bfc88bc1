//! Requests of the Responses API, as Gemini gets them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::ResponsesPlan;
use super::read::{read, read_tokens, write_tokens};
use crate::caller::Caller;
use crate::dialect::translate::request::Written;
use crate::dialect::translate::target::{SignatureRecall, Target};
use crate::error::{Error, RefusalCode};
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;

const OLD: &str = "gemini-2.5-pro";
const NEW: &str = "gemini-3-pro-preview";

fn target(model: &str) -> Target {
    Target::new(model, ProviderKind::CodeAssist)
}

fn whole(body: &str, target: &Target) -> Result<(Written, ResponsesPlan), Error> {
    read(&Bytes::copy_from_slice(body.as_bytes()), target)
}

/// The Gemini request and what is left out.
fn read_for(body: &Value, model: &str) -> (Value, Vec<String>) {
    let (written, _) = whole(&body.to_string(), &target(model)).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.dropped)
}

fn contents(input: &Value, model: &str) -> Value {
    read_for(&json!({"input": input}), model).0["contents"].clone()
}

fn refusal(body: &Value) -> (RefusalCode, String, String) {
    match whole(&body.to_string(), &target(NEW)) {
        Err(Error::Refused(refusal)) => (refusal.code, refusal.path, refusal.message),
        other => panic!("{body} is not refused: {other:?}"),
    }
}

#[test]
fn a_text_with_instructions_is_two_texts() {
    let (written, plan) = whole(
        r#"{"model":"google/m","input":"hi","instructions":"A","store":true,"stream":true}"#,
        &target(OLD),
    )
    .unwrap();
    assert_eq!(
        &*written.body,
        br#"{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#
    );
    assert_eq!(written.dropped, Vec::<String>::new());
    assert_eq!(&*plan.plan.model, "google/m");
    assert!(!plan.plan.one_call && !plan.logprobs);
    assert!(plan.echo.contains("\"store\":false"));
}

#[test]
fn settings_become_those_of_gemini_and_are_repeated_in_the_answer() {
    let body = r#"{"input":"hi","max_output_tokens":128000,"temperature":0.50,"top_p":1,
        "parallel_tool_calls":false,"reasoning":{"effort":"high","summary":"auto"},"top_logprobs":3,
        "text":{"verbosity":"low","format":{"type":"json_schema","name":"n","strict":true,
        "schema":{"type": "object"}}}}"#;
    let (written, plan) = whole(body, &target(OLD)).unwrap();
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({
            "maxOutputTokens": 65_536, "temperature": 0.5, "topP": 1, "responseLogprobs": true,
            "logprobs": 3, "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingBudget": 24_576, "includeThoughts": true},
        })
    );
    assert!(std::str::from_utf8(&written.body).unwrap().contains("\"temperature\":0.50"));
    assert_eq!(written.dropped, ["text.verbosity"]);
    assert!(plan.plan.one_call && plan.logprobs);
    for member in [
        r#""max_output_tokens":128000"#,
        r#""parallel_tool_calls":false"#,
        r#""reasoning":{"effort":"high","summary":"auto"}"#,
        r#""temperature":0.50"#,
        r#""format":{"type":"json_schema","name":"n","strict":true,"schema":{"type":"object"}}"#,
    ] {
        assert!(plan.echo.contains(member), "{member} is not in {}", plan.echo);
    }
    assert!(!plan.echo.contains('\n'));
}

#[test]
fn reasoning_is_an_effort_a_budget_or_shown_thoughts() {
    for (reasoning, config) in [
        (json!({"summary": "auto"}), json!({"includeThoughts": true})),
        (json!({"generate_summary": "concise"}), json!({"includeThoughts": true})),
        (json!({"effort": "none"}), json!({"thinkingBudget": 128})),
        (json!({"effort": "low", "exclude": true}), json!({"thinkingBudget": 1024})),
        (json!({"max_tokens": 2000}), json!({"thinkingBudget": 2000, "includeThoughts": true})),
        (json!({"enabled": false}), json!({"thinkingBudget": 128})),
        (json!({"effort": null, "summary": null}), Value::Null),
    ] {
        let body = json!({"input": "hi", "reasoning": reasoning});
        let (body, dropped) = read_for(&body, OLD);
        assert_eq!(body["generationConfig"]["thinkingConfig"], config, "{reasoning}");
        assert_eq!(dropped, Vec::<String>::new());
    }
}

#[test]
fn fields_without_a_meaning_are_silent_and_unusable_ones_are_named() {
    let silent = json!({
        "input": "hi", "include": ["reasoning.encrypted_content"], "store": true, "metadata": {"a": 1},
        "user": "u", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "safety_identifier": "s", "client_metadata": {}, "service_tier": "flex", "stream": true,
        "stream_options": {}, "context_management": [], "moderation": {}, "access_programs": [],
        "truncation": "disabled", "background": false, "conversation": null,
        "previous_response_id": null, "prompt": null, "unknown": null,
    });
    let (body, dropped) = read_for(&silent, OLD);
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}));
    assert_eq!(dropped, Vec::<String>::new());
    let named = json!({
        "input": "hi", "truncation": "auto", "max_tool_calls": 3, "unknown": 1,
        "reasoning": {"other": 1},
    });
    let (_, mut dropped) = read_for(&named, OLD);
    dropped.sort();
    assert_eq!(dropped, ["max_tool_calls", "reasoning.other", "truncation", "unknown"]);
    let body = json!({"input": "hi", "include": ["message.output_text.logprobs"]});
    assert_eq!(read_for(&body, OLD).0["generationConfig"], json!({"responseLogprobs": true}));
}

#[test]
fn what_needs_a_store_or_has_no_form_is_refused() {
    use RefusalCode::{InvalidValue, ItemNotFound, ResponseNotFound};
    use RefusalCode::{UnsupportedParameter, UnsupportedValue};
    for (body, code, path) in [
        (
            json!({"input": "x", "previous_response_id": "r"}),
            ResponseNotFound,
            "previous_response_id",
        ),
        (json!({"input": "x", "conversation": "c"}), UnsupportedParameter, "conversation"),
        (json!({"input": "x", "background": true}), UnsupportedParameter, "background"),
        (json!({"input": "x", "prompt": {"id": "p"}}), UnsupportedParameter, "prompt"),
        (json!({"instructions": "x"}), InvalidValue, "input"),
        (json!({"input": []}), InvalidValue, "input"),
        (json!({"input": ""}), InvalidValue, "input"),
        (json!({"input": 5}), InvalidValue, "input"),
        (json!({"input": ["text"]}), InvalidValue, "input[0]"),
        (json!({"input": "x", "max_output_tokens": -1}), InvalidValue, "max_output_tokens"),
        (
            json!({"input": "x", "reasoning": {"effort": "much"}}),
            UnsupportedValue,
            "reasoning.effort",
        ),
        (
            json!({"input": "x", "text": {"format": {"type": "xml"}}}),
            UnsupportedValue,
            "text.format.type",
        ),
        (json!({"input": [{"role": "robot", "content": "x"}]}), UnsupportedValue, "input[0].role"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}),
            UnsupportedValue,
            "input[0].content[0].type",
        ),
        (
            json!({"input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": "http://169.254.169.254/a"}]}]}),
            UnsupportedValue,
            "input[0].content[0]",
        ),
        (
            json!({"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]}),
            ItemNotFound,
            "input[1].id",
        ),
        (
            json!({"input": "x", "tool_choice": {"type": "function", "name": "f"}}),
            UnsupportedValue,
            "tool_choice",
        ),
    ] {
        let (found, at, message) = refusal(&body);
        assert_eq!((found, &*at), (code, path), "{body}: {message}");
    }
    let (.., message) = refusal(&json!({"input": "x", "previous_response_id": "resp_1"}));
    assert_eq!(
        message,
        "Previous response with id 'resp_1' not found. This server keeps no responses: send the \
         whole input, or set store to false."
    );
    for body in ["", "[]", "{\"input\":", "{\"input\":\"x\"} {}"] {
        assert!(whole(body, &target(OLD)).is_err(), "{body}");
    }
    let not_utf8 = Bytes::from_static(b"{\"input\":\"\xff\"}");
    assert!(matches!(read(&not_utf8, &target(OLD)), Err(Error::MalformedJson { .. })));
}

#[test]
fn messages_have_their_sides_and_late_instructions_their_place() {
    let input = json!([
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "A"}]},
        {"role": "system", "content": "B"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "x"}, {"type": "input_text", "text": ""},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BB=="},
            {"type": "input_audio", "input_audio": {"data": "CC==", "format": "wav"}},
        ]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
            {"type": "output_text", "text": "y", "annotations": []},
            {"type": "refusal", "refusal": "no"}]},
        {"role": "developer", "content": "C"},
    ]);
    let (body, dropped) = read_for(&json!({"input": input, "instructions": "I"}), OLD);
    let texts = |texts: &[&str]| texts.iter().map(|text| json!({"text": text})).collect::<Value>();
    assert_eq!(body["systemInstruction"]["parts"], texts(&["I", "A", "B"]));
    let inline = |mime, data| json!({"inlineData": {"mimeType": mime, "data": data}});
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [
                {"text": "x"}, inline("image/png", "AA=="), inline("application/pdf", "BB=="),
                inline("audio/wav", "CC==")]},
            {"role": "model", "parts": texts(&["y", "no"])},
            {"role": "user", "parts": texts(&["<system>\nC\n</system>"])},
        ])
    );
    assert_eq!(dropped, Vec::<String>::new());
}

fn history() -> Value {
    json!([
        {"role": "user", "content": "look"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": null,
            "encrypted_content": "gs1.c.f.S"},
        {"type": "function_call", "call_id": "call_1", "namespace": "mcp__d", "name": "view",
            "arguments": "{\"n\":1.50}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [
            {"type": "input_text", "text": "seen"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}]},
    ])
}

#[test]
fn a_call_gets_its_signature_and_its_result_the_image() {
    let call = |id: bool| {
        let mut call = json!({"name": "mcp__d__view", "args": {"n": 1.5}});
        if id {
            call["id"] = "call_1".into();
        }
        json!({"role": "model", "parts": [{"functionCall": call, "thoughtSignature": "S"}]})
    };
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}});
    let new = contents(&history(), NEW);
    assert_eq!(new[1], call(true));
    assert_eq!(
        new[2]["parts"],
        json!([{"functionResponse": {"id": "call_1", "name": "mcp__d__view",
            "response": {"output": "seen"}, "parts": [inline]}}])
    );
    let old = contents(&history(), OLD);
    assert_eq!(old[1], call(false));
    assert_eq!(
        old[2]["parts"],
        json!([
            {"functionResponse": {"name": "mcp__d__view", "response": {"output": "seen"}}},
            {"text": "Returned by mcp__d__view:"}, inline,
        ])
    );
}

#[test]
fn a_reference_to_reasoning_is_looked_up_in_the_memory() {
    let signatures = SignatureRecall::new(Arc::new(CallSignatures::new(10_000)), Caller::Unknown);
    let mut target = Target { signatures: signatures.clone(), ..target(NEW) };
    for (item, id) in [
        (json!({"type": "item_reference", "id": "rs_1"}), "rs_1"),
        (json!({"id": "rs_1"}), "rs_1"),
        (json!({"type": "reasoning", "id": "rs_1", "summary": []}), "rs_1"),
        (json!({"type": "item_reference", "id": "rs_2"}), "rs_2"),
    ] {
        let input = json!([{"role": "user", "content": "x"}, item,
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]);
        let signature = |target: &Target| {
            let (written, _) = whole(&json!({"input": input}).to_string(), target).unwrap();
            let body: Value = serde_json::from_slice(&written.body).unwrap();
            body["contents"][1]["parts"][0]["thoughtSignature"].clone()
        };
        target.signatures = SignatureRecall::default();
        assert_eq!(signature(&target), "skip_thought_signature_validator");
        signatures.remember("rs_1", "gs1.c.f.S");
        target.signatures = signatures.clone();
        let known = if id == "rs_1" { "S" } else { "skip_thought_signature_validator" };
        assert_eq!(signature(&target), known, "{input}");
    }
}

#[test]
fn custom_calls_and_unusable_arguments_are_objects() {
    let input = json!([
        {"role": "user", "content": "x"},
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "*** \"x\"\n"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "oops"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        {"type": "function_call_output", "call_id": "b", "output": {"ok": true}},
    ]);
    let (body, dropped) = read_for(&json!({"input": input}), OLD);
    let contents = &body["contents"];
    let call = |at: usize| &contents[1]["parts"][at]["functionCall"];
    assert_eq!(*call(0), json!({"name": "patch", "args": {"input": "*** \"x\"\n"}}));
    assert_eq!(*call(1), json!({"name": "f", "args": {"_raw": "oops"}}));
    let result = |at: usize| &contents[2]["parts"][at]["functionResponse"]["response"];
    assert_eq!(*result(0), json!({"output": "done"}));
    assert_eq!(*result(1), json!({"output": "{\"ok\":true}"}));
    assert_eq!(dropped, ["input[2].arguments"]);
}

#[test]
fn items_of_other_types_are_left_out_and_named() {
    let mut input = vec![json!({"role": "user", "content": "x"})];
    for kind in ["web_search_call", "mcp_list_tools", "compaction", "local_shell_call", "new_kind"]
    {
        input.push(json!({"type": kind, "id": 5, "name": {}, "output": 7, "content": {}}));
    }
    let (body, dropped) = read_for(&json!({"input": input}), OLD);
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "x"}]}]));
    assert_eq!(dropped, ["input[1]", "input[2]", "input[3]", "input[4]", "input[5]"]);
}

#[test]
fn tools_come_from_both_places_and_those_of_other_types_are_named() {
    let function = |name: &str| {
        json!({"type": "function", "name": name, "strict": false,
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}})
    };
    let body = json!({
        "input": [
            {"type": "additional_tools", "tools": [function("g"), {"type": "shell"}]},
            {"role": "developer", "content": "A"},
            {"role": "user", "content": "x"},
        ],
        "tools": [{"type": "web_search"}, {"type": "local_shell"}, function("f")],
    });
    let (body, mut dropped) = read_for(&body, OLD);
    let declared = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    let names: Vec<&Value> = declared.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!(body["systemInstruction"]["parts"], json!([{"text": "A"}]));
    dropped.sort();
    assert_eq!(dropped, ["input[0].tools[1]", "tools[0]", "tools[1]"]);
}

#[test]
fn tools_of_google_are_offered_where_they_can_be() {
    for (tools, offered, dropped) in [
        (json!([{"type": "web_search"}]), json!([{"googleSearch": {}}]), &[][..]),
        (json!([{"type": "web_search_preview"}]), json!([{"googleSearch": {}}]), &[]),
        (json!([{"type": "web_search", "external_web_access": false}]), Value::Null, &[]),
        (
            json!([{"type": "code_interpreter", "container": {}}]),
            json!([{"codeExecution": {}}]),
            &[],
        ),
        (json!([{"googleSearch": {"a": 1}}]), json!([{"googleSearch": {"a": 1}}]), &[]),
        (json!([{"type": "computer_use_preview"}]), Value::Null, &["tools[0]"]),
    ] {
        let (body, found) = read_for(&json!({"input": "x", "tools": tools}), OLD);
        assert_eq!(body["tools"], offered, "{tools}");
        assert_eq!(found, dropped, "{tools}");
    }
}

#[test]
fn a_choice_finds_its_tool_with_and_without_the_namespace() {
    let tools = json!([{"type": "namespace", "name": "mcp__d", "tools": [
            {"type": "function", "name": "search"}]},
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark",
            "definition": "start: X"}}]);
    for (choice, allowed) in [
        (json!({"type": "function", "name": "search"}), json!(["mcp__d__search"])),
        (
            json!({"type": "function", "name": "search", "namespace": "mcp__d"}),
            json!(["mcp__d__search"]),
        ),
        (json!({"type": "custom", "name": "patch"}), json!(["patch"])),
        (
            json!({"type": "allowed_tools", "mode": "required", "tools": [
                {"type": "function", "name": "search"}]}),
            json!(["mcp__d__search"]),
        ),
    ] {
        let body = json!({"input": "x", "tools": tools, "tool_choice": choice});
        let (body, _) = read_for(&body, OLD);
        let calling = &body["toolConfig"]["functionCallingConfig"];
        assert_eq!(*calling, json!({"mode": "ANY", "allowedFunctionNames": allowed}), "{choice}");
        let declared = &body["tools"][0]["functionDeclarations"];
        assert_eq!(declared[1]["parametersJsonSchema"]["required"], json!(["input"]));
        assert!(declared[1]["description"].as_str().unwrap().contains("start: X"));
    }
    for (choice, mode) in [(json!("none"), "NONE"), (json!("required"), "ANY"), (json!("auto"), "")]
    {
        let body = json!({"input": "x", "tools": tools, "tool_choice": choice});
        let found = read_for(&body, OLD).0["toolConfig"]["functionCallingConfig"]["mode"].clone();
        assert_eq!(found.as_str().unwrap_or_default(), mode);
    }
}

/// The fields that Codex 0.169 sends for a model whose name it does not know.
#[test]
fn a_request_of_codex_is_read_without_a_word() {
    let function = |name: &str| {
        json!({"type": "function", "name": name, "description": "d",
        "strict": false, "parameters": {"type": "object", "properties": {"a": {"type": "string"}},
        "required": ["a"], "additionalProperties": false}})
    };
    let mut input = vec![
        json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "P"}]}),
        json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Q"}]}),
    ];
    input.extend(history().as_array().unwrap().iter().cloned());
    let body = json!({
        "model": "gemini-3-pro-preview", "input": input, "store": false, "stream": true,
        "tools": [function("exec_command"), function("view_image"),
            {"type": "namespace", "name": "multi_agent_v1", "description": "d",
                "tools": [function("spawn_agent"), function("wait")]},
            {"type": "web_search", "external_web_access": false}],
        "tool_choice": "auto", "parallel_tool_calls": true, "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "client_metadata": {},
    });
    let (written, plan) = whole(&body.to_string(), &target(NEW)).unwrap();
    assert_eq!(written.dropped, Vec::<String>::new());
    assert_eq!(written.foreign, None);
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let declared = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    let names: Vec<&Value> = declared.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(
        names,
        ["exec_command", "view_image", "multi_agent_v1__spawn_agent", "multi_agent_v1__wait"]
    );
    assert_eq!(body["systemInstruction"]["parts"], json!([{"text": "P"}, {"text": "Q"}]));
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"includeThoughts": true}));
    let named = plan.plan.names.of("multi_agent_v1__wait").unwrap();
    assert_eq!(named.client.namespace.as_deref(), Some("multi_agent_v1"));
    assert_eq!(named.client.name, "wait");
}

#[test]
fn tokens_are_counted_of_the_same_request() {
    let body = Bytes::from_static(br#"{"model":"x","input":"hi","instructions":"A"}"#);
    let written = read_tokens(&body, &target(OLD)).unwrap();
    assert_eq!(
        &*written.body,
        br#"{"generateContentRequest":{"model":"models/gemini-2.5-pro","systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}]}}"#
    );
    assert_eq!(&*write_tokens(12), br#"{"object":"response.input_tokens","input_tokens":12}"#);
    assert!(read_tokens(&Bytes::from_static(b"{}"), &target(OLD)).is_err());
}
