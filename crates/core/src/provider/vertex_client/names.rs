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
        let is_cache = matches!(&*key.value, b"cachedContent" | b"cached_content");
        if !is_cache && *key.value != *b"model" {
            cursor.skip()?;
            continue;
        }
        let Some(text) = cursor.string_or_skip()? else { continue };
        let span = text.span.clone();
        let name = text.into_str();
        if !name.contains("projects/") {
            continue;
        }
        let is_allowed = !is_cache || paths.may_own(&name);
        let Some(own) = paths.own_name(&name).filter(|_| is_allowed) else {
            let field = String::from_utf8_lossy(&key.value).into_owned();
            return Err(VertexClientError::ForeignName { field });
        };
        if own != *name {
            let mut json = Vec::with_capacity(own.len() + 2);
            quote(&own, &mut json);
            splice.replace(span, json);
        }
    }
    cursor.end()?;
    Ok(splice.pieces(body, 0..body.len()))
}
