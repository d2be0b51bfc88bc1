//! Tools, and the choice among them (`docs/reference/dialects.md` 2.2, 4.4). A tool of Chat Completions
//! has its fields within `function`; a tool of Responses has them itself. Both are read everywhere.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::values::{invalid, read, text};
use crate::dialect::translate::draft::{
    ClientToolName, DraftRequest, FunctionTool, GoogleTool, Tool, ToolChoice,
};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// A tool: the fields of all its types. Those of a function are kept as they are written, since other
/// types may have other values there.
#[derive(Debug, Default)]
pub struct ToolFields<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) name: Option<&'a RawValue>,
    pub(super) tools: Option<&'a RawValue>,
    pub(super) external_web_access: Option<&'a RawValue>,
    description: Option<&'a RawValue>,
    parameters: Option<&'a RawValue>,
    strict: Option<&'a RawValue>,
    format: Option<&'a RawValue>,
    function: Option<&'a RawValue>,
    custom: Option<&'a RawValue>,
    search: Option<&'a RawValue>,
    code_execution: Option<&'a RawValue>,
    url_context: Option<&'a RawValue>,
}

read_fields!(ToolFields {
    "type" => kind: Word<'de>,
    "name" => name: &'de RawValue,
    "tools" => tools: &'de RawValue,
    "external_web_access" => external_web_access: &'de RawValue,
    "description" => description: &'de RawValue,
    "parameters" => parameters: &'de RawValue,
    "strict" => strict: &'de RawValue,
    "format" => format: &'de RawValue,
    "function" => function: &'de RawValue,
    "custom" => custom: &'de RawValue,
    "googleSearch" | "google_search" => search: &'de RawValue,
    "codeExecution" | "code_execution" => code_execution: &'de RawValue,
    "urlContext" | "url_context" => url_context: &'de RawValue,
});

impl<'a> ToolFields<'a> {
    /// The fields of a tool that is a function itself. `None` if they have to be read once more, since one
    /// has an unusual form.
    fn of_function(&self) -> Option<FunctionFields<'a>> {
        let plain = |name| JsonText::of(name).filter(|name| !name.escaped().contains('\\'));
        let name = self.name.map(|name| plain(name).ok_or(())).transpose().ok()?;
        let description = self.description.map(|text| JsonText::of(text).ok_or(()));
        let strict = self.strict.map(|strict| strict.get().parse());
        let format = self.format.map(|format| serde_json::from_str(format.get()));
        Some(FunctionFields {
            name: name.map(|name| Cow::Borrowed(name.escaped())),
            description: description.transpose().ok()?,
            parameters: self.parameters,
            strict: strict.transpose().ok()?,
            format: format.transpose().ok()?,
        })
    }
}

/// The fields of a function.
#[derive(Debug, Default)]
struct FunctionFields<'a> {
    name: Option<Cow<'a, str>>,
    description: Option<JsonText<'a>>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    format: Option<FormatFields<'a>>,
}

read_fields!(FunctionFields {
    "name" => name: Word<'de>,
    "description" => description: JsonText<'de>,
    "parameters" => parameters: &'de RawValue,
    "strict" => strict: bool,
    "format" => format: FormatFields<'de>,
});

/// What a custom tool takes: any text, or one of a grammar.
#[derive(Debug, Default)]
struct FormatFields<'a> {
    grammar: Option<GrammarFields<'a>>,
    syntax: Option<Cow<'a, str>>,
    definition: Option<JsonText<'a>>,
}

read_fields!(FormatFields {
    "grammar" => grammar: GrammarFields<'de>,
    "syntax" => syntax: Word<'de>,
    "definition" => definition: JsonText<'de>,
});

#[derive(Debug, Default)]
struct GrammarFields<'a> {
    syntax: Option<Cow<'a, str>>,
    definition: Option<JsonText<'a>>,
}

read_fields!(GrammarFields {
    "syntax" => syntax: Word<'de>,
    "definition" => definition: JsonText<'de>,
});

