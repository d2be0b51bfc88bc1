//! A request body in pieces, such as an envelope's head, the client's own bytes, the envelope's
//! tail.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
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

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.next;
        let piece = self.pieces.as_mut().and_then(|pieces| match Arc::get_mut(pieces) {
            // Its memory is free as soon as it is sent.
            Some(own) => own.get_mut(next).map(std::mem::take),
            None => pieces.get(next).cloned(),
        });
        let Some(piece) = piece else { return Poll::Ready(None) };
        self.next += 1;
        self.len -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
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

    fn four() -> Payload {
        let mut payload = Payload::from(Bytes::from_static(b"b"));
        payload.push_front("a");
        payload.push("c");
        payload.push("");
        payload.append(&Bytes::from_static(b"d").into());
        payload
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
