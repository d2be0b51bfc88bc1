//! Requests of Anthropic's clients, and the Gemini requests that they become.

mod config;
mod messages;
mod refusals;
mod tools;

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
    assert!(plan.thinking && !plan.shows_thoughts);
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
