//! A request body in pieces, such as an envelope's head, the client's own bytes, the envelope's
//! tail.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

/// A sequence of byte buffers, which are not copied. A clone, as a retry makes it, only counts
/// references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// `None` if there are none. The body of every request is cloned once, in case it has to be sent again.
    pieces: Option<Arc<SmallVec<[Bytes; USUAL_PIECES]>>>,
    /// The position of the first piece that has not been taken.
    next: usize,
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
            self.all().push(piece);
        }
    }

    /// Adds a piece at the beginning. An empty piece is dropped.
    pub fn push_front(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            let next = self.next;
            self.all().insert(next, piece);
        }
    }

    /// Adds all pieces of another payload at the end.
    pub fn append(&mut self, other: &Self) {
        self.len += other.len;
        self.all().extend(other.left().iter().cloned());
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.left().iter()
    }

    fn left(&self) -> &[Bytes] {
        self.pieces.as_ref().map_or(&[], |pieces| &pieces[self.next..])
    }

    fn all(&mut self) -> &mut SmallVec<[Bytes; USUAL_PIECES]> {
        Arc::make_mut(self.pieces.get_or_insert_default())
    }

    /// Takes the first piece.
    fn take_piece(&mut self) -> Option<Bytes> {
        let next = self.next;
        let piece = match Arc::get_mut(self.pieces.as_mut()?) {
            // Its memory is free as soon as it is sent.
            Some(own) => own.get_mut(next).map(std::mem::take),
            None => self.left().first().cloned(),
        }?;
        self.next += 1;
        self.len -= piece.len() as u64;
        Some(piece)
    }

    /// A hash of the pieces without the first `skip` and the last `skip`: of their length, and of `most`
    /// bytes at each end. Payloads that differ in between only have equal hashes.
    pub fn hash_of_ends(&self, skip: usize, most: usize) -> u64 {
        let count = self.left().len().saturating_sub(2 * skip);
        let pieces = || self.left().iter().skip(skip).take(count);
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
        match self.left() {
            [] => Bytes::new(),
            [piece] => piece.clone(),
            pieces => pieces.iter().flatten().copied().collect(),
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

/// A payload as one buffer, for a shell that sends it so.
#[derive(Debug, Default)]
pub struct PayloadBuf {
    payload: Payload,
    /// How much of the first piece has been taken.
    taken: usize,
}

impl From<Payload> for PayloadBuf {
    fn from(payload: Payload) -> Self {
        Self { payload, taken: 0 }
    }
}

impl Buf for PayloadBuf {
    fn remaining(&self) -> usize {
        usize::try_from(self.payload.len).unwrap_or(usize::MAX) - self.taken
    }

    fn chunk(&self) -> &[u8] {
        self.payload.left().first().map_or(&[], |piece| &piece[self.taken..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut taken = self.taken;
        let filled = slices.iter_mut().zip(self.payload.left());
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(&piece[std::mem::take(&mut taken)..]))
            .count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "past the end of a payload");
        self.taken += count;
        while let Some(first) = self.payload.left().first().map(Bytes::len)
            && first <= self.taken
        {
            self.taken -= first;
            self.payload.take_piece();
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
        Poll::Ready(self.take_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

/// The head of an envelope, the client's own bytes, and the envelope's tail.
const USUAL_PIECES: usize = 3;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn taken(payload: &mut Payload) -> Vec<Bytes> {
        let mut context = Context::from_waker(Waker::noop());
        let mut pieces = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *payload).poll_frame(&mut context) {
            pieces.push(frame.into_data().unwrap());
        }
        pieces
    }

    fn two_slices(buf: &PayloadBuf) -> [Bytes; 2] {
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(buf.chunks_vectored(&mut slices), 2);
        slices.map(|slice| Bytes::copy_from_slice(&slice))
    }

    fn four() -> Payload {
        let mut payload = Payload::from(Bytes::from_static(b"b"));
        payload.push_front("a");
        payload.push("c");
        payload.push("");
        payload.append(&Bytes::from_static(b"d").into());
        payload
    }

    #[test]
    fn the_pieces_of_a_payload_are_read_as_one_buffer() {
        let mut payload = Payload::default();
        for piece in ["ab", "cde", "f"] {
            payload.push(piece);
        }
        let kept = payload.clone();
        let mut buf = PayloadBuf::from(payload);
        assert_eq!(two_slices(&buf), ["ab", "cde"]);
        buf.advance(3);
        assert_eq!((buf.remaining(), buf.chunk()), (3, &b"de"[..]));
        assert_eq!(two_slices(&buf), ["de", "f"]);
        assert_eq!(buf.copy_to_bytes(3), "def");
        assert!(!buf.has_remaining() && buf.chunk().is_empty());
        assert_eq!(kept.to_bytes(), "abcdef");
    }

    #[test]
    fn a_clone_is_sent_whole_after_the_first_one_was() {
        let kept = four();
        for mut sent in [kept.clone(), kept.clone()] {
            assert_eq!((sent.len(), sent.is_end_stream()), (4, false));
            assert_eq!(taken(&mut sent), ["a", "b", "c", "d"]);
            assert_eq!((sent.len(), sent.is_end_stream(), sent.to_bytes().len()), (0, true, 0));
        }
        assert_eq!(kept.to_bytes(), "abcd");
    }

    #[test]
    fn a_piece_that_was_taken_is_not_held_and_others_may_follow() {
        let mut payload = four();
        let whole = Bytes::from(vec![b'x'; 10]);
        payload.push_front(whole.clone());
        let mut context = Context::from_waker(Waker::noop());
        let first = Pin::new(&mut payload).poll_frame(&mut context);
        drop(first);
        assert!(whole.is_unique());
        payload.push_front("front");
        payload.push("end");
        assert_eq!(payload.to_bytes(), "frontabcdend");
        assert_eq!(taken(&mut payload), ["front", "a", "b", "c", "d", "end"]);
        assert_eq!(Payload::default().to_bytes(), "");
    }
}
