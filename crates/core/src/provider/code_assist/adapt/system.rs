//! The system instruction, in every form that clients send.

use std::ops::Range;

use super::Adapter;
use crate::json::{Cursor, JsonError, ValueKind};

/// A system instruction as a content: a span, and the bytes before and after it.
pub(super) struct FoldedSystem {
    pub(super) span: Range<usize>,
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

impl Adapter<'_> {
    /// Turns a system instruction of any form into a `Content`. Returns the way to fold it into the
    /// contents, for a method without system instruction; `None` if the instruction is empty.
    pub(super) fn system_instruction(&mut self) -> Result<Option<FoldedSystem>, JsonError> {
        let kind = self.cursor.kind()?;
        let start = self.cursor.at();
        let (before, after) = match kind {
            ValueKind::String => {
                self.cursor.skip()?;
                (r#"{"role":"user","parts":[{"text":"#, "}]}")
            }
            ValueKind::Object if is_content(self.cursor.clone(), true)? => {
                return self.system_content();
            }
            ValueKind::Object => {
                self.part()?;
                (r#"{"role":"user","parts":["#, "]}")
            }
            ValueKind::Array if any_content(self.cursor.clone())? => {
                // A form that no API has: upstream refuses it.
                let span = self.cursor.skip()?;
                return Ok(Some(FoldedSystem { span, before: "", after: "" }));
            }
            ValueKind::Array => {
                self.list(Self::part_or_string, false)?;
                (r#"{"role":"user","parts":"#, "}")
            }
            ValueKind::Null => return self.cursor.skip().map(|_| None),
            ValueKind::Number | ValueKind::Bool => {
                let span = self.cursor.skip()?;
                return Ok(Some(FoldedSystem { span, before: "", after: "" }));
            }
        };
        let span = start..self.cursor.at();
        self.surround(span.clone(), before, after)?;
        Ok(Some(FoldedSystem { span, before: "", after: "" }))
    }

    fn system_content(&mut self) -> Result<Option<FoldedSystem>, JsonError> {
        let mut inside = self.cursor.object()?;
        let mut folded = None;
        while let Some(key) = self.cursor.key(&mut inside)? {
            if *key.value == *b"parts" {
                let parts = self.parts(&key)?;
                folded = (parts.len > 0).then_some(FoldedSystem {
                    span: parts.span,
                    before: r#"{"role":"user","parts":"#,
                    after: "}",
                });
            } else {
                self.cursor.skip()?;
            }
        }
        Ok(folded)
    }

    fn part_or_string(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::String {
            return self.part();
        }
        let span = self.cursor.skip()?;
        self.surround(span, r#"{"text":"#, "}")
    }
}

/// Whether the object is a `Content` rather than a `Part`; `empty` is the result for `{}`.
fn is_content(mut ahead: Cursor<'_>, empty: bool) -> Result<bool, JsonError> {
    let mut inside = ahead.object()?;
    let mut content = empty;
    while let Some(key) = ahead.key(&mut inside)? {
        if let b"parts" | b"role" = &*key.value {
            return Ok(true);
        }
        content = false;
        ahead.skip()?;
    }
    Ok(content)
}

fn any_content(mut ahead: Cursor<'_>) -> Result<bool, JsonError> {
    let mut inside = ahead.array()?;
    while ahead.item(&mut inside)? {
        if ahead.kind()? == ValueKind::Object && is_content(ahead.clone(), false)? {
            return Ok(true);
        }
        ahead.skip()?;
    }
    Ok(false)
}
