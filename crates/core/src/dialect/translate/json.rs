//! Writing of JSON: new strings, and values that are copied as they are written.
//!
//! Answers are lines of server-sent events. So each string that is written has U+2028, U+2029 and U+0085
//! escaped: some readers take them for the end of a line (`docs/reference/clients.md`).

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::text::JsonText;
use crate::json::line;

/// Appends a new string with its quotes.
pub fn push_string(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    push_escaped(text, out);
    out.put_u8(b'"');
}

/// Appends the inside of a new string.
pub fn push_escaped(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    let mut kept = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let (length, escape): (usize, Cow<'static, str>) = match byte {
            b'"' => (1, r#"\""#.into()),
            b'\\' => (1, r"\\".into()),
            b'\n' => (1, r"\n".into()),
            b'\r' => (1, r"\r".into()),
            b'\t' => (1, r"\t".into()),
            0..0x20 => (1, format!("\\u{byte:04x}").into()),
            0xe2 | 0xc2 => match line::separator_at(&bytes[at..]) {
                Some(found) => (found.0, found.1.into()),
                None => continue,
            },
            _ => continue,
        };
        out.put_slice(&bytes[kept..at]);
        out.put_slice(escape.as_bytes());
        kept = at + length;
    }
    out.put_slice(&bytes[kept..]);
}

/// Appends a string as it is written, with its quotes.
pub fn push_text(text: JsonText<'_>, out: &mut BytesMut) {
    out.put_u8(b'"');
    push_written(text.escaped(), out);
    out.put_u8(b'"');
}

/// Appends the comma before the next element of a list, if the list has one already.
pub fn push_comma(list: &mut BytesMut) {
    if !list.is_empty() {
        list.put_u8(b',');
    }
}

/// Appends a number in decimal digits.
pub fn push_number(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        // A digit fits into a byte.
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[from..]);
}

/// Appends JSON, or the inside of a JSON string, as it is written, but for the separators.
pub fn push_written(json: &str, out: &mut BytesMut) {
    line::escape_separators(json.as_bytes(), out);
}

/// Appends a JSON value as the inside of a JSON string, without the white space between its tokens. The
/// value's own bytes are kept: digits, the order of keys, escapes.
pub fn push_embedded(json: &str, out: &mut BytesMut) {
    let mut rest = json;
    while let Some(begin) = memchr::memchr(b'"', rest.as_bytes()) {
        push_tokens(&rest[..begin], out);
        out.put_slice(br#"\""#);
        rest = push_string_in_string(&rest[begin + 1..], out);
    }
    push_tokens(rest, out);
}

/// Appends what is between the strings of a value, without white space.
fn push_tokens(tokens: &str, out: &mut BytesMut) {
    for run in tokens.split([' ', '\t', '\n', '\r']) {
        out.put_slice(run.as_bytes());
    }
}

/// Appends the rest of a string within a value, up to its quote. Returns the text behind the quote.
fn push_string_in_string<'t>(text: &'t str, out: &mut BytesMut) -> &'t str {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        push_written(&rest[..at], out);
        let escape = &rest.as_bytes()[at..];
        if escape[0] == b'"' {
            out.put_slice(br#"\""#);
            return &rest[at + 1..];
        }
        let length = match escape.get(1) {
            Some(b'"') => {
                out.put_slice(br#"\\\""#);
                2
            }
            Some(b'\\') => {
                out.put_slice(br"\\\\");
                2
            }
            _ => {
                out.put_slice(br"\\");
                1
            }
        };
        rest = &rest[at + length..];
    }
    push_written(rest, out);
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_new_string_can_be_read_again() {
        for text in
            ["", "plain", "a\"b\\c\nd\te\r\u{1}", "ä😀", "a\u{2028}b\u{2029}c\u{85}d", "\u{a0}â"]
        {
            let json = written(|out| push_string(text, out));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
            assert!(!json.contains(['\u{2028}', '\u{2029}', '\u{85}']), "{json}");
        }
    }

    #[test]
    fn an_embedded_value_keeps_its_bytes_and_loses_its_white_space() {
        for (json, embedded) in [
            ("{ \"a\" : 1,\n \"b\" : \"x y\" }", r#"{"a":1,"b":"x y"}"#),
            (r#"{"n":12345678901234567890.10}"#, r#"{"n":12345678901234567890.10}"#),
            (r#"{"s":"a\"b\\"}"#, r#"{"s":"a\"b\\"}"#),
            (r#"{"s":"\ud83d"}"#, r#"{"s":"\ud83d"}"#),
            ("{\"s\":\"a\u{2028}b\u{85}ä\"}", "{\"s\":\"a\u{2028}b\u{85}ä\"}"),
        ] {
            let string = written(|out| {
                out.put_u8(b'"');
                push_embedded(json, out);
                out.put_u8(b'"');
            });
            assert_eq!(serde_json::from_str::<String>(&string).unwrap(), embedded, "{string}");
            assert!(!string.contains(['\u{2028}', '\u{2029}', '\u{85}']), "{string}");
        }
    }
}
