//! Requests for legacy completions (`docs/reference/dialects.md` 2.6).

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::dialect::openai::chat::ChatPlan;
use crate::dialect::openai::settings::{Conditional, Settings, StreamOptions};
use crate::dialect::openai::values::{invalid, read_body, whole_number};
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::{DraftRequest, Piece};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::request::{self, Written};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// Reads a request for a legacy completion, and writes it for Gemini.
pub fn read(body: &Bytes, target: &Target) -> Result<(Written, ChatPlan), Error> {
    let request: CompletionRequest<'_> = read_body(body)?;
    let prompt = prompt(request.prompt)?;
    let best_of = whole_number(request.best_of, 1..=i64::MAX, "best_of")?;
    for (path, is_asked) in [
        ("suffix", request.suffix.is_some_and(|suffix| !suffix.is_empty())),
        ("echo", request.echo == Some(true)),
        ("best_of", best_of.is_some_and(|count| count > 1)),
    ] {
        if is_asked {
            return Err(not_taken(path, "The model has no such completion. Leave the field out."));
        }
    }
    let mut draft = DraftRequest {
        pieces: vec![Piece::UserText(prompt.into())],
        config: request.settings.config()?,
        dropped: request.unknown,
        ..DraftRequest::default()
    };
    request.conditional.note_dropped(&mut draft.dropped);
    let written = request::write(draft, target)?;
    let model = request.model.as_deref().unwrap_or_default();
    let plan = ChatPlan {
        plan: AnswerPlan::new(model.into(), false, &written, target),
        include_usage: StreamOptions::include_usage(request.stream_options),
        thought_tag: None,
        legacy_functions: false,
    };
    Ok((written, plan))
}

/// A request for a legacy completion.
#[derive(Debug, Default)]
struct CompletionRequest<'a> {
    model: Option<Cow<'a, str>>,
    prompt: Option<&'a RawValue>,
    suffix: Option<JsonText<'a>>,
    echo: Option<bool>,
    best_of: Option<&'a RawValue>,
    stream_options: Option<StreamOptions>,
    settings: Settings<'a>,
    conditional: Conditional<'a>,
    /// What changes nothing of the answer, or is read elsewhere.
    silent: Option<IgnoredAny>,
    unknown: Vec<String>,
}

read_fields!(CompletionRequest {
    "model" => model: Word<'de>,
    "prompt" => prompt: &'de RawValue,
    "suffix" => suffix: JsonText<'de>,
    "echo" => echo: bool,
    "best_of" => best_of: &'de RawValue,
    "stream_options" => stream_options: StreamOptions,
    "max_tokens" => settings.max_tokens: &'de RawValue,
    "temperature" => settings.temperature: &'de RawValue,
    "top_p" => settings.top_p: &'de RawValue,
    "top_k" => settings.top_k: &'de RawValue,
    "stop" => settings.stop: &'de RawValue,
    "n" => settings.n: &'de RawValue,
    "seed" => settings.seed: &'de RawValue,
    "presence_penalty" => settings.presence_penalty: &'de RawValue,
    "frequency_penalty" => settings.frequency_penalty: &'de RawValue,
    "logit_bias" => conditional.logit_bias: &'de RawValue,
    "stream" | "user" => silent: IgnoredAny,
} rest unknown);

/// The refusal of a field, with another code than that of a value.
fn not_taken(path: &str, message: &str) -> Error {
    Refusal::error(RefusalCode::UnsupportedParameter, path, message)
}

/// The prompt: a text, or a list of one. Lists of token ids mean nothing to Gemini.
fn prompt(prompt: Option<&RawValue>) -> Result<JsonText<'_>, Error> {
    let text = prompt.and_then(|prompt| match prompt.get().starts_with('[') {
        true => {
            let [only] = serde_json::from_str::<[&RawValue; 1]>(prompt.get()).ok()?;
            JsonText::of(only)
        }
        false => JsonText::of(prompt),
    });
    match text {
        Some(text) if text.is_empty() => Err(invalid("prompt", "The prompt is empty.")),
        Some(text) => Ok(text),
        None if prompt.is_none() => Err(invalid("prompt", "The request has no prompt.")),
        None => Err(not_taken("prompt", "The prompt must be one text.")),
    }
}
