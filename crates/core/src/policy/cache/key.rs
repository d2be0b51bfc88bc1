//! The name under which a request's answer is found.

use std::fmt;

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use crate::payload::Payload;

/// The client's `Idempotency-Key`, unless it is empty.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&[u8]> {
    let key = headers.get(IDEMPOTENCY_KEY)?.as_bytes().trim_ascii();
    (!key.is_empty()).then_some(key)
}

/// What is asked and under which name: equal questions have one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    /// Where its answer is found.
    pub(super) name: Digest,
    /// Everything that is asked.
    pub(super) content: Digest,
}

impl CacheKey {
    /// The key of a request: who asks (the label of the client's key), for what (a name of the
    /// operation that is unique and never changes), the resolved model, and the body as the client
    /// sent it. An `Idempotency-Key` names the request; else its content does.
    pub fn new(
        client: Option<&str>,
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
        let Some(key) = idempotency_key else { return Self { name: content, content } };
        let mut hash = Sha256::new();
        hash.update(b"Idempotency-Key");
        hash_client(&mut hash, client);
        hash_field(&mut hash, key);
        Self { name: Digest(hash.finalize().into()), content }
    }
}

impl CacheKey {
    /// Its name where answers are kept for several processes: those of one account.
    pub fn key(&self, account: &str) -> String {
        format!("{ANSWER_PREFIX}{account}/{}", self.name.hex())
    }
}

/// SHA-256.
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

fn hash_client(hash: &mut Sha256, client: Option<&str>) {
    hash.update([u8::from(client.is_some())]);
    hash_field(hash, client.unwrap_or_default().as_bytes());
}

/// With its length, so that no two rows of fields look alike.
fn hash_field(hash: &mut Sha256, field: &[u8]) {
    hash.update((field.len() as u64).to_le_bytes());
    hash.update(field);
}

/// What the keys of kept answers begin with. Such entries are many, large and soon gone: a shell
/// need neither list nor export them.
pub const ANSWER_PREFIX: &str = "answer/";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn equal_means_client_method_model_and_every_byte() {
        let payload = |pieces: &[&'static str]| {
            let mut payload = Payload::default();
            pieces.iter().for_each(|piece| payload.push(*piece));
            payload
        };
        let plain = |client, method, model, body: &[&'static str]| {
            CacheKey::new(client, method, model, &payload(body), None)
        };
        let q = plain(Some("alice"), "countTokens", "pro", &["{}"]);
        assert_eq!(q, plain(Some("alice"), "countTokens", "pro", &["{", "}"]), "however it is cut");
        for other in [
            plain(Some("bob"), "countTokens", "pro", &["{}"]),
            plain(None, "countTokens", "pro", &["{}"]),
            plain(Some(""), "countTokens", "pro", &["{}"]),
            plain(Some("alice"), "generateContent", "pro", &["{}"]),
            plain(Some("alice"), "countTokens", "flash", &["{}"]),
            plain(Some("alice"), "countTokens", "pro", &["{} "]),
            plain(Some("alice"), "countTokensp", "ro", &["{}"]),
            CacheKey::new(Some("alice"), "countTokens", "pro", &payload(&["{}"]), Some(b"k")),
        ] {
            assert_ne!(q.name, other.name, "{other:?}");
        }
        let anonymous = plain(None, "countTokens", "pro", &["{}"]);
        assert_ne!(anonymous.name, plain(Some(""), "countTokens", "pro", &["{}"]).name);
    }

    #[test]
    fn an_empty_idempotency_key_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers), None);
        headers.insert("Idempotency-Key", HeaderValue::from_static(" "));
        assert_eq!(idempotency_key(&headers), None);
        headers.insert("Idempotency-Key", HeaderValue::from_static(" \"k-1\" "));
        assert_eq!(idempotency_key(&headers), Some(&b"\"k-1\""[..]));
    }
}
