//! Which provider has given a thought signature. Providers do not take each other's signatures
//! (`docs/reference/upstreams.md` 7.3), so a conversation stays where its last signature came from.
//!
//! Only 64-bit hashes are kept, and no content. The hash needs no secret: entries come from answers of
//! upstreams and never from requests, so that a client who finds a collision moves only its own request.

use std::collections::BTreeMap;

/// A bounded memory of signatures, by their hashes. `K` is a kind of provider.
///
/// It has two generations: when the younger one is full, the older one is forgotten. A signature that is
/// asked for is young again.
#[derive(Debug)]
pub struct SignatureMemory<K> {
    young: BTreeMap<u64, K>,
    old: BTreeMap<u64, K>,
    /// How many signatures a generation has at most.
    most: usize,
}

impl<K: Copy + PartialEq> SignatureMemory<K> {
    /// An empty memory of at most twice so many signatures.
    pub fn new(most: usize) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), most }
    }

    /// Remembers who has given a signature.
    pub fn given(&mut self, signature: u64, by: K) {
        if self.young.len() >= self.most && !self.young.contains_key(&signature) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(signature, by);
    }

    /// Who has given a signature, if it is known.
    pub fn giver(&mut self, signature: u64) -> Option<K> {
        if let Some(by) = self.young.get(&signature) {
            return Some(*by);
        }
        let by = self.old.remove(&signature)?;
        self.given(signature, by);
        Some(by)
    }

    /// True when none is known.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

/// The signatures of a generation: thousands of conversations, in less than a megabyte.
pub const MOST_SIGNATURES: usize = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let mut memory = SignatureMemory::new(10);
        memory.given(0, 'a');
        for signature in 1..100 {
            memory.given(signature, 'b');
            assert_eq!(memory.giver(0), Some('a'), "after {signature}");
            assert!(memory.young.len() + memory.old.len() <= 20);
        }
        assert_eq!(memory.giver(99), Some('b'));
        assert_eq!(memory.giver(1), None);
    }
}
