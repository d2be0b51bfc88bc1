//! What passes between a provider's decoder and a dialect's encoder.

use bytes::{Bytes, BytesMut};

/// One event of a stream in the Gemini API's form, not written yet.
pub(crate) trait GeminiEvent {
    /// The length of its JSON, roughly: what to reserve.
    fn len_hint(&self) -> usize;

    /// Writes its JSON on one line.
    fn write_line(self, out: &mut BytesMut);
}

/// The last pieces of a stream that has failed.
#[derive(Debug)]
pub(crate) struct StreamFailure {
    /// The error as an event.
    pub(crate) event: Bytes,
    /// What closes the stream, at once.
    pub(crate) close: Option<Bytes>,
    /// A last piece that has to arrive as a chunk of its own, after a pause.
    pub(crate) after_pause: Option<Bytes>,
}
