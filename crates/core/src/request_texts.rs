//! Small texts of one request in one block of memory.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

/// A block of memory for texts that live about as long as a request: the head of its envelope, its ids, its times.
/// With an allocation for each, they were a third of all that a small request makes.
#[derive(Debug, Default)]
pub struct RequestTexts(BytesMut);

impl RequestTexts {
    /// The text that `write` appends.
    pub fn text(&mut self, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.0.capacity() == 0 {
            self.0.reserve(USUAL_LENGTH);
        }
        write(&mut self.0);
        self.0.split().freeze()
    }

    /// A header's value, which is visible ASCII.
    pub(crate) fn header(&mut self, value: &[u8]) -> HeaderValue {
        let text = self.text(|texts| texts.extend_from_slice(value));
        HeaderValue::from_maybe_shared(text).expect("visible ASCII")
    }
}

/// Enough for a request that is sent once.
const USUAL_LENGTH: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_as_they_are_when_more_follow_than_the_block_holds() {
        let mut texts = RequestTexts::default();
        let values: Vec<String> = (0..100).map(|number| format!("value {number}")).collect();
        let headers: Vec<HeaderValue> =
            values.iter().map(|value| texts.header(value.as_bytes())).collect();
        drop(texts);
        assert_eq!(headers, values);
    }

    #[test]
    fn usual_texts_share_a_block() {
        let mut texts = RequestTexts::default();
        let one = texts.text(|texts| texts.extend_from_slice(b"one"));
        let two = texts.header(b"two");
        assert_eq!(two.as_bytes().as_ptr(), one.as_ptr().wrapping_add(3));
    }
}
