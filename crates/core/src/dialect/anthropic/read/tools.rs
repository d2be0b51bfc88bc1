//! Tools and the choice among them (`docs/reference/dialects.md` 5.3).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::References;
use super::path::Path;
use crate::dialect::translate::draft::{
    ClientToolName, DraftRequest, FunctionTool, GoogleTool, Tool, ToolChoice,
};
use crate::error::Error;

/// Reads the tools, as far as the model may see them. True if the model may make one call only.
pub(super) fn read<'a>(
    tools: &[ToolFields<'a>],
    choice: Option<&'a RawValue>,
    references: &References<'_>,
    draft: &mut DraftRequest<'a>,
) -> Result<bool, Error> {
    let mut kinds = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        kinds.push(tool.kind(&TOOLS.item(at))?);
    }
    // Anthropic's own search for tools is not offered here: without it every tool must be in sight.
    let has_search = kinds.contains(&Kind::ToolSearch);
    for (at, (tool, kind)) in tools.iter().zip(&kinds).enumerate() {
        let path = TOOLS.item(at);
        match kind {
            Kind::Function => {
                let name = path.field("name").required_text(tool.name)?.decoded();
                let is_in_sight = match references.get(&name) {
                    Some(is_known) => *is_known,
                    None => has_search || !is_true(tool.defer_loading),
                };
                if is_in_sight && name != PLACEHOLDER {
                    draft.tools.push(Tool::Function(tool.function(name, &path)?));
                }
            }
            Kind::Google(kind) => {
                let path = path.to_string();
                tool.name_unused_options(&path, &mut draft.dropped);
                draft.tools.push(Tool::Google { kind: *kind, path, options: None });
            }
            Kind::ToolSearch | Kind::Other => draft.dropped.push(path.to_string()),
        }
    }
    let Some(choice) = choice else { return Ok(false) };
    let choice: ChoiceFields<'_> = CHOICE.object(choice)?;
    draft.choice = choice.read()?;
    Ok(is_true(choice.disable_parallel_tool_use))
}

/// The path of the tools.
pub(super) const TOOLS: Path<'static> = Path::root("tools");

/// Claude Code declares this tool while others wait to be found. It is never called.
const PLACEHOLDER: &str = "DeferredToolPlaceholder";

/// What a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A function of the client's.
    Function,
    /// A tool that Google runs.
    Google(GoogleTool),
    /// Anthropic's search for tools.
    ToolSearch,
    /// A tool that Anthropic runs, or one of the client's whose schema only Claude knows.
    Other,
}

/// A tool: the fields of all kinds. Each takes any value, and is checked where it is used.
#[derive(Debug, Deserialize)]
pub(super) struct ToolFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
    #[serde(borrow)]
    defer_loading: Option<&'a RawValue>,
    #[serde(borrow)]
    allowed_domains: Option<&'a RawValue>,
    #[serde(borrow)]
    blocked_domains: Option<&'a RawValue>,
    #[serde(borrow)]
    max_uses: Option<&'a RawValue>,
    #[serde(borrow)]
    user_location: Option<&'a RawValue>,
}

impl<'a> ToolFields<'a> {
    fn kind(&self, path: &Path<'_>) -> Result<Kind, Error> {
        let Some(kind) = self.kind else { return Ok(Kind::Function) };
        let kind = path.field("type").text(kind)?.decoded();
        Ok(match &*kind {
            "custom" => Kind::Function,
            kind if kind.starts_with("web_search_") => Kind::Google(GoogleTool::Search),
            kind if kind.starts_with("web_fetch_") => Kind::Google(GoogleTool::UrlContext),
            kind if kind.starts_with("code_execution_") => Kind::Google(GoogleTool::CodeExecution),
            kind if kind.starts_with("tool_search_tool_") => Kind::ToolSearch,
            // A type that is not known here, with all that a function needs.
            _ if self.input_schema.is_some() => Kind::Function,
            _ => Kind::Other,
        })
    }

    fn function(&self, name: Cow<'a, str>, path: &Path<'_>) -> Result<FunctionTool<'a>, Error> {
        let description = self.description.map(|text| path.field("description").text(text));
        let description = description.transpose()?.filter(|text| !text.is_empty());
        Ok(FunctionTool {
            name: ClientToolName { namespace: None, name },
            description: description.map(Into::into),
            schema: self.input_schema,
            strict: is_true(self.strict),
            takes_text: false,
        })
    }

    /// Names the options of a search that Google's has not.
    fn name_unused_options(&self, path: &str, dropped: &mut Vec<String>) {
        let options = [
            (self.allowed_domains, "allowed_domains"),
            (self.blocked_domains, "blocked_domains"),
            (self.max_uses, "max_uses"),
            (self.user_location, "user_location"),
        ];
        let given = options.into_iter().filter(|(value, _)| value.is_some());
        dropped.extend(given.map(|(_, name)| format!("{path}.{name}")));
    }
}

const CHOICE: Path<'static> = Path::root("tool_choice");

#[derive(Debug, Deserialize)]
struct ChoiceFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    disable_parallel_tool_use: Option<&'a RawValue>,
}

impl<'a> ChoiceFields<'a> {
    fn read(&self) -> Result<ToolChoice<'a>, Error> {
        let path = CHOICE.field("type");
        Ok(match &*path.required_text(self.kind)?.decoded() {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "none" => ToolChoice::None,
            "tool" => {
                let name = CHOICE.field("name").required_text(self.name)?.decoded();
                let name = ClientToolName { namespace: None, name };
                ToolChoice::Named { names: vec![name], path: "tool_choice.name" }
            }
            kind => {
                let message = format!("The choice `{kind}` is none of auto, any, tool and none.");
                return Err(path.unsupported(message));
            }
        })
    }
}

fn is_true(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| value.get() == "true")
}
