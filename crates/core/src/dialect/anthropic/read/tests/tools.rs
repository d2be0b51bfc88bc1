use super::*;

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
    let function = json!({"name": "f", "input_schema": {"type": "object", "properties": {}}});
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
