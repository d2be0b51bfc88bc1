//! The request of countTokens: Vertex has its fields at the top level only.

use std::ops::Range;

use bytes::Bytes;

use super::fields::RequestField;
use super::{Adapter, Scope};
use crate::json::{Cursor, JsonError, JsonString, ValueKind};
use crate::provider::edits::AdaptedRequest;

/// Adapts the body of `countTokens`.
pub(super) fn adapt(body: &Bytes) -> Result<AdaptedRequest, JsonError> {
    let adapted = match wrapped(body)? {
        Some((key, span)) => {
            let inner = body.slice(span);
            let mut adapter = Adapter::new(&inner)?;
            adapter.path.enter(&key);
            adapter.request(Scope::Counted)?;
            adapter.path.leave();
            adapter.unused(body)?;
            adapter.finish(&inner)?
        }
        None => {
            let mut adapter = Adapter::new(body)?;
            adapter.request(Scope::Count)?;
            adapter.finish(body)?
        }
    };
    // A count uses no tool.
    Ok(AdaptedRequest { temperature_zero: false, looks_outside: false, ..adapted })
}

/// The `generateContentRequest` of a body, if it is there and not null. Of several the last one counts.
fn wrapped(body: &[u8]) -> Result<Option<(JsonString<'_>, Range<usize>)>, JsonError> {
    let mut wrapped = None;
    let mut cursor = Cursor::new(body)?;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        let kind = cursor.kind()?;
        if RequestField::named(&key.value) != RequestField::GenerateContentRequest {
            cursor.skip()?;
        } else if kind == ValueKind::Null {
            cursor.skip()?;
            wrapped = None;
        } else if kind == ValueKind::Object {
            let span = cursor.skip()?;
            wrapped = Some((key, span));
        } else {
            return Err(cursor.malformed("expected an object"));
        }
    }
    cursor.end()?;
    Ok(wrapped)
}

impl<'a> Adapter<'a> {
    /// Reports the fields beside a `generateContentRequest`.
    fn unused(&mut self, body: &'a [u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        let mut inside = cursor.object()?;
        while let Some(key) = cursor.key(&mut inside)? {
            cursor.skip()?;
            if RequestField::named(&key.value) != RequestField::GenerateContentRequest {
                self.path.enter(&key);
                self.drop_here();
                self.path.leave();
            }
        }
        Ok(())
    }
}
