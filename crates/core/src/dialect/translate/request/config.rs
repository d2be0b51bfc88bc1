//! `generationConfig` (`docs/reference/dialects.md` 2.3).

use bytes::BufMut;
use serde_json::value::RawValue;

use super::super::draft::{AnswerFormat, DraftConfig, FieldPaths};
use super::super::effort::thinking_config;
use super::super::schema::{self, SchemaPlace};
use super::super::target::Target;
use super::members::Members;
use super::parts::push_text;
use crate::error::{Error, Refusal, RefusalCode};
use crate::google::ProviderKind;

/// Gemini refuses more stop sequences.
const MOST_STOPS: usize = 5;
/// Gemini's seeds are signed numbers of 32 bits.
const SEEDS: i64 = 1 << 31;

/// Writes `generationConfig`. The paths of what is left out go to `dropped`.
pub(super) fn write(
    config: &DraftConfig<'_>,
    target: &Target,
    has_functions: bool,
    dropped: &mut Vec<String>,
    request: &mut Members<'_>,
) -> Result<(), Error> {
    let format = Format::of(&config.format, config.paths, target, has_functions, dropped)?;
    request.object("generationConfig", |members| {
        if let Some(tokens) = config.max_output_tokens {
            number(members, "maxOutputTokens", tokens.min(u64::from(target.output_limit)));
        }
        raw(members, "temperature", config.temperature);
        raw(members, "topP", config.top_p);
        raw(members, "topK", config.top_k);
        stops(config, dropped, members);
        if let Some(count) = config.candidates.filter(|count| *count != 1) {
            number(members, "candidateCount", count);
        }
        if let Some(seed) = config.seed {
            number(members, "seed", seed.rem_euclid(SEEDS));
        }
        penalties(config, target, dropped, members);
        if let Some(count) = config.logprobs {
            members.written("responseLogprobs", "true");
            if count > 0 {
                number(members, "logprobs", count);
            }
        }
        format.write(members);
        if let Some(thinking) = thinking_config(&config.thinking, target.family) {
            members.written("thinkingConfig", &thinking);
        }
        if config.wants_image {
            members.written("responseModalities", r#"["TEXT","IMAGE"]"#);
        }
        // All three providers know it; Code Assist obeys it though its own client does not send it.
        if let Some((ratio, size)) = config.image_config {
            members.object("imageConfig", |image| {
                raw(image, "aspectRatio", ratio);
                raw(image, "imageSize", size);
            });
        }
    });
    Ok(())
}

fn number(members: &mut Members<'_>, key: &'static str, value: impl std::fmt::Display) {
    members.written(key, &value.to_string());
}

fn raw(members: &mut Members<'_>, key: &'static str, value: Option<&RawValue>) {
    if let Some(value) = value.filter(|value| value.get() != "null") {
        members.written(key, value.get());
    }
}

fn stops(config: &DraftConfig<'_>, dropped: &mut Vec<String>, members: &mut Members<'_>) {
    let mut stops = config.stop.iter().filter(|stop| !stop.is_empty()).enumerate().peekable();
    if stops.peek().is_none() {
        return;
    }
    let out = members.key("stopSequences");
    out.put_u8(b'[');
    for (number, stop) in stops.by_ref().take(MOST_STOPS) {
        if number > 0 {
            out.put_u8(b',');
        }
        push_text(stop, out);
    }
    out.put_u8(b']');
    if stops.next().is_some() {
        dropped.push(config.paths.stop.to_owned());
    }
}

/// Writes the penalties, which Gemini 3, and Gemini 2.5 in the public API, refuse.
fn penalties(
    config: &DraftConfig<'_>,
    target: &Target,
    dropped: &mut Vec<String>,
    members: &mut Members<'_>,
) {
    let is_refused = target.family.is_gemini_3()
        || target.family.is_at_least(2, 5) && target.provider == ProviderKind::GeminiApi;
    for (key, path, penalty) in [
        ("presencePenalty", "presence_penalty", config.presence_penalty),
        ("frequencyPenalty", "frequency_penalty", config.frequency_penalty),
    ] {
        let Some(penalty) = penalty.filter(|penalty| !is_zero(penalty)) else { continue };
        if is_refused {
            dropped.push(path.to_owned());
        } else {
            raw(members, key, Some(penalty));
        }
    }
}

/// True for zero, however it is written, and for `null`.
fn is_zero(number: &RawValue) -> bool {
    number.get() == "null" || number.get().parse::<f64>() == Ok(0.0)
}

/// The form of the answer's text, as it is written.
enum Format<'d> {
    Text,
    Json,
    Schema(std::borrow::Cow<'d, str>),
}

impl<'d> Format<'d> {
    fn of(
        format: &AnswerFormat<'d>,
        paths: FieldPaths,
        target: &Target,
        has_functions: bool,
        dropped: &mut Vec<String>,
    ) -> Result<Self, Error> {
        // Before Gemini 3, JSON with functions is refused. The functions are what an agent needs.
        let is_refused = has_functions && !target.family.is_gemini_3();
        let (schema, path) = match format {
            AnswerFormat::Text => return Ok(Self::Text),
            AnswerFormat::Json => (None, paths.format),
            AnswerFormat::Schema(schema, path) => (Some(*schema), *path),
        };
        if is_refused {
            dropped.push(path.to_owned());
            return Ok(Self::Text);
        }
        let Some(schema) = schema.filter(|schema| schema.get() != "null") else {
            return Ok(Self::Json);
        };
        let repaired = schema::repair(schema, SchemaPlace::Answer).map_err(|error| {
            let message = format!("The answer's schema cannot be sent: {error}.");
            Refusal::error(RefusalCode::InvalidValue, path, message)
        })?;
        Ok(Self::Schema(repaired))
    }

    fn write(&self, members: &mut Members<'_>) {
        if !matches!(self, Self::Text) {
            members.written("responseMimeType", r#""application/json""#);
        }
        if let Self::Schema(schema) = self {
            members.written("responseJsonSchema", schema);
        }
    }
}
