//! Whole answers of Code Assist on their way to Gemini's form.

use bytes::Bytes;

use super::envelope::{self, Form};
use crate::error::Error;
use crate::google::error;
use crate::google::usage::TokenUsage;
use crate::provider::answer::GeminiAnswer;

/// An answer to `generateContent`, taken out of its wrapper.
pub(crate) fn generated(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let opened = envelope::open(text, None)
        .map_err(|why| Error::UpstreamMalformed { what: format!("no JSON: {why}") })?;
    if let Some(error) = opened.error {
        return Err(error::from_event(&error).into());
    }
    let usage = opened.usage().unwrap_or_default();
    let trace_id = opened.trace_id;
    let response = opened.response.ok_or_else(|| Error::UpstreamMalformed {
        what: "the answer has no `response`".to_owned(),
    })?;
    Ok(GeminiAnswer { body: response.into_bytes(Form::AsWritten), usage, trace_id })
}

/// An answer to `countTokens`, which has no wrapper.
pub(crate) fn count(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text).is_err() {
        let what = "the count is no JSON object".to_owned();
        return Err(Error::UpstreamMalformed { what });
    }
    Ok(GeminiAnswer { body: text.clone(), usage: TokenUsage::default(), trace_id: None })
}
