//! Strings, numbers, literals and UTF-8: the part of the scan that is tuned by measurement.
//!
//! Most bytes of a body are in long strings, and most strings are short keys. Both paths are
//! counted in instructions by `crates/costs`; the `#[inline]` attributes below are part of the
//! result.

use std::borrow::Cow;

use super::{Cursor, JsonError, JsonString};

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(super) fn read_string(&mut self) -> Result<JsonString<'a>, JsonError> {
        let start = self.at;
        let escapes = self.string()?;
        let span = start..self.at;
        let value = match escapes {
            0 => Cow::Borrowed(&self.text[start + 1..self.at - 1]),
            _ => unescaped(&self.text[span.clone()]),
        };
        Ok(JsonString { value, span })
    }

    /// Steps over a string from its opening quote and returns the number of its escapes.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<usize, JsonError> {
        self.at += 1;
        // For a short string a call would add half of its cost.
        match short(&self.text[self.at..]) {
            Some(len) if self.text.get(self.at + len) == Some(&b'"') => {
                self.at += len + 1;
                Ok(0)
            }
            _ => self.long_string(),
        }
    }

    /// Steps over the rest of a string of any length. Not inlined, since most strings are short.
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

    /// Steps over an escape from its backslash. Lone surrogates are accepted.
    #[inline(always)]
    pub(super) fn escape(&mut self) -> Result<(), JsonError> {
        let len = match &self.text[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
            [b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 5,
            _ => return Err(self.malformed("invalid escape")),
        };
        self.at += 1 + len;
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<(), JsonError> {
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

    /// Steps over one digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return Err(self.malformed("invalid number"));
        }
        self.at += len;
        Ok(())
    }

    pub(super) fn word(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let words = [&b"true"[..], b"false", b"null"];
        let Some(word) = words.into_iter().find(|word| rest.starts_with(word)) else {
            return Err(self.malformed("expected a value"));
        };
        self.at += word.len();
        Ok(())
    }
}

/// Whether a text is ASCII. The error is the offset of the first byte that is not UTF-8.
///
/// Blocks of ASCII, which most texts mainly consist of, are checked by vector code. The standard
/// library checks the rest, piece by piece.
pub(super) fn check_utf8(text: &[u8]) -> Result<bool, usize> {
    let mut is_ascii = true;
    let mut at = 0;
    while at < text.len() {
        let (blocks, _) = text[at..].as_chunks::<PIECE>();
        at += PIECE * blocks.iter().take_while(|block| block.is_ascii()).count();
        let rest = &text[at..];
        // The piece ends between two characters.
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

/// The content of a string that has escapes. A string with a lone surrogate is returned as it is
/// written: no name that is searched for contains one.
#[cold]
fn unescaped(written: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice::<String>(written) {
        Ok(meaning) => Cow::Owned(meaning.into_bytes()),
        Err(_) => Cow::Borrowed(&written[1..written.len() - 1]),
    }
}

/// The offset of the first quote, backslash or control character, if it is within the first
/// [`SHORT`] words.
#[inline(always)]
fn short(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks();
    let mut words = words.iter().take(SHORT).enumerate();
    words.find_map(|(number, word)| Some(8 * number + special_in(*word)?))
}

/// The number of bytes before the first quote, backslash or control character. Long strings are
/// scanned in blocks by vector code.
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

/// True for a quote, a backslash or a control character. Flipping bit 1, which `"` (0x22) has and a
/// blank (0x20) has not, puts quote and control characters below 0x21: one comparison for both.
fn is_special(byte: u8) -> bool {
    byte ^ 0x02 < 0x21 || byte == b'\\'
}

/// Without an early exit, so that the compiler emits vector code.
fn has_special(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |found, &byte| found | is_special(byte))
}

/// The index of the first special byte of eight, counted from the least significant byte.
///
/// The borrow of a subtraction can mark a wrong byte only above a special one, so the first is
/// right.
fn special_in(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    // No byte from 0x80 on is special.
    let special = (quote_or_control | backslash) & !word & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

/// How many words of eight bytes a short string has at most.
const SHORT: usize = 4;

/// How many bytes of a long string are examined at once.
const BLOCK: usize = 32;

/// How many bytes of a text are checked at once.
const PIECE: usize = 64;
