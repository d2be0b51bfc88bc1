//! The edits that make a Gemini request acceptable to Code Assist (`docs/UPSTREAMS.md`): splices over the
//! client's own bytes, in one pass and without a tree.
//!
//! A field is recognised in both of its spellings (camel and snake case), also when its name is
//! written with escapes. The user's own data (arguments, results of functions, schemas) is skipped.

mod config;
mod count;
mod fields;
mod system;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Cursor, JsonError, JsonString, Splice, ValueKind};
use crate::provider::edits::{
    BoundedPaths, FieldPath, MOST_EDITS, MemberFilter, numbered_categories, unusual_role,
};

pub use crate::provider::edits::AdaptedRequest;
use fields::{RequestField, is_data};

/// Adapts the body of `generateContent` or `streamGenerateContent`.
pub fn generate(body: &Bytes) -> Result<AdaptedRequest, JsonError> {
    let mut adapter = Adapter::new(body, false)?;
    adapter.request()?;
    adapter.cursor.end()?;
    Ok(AdaptedRequest {
        request: adapter.splice.pieces(body, 0..body.len()),
        dropped: adapter.dropped.0,
        temperature_zero: adapter.temperature_zero == Some(true),
        looks_outside: adapter.looks_outside,
        service_tier: None,
    })
}

/// Adapts the body of `countTokens`, in either of its two forms, for `model` (a bare id).
///
/// In the public API the two forms exclude each other. Of a body with both only the
/// `generateContentRequest` is used, and the other fields are reported as dropped.
pub fn count(body: &Bytes, model: &str) -> Result<AdaptedRequest, JsonError> {
    let mut adapter = Adapter::new(body, true)?;
    let outer = adapter.countable(true)?;
    adapter.cursor.end()?;
    let countable = match outer.inner {
        Some(inner) => {
            for path in outer.used.0 {
                adapter.dropped.push(path);
            }
            *inner
        }
        None => outer,
    };
    let request = countable.into_request(body, &mut adapter.splice, model);
    // A count uses no tool.
    let (temperature_zero, looks_outside) = (false, false);
    let (dropped, service_tier) = (adapter.dropped.0, None);
    Ok(AdaptedRequest { request, dropped, temperature_zero, looks_outside, service_tier })
}

/// The walk through one body, with the edits found so far.
struct Adapter<'a> {
    cursor: Cursor<'a>,
    /// Whether the body is for countTokens, which refuses `thought`.
    counting: bool,
    splice: Splice,
    dropped: BoundedPaths,
    /// The path of the value at the cursor.
    path: FieldPath<'a>,
    /// Whether every temperature so far was zero; `None` before the first.
    temperature_zero: Option<bool>,
    /// Whether a tool is no list of function declarations.
    looks_outside: bool,
}

/// The place of a list, or of a single object in place of a list.
struct ListSpan {
    span: Range<usize>,
    /// The items, without the brackets.
    inner: Range<usize>,
    len: usize,
}

impl<'a> Adapter<'a> {
    fn new(body: &'a [u8], counting: bool) -> Result<Self, JsonError> {
        Ok(Self {
            cursor: Cursor::new(body)?,
            counting,
            splice: Splice::default(),
            dropped: BoundedPaths::default(),
            path: FieldPath::default(),
            temperature_zero: None,
            looks_outside: false,
        })
    }

