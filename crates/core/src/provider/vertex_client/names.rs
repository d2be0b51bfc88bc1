//! Names of resources in a body, which are in a project and a location.

use bytes::Bytes;

use super::VertexClientError;
use crate::json::{Cursor, Splice, quote};
use crate::payload::Payload;
use crate::provider::vertex::path::VertexPaths;

pub(super) fn in_operators_project(
    body: &Bytes,
    paths: &VertexPaths,
) -> Result<Payload, VertexClientError> {
    let mut splice = Splice::default();
    let mut cursor = Cursor::new(body)?;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        let Some(field) = NameField::named(&key.value) else {
            cursor.skip()?;
            continue;
        };
        let Some(text) = cursor.string_or_skip()? else { continue };
        let span = text.span.clone();
        match field.at(&text.into_str(), paths) {
            OwnName::Unchanged => {}
            OwnName::Changed(name) => splice.replace(span, quoted(&name)),
            OwnName::Foreign => {
                let field = String::from_utf8_lossy(&key.value).into_owned();
                return Err(VertexClientError::ForeignName { field });
            }
        }
    }
    cursor.end()?;
    Ok(splice.pieces(body, 0..body.len()))
}

/// A field that names a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameField {
    /// The name of a model, whose project and location are a client's wishes.
    Model,
    /// The name of something that a project owns, such as cached content.
    Owned,
}

impl NameField {
    fn named(key: &[u8]) -> Option<Self> {
        match key {
            b"model" => Some(Self::Model),
            b"cachedContent" | b"cached_content" | b"operationName" | b"operation_name" => {
                Some(Self::Owned)
            }
            _ => None,
        }
    }

    fn at(self, name: &str, paths: &VertexPaths) -> OwnName {
        match self {
            Self::Owned => own(name, paths),
            Self::Model if !name.contains("projects/") => OwnName::Unchanged,
            Self::Model => renamed(name, paths),
        }
    }
}

/// What becomes of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnName {
    /// It has no project, or the operator's already.
    Unchanged,
    /// It gets the operator's project and location.
    Changed(String),
    /// It is in a project or location that is not the operator's.
    Foreign,
}

/// What becomes of the name of something that a project owns.
pub(crate) fn own(name: &str, paths: &VertexPaths) -> OwnName {
    if !name.contains("projects/") {
        return OwnName::Unchanged;
    }
    if paths.may_own(name) { renamed(name, paths) } else { OwnName::Foreign }
}

fn renamed(name: &str, paths: &VertexPaths) -> OwnName {
    match paths.own_name(name) {
        None => OwnName::Foreign,
        Some(own) if own == *name => OwnName::Unchanged,
        Some(own) => OwnName::Changed(own),
    }
}

/// A string as JSON.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(text.len() + 2);
    quote(text, &mut json);
    json
}
