//! The key of a service account, with which a shell signs.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

/// An RSA private key: PKCS#8 in DER. A clone shares the bytes; `Debug` does not print them.
#[derive(Clone)]
pub struct RsaKey {
    pkcs8: Arc<SecretSlice<u8>>,
    digest: [u8; 32],
}

impl RsaKey {
    /// The key in these bytes, which are not looked at before the first signature.
    pub fn from_pkcs8(der: Vec<u8>) -> Self {
        let digest = Sha256::digest(&der).into();
        Self { pkcs8: Arc::new(der.into()), digest }
    }

    /// The secret bytes.
    pub fn pkcs8(&self) -> &[u8] {
        self.pkcs8.expose_secret()
    }

    /// Tells keys apart: a shell keeps the form in which it signs with a key.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey")
    }
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key cannot be used: it is no RSA key in PKCS#8, or too short.
    #[error("{0}")]
    InvalidKey(String),
    /// The shell could not sign. A later try may succeed.
    #[error("{0}")]
    Failed(String),
    /// The shell cannot sign at all.
    #[error("this build cannot sign")]
    Unsupported,
}