/// Adds a tool to a draft, or its path to what is left out. `namespace` is the one that Responses may
/// give it.
pub fn push_tool<'a>(
    tool: &'a RawValue,
    namespace: Option<&Cow<'a, str>>,
    path: &dyn Fn() -> String,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    push_read_tool(&read(tool, path)?, tool, namespace, path, draft)
}

/// Adds a tool whose fields are read.
pub fn push_read_tool<'a>(
    fields: &ToolFields<'a>,
    tool: &'a RawValue,
    namespace: Option<&Cow<'a, str>>,
    path: &dyn Fn() -> String,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    let flat = fields.of_function();
    let google = |kind, options: Option<&'a RawValue>| Tool::Google {
        kind,
        path: path(),
        options: options.filter(|options| options.get().starts_with('{')),
    };
    match fields.kind.as_deref() {
        Some("function") => {
            draft.tools.push(function((fields.function, flat), tool, namespace, "function", path)?);
        }
        Some("custom") => {
            draft.tools.push(function((fields.custom, flat), tool, namespace, "custom", path)?);
        }
        Some(kind) if kind.starts_with("web_search") => {
            draft.tools.push(google(GoogleTool::Search, None));
        }
        Some(_) => draft.dropped.push(path()),
        None => {
            let found = [
                (GoogleTool::Search, fields.search),
                (GoogleTool::CodeExecution, fields.code_execution),
                (GoogleTool::UrlContext, fields.url_context),
            ];
            let before = draft.tools.len();
            let found = found.into_iter().filter(|(_, options)| options.is_some());
            draft.tools.extend(found.map(|(kind, options)| google(kind, options)));
            if draft.tools.len() == before {
                match fields.function {
                    Some(_) => draft.tools.push(function(
                        (fields.function, None),
                        tool,
                        namespace,
                        "function",
                        path,
                    )?),
                    None => draft.dropped.push(path()),
                }
            }
        }
    }
    Ok(())
}

/// Adds a function of the legacy field `functions`.
pub fn push_legacy_function<'a>(
    value: &'a RawValue,
    path: &dyn Fn() -> String,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    draft.tools.push(function((None, None), value, None, "function", path)?);
    Ok(())
}

/// A function whose fields are within `inner`, or are those of the tool itself, which may be read.
fn function<'a>(
    (inner, read_fields): (Option<&'a RawValue>, Option<FunctionFields<'a>>),
    tool: &'a RawValue,
    namespace: Option<&Cow<'a, str>>,
    kind: &str,
    path: &dyn Fn() -> String,
) -> Result<Tool<'a>, Error> {
    let inner_path = |rest: &str| match inner {
        Some(_) => format!("{}.{kind}{rest}", path()),
        None => format!("{}{rest}", path()),
    };
    let fields = match (inner, read_fields) {
        (None, Some(fields)) => fields,
        _ => read(inner.unwrap_or(tool), || inner_path(""))?,
    };
    let Some(name) = fields.name.filter(|name| !name.is_empty()) else {
        return Err(invalid(inner_path(".name"), "The tool has no name."));
    };
    let description = text(fields.description, || inner_path(".description"))?;
    let description = description.filter(|text| !text.is_empty()).map(Text::Json);
    let name = ClientToolName { namespace: namespace.cloned(), name };
    let strict = fields.strict.unwrap_or_default();
    let takes_text = kind == "custom";
    let (description, schema) = if takes_text {
        (with_grammar(description, fields.format), None)
    } else {
        (description, fields.parameters)
    };
    if schema.is_some_and(|schema| !schema.get().starts_with('{')) {
        return Err(invalid(inner_path(".parameters"), "The schema is not a JSON object."));
    }
    Ok(Tool::Function(FunctionTool { name, description, schema, strict, takes_text }))
}

/// A description with the grammar of the text that the tool takes, since Gemini has no place for one.
fn with_grammar<'a>(
    description: Option<Text<'a>>,
    format: Option<FormatFields<'a>>,
) -> Option<Text<'a>> {
    let FormatFields { grammar, syntax, definition } = format.unwrap_or_default();
    let grammar = grammar.unwrap_or_default();
    let Some(definition) = grammar.definition.or(definition) else { return description };
    let syntax = grammar.syntax.or(syntax);
    let mut text = description.map(|text| text.decoded().into_owned()).unwrap_or_default();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str("The input must match this grammar");
    if let Some(syntax) = syntax {
        text.push_str(&format!(" ({syntax})"));
    }
    text.push_str(":\n");
    text.push_str(&definition.decoded());
    Some(text.into())
}

