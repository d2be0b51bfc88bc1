//! New ids for answers and what is in them.

use sha2::{Digest, Sha256};

/// A source of ids that no other answer has. It draws from the answer's seed, so that the core needs no
/// randomness of its own.
#[derive(Debug, Clone)]
pub struct IdSource {
    seed: [u8; 32],
    count: u64,
}

impl IdSource {
    /// A source for one answer.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// The next id: `prefix` and 24 letters and digits.
    pub fn next(&mut self, prefix: &str) -> String {
        let mut id = String::with_capacity(prefix.len() + LENGTH);
        id.push_str(prefix);
        self.count += 1;
        let digest =
            Sha256::new().chain_update(self.seed).chain_update(self.count.to_le_bytes()).finalize();
        // 62 letters of 256 values: a little uneven, which does no harm to 140 random bits.
        let letter = |byte: &u8| LETTERS[usize::from(*byte) % LETTERS.len()] as char;
        id.extend(digest.iter().take(LENGTH).map(letter));
        id
    }
}

const LENGTH: usize = 24;
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_follow_from_the_seed() {
        let ids = |seed| {
            let mut source = IdSource::new([seed; 32]);
            [source.next("call_"), source.next("call_")]
        };
        let [first, second] = ids(1);
        assert_ne!(first, second);
        assert_eq!(ids(1), [first.clone(), second]);
        assert_ne!(ids(2)[0], first);
        assert!(first.starts_with("call_") && first.len() == 29);
        assert!(first[5..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
