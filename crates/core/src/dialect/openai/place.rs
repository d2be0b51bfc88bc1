//! Where in a request an error is, as OpenAI writes paths: `messages[0].content[1].type`.

use std::ops::Range;

use crate::error::{Error, Refusal, RefusalCode};
use crate::json::{Cursor, JsonError, ValueKind};

/// The error for a text that is not what serde was to read. `place` is the path of the text itself;
/// empty for the whole body.
#[cold]
pub fn unreadable(text: &str, place: &str, error: &serde_json::Error) -> Error {
    if !error.is_data() {
        return Error::MalformedJson { detail: error.to_string() };
    }
    let mut path = place.to_owned();
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let line_at: usize = before.map(str::len).sum();
    // Up to the place that was found, the path is right even if the walk fails.
    let _ = walk(text, line_at + error.column().saturating_sub(1), &mut path);
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    Refusal::error(
        RefusalCode::InvalidValue,
        path,
        format!("The value has the wrong type: {what}."),
    )
}

/// Appends the path of the innermost value that has the byte at `offset`.
fn walk(text: &str, offset: usize, path: &mut String) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(text.as_bytes())?;
    'values: loop {
        match cursor.kind()? {
            ValueKind::Object => {
                let mut object = cursor.object()?;
                while let Some(key) = cursor.key(&mut object)? {
                    let inside = cursor.clone();
                    if has(&cursor.skip()?, offset) {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.push_str(&key.into_str());
                        cursor = inside;
                        continue 'values;
                    }
                }
                return Ok(());
            }
            ValueKind::Array => {
                let mut array = cursor.array()?;
                let mut index = 0;
                while cursor.item(&mut array)? {
                    let inside = cursor.clone();
                    if has(&cursor.skip()?, offset) {
                        path.push_str(&format!("[{index}]"));
                        cursor = inside;
                        continue 'values;
                    }
                    index += 1;
                }
                return Ok(());
            }
            ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::Null => {
                return Ok(());
            }
        }
    }
}

/// True if serde's offset is a value's: for an object or array it is the byte before.
fn has(value: &Range<usize>, offset: usize) -> bool {
    value.contains(&offset) || value.start == offset + 1
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Whole {
        #[expect(dead_code, reason = "only its type counts")]
        items: Option<Vec<Item>>,
    }

    #[derive(Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only its type counts")]
        name: Option<String>,
        #[expect(dead_code, reason = "only its type counts")]
        inner: Option<Vec<bool>>,
    }

    #[test]
    fn an_error_has_the_path_of_its_value() {
        for (text, place, path) in [
            (r#"{"items":5}"#, "", "items"),
            (r#"{"items":[{"name":"a"},{"name":5}]}"#, "", "items[1].name"),
            ("{\"items\":[\n {\"name\":\"a\"},\n {\"name\" : 5 }]}", "", "items[1].name"),
            (r#"{"items":[{"inner":[true,"x"]}]}"#, "tools[2]", "tools[2].items[0].inner[1]"),
            (r#"{"items":[{"name":{"a":1}}]}"#, "", "items[0].name"),
            (r#"{"items":[{"name": {"a":1}}]}"#, "", "items[0].name"),
            (r#"{"items":"text"}"#, "", "items"),
            (r#"{"items":[7]}"#, "", "items[0]"),
        ] {
            let error = serde_json::from_str::<Whole>(text).err().unwrap();
            let Error::Refused(refusal) = unreadable(text, place, &error) else {
                panic!("{text} is malformed");
            };
            assert_eq!(refusal.path, path, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_json_is_malformed() {
        for text in [r#"{"items":"#, "{items:1}", r#"{"items":[]]"#] {
            let error = serde_json::from_str::<Whole>(text).err().unwrap();
            let error = unreadable(text, "", &error);
            assert!(matches!(error, Error::MalformedJson { .. }), "{text}");
        }
    }
}
