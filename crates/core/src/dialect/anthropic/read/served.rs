//! Blocks of tools that Anthropic runs. They come back in histories, and Gemini gets them as text
//! (`docs/reference/dialects.md` 5.2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::{Block, available};
use crate::dialect::translate::text::JsonText;

/// True for a call or a result of such a tool.
pub(super) fn is_served(kind: &str) -> bool {
    matches!(kind, "server_tool_use" | "mcp_tool_use") || kind.ends_with("_tool_result")
}

/// What the model reads in place of the block. `None` if nothing of it can be read.
pub(super) fn text(kind: &str, block: &Block<'_>) -> Option<String> {
    if !kind.ends_with("_tool_result") {
        return call(block);
    }
    let mut lines = Vec::new();
    for found in found(block.content?) {
        found.push_lines(&mut lines);
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The tools that a search for tools has found.
pub(super) fn found_tools<'a>(block: &Block<'a>) -> Vec<Cow<'a, str>> {
    let results = block.content.map(found).unwrap_or_default();
    let references = results.iter().filter_map(|result| result.tool_references);
    let tools = references.flat_map(found).filter_map(|tool| tool.tool_name);
    tools.filter_map(JsonText::of).map(JsonText::decoded).collect()
}

/// `[web_search "q"]`.
fn call(block: &Block<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Input<'a> {
        #[serde(borrow)]
        query: Option<&'a RawValue>,
        #[serde(borrow)]
        url: Option<&'a RawValue>,
    }
    let name = JsonText::of(block.name?)?.decoded();
    let input = block.input.map_or("{}", RawValue::get);
    let fields: Option<Input<'_>> = serde_json::from_str(input).ok();
    let what = fields.and_then(|fields| fields.query.or(fields.url));
    Some(match what.map_or(input, RawValue::get) {
        "{}" => format!("[{name}]"),
        what => format!("[{name} {what}]"),
    })
}

/// A page, an output or an error within a result.
#[derive(Debug, Default, Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    error_code: Option<&'a RawValue>,
    #[serde(borrow)]
    stderr: Option<&'a RawValue>,
    #[serde(borrow)]
    stdout: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_references: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

impl Found<'_> {
    fn push_lines(&self, lines: &mut Vec<String>) {
        // A page that was fetched has its title in the document.
        let document = self.content.map(found).unwrap_or_default();
        let title = self.title.or_else(|| document.first().and_then(|document| document.title));
        let decoded = |value: Option<&RawValue>| {
            let text = JsonText::of(value?)?.decoded().into_owned();
            (!text.is_empty()).then_some(text)
        };
        match (decoded(title), decoded(self.url)) {
            (Some(title), Some(url)) => lines.push(format!("{title}: {url}")),
            (one, other) => lines.extend(one.or(other)),
        }
        lines.extend([self.text, self.stdout, self.stderr].into_iter().filter_map(decoded));
        lines.extend(decoded(self.error_code).map(|code| format!("Error: {code}")));
        for tool in self.tool_references.map(found).unwrap_or_default() {
            lines.extend(decoded(tool.tool_name).map(|name| available(&name)));
        }
    }
}

/// The objects of an array, or a single object or string. Values of other kinds are left out.
fn found<'a>(content: &'a RawValue) -> Vec<Found<'a>> {
    let one = |value: &'a RawValue| match JsonText::of(value) {
        Some(_) => Some(Found { text: Some(value), ..Found::default() }),
        None => serde_json::from_str(value.get()).ok(),
    };
    match serde_json::from_str::<Vec<&RawValue>>(content.get()) {
        Ok(items) => items.into_iter().filter_map(one).collect(),
        Err(_) => one(content).into_iter().collect(),
    }
}
