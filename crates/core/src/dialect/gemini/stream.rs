//! How a stream is written for a client that speaks the Gemini API: server-sent events, or a JSON
//! array element by element (`docs/API.md`).

use bytes::{BufMut, Bytes, BytesMut};

use super::error;
use super::route::Framing;
use crate::dialect::event::{GeminiEvent, StreamFailure};
use crate::error::Error;

/// Writes events in one of the two framings.
///
/// Pieces share a buffer, which is used again once they have been sent: a client that keeps up with
/// the stream costs no allocation an event.
#[derive(Debug)]
pub(crate) struct StreamEncoder {
    framing: Framing,
    buffer: BytesMut,
    /// The first element of an array has been written.
    begun: bool,
}

impl StreamEncoder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new(), begun: false }
    }

    /// One event as one piece.
    pub(crate) fn event(&mut self, event: impl GeminiEvent) -> Bytes {
        self.element(event.len_hint(), |out| event.write_line(out))
    }

    /// The end of an array.
    pub(crate) fn end(&mut self) -> Option<Bytes> {
        let close: &'static [u8] = if self.begun { b"\n]" } else { b"[]" };
        (self.framing == Framing::Array).then_some(Bytes::from_static(close))
    }

    /// The error as the last event or element. For server-sent events the bare error object follows
    /// in a chunk of its own: two generations of SDKs see only the event, two only a bare object,
    /// and those only in a chunk of its own (`docs/reference/protocol.md` 4.5).
    pub(crate) fn error(&mut self, error: &Error) -> StreamFailure {
        let body = one_line(&error::body(error));
        let event = self.element(body.len(), |out| out.put_slice(&body));
        match self.framing {
            Framing::Array => {
                StreamFailure { event, close: Some(Bytes::from_static(b"\n]")), after_pause: None }
            }
            Framing::Sse => StreamFailure { event, close: None, after_pause: Some(body) },
        }
    }

    fn element(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let (before, after): (&[u8], &[u8]) = match (self.framing, self.begun) {
            (Framing::Sse, _) => (b"data: ", b"\r\n\r\n"),
            (Framing::Array, false) => (b"[", b""),
            (Framing::Array, true) => (b"\n,\r\n", b""),
        };
        self.begun = true;
        let needed = before.len() + len + after.len();
        if self.buffer.capacity() < needed {
            self.buffer.reserve(needed.max(BUFFER));
        }
        self.buffer.put_slice(before);
        write(&mut self.buffer);
        self.buffer.put_slice(after);
        self.buffer.split().freeze()
    }
}

/// An error's JSON on one line: upstream pretty-prints some. A line break in JSON outside of a
/// string is insignificant white space, and inside one it cannot be.
fn one_line(json: &Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        return json.clone();
    }
    json.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')).copied().collect()
}

/// Room for a few events of usual length.
const BUFFER: usize = 1024;
