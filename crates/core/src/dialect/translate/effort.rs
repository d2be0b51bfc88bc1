//! Efforts of reasoning, and the `thinkingConfig` that they become (`docs/reference/dialects.md` 2.4, 5.4).

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
struct BudgetRange {
    /// The least of a budget that is not zero.
    least: i64,
    most: i64,
    /// The model can be kept from thinking.
    has_off: bool,
}

impl BudgetRange {
    /// The range of a model. `None` for a model that has levels, does not think, or is not known.
    fn of(family: ModelFamily) -> Option<Self> {
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
    fn clamp(self, tokens: i64) -> i64 {
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
    match BudgetRange::of(family) {
        Some(range) => Some(Amount::Budget(range.clamp(tokens))),
        // A model that may not think refuses the setting, and decides without it as well.
        None if tokens < 0 => None,
        // The client has asked for this number: the model judges it.
        None => Some(Amount::Budget(tokens)),
    }
}

/// True for a model that is known to think.
fn is_known(family: ModelFamily) -> bool {
    family.is_gemini_3() || BudgetRange::of(family).is_some()
}

/// True for the generations before 2.5, which do not think.
fn is_before_thinking(family: ModelFamily) -> bool {
    family.generation.is_some_and(|generation| generation < (2, 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(thinking: &Thinking<'_>, model: &str) -> String {
        thinking_config(thinking, ModelFamily::of(model)).unwrap_or_default()
    }

    fn budget(tokens: i64, model: &str) -> String {
        config(&Thinking::Budget { tokens, shows: false }, model)
    }

    /// A row of the table of efforts: a number is a budget, a word a level, and nothing is no setting.
    const MODELS: [&str; 12] = [
        "gemini-2.5-pro",
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-3-pro-preview",
        "gemini-3.1-pro-preview",
        "gemini-3-flash-preview",
        "gemini-3.6-flash",
        "gemini-3.1-flash-lite",
        "gemini-3-ultra",
        "gemini-2.0-flash",
        "gemini-pro",
        "gemma-3-27b-it",
    ];

    #[test]
    fn each_effort_is_what_the_table_says_for_each_model() {
        let rows = [
            ("none", "128 0 0 LOW LOW MINIMAL MINIMAL MINIMAL LOW - - -"),
            ("minimal", "1024 1024 1024 LOW LOW MINIMAL MINIMAL MINIMAL LOW - - -"),
            ("low", "1024 1024 1024 LOW LOW LOW LOW LOW LOW - - -"),
            ("medium", "8192 8192 8192 HIGH MEDIUM MEDIUM MEDIUM MEDIUM HIGH - - -"),
            ("high", "24576 24576 24576 HIGH HIGH HIGH HIGH HIGH HIGH - - -"),
            ("xhigh", "24576 24576 24576 HIGH HIGH HIGH HIGH HIGH HIGH - - -"),
            ("max", "24576 24576 24576 HIGH HIGH HIGH HIGH HIGH HIGH - - -"),
        ];
        for (name, cells) in rows {
            let effort = Effort::named(name).unwrap();
            let cells: Vec<&str> = cells.split(' ').collect();
            assert_eq!(cells.len(), MODELS.len());
            for (cell, model) in cells.into_iter().zip(MODELS) {
                let amount = match cell.parse::<u32>() {
                    Ok(tokens) => format!(r#""thinkingBudget":{tokens}"#),
                    Err(_) => format!(r#""thinkingLevel":"{cell}""#),
                };
                let expected = match (cell, name) {
                    ("-", _) => [String::new(), String::new()],
                    // No thought is shown beside the least thinking: Gemini refuses it at a budget of 0.
                    (_, "none") => [format!("{{{amount}}}"), format!("{{{amount}}}")],
                    _ => {
                        [format!("{{{amount}}}"), format!(r#"{{{amount},"includeThoughts":true}}"#)]
                    }
                };
                let found =
                    [false, true].map(|shows| config(&Thinking::Effort { effort, shows }, model));
                assert_eq!(found, expected, "{name} at {model}");
            }
        }
        assert_eq!(Effort::named("HIGH"), None);
        assert_eq!(Effort::named(""), None);
    }

    #[test]
    fn a_budget_is_limited_to_the_range_of_the_model() {
        for (model, tokens, sent) in [
            ("gemini-2.5-pro", 0, 128),
            ("gemini-2.5-pro", 1, 128),
            ("gemini-2.5-pro", 2000, 2000),
            ("gemini-2.5-pro", 32_768, 32_768),
            ("gemini-2.5-pro", i64::MAX, 32_768),
            ("gemini-2.5-pro", -1, -1),
            ("gemini-2.5-flash", 0, 0),
            ("gemini-2.5-flash", 1, 1),
            ("gemini-2.5-flash", 24_577, 24_576),
            ("gemini-2.5-flash-lite", 0, 0),
            ("gemini-2.5-flash-lite", 1, 512),
            ("gemini-2.5-flash-lite", 60_000, 24_576),
            ("gemini-2.5-flash-lite", -7, -1),
            // A model whose range is not known judges the number by itself.
            ("gemini-pro", 60_000, 60_000),
        ] {
            let expected = format!(r#"{{"thinkingBudget":{sent}}}"#);
            assert_eq!(budget(tokens, model), expected, "{tokens} at {model}");
        }
    }

    #[test]
    fn a_budget_is_a_level_from_gemini_3_on() {
        for (tokens, flash, pro, pro_3_1) in [
            (0, "MINIMAL", "LOW", "LOW"),
            (1023, "MINIMAL", "LOW", "LOW"),
            (1024, "LOW", "LOW", "LOW"),
            (4096, "LOW", "LOW", "LOW"),
            (4097, "MEDIUM", "HIGH", "MEDIUM"),
            (16_384, "MEDIUM", "HIGH", "MEDIUM"),
            (16_385, "HIGH", "HIGH", "HIGH"),
            (i64::MAX, "HIGH", "HIGH", "HIGH"),
        ] {
            for (model, level) in [
                ("gemini-3.6-flash", flash),
                ("gemini-3-pro-preview", pro),
                ("gemini-3.1-pro-preview", pro_3_1),
            ] {
                let expected = format!(r#"{{"thinkingLevel":"{level}"}}"#);
                assert_eq!(budget(tokens, model), expected, "{tokens} at {model}");
            }
        }
        assert_eq!(budget(-1, "gemini-3.6-flash"), "");
    }

    #[test]
    fn thoughts_are_shown_only_by_models_that_think() {
        let adaptive = Thinking::Budget { tokens: -1, shows: true };
        let off = Thinking::Budget { tokens: 0, shows: true };
        let counted = Thinking::Budget { tokens: 2000, shows: true };
        for (thinking, model, expected) in [
            (&adaptive, "gemini-2.5-pro", r#"{"thinkingBudget":-1,"includeThoughts":true}"#),
            (&adaptive, "gemini-3.6-flash", r#"{"includeThoughts":true}"#),
            (&adaptive, "gemini-2.0-flash", ""),
            // Claude Code sends this to every model.
            (&adaptive, "gemma-3-27b-it", ""),
            (&off, "gemini-2.5-flash", r#"{"thinkingBudget":0}"#),
            (&counted, "gemini-2.0-flash", ""),
            (&counted, "gemini-pro", r#"{"thinkingBudget":2000}"#),
            (&Thinking::Shown, "gemini-2.5-pro", r#"{"includeThoughts":true}"#),
            (&Thinking::Shown, "gemini-pro", r#"{"includeThoughts":true}"#),
            (&Thinking::Shown, "gemini-1.5-pro", ""),
            (&Thinking::Unset, "gemini-2.5-pro", ""),
        ] {
            assert_eq!(config(thinking, model), expected, "{thinking:?} at {model}");
        }
        let written = Thinking::Written(r#"{ "thinkingBudget": 007 }"#.into());
        assert_eq!(config(&written, "gemini-1.5-pro"), r#"{ "thinkingBudget": 007 }"#);
    }
}
