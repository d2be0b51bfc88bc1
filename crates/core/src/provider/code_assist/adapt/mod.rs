//! The short list of `spec.md` 5, as splices over the client's own bytes: one pass, no tree.
//!
//! A field is known in both of its spellings, and whatever escapes its name is written with. What
//! belongs to the user (arguments, answers of functions, schemas) is stepped over unseen.

mod config;
mod count;
mod fields;
mod member_filter;
mod system;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use bytes::Bytes;

use crate::json::{Cursor, JsonError, JsonString, Splice, ValueKind};
use crate::payload::Payload;
use fields::{Root, harm_category, is_data};
use member_filter::{Paths, Sieve};

/// A client's body, made fit for Code Assist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The inner `request` object (for countTokens: what goes between `"request":` and `}`).
    pub request: Payload,
    /// The paths of fields that were removed, such as `generationConfig.imageConfig`, in order.
    ///
    /// Each is visible ASCII without commas, fit for a header; after 64 of them comes `...`.
    pub dropped: Vec<String>,
    /// `generationConfig.temperature` is there and exactly zero.
    pub temperature_zero: bool,
}

/// Rewrites the body of `generateContent` and `streamGenerateContent`.
pub fn generate(body: &Bytes) -> Result<Rewritten, JsonError> {
    let mut rewriting = Rewriting::new(body, false)?;
    rewriting.request()?;
    rewriting.cursor.end()?;
    Ok(Rewritten {
        request: rewriting.splice.pieces(body, 0..body.len()),
        dropped: rewriting.dropped.0,
        temperature_zero: rewriting.temperature_zero == Some(true),
    })
}

/// Rewrites the body of `countTokens`, in both of its forms, for `model` (a bare id).
///
/// The public API calls the two forms mutually exclusive. A body with both is read as a
/// `generateContentRequest`, and the rest is reported as dropped.
pub fn count(body: &Bytes, model: &str) -> Result<Rewritten, JsonError> {
    let mut rewriting = Rewriting::new(body, true)?;
    let outer = rewriting.countable(true)?;
    rewriting.cursor.end()?;
    let countable = match outer.inner {
        Some(inner) => {
            for path in outer.used.0 {
                rewriting.dropped.push(path);
            }
            *inner
        }
        None => outer,
    };
    let request = countable.into_request(body, &mut rewriting.splice, model);
    Ok(Rewritten { request, dropped: rewriting.dropped.0, temperature_zero: false })
}

/// The walk through one body, and what it found.
struct Rewriting<'a> {
    cursor: Cursor<'a>,
    /// Whether the body is for countTokens, which does not take `thought`.
    counting: bool,
    splice: Splice,
    dropped: Paths,
    /// The path of the value at the cursor.
    path: Path<'a>,
    /// Every temperature so far was zero.
    temperature_zero: Option<bool>,
}

/// A list, or a single object in its place.
struct Listed {
    span: Range<usize>,
    /// The items, without the brackets.
    inner: Range<usize>,
    len: usize,
}

impl<'a> Rewriting<'a> {
    fn new(body: &'a [u8], counting: bool) -> Result<Self, JsonError> {
        Ok(Self {
            cursor: Cursor::new(body)?,
            counting,
            splice: Splice::default(),
            dropped: Paths::default(),
            path: Path::default(),
            temperature_zero: None,
        })
    }

