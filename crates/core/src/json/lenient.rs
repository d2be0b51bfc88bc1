//! The second reading of a text that is no strict JSON: what protobuf's JSON parser takes beyond it is
//! rewritten as strict JSON.
//!
//! Google's APIs read a body with that parser, so clients send what it takes. There are two versions:
//! `util/internal/json_stream_parser.cc`, in whose words the Gemini API still reports errors, and
//! `json/internal/lexer.cc` with its legacy syntax. What only one of them takes is taken here:
//!
//! | In the text | Stream parser | Lexer | Here |
//! |---|---|---|---|
//! | a byte order mark at the start | refused | refused | removed |
//! | one comma before `}` or `]` | taken | taken | removed |
//! | `'…'` as string or key | taken | taken | `"…"` |
//! | a bare key of letters, digits, `_`, but not `true`, `false`, `null` | taken | taken | quoted |
//! | `$` in a bare key | taken | refused | quoted |
//! | control characters in a string | taken | taken | escaped |
//! | form feed, vertical tab between tokens | taken | refused | a blank |
//! | `\'` | `'` | `'` | `'` |
//! | `\v` | U+000B | refused | `\u000b` |
//! | `\` before any other character | that character | refused | that character |
//! | `\U` | `U` | like `\u` | `U` |
//!
//! The byte order mark is the exception: editors write it, and it has no meaning.
//!
//! What neither takes is refused: comments, bare values, missing or repeated commas, missing brackets,
//! anything after the value. So are numbers that RFC 8259 does not have: the stream parser takes some
//! of them (`1.`, `00.5`) and the lexer refuses them. No client is known to send one.

use std::fmt;

use bytes::Bytes;

use super::cursor::Containers;
use super::scan::plain;
use super::{Cursor, JsonError};

/// A text as strict JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalized {
    /// The strict JSON. What was strict already is there byte for byte.
    pub text: Bytes,
    /// What was rewritten. If there was nothing, `text` is the text that was given.
    pub found: Leniencies,
}

/// Why a text has no form as strict JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NormalizeError {
    /// Google's parser does not take it either.
    #[error(transparent)]
    Malformed(#[from] JsonError),
    /// The strict form is longer than it may be.
    #[error("too large as strict JSON")]
    TooLarge,
}

/// A form that protobuf's JSON parser takes and RFC 8259 does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leniency {
    /// A byte order mark at the start.
    ByteOrderMark,
    /// A comma before a closing bracket.
    TrailingComma,
    /// A string in single quotes.
    SingleQuotes,
    /// A key without quotes.
    BareKey,
    /// A control character in a string, or one between tokens that is no white space of JSON.
    ControlCharacter,
    /// An escape that JSON does not have.
    Escape,
}

/// The kinds of leniency that a text has made use of. It is displayed as a list of [`NAMES`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leniencies([bool; NAMES.len()]);

/// The names of each [`Leniency`]. Clients read them in a header: no name ever changes.
pub const NAMES: [&str; 6] = [
    "byte-order-mark",
    "trailing-commas",
    "single-quotes",
    "bare-keys",
    "control-characters",
    "escapes",
];

impl Leniencies {
    /// True for a text that was strict JSON.
    pub fn is_empty(self) -> bool {
        !self.0.contains(&true)
    }

    fn add(&mut self, leniency: Leniency) {
        self.0[leniency as usize] = true;
    }
}

impl fmt::Display for Leniencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, _) in NAMES.iter().zip(self.0).filter(|(_, found)| *found) {
            write!(f, "{comma}{name}")?;
            comma = ", ";
        }
        Ok(())
    }
}

/// Rewrites exactly one value as strict JSON of at most `limit` bytes.
///
/// The time is linear, and the depth is bounded as [`Cursor`] bounds it. The text is read twice: the
/// first reading finds out whether it can be read and how long the outcome is, and only the second
/// one allocates, exactly that much.
#[inline(never)]
pub fn normalize(text: &Bytes, limit: usize) -> Result<Normalized, NormalizeError> {
    let (found, len) = measure(text)?;
    if found.is_empty() {
        return Ok(Normalized { text: text.clone(), found });
    }
    if len > limit {
        return Err(NormalizeError::TooLarge);
    }
    let mut reader = LenientReader::new(text, Some(Vec::with_capacity(len)))?;
    reader.document()?;
    let written = reader.out.bytes.unwrap_or_default();
    Ok(Normalized { text: Bytes::from(written), found })
}

