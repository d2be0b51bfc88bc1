//! `generationConfig`, which the two APIs share but for a few members.

use super::Adapter;
use crate::json::{JsonError, ValueKind};
use crate::provider::edits::{MemberFilter, has_json_schema, is_zero};

impl Adapter<'_> {
    /// A `GenerationConfig`.
    pub(super) fn generation_config(&mut self) -> Result<bool, JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            return self.passed();
        }
        let whole = self.cursor.clone();
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        // Whether `responseJsonSchema` is there; `None` until it matters.
        let mut has_schema = None;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let kind = self.cursor.kind()?;
            let value = self.cursor.skip()?;
            let keep = match &*key.value {
                b"enableEnhancedCivicAnswers" | b"enable_enhanced_civic_answers" => false,
                // The name of `responseJsonSchema` in an older SDK.
                b"_responseJsonSchema" | b"_response_json_schema" => {
                    let known = match has_schema {
                        Some(known) => known,
                        None => has_json_schema(whole.clone())?,
                    };
                    has_schema = Some(true);
                    if !known {
                        self.replace(key.span.clone(), r#""responseJsonSchema""#)?;
                    }
                    !known
                }
                b"temperature" => {
                    let zero = kind == ValueKind::Number && is_zero(self.cursor.text(value));
                    self.temperature_zero = Some(zero && self.temperature_zero != Some(false));
                    true
                }
                _ => true,
            };
            if !keep {
                self.path.enter(&key);
                self.drop_here();
                self.path.leave();
            }
            self.member(&mut members, &key, keep)?;
        }
        members.close(&mut self.splice);
        Ok(true)
    }
}
