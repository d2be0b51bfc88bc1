//! The tools of a request (`docs/reference/dialects.md` 4.4).

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::fields::{Members, read_as};
use crate::dialect::translate::draft::{
    ClientToolName, DraftRequest, FunctionTool, GoogleTool, Tool, ToolChoice,
};
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::{Error, Refusal, RefusalCode};

/// Reads tools from all the places that have some.
#[derive(Debug, Default)]
pub(super) struct ToolReader<'a> {
    /// The types that were left out, with their paths: a choice may force one.
    dropped: Vec<Cow<'a, str>>,
}

impl<'a> ToolReader<'a> {
    /// Reads a list of tools into `draft`.
    pub(super) fn read(
        &mut self,
        tools: &'a RawValue,
        path: &str,
        draft: &mut DraftRequest<'a>,
    ) -> Result<(), Error> {
        let tools: Vec<Members<'a>> = read_as(tools, path, "a list of tools")?;
        for (at, tool) in tools.iter().enumerate() {
            self.tool(tool, format!("{path}[{at}]"), draft)?;
        }
        Ok(())
    }

    fn tool(
        &mut self,
        tool: &Members<'a>,
        path: String,
        draft: &mut DraftRequest<'a>,
    ) -> Result<(), Error> {
        let google = |kind| Tool::Google { kind, path: path.clone(), options: None };
        let kind = tool.word("type").unwrap_or_default();
        match &*kind {
            "function" | "custom" => {
                draft.tools.push(Tool::Function(function(tool, None, &path)?));
            }
            "namespace" => {
                let namespace = tool.word("name");
                let members = tool.get("tools");
                let members: Vec<Members<'a>> = match members {
                    Some(members) => read_as(members, format!("{path}.tools"), "a list of tools")?,
                    None => Vec::new(),
                };
                for (at, member) in members.iter().enumerate() {
                    let path = format!("{path}.tools[{at}]");
                    if let Some("function" | "custom") = member.word("type").as_deref() {
                        let member = function(member, namespace.clone(), &path)?;
                        draft.tools.push(Tool::Function(member));
                    } else {
                        draft.dropped.push(path);
                    }
                }
            }
            // Codex sends this always: a search without the web, which Gemini does not have.
            "web_search"
                if tool.get("external_web_access").is_some_and(|is| is.get() == "false") => {}
            kind if kind.starts_with("web_search") => draft.tools.push(google(GoogleTool::Search)),
            "code_interpreter" => draft.tools.push(google(GoogleTool::CodeExecution)),
            "" => match gemini_tool(tool) {
                Some((kind, options)) => {
                    draft.tools.push(Tool::Google { kind, path, options: Some(options) });
                }
                None => draft.dropped.push(path),
            },
            _ => {
                draft.dropped.push(path);
                self.dropped.push(kind);
            }
        }
        Ok(())
    }

    /// Reads `tool_choice`, after all tools.
    pub(super) fn choice(
        &self,
        choice: &'a RawValue,
        draft: &mut DraftRequest<'a>,
    ) -> Result<(), Error> {
        let unsupported = |kind: &str| {
            let message = format!("A tool of the type {kind:?} cannot be forced here.");
            Refusal::error(RefusalCode::UnsupportedValue, CHOICE, message)
        };
        if let Some(word) = JsonText::of(choice) {
            draft.choice = by_word(&word.decoded())?;
            return Ok(());
        }
        let choice: Members<'a> = read_as(choice, CHOICE, "a string or an object")?;
        let kind = choice.word("type").unwrap_or_default();
        match &*kind {
            "function" | "custom" => {
                let names = vec![named(&choice, &functions(&draft.tools))?];
                draft.choice = ToolChoice::Named { names, path: CHOICE };
            }
            "allowed_tools" => {
                // Chat Completions has one more level.
                let inner = match choice.get("allowed_tools") {
                    Some(inner) => read_as(inner, CHOICE, "an object")?,
                    None => choice,
                };
                let tools: Vec<Members<'a>> = match inner.get("tools") {
                    Some(tools) => read_as(tools, "tool_choice.tools", "a list of tools")?,
                    None => Vec::new(),
                };
                let known = functions(&draft.tools);
                let is_function = |tool: &&Members<'a>| {
                    matches!(tool.word("type").as_deref(), Some("function" | "custom"))
                };
                let names = tools.iter().filter(is_function).map(|tool| named(tool, &known));
                let names = names.collect::<Result<_, _>>()?;
                draft.choice = match inner.word("mode").as_deref() {
                    Some("required") => ToolChoice::Named { names, path: CHOICE },
                    _ => ToolChoice::Among(names),
                };
            }
            _ if self.dropped.contains(&kind) => return Err(unsupported(&kind)),
            // Gemini decides when it searches, and when it runs code.
            kind if kind.starts_with("web_search") || kind == "code_interpreter" => {
                draft.dropped.push(CHOICE.to_owned());
            }
            kind => return Err(unsupported(kind)),
        }
        Ok(())
    }
}