/// What [`normalize`] would rewrite, and how long the strict form would be.
pub fn measure(text: &[u8]) -> Result<(Leniencies, usize), JsonError> {
    let mut measured = LenientReader::new(text, None)?;
    measured.document()?;
    Ok((measured.found, measured.out.len))
}

/// A walk through one text that writes its strict form.
struct LenientReader<'a> {
    cursor: Cursor<'a>,
    out: StrictCopy<'a>,
    found: Leniencies,
}

impl<'a> LenientReader<'a> {
    /// With `bytes` the outcome is written into them; without, only its length is counted.
    fn new(text: &'a [u8], bytes: Option<Vec<u8>>) -> Result<Self, JsonError> {
        let mut found = Leniencies::default();
        let rest = text.strip_prefix("\u{feff}".as_bytes());
        if rest.is_some() {
            found.add(Leniency::ByteOrderMark);
        }
        let text = rest.unwrap_or(text);
        let out = StrictCopy { text, copied: 0, len: 0, bytes };
        Ok(Self { cursor: Cursor::new(text)?, out, found })
    }

    /// Reads one value and the end of the text, without recursion.
    fn document(&mut self) -> Result<(), JsonError> {
        let mut containers = Containers::default();
        loop {
            // A value; of a container that is not empty, only its head.
            match self.token() {
                Some(b'{') => {
                    self.cursor.open()?;
                    containers.set(self.cursor.depth(), true);
                    if self.token() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                    self.cursor.close();
                }
                Some(b'[') => {
                    self.cursor.open()?;
                    containers.set(self.cursor.depth(), false);
                    if self.token() != Some(b']') {
                        continue;
                    }
                    self.cursor.close();
                }
                Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
                Some(b'-' | b'0'..=b'9') => self.cursor.number()?,
                _ => self.cursor.word()?,
            }
            // After a value: a comma and the next value, or ends of containers.
            loop {
                if self.cursor.depth() == 0 {
                    return self.end();
                }
                let in_object = containers.is_object(self.cursor.depth());
                let end = if in_object { b'}' } else { b']' };
                let comma = self.token() == Some(b',');
                if comma && !self.is_trailing(end) {
                    self.cursor.at += 1;
                    if in_object {
                        self.token();
                        self.key()?;
                    }
                    break;
                }
                if comma {
                    self.replace(1, "", Leniency::TrailingComma);
                }
                if self.token() != Some(end) {
                    return Err(self.cursor.malformed("expected `,` or an end"));
                }
                self.cursor.close();
            }
        }
    }

    /// Checks that only white space is left, and writes what is not written yet.
    fn end(&mut self) -> Result<(), JsonError> {
        if self.token().is_some() {
            return Err(self.cursor.malformed("trailing characters"));
        }
        self.out.replace(self.cursor.at, 0, b"");
        Ok(())
    }

    /// Whether the next token after the comma at the cursor is `end`.
    fn is_trailing(&self, end: u8) -> bool {
        let rest = &self.cursor.text[self.cursor.at + 1..];
        rest.iter().find(|&&byte| !is_blank(byte)) == Some(&end)
    }

