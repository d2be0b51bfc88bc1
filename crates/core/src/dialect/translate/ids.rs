//! New ids for answers and what is in them, and the ids of calls.

use std::collections::HashSet;

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

/// The ids of the calls in one answer. Each is given once.
#[derive(Debug, Default)]
pub struct CallIds {
    given: HashSet<String>,
}

impl CallIds {
    /// The id for the next call: Gemini's own if clients take it and it is new, else one of `ids`.
    pub fn next(&mut self, upstream: Option<&str>, ids: &mut IdSource, prefix: &str) -> String {
        let own = upstream.filter(|id| is_client_id(id) && !self.given.contains(*id));
        let id = own.map_or_else(|| ids.next(prefix), str::to_owned);
        self.given.insert(id.clone());
        id
    }

    /// True while no call has come.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        self.given.iter().map(String::len).sum()
    }
}

/// True for an id that every service takes back: OpenAI allows 64 characters, Anthropic these.
fn is_client_id(id: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(is_legal)
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

    #[test]
    fn geminis_id_of_a_call_is_given_once_and_only_if_clients_take_it() {
        let (mut ids, mut calls) = (IdSource::new([1; 32]), CallIds::default());
        assert!(calls.is_empty());
        assert_eq!(calls.next(Some("fc-1_a"), &mut ids, "call_"), "fc-1_a");
        let long = "x".repeat(65);
        let others = [Some("fc-1_a"), Some(""), Some("a b"), Some("ä"), Some(&*long), None];
        for upstream in others {
            let id = calls.next(upstream, &mut ids, "call_");
            assert!(id.starts_with("call_") && id.len() == 29, "{upstream:?} became {id}");
        }
        assert_eq!(calls.next(Some(&long[..64]), &mut ids, "call_"), long[..64]);
        assert_eq!(calls.held(), "fc-1_a".len() + 6 * 29 + 64);
    }
}