/// `tool_choice`: the fields of all its types.
#[derive(Debug, Default)]
struct ChoiceFields<'a> {
    kind: Option<Cow<'a, str>>,
    function: Option<NameFields<'a>>,
    custom: Option<NameFields<'a>>,
    allowed_tools: Option<AllowedFields<'a>>,
    mode: Option<Cow<'a, str>>,
    tools: Option<Vec<&'a RawValue>>,
    name: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
}

read_fields!(ChoiceFields {
    "type" => kind: Word<'de>,
    "function" => function: NameFields<'de>,
    "custom" => custom: NameFields<'de>,
    "allowed_tools" => allowed_tools: AllowedFields<'de>,
    "mode" => mode: Word<'de>,
    "tools" => tools: Vec<&'de RawValue>,
    "name" => name: Word<'de>,
    "namespace" => namespace: Word<'de>,
});

#[derive(Debug, Default)]
struct AllowedFields<'a> {
    mode: Option<Cow<'a, str>>,
    tools: Option<Vec<&'a RawValue>>,
}

read_fields!(AllowedFields {
    "mode" => mode: Word<'de>,
    "tools" => tools: Vec<&'de RawValue>,
});

#[derive(Debug, Default)]
struct NameFields<'a> {
    name: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
}

read_fields!(NameFields {
    "name" => name: Word<'de>,
    "namespace" => namespace: Word<'de>,
});

impl<'a> ChoiceFields<'a> {
    /// The tool that is named. A tool that Google runs has the name of its type.
    fn named(self) -> Option<ClientToolName<'a>> {
        let inner = self.function.or(self.custom).unwrap_or_default();
        let namespace = inner.namespace.or(self.namespace);
        let is_hosted =
            |kind: &Cow<'_, str>| !matches!(kind.as_ref(), "function" | "custom" | "tool");
        let name = inner.name.or(self.name).or_else(|| self.kind.filter(is_hosted))?;
        Some(ClientToolName { namespace, name })
    }
}

/// `tool_choice`, or the legacy `function_call`. `path` is the field's name.
pub fn choice<'a>(
    choice: Option<&'a RawValue>,
    path: &'static str,
) -> Result<ToolChoice<'a>, Error> {
    let Some(choice) = choice else { return Ok(ToolChoice::Auto) };
    if let Some(word) = JsonText::of(choice) {
        return match word.decoded().as_ref() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            // Mistral's word for it, which some clients send everywhere.
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(invalid(path, "The choice is none of none, auto, and required.")),
        };
    }
    let mut fields: ChoiceFields<'a> = read(choice, || path.to_owned())?;
    match fields.kind.as_deref() {
        Some("allowed_tools") => {
            let allowed = fields.allowed_tools.take().unwrap_or_default();
            let tools = allowed.tools.or(fields.tools).unwrap_or_default();
            let names = allowed_names(tools, path)?;
            match allowed.mode.or(fields.mode).as_deref() {
                None | Some("auto") => Ok(ToolChoice::Among(names)),
                Some("required") => Ok(ToolChoice::Named { names, path }),
                Some(_) => Err(invalid(path, "The mode is neither auto nor required.")),
            }
        }
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required" | "any") => Ok(ToolChoice::Required),
        _ => match fields.named() {
            Some(name) => Ok(ToolChoice::Named { names: vec![name], path }),
            None => Err(invalid(path, "The choice names no tool.")),
        },
    }
}

/// The names of allowed tools.
fn allowed_names<'a>(
    tools: Vec<&'a RawValue>,
    path: &'static str,
) -> Result<Vec<ClientToolName<'a>>, Error> {
    let mut names = Vec::with_capacity(tools.len());
    for (index, tool) in tools.into_iter().enumerate() {
        let fields: ChoiceFields<'a> = read(tool, || format!("{path}.tools[{index}]"))?;
        names.extend(fields.named());
    }
    Ok(names)
}
