//! The walk through a JSON text, value by value.

use std::borrow::Cow;
use std::ops::Range;

use super::JsonError;
use super::scan::check_utf8;

/// A position in a JSON text that moves from value to value. It neither allocates nor recurses.
///
/// Every method that returns a kind or enters a container first steps over white space. A clone is
/// cheap and serves to look ahead.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    blanks: usize,
    is_ascii: bool,
}

/// The type of a value, as its first byte shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// A string in the text, either a key or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonString<'a> {
    /// The content with escapes resolved. A string with a lone surrogate keeps its escapes, since
    /// it has no form in UTF-8.
    pub value: Cow<'a, [u8]>,
    /// The place in the text, quotes included.
    pub span: Range<usize>,
}

/// The state of a walk through one object or array.
#[derive(Debug)]
pub struct ContainerWalk {
    first: bool,
}

impl<'a> JsonString<'a> {
    /// [`Self::value`] as a string.
    pub fn into_str(self) -> Cow<'a, str> {
        match self.value {
            Cow::Borrowed(value) => Cow::Borrowed(std::str::from_utf8(value).unwrap_or_default()),
            Cow::Owned(value) => Cow::Owned(String::from_utf8(value).unwrap_or_default()),
        }
    }
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`, which must be UTF-8 without a byte order mark.
    pub fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        if text.starts_with("\u{feff}".as_bytes()) {
            return Err(JsonError::at(text, 0, "byte order mark"));
        }
        let is_ascii =
            check_utf8(text).map_err(|offset| JsonError::at(text, offset, "invalid UTF-8"))?;
        Ok(Self { text, at: 0, depth: 0, blanks: 0, is_ascii })
    }

    /// The offset in the text.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes of white space between tokens the cursor has passed.
    pub fn blanks(&self) -> usize {
        self.blanks
    }

    /// How many containers the cursor is in.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// True when the whole text is ASCII.
    pub fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// The text at a span.
    pub fn text(&self, span: Range<usize>) -> &'a [u8] {
        &self.text[span]
    }

    /// An error at the cursor's offset.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> JsonError {
        JsonError::at(self.text, self.at, what)
    }

    /// The kind of the next value.
    #[inline]
    pub fn kind(&mut self) -> Result<ValueKind, JsonError> {
        match self.token() {
            Some(b'{') => Ok(ValueKind::Object),
            Some(b'[') => Ok(ValueKind::Array),
            Some(b'"') => Ok(ValueKind::String),
            Some(b'-' | b'0'..=b'9') => Ok(ValueKind::Number),
            Some(b't' | b'f') => Ok(ValueKind::Bool),
            Some(b'n') => Ok(ValueKind::Null),
            _ => Err(self.malformed("expected a value")),
        }
    }

    /// Steps over the next value of any kind and returns its span.
    pub fn skip(&mut self) -> Result<Range<usize>, JsonError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            ValueKind::Object | ValueKind::Array => self.container(kind)?,
            ValueKind::String => {
                self.string()?;
            }
            ValueKind::Number => self.number()?,
            ValueKind::Bool | ValueKind::Null => self.word()?,
        }
        Ok(start..self.at)
    }

    /// Steps over an object or array and its content.
    fn container(&mut self, kind: ValueKind) -> Result<(), JsonError> {
        let outside = self.depth;
        let mut containers = Containers::default();
        let mut next = Some(kind);
        loop {
            // A value; of a container that is not empty, only its head.
            let kind = match next.take() {
                Some(kind) => kind,
                None => self.kind()?,
            };
            match kind {
                ValueKind::Object => {
                    self.open()?;
                    if self.token() != Some(b'}') {
                        self.name()?;
                        containers.set(self.depth, true);
                        continue;
                    }
                    self.close();
                }
                ValueKind::Array => {
                    self.open()?;
                    if self.token() != Some(b']') {
                        containers.set(self.depth, false);
                        continue;
                    }
                    self.close();
                }
                ValueKind::String => {
                    self.string()?;
                }
                ValueKind::Number => self.number()?,
                ValueKind::Bool | ValueKind::Null => self.word()?,
            }
            // After a value: a comma and the next value, or ends of containers.
            while self.depth > outside {
                let in_object = containers.is_object(self.depth);
                match self.token() {
                    Some(b',') if in_object => {
                        self.at += 1;
                        self.token();
                        self.name()?;
                        break;
                    }
                    Some(b',') => {
                        self.at += 1;
                        break;
                    }
                    Some(b'}') if in_object => self.close(),
                    Some(b']') if !in_object => self.close(),
                    _ if in_object => return Err(self.malformed("expected `,` or `}`")),
                    _ => return Err(self.malformed("expected `,` or `]`")),
                }
            }
            if self.depth == outside {
                return Ok(());
            }
        }
    }

    /// Reads the next value if it is a string; steps over any other value and returns `None`.
    pub fn string_or_skip(&mut self) -> Result<Option<JsonString<'a>>, JsonError> {
        if self.kind()? != ValueKind::String {
            self.skip()?;
            return Ok(None);
        }
        self.read_string().map(Some)
    }

    /// Enters an object: [`Self::key`] walks through it.
    pub fn object(&mut self) -> Result<ContainerWalk, JsonError> {
        if self.token() != Some(b'{') {
            return Err(self.malformed("expected an object"));
        }
        self.open()?;
        Ok(ContainerWalk { first: true })
    }

    /// The next key of the object, or `None` at its end. The cursor is then before the key's value,
    /// or behind the object. The value must be read or skipped before the next call.
    pub fn key(&mut self, inside: &mut ContainerWalk) -> Result<Option<JsonString<'a>>, JsonError> {
        let first = std::mem::replace(&mut inside.first, false);
        let mut next = self.token();
        if next == Some(b'}') {
            self.close();
            return Ok(None);
        }
        if !first {
            if next != Some(b',') {
                return Err(self.malformed("expected `,` or `}`"));
            }
            self.at += 1;
            next = self.token();
        }
        if next != Some(b'"') {
            return Err(self.malformed("expected a key"));
        }
        let key = self.read_string()?;
        self.colon()?;
        Ok(Some(key))
    }

    /// Enters an array: [`Self::item`] walks through it.
    pub fn array(&mut self) -> Result<ContainerWalk, JsonError> {
        if self.token() != Some(b'[') {
            return Err(self.malformed("expected an array"));
        }
        self.open()?;
        Ok(ContainerWalk { first: true })
    }

    /// Whether the array has another item. The cursor is then before that item, or behind the
    /// array. The item must be read or skipped before the next call.
    pub fn item(&mut self, inside: &mut ContainerWalk) -> Result<bool, JsonError> {
        let first = std::mem::replace(&mut inside.first, false);
        match self.token() {
            Some(b']') => {
                self.close();
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                self.kind().map(|_| true)
            }
            _ if !first => Err(self.malformed("expected `,` or `]`")),
            _ => self.kind().map(|_| true),
        }
    }

    /// Checks that only white space is left.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.token() {
            None => Ok(()),
            Some(_) => Err(self.malformed("trailing characters")),
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Moves to the next token and returns its first byte.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        match self.peek() {
            next @ Some(b'!'..) => next,
            _ => self.token_after_blanks(),
        }
    }

    /// A separate function, so that the usual path of [`Self::token`] is small enough to be
    /// inlined.
    #[inline(never)]
    fn token_after_blanks(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let blanks = rest.iter().take_while(blank).count();
        self.at += blanks;
        self.blanks += blanks;
        self.peek()
    }

    #[inline(always)]
    pub(super) fn open(&mut self) -> Result<(), JsonError> {
        if self.depth == DEEPEST {
            return Err(self.malformed("nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Steps over a key and its colon.
    fn name(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("expected a key"));
        }
        self.string()?;
        self.colon()
    }

    fn colon(&mut self) -> Result<(), JsonError> {
        if self.token() != Some(b':') {
            return Err(self.malformed("expected `:`"));
        }
        self.at += 1;
        Ok(())
    }
}

/// A bit for each depth: whether the container at that depth is an object.
#[derive(Default)]
pub(super) struct Containers([u64; DEEPEST / 64 + 1]);

impl Containers {
    #[inline(always)]
    pub(super) fn set(&mut self, depth: usize, object: bool) {
        let bit = 1 << (depth % 64);
        let word = &mut self.0[depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
    }

    #[inline(always)]
    pub(super) fn is_object(&self, depth: usize) -> bool {
        self.0[depth / 64] & (1 << (depth % 64)) != 0
    }
}

/// Bounds the cost of a hostile body. Google's own JSON reader refuses a depth of about 100.
const DEEPEST: usize = 512;
