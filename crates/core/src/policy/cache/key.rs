//! The key of a request in the response cache.

use std::fmt;

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use crate::caller::KeyDigest;
use crate::payload::Payload;

/// The client's `Idempotency-Key`, unless it is empty.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&[u8]> {
    let key = headers.get(IDEMPOTENCY_KEY)?.as_bytes().trim_ascii();
    (!key.is_empty()).then_some(key)
}

/// The key of a repeatable request: requests with equal keys share one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    /// What the cache looks up: the digest of the client and its `Idempotency-Key`, or `content`
    /// without such a key.
    pub(super) name: Digest,
    /// Digest of the whole request. It differs when an `Idempotency-Key` is used a second time for
    /// another request.
    pub(super) content: Digest,
}

impl CacheKey {
    /// Hashes a request: `client` is the digest of the client's API key, `operation` a unique name
    /// that never changes, `model` the resolved model, `body` the bytes that the client sent.
    pub fn new(
        client: Option<KeyDigest>,
        operation: &'static str,
        model: &str,
        body: &Payload,
        idempotency_key: Option<&[u8]>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash_client(&mut hash, client);
        hash_field(&mut hash, operation.as_bytes());
        hash_field(&mut hash, model.as_bytes());
        for piece in body.pieces() {
            hash.update(piece);
        }
        let content = Digest(hash.finalize().into());
        let Some(idempotency_key) = idempotency_key else { return Self { name: content, content } };
        let mut hash = Sha256::new();
        hash.update(b"Idempotency-Key");
        hash_client(&mut hash, client);
        hash_field(&mut hash, idempotency_key);
        Self { name: Digest(hash.finalize().into()), content }
    }

    /// The key of the same request where its answer has another form, or may come from other upstreams
    /// only.
    #[must_use]
    pub fn for_variant(self, variant: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"variant");
        hash.update(self.content.0);
        hash.update(variant);
        let content = Digest(hash.finalize().into());
        let name = if self.is_named() { self.name } else { content };
        Self { name, content }
    }

    /// True when the client sent an `Idempotency-Key`, which another request may bear too.
    pub fn is_named(&self) -> bool {
        self.name != self.content
    }

    /// The key of the answer in a store that several processes share. `account` is part of it, so
    /// that an answer is given to requests of the same account only.
    pub fn key(&self, account: &str) -> String {
        format!("{ANSWER_PREFIX}{account}/{}", self.name.hex())
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hash_client(hash: &mut Sha256, client: Option<KeyDigest>) {
    hash.update([u8::from(client.is_some())]);
    hash_field(hash, client.as_ref().map_or(&[][..], |key| &key.0));
}

/// Hashes the length first, so that no two sequences of fields have the same bytes.
fn hash_field(hash: &mut Sha256, field: &[u8]) {
    hash.update((field.len() as u64).to_le_bytes());
    hash.update(field);
}

/// The prefix of every answer's key in a store. Stored answers are many, large and short-lived: a shell
/// need neither list nor export them.
pub const ANSWER_PREFIX: &str = "answer/";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cache_keys_differ_by_client_operation_model_and_every_byte_of_the_body() {
        let payload = |pieces: &[&'static str]| {
            let mut payload = Payload::default();
            pieces.iter().for_each(|piece| payload.push(*piece));
            payload
        };
        let plain = |client: Option<&str>, operation, model, body: &[&'static str]| {
            CacheKey::new(client.map(KeyDigest::of), operation, model, &payload(body), None)
        };
        let key = plain(Some("alice"), "countTokens", "pro", &["{}"]);
        assert_eq!(
            key,
            plain(Some("alice"), "countTokens", "pro", &["{", "}"]),
            "the pieces of a body do not matter"
        );
        for other in [
            plain(Some("bob"), "countTokens", "pro", &["{}"]),
            plain(None, "countTokens", "pro", &["{}"]),
            plain(Some(""), "countTokens", "pro", &["{}"]),
            plain(Some("alice"), "generateContent", "pro", &["{}"]),
            plain(Some("alice"), "countTokens", "flash", &["{}"]),
            plain(Some("alice"), "countTokens", "pro", &["{} "]),
            plain(Some("alice"), "countTokensp", "ro", &["{}"]),
            CacheKey::new(
                Some(KeyDigest::of("alice")),
                "countTokens",
                "pro",
                &payload(&["{}"]),
                Some(b"k"),
            ),
        ] {
            assert_ne!(key.name, other.name, "{other:?}");
        }
        let anonymous = plain(None, "countTokens", "pro", &["{}"]);
        assert_ne!(anonymous.name, plain(Some(""), "countTokens", "pro", &["{}"]).name);
    }

    #[test]
    fn an_empty_idempotency_key_counts_as_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers), None);
        headers.insert("Idempotency-Key", HeaderValue::from_static(" "));
        assert_eq!(idempotency_key(&headers), None);
        headers.insert("Idempotency-Key", HeaderValue::from_static(" \"k-1\" "));
        assert_eq!(idempotency_key(&headers), Some(&b"\"k-1\""[..]));
    }
}