    /// Moves to the next token and returns its first byte.
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.cursor.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.cursor.at += 1,
                Some(byte) if is_blank(byte) => {
                    self.replace(1, " ", Leniency::ControlCharacter);
                }
                next => return next,
            }
        }
    }

    /// Reads a key at the cursor, and its colon.
    fn key(&mut self) -> Result<(), JsonError> {
        match self.cursor.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            _ => self.bare_key()?,
        }
        if self.token() != Some(b':') {
            return Err(self.cursor.malformed("expected `:`"));
        }
        self.cursor.at += 1;
        Ok(())
    }

    fn bare_key(&mut self) -> Result<(), JsonError> {
        let rest = &self.cursor.text[self.cursor.at..];
        let in_key = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let len = rest.iter().take_while(in_key).count();
        match &rest[..len] {
            [] | [b'0'..=b'9', ..] | b"true" | b"false" | b"null" => {
                return Err(self.cursor.malformed("expected a key"));
            }
            _ => {}
        }
        self.replace(0, "\"", Leniency::BareKey);
        self.cursor.at += len;
        self.replace(0, "\"", Leniency::BareKey);
        Ok(())
    }

    /// Reads a string in these quotes.
    fn string(&mut self, quote: u8) -> Result<(), JsonError> {
        let is_single = quote == b'\'';
        if is_single {
            self.replace(1, "\"", Leniency::SingleQuotes);
        } else {
            self.cursor.at += 1;
        }
        loop {
            self.cursor.at += self.ordinary(is_single);
            match self.cursor.peek() {
                Some(b'\'') => {
                    self.replace(1, "\"", Leniency::SingleQuotes);
                    return Ok(());
                }
                Some(b'"') if is_single => self.replace(1, "\\\"", Leniency::SingleQuotes),
                Some(b'"') => {
                    self.cursor.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(control) => {
                    let escaped = ESCAPED[usize::from(control)];
                    self.replace(1, escaped, Leniency::ControlCharacter);
                }
                None => return Err(self.cursor.malformed("unterminated string")),
            }
        }
    }

    /// How many bytes from the cursor on are ordinary characters of a string.
    fn ordinary(&self, in_single_quotes: bool) -> usize {
        let rest = &self.cursor.text[self.cursor.at..];
        let is_special = |byte: &u8| match byte {
            ..b' ' | b'"' | b'\\' => true,
            b'\'' => in_single_quotes,
            _ => false,
        };
        // The vector code of `plain` knows no single quotes, and is slow where there is little to step
        // over.
        let near = if in_single_quotes { rest.len() } else { rest.len().min(NEAR) };
        match rest[..near].iter().position(is_special) {
            Some(len) => len,
            None => near + plain(&rest[near..]),
        }
    }

    /// Reads an escape from its backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.cursor.text.get(self.cursor.at + 1) {
            None => return Err(self.cursor.malformed("unterminated string")),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u') => {
                self.cursor.escape()?;
            }
            Some(b'v') => self.replace(2, ESCAPED[0x0b], Leniency::Escape),
            Some(&control @ ..b' ') => {
                self.found.add(Leniency::ControlCharacter);
                self.replace(2, ESCAPED[usize::from(control)], Leniency::Escape);
            }
            // The rest of a character of several bytes has no meaning of its own.
            Some(_) => {
                self.replace(1, "", Leniency::Escape);
                self.cursor.at += 1;
            }
        }
        Ok(())
    }

    /// Replaces `len` bytes at the cursor, and steps over them.
    fn replace(&mut self, len: usize, by: &str, leniency: Leniency) {
        self.found.add(leniency);
        self.out.replace(self.cursor.at, len, by.as_bytes());
        self.cursor.at += len;
    }
}

/// The strict form of a text as far as it is known.
struct StrictCopy<'a> {
    text: &'a [u8],
    /// How much of `text` is copied or replaced.
    copied: usize,
    /// The length of the strict form.
    len: usize,
    /// The strict form, unless only its length is wanted.
    bytes: Option<Vec<u8>>,
}

impl StrictCopy<'_> {
    /// Copies the text up to `at`, and writes `by` in place of the next `len` bytes.
    fn replace(&mut self, at: usize, len: usize, by: &[u8]) {
        let kept = &self.text[self.copied..at];
        self.copied = at + len;
        // A sum that does not fit is beyond every limit.
        self.len = self.len.saturating_add(kept.len()).saturating_add(by.len());
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(kept);
            bytes.extend_from_slice(by);
        }
    }
}

/// How many bytes of a string are looked at one by one before many are looked at at once.
const NEAR: usize = 16;

/// White space for the stream parser (`ascii_isspace`). JSON has no form feed and no vertical tab.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The control characters as they are written in a JSON string.
#[rustfmt::skip]
const ESCAPED: [&str; 32] = [
    r"\u0000", r"\u0001", r"\u0002", r"\u0003", r"\u0004", r"\u0005",
    r"\u0006", r"\u0007", r"\u0008", r"\t", r"\n", r"\u000b",
    r"\u000c", r"\r", r"\u000e", r"\u000f", r"\u0010", r"\u0011",
    r"\u0012", r"\u0013", r"\u0014", r"\u0015", r"\u0016", r"\u0017",
    r"\u0018", r"\u0019", r"\u001a", r"\u001b", r"\u001c", r"\u001d",
    r"\u001e", r"\u001f",
];
