//! JSON on one line, also for readers to which U+2028, U+2029 or U+0085 end a line.

use bytes::{BufMut, BytesMut};

/// Copies JSON without the white space between tokens, and with separators escaped. `in_string`
/// tells whether `json` begins inside a string: a text may come in parts, but no part may end
/// within an escape.
pub(crate) fn compact(json: &[u8], in_string: &mut bool, out: &mut BytesMut) {
    let mut rest = json;
    while !rest.is_empty() {
        if *in_string {
            let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            escape_separators(&rest[..plain], out);
            rest = &rest[plain..];
            let taken = if rest.first() == Some(&b'\\') { 2.min(rest.len()) } else { 1 };
            *in_string = rest.first() != Some(&b'"');
            out.extend_from_slice(rest.get(..taken).unwrap_or_default());
            rest = rest.get(taken..).unwrap_or_default();
        } else {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
            let token = rest.iter().position(|byte| blank(byte) || *byte == b'"');
            let token = token.unwrap_or(rest.len());
            out.extend_from_slice(&rest[..token]);
            rest = &rest[token..];
            if let Some((b'"', after)) = rest.split_first() {
                out.put_u8(b'"');
                *in_string = true;
                rest = after;
            } else {
                rest = &rest[rest.iter().take_while(|byte| blank(byte)).count()..];
            }
        }
    }
}

/// Copies JSON, or the inside of a JSON string, with raw U+2028, U+2029 and U+0085 written as escapes: each
/// of them ends a line for some official SDK (`docs/reference/protocol.md` 4.5). JSON allows them only
/// inside strings.
pub(crate) fn escape_separators(json: &[u8], out: &mut BytesMut) {
    let mut rest = json;
    while let Some((at, len, escape)) = separator(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(escape.as_bytes());
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
}

/// Whether [`escape_separators`] would change anything.
pub(crate) fn has_separators(json: &[u8]) -> bool {
    separator(json).is_some()
}

/// The first separator: its place, its length, its escape.
fn separator(json: &[u8]) -> Option<(usize, usize, &'static str)> {
    memchr::memchr2_iter(0xe2, 0xc2, json).find_map(|at| {
        let (len, escape) = separator_at(&json[at..])?;
        Some((at, len, escape))
    })
}

/// The length and the escape of the separator that `text` begins with.
pub(crate) fn separator_at(text: &[u8]) -> Option<(usize, &'static str)> {
    match text {
        [0xe2, 0x80, 0xa8, ..] => Some((3, r"\u2028")),
        [0xe2, 0x80, 0xa9, ..] => Some((3, r"\u2029")),
        [0xc2, 0x85, ..] => Some((2, r"\u0085")),
        _ => None,
    }
}
