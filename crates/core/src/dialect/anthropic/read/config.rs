//! How the answer is made: sampling, limits, form and thinking (`docs/reference/dialects.md` 5.1, 5.4).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::path::Path;
use super::{Purpose, Request};
use crate::dialect::translate::draft::{AnswerFormat, DraftRequest, Thinking};
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::target::Target;
use crate::error::Error;

/// Reads what becomes `generationConfig`. True if the client has asked for thinking.
pub(super) fn read<'a>(
    request: &Request<'a>,
    target: &Target,
    purpose: Purpose,
    draft: &mut DraftRequest<'a>,
) -> Result<bool, Error> {
    let output = match request.output_config {
        Some(output) => OUTPUT.object(output)?,
        None => OutputConfig::default(),
    };
    draft.config.max_output_tokens = match request.max_tokens {
        Some(tokens) => Some(max_tokens(tokens)?),
        None if purpose == Purpose::Count => None,
        None => return Err(MAX_TOKENS.required()),
    };
    draft.config.temperature = number(request.temperature, "temperature")?;
    draft.config.top_p = number(request.top_p, "top_p")?;
    draft.config.top_k = number(request.top_k, "top_k")?;
    if let Some(stop) = request.stop_sequences {
        let path = Path::root("stop_sequences");
        let stop: Vec<&RawValue> = serde_json::from_str(stop.get())
            .map_err(|_| path.invalid("This must be an array of strings."))?;
        for (at, stop) in stop.into_iter().enumerate() {
            draft.config.stop.push(path.item(at).text(stop)?.into());
        }
    }
    draft.config.format = match (output.format, request.output_format) {
        (Some(format), _) => answer_format(format, "output_config.format", draft)?,
        (None, Some(format)) => answer_format(format, "output_format", draft)?,
        (None, None) => AnswerFormat::Text,
    };
    let (thinking, is_asked_for) = thinking(request, output.effort, target, &mut draft.dropped)?;
    draft.config.thinking = thinking;
    Ok(is_asked_for)
}

const OUTPUT: Path<'static> = Path::root("output_config");
const MAX_TOKENS: Path<'static> = Path::root("max_tokens");
const THINKING: Path<'static> = Path::root("thinking");

#[derive(Default, Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
}

/// The limit of tokens. Gemini has no answer without any, as a request that warms a cache wants it.
fn max_tokens(tokens: &RawValue) -> Result<u64, Error> {
    let tokens: u64 = serde_json::from_str(tokens.get())
        .map_err(|_| MAX_TOKENS.invalid("This must be a whole number of at least 0."))?;
    Ok(tokens.max(1))
}

fn number<'a>(
    value: Option<&'a RawValue>,
    name: &'static str,
) -> Result<Option<&'a RawValue>, Error> {
    let is_number = |value: &RawValue| {
        value.get().bytes().next().is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
    };
    match value {
        Some(value) if !is_number(value) => Err(Path::root(name).invalid("This must be a number.")),
        value => Ok(value),
    }
}

#[derive(Deserialize)]
struct FormatFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

fn answer_format<'a>(
    format: &'a RawValue,
    name: &'static str,
    draft: &mut DraftRequest<'a>,
) -> Result<AnswerFormat<'a>, Error> {
    let path = Path::root(name);
    let fields: FormatFields<'_> = path.object(format)?;
    let kind = path.field("type").required_text(fields.kind)?.decoded();
    match (&*kind, fields.schema) {
        ("json_schema", Some(schema)) => Ok(AnswerFormat::Schema(schema, name)),
        ("json_schema", None) => Err(path.field("schema").required()),
        ("text", _) => Ok(AnswerFormat::Text),
        _ => {
            draft.dropped.push(name.to_owned());
            Ok(AnswerFormat::Text)
        }
    }
}

#[derive(Deserialize)]
struct ThinkingFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    budget_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    display: Option<&'a RawValue>,
}

fn thinking<'a>(
    request: &Request<'_>,
    effort: Option<&RawValue>,
    target: &Target,
    dropped: &mut Vec<String>,
) -> Result<(Thinking<'a>, bool), Error> {
    let path = OUTPUT.field("effort");
    let effort = match effort {
        Some(effort) => {
            let name = path.text(effort)?.decoded();
            let effort = Effort::named(&name).ok_or_else(|| {
                path.unsupported(format!("The effort `{name}` is not known here. Leave it out."))
            })?;
            Some(effort)
        }
        None => None,
    };
    let Some(thinking) = request.thinking else {
        // Without thinking an effort says how long the answer is, which Gemini has no setting for.
        dropped.extend(effort.map(|_| path.to_string()));
        return Ok((Thinking::Unset, false));
    };
    let fields: ThinkingFields<'_> = THINKING.object(thinking)?;
    let shows = match fields.display {
        Some(display) => THINKING.field("display").text(display)?.decoded() != "omitted",
        None => true,
    };
    let kind = THINKING.field("type").required_text(fields.kind)?.decoded();
    let thinking = match (&*kind, effort) {
        ("disabled", _) => {
            return Ok((Thinking::Effort { effort: Effort::None, shows: false }, false));
        }
        ("enabled", effort) => {
            dropped.extend(effort.map(|_| path.to_string()));
            Thinking::Budget { tokens: budget(fields.budget_tokens)?, shows }
        }
        ("adaptive" | "between_tools", Some(effort)) => Thinking::Effort { effort, shows },
        ("adaptive" | "between_tools", None) => match (target.family.generation, shows) {
            (Some((2, 5)), shows) => Thinking::Budget { tokens: MODEL_DECIDES, shows },
            (_, true) => Thinking::Shown,
            (_, false) => Thinking::Unset,
        },
        _ => {
            dropped.push("thinking".to_owned());
            return Ok((Thinking::Unset, false));
        }
    };
    Ok((thinking, true))
}

/// The budget with which a model decides by itself.
const MODEL_DECIDES: i64 = -1;

fn budget(tokens: Option<&RawValue>) -> Result<i64, Error> {
    let path = THINKING.field("budget_tokens");
    let tokens = tokens.ok_or_else(|| path.required())?;
    let tokens: Option<u32> = serde_json::from_str(tokens.get()).ok();
    tokens.map(i64::from).ok_or_else(|| path.invalid("This must be a whole number of at least 0."))
}
