//! A request in OpenAI's or Anthropic's dialect, beside its form in Gemini's.

use std::sync::Arc;

use bytes::Bytes;

use super::early::EarlyPlace;
use crate::dialect::{TranslatedCall, Translation};
use crate::error::Error;
use crate::google::ProviderKind;

/// A request in the dialect of its client.
pub(super) struct SourceRequest {
    pub(super) call: TranslatedCall,
    pub(super) body: Bytes,
    /// The model as the client has written it.
    pub(super) requested: Arc<str>,
    /// What the request is for the upstream that is asked now.
    pub(super) translation: Option<Translation>,
    /// About how many bytes a translation takes while it is made.
    pub(super) translation_bytes: usize,
    /// How many bytes are reserved for the translation that there is.
    pub(super) reserved: usize,
    /// Upstream has refused the request's signatures.
    pub(super) without_signatures: bool,
    /// Where the head of a stream may be sent before upstream has answered. Otherwise `None`.
    pub(super) early: Option<EarlyPlace>,
}

impl SourceRequest {
    /// The paths of fields that the translation has left out.
    pub(super) fn dropped(&self) -> &[String] {
        self.translation.as_ref().map_or(&[], |translation| &translation.written.dropped)
    }

    /// The provider whose signatures the translation has left out.
    pub(super) fn foreign_signatures(&self) -> Option<ProviderKind> {
        self.translation.as_ref()?.written.foreign
    }

    /// Whether the request may succeed without its signatures, once.
    pub(super) fn may_drop_signatures(&self, error: &Error) -> bool {
        !self.without_signatures
            && matches!(error, Error::Upstream(error) if error.is_about_signatures())
    }
}
