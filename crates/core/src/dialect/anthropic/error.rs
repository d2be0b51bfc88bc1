//! Errors for clients that speak Anthropic's API (`docs/reference/dialects.md` 1.4).

use bytes::{BufMut, Bytes, BytesMut};

use crate::dialect::translate::fault::{Fault, push_googles};
use crate::dialect::translate::json::push_string;

/// Writes the body of an error that has come before the first byte of an answer.
pub fn body(fault: &Fault, request_id: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(fault.message.len() + fault.details.len() + 192);
    out.put_slice(br#"{"type":"error","error":{"#);
    push_members(fault, &mut out);
    push_googles(fault, &mut out);
    out.put_slice(br#"},"request_id":"#);
    push_string(request_id, &mut out);
    out.put_u8(b'}');
    out.freeze()
}

/// Appends the error as an event of a stream has it: `{"type":…,"message":…}`.
pub fn push_object(fault: &Fault, out: &mut BytesMut) {
    out.put_u8(b'{');
    push_members(fault, out);
    out.put_u8(b'}');
}

fn push_members(fault: &Fault, out: &mut BytesMut) {
    out.put_slice(br#""type":"#);
    push_string(fault.kind, out);
    out.put_slice(br#","message":"#);
    push_string(&fault.message, out);
}
