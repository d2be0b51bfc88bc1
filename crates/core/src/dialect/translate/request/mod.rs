//! The Gemini request that becomes of a draft.

use bytes::Bytes;

use super::draft::DraftRequest;
use super::names::ToolNames;
use super::target::Target;
use crate::error::Error;
use crate::google::ProviderKind;

/// A Gemini request.
#[derive(Debug)]
pub struct Written {
    /// The JSON.
    pub body: Bytes,
    /// The paths of the client's fields that are left out.
    pub dropped: Vec<String>,
    /// The client's tools, for the answer.
    pub names: ToolNames,
    /// A provider whose signatures are left out, since `Target` has another one.
    pub foreign: Option<ProviderKind>,
}

/// Writes a request that generates an answer.
pub fn write(draft: DraftRequest<'_>, target: &Target) -> Result<Written, Error> {
    _ = (draft, target);
    Err(Error::Internal)
}

/// Writes a request that counts the tokens of a prompt.
pub fn write_count(draft: DraftRequest<'_>, target: &Target) -> Result<Written, Error> {
    _ = (draft, target);
    Err(Error::Internal)
}
