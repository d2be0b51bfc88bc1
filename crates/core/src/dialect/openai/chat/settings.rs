//! The settings of a chat request (`docs/reference/dialects.md` 2.3, 2.4).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::openai::values::{
    answer_format, effort, invalid, number, read, text, unsupported, whole_number,
};
use crate::dialect::translate::draft::{DraftConfig, DraftRequest, FieldPaths, Thinking};
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// The settings of a chat request.
#[derive(Debug, Default)]
pub(super) struct Settings<'a> {
    pub(super) max_completion_tokens: Option<&'a RawValue>,
    pub(super) max_tokens: Option<&'a RawValue>,
    pub(super) temperature: Option<&'a RawValue>,
    pub(super) top_p: Option<&'a RawValue>,
    pub(super) top_k: Option<&'a RawValue>,
    pub(super) stop: Option<&'a RawValue>,
    pub(super) n: Option<&'a RawValue>,
    pub(super) seed: Option<&'a RawValue>,
    pub(super) presence_penalty: Option<&'a RawValue>,
    pub(super) frequency_penalty: Option<&'a RawValue>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<&'a RawValue>,
    pub(super) response_format: Option<&'a RawValue>,
    pub(super) modalities: Option<&'a RawValue>,
    pub(super) image_config: Option<ImageConfig<'a>>,
}

/// `image_config`, as OpenRouter has it.
#[derive(Debug, Default)]
pub(super) struct ImageConfig<'a> {
    aspect_ratio: Option<&'a RawValue>,
    image_size: Option<&'a RawValue>,
}

read_fields!(ImageConfig {
    "aspect_ratio" | "aspectRatio" => aspect_ratio: &'de RawValue,
    "image_size" | "imageSize" => image_size: &'de RawValue,
});

impl<'a> Settings<'a> {
    /// What becomes `generationConfig`, but for the thinking.
    pub(super) fn config(self) -> Result<DraftConfig<'a>, Error> {
        let tokens = |value, path| whole_number(value, 1..=i64::MAX, path);
        let max_output_tokens = match tokens(self.max_completion_tokens, "max_completion_tokens")? {
            Some(most) => Some(most),
            None => tokens(self.max_tokens, "max_tokens")?,
        };
        Ok(DraftConfig {
            max_output_tokens: max_output_tokens.map(i64::unsigned_abs),
            temperature: number(self.temperature, "temperature")?,
            top_p: number(self.top_p, "top_p")?,
            top_k: number(self.top_k, "top_k")?,
            stop: stop(self.stop)?,
            candidates: candidates(self.n)?,
            seed: whole_number(self.seed, i64::MIN..=i64::MAX, "seed")?,
            presence_penalty: number(self.presence_penalty, "presence_penalty")?,
            frequency_penalty: number(self.frequency_penalty, "frequency_penalty")?,
            logprobs: logprobs(self.logprobs, self.top_logprobs)?,
            format: answer_format(self.response_format, FieldPaths::CHAT.format)?,
            thinking: Thinking::Unset,
            wants_image: wants_image(self.modalities)?,
            image_config: self.image_config.map(|image| (image.aspect_ratio, image.image_size)),
            paths: FieldPaths::CHAT,
        })
    }
}

/// `stop`: a text, or several.
fn stop<'a>(stop: Option<&'a RawValue>) -> Result<Vec<Text<'a>>, Error> {
    let Some(stop) = stop else { return Ok(Vec::new()) };
    if let Some(text) = JsonText::of(stop) {
        return Ok(vec![text.into()]);
    }
    let stops: Vec<JsonText<'a>> = read(stop, || "stop".to_owned())?;
    let stops = stops.into_iter().enumerate();
    let stops = stops
        .map(|(index, stop)| Ok(text(Some(stop), || format!("stop[{index}]"))?.map(Text::Json)));
    stops.filter_map(Result::transpose).collect()
}

/// Gemini gives at most so many answers to a request.
const MOST_CANDIDATES: u8 = 8;

fn candidates(n: Option<&RawValue>) -> Result<Option<u8>, Error> {
    let Some(n) = whole_number(n, 1..=i64::MAX, "n")? else { return Ok(None) };
    match u8::try_from(n) {
        Ok(n) if n <= MOST_CANDIDATES => Ok((n > 1).then_some(n)),
        _ => Err(unsupported("n", format!("At most {MOST_CANDIDATES} answers can be given."))),
    }
}

