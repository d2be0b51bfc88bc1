//! What a chat request says of thinking, and in Google's own extension (`docs/reference/dialects.md` 2.3,
//! 2.4).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::openai::values::{effort, invalid, whole_number};
use crate::dialect::translate::draft::{DraftRequest, Thinking};
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::fields::{Word, read_fields};
use crate::error::{Error, Refusal, RefusalCode};

/// What a chat request says of thinking, and in Google's own extension of it.
#[derive(Debug, Default)]
pub(super) struct ThinkingFields<'a> {
    pub(super) reasoning_effort: Option<Cow<'a, str>>,
    pub(super) reasoning: Option<Reasoning<'a>>,
    pub(super) extra_body: Option<ExtraBody<'a>>,
    pub(super) google: Option<Google<'a>>,
}

/// `reasoning`, as OpenRouter has it.
#[derive(Debug, Default)]
pub(super) struct Reasoning<'a> {
    effort: Option<Cow<'a, str>>,
    max_tokens: Option<&'a RawValue>,
    exclude: Option<bool>,
    enabled: Option<bool>,
}

read_fields!(Reasoning {
    "effort" => effort: Word<'de>,
    "max_tokens" => max_tokens: &'de RawValue,
    "exclude" => exclude: bool,
    "enabled" => enabled: bool,
});

/// The object that some clients send, and others put into the request itself.
#[derive(Debug, Default)]
pub(super) struct ExtraBody<'a> {
    google: Option<Google<'a>>,
    unknown: Vec<String>,
}

read_fields!(ExtraBody {
    "google" => google: Google<'de>,
} rest unknown);

/// Google's own extension of chat requests.
#[derive(Debug, Default)]
pub(super) struct Google<'a> {
    thinking_config: Option<&'a RawValue>,
    cached_content: Option<&'a RawValue>,
    safety_settings: Option<&'a RawValue>,
    thought_tag_marker: Option<Cow<'a, str>>,
    unknown: Vec<String>,
}

read_fields!(Google {
    "thinking_config" | "thinkingConfig" => thinking_config: &'de RawValue,
    "cached_content" | "cachedContent" => cached_content: &'de RawValue,
    "safety_settings" | "safetySettings" => safety_settings: &'de RawValue,
    "thought_tag_marker" | "thoughtTagMarker" => thought_tag_marker: Word<'de>,
} rest unknown);

impl<'a> ThinkingFields<'a> {
    /// Writes the thinking, and what else Google's extension holds, into a draft. Returns the
    /// `thought_tag_marker`, which concerns the answer only.
    pub(super) fn write(self, draft: &mut DraftRequest<'a>) -> Result<Option<String>, Error> {
        let Self { reasoning_effort, reasoning, extra_body, google } = self;
        let ExtraBody { google: inner, unknown } = extra_body.unwrap_or_default();
        draft.dropped.extend(unknown.iter().map(|name| format!("extra_body.{name}")));
        // SDKs put the fields of `extra_body` into the request itself: of two the outer one counts.
        let (path, google) = match (google, inner) {
            (Some(google), _) => ("google", google),
            (None, inner) => ("extra_body.google", inner.unwrap_or_default()),
        };
        draft.dropped.extend(google.unknown.iter().map(|name| format!("{path}.{name}")));
        draft.cached_content = google.cached_content;
        draft.safety_settings = google.safety_settings;
        draft.config.thinking = match google.thinking_config {
            None => asked(reasoning_effort.as_deref(), reasoning.as_ref())?,
            Some(config) => {
                if reasoning_effort.is_some() || reasoning.is_some() {
                    let effort =
                        if reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" };
                    let message = "The request also has a `thinking_config`: send one of both.";
                    return Err(Refusal::error(RefusalCode::UnsupportedParameter, effort, message));
                }
                if !config.get().starts_with('{') {
                    let path = format!("{path}.thinking_config");
                    return Err(invalid(path, "The value is not a JSON object."));
                }
                Thinking::Written(config.get().into())
            }
        };
        Ok(google.thought_tag_marker.map(Cow::into_owned))
    }
}

/// The thinking that OpenAI's or OpenRouter's field asks for.
fn asked<'a>(
    outer_effort: Option<&str>,
    reasoning: Option<&Reasoning<'_>>,
) -> Result<Thinking<'a>, Error> {
    let shows = reasoning.and_then(|reasoning| reasoning.exclude) != Some(true);
    if let Some(name) = outer_effort {
        return Ok(Thinking::Effort { effort: effort(name, "reasoning_effort")?, shows });
    }
    let Some(reasoning) = reasoning else { return Ok(Thinking::Unset) };
    if reasoning.enabled == Some(false) {
        return Ok(Thinking::Effort { effort: Effort::None, shows });
    }
    if let Some(tokens) = whole_number(reasoning.max_tokens, -1..=i64::MAX, "reasoning.max_tokens")?
    {
        return Ok(Thinking::Budget { tokens, shows });
    }
    match reasoning.effort.as_deref() {
        Some(name) => Ok(Thinking::Effort { effort: effort(name, "reasoning.effort")?, shows }),
        None if reasoning.enabled == Some(true) && shows => Ok(Thinking::Shown),
        None => Ok(Thinking::Unset),
    }
}
