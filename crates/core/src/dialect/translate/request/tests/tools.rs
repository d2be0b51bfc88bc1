//! Tools and their choice.

use super::*;
use crate::error::RefusalCode;

fn google(kind: GoogleTool) -> Tool<'static> {
    Tool::Google { kind, path: format!("tools[{}].type", kind as u8), options: None }
}

const SEARCH: GoogleTool = GoogleTool::Search;

fn draft<'a>(tools: Vec<Tool<'a>>, choice: ToolChoice<'a>) -> DraftRequest<'a> {
    DraftRequest { pieces: vec![user(r#""x""#)], tools, choice, ..Default::default() }
}

fn functions(names: &[&'static str]) -> Vec<Tool<'static>> {
    names.iter().map(|name| Tool::Function(function(name))).collect()
}

/// What is written after the contents, and what is dropped.
fn written(draft: DraftRequest<'_>, target: &Target) -> (String, Vec<String>) {
    let written = write(draft, target).unwrap();
    let body = body(&written);
    let rest =
        body.strip_prefix(r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]"#).unwrap();
    (rest.strip_suffix('}').unwrap().trim_start_matches(',').to_owned(), written.dropped)
}

fn named(names: &[&'static str]) -> ToolChoice<'static> {
    ToolChoice::Named { names: names.iter().map(|name| plain(name)).collect(), path: "tool_choice" }
}

#[test]
fn a_function_keeps_the_bytes_of_its_schema_golden_5() {
    let schema = r#"{"$schema":"x","type":"object", "properties":{"z":{"exclusiveMinimum":0,"maximum":9007199254740993},"a":{}}}"#;
    let tool = FunctionTool {
        description: Some(text(r#""does \ud83d""#)),
        schema: Some(raw(schema)),
        ..function("f")
    };
    let (rest, dropped) =
        written(draft(vec![Tool::Function(tool)], ToolChoice::Required), &target(PRO_25));
    assert_eq!(
        rest,
        format!(
            r#""tools":[{{"functionDeclarations":[{{"name":"f","description":"does \ud83d","parametersJsonSchema":{schema}}}]}}],"toolConfig":{{"functionCallingConfig":{{"mode":"ANY"}}}}"#
        )
    );
    assert!(dropped.is_empty());
}

#[test]
fn a_schema_without_arguments_is_left_out() {
    for (schema, is_left_out) in [
        ("{}", true),
        ("null", true),
        (r#"{"type":"object","properties":{}}"#, true),
        (r#"{ "properties" : {},  "type": "object" }"#, true),
        (r#"{"type":"object","properties":{"a":{}}}"#, false),
        (r#"{"type":"object","additionalProperties":true}"#, false),
    ] {
        let tool = FunctionTool {
            schema: Some(raw(schema)),
            description: Some(text(r#""""#)),
            ..function("f")
        };
        let (rest, _) =
            written(draft(vec![Tool::Function(tool)], ToolChoice::Auto), &target(PRO_25));
        let expected = if is_left_out {
            r#""tools":[{"functionDeclarations":[{"name":"f"}]}]"#.to_owned()
        } else {
            format!(
                r#""tools":[{{"functionDeclarations":[{{"name":"f","parametersJsonSchema":{schema}}}]}}]"#
            )
        };
        assert_eq!(rest, expected);
    }
}

#[test]
fn a_schema_that_is_none_is_refused_with_the_tools_name() {
    let tool = FunctionTool { schema: Some(raw("[1]")), ..function("my tool") };
    let error = write(draft(vec![Tool::Function(tool)], ToolChoice::Auto), &target(PRO_25));
    let Err(Error::Refused(refusal)) = error else { panic!("{error:?}") };
    assert_eq!((refusal.code, &*refusal.path), (RefusalCode::InvalidValue, "tools"));
    assert!(refusal.message.contains("`my tool`"), "{}", refusal.message);
}

#[test]
fn a_function_that_takes_a_text_has_a_schema_of_its_own() {
    let tool =
        FunctionTool { takes_text: true, schema: Some(raw(r#"{"a":1}"#)), ..function("patch") };
    let request =
        write(draft(vec![Tool::Function(tool)], ToolChoice::Auto), &target(PRO_25)).unwrap();
    assert!(body(&request).contains(
        r#"{"name":"patch","parametersJsonSchema":{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}}"#
    ));
    assert!(request.names.of("patch").unwrap().takes_text);
}

#[test]
fn several_functions_are_one_tool_and_each_is_declared_once() {
    let (rest, dropped) =
        written(draft(functions(&["f", "g", "f"]), ToolChoice::Auto), &target(PRO_25));
    assert_eq!(rest, r#""tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}]"#);
    assert!(dropped.is_empty());
    assert_eq!(written(draft(vec![], ToolChoice::Auto), &target(PRO_25)).0, "");
}

#[test]
fn a_strict_function_is_validated_where_the_model_decides() {
    let tools = || {
        let strict = FunctionTool { strict: true, ..function("f") };
        vec![Tool::Function(function("g")), Tool::Function(strict)]
    };
    let mode = |choice| {
        let (rest, _) = written(draft(tools(), choice), &target(PRO_25));
        let config = rest.split_once(r#""toolConfig":{"functionCallingConfig":"#);
        config.map(|(_, config)| config.strip_suffix('}').unwrap().to_owned())
    };
    assert_eq!(mode(ToolChoice::Auto).unwrap(), r#"{"mode":"VALIDATED"}"#);
    assert_eq!(mode(ToolChoice::Among(vec![plain("f")])).unwrap(), r#"{"mode":"VALIDATED"}"#);
    assert_eq!(mode(ToolChoice::Among(vec![plain("g")])), None);
    assert_eq!(mode(ToolChoice::None).unwrap(), r#"{"mode":"NONE"}"#);
    assert_eq!(mode(ToolChoice::Required).unwrap(), r#"{"mode":"ANY"}"#);
    assert_eq!(mode(named(&["g"])).unwrap(), r#"{"mode":"ANY","allowedFunctionNames":["g"]}"#);
}

#[test]
fn only_the_allowed_tools_are_declared_where_the_model_decides() {
    let mut tools = functions(&["f", "g", "h"]);
    tools.push(google(SEARCH));
    tools.push(google(GoogleTool::CodeExecution));
    let among =
        |names: &[&'static str]| ToolChoice::Among(names.iter().map(|name| plain(name)).collect());
    let (rest, dropped) = written(draft(tools, among(&["h", "f", "other"])), &target(PRO_3));
    assert_eq!(rest, r#""tools":[{"functionDeclarations":[{"name":"f"},{"name":"h"}]}]"#);
    assert!(dropped.is_empty());
    let mut tools = functions(&["f"]);
    tools.push(google(SEARCH));
    let (rest, dropped) = written(draft(tools, among(&["web_search"])), &target(PRO_25));
    assert_eq!(rest, r#""tools":[{"googleSearch":{}}]"#);
    assert!(dropped.is_empty());
}

#[test]
fn forced_functions_are_named_by_their_names_upstream() {
    let tools = functions(&["f", "a b", "g"]);
    let (rest, _) = written(draft(tools, named(&["a b", "g"])), &target(PRO_25));
    assert!(
        rest.ends_with(r#""toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["a_b","g"]}}"#),
        "{rest}"
    );
}

#[test]
fn a_forced_tool_that_is_not_there_is_refused() {
    for (tools, choice, code) in [
        (functions(&["f"]), named(&["f", "g"]), RefusalCode::UnsupportedValue),
        (vec![], named(&["f"]), RefusalCode::UnsupportedValue),
        (functions(&["f"]), named(&[]), RefusalCode::InvalidValue),
        (functions(&["f"]), named(&["web_search"]), RefusalCode::UnsupportedValue),
        (vec![], ToolChoice::Required, RefusalCode::UnsupportedValue),
    ] {
        assert_eq!(
            refusal(draft(tools, choice), &target(PRO_25)),
            (code, "tool_choice".to_owned())
        );
    }
    // It was left out.
    let both = || [functions(&["f"]), vec![google(SEARCH)]].into_iter().flatten().collect();
    assert_eq!(
        refusal(draft(both(), named(&["web_search"])), &target(PRO_25)),
        (RefusalCode::UnsupportedValue, "tool_choice".to_owned())
    );
    assert!(write(draft(both(), named(&["web_search"])), &target(PRO_3)).is_ok());
}

#[test]
fn googles_own_tools_cannot_be_forced_and_are_offered() {
    for choice in [ToolChoice::Required, named(&["web_search"])] {
        let (rest, dropped) = written(draft(vec![google(SEARCH)], choice), &target(PRO_25));
        assert_eq!(rest, r#""tools":[{"googleSearch":{}}]"#);
        assert_eq!(dropped, ["tool_choice"]);
    }
    let both = [functions(&["f"]), vec![google(SEARCH)]].into_iter().flatten().collect();
    let (rest, dropped) = written(draft(both, named(&["f", "web_search"])), &target(PRO_3));
    assert!(rest.ends_with(r#"{"mode":"ANY","allowedFunctionNames":["f"]}}"#), "{rest}");
    assert!(dropped.is_empty());
}

#[test]
fn googles_own_tools_go_with_functions_by_family() {
    let all = |with_function: bool| {
        let functions = if with_function { functions(&["f"]) } else { vec![] };
        let google = [SEARCH, GoogleTool::CodeExecution, GoogleTool::UrlContext].map(google);
        functions.into_iter().chain(google).chain([google_again()]).collect::<Vec<_>>()
    };
    fn google_again() -> Tool<'static> {
        google(SEARCH)
    }
    let of =
        |with_function, model| written(draft(all(with_function), ToolChoice::Auto), &target(model));
    let alone = r#""tools":[{"googleSearch":{}},{"codeExecution":{}},{"urlContext":{}}]"#;
    for model in [PRO_25, PRO_3] {
        assert_eq!(of(false, model), (alone.to_owned(), vec![]));
    }
    let (rest, dropped) = of(true, PRO_25);
    assert_eq!(rest, r#""tools":[{"functionDeclarations":[{"name":"f"}]}]"#);
    assert_eq!(dropped, ["tools[0].type", "tools[1].type", "tools[2].type", "tools[0].type"]);
    let (rest, dropped) = of(true, PRO_3);
    assert_eq!(rest, r#""tools":[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}}]"#);
    assert_eq!(dropped, ["tools[1].type", "tools[2].type"]);
}

#[test]
fn the_public_api_is_asked_to_take_both_kinds_of_tools() {
    let both =
        || [functions(&["f"]), vec![google(SEARCH)]].into_iter().flatten().collect::<Vec<_>>();
    let of =
        |tools, provider| written(draft(tools, ToolChoice::Auto), &Target::new(PRO_3, provider)).0;
    let asked = r#","toolConfig":{"includeServerSideToolInvocations":true}"#;
    assert!(of(both(), ProviderKind::GeminiApi).ends_with(asked));
    assert!(!of(both(), ProviderKind::Vertex).contains("toolConfig"));
    assert!(!of(both(), ProviderKind::CodeAssist).contains("toolConfig"));
    assert!(!of(functions(&["f"]), ProviderKind::GeminiApi).contains("toolConfig"));
    assert!(!of(vec![google(SEARCH)], ProviderKind::GeminiApi).contains("toolConfig"));
}

#[test]
fn options_in_geminis_own_form_are_kept() {
    let options =
        |options| Tool::Google { kind: SEARCH, path: String::new(), options: Some(raw(options)) };
    for (given, sent) in [(r#"{"x": 1.0}"#, r#"{"x": 1.0}"#), ("null", "{}"), ("true", "{}")] {
        let (rest, _) = written(draft(vec![options(given)], ToolChoice::Auto), &target(PRO_25));
        assert_eq!(rest, format!(r#""tools":[{{"googleSearch":{sent}}}]"#));
    }
}

#[test]
fn no_tool_is_offered_by_google_where_the_client_wants_none() {
    let both = [functions(&["f"]), vec![google(SEARCH)]].into_iter().flatten().collect();
    let (rest, dropped) = written(draft(both, ToolChoice::None), &target(PRO_3));
    assert_eq!(
        rest,
        r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}"#
    );
    assert!(dropped.is_empty());
    assert_eq!(written(draft(vec![google(SEARCH)], ToolChoice::None), &target(PRO_3)).0, "");
}

#[test]
fn names_are_repaired_everywhere_and_known_to_the_answer() {
    let within = ClientToolName { namespace: Some("mcp__d".into()), name: "search".into() };
    let mut tools = functions(&["a b", "a_b"]);
    tools.push(Tool::Function(FunctionTool { name: within.clone(), ..function("") }));
    let pieces = vec![call("1", "a b"), call("2", "a_b"), call("3", "old tool"), call("4", "gone")];
    let draft = DraftRequest { pieces, tools, choice: named(&["a b"]), ..Default::default() };
    let written = write(draft, &target(PRO_25)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&written.body).unwrap();
    let declared = &body["tools"][0]["functionDeclarations"];
    let repaired = declared[0]["name"].as_str().unwrap();
    assert!(repaired.starts_with("a_b_"), "{repaired}");
    assert_eq!(declared[1]["name"], "a_b");
    assert_eq!(declared[2]["name"], "mcp__d__search");
    assert_eq!(body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0], repaired);
    let parts = &body["contents"][0]["parts"];
    assert_eq!(parts[0]["functionCall"]["name"], repaired);
    assert_eq!(body["contents"][1]["parts"][0]["functionResponse"]["name"], repaired);
    assert_eq!(parts[1]["functionCall"]["name"], "a_b");
    assert_eq!(parts[2]["functionCall"]["name"], "old_tool");
    let client = |upstream: &str| written.names.of(upstream).map(|tool| tool.client.clone());
    assert_eq!(client(repaired), Some(plain("a b")));
    assert_eq!(client("a_b"), Some(plain("a_b")));
    assert_eq!(client("mcp__d__search"), Some(within));
    assert_eq!(client("old_tool"), Some(plain("old tool")));
    assert_eq!(client("gone"), None);
}