fn by_word(word: &str) -> Result<ToolChoice<'static>, Error> {
    Ok(match word {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Required,
        _ => {
            let message = "The value must be `auto`, `none`, `required` or an object.";
            return Err(Refusal::error(RefusalCode::InvalidValue, CHOICE, message));
        }
    })
}

/// The functions by their names without namespaces. The first of several with one name counts.
type Functions<'t, 'a> = HashMap<&'t str, &'t ClientToolName<'a>>;

fn functions<'t, 'a>(tools: &'t [Tool<'a>]) -> Functions<'t, 'a> {
    let names = tools.iter().rev().filter_map(|tool| match tool {
        Tool::Function(function) => Some((&*function.name.name, &function.name)),
        Tool::Google { .. } => None,
    });
    names.collect()
}

/// The tool that a choice names. A choice may leave out the namespace of a tool.
fn named<'a>(
    choice: &Members<'a>,
    functions: &Functions<'_, 'a>,
) -> Result<ClientToolName<'a>, Error> {
    // Chat Completions has one more level.
    let nested = match choice.get("function") {
        Some(function) => Some(read_as::<Members<'a>>(function, CHOICE, "an object")?),
        None => None,
    };
    let choice = nested.as_ref().unwrap_or(choice);
    let name = choice.word("name").unwrap_or_default();
    let namespace = choice.word("namespace");
    match functions.get(&*name) {
        Some(function) if namespace.is_none() => Ok((*function).clone()),
        _ => Ok(ClientToolName { namespace, name }),
    }
}

/// Reads a function, or a tool that takes one text.
fn function<'a>(
    tool: &Members<'a>,
    namespace: Option<Cow<'a, str>>,
    path: &str,
) -> Result<FunctionTool<'a>, Error> {
    let takes_text = tool.word("type").as_deref() == Some("custom");
    // Chat Completions has one more level, and some clients send it here too.
    let inner = ["function", "custom"].iter().find_map(|name| tool.get(name));
    let inner = match inner {
        Some(inner) => Some(read_as::<Members<'a>>(inner, path, "a function")?),
        None => None,
    };
    let tool = inner.as_ref().unwrap_or(tool);
    let Some(name) = tool.word("name") else {
        let message = "The tool has no name.";
        return Err(Refusal::error(RefusalCode::InvalidValue, format!("{path}.name"), message));
    };
    let mut description = tool.text("description").map(Text::Json);
    if takes_text {
        if let Some(format) = tool.get("format") {
            let format: Members<'a> = read_as(format, format!("{path}.format"), "an object")?;
            description = with_grammar(description, &format, path)?;
        }
    }
    Ok(FunctionTool {
        name: ClientToolName { namespace, name },
        description,
        schema: tool.get("parameters").filter(|schema| !takes_text && has_arguments(schema)),
        strict: tool.is_true("strict"),
        takes_text,
    })
}

/// The description of a tool whose text follows a grammar. Gemini has no place for a grammar.
fn with_grammar<'a>(
    description: Option<Text<'a>>,
    format: &Members<'a>,
    path: &str,
) -> Result<Option<Text<'a>>, Error> {
    let nested = match format.get("grammar") {
        Some(grammar) => Some(read_as::<Members<'a>>(grammar, path, "a grammar")?),
        None => None,
    };
    let grammar = nested.as_ref().unwrap_or(format);
    let Some(definition) = grammar.word("definition") else { return Ok(description) };
    let syntax = grammar.word("syntax").unwrap_or("lark".into());
    let before = description.as_ref().map(Text::decoded).unwrap_or_default();
    let separator = if before.is_empty() { "" } else { "\n\n" };
    let text = format!("{before}{separator}The input follows this {syntax} grammar:\n{definition}");
    Ok(Some(text.into()))
}

/// False for the schemas of a function without arguments, which Gemini wants to be absent.
fn has_arguments(schema: &RawValue) -> bool {
    let schema = schema.get();
    if schema.len() > 100 {
        return true;
    }
    let schema: String = schema.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    !matches!(
        &*schema,
        "{}" | r#"{"type":"object","properties":{}}"# | r#"{"properties":{},"type":"object"}"#
    )
}

/// A tool in Gemini's own form, as LiteLLM sends it.
fn gemini_tool<'a>(tool: &Members<'a>) -> Option<(GoogleTool, &'a RawValue)> {
    let names = [
        ("googleSearch", GoogleTool::Search),
        ("google_search", GoogleTool::Search),
        ("codeExecution", GoogleTool::CodeExecution),
        ("code_execution", GoogleTool::CodeExecution),
        ("urlContext", GoogleTool::UrlContext),
        ("url_context", GoogleTool::UrlContext),
    ];
    names.into_iter().find_map(|(name, kind)| Some((kind, tool.get(name)?)))
}

const CHOICE: &str = "tool_choice";
