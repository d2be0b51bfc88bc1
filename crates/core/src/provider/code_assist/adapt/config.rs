//! `generationConfig`, in which the public API and Code Assist differ most.

use super::Adapter;
use super::fields::ConfigField;
use crate::json::{JsonError, ValueKind};
use crate::provider::edits::{MemberFilter, has_json_schema, is_zero};

impl Adapter<'_> {
    /// A `GenerationConfig`.
    pub(super) fn generation_config(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let whole = self.cursor.clone();
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        // Whether `responseJsonSchema` is there; `None` until it matters.
        let mut has_schema = None;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let kind = self.cursor.kind()?;
            let value = self.cursor.skip()?;
            let member = key.span.start..value.end;
            let keep = match ConfigField::named(&key.value) {
                ConfigField::NotTaken => false,
                ConfigField::PrivateJsonSchema => {
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
                ConfigField::Temperature => {
                    let zero = kind == ValueKind::Number && is_zero(self.cursor.text(value));
                    self.temperature_zero = Some(zero && self.temperature_zero != Some(false));
                    true
                }
                ConfigField::Other => true,
            };
            if keep {
                members.keep(&mut self.splice, member);
            } else {
                self.enter(&key);
                self.drop_here();
                self.leave();
                members.remove(&mut self.splice, member);
                self.bound()?;
            }
        }
        members.close(&mut self.splice);
        Ok(())
    }
}
