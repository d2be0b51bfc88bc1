//! Whole answers of Code Assist on their way to Gemini's form.

use bytes::Bytes;

use super::envelope::{self, Form};
use crate::error::Error;
use crate::google::error;
use crate::google::usage::TokenUsage;
use crate::provider::answer::GeminiAnswer;

/// An answer to `generateContent`, taken out of its wrapper.
pub(crate) fn generated(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let opened =
        envelope::open(text, None).map_err(|why| no_object(text, &format!("no JSON: {why}")))?;
    if let Some(error) = opened.error {
        return Err(error::from_event(&error).into());
    }
    let usage = opened.usage().unwrap_or_default();
    let trace_id = opened.trace_id;
    let what = if opened.unwrapped { UNWRAPPED } else { "the answer has no `response`" };
    let malformed = || Error::UpstreamMalformed { what: what.to_owned() };
    let response = opened.response.ok_or_else(malformed)?;
    Ok(GeminiAnswer { body: response.into_bytes(Form::AsWritten), usage, trace_id })
}

/// An answer to `countTokens`, which has no wrapper.
pub(crate) fn count(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let count = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text);
    if count.as_ref().map_or(true, |count| count.contains_key("error"))
        && let Ok(envelope::Opened { error: Some(error), .. }) = envelope::open(text, None)
    {
        return Err(error::from_event(&error).into());
    }
    if count.is_err() {
        return Err(no_object(text, "the count is no JSON object"));
    }
    Ok(GeminiAnswer { body: text.clone(), usage: TokenUsage::default(), trace_id: None })
}

/// The error for an answer that is no JSON object. It may be a JSON string with upstream's reason.
fn no_object(text: &[u8], why: &str) -> Error {
    match error::from_string(text) {
        Ok(error) => error.into(),
        Err(Some(said)) => {
            Error::UpstreamMalformed { what: format!("the answer is only a text, {said:?}") }
        }
        Err(None) => Error::UpstreamMalformed { what: why.to_owned() },
    }
}

/// What is wrong with the answer of another API.
pub(super) const UNWRAPPED: &str = "the answer is not in Code Assist's wrapper, so CODE_ASSIST_ENDPOINT may \
                                    name another API";
