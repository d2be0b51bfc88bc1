//! What the frames and objects of chats and of legacy completions have in common
//! (`docs/reference/dialects.md` 3.3).

use bytes::{BufMut, BytesMut};

use super::error::push_object;
use crate::dialect::Dialect;
use crate::dialect::translate::fault::Fault;
use crate::dialect::translate::json::{push_number, push_string};
use crate::dialect::translate::part::AnswerEvent;
use crate::dialect::translate::usage::Usage;
use crate::error::Error;

/// The beginning of each frame of a stream.
pub(super) fn head(
    id: &str,
    kind: &str,
    event: &AnswerEvent<'_>,
    now: u64,
    model: &str,
) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(128 + model.len());
    out.put_slice(b"data: ");
    push_head(id, kind, event, now, model, &mut out);
    out.to_vec()
}

/// Appends the beginning of an object, up to its choices. The time is upstream's, else ours.
pub(super) fn push_head(
    id: &str,
    kind: &str,
    event: &AnswerEvent<'_>,
    now: u64,
    model: &str,
    out: &mut BytesMut,
) {
    out.put_slice(br#"{"id":""#);
    out.put_slice(id.as_bytes());
    out.put_slice(br#"","object":""#);
    out.put_slice(kind.as_bytes());
    out.put_slice(br#"","created":"#);
    push_number(event.created().unwrap_or(now), out);
    out.put_slice(br#","model":"#);
    push_string(model, out);
    out.put_slice(br#","choices":["#);
}

/// Appends the end of a frame behind its choices. In a stream that ends with its token counts, `usage` is
/// `null` in all other frames.
pub(super) fn push_end(include_usage: bool, out: &mut BytesMut) {
    out.put_slice(match include_usage {
        true => b"],\"usage\":null}\n\n",
        false => b"]}\n\n",
    });
}

/// Appends the frame of the token counts.
pub(super) fn push_usage(head: &[u8], usage: &Usage, out: &mut BytesMut) {
    out.put_slice(head);
    out.put_slice(br#"],"usage":"#);
    usage.push_chat(out);
    out.put_slice(b"}\n\n");
}

/// Appends the frame of the error that ends a stream.
pub(super) fn push_error(error: &Error, out: &mut BytesMut) {
    out.put_slice(br#"data: {"error":"#);
    push_object(&Fault::of(error, Dialect::OpenAi), out);
    out.put_slice(b"}\n\n");
}

/// The end of a stream.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A heartbeat: a comment, which readers of streams skip.
pub(in crate::dialect) const HEARTBEAT: &[u8] = b": \n\n";
