//! Writing streams for clients that speak the Gemini API: server-sent events, or a JSON array element by
//! element (`docs/API.md`).

use bytes::{BufMut, Bytes, BytesMut};

use super::error;
use super::route::Framing;
use crate::dialect::event::{GeminiEvent, StreamFailure};
use crate::error::Error;
use crate::sse;

/// Writes events in one of the two framings.
///
/// Pieces share a buffer, which is reused once they have been sent. For a client that keeps up with the
/// stream, an event needs no allocation.
#[derive(Debug)]
pub(crate) struct GeminiEncoder {
    framing: Framing,
    buffer: BytesMut,
    /// The first element of an array has been written.
    begun: bool,
}

impl GeminiEncoder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new(), begun: false }
    }

    /// Writes one event as one piece.
    pub(crate) fn event(&mut self, event: impl GeminiEvent) -> Bytes {
        self.element(event.len_hint(), |out| event.write_line(out))
    }

    /// Writes the end of an array.
    pub(crate) fn end(&mut self) -> Option<Bytes> {
        let close: &'static [u8] = if self.begun { b"\n]" } else { b"[]" };
        (self.framing == Framing::Array).then_some(Bytes::from_static(close))
    }

    /// Writes the error as the last event or element. For server-sent events the bare error object
    /// follows in a chunk of its own: two generations of SDKs see only the event, and two see only a bare
    /// object in a chunk of its own (`docs/reference/protocol.md` 4.5).
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
        sse::taken(&mut self.buffer)
    }
}

/// Puts an error's JSON on one line, since upstream pretty-prints some errors. In JSON a line break is
/// white space without meaning; within a string it cannot occur.
fn one_line(json: &Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        return json.clone();
    }
    json.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')).copied().collect()
}

/// Bytes to reserve, enough for a few events of usual length.
const BUFFER: usize = 1024;