    /// A `GenerateContentRequest`.
    fn request(&mut self) -> Result<(), JsonError> {
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.enter(&key);
            let field = RequestField::named(&key.value);
            match field {
                RequestField::Contents => {
                    self.list(Self::content, true)?;
                }
                RequestField::SystemInstruction => {
                    self.system_instruction()?;
                }
                RequestField::Tools => {
                    self.list(Self::tool, true)?;
                }
                RequestField::SafetySettings => {
                    self.list(Self::safety_setting, true)?;
                }
                RequestField::GenerationConfig => self.generation_config()?,
                RequestField::NotTaken => {
                    self.cursor.skip()?;
                    self.drop_here();
                }
                RequestField::GenerateContentRequest | RequestField::Other => {
                    self.cursor.skip()?;
                }
            }
            let member = key.span.start..self.cursor.at();
            if field == RequestField::NotTaken {
                members.remove(&mut self.splice, member);
            } else {
                members.keep(&mut self.splice, member);
            }
            self.bound()?;
            self.leave();
        }
        members.close(&mut self.splice);
        Ok(())
    }

    /// Reads a list with `item` for each of its items. A single object in place of a list is one
    /// item; with `brackets` it becomes a list. Any other value is passed on for upstream to
    /// refuse.
    fn list(
        &mut self,
        item: fn(&mut Self) -> Result<(), JsonError>,
        brackets: bool,
    ) -> Result<ListSpan, JsonError> {
        match self.cursor.kind()? {
            ValueKind::Array => {
                let start = self.cursor.at();
                let mut inside = self.cursor.array()?;
                let mut len = 0;
                while self.cursor.item(&mut inside)? {
                    self.enter_item(len);
                    item(self)?;
                    self.leave();
                    len += 1;
                }
                let span = start..self.cursor.at();
                Ok(ListSpan { inner: span.start + 1..span.end - 1, span, len })
            }
            ValueKind::Object => {
                let start = self.cursor.at();
                item(self)?;
                let span = start..self.cursor.at();
                if brackets {
                    self.surround(span.clone(), "[", "]")?;
                }
                Ok(ListSpan { inner: span.clone(), span, len: 1 })
            }
            kind => {
                let span = self.cursor.skip()?;
                let len = usize::from(kind != ValueKind::Null);
                Ok(ListSpan { inner: span.clone(), span, len })
            }
        }
    }

    /// A `Content`. The role `user` is set where there is none, and in place of `function` and
    /// `tool`. An empty role is none: Go clients write `""` for a role that they do not set.
    fn content(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let start = self.cursor.at();
        let mut empty = true;
        let mut has_role = false;
        while let Some(key) = self.cursor.key(&mut inside)? {
            empty = false;
            match &*key.value {
                b"role" => {
                    has_role = true;
                    self.role()?;
                }
                b"parts" => {
                    self.parts(&key)?;
                }
                _ => {
                    self.cursor.skip()?;
                }
            }
        }
        if !has_role {
            let role = if empty { r#""role":"user""# } else { r#""role":"user","# };
            self.replace(start..start, role)?;
        }
        Ok(())
    }

    fn role(&mut self) -> Result<(), JsonError> {
        match unusual_role(&mut self.cursor)? {
            Some(span) => self.replace(span, r#""user""#),
            None => Ok(()),
        }
    }

    fn parts(&mut self, key: &JsonString<'a>) -> Result<ListSpan, JsonError> {
        self.enter(key);
        let list = self.list(Self::part, true)?;
        self.leave();
        Ok(list)
    }

    /// A `Part`. countTokens refuses `thought`, and refuses a part without data
    /// (`docs/reference/protocol.md` 2.5, 3.3): `thought` is removed, and an empty text added where
    /// nothing else is left.
    fn part(&mut self) -> Result<(), JsonError> {
        if !self.counting || self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        let mut had_thought = false;
        let mut has_data = false;
        let mut empty_text = None;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let kind = self.cursor.kind()?;
            let value = self.cursor.skip()?;
            let member = key.span.start..value.end;
            if *key.value == *b"thought" {
                had_thought = true;
                self.enter(&key);
                self.drop_here();
                self.leave();
                members.remove(&mut self.splice, member);
                self.bound()?;
                continue;
            }
            members.keep(&mut self.splice, member);
            match kind {
                ValueKind::Null if *key.value == *b"text" => empty_text = Some(value),
                ValueKind::Null => {}
                _ => has_data |= is_data(&key.value),
            }
        }
        let kept = members.close(&mut self.splice);
        let end = self.cursor.at() - 1;
        match empty_text {
            _ if !had_thought || has_data => Ok(()),
            Some(null) => self.replace(null, r#""""#),
            None if kept => self.replace(end..end, r#","text":"""#),
            None => self.replace(end..end, r#""text":"""#),
        }
    }

    fn tool(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            match &*key.value {
                b"functionDeclarations" | b"function_declarations" => {
                    self.list(|this| this.cursor.skip().map(drop), true)?;
                }
                _ => {
                    self.looks_outside |= self.cursor.kind()? != ValueKind::Null;
                    self.cursor.skip()?;
                }
            }
        }
        Ok(())
    }

    fn safety_setting(&mut self) -> Result<(), JsonError> {
        for (span, name) in numbered_categories(&mut self.cursor)? {
            self.replace(span, name)?;
        }
        Ok(())
    }

    /// Adds a key to the path; [`Self::leave`] removes it.
    fn enter(&mut self, key: &JsonString<'a>) {
        self.path.enter(key);
    }

    fn enter_item(&mut self, index: usize) {
        self.path.enter_item(index);
    }

    fn leave(&mut self) {
        self.path.leave();
    }

    fn surround(
        &mut self,
        span: Range<usize>,
        before: &'static str,
        after: &'static str,
    ) -> Result<(), JsonError> {
        self.replace(span.start..span.start, before)?;
        self.replace(span.end..span.end, after)
    }

    fn replace(&mut self, span: Range<usize>, by: &'static str) -> Result<(), JsonError> {
        self.splice.replace(span, by);
        self.bound()
    }

    /// Bounds the memory for edits.
    fn bound(&self) -> Result<(), JsonError> {
        if self.splice.len() > MOST_EDITS {
            return Err(self.cursor.malformed("too many fields to correct"));
        }
        Ok(())
    }

    fn drop_here(&mut self) {
        self.dropped.push(self.path.to_string());
    }
}
