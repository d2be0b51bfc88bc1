//! A place in a JSON text, and the ways to move it on.

use std::borrow::Cow;
use std::ops::Range;

use super::JsonError;

/// A place in a JSON text that moves on value by value. Nothing is allocated and nothing recurses.
///
/// Every method that returns a kind or enters a container first steps over white space. Cloning
/// is cheap: a clone is how one looks ahead.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    blanks: usize,
    is_ascii: bool,
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
    pub value: Cow<'a, [u8]>,
    /// Where it is written, quotes included.
    pub span: Range<usize>,
}

/// How far the walk through one object or array has come.
#[derive(Debug)]
pub struct Inside {
    first: bool,
}

impl<'a> Text<'a> {
    /// [`Self::value`] as the text that it is.
    pub fn into_str(self) -> Cow<'a, str> {
        match self.value {
            Cow::Borrowed(value) => Cow::Borrowed(std::str::from_utf8(value).unwrap_or_default()),
            Cow::Owned(value) => Cow::Owned(String::from_utf8(value).unwrap_or_default()),
        }
    }
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`, which has to be UTF-8 without a byte order mark.
    pub fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        if text.starts_with("\u{feff}".as_bytes()) {
            return Err(JsonError::at(text, 0, "byte order mark"));
        }
        let is_ascii =
            check_utf8(text).map_err(|offset| JsonError::at(text, offset, "invalid UTF-8"))?;
        Ok(Self { text, at: 0, depth: 0, blanks: 0, is_ascii })
    }

    /// The offset of the cursor.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes of white space between tokens it has passed.
    pub fn blanks(&self) -> usize {
        self.blanks
    }

    /// True when the text has no character but those of ASCII.
    pub fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// The text at a span.
    pub fn text(&self, span: Range<usize>) -> &'a [u8] {
        &self.text[span]
    }

    /// `what` is wrong where the cursor is.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> JsonError {
        JsonError::at(self.text, self.at, what)
    }

    /// The kind of the value that comes next.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.token() {
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
    pub fn skip(&mut self) -> Result<Range<usize>, JsonError> {
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
    fn container(&mut self, kind: Kind) -> Result<(), JsonError> {
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
                    if self.token() != Some(b'}') {
                        self.name()?;
                        containers.set(self.depth, true);
                        continue;
                    }
                    self.close();
                }
                Kind::Array => {
                    self.open()?;
                    if self.token() != Some(b']') {
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

    /// Reads the next value if it is a string, and else steps over it.
    pub fn string_or_skip(&mut self) -> Result<Option<Text<'a>>, JsonError> {
        if self.kind()? != Kind::String {
            self.skip()?;
            return Ok(None);
        }
        self.read_string().map(Some)
    }

    /// Enters an object: [`Self::key`] walks through it.
    pub fn object(&mut self) -> Result<Inside, JsonError> {
        if self.token() != Some(b'{') {
            return Err(self.malformed("expected an object"));
        }
        self.open()?;
        Ok(Inside { first: true })
    }

    /// The next key of the object, with the cursor before its value, or `None` at the end, with
    /// the cursor behind the object. The value has to be read or skipped before the next call.
    pub fn key(&mut self, inside: &mut Inside) -> Result<Option<Text<'a>>, JsonError> {
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
    pub fn array(&mut self) -> Result<Inside, JsonError> {
        if self.token() != Some(b'[') {
            return Err(self.malformed("expected an array"));
        }
        self.open()?;
        Ok(Inside { first: true })
    }

    /// Whether the array has a next item, with the cursor before it; at the end the cursor is
    /// behind the array. The item has to be read or skipped before the next call.
    pub fn item(&mut self, inside: &mut Inside) -> Result<bool, JsonError> {
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

    /// Checks that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.token() {
            None => Ok(()),
            Some(_) => Err(self.malformed("trailing characters")),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The byte that the next token begins with, the cursor being moved to it.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        match self.peek() {
            next @ Some(b'!'..) => next,
            _ => self.token_after_blanks(),
        }
    }

    /// On its own, so that what nearly every token needs stays small enough to be inlined.
    #[inline(never)]
    fn token_after_blanks(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let blanks = rest.iter().take_while(blank).count();
        self.at += blanks;
        self.blanks += blanks;
        self.peek()
    }

    fn open(&mut self) -> Result<(), JsonError> {
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

    #[inline(always)]
    fn read_string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at;
        let escapes = self.string()?;
        let span = start..self.at;
        let value = match escapes {
            0 => Cow::Borrowed(&self.text[start + 1..self.at - 1]),
            _ => meaning(&self.text[span.clone()]),
        };
        Ok(Text { value, span })
    }

    /// Steps over a string, the cursor being at its opening quote. Tells how many escapes it has.
    #[inline(always)]
    fn string(&mut self) -> Result<usize, JsonError> {
        self.at += 1;
        // Most strings are keys and other short ones: a call would cost half of what they do.
        match short(&self.text[self.at..]) {
            Some(len) if self.text.get(self.at + len) == Some(&b'"') => {
                self.at += len + 1;
                Ok(0)
            }
            _ => self.long_string(),
        }
    }

    /// Steps over the rest of a string, be it as long and have as many escapes as it may. Not
    /// inlined, since most strings are not like that.
    #[inline(never)]
    fn long_string(&mut self) -> Result<usize, JsonError> {
        let mut escapes = 0;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escapes);
                }
                Some(b'\\') => {
                    escapes += 1;
                    self.escape()?;
                }
                Some(_) => return Err(self.malformed("control character in a string")),
                None => return Err(self.malformed("unterminated string")),
            }
        }
    }

    /// Steps over an escape, the cursor being at its backslash. Lone surrogates pass.
    fn escape(&mut self) -> Result<(), JsonError> {
        let len = match &self.text[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
            [b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 5,
            _ => return Err(self.malformed("invalid escape")),
        };
        self.at += 1 + len;
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
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
    fn digits(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return Err(self.malformed("invalid number"));
        }
        self.at += len;
        Ok(())
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let words = [&b"true"[..], b"false", b"null"];
        let Some(word) = words.into_iter().find(|word| rest.starts_with(word)) else {
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

/// Tells whether a text is ASCII throughout; the error is where it is no UTF-8.
///
/// Most of most texts is ASCII, for which there is vector code; what lies between goes through the
/// library's check piece by piece.
fn check_utf8(text: &[u8]) -> Result<bool, usize> {
    let mut is_ascii = true;
    let mut at = 0;
    while at < text.len() {
        let (blocks, _) = text[at..].as_chunks::<PIECE>();
        at += PIECE * blocks.iter().take_while(|block| block.is_ascii()).count();
        let rest = &text[at..];
        // A character that begins in the piece ends in it.
        let is_cut = |end: usize| rest[end] & 0xc0 == 0x80;
        let end = (rest.len().min(PIECE)..rest.len()).find(|&end| !is_cut(end));
        let piece = &rest[..end.unwrap_or(rest.len())];
        if !piece.is_ascii() {
            is_ascii = false;
            std::str::from_utf8(piece).map_err(|error| at + error.valid_up_to())?;
        }
        at += piece.len();
    }
    Ok(is_ascii)
}

/// What a string with escapes means. A lone surrogate has no meaning in UTF-8, and no name that we
/// look for contains one.
#[cold]
fn meaning(written: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice::<String>(written) {
        Ok(meaning) => Cow::Owned(meaning.into_bytes()),
        Err(_) => Cow::Borrowed(&written[1..written.len() - 1]),
    }
}

/// Where a string cannot just go on: its first quote, backslash or control character, if that is
/// among the first bytes.
#[inline(always)]
fn short(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks();
    let mut words = words.iter().take(SHORT).enumerate();
    words.find_map(|(number, word)| Some(8 * number + special_in(*word)?))
}

/// How many bytes a string just goes on for. Most bytes are in long ones: in blocks, for which there
/// is vector code.
#[inline(never)]
pub(super) fn plain(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks();
    let mut len = BLOCK * blocks.iter().take_while(|block| !has_special(block)).count();
    let (words, _) = bytes[len..].as_chunks();
    for word in words {
        if let Some(first) = special_in(*word) {
            return len + first;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// A quote or a control character is below 0x21 once the bit is turned that `"` has and a blank has
/// not: one comparison for both.
fn is_special(byte: u8) -> bool {
    byte ^ 0x02 < 0x21 || byte == b'\\'
}

/// Without an early exit, so that it is vector code.
fn has_special(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |found, &byte| found | is_special(byte))
}

/// The number of the first byte of eight, from the least significant on, that is special.
///
/// A subtraction's borrow can make a byte look special only above one that is: the first is right.
fn special_in(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    // No byte from 0x80 on is special.
    let special = (quote_or_control | backslash) & !word & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

/// Of up to so many words of eight bytes a string is short.
const SHORT: usize = 4;

/// So much of a long string is looked at in one.
const BLOCK: usize = 32;

/// So much of a text is checked in one.
const PIECE: usize = 64;

/// Google's own JSON reader stops near 100; this only keeps what a body can cost bounded.
const DEEPEST: usize = 512;
