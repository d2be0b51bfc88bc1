//! The readable text of an error that is no JSON, such as the HTML page of a proxy.

use std::borrow::Cow;

use super::find_ignoring_case;

/// True for a page, which begins with a tag.
pub(super) fn is_page(body: &[u8]) -> bool {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().starts_with(b"<")
}

/// The text of a body, without tags and with each run of white space as one space, cut to a
/// readable length. `None` when there is no text.
pub(super) fn readable_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXAMINED_BYTES)]);
    let text = if is_page(body) { Cow::Owned(without_tags(&text)) } else { text };
    let mut words = String::new();
    let printable = |c: char| {
        if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c }
    };
    let clean: String = text.chars().map(printable).collect();
    for word in clean.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.len() > SHOWN_BYTES {
            words.truncate(words.floor_char_boundary(SHOWN_BYTES));
            words.push('…');
            break;
        }
    }
    (!words.is_empty()).then_some(words)
}

/// The text between tags, without style sheets and scripts.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        let tag = &rest[open..];
        let starts =
            |name: &str| tag.get(1..=name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
        let end = if starts("style") {
            find_ignoring_case(tag, "</style")
        } else if starts("script") {
            find_ignoring_case(tag, "</script")
        } else {
            Some(0)
        };
        let Some(end) = end else { return text };
        let Some(close) = tag[end..].find('>') else {
            return text;
        };
        rest = &tag[end + close + 1..];
    }
    text.push_str(rest);
    text
}

/// How much of a body is examined.
const EXAMINED_BYTES: usize = 16 * 1024;

/// How much text is shown.
const SHOWN_BYTES: usize = 300;
