//! The names of tools, on both sides.

use std::sync::Arc;

use super::draft::ClientToolName;

/// The tools of a request by their names upstream. It lives as long as the request.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    /// In the order of their names upstream.
    tools: Arc<[NamedTool]>,
}

/// A tool of the client's and its name upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTool {
    /// The name upstream.
    pub upstream: String,
    /// The name that the client knows.
    pub client: ClientToolName<'static>,
    /// The function takes one text, as `custom` tools of OpenAI do.
    pub takes_text: bool,
}

impl ToolNames {
    /// The names of these tools. Of several with one name upstream one is kept.
    pub fn new(mut tools: Vec<NamedTool>) -> Self {
        tools.sort_by(|one, other| one.upstream.cmp(&other.upstream));
        tools.dedup_by(|later, earlier| later.upstream == earlier.upstream);
        Self { tools: tools.into() }
    }

    /// The tool that a model calls by a name. Models put `default_api.` or `default_api:` before some
    /// names. `None` for a tool that the client has not named: its own error is what the model learns
    /// from.
    pub fn of(&self, upstream: &str) -> Option<&NamedTool> {
        self.exactly(upstream).or_else(|| {
            let rest = upstream.strip_prefix("default_api")?;
            self.exactly(rest.strip_prefix(['.', ':'])?)
        })
    }

    fn exactly(&self, upstream: &str) -> Option<&NamedTool> {
        let found = self.tools.binary_search_by(|tool| tool.upstream.as_str().cmp(upstream));
        self.tools.get(found.ok()?)
    }
}
