//! Encryption of values (`KV_ENCRYPTION_KEY`), for a store that others may read.
//!
//! The cipher is XChaCha20-Poly1305, whose nonces are long enough to be random without a limit on
//! their number. The entry's name is authenticated with its value, so that a value cannot be moved to
//! another entry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use code_assist_core::settings::SealKeys;
use secrecy::{ExposeSecret, SecretBox};

/// Encrypts and decrypts values, or passes them on if no key is set. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seal {
    /// The first encrypts, all decrypt.
    keys: Arc<[XChaCha20Poly1305]>,
    /// A value that does not open has been logged.
    warned: Arc<AtomicBool>,
}

/// Why a value cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnsealError {
    #[error("it is sealed with another key, or damaged")]
    Foreign,
    #[error("it is sealed, and KV_ENCRYPTION_KEY is not set")]
    NoKey,
    #[error("it is not sealed, though KV_ENCRYPTION_KEY is set (kv export and import seal it)")]
    NotSealed,
}

impl Seal {
    pub(crate) fn new(keys: Option<&SealKeys>) -> Self {
        let cipher = |key: &Arc<SecretBox<[u8; 32]>>| {
            XChaCha20Poly1305::new(Key::from_slice(key.expose_secret()))
        };
        let keys = keys.map(|keys| std::iter::once(&keys.first).chain(&keys.second).map(cipher));
        Self { keys: keys.into_iter().flatten().collect(), warned: Arc::default() }
    }

    /// Encrypts the value of the entry `name` for the store.
    pub(crate) fn seal(&self, name: &str, value: Bytes) -> Bytes {
        let Some(key) = self.keys.first() else { return value };
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = key
            .encrypt(&nonce, Payload { msg: &value, aad: name.as_bytes() })
            .expect("values are far shorter than the cipher's 256 GiB");
        Bytes::from([MARK, nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts a stored value of the entry `name`.
    pub(crate) fn open(&self, name: &str, stored: Bytes) -> Result<Bytes, UnsealError> {
        let Some((nonce, sealed)) = split(&stored) else {
            return if self.keys.is_empty() { Ok(stored) } else { Err(UnsealError::NotSealed) };
        };
        if self.keys.is_empty() {
            return Err(UnsealError::NoKey);
        }
        let payload = || Payload { msg: sealed, aad: name.as_bytes() };
        let opened = self.keys.iter().find_map(|key| key.decrypt(nonce, payload()).ok());
        opened.map(Bytes::from).ok_or(UnsealError::Foreign)
    }

    /// Decrypts a stored value, or returns None if that fails. The first failure is logged.
    pub(crate) fn open_if_ours(&self, name: &str, stored: Bytes) -> Option<Bytes> {
        self.open(name, stored)
            .inspect_err(|error| {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        key = name,
                        "an entry of the key-value store is left alone: {error}"
                    );
                }
            })
            .ok()
    }

    /// Encrypts a plain value for an import, and encrypts an encrypted one anew with the first key.
    /// Without a key, the value stays as it is.
    pub(crate) fn reseal(&self, name: &str, value: Bytes) -> Result<Bytes, UnsealError> {
        if self.keys.is_empty() {
            return Ok(value);
        }
        match self.open(name, value.clone()) {
            Ok(opened) => Ok(self.seal(name, opened)),
            Err(UnsealError::NotSealed) => Ok(self.seal(name, value)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

fn split(stored: &[u8]) -> Option<(&XNonce, &[u8])> {
    let (nonce, sealed) = stored.strip_prefix(MARK)?.split_at_checked(NONCE)?;
    Some((XNonce::from_slice(nonce), sealed))
}

/// The prefix of an encrypted value. No plain value begins like this, since all are JSON.
const MARK: &[u8] = b"\0sealed\x01";

const NONCE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(keys: &[u8]) -> Seal {
        let key = |byte: u8| Arc::new(SecretBox::new(Box::new([byte; 32])));
        let second = keys.get(1).map(|byte| key(*byte));
        Seal::new(keys.first().map(|first| SealKeys { first: key(*first), second }).as_ref())
    }

    fn value() -> Bytes {
        Bytes::from_static(b"{\"access_token\":\"ya29.hush\"}")
    }

    #[test]
    fn a_sealed_value_opens_under_its_own_name_with_either_key() {
        let old = seal(&[1]).seal("token", value());
        assert!(!old.windows(4).any(|four| four == b"hush"));
        assert_eq!(seal(&[1]).open("token", old.clone()), Ok(value()));
        assert_eq!(seal(&[2, 1]).open("token", old.clone()), Ok(value()));
        assert_eq!(seal(&[2]).open("token", old.clone()), Err(UnsealError::Foreign));
        assert_eq!(seal(&[1]).open("project", old.clone()), Err(UnsealError::Foreign));
        assert_eq!(seal(&[]).open("token", old.clone()), Err(UnsealError::NoKey));
        let mut damaged = old.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(seal(&[1]).open("token", damaged.into()), Err(UnsealError::Foreign));
        for cut in 0..old.len() {
            assert!(seal(&[1]).open("token", old.slice(..cut)).is_err(), "{cut}");
        }
    }

    #[test]
    fn two_encryptions_of_a_value_differ() {
        let seal = seal(&[1]);
        assert_ne!(seal.seal("token", value()), seal.seal("token", value()));
    }

    #[test]
    fn without_a_key_values_pass_and_with_one_plain_values_are_errors() {
        assert_eq!(seal(&[]).seal("token", value()), value());
        assert_eq!(seal(&[]).open("token", value()), Ok(value()));
        assert_eq!(seal(&[1]).open("token", value()), Err(UnsealError::NotSealed));
    }

    #[test]
    fn an_import_reseals_with_the_first_key() {
        let rotated = seal(&[2, 1]);
        for stored in [value(), seal(&[1]).seal("token", value())] {
            let resealed = rotated.reseal("token", stored).unwrap();
            assert_eq!(seal(&[2]).open("token", resealed), Ok(value()));
        }
        let foreign = seal(&[3]).seal("token", value());
        assert_eq!(rotated.reseal("token", foreign.clone()), Err(UnsealError::Foreign));
        assert_eq!(seal(&[]).reseal("token", foreign.clone()), Ok(foreign));
    }
}
