//! A provider's whole answer in Gemini's form.

use std::borrow::Cow;

use bytes::Bytes;

use crate::google::usage::TokenUsage;

/// A whole answer in the Gemini API's form.
#[derive(Debug)]
pub(crate) struct GeminiAnswer<'a> {
    pub(crate) body: Bytes,
    pub(crate) usage: TokenUsage,
    /// The provider's id for the request, where the body has one.
    pub(crate) trace_id: Option<Cow<'a, str>>,
}
