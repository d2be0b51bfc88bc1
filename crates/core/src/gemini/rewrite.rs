//! The short list of `spec.md` 5, as splices over the client's own bytes: one pass, no tree.

use bytes::Bytes;

use crate::json::Malformed;
use crate::payload::Payload;

/// A client's body, made fit for Code Assist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The inner `request` object (for countTokens: what goes between `"request":` and `}`).
    pub request: Payload,
    /// The paths of fields that were removed, such as `generationConfig.imageConfig`, in order.
    pub dropped: Vec<String>,
    /// `generationConfig.temperature` is there and exactly zero.
    pub temperature_zero: bool,
}

/// Rewrites the body of `generateContent` and `streamGenerateContent`.
pub fn generate(body: &Bytes) -> Result<Rewritten, Malformed> {
    todo!("{}", body.len())
}

/// Rewrites the body of `countTokens`, in both of its forms, for `model` (a bare id).
pub fn count(body: &Bytes, model: &str) -> Result<Rewritten, Malformed> {
    todo!("{} {model}", body.len())
}
