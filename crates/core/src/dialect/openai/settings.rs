//! The settings of chat requests and of legacy completions (`docs/reference/dialects.md` 2.3, 2.5).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::values::{answer_format, number, read, seed, text, unsupported, whole_number};
use crate::dialect::translate::draft::{DraftConfig, FieldPaths, Thinking};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// The settings of a request.
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
            seed: seed(self.seed, "seed")?,
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
    let Some(n) = whole_number(n, i64::MIN..=i64::MAX, "n")? else { return Ok(None) };
    match u8::try_from(n) {
        Ok(n @ 1..=MOST_CANDIDATES) => Ok((n > 1).then_some(n)),
        _ => Err(unsupported("n", format!("From 1 to {MOST_CANDIDATES} answers can be given."))),
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

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

impl StreamOptions {
    /// True if a stream must end with its token counts.
    pub(super) fn include_usage(this: Option<Self>) -> bool {
        this.and_then(|options| options.include_usage).unwrap_or_default()
    }
}

/// Fields that are named as left out only with some values.
#[derive(Debug, Default)]
pub(super) struct Conditional<'a> {
    pub(super) logit_bias: Option<&'a RawValue>,
    pub(super) service_tier: Option<&'a RawValue>,
    pub(super) store: Option<&'a RawValue>,
}

impl Conditional<'_> {
    /// Notes those whose value would have changed something.
    pub(super) fn note_dropped(&self, dropped: &mut Vec<String>) {
        let is_other = |value: Option<&RawValue>, usual: &[&str]| {
            value.is_some_and(|value| !usual.contains(&value.get()))
        };
        let has_bias = self.logit_bias.is_some_and(|bias| {
            bias.get()
                .bytes()
                .any(|byte| !matches!(byte, b'{' | b'}') && !byte.is_ascii_whitespace())
        });
        for (name, is_dropped) in [
            ("logit_bias", has_bias),
            ("service_tier", is_other(self.service_tier, &[r#""auto""#, r#""default""#])),
            ("store", is_other(self.store, &["false"])),
        ] {
            if is_dropped {
                dropped.push(name.to_owned());
            }
        }
    }
}
