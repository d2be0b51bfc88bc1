//! The error for a credential that is there and cannot be used.

/// Why a credential cannot be used for Vertex AI, and what the operator can do about it. The text
/// follows the name of the credential's place, and never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoogleCredentialError {
    /// There is no JSON object, or it breaks off: the file may be half-written.
    #[error("cannot be read: {0}")]
    NotJson(String),
    /// The credential is of a kind that is not served, or a field is missing or wrong.
    #[error("cannot be used for Vertex AI: {0}")]
    Unusable(String),
}
