//! A request body in pieces, such as an envelope's head, the client's own bytes, the envelope's
//! tail.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

/// A sequence of byte buffers, which are not copied. A clone, as a retry makes it, only counts
/// references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    pieces: VecDeque<Bytes>,
    len: u64,
}

impl Payload {
    /// The length of all pieces in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece at the end. An empty piece is dropped.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }

    /// Adds a piece at the beginning. An empty piece is dropped.
    pub fn push_front(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            self.pieces.push_front(piece);
        }
    }

    /// Adds all pieces of another payload at the end.
    pub fn append(&mut self, other: Self) {
        self.len += other.len;
        self.pieces.extend(other.pieces);
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// A hash of the pieces without the first `skip` and the last `skip`: of their length, and of `most`
    /// bytes at each end. Payloads that differ in between only have equal hashes.
    pub fn hash_of_ends(&self, skip: usize, most: usize) -> u64 {
        let count = self.pieces.len().saturating_sub(2 * skip);
        let pieces = || self.pieces.iter().skip(skip).take(count);
        let mut hasher = DefaultHasher::new();
        hasher.write_usize(pieces().map(Bytes::len).sum());
        let mut left = most;
        for piece in pieces() {
            let (hashed, _) = piece.split_at(left.min(piece.len()));
            hasher.write(hashed);
            left -= hashed.len();
        }
        let mut left = most;
        for piece in pieces().rev() {
            let (_, hashed) = piece.split_at(piece.len() - left.min(piece.len()));
            hasher.write(hashed);
            left -= hashed.len();
        }
        hasher.finish()
    }

    /// All bytes in one buffer. Copies unless there is one piece only: not for the hot path.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces[0].clone(),
            _ => self.pieces.iter().flatten().copied().collect(),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(piece);
        payload
    }
}

/// For a shell that sends the pieces as one buffer.
impl Buf for Payload {
    fn remaining(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining(), "past the end of a payload");
        self.len -= count as u64;
        while let Some(piece) = self.pieces.front_mut()
            && count > 0
        {
            let taken = count.min(piece.len());
            piece.advance(taken);
            count -= taken;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.pop_front() else { return Poll::Ready(None) };
        self.len -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_payload_are_read_as_one_buffer() {
        let mut payload = Payload::default();
        for piece in ["ab", "cde", "f"] {
            payload.push(piece);
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(payload.chunks_vectored(&mut slices), 2);
        assert_eq!(&*slices[1], b"cde");
        payload.advance(3);
        assert_eq!((payload.remaining(), payload.chunk()), (3, &b"de"[..]));
        assert_eq!(payload.copy_to_bytes(3), "def");
        assert!(payload.is_empty() && payload.is_end_stream() && payload.chunk().is_empty());
    }
}
