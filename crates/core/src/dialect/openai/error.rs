//! Errors for clients that speak OpenAI's API (`docs/reference/dialects.md` 1.4).

use bytes::{BufMut, Bytes, BytesMut};

use crate::dialect::translate::fault::{Fault, push_googles};
use crate::dialect::translate::json::push_string;

/// Writes the body of an error that has come before the first byte of an answer.
pub fn body(fault: &Fault) -> Bytes {
    let mut out = BytesMut::with_capacity(fault.message.len() + fault.details.len() + 192);
    out.put_slice(br#"{"error":{"#);
    push_members(fault, &mut out);
    push_googles(fault, &mut out);
    out.put_slice(b"}}");
    out.freeze()
}

/// Appends the error as an event of a stream has it: `{"message":…,"type":…,"param":…,"code":…}`.
pub fn push_object(fault: &Fault, out: &mut BytesMut) {
    out.put_u8(b'{');
    push_members(fault, out);
    out.put_u8(b'}');
}

fn push_members(fault: &Fault, out: &mut BytesMut) {
    out.put_slice(br#""message":"#);
    push_string(&fault.message, out);
    out.put_slice(br#","type":"#);
    push_string(fault.kind, out);
    out.put_slice(br#","param":"#);
    push_optional(fault.param.as_deref(), out);
    out.put_slice(br#","code":"#);
    push_optional(fault.code.as_deref(), out);
}

fn push_optional(text: Option<&str>, out: &mut BytesMut) {
    match text {
        Some(text) => push_string(text, out),
        None => out.put_slice(b"null"),
    }
}
