//! Efforts of reasoning.

/// An effort of reasoning, as OpenAI and Anthropic name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// `none`: the least thinking that the model allows.
    None,
    /// `minimal`.
    Minimal,
    /// `low`.
    Low,
    /// `medium`.
    Medium,
    /// `high`, `xhigh`, `max`.
    High,
}

impl Effort {
    /// The effort that a client names.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" | "xhigh" | "max" => Self::High,
            _ => return None,
        })
    }
}
