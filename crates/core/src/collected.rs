//! A body that is collected from its chunks.

use bytes::{Bytes, BytesMut};

/// The chunks of a body in one piece. A body that came in one chunk is not copied.
#[derive(Debug, Default)]
pub(crate) struct CollectedBody {
    first: Bytes,
    all: BytesMut,
}

impl CollectedBody {
    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Appends a chunk. A buffer that is too short for it grows to `capacity`.
    pub(crate) fn push(&mut self, chunk: Bytes, capacity: usize) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = chunk;
            return;
        }
        if self.all.capacity() < self.len() + chunk.len() {
            self.all.reserve(capacity - self.all.len());
        }
        if !self.first.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&chunk);
    }

    /// The whole body.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