fn logprobs(wanted: Option<bool>, most: Option<&RawValue>) -> Result<Option<u8>, Error> {
    let most = whole_number(most, 0..=20, "top_logprobs")?;
    let most = most.and_then(|most| u8::try_from(most).ok());
    Ok(match wanted {
        Some(true) => Some(most.unwrap_or_default()),
        Some(false) => None,
        None => most,
    })
}

fn wants_image(modalities: Option<&RawValue>) -> Result<bool, Error> {
    let Some(modalities) = modalities else { return Ok(false) };
    let modalities: Vec<Word<'_>> = read(modalities, || "modalities".to_owned())?;
    let mut wants_image = false;
    for (index, modality) in modalities.iter().enumerate() {
        match modality.as_ref() {
            "text" => {}
            "image" => wants_image = true,
            _ => {
                let message = "Answers are texts and images. Leave `modalities` out.";
                return Err(unsupported(format!("modalities[{index}]"), message));
            }
        }
    }
    Ok(wants_image)
}

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

/// `thinkingConfig`, as far as it concerns the answer.
#[derive(Debug, Default)]
struct ThinkingConfig<'a> {
    include_thoughts: Option<&'a RawValue>,
}

read_fields!(ThinkingConfig {
    "includeThoughts" | "include_thoughts" => include_thoughts: &'de RawValue,
});

/// What the answer needs to know of the thinking.
#[derive(Debug)]
pub(super) struct Thoughts {
    /// The client has asked to see them.
    pub(super) are_shown: bool,
    /// `thought_tag_marker`.
    pub(super) tag: Option<String>,
}

impl<'a> ThinkingFields<'a> {
    /// Writes the thinking, and what else Google's extension holds, into a draft.
    pub(super) fn write(self, draft: &mut DraftRequest<'a>) -> Result<Thoughts, Error> {
        let Self { reasoning_effort, reasoning, extra_body, google } = self;
        let ExtraBody { google: inner, unknown } = extra_body.unwrap_or_default();
        draft.dropped.extend(unknown.iter().map(|name| format!("extra_body.{name}")));
        // Where both are there, the outer one was put there by the client's own hand.
        let (path, google) = match (google, inner) {
            (Some(google), _) => ("google", google),
            (None, inner) => ("extra_body.google", inner.unwrap_or_default()),
        };
        draft.dropped.extend(google.unknown.iter().map(|name| format!("{path}.{name}")));
        draft.cached_content = google.cached_content;
        draft.safety_settings = google.safety_settings;
        let thinking = match google.thinking_config {
            None => asked(reasoning_effort.as_deref(), reasoning.as_ref())?,
            Some(config) => {
                if reasoning_effort.is_some() || reasoning.is_some() {
                    let effort =
                        if reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" };
                    let message = "The request also has a `thinking_config`: send one of both.";
                    return Err(invalid(effort, message));
                }
                if !config.get().starts_with('{') {
                    let path = format!("{path}.thinking_config");
                    return Err(invalid(path, "The value is not a JSON object."));
                }
                Thinking::Written(config.get().into())
            }
        };
        let are_shown = match &thinking {
            Thinking::Unset => false,
            Thinking::Shown => true,
            Thinking::Effort { effort, shows } => *shows && *effort != Effort::None,
            Thinking::Budget { tokens, shows } => *shows && *tokens != 0,
            Thinking::Written(config) => {
                let config: ThinkingConfig<'_> = serde_json::from_str(config).unwrap_or_default();
                config.include_thoughts.is_some_and(|value| value.get() == "true")
            }
        };
        draft.config.thinking = thinking;
        Ok(Thoughts { are_shown, tag: google.thought_tag_marker.map(Cow::into_owned) })
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
    if let Some(tokens) = whole_number(reasoning.max_tokens, 0..=i64::MAX, "reasoning.max_tokens")?
    {
        return Ok(Thinking::Budget { tokens, shows });
    }
    match reasoning.effort.as_deref() {
        Some(name) => Ok(Thinking::Effort { effort: effort(name, "reasoning.effort")?, shows }),
        None if reasoning.enabled == Some(true) && shows => Ok(Thinking::Shown),
        None => Ok(Thinking::Unset),
    }
}
