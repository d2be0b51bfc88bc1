//! What clients of OpenAI's and Anthropic's dialects send, in the shapes and sizes that
//! `docs/reference/dialects.md` 4 and 5 describe, and what Gemini answers them.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::texts::SENTENCES;

/// A chat request of 1 KiB.
pub(crate) fn chat() -> Bytes {
    let body = format!(
        r#"{{"model":"gemini-2.5-flash","messages":[{{"role":"system","content":"Answer briefly."}},{{"role":"user","content":"{SENTENCES}"}}],"temperature":0.7,"top_p":0.95,"max_tokens":1024}}"#
    );
    body.into()
}

/// The first request of Claude Code, 48 kB.
pub(crate) fn claude_code(model: &str) -> Bytes {
    let mut body = format!(
        r##"{{"model":"{model}","messages":[{{"role":"user","content":[{{"type":"text","text":"<system-reminder>\n{}</system-reminder>"}},{{"type":"text","text":"list files","cache_control":{{"type":"ephemeral"}}}}]}},{{"role":"system","content":"# Environment\n{}"}}],"system":[{{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.332.a1b; cc_entrypoint=sdk-cli;"}},{{"type":"text","text":"You are Claude Code.","cache_control":{{"type":"ephemeral"}}}},{{"type":"text","text":"{}","cache_control":{{"type":"ephemeral"}}}}],"tools":["##,
        SENTENCES.repeat(2),
        SENTENCES.repeat(9),
        SENTENCES.repeat(14),
    );
    for tool in 0..11 {
        let _ = write!(
            body,
            r#"{{"name":"Tool{tool}","description":"{}","input_schema":{}}},"#,
            SENTENCES.repeat(if tool % 2 == 0 { 2 } else { 1 }),
            schema(),
        );
    }
    let _ = write!(
        body,
        r#"{{"name":"DeferredToolPlaceholder","description":"-","input_schema":{{"type":"object"}},"defer_loading":true}}],"metadata":{{"user_id":"{{}}"}},"max_tokens":32000,"thinking":{{"type":"adaptive","display":"omitted"}},"context_management":{{"edits":[{{"type":"clear_thinking_20251015","keep":"all"}}]}},"output_config":{{"effort":"medium"}},"diagnostics":{{"previous_message_id":null}},"stream":true}}"#
    );
    body.into()
}

/// The first request of Codex, 39 kB.
pub(crate) fn codex() -> Bytes {
    let mut body = format!(
        r#"{{"model":"gemini-3-pro-preview","input":[{{"type":"message","role":"developer","content":[{{"type":"input_text","text":"{}"}}]}},{{"type":"message","role":"developer","content":[{{"type":"input_text","text":"{}"}}]}},{{"type":"message","role":"user","content":[{{"type":"input_text","text":"<environment_context>\n  <cwd>/home/u</cwd>\n</environment_context>"}}]}},{{"type":"message","role":"user","content":[{{"type":"input_text","text":"list files"}}]}}],"tools":["#,
        SENTENCES.repeat(16),
        SENTENCES.repeat(2),
    );
    for tool in 0..9 {
        let _ = write!(body, "{},", function(&format!("tool_{tool}")));
    }
    let members: Vec<String> =
        ["spawn", "wait", "close", "resume"].into_iter().map(function).collect();
    let _ = write!(
        body,
        r#"{{"type":"namespace","name":"multi_agent_v1","description":"Agents","tools":[{}]}},{{"type":"web_search","external_web_access":false}}],"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{{"summary":"auto"}},"store":false,"stream":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"0199","client_metadata":{{"x-codex-installation-id":"1"}}}}"#,
        members.join(",")
    );
    body.into()
}

fn function(name: &str) -> String {
    format!(
        r#"{{"type":"function","name":"{name}","description":"{SENTENCES}","strict":false,"parameters":{}}}"#,
        schema()
    )
}

/// A schema with the keywords of an agent's tools.
fn schema() -> String {
    let mut schema = String::from(
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"#,
    );
    for name in ["command", "description", "path"] {
        let _ = write!(
            schema,
            r#""{name}":{{"description":"What the tool does with \"{name}\", in one sentence of usual length.","type":"string","minLength":1}},"#
        );
    }
    schema.push_str(
        r#""timeout":{"type":"number","exclusiveMinimum":0,"maximum":9007199254740991,"default":120000},"mode":{"type":"string","enum":["content","files","count"]},"all":{"type":"boolean","default":false}},"required":["command","description"],"additionalProperties":false}"#,
    );
    schema
}

/// An event with a part of a text.
pub(crate) const TEXT: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Word 0001 and \"some\" more, as a model writes them.\n"}]},"index":0}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":12,"totalTokenCount":23,"trafficType":"PROVISIONED_THROUGHPUT"},"modelVersion":"gemini-2.5-flash","responseId":"Uk3AaLyMF5Wh1MkP"}"#;

/// An event with a signed call.
pub(crate) const CALL: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"Tool1","args":{"command":"cat <<'E' > a.txt\nOne \"line\", and another.\nE","description":"Write a file","timeout":120000}},"thoughtSignature":"CiQBcsjafJ9yCWdGCqhLz5gNWZVp8a3oZGUtD0nFhZ5rTq0mXnYKeQFyyNp8wJ8T4kLqjdu4nq3vYkJYkq7oVqg0gk3m5y6lJg9wzq0fS3Q2hUu8l4b1n0u2zN8C2oN1qj6lV6c3o7Zb"}]},"index":0}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":12,"thoughtsTokenCount":40,"totalTokenCount":63},"modelVersion":"gemini-2.5-flash","responseId":"Uk3AaLyMF5Wh1MkP"}"#;

/// A whole answer, with thoughts, a text and a call.
pub(crate) const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"**Looking**\n\nThe user wants a list of files.","thought":true},{"text":"Here is what I do: I \"list\" the files of this folder,\nand then I tell you what I have found."},{"functionCall":{"name":"Tool1","args":{"command":"ls -la","description":"List files","timeout":120000}},"thoughtSignature":"CiQBcsjafJ9yCWdGCqhLz5gNWZVp8a3oZGUtD0nFhZ5rTq0mXnYKeQFyyNp8wJ8T4kLqjdu4nq3vYkJYkq7oVqg0gk3m5y6lJg9wzq0fS3Q2hUu8l4b1n0u2zN8C2oN1qj6lV6c3o7Zb"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":11000,"cachedContentTokenCount":8000,"candidatesTokenCount":120,"thoughtsTokenCount":40,"totalTokenCount":11160,"promptTokensDetails":[{"modality":"TEXT","tokenCount":11000}]},"modelVersion":"gemini-2.5-flash","responseId":"Uk3AaLyMF5Wh1MkP"}"#;
