//! The probabilities of tokens (`docs/reference/dialects.md` 3.1).

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::translate::json::{push_comma, push_number, push_text, push_written};
use crate::dialect::translate::text::JsonText;

/// `logprobsResult`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogprobsResult<'a> {
    #[serde(borrow, default)]
    chosen_candidates: Option<Vec<Token<'a>>>,
    #[serde(borrow, default)]
    top_candidates: Option<Vec<TopTokens<'a>>>,
}

/// The likeliest tokens at one place.
#[derive(Default, Deserialize)]
struct TopTokens<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Token<'a>>>,
}

/// A token. The number keeps its digits.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token<'a> {
    #[serde(borrow, default)]
    token: Option<JsonText<'a>>,
    #[serde(borrow, default)]
    log_probability: Option<&'a RawValue>,
}

/// Appends `{"content":[…],"refusal":null}`, or `null` for what cannot be read.
pub(super) fn push_logprobs(logprobs: &RawValue, out: &mut BytesMut) {
    let mut content = BytesMut::new();
    push_tokens(logprobs, &mut content);
    if content.is_empty() {
        out.put_slice(b"null");
        return;
    }
    out.put_slice(br#"{"content":["#);
    out.put_slice(&content);
    out.put_slice(br#"],"refusal":null}"#);
}

/// Appends the tokens of `logprobsResult` to a list, with a comma before each but the list's first.
pub(super) fn push_tokens(logprobs: &RawValue, list: &mut BytesMut) {
    let read: LogprobsResult<'_> = serde_json::from_str(logprobs.get()).unwrap_or_default();
    let tops = read.top_candidates.unwrap_or_default();
    for (place, token) in read.chosen_candidates.iter().flatten().enumerate() {
        push_comma(list);
        push_token(token, list);
        list.put_slice(br#","top_logprobs":["#);
        let top = tops.get(place).and_then(|top| top.candidates.as_deref()).unwrap_or_default();
        for (place, token) in top.iter().enumerate() {
            if place > 0 {
                list.put_u8(b',');
            }
            push_token(token, list);
            list.put_u8(b'}');
        }
        list.put_slice(b"]}");
    }
}

/// Appends a token without the end of its object.
fn push_token(token: &Token<'_>, out: &mut BytesMut) {
    let text = token.token.filter(|token| token.is_string());
    out.put_slice(br#"{"token":"#);
    match text {
        Some(text) => push_text(text, out),
        None => out.put_slice(br#""""#),
    }
    out.put_slice(br#","logprob":"#);
    push_written(token.log_probability.map_or("0", RawValue::get), out);
    out.put_slice(br#","bytes":["#);
    let bytes = text.map_or(Cow::Borrowed(""), JsonText::decoded);
    for (place, byte) in bytes.bytes().enumerate() {
        if place > 0 {
            out.put_u8(b',');
        }
        push_number(byte.into(), out);
    }
    out.put_u8(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_without_a_token_add_nothing_to_a_list() {
        let some = r#"{"chosenCandidates":[{"token":"a","logProbability":-0.5}]}"#;
        let none = r#"{"chosenCandidates":[]}"#;
        let token = r#"{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}"#;
        for (results, expected) in [
            (&[some, none][..], token.to_owned()),
            (&[none, some], token.to_owned()),
            (&[some, some], format!("{token},{token}")),
        ] {
            let mut list = BytesMut::new();
            for result in results {
                push_tokens(serde_json::from_str(result).unwrap(), &mut list);
            }
            assert_eq!(list, expected, "{results:?}");
        }
    }
}
