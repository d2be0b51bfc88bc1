//! What kinds of parts become which pieces.

use crate::dialect::translate::part::{Candidate, Part};
use crate::dialect::translate::text::JsonText;

/// True if the first thing that the client gets of a candidate is a call.
pub(super) fn begins_with_call(candidate: &Candidate<'_>) -> bool {
    let shows = |part: &&Part<'_>| {
        part.function_call.is_some() || part.text.is_some_and(|text| !text.is_empty())
    };
    candidate.parts().iter().find(shows).is_some_and(|part| part.function_call.is_some())
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
