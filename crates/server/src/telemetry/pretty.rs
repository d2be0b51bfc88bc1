//! The fields of a line that is not JSON.

use std::fmt;

use code_assist_core::RequestIds;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// The library's format, and behind it the ids of the request that is being answered.
#[derive(Debug)]
pub(super) struct FieldsAndIds;

impl<'w> FormatFields<'w> for FieldsAndIds {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        DefaultFields::new().format_fields(writer.by_ref(), fields)?;
        RequestIds::with_current(|ids| match ids {
            Some(ids) => {
                let (request, trace) = (ids.request_id(), ids.trace_id());
                write!(writer, " request_id={request:?} trace_id=\"{trace}\"")
            }
            None => Ok(()),
        })
    }
}
