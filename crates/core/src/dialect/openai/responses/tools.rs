//! The tools of a request (`docs/reference/dialects.md` 4.4). Here are the types that Chat Completions
//! does not have.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::dialect::openai::tools::{choice, push_tool};
use crate::dialect::openai::values::read;
use crate::dialect::translate::draft::{
    ClientToolName, DraftRequest, GoogleTool, Tool, ToolChoice,
};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::error::Error;

/// The fields by which a tool's type is told.
#[derive(Debug, Default)]
struct TypeFields<'a> {
    kind: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    tools: Option<&'a RawValue>,
    external_web_access: Option<bool>,
}

read_fields!(TypeFields {
    "type" => kind: Word<'de>,
    "name" => name: Word<'de>,
    "tools" => tools: &'de RawValue,
    "external_web_access" => external_web_access: bool,
});

/// Adds a list of tools to a draft.
pub(super) fn push_tools<'a>(
    tools: &[&'a RawValue],
    path: &str,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    for (index, tool) in tools.iter().enumerate() {
        let path = || format!("{path}[{index}]");
        let fields: TypeFields<'a> = read(tool, path)?;
        match fields.kind.as_deref() {
            Some("namespace") => {
                let members: Vec<&'a RawValue> = match fields.tools {
                    Some(tools) => read(tools, || format!("{}.tools", path()))?,
                    None => Vec::new(),
                };
                for (index, member) in members.into_iter().enumerate() {
                    let path = || format!("{}.tools[{index}]", path());
                    push_tool(member, fields.name.as_ref(), &path, draft)?;
                }
            }
            // Codex always sends this. It is a search without the web, which Gemini does not have.
            Some("web_search") if fields.external_web_access == Some(false) => {}
            Some("code_interpreter") => draft.tools.push(Tool::Google {
                kind: GoogleTool::CodeExecution,
                path: path(),
                options: None,
            }),
            _ => push_tool(tool, None, &path, draft)?,
        }
    }
    Ok(())
}

/// Reads `tool_choice`, after all tools.
pub(super) fn read_choice<'a>(
    value: Option<&'a RawValue>,
    tools: &[Tool<'a>],
) -> Result<ToolChoice<'a>, Error> {
    let mut choice = choice(value, "tool_choice")?;
    if let ToolChoice::Named { names, .. } | ToolChoice::Among(names) = &mut choice {
        add_namespaces(names, tools);
    }
    Ok(choice)
}

/// A choice may name a tool without the tool's namespace.
fn add_namespaces<'a>(names: &mut [ClientToolName<'a>], tools: &[Tool<'a>]) {
    let known = tools.iter().rev().filter_map(|tool| match tool {
        Tool::Function(function) => Some((&*function.name.name, &function.name.namespace)),
        Tool::Google { .. } => None,
    });
    // Of several tools with one name, one without a namespace is meant, or else the first.
    let (bare, spaced): (Vec<_>, Vec<_>) = known.partition(|(_, namespace)| namespace.is_none());
    let known: HashMap<&str, &Option<Cow<'a, str>>> = spaced.into_iter().chain(bare).collect();
    for name in names.iter_mut().filter(|name| name.namespace.is_none()) {
        if let Some(Some(namespace)) = known.get(&*name.name) {
            name.namespace = Some(namespace.clone());
        }
    }
}
