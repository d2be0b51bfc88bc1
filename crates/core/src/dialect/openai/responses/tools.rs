//! The tools of a request (`docs/reference/dialects.md` 4.4). Here are the types that Chat Completions
//! does not have.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::dialect::openai::tools::{ToolFields, choice, push_read_tool, push_tool};
use crate::dialect::openai::values::read;
use crate::dialect::translate::draft::{
    ClientToolName, DraftRequest, GoogleTool, Tool, ToolChoice,
};
use crate::error::Error;

/// Adds a list of tools to a draft.
pub(super) fn push_tools<'a>(
    tools: &[&'a RawValue],
    path: &str,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    for (index, tool) in tools.iter().enumerate() {
        let path = || format!("{path}[{index}]");
        let fields: ToolFields<'a> = read(tool, path)?;
        match fields.kind.as_deref() {
            Some("namespace") => {
                let members: Vec<&'a RawValue> = match fields.tools {
                    Some(tools) => read(tools, || format!("{}.tools", path()))?,
                    None => Vec::new(),
                };
                let name = fields
                    .name
                    .map(|name| read::<Cow<'a, str>>(name, || format!("{}.name", path())));
                let name = name.transpose()?;
                for (index, member) in members.into_iter().enumerate() {
                    let path = || format!("{}.tools[{index}]", path());
                    push_tool(member, name.as_ref(), &path, draft)?;
                }
            }
            // Codex always sends this. It is a search without the web, which Gemini does not have.
            Some("web_search") if is_false(fields.external_web_access) => {}
            Some("code_interpreter") => draft.tools.push(Tool::Google {
                kind: GoogleTool::CodeExecution,
                path: path(),
                options: None,
            }),
            _ => push_read_tool(&fields, tool, None, &path, draft)?,
        }
    }
    Ok(())
}

fn is_false(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| value.get() == "false")
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
