//! Whole answers of Vertex AI on their way to a client of the Gemini API: `citations` becomes
//! `citationSources` (`docs/reference/upstreams.md` 4.1). A client in Vertex mode gets them as they are.

use bytes::Bytes;

use crate::error::Error;
use crate::google::error;
use crate::google::usage::TokenUsage;
use crate::provider::answer::GeminiAnswer;
use crate::provider::code_assist::envelope::{self, Form};

/// An answer to `generateContent`.
pub(crate) fn generated(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let opened = envelope::open_bare(text).map_err(|why| no_answer(text, &why.to_string()))?;
    if let Some(error) = opened.error {
        return Err(error::from_event(&error).into());
    }
    let usage = opened.usage().unwrap_or_default();
    let response = opened.response.ok_or_else(|| no_answer(text, "no answer"))?;
    Ok(GeminiAnswer { body: response.into_bytes(Form::AsWritten), usage, trace_id: None })
}

/// An answer to `countTokens`, which needs no edit.
pub(crate) fn count(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let opened = envelope::open_bare(text).map_err(|why| no_answer(text, &why.to_string()))?;
    if let Some(error) = opened.error {
        return Err(error::from_event(&error).into());
    }
    Ok(GeminiAnswer { body: text.clone(), usage: TokenUsage::default(), trace_id: None })
}

/// The error for what is no answer. It may be a JSON string with Google's reason.
pub(super) fn no_answer(text: &[u8], why: &str) -> Error {
    match error::from_string(text) {
        Ok(error) => error.into(),
        Err(Some(said)) => {
            Error::UpstreamMalformed { what: format!("the answer is only a text, {said:?}") }
        }
        Err(None) => Error::UpstreamMalformed { what: format!("no JSON: {why}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_citations_of_an_answer_get_the_gemini_apis_name_and_nothing_else_is_edited() {
        let text = Bytes::from_static(
            b"{\n  \"candidates\": [{\"citationMetadata\": {\"citations\": [ {\"uri\": \"x\", \"title\": \"\\u00e9\"} ]},\n\
              \"avgLogprobs\": -0.10, \"content\": {\"parts\": [{\"functionCall\": {\"args\": {\"citationMetadata\": {\"citations\": 1}}}}]}}],\n\
              \"usageMetadata\": {\"promptTokenCount\": 5, \"trafficType\": \"ON_DEMAND\"}\n}\n",
        );
        let answer = generated(&text).unwrap();
        let expected = String::from_utf8(text.to_vec()).unwrap();
        let expected = expected.replacen(r#""citations": ["#, r#""citationSources": ["#, 1);
        assert_eq!(answer.body, expected.trim_end());
        assert_eq!((answer.usage.prompt, answer.trace_id), (5, None));
    }

    #[test]
    fn an_answer_without_citations_is_not_copied() {
        let text = Bytes::from_static(br#"{"candidates": [{"content": {}}], "new": 1.0}"#);
        let answer = generated(&text).unwrap();
        assert_eq!(answer.body.as_ptr(), text.as_ptr());
        assert_eq!(answer.body, text);
        let text = Bytes::from_static(b"{\"totalTokens\": 13,\n\"totalBillableCharacters\": 47}\n");
        assert_eq!(count(&text).unwrap().body, text);
    }

    #[test]
    fn an_error_in_an_answer_of_200_is_an_error() {
        let error = r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#;
        for text in [error.to_owned(), format!("[{error}]"), format!("\n [ {error} ] ")] {
            let text = Bytes::from(text);
            for read in [generated, count] {
                assert_eq!(read(&text).unwrap_err().status(), 503);
            }
        }
        for text in ["", "<html>", "[]", "7", "\"why\"", "{} {}"] {
            for read in [generated, count] {
                assert!(read(&Bytes::from(text)).is_err(), "{text:?}");
            }
        }
    }
}
