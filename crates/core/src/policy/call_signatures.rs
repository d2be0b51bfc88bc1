//! The signatures of calls, for clients that do not bring them back (`docs/DIALECTS.md`).
//!
//! A signature belongs to one caller's call. Nothing is shared: a process that does not know a signature
//! sends the placeholder that Google documents, so that a lost entry costs quality and no request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::caller::Caller;
use crate::sync::lock;

/// The remembered signatures. Those that were used least recently are forgotten first.
#[derive(Debug)]
pub struct CallSignatures {
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By caller and id of the call; with the time of the last use.
    known: HashMap<[u8; 32], (u64, Bytes)>,
    by_use: BTreeMap<u64, [u8; 32]>,
    uses: u64,
    bytes: usize,
}

impl CallSignatures {
    /// An empty memory that holds at most so many bytes (`SIGNATURE_CACHE_BYTES`).
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, state: Mutex::default() }
    }

    /// Remembers the signature of a caller's call.
    pub fn remember(&self, caller: &Caller, call_id: &str, signature: &str) {
        let size = signature.len() + ENTRY;
        if size > self.most_bytes {
            return;
        }
        let key = key(caller, call_id);
        let signature = Bytes::copy_from_slice(signature.as_bytes());
        let mut state = lock(&self.state);
        state.forget(&key);
        while state.bytes + size > self.most_bytes {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            state.forget(&oldest);
        }
        state.uses += 1;
        let used = state.uses;
        state.bytes += size;
        state.by_use.insert(used, key);
        state.known.insert(key, (used, signature));
    }

    /// The signature of a caller's call, if it is remembered.
    pub fn recall(&self, caller: &Caller, call_id: &str) -> Option<Bytes> {
        let key = key(caller, call_id);
        let mut state = lock(&self.state);
        state.uses += 1;
        let now = state.uses;
        let (used, signature) = state.known.get_mut(&key)?;
        let before = std::mem::replace(used, now);
        let signature = signature.clone();
        state.by_use.remove(&before);
        state.by_use.insert(now, key);
        Some(signature)
    }
}

impl State {
    fn forget(&mut self, key: &[u8; 32]) {
        if let Some((used, signature)) = self.known.remove(key) {
            self.by_use.remove(&used);
            self.bytes -= signature.len() + ENTRY;
        }
    }
}

/// The digest by which a call is found. An id of any length takes the same space.
fn key(caller: &Caller, call_id: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    match caller {
        Caller::Unknown => digest.update([0]),
        Caller::Address(address) => digest.update(format!("a{address} ")),
        Caller::Key(key) => {
            digest.update([1]);
            digest.update(key.0);
        }
    }
    digest.update(call_id.as_bytes());
    digest.finalize().into()
}

/// What an entry takes besides the signature itself.
const ENTRY: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::KeyDigest;

    fn held(memory: &CallSignatures) -> usize {
        lock(&memory.state).bytes
    }

    #[test]
    fn a_signature_is_found_by_its_caller_only() {
        let memory = CallSignatures::new(10_000);
        let (a, b) = (Caller::Key(KeyDigest::of("a")), Caller::Key(KeyDigest::of("b")));
        memory.remember(&a, "call_1", "S");
        assert_eq!(memory.recall(&a, "call_1").as_deref(), Some(&b"S"[..]));
        assert_eq!(memory.recall(&b, "call_1"), None);
        assert_eq!(memory.recall(&Caller::Unknown, "call_1"), None);
        assert_eq!(memory.recall(&a, "call_2"), None);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_was_used_last() {
        let memory = CallSignatures::new(4 * (ENTRY + 100));
        let signature = "x".repeat(100);
        for id in 0..10 {
            memory.remember(&Caller::Unknown, &id.to_string(), &signature);
            assert!(memory.recall(&Caller::Unknown, "0").is_some(), "after {id}");
            assert!(held(&memory) <= 4 * (ENTRY + 100));
        }
        assert!(memory.recall(&Caller::Unknown, "9").is_some());
        assert!(memory.recall(&Caller::Unknown, "1").is_none());
        memory.remember(&Caller::Unknown, "0", "new");
        assert_eq!(memory.recall(&Caller::Unknown, "0").as_deref(), Some(&b"new"[..]));
        memory.remember(&Caller::Unknown, "long", &"y".repeat(5000));
        assert!(memory.recall(&Caller::Unknown, "long").is_none());
    }

    #[test]
    fn a_memory_of_no_bytes_remembers_nothing() {
        let memory = CallSignatures::new(0);
        memory.remember(&Caller::Unknown, "1", "S");
        assert_eq!((memory.recall(&Caller::Unknown, "1"), held(&memory)), (None, 0));
    }
}
