//! The kinds of Google APIs that serve Gemini models.

/// A provider without its settings. Thought signatures are bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Code Assist, with the sign-in of the Gemini CLI.
    CodeAssist,
    /// The public Gemini API, with a key.
    GeminiApi,
    /// Vertex AI, with an account of Google Cloud or a key of its express mode.
    Vertex,
}

impl ProviderKind {
    /// The provider's name in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::CodeAssist => "code-assist",
            Self::GeminiApi => "gemini-api",
            Self::Vertex => "vertex",
        }
    }
}
