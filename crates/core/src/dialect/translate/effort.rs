//! Efforts of reasoning, and the `thinkingConfig` that they become.

use super::draft::Thinking;
use super::family::{ModelFamily, ModelSize};

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

/// The most and the least tokens of a thinking budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetRange {
    /// The least of a budget that is not zero.
    pub least: i64,
    /// The most.
    pub most: i64,
    /// The model can be kept from thinking.
    pub has_off: bool,
}

impl BudgetRange {
    /// The range of a model. `None` for a model that has levels, does not think, or is not known.
    pub fn of(family: ModelFamily) -> Option<Self> {
        if family.generation != Some((2, 5)) {
            return None;
        }
        Some(match family.size {
            ModelSize::Pro => Self { least: 128, most: 32_768, has_off: false },
            ModelSize::Flash => Self { least: 1, most: 24_576, has_off: true },
            ModelSize::FlashLite => Self { least: 512, most: 24_576, has_off: true },
            ModelSize::Other => return None,
        })
    }

    /// The budget of the range that is nearest to `tokens`. -1, which lets the model decide, stays.
    pub fn clamp(self, tokens: i64) -> i64 {
        match tokens {
            ..0 => DYNAMIC,
            0 if self.has_off => 0,
            _ => tokens.clamp(self.least, self.most),
        }
    }
}

/// The budget that lets the model decide.
const DYNAMIC: i64 = -1;

/// The value of `thinkingConfig` (`docs/reference/dialects.md` 2.4, 5.4). `None` leaves the model to its
/// default.
///
/// Thoughts are shown beside an effort or a budget only where the model is known to think: the setting
/// is refused by models that do not.
pub fn thinking_config(thinking: &Thinking<'_>, family: ModelFamily) -> Option<String> {
    let (amount, shows) = match thinking {
        Thinking::Unset => return None,
        Thinking::Written(written) => return Some(written.clone().into_owned()),
        Thinking::Shown => (None, !is_before_thinking(family)),
        Thinking::Effort { effort, shows } => {
            let amount = effort_amount(*effort, family)?;
            (Some(amount), *shows && *effort != Effort::None)
        }
        Thinking::Budget { tokens, shows } => {
            if is_before_thinking(family) {
                return None;
            }
            let shows = *shows && *tokens != 0 && is_known(family);
            (budget_amount(*tokens, family), shows)
        }
    };
    let amount = amount.map(|amount| match amount {
        Amount::Budget(tokens) => format!(r#""thinkingBudget":{tokens}"#),
        Amount::Level(level) => format!(r#""thinkingLevel":"{}""#, level.name()),
    });
    let shows = shows.then(|| r#""includeThoughts":true"#.to_owned());
    let members: Vec<String> = amount.into_iter().chain(shows).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// How much a model thinks, in the model's own terms.
enum Amount {
    Budget(i64),
    Level(Level),
}

/// `thinkingLevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Minimal,
    Low,
    Medium,
    High,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Minimal => "MINIMAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }

    /// The nearest level that the model has.
    fn of_model(self, family: ModelFamily) -> Self {
        let is_flash = matches!(family.size, ModelSize::Flash | ModelSize::FlashLite);
        // LOW and HIGH are all that 3 Pro has, and all that is certain for a size that is not known.
        let has_medium = is_flash || (family.size == ModelSize::Pro && family.is_at_least(3, 1));
        match self {
            Self::Minimal if !is_flash => Self::Low,
            Self::Medium if !has_medium => Self::High,
            level => level,
        }
    }
}

/// The amount for an effort. `None` for a model that has neither levels nor a known range of budgets.
fn effort_amount(effort: Effort, family: ModelFamily) -> Option<Amount> {
    if family.is_gemini_3() {
        let level = match effort {
            Effort::None | Effort::Minimal => Level::Minimal,
            Effort::Low => Level::Low,
            Effort::Medium => Level::Medium,
            Effort::High => Level::High,
        };
        return Some(Amount::Level(level.of_model(family)));
    }
    let tokens = match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
    };
    BudgetRange::of(family).map(|range| Amount::Budget(range.clamp(tokens)))
}

/// The amount for a budget. `None` where the model decides without any setting.
fn budget_amount(tokens: i64, family: ModelFamily) -> Option<Amount> {
    if family.is_gemini_3() {
        let level = match tokens {
            ..0 => return None,
            0..1024 => Level::Minimal,
            1024..=4096 => Level::Low,
            4097..=16_384 => Level::Medium,
            _ => Level::High,
        };
        return Some(Amount::Level(level.of_model(family)));
    }
    // The client has asked for this number: a model without a known range judges it.
    Some(Amount::Budget(BudgetRange::of(family).map_or(tokens, |range| range.clamp(tokens))))
}

/// True for a model that is known to think.
fn is_known(family: ModelFamily) -> bool {
    family.is_gemini_3() || BudgetRange::of(family).is_some()
}

/// True for the generations before 2.5, which do not think.
fn is_before_thinking(family: ModelFamily) -> bool {
    family.generation.is_some_and(|generation| generation < (2, 5))
}
