//! What the proxy reads of a request before it is translated: the model, whether a stream is wanted, and
//! how much memory the translation may take.

use std::sync::Arc;

use crate::dialect::Dialect;
use crate::error::{Error, Refusal, RefusalCode};
use crate::json::{Cursor, JsonError, ValueKind};

/// The head of a request in another dialect than Gemini's.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) model: Arc<str>,
    pub(super) is_stream: bool,
    /// About how many bytes the translation takes besides the body.
    pub(super) translation_bytes: usize,
}

impl RequestHead {
    pub(super) fn read(body: &[u8], dialect: Dialect) -> Result<Self, Error> {
        let (model, is_stream) = scan(body)?;
        let Some(model) = model.filter(|model| !model.is_empty()) else {
            let message = match dialect {
                Dialect::Anthropic => "Field required",
                _ => "The request names no model. Add the field `model`.",
            };
            return Err(Refusal::error(RefusalCode::InvalidValue, "model", message));
        };
        let mut translation_bytes = body.len();
        if body.len() > UNCOUNTED {
            let values = values(body);
            if values > MOST_VALUES {
                let message = format!(
                    "The request has {values} values, and at most {MOST_VALUES} are translated: no model reads so many."
                );
                return Err(Refusal::error(RefusalCode::InvalidValue, "", message));
            }
            translation_bytes += values * VALUE_BYTES;
        }
        Ok(Self { model, is_stream, translation_bytes })
    }
}

fn scan(body: &[u8]) -> Result<(Option<Arc<str>>, bool), JsonError> {
    let mut cursor = Cursor::new(body)?;
    let (mut model, mut is_stream) = (None, false);
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        match &*key.value {
            b"model" if cursor.kind()? == ValueKind::String => {
                let name = cursor.string_or_skip()?;
                model = name.map(|name| Arc::from(&*name.into_str()));
            }
            b"stream" => {
                let value = cursor.skip()?;
                is_stream = cursor.text(value) == b"true";
            }
            _ => {
                cursor.skip()?;
            }
        }
    }
    cursor.end()?;
    Ok((model, is_stream))
}

/// About how many values a JSON text has. Each begins after a comma or with its container.
fn values(json: &[u8]) -> usize {
    let (mut count, mut rest) = (1, json);
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (between, text) = rest.split_at(quote);
        count += begins(between);
        let mut end = 1;
        while let Some(at) = text.get(end..).and_then(|text| memchr::memchr2(b'"', b'\\', text)) {
            end += at + 1;
            if text[end - 1] == b'"' {
                break;
            }
            end += 1;
        }
        rest = text.get(end..).unwrap_or_default();
    }
    count + begins(rest)
}

fn begins(between: &[u8]) -> usize {
    between.iter().filter(|byte| matches!(byte, b',' | b'{' | b'[')).count()
}

/// In a body of this length the values need not be counted.
const UNCOUNTED: usize = 64 << 10;

/// More values than any model reads: each takes several tokens. A list of empty objects has three bytes
/// for each, and a hundred times as much memory while it is translated.
const MOST_VALUES: usize = 500_000;

/// What one value takes while it is translated, at most: a content part with all fields that it could
/// have, in a list that has just grown.
const VALUE_BYTES: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_looks_like_them_in_texts_is_not() {
        for (json, count) in [
            ("{}", 2),
            (r#"{"a":1,"b":[2,3]}"#, 5),
            (r#"{"a":"{,[\",[{,","b":"\\"}"#, 3),
            ("[{},{},{}]", 7),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn a_request_of_more_values_than_any_model_reads_is_refused() {
        let body = |count| format!(r#"{{"model":"m","messages":[{}{{}}]}}"#, "{},".repeat(count));
        let few = RequestHead::read(body(200_000).as_bytes(), Dialect::Anthropic).unwrap();
        assert!(few.translation_bytes > 400_000 * VALUE_BYTES, "{few:?}");
        let many = RequestHead::read(body(250_000).as_bytes(), Dialect::Anthropic);
        assert!(matches!(many, Err(Error::Refused(refusal)) if refusal.path.is_empty()));
    }

    #[test]
    fn a_long_text_takes_its_own_length() {
        let body = format!(r#"{{"model":"m","input":"{}"}}"#, "{,".repeat(1 << 20));
        let head = RequestHead::read(body.as_bytes(), Dialect::OpenAi).unwrap();
        assert!(head.translation_bytes < body.len() + 4096, "{head:?}");
    }
}