    /// A `GenerateContentRequest`.
    fn request(&mut self) -> Result<(), JsonError> {
        let mut inside = self.cursor.object()?;
        let mut sieve = Sieve::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.enter(&key);
            let field = Root::named(&key.value);
            match field {
                Root::Contents => {
                    self.list(Self::content, true)?;
                }
                Root::SystemInstruction => {
                    self.system_instruction()?;
                }
                Root::Tools => {
                    self.list(Self::tool, true)?;
                }
                Root::SafetySettings => {
                    self.list(Self::safety_setting, true)?;
                }
                Root::GenerationConfig => self.generation_config()?,
                Root::NotTaken => {
                    self.cursor.skip()?;
                    self.drop_here();
                }
                Root::GenerateContentRequest | Root::Other => {
                    self.cursor.skip()?;
                }
            }
            let member = key.span.start..self.cursor.at();
            if field == Root::NotTaken {
                sieve.remove(&mut self.splice, member);
            } else {
                sieve.keep(&mut self.splice, member);
            }
            self.bound()?;
            self.leave();
        }
        sieve.close(&mut self.splice);
        Ok(())
    }

    /// Reads a list, each of its items with `item`. A single object in its place is one item, and
    /// with `brackets` becomes a list. Anything else is left for upstream to judge.
    fn list(
        &mut self,
        item: fn(&mut Self) -> Result<(), JsonError>,
        brackets: bool,
    ) -> Result<Listed, JsonError> {
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
                Ok(Listed { inner: span.start + 1..span.end - 1, span, len })
            }
            ValueKind::Object => {
                let start = self.cursor.at();
                item(self)?;
                let span = start..self.cursor.at();
                if brackets {
                    self.surround(span.clone(), "[", "]")?;
                }
                Ok(Listed { inner: span.clone(), span, len: 1 })
            }
            kind => {
                let span = self.cursor.skip()?;
                let len = usize::from(kind != ValueKind::Null);
                Ok(Listed { inner: span.clone(), span, len })
            }
        }
    }

    /// A `Content`: a turn without a role is the user's, and so are the answers of functions.
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
        let span = match self.cursor.kind()? {
            ValueKind::Null => Some(self.cursor.skip()?),
            _ => self
                .cursor
                .string_or_skip()?
                .filter(|role| matches!(&*role.value, b"function" | b"tool"))
                .map(|role| role.span),
        };
        match span {
            Some(span) => self.replace(span, r#""user""#),
            None => Ok(()),
        }
    }

    fn parts(&mut self, key: &JsonString<'a>) -> Result<Listed, JsonError> {
        self.enter(key);
        let listed = self.list(Self::part, true)?;
        self.leave();
        Ok(listed)
    }

    /// A `Part`: countTokens fails on `thought`, and on a part that holds nothing else
    /// (`protocol.md` 2.5, 3.3).
    fn part(&mut self) -> Result<(), JsonError> {
        if !self.counting || self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let mut sieve = Sieve::default();
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
                sieve.remove(&mut self.splice, member);
                self.bound()?;
                continue;
            }
            sieve.keep(&mut self.splice, member);
            match kind {
                ValueKind::Null if *key.value == *b"text" => empty_text = Some(value),
                ValueKind::Null => {}
                _ => has_data |= is_data(&key.value),
            }
        }
        let kept = sieve.close(&mut self.splice);
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
                    self.cursor.skip()?;
                }
            }
        }
        Ok(())
    }

    /// The public API's numbers of harm categories mean others on Vertex (`clients.md` R6).
    fn safety_setting(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let value = self.cursor.skip()?;
            let name = harm_category(self.cursor.text(value.clone()));
            if let (true, Some(name)) = (*key.value == *b"category", name) {
                self.replace(value, name)?;
            }
        }
        Ok(())
    }

    /// Adds a key to the path; [`Self::leave`] takes it away again.
    fn enter(&mut self, key: &JsonString<'a>) {
        self.path.0.push(Step::Key(key.value.clone()));
    }

    fn enter_item(&mut self, index: usize) {
        self.path.0.push(Step::Item(index));
    }

    fn leave(&mut self) {
        self.path.0.pop();
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

    /// Keeps the memory that corrections take in proportion.
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

/// The way from the body to a value in it, as the client spelled it. It is seldom written out.
#[derive(Default)]
struct Path<'a>(Vec<Step<'a>>);

enum Step<'a> {
    Item(usize),
    Key(Cow<'a, [u8]>),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legible = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if number == 0 { "" } else { "." })?;
                    String::from_utf8_lossy(key)
                        .chars()
                        .take(LONGEST_KEY)
                        .try_for_each(|c| f.write_char(legible(c)))?;
                }
            }
        }
        Ok(())
    }
}

/// A longer key is cut in a path.
const LONGEST_KEY: usize = 64;

/// Ten times what the longest conversation needs; an edit costs about 50 bytes of memory.
const MOST_EDITS: usize = 1 << 18;
