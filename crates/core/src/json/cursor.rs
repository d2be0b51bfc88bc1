//! A place in a JSON text, and the ways to move it on.

use std::borrow::Cow;
use std::ops::Range;

use super::Malformed;

/// A place in a JSON text that moves on value by value. Nothing is allocated and nothing recurses.
///
/// Every method that returns a kind or enters a container first steps over white space. Cloning
/// is cheap: a clone is how one looks ahead.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    blanks: usize,
}

/// What a value is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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

/// A string of the text: a key or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a> {
    /// What it means, escapes resolved. One with a lone surrogate is given as it is written.
    pub value: Cow<'a, str>,
    /// Where it is written, quotes included.
    pub span: Range<usize>,
}

/// How far the walk through one object or array has come.
#[derive(Debug)]
pub struct Inside {
    first: bool,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`, which has to be UTF-8 without a byte order mark.
    pub fn new(text: &'a [u8]) -> Result<Self, Malformed> {
        match std::str::from_utf8(text) {
            Ok(valid) if valid.starts_with('\u{feff}') => {
                Err(Malformed::at(text, 0, "byte order mark"))
            }
            Ok(valid) => Ok(Self { text: valid, at: 0, depth: 0, blanks: 0 }),
            Err(error) => Err(Malformed::at(text, error.valid_up_to(), "invalid UTF-8")),
        }
    }

    /// The offset of the cursor.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes of white space between tokens it has passed.
    pub fn blanks(&self) -> usize {
        self.blanks
    }

    /// The text at a span.
    pub fn text(&self, span: Range<usize>) -> &'a str {
        &self.text[span]
    }

    /// `what` is wrong where the cursor is.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::at(self.text.as_bytes(), self.at, what)
    }

    /// The kind of the value that comes next.
    pub fn kind(&mut self) -> Result<Kind, Malformed> {
        self.white();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.malformed("expected a value")),
        }
    }

    /// Steps over the next value, whatever it is, and returns its span.
    pub fn skip(&mut self) -> Result<Range<usize>, Malformed> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object | Kind::Array => self.container(kind)?,
            Kind::String => {
                self.string()?;
            }
            Kind::Number => self.number()?,
            Kind::Bool | Kind::Null => self.word()?,
        }
        Ok(start..self.at)
    }

    /// Steps over an object or array with all that is in it.
    fn container(&mut self, kind: Kind) -> Result<(), Malformed> {
        let outside = self.depth;
        let mut containers = Containers::default();
        let mut next = Some(kind);
        loop {
            // A value, or the head of one: a container that is not empty leads on to its first.
            let kind = match next.take() {
                Some(kind) => kind,
                None => self.kind()?,
            };
            match kind {
                Kind::Object => {
                    self.open()?;
                    self.white();
                    if self.peek() != Some(b'}') {
                        self.name()?;
                        containers.set(self.depth, true);
                        continue;
                    }
                    self.close();
                }
                Kind::Array => {
                    self.open()?;
                    self.white();
                    if self.peek() != Some(b']') {
                        containers.set(self.depth, false);
                        continue;
                    }
                    self.close();
                }
                Kind::String => {
                    self.string()?;
                }
                Kind::Number => self.number()?,
                Kind::Bool | Kind::Null => self.word()?,
            }
            // What follows a value: a comma and the next one, or ends of containers.
            while self.depth > outside {
                let in_object = containers.is_object(self.depth);
                self.white();
                match self.peek() {
                    Some(b',') if in_object => {
                        self.at += 1;
                        self.white();
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

    /// Reads the next value if it is a string, and else steps over it.
    pub fn string_or_skip(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if self.kind()? != Kind::String {
            self.skip()?;
            return Ok(None);
        }
        self.read_string().map(Some)
    }

    /// Enters an object: [`Self::key`] walks through it.
    pub fn object(&mut self) -> Result<Inside, Malformed> {
        self.white();
        if self.peek() != Some(b'{') {
            return Err(self.malformed("expected an object"));
        }
        self.open()?;
        Ok(Inside { first: true })
    }

    /// The next key of the object, with the cursor before its value, or `None` at the end, with
    /// the cursor behind the object. The value has to be read or skipped before the next call.
    pub fn key(&mut self, inside: &mut Inside) -> Result<Option<Text<'a>>, Malformed> {
        let first = std::mem::replace(&mut inside.first, false);
        self.white();
        match self.peek() {
            Some(b'}') => {
                self.close();
                return Ok(None);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.white();
            }
            _ if !first => return Err(self.malformed("expected `,` or `}`")),
            _ => {}
        }
        if self.peek() != Some(b'"') {
            return Err(self.malformed("expected a key"));
        }
        let key = self.read_string()?;
        self.colon()?;
        Ok(Some(key))
    }

    /// Enters an array: [`Self::item`] walks through it.
    pub fn array(&mut self) -> Result<Inside, Malformed> {
        self.white();
        if self.peek() != Some(b'[') {
            return Err(self.malformed("expected an array"));
        }
        self.open()?;
        Ok(Inside { first: true })
    }

    /// Whether the array has a next item, with the cursor before it; at the end the cursor is
    /// behind the array. The item has to be read or skipped before the next call.
    pub fn item(&mut self, inside: &mut Inside) -> Result<bool, Malformed> {
        let first = std::mem::replace(&mut inside.first, false);
        self.white();
        match self.peek() {
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

    /// Checks that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.white();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("trailing characters")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
            self.blanks += 1;
        }
    }

    fn open(&mut self) -> Result<(), Malformed> {
        if self.depth == DEEPEST {
            return Err(self.malformed("nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// A key and its colon, not decoded.
    fn name(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("expected a key"));
        }
        self.string()?;
        self.colon()
    }

    fn colon(&mut self) -> Result<(), Malformed> {
        self.white();
        if self.peek() != Some(b':') {
            return Err(self.malformed("expected `:`"));
        }
        self.at += 1;
        Ok(())
    }

    fn read_string(&mut self) -> Result<Text<'a>, Malformed> {
        let start = self.at;
        let written = self.string()?;
        let span = start..self.at;
        let raw = &self.text[start + 1..self.at - 1];
        // A lone surrogate has no meaning in UTF-8, and no name that we look for contains one.
        let value = match written {
            Written::Plainly => Cow::Borrowed(raw),
            Written::WithEscapes => {
                serde_json::from_str(self.text(span.clone())).map_or(Cow::Borrowed(raw), Cow::Owned)
            }
        };
        Ok(Text { value, span })
    }

    /// Steps over a string, the cursor being at its opening quote.
    fn string(&mut self) -> Result<Written, Malformed> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let mut written = Written::Plainly;
        loop {
            let Some(plain) = special(&bytes[self.at..]) else {
                self.at = bytes.len();
                return Err(self.malformed("unterminated string"));
            };
            self.at += plain;
            match bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(written);
                }
                b'\\' => {
                    written = Written::WithEscapes;
                    self.escape()?;
                }
                _ => return Err(self.malformed("control character in a string")),
            }
        }
    }

    /// Steps over an escape, the cursor being at its backslash. Lone surrogates pass.
    fn escape(&mut self) -> Result<(), Malformed> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        let len = match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
            [b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 5,
            _ => return Err(self.malformed("invalid escape")),
        };
        self.at += 1 + len;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.malformed("invalid number")) } else { Ok(()) }
    }

    fn word(&mut self) -> Result<(), Malformed> {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(word) = ["true", "false", "null"].iter().find(|w| rest.starts_with(w.as_bytes()))
        else {
            return Err(self.malformed("expected a value"));
        };
        self.at += word.len();
        Ok(())
    }
}

/// Which of the containers around a value are objects: a bit for each depth.
#[derive(Default)]
struct Containers([u64; DEEPEST / 64 + 1]);

impl Containers {
    fn set(&mut self, depth: usize, object: bool) {
        let bit = 1 << (depth % 64);
        let word = &mut self.0[depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
    }

    fn is_object(&self, depth: usize) -> bool {
        self.0[depth / 64] & (1 << (depth % 64)) != 0
    }
}

/// How a string is written.
enum Written {
    Plainly,
    WithEscapes,
}

/// Where a string cannot just go on: the first quote, backslash or control character.
///
/// Most strings are keys and other short ones, which are over in a few steps of eight bytes. Most
/// bytes are in long ones, for which there is vector code.
fn special(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        if let Some(first) = special_in(u64::from_le_bytes(*word)) {
            return Some(bytes.len() - rest.len() + first);
        }
        rest = after;
        if bytes.len() - rest.len() == LONG {
            let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            let control = has_control(&rest[..plain]);
            let special = if control { rest.iter().position(|byte| *byte < b' ') } else { None };
            let found = special.unwrap_or(plain);
            return (found < rest.len()).then_some(LONG + found);
        }
    }
    let first = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    Some(bytes.len() - rest.len() + first)
}

/// The number of the first byte of eight, from the least significant on, that is special.
///
/// A subtraction's borrow can make a byte look special only above one that is: the first is right.
fn special_in(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let special = (is(b'"') | is(b'\\') | below(word, b' ')) & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

/// Whether there is a byte below 0x20. Without an early exit inside a block, so that it is vector
/// code: strings of base64 are most of a large body.
fn has_control(bytes: &[u8]) -> bool {
    bytes.chunks(256).any(|block| block.iter().fold(false, |found, &byte| found | (byte < b' ')))
}

/// Beyond so many bytes (whole words) a string is long.
const LONG: usize = 32;

/// Google's own JSON reader stops near 100; this only keeps what a body can cost bounded.
const DEEPEST: usize = 512;
