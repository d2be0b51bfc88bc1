//! What kinds of parts become which pieces.

use serde::Deserialize;

use crate::dialect::translate::part::{Blob, Candidate, Part};
use crate::dialect::translate::text::JsonText;

/// The arguments of a call of a custom tool.
#[derive(Deserialize)]
pub(super) struct CustomInput<'a> {
    #[serde(borrow)]
    pub(super) input: JsonText<'a>,
}

pub(super) fn parts<'a, 'b>(candidate: &'b Candidate<'a>) -> &'b [Part<'a>] {
    let content = candidate.content.as_ref();
    content.and_then(|content| content.parts.as_deref()).unwrap_or_default()
}

/// True for a part that an answer consists of. A thought is none.
pub(super) fn is_product(part: &Part<'_>) -> bool {
    let text = part.text.filter(|text| text.is_string() && !text.is_empty());
    text.is_some_and(|_| part.thought != Some(true))
        || part.function_call.is_some()
        || part.inline_data.as_ref().and_then(image).is_some()
        || code(part).is_some()
}

pub(super) fn begins_with_call(candidate: &Candidate<'_>) -> bool {
    let shows = |part: &&Part<'_>| {
        part.function_call.is_some() || part.text.is_some_and(|text| !text.is_empty())
    };
    parts(candidate).iter().find(shows).is_some_and(|part| part.function_call.is_some())
}

/// The type and data of an image. Other data have no form in a chat's answer.
pub(super) fn image<'a, 'b>(blob: &'b Blob<'a>) -> Option<(&'b str, JsonText<'a>)> {
    let mime = blob.mime_type.as_deref().filter(|mime| mime.starts_with("image/"))?;
    Some((mime, blob.data.filter(|data| data.is_string())?))
}

/// The first line of a fenced block, and what is in it.
pub(super) fn code<'a>(part: &Part<'a>) -> Option<(&'static str, JsonText<'a>)> {
    let is_string = |text: &JsonText<'a>| text.is_string();
    if let Some(code) = &part.executable_code {
        let info = match code.language.as_deref() {
            Some("PYTHON") => r"\n```python\n",
            _ => r"\n```\n",
        };
        return Some((info, code.code.filter(is_string)?));
    }
    let result = part.code_execution_result.as_ref()?;
    Some((r"\n```output\n", result.output.filter(is_string)?))
}

/// The end of a fenced block.
pub(super) const FENCE_END: &str = r"\n```\n";
