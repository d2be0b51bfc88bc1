//! Values that Chat Completions and Responses share.

use std::borrow::Cow;
use std::num::IntErrorKind;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::place::unreadable;
use crate::dialect::translate::draft::AnswerFormat;
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// The refusal of a value that is not what OpenAI's API defines.
pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Error {
    Refusal::error(RefusalCode::InvalidValue, path, message)
}

/// The refusal of a value without which the answer would be of another kind.
pub fn unsupported(path: impl Into<String>, message: impl Into<String>) -> Error {
    Refusal::error(RefusalCode::UnsupportedValue, path, message)
}

/// Reads the body of a request.
pub fn read_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = format!("invalid UTF-8 at byte {}", error.valid_up_to());
        Error::MalformedJson { detail }
    })?;
    serde_json::from_str(text).map_err(|error| unreadable(text, "", &error))
}

/// Reads a value that is a field of its own. `path` is the value's.
pub fn read<'a, T: Deserialize<'a>>(
    value: &'a RawValue,
    path: impl FnOnce() -> String,
) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|error| unreadable(value.get(), &path(), &error))
}

/// A value that must be a string, if it is there.
pub fn text<'a>(
    value: Option<JsonText<'a>>,
    path: impl FnOnce() -> String,
) -> Result<Option<JsonText<'a>>, Error> {
    match value {
        Some(value) if !value.is_string() => Err(invalid(path(), "The value is not a string.")),
        value => Ok(value),
    }
}

/// A value that must be a number. Its digits are kept.
pub fn number<'a>(
    value: Option<&'a RawValue>,
    path: &'static str,
) -> Result<Option<&'a RawValue>, Error> {
    match value {
        Some(value) if !value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            Err(invalid(path, "The value is not a number."))
        }
        value => Ok(value),
    }
}

/// A value that must be a whole number of `range`.
pub fn whole_number(
    value: Option<&RawValue>,
    range: std::ops::RangeInclusive<i64>,
    path: &'static str,
) -> Result<Option<i64>, Error> {
    let Some(value) = value else { return Ok(None) };
    match as_whole(value.get()) {
        Some(number) if range.contains(&number) => Ok(Some(number)),
        _ if range == (i64::MIN..=i64::MAX) => {
            Err(invalid(path, "The value is not a whole number."))
        }
        _ if *range.end() == i64::MAX => {
            Err(invalid(path, format!("The value is not a whole number from {}.", range.start())))
        }
        _ => {
            let (least, most) = range.into_inner();
            Err(invalid(path, format!("The value is not a whole number from {least} to {most}.")))
        }
    }
}

/// A whole number, which some clients write as `4.0`. One beyond the range of the type is the end of the
/// range that it exceeds.
fn as_whole(number: &str) -> Option<i64> {
    let number = match number.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|byte| byte == b'0') => whole,
        _ => number,
    };
    match number.parse() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i64::MAX),
            IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// A seed, of which Gemini takes the lower 31 bits. Clients send numbers of 64 bits, with a sign or without.
pub fn seed(value: Option<&RawValue>, path: &'static str) -> Result<Option<i64>, Error> {
    let wide = value.and_then(|value| value.get().parse::<u64>().ok());
    match wide {
        Some(seed) => Ok(i64::try_from(seed % SEEDS).ok()),
        None => whole_number(value, i64::MIN..=i64::MAX, path),
    }
}

/// The number of Gemini's seeds.
const SEEDS: u64 = 1 << 31;

/// The effort of reasoning that a client names.
pub fn effort(name: &str, path: &'static str) -> Result<Effort, Error> {
    Effort::named(name).ok_or_else(|| {
        let message = "The effort is none of none, minimal, low, medium, high, xhigh, and max.";
        unsupported(path, message)
    })
}

/// `response_format`, or `text.format`, whose schema is not within `json_schema`.
#[derive(Debug, Default)]
struct FormatFields<'a> {
    kind: Option<Cow<'a, str>>,
    json_schema: Option<SchemaFields<'a>>,
    schema: Option<&'a RawValue>,
}

#[derive(Debug, Default)]
struct SchemaFields<'a> {
    schema: Option<&'a RawValue>,
}

read_fields!(FormatFields {
    "type" => kind: Word<'de>,
    "json_schema" => json_schema: SchemaFields<'de>,
    "schema" => schema: &'de RawValue,
});

read_fields!(SchemaFields {
    "schema" => schema: &'de RawValue,
});

