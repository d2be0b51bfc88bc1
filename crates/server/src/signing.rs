//! Signatures with the key of a service account.

use std::sync::{Arc, Mutex, PoisonError};

use code_assist_core::{RsaKey, SignError};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

/// Signs, and keeps each key in the form that it is used in: reading it takes as long as a signature.
#[derive(Debug, Default)]
pub(crate) struct Signer {
    keys: Mutex<Vec<([u8; 32], Arc<RsaKeyPair>)>>,
}

impl Signer {
    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256.
    pub(crate) fn sign(&self, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let pair = self.pair(key)?;
        let mut signature = vec![0; pair.public().modulus_len()];
        // The random numbers only blind the calculation; the signature is always the same.
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignError::Failed("the signature could not be calculated".to_owned()))?;
        Ok(signature)
    }

    fn pair(&self, key: &RsaKey) -> Result<Arc<RsaKeyPair>, SignError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pair)) = keys.iter().find(|(digest, _)| digest == key.digest()) {
            return Ok(Arc::clone(pair));
        }
        let pair = RsaKeyPair::from_pkcs8(key.pkcs8()).map_err(|why| {
            SignError::InvalidKey(format!(
                "it is no RSA key of 2048 to 4096 bits in PKCS#8 ({why})"
            ))
        })?;
        let pair = Arc::new(pair);
        if keys.len() == MOST_KEYS {
            // Keys of credential files that were replaced since.
            keys.remove(0);
        }
        keys.push((*key.digest(), Arc::clone(&pair)));
        Ok(pair)
    }
}

/// More than there are upstreams.
const MOST_KEYS: usize = 32;

#[cfg(test)]
mod tests {
    use code_assist_testkit::rsa;

    use super::*;

    #[test]
    fn a_known_key_gives_the_known_signature_each_time() {
        let signer = Signer::default();
        let key = RsaKey::from_pkcs8(rsa::pkcs8());
        for _ in 0..2 {
            let signature = signer.sign(&key, rsa::MESSAGE).unwrap();
            assert_eq!(signature, rsa::signature());
        }
        assert_eq!(signer.keys.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_kept() {
        let signer = Signer::default();
        let refused = signer.sign(&RsaKey::from_pkcs8(vec![0x30, 0]), b"message");
        assert!(matches!(refused, Err(SignError::InvalidKey(_))), "{refused:?}");
        assert!(signer.keys.lock().unwrap().is_empty());
    }

    #[test]
    fn the_keys_of_replaced_files_are_forgotten() {
        let signer = Signer::default();
        let pair = signer.pair(&RsaKey::from_pkcs8(rsa::pkcs8())).unwrap();
        *signer.keys.lock().unwrap() =
            (0..MOST_KEYS as u8).map(|n| ([n; 32], Arc::clone(&pair))).collect();
        signer.sign(&RsaKey::from_pkcs8(rsa::pkcs8()), b"message").unwrap();
        let keys = signer.keys.lock().unwrap();
        assert_eq!((keys.len(), keys[0].0[0]), (MOST_KEYS, 1));
    }
}
