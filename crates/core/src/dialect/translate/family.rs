//! What a model's name says of its abilities.

/// The generation and size of a Gemini model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFamily {
    /// The generation: (3, 1) of `gemini-3.1-pro-preview`. `None` for a name without a number, but for an
    /// alias of Google's such as `gemini-flash-latest`.
    pub generation: Option<(u8, u8)>,
    /// The size.
    pub size: ModelSize,
}

/// The sizes of Gemini models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelSize {
    /// `flash`.
    Flash,
    /// `flash-lite`.
    FlashLite,
    /// `pro`.
    Pro,
    /// Another name.
    Other,
}

impl ModelFamily {
    /// The family of a model, by its bare id.
    pub fn of(model: &str) -> Self {
        let rest = model.strip_prefix("gemini-");
        let generation = rest.and_then(|rest| {
            if LATEST.contains(&rest) {
                return Some(CURRENT);
            }
            let number = rest.split('-').next()?;
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let draws_only = |rest: &str| {
            rest.contains("-image") && generation.is_some_and(|generation| generation < (3, 0))
        };
        let size = match rest {
            // They do not think, whatever their name says.
            Some(rest) if draws_only(rest) => ModelSize::Other,
            Some(rest) if rest.contains("flash-lite") => ModelSize::FlashLite,
            Some(rest) if rest.contains("flash") => ModelSize::Flash,
            Some(rest) if rest.contains("pro") => ModelSize::Pro,
            _ => ModelSize::Other,
        };
        Self { generation, size }
    }

    /// True for Gemini `major`.`minor` and later. False for a name without a number.
    pub fn is_at_least(self, major: u8, minor: u8) -> bool {
        self.generation.is_some_and(|generation| generation >= (major, minor))
    }

    /// True for Gemini 3 and later, which check the signatures of calls, and take ids in them.
    pub fn is_gemini_3(self) -> bool {
        self.is_at_least(3, 0)
    }
}

/// Google's names for the newest model of a size. Code Assist has models of its own for them, which stand in
/// before a request is translated.
const LATEST: [&str; 3] = ["pro-latest", "flash-latest", "flash-lite-latest"];

/// The generation of the newest models. Each later one has the same rules: levels of thinking, ids in calls,
/// and calls that must be signed.
const CURRENT: (u8, u8) = (3, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_generation_and_size() {
        for (name, generation, size) in [
            ("gemini-2.5-pro", Some((2, 5)), ModelSize::Pro),
            ("gemini-2.5-flash", Some((2, 5)), ModelSize::Flash),
            ("gemini-2.5-flash-lite", Some((2, 5)), ModelSize::FlashLite),
            ("gemini-2.5-flash-image", Some((2, 5)), ModelSize::Other),
            ("gemini-3-pro-image-preview", Some((3, 0)), ModelSize::Pro),
            ("gemini-3-pro-preview", Some((3, 0)), ModelSize::Pro),
            ("gemini-3.1-pro-preview", Some((3, 1)), ModelSize::Pro),
            ("gemini-3.6-flash", Some((3, 6)), ModelSize::Flash),
            ("gemini-pro-latest", Some((3, 1)), ModelSize::Pro),
            ("gemini-flash-latest", Some((3, 1)), ModelSize::Flash),
            ("gemini-flash-lite-latest", Some((3, 1)), ModelSize::FlashLite),
            ("gemini-1.5-pro-latest", Some((1, 5)), ModelSize::Pro),
            ("gemini-pro", None, ModelSize::Pro),
            ("gemma-3-27b-it", None, ModelSize::Other),
            ("something", None, ModelSize::Other),
        ] {
            assert_eq!(ModelFamily::of(name), ModelFamily { generation, size }, "{name}");
        }
        assert!(ModelFamily::of("gemini-3-flash").is_gemini_3());
        assert!(!ModelFamily::of("gemini-2.5-pro").is_gemini_3());
        assert!(!ModelFamily::of("gemini-pro").is_gemini_3());
    }
}