/// What the text of the answer must be. `name` and `strict` have no place in a Gemini request.
pub fn answer_format<'a>(
    format: Option<&'a RawValue>,
    path: &'static str,
) -> Result<AnswerFormat<'a>, Error> {
    let Some(format) = format else { return Ok(AnswerFormat::Text) };
    let fields: FormatFields<'a> = read(format, || path.to_owned())?;
    let inner = fields.json_schema.and_then(|fields| fields.schema);
    let place = if inner.is_some() { "json_schema.schema" } else { "schema" };
    let schema = inner.or(fields.schema);
    match (fields.kind.as_deref(), schema) {
        (Some("text"), _) => Ok(AnswerFormat::Text),
        (Some("json_object"), _) | (Some("json_schema"), None) => Ok(AnswerFormat::Json),
        (Some("json_schema"), Some(schema)) if schema.get().starts_with('{') => {
            Ok(AnswerFormat::Schema(schema, path))
        }
        (Some("json_schema"), Some(_)) => {
            Err(invalid(format!("{path}.{place}"), "The schema is not a JSON object."))
        }
        _ => Err(unsupported(
            format!("{path}.type"),
            "The format is none of text, json_object, and json_schema.",
        )),
    }
}

/// The arguments of a call: one JSON object. The flag is false if they had to be wrapped into one.
pub fn arguments(value: Option<&RawValue>) -> (Cow<'_, str>, bool) {
    let Some(value) = value else { return (EMPTY_OBJECT, true) };
    let Some(text) = JsonText::of(value) else {
        // Some clients send the object itself in place of its text.
        return match value.get() {
            object if object.starts_with('{') => (object.into(), true),
            other => (format!(r#"{{"_raw":{other}}}"#).into(), false),
        };
    };
    match text.embedded() {
        Cow::Borrowed(json) if is_object(json) => (json.trim().into(), true),
        Cow::Owned(json) if is_object(&json) => (json.into(), true),
        json if json.trim().is_empty() => (EMPTY_OBJECT, true),
        _ => (format!(r#"{{"_raw":{}}}"#, text.quoted()).into(), false),
    }
}

const EMPTY_OBJECT: Cow<'static, str> = Cow::Borrowed("{}");

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(json).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn arguments_become_one_object_and_keep_their_bytes() {
        for (value, object, is_whole) in [
            (r#""{\"n\":12345678901234567890.10}""#, r#"{"n":12345678901234567890.10}"#, true),
            (r#""{}""#, "{}", true),
            (r#""""#, "{}", true),
            (r#"" \n""#, "{}", true),
            (r#""  {\"a\" : 1} ""#, r#"  {"a" : 1} "#, true),
            (r#"{"a":1}"#, r#"{"a":1}"#, true),
            (r#""{\"s\":\"\\ud83d\"}""#, r#"{"s":"\ud83d"}"#, true),
            (r#""{\"s\":\"\ud83d \u00e4\\n\"}""#, r#"{"s":"\ud83d ä\n"}"#, true),
            (r#""not json""#, r#"{"_raw":"not json"}"#, false),
            (r#""[1]""#, r#"{"_raw":"[1]"}"#, false),
            (r#""{\"a\":1} {}""#, r#"{"_raw":"{\"a\":1} {}"}"#, false),
            (r#""{\"a\":""#, r#"{"_raw":"{\"a\":"}"#, false),
            (r#""cut \ud83d""#, r#"{"_raw":"cut \ud83d"}"#, false),
            ("[1]", r#"{"_raw":[1]}"#, false),
        ] {
            let (found, whole) = arguments(Some(raw(value)));
            assert_eq!((found.as_ref(), whole), (object, is_whole), "{value}");
            assert!(serde_json::from_str::<&RawValue>(&found).is_ok(), "{value}");
        }
        assert_eq!(arguments(None), ("{}".into(), true));
    }

    #[test]
    fn a_format_is_read_in_both_shapes() {
        let read = |json: &'static str| answer_format(Some(raw(json)), "response_format");
        assert!(matches!(answer_format(None, "response_format"), Ok(AnswerFormat::Text)));
        assert!(matches!(read(r#"{"type":"text"}"#), Ok(AnswerFormat::Text)));
        assert!(matches!(read(r#"{"type":"json_object"}"#), Ok(AnswerFormat::Json)));
        assert!(matches!(
            read(r#"{"type":"json_schema","json_schema":{"name":"n"}}"#),
            Ok(AnswerFormat::Json)
        ));
        for json in [
            r#"{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"a":1}}}"#,
            r#"{"type":"json_schema","name":"n","strict":true,"schema":{"a":1}}"#,
        ] {
            let Ok(AnswerFormat::Schema(schema, "response_format")) = read(json) else {
                panic!("{json} has no schema");
            };
            assert_eq!(schema.get(), r#"{"a":1}"#);
        }
        for (json, path) in [
            (r#"{"type":"grammar"}"#, "response_format.type"),
            (r#"{}"#, "response_format.type"),
            (r#"{"type":"json_schema","schema":[]}"#, "response_format.schema"),
            (
                r#"{"type":"json_schema","json_schema":{"schema":[]}}"#,
                "response_format.json_schema.schema",
            ),
            (r#"{"type":5}"#, "response_format.type"),
            (r#"[]"#, "response_format"),
        ] {
            let Err(Error::Refused(refusal)) = read(json) else { panic!("{json} is read") };
            assert_eq!(refusal.path, path, "{json}");
        }
    }
}
