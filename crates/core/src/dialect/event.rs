//! The types between a provider's decoder and a dialect's encoder.

use bytes::{Bytes, BytesMut};

/// One event of a stream in the Gemini API's form, which is not written yet.
pub(crate) trait GeminiEvent {
    /// The approximate length of its JSON, for reserving memory.
    fn len_hint(&self) -> usize;

    /// Writes its JSON on one line.
    fn write_line(self, out: &mut BytesMut);
}

/// The last pieces of a stream that has failed.
#[derive(Debug)]
pub(crate) struct StreamFailure {
    /// The error as an event.
    pub(crate) event: Bytes,
    /// What closes the stream, sent without a pause.
    pub(crate) close: Option<Bytes>,
    /// A last piece that must arrive as a chunk of its own, sent after a pause.
    pub(crate) after_pause: Option<Bytes>,
}
