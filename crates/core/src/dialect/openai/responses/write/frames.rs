//! The frames of a stream: server-sent events with a type and a number.

use bytes::{BufMut, BytesMut};

use crate::dialect::translate::json::push_number;

/// Writes frames, and numbers them from 0 without gaps.
#[derive(Debug, Default)]
pub(super) struct Frames {
    next: u64,
    /// The answer is not streamed: no frame is written.
    is_silent: bool,
}

impl Frames {
    /// Writes no frame from here on.
    pub(super) fn silence(&mut self) {
        self.is_silent = true;
    }

    /// Appends one frame. `members` appends what follows the number, with a comma before each member.
    pub(super) fn frame(
        &mut self,
        kind: &str,
        out: &mut BytesMut,
        members: impl FnOnce(&mut BytesMut),
    ) {
        if self.is_silent {
            return;
        }
        for piece in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"] {
            out.put_slice(piece.as_bytes());
        }
        push_number(self.next, out);
        self.next += 1;
        members(out);
        out.put_slice(b"}\n\n");
    }

    /// Appends a frame about the part of an item at `place`.
    pub(super) fn part(
        &mut self,
        kind: &str,
        place: Place<'_>,
        out: &mut BytesMut,
        members: impl FnOnce(&mut BytesMut),
    ) {
        self.frame(kind, out, |out| {
            place.push(out);
            members(out);
        });
    }
}

/// An item, or one of its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The item's id.
    pub(super) id: &'a str,
    /// The item's position among all items.
    pub(super) index: u32,
    /// The name of the part's position and the position, if the frame is about a part.
    pub(super) part: Option<(&'static str, u32)>,
}

impl Place<'_> {
    fn push(self, out: &mut BytesMut) {
        out.put_slice(b",\"item_id\":\"");
        out.put_slice(self.id.as_bytes());
        out.put_slice(b"\",\"output_index\":");
        push_number(self.index.into(), out);
        if let Some((name, at)) = self.part {
            out.put_slice(b",\"");
            out.put_slice(name.as_bytes());
            out.put_slice(b"\":");
            push_number(at.into(), out);
        }
    }
}

/// Appends a member whose value is a JSON string that needs no escapes but those that `inside` has.
pub(super) fn push_member(name: &str, inside: &[u8], out: &mut BytesMut) {
    for piece in [b",\"", name.as_bytes(), b"\":\"", inside, b"\""] {
        out.put_slice(piece);
    }
}
