//! Values sealed for a store that others may read (`KV_ENCRYPTION_KEY`).
//!
//! XChaCha20-Poly1305: its nonces are long enough to be drawn at random for as long as anybody
//! likes. The entry's name is authenticated with its value, so that nobody can put one entry in
//! another's place.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use code_assist_core::settings::SealKeys;
use secrecy::{ExposeSecret, SecretBox};

/// Seals and opens values, or leaves them alone when there is no key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seal {
    /// The first seals, all open.
    keys: Arc<[XChaCha20Poly1305]>,
    /// The operator has been told of a value that does not open.
    told: Arc<AtomicBool>,
}

/// Why a value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shut {
    /// It is sealed with a key that is not ours, or it was tampered with.
    #[error("it is sealed with another key, or damaged")]
    Foreign,
    /// It is sealed, and there is no key.
    #[error("it is sealed, and KV_ENCRYPTION_KEY is not set")]
    NoKey,
    /// It lies there in the clear, where everything is to be sealed.
    #[error("it is not sealed, though KV_ENCRYPTION_KEY is set (kv export and import seal it)")]
    Open,
}

impl Seal {
    pub(crate) fn new(keys: Option<&SealKeys>) -> Self {
        let cipher = |key: &Arc<SecretBox<[u8; 32]>>| {
            XChaCha20Poly1305::new(Key::from_slice(key.expose_secret()))
        };
        let keys = keys.map(|keys| std::iter::once(&keys.first).chain(&keys.second).map(cipher));
        Self { keys: keys.into_iter().flatten().collect(), told: Arc::default() }
    }

    /// The value of the entry `name` as it is stored.
    pub(crate) fn seal(&self, name: &str, value: Bytes) -> Bytes {
        let Some(key) = self.keys.first() else { return value };
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = key
            .encrypt(&nonce, Payload { msg: &value, aad: name.as_bytes() })
            .expect("values are far shorter than the cipher's 256 GiB");
        Bytes::from([MARK, nonce.as_slice(), &sealed].concat())
    }

    /// The value of the entry `name` as it was before it was sealed.
    pub(crate) fn open(&self, name: &str, stored: Bytes) -> Result<Bytes, Shut> {
        let Some((nonce, sealed)) = parts(&stored) else {
            return if self.keys.is_empty() { Ok(stored) } else { Err(Shut::Open) };
        };
        if self.keys.is_empty() {
            return Err(Shut::NoKey);
        }
        let payload = || Payload { msg: sealed, aad: name.as_bytes() };
        let opened = self.keys.iter().find_map(|key| key.decrypt(nonce, payload()).ok());
        opened.map(Bytes::from).ok_or(Shut::Foreign)
    }

    /// The same for whoever can do without: a value that does not open is as if it were not there,
    /// and said to be so once.
    pub(crate) fn open_if_ours(&self, name: &str, stored: Bytes) -> Option<Bytes> {
        self.open(name, stored)
            .inspect_err(|why| {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        key = name,
                        "an entry of the key-value store is left alone: {why}"
                    );
                }
            })
            .ok()
    }

    /// What an import writes: an entry in the clear sealed, a sealed one sealed anew with the first
    /// key. Without a key all stay as they are.
    pub(crate) fn anew(&self, name: &str, value: Bytes) -> Result<Bytes, Shut> {
        if self.keys.is_empty() {
            return Ok(value);
        }
        match self.open(name, value.clone()) {
            Ok(opened) => Ok(self.seal(name, opened)),
            Err(Shut::Open) => Ok(self.seal(name, value)),
            Err(why) => Err(why),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

fn parts(stored: &[u8]) -> Option<(&XNonce, &[u8])> {
    let (nonce, sealed) = stored.strip_prefix(MARK)?.split_at_checked(NONCE)?;
    Some((XNonce::from_slice(nonce), sealed))
}

/// What a sealed value begins with. No value of ours does: they are JSON.
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
    fn what_is_sealed_opens_under_its_own_name_with_either_key() {
        let old = seal(&[1]).seal("token", value());
        assert!(!old.windows(4).any(|four| four == b"hush"));
        assert_eq!(seal(&[1]).open("token", old.clone()), Ok(value()));
        assert_eq!(seal(&[2, 1]).open("token", old.clone()), Ok(value()));
        assert_eq!(seal(&[2]).open("token", old.clone()), Err(Shut::Foreign));
        assert_eq!(seal(&[1]).open("project", old.clone()), Err(Shut::Foreign));
        assert_eq!(seal(&[]).open("token", old.clone()), Err(Shut::NoKey));
        let mut damaged = old.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(seal(&[1]).open("token", damaged.into()), Err(Shut::Foreign));
        for cut in 0..old.len() {
            assert!(seal(&[1]).open("token", old.slice(..cut)).is_err(), "{cut}");
        }
    }

    #[test]
    fn no_two_seals_are_alike() {
        let seal = seal(&[1]);
        assert_ne!(seal.seal("token", value()), seal.seal("token", value()));
    }

    #[test]
    fn without_a_key_values_are_left_alone_and_with_one_clear_ones_do_not_count() {
        assert_eq!(seal(&[]).seal("token", value()), value());
        assert_eq!(seal(&[]).open("token", value()), Ok(value()));
        assert_eq!(seal(&[1]).open("token", value()), Err(Shut::Open));
    }

    #[test]
    fn an_import_seals_anew_with_the_first_key() {
        let rotated = seal(&[2, 1]);
        for stored in [value(), seal(&[1]).seal("token", value())] {
            let anew = rotated.anew("token", stored).unwrap();
            assert_eq!(seal(&[2]).open("token", anew), Ok(value()));
        }
        let foreign = seal(&[3]).seal("token", value());
        assert_eq!(rotated.anew("token", foreign.clone()), Err(Shut::Foreign));
        assert_eq!(seal(&[]).anew("token", foreign.clone()), Ok(foreign));
    }
}
