//! `CODE_ASSIST_PROTOCOL`, and `code_assist_protocol` of a `[[key]]` table.

/// What clients may call of Code Assist's own protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedProtocol {
    /// Every method, as the client sends it.
    All,
    /// What a session of the Gemini CLI calls and what changes nothing, in the operator's project.
    Generate,
    /// Nothing: the paths do not exist.
    Off,
}

impl AllowedProtocol {
    /// The values of the setting.
    pub const WORDS: [&str; 3] = ["off", "generate", "all"];

    /// The value that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Generate => "generate",
            Self::Off => "off",
        }
    }

    /// Reads one of [`AllowedProtocol::WORDS`].
    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::All, Self::Generate, Self::Off].into_iter().find(|it| it.word() == word)
    }
}
