//! Requests of clients that are configured for Vertex AI, at each provider
//! (`docs/reference/upstreams.md` 3.2, 8.3).

mod gemini_api;
pub(crate) mod names;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::error::Error;
use crate::json::{Cursor, JsonError, ValueKind};
use crate::payload::Payload;
use crate::provider::edits::AdaptedRequest;
use crate::provider::vertex::path::VertexPaths;

/// Why a request of a client in Vertex mode is refused by the proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VertexClientError {
    /// A name in the body is in a project or location that is not the operator's.
    #[error("`{field}` is in another project or location than the proxy's own")]
    ForeignName {
        /// The path of the field.
        field: String,
    },
    /// The body is not exactly one JSON object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The provider cannot do what a field asks for, and to drop the field would change the request.
    #[error("`{field}` is taken by Vertex AI only, and must not be dropped")]
    VertexOnly {
        /// The path of the field.
        field: String,
    },
}

impl From<VertexClientError> for Error {
    fn from(error: VertexClientError) -> Self {
        match error {
            VertexClientError::ForeignName { field } => {
                let why =
                    "it names a resource in another project or location than the proxy's own.";
                Self::FieldNotTaken { field, why }
            }
            VertexClientError::Json(error) => error.into(),
            VertexClientError::VertexOnly { field } => {
                let why = "only Vertex AI has it, and the request goes to another API.";
                Self::FieldNotTaken { field, why }
            }
        }
    }
}

/// Makes a body acceptable to the public Gemini API.
pub fn at_gemini_api(body: &Bytes) -> Result<AdaptedRequest, VertexClientError> {
    gemini_api::adapt(body)
}

/// Makes the body of countTokens acceptable to the public Gemini API, for `model` (a bare id).
pub fn count_at_gemini_api(body: &Bytes, model: &str) -> Result<AdaptedRequest, VertexClientError> {
    gemini_api::count(body, model)
}

/// Checks a body on its way to Code Assist, whose own edits follow: `modelArmorConfig` is a security
/// control, and whether Code Assist takes it is not known.
pub fn at_code_assist(body: &[u8]) -> Result<(), VertexClientError> {
    let mut cursor = Cursor::new(body)?;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        match &*key.value {
            b"modelArmorConfig" | b"model_armor_config" => {
                refuse_given(&mut cursor, "", &key.value)?
            }
            b"generationConfig" | b"generation_config" if cursor.kind()? == ValueKind::Object => {
                let mut members = cursor.object()?;
                while let Some(member) = cursor.key(&mut members)? {
                    if let b"modelArmorConfig" | b"model_armor_config" = &*member.value {
                        refuse_given(&mut cursor, "generationConfig.", &member.value)?;
                    } else {
                        cursor.skip()?;
                    }
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
    }
    Ok(cursor.end()?)
}

/// Puts the operator's project and location into the names in a body on its way to Vertex AI: into
/// `model`, and into `cachedContent` and `operationName` where they name the operator's own. Nothing else
/// is edited.
pub fn at_vertex(body: &Bytes, paths: &VertexPaths) -> Result<Payload, VertexClientError> {
    names::in_operators_project(body, paths)
}

/// Refuses a field that is there and not null.
fn refuse_given(
    cursor: &mut Cursor<'_>,
    before: &str,
    key: &[u8],
) -> Result<(), VertexClientError> {
    let kind = cursor.kind()?;
    cursor.skip()?;
    match kind {
        ValueKind::Null => Ok(()),
        _ => {
            let field = format!("{before}{}", String::from_utf8_lossy(key));
            Err(VertexClientError::VertexOnly { field })
        }
    }
}
