//! The names of tools, on both sides.

use super::draft::ClientToolName;

/// The tools of a request by their names upstream. It lives as long as the request.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    tools: Vec<NamedTool>,
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
