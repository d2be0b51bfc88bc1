//! What the edits of all providers share: how members are removed, and what is reported.

mod field_path;
mod member_filter;

use std::ops::Range;

use crate::json::{Cursor, JsonError, ValueKind};
use crate::payload::Payload;
pub(crate) use field_path::FieldPath;
pub(crate) use member_filter::{BoundedPaths, MemberFilter};

/// A client's body after a provider's edits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct AdaptedRequest {
    /// The body without the provider's envelope. (For Code Assist's countTokens: what goes between
    /// `"request":` and `}`.)
    pub request: Payload,
    /// The paths of fields that were removed, such as `generationConfig.responseFormat`, in order.
    ///
    /// Each path is visible ASCII without commas, as a header needs it. After 64 paths comes `...`.
    pub dropped: Vec<String>,
    /// True when `generationConfig.temperature` is there and exactly zero.
    pub temperature_zero: bool,
    /// True when `tools` has anything but function declarations. Such a tool looks at the outside world
    /// (search, pages, maps, code that reads the clock), or may do so.
    pub looks_outside: bool,
    /// The tier that the body asked for, where the provider takes it in a header only.
    pub service_tier: Option<ServiceTier>,
}

impl AdaptedRequest {
    /// A body that is sent on, of which nothing else is known.
    pub(crate) fn unedited(request: Payload) -> Self {
        Self {
            request,
            dropped: Vec::new(),
            temperature_zero: false,
            looks_outside: true,
            service_tier: None,
        }
    }
}

/// A tier of Vertex AI's shared capacity (`docs/reference/upstreams.md` 1.4, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceTier {
    /// Cheaper, and slower.
    Flex,
    /// Dearer, and served first.
    Priority,
}

impl ServiceTier {
    /// The value of `x-vertex-ai-llm-shared-request-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

/// Reads a role, and returns its place if Vertex knows none such: null, empty, `function`, `tool`. Go
/// clients write `""` for a role that they do not set.
pub(crate) fn unusual_role(cursor: &mut Cursor<'_>) -> Result<Option<Range<usize>>, JsonError> {
    if cursor.kind()? == ValueKind::Null {
        return cursor.skip().map(Some);
    }
    let role = cursor.string_or_skip()?;
    let unusual = role.filter(|role| matches!(&*role.value, b"" | b"function" | b"tool"));
    Ok(unusual.map(|role| role.span))
}

/// Reads a safety setting, and returns the places of categories that are numbers, each with the name as
/// a JSON string: Vertex has other numbers (`docs/reference/clients.md` R6).
pub(crate) fn numbered_categories(
    cursor: &mut Cursor<'_>,
) -> Result<Vec<(Range<usize>, &'static str)>, JsonError> {
    let mut numbered = Vec::new();
    if cursor.kind()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(numbered);
    }
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        let value = cursor.skip()?;
        let name = harm_category(cursor.text(value.clone()));
        if let (true, Some(name)) = (*key.value == *b"category", name) {
            numbered.push((value, name));
        }
    }
    Ok(numbered)
}

/// The name, as a JSON string, of a `HarmCategory` that the client wrote as a number of the public
/// API (`google.ai.generativelanguage.v1beta.HarmCategory`).
fn harm_category(number: &[u8]) -> Option<&'static str> {
    Some(match number {
        b"0" => r#""HARM_CATEGORY_UNSPECIFIED""#,
        b"1" => r#""HARM_CATEGORY_DEROGATORY""#,
        b"2" => r#""HARM_CATEGORY_TOXICITY""#,
        b"3" => r#""HARM_CATEGORY_VIOLENCE""#,
        b"4" => r#""HARM_CATEGORY_SEXUAL""#,
        b"5" => r#""HARM_CATEGORY_MEDICAL""#,
        b"6" => r#""HARM_CATEGORY_DANGEROUS""#,
        b"7" => r#""HARM_CATEGORY_HARASSMENT""#,
        b"8" => r#""HARM_CATEGORY_HATE_SPEECH""#,
        b"9" => r#""HARM_CATEGORY_SEXUALLY_EXPLICIT""#,
        b"10" => r#""HARM_CATEGORY_DANGEROUS_CONTENT""#,
        b"11" => r#""HARM_CATEGORY_CIVIC_INTEGRITY""#,
        _ => return None,
    })
}

/// Whether an object has `responseJsonSchema`.
pub(crate) fn has_json_schema(mut ahead: Cursor<'_>) -> Result<bool, JsonError> {
    let mut inside = ahead.object()?;
    while let Some(key) = ahead.key(&mut inside)? {
        if let b"responseJsonSchema" | b"response_json_schema" = &*key.value {
            return Ok(true);
        }
        ahead.skip()?;
    }
    Ok(false)
}

/// Whether a JSON number is zero: `0`, `0.0`, `-0`, `0e5`.
pub(crate) fn is_zero(number: &[u8]) -> bool {
    let mut mantissa = number.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    mantissa.all(|byte| matches!(byte, b'-' | b'0' | b'.'))
}

/// Ten times the need of the longest conversations. One edit takes about 50 bytes of memory.
pub(crate) const MOST_EDITS: usize = 1 << 18;
