//! The mechanical repairs of JSON schemas (`docs/reference/dialects.md` 6.2). Nothing is flattened, inlined
//! or moved into descriptions, and what needs no repair keeps its bytes.

mod repair;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::memmem;
use serde_json::value::RawValue;

use crate::json::{Cursor, JsonError, ValueKind};

/// What a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaPlace {
    /// The arguments of a tool, which must be an object.
    Tool,
    /// The text of an answer.
    Answer,
}

/// Why a schema cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema is no JSON object.
    #[error("the schema is not a JSON object")]
    NotASchema,
    /// The schema of a tool's arguments is of another type.
    #[error("the type of the schema is not `object`")]
    NotAnObjectType,
}

/// The schema with what Gemini refuses repaired, and otherwise with the client's own bytes.
pub fn repair(schema: &RawValue, place: SchemaPlace) -> Result<Cow<'_, str>, SchemaError> {
    let text = schema.get();
    if !text.starts_with('{') {
        return Err(SchemaError::NotASchema);
    }
    let is_suspect = SUSPECTS.iter().any(|word| memmem::find(text.as_bytes(), word).is_some());
    let repaired = if is_suspect { repair::repaired(schema) } else { None };
    let repaired = repaired.map_or(Cow::Borrowed(text), Cow::Owned);
    match place {
        SchemaPlace::Tool => with_type(repaired),
        SchemaPlace::Answer => Ok(repaired),
    }
}

/// What every schema that needs a repair has, but for one whose root has no type.
const SUSPECTS: [&[u8]; 4] = [br#""const""#, br#""$ref""#, br#""definitions""#, br#""allOf""#];

/// The schema of a tool's arguments with the type that its root must have.
fn with_type(schema: Cow<'_, str>) -> Result<Cow<'_, str>, SchemaError> {
    // The text has been read before. One that is too deep for this walk is left to Google.
    match root_type(&schema).unwrap_or(RootType::Object) {
        RootType::Object => Ok(schema),
        RootType::Other => Err(SchemaError::NotAnObjectType),
        RootType::Null(span) => {
            let (before, after) = (&schema[..span.start], &schema[span.end..]);
            Ok(format!("{before}\"object\"{after}").into())
        }
        RootType::Absent => {
            let members = schema[1..].trim_start();
            let comma = if members.starts_with('}') { "" } else { "," };
            Ok(format!("{{\"type\":\"object\"{comma}{members}").into())
        }
    }
}

/// What the root of a schema says of its type.
enum RootType {
    /// It is an object, or the schema that it refers to says it.
    Object,
    /// It is of another type.
    Other,
    /// The type is `null`, here.
    Null(std::ops::Range<usize>),
    /// There is no type.
    Absent,
}

fn root_type(schema: &str) -> Result<RootType, JsonError> {
    let mut cursor = Cursor::new(schema.as_bytes())?;
    let mut root = cursor.object()?;
    let mut refers = false;
    while let Some(key) = cursor.key(&mut root)? {
        let key = key.into_str();
        if key != "type" {
            // Gemini takes no type beside a reference.
            refers |= key == "$ref";
            cursor.skip()?;
            continue;
        }
        return Ok(match cursor.kind()? {
            ValueKind::Null => RootType::Null(cursor.skip()?),
            ValueKind::Array => {
                let mut types = cursor.array()?;
                let mut has_object = false;
                while cursor.item(&mut types)? {
                    has_object |= is_object(&mut cursor)?;
                }
                if has_object { RootType::Object } else { RootType::Other }
            }
            _ if is_object(&mut cursor)? => RootType::Object,
            _ => RootType::Other,
        });
    }
    Ok(if refers { RootType::Object } else { RootType::Absent })
}

fn is_object(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    // Gemini's own spelling of types is in upper case, and some clients write it.
    let name = cursor.string_or_skip()?;
    Ok(name.is_some_and(|name| name.value.eq_ignore_ascii_case(b"object")))
}
