//! `generationConfig`, the part of a request where the two APIs differ most.

use super::Rewriting;
use super::fields::Config;
use super::member_filter::Sieve;
use crate::json::{Cursor, JsonError, ValueKind};

impl Rewriting<'_> {
    /// A `GenerationConfig`.
    pub(super) fn generation_config(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let whole = self.cursor.clone();
        let mut inside = self.cursor.object()?;
        let mut sieve = Sieve::default();
        // Whether `responseJsonSchema` is there, once somebody asked.
        let mut has_schema = None;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let kind = self.cursor.kind()?;
            let value = self.cursor.skip()?;
            let member = key.span.start..value.end;
            let keep = match Config::named(&key.value) {
                Config::NotTaken => false,
                Config::PrivateJsonSchema => {
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
                Config::Temperature => {
                    let zero = kind == ValueKind::Number && is_zero(self.cursor.text(value));
                    self.temperature_zero = Some(zero && self.temperature_zero != Some(false));
                    true
                }
                Config::Other => true,
            };
            if keep {
                sieve.keep(&mut self.splice, member);
            } else {
                self.enter(&key);
                self.drop_here();
                self.leave();
                sieve.remove(&mut self.splice, member);
                self.bound()?;
            }
        }
        sieve.close(&mut self.splice);
        Ok(())
    }
}

fn has_json_schema(mut ahead: Cursor<'_>) -> Result<bool, JsonError> {
    let mut inside = ahead.object()?;
    while let Some(key) = ahead.key(&mut inside)? {
        if let b"responseJsonSchema" | b"response_json_schema" = &*key.value {
            return Ok(true);
        }
        ahead.skip()?;
    }
    Ok(false)
}

/// Whether a JSON number is zero: `0`, `0.0`, `-0`, `0e5`.
fn is_zero(number: &[u8]) -> bool {
    let mut mantissa = number.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    mantissa.all(|byte| matches!(byte, b'-' | b'0' | b'.'))
}
