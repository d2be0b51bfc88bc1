//! Requests for an answer, and for a count of tokens (`docs/reference/dialects.md` 4.1).

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use super::ResponsesPlan;
use super::echo::Echo;
use super::items::read_input;
use super::tools::{push_tools, read_choice};
use crate::dialect::openai::values::{
    answer_format, effort, invalid, number, read_body, text, whole_number,
};
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::{DraftRequest, FieldPaths, Thinking};
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::request::{self, Written};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// The fields of a request.
#[derive(Debug, Default)]
struct RequestFields<'a> {
    model: Option<Cow<'a, str>>,
    input: Option<&'a RawValue>,
    instructions: Option<JsonText<'a>>,
    max_output_tokens: Option<&'a RawValue>,
    temperature: Option<&'a RawValue>,
    top_p: Option<&'a RawValue>,
    top_logprobs: Option<&'a RawValue>,
    parallel_tool_calls: Option<bool>,
    reasoning: Option<ReasoningFields<'a>>,
    text: Option<TextFields<'a>>,
    tools: Option<Vec<&'a RawValue>>,
    tool_choice: Option<&'a RawValue>,
    include: Option<Vec<JsonText<'a>>>,
    truncation: Option<Cow<'a, str>>,
    max_tool_calls: Option<&'a RawValue>,
    previous_response_id: Option<JsonText<'a>>,
    conversation: Option<&'a RawValue>,
    background: Option<bool>,
    prompt: Option<&'a RawValue>,
    /// What has no meaning for Gemini, and what the proxy reads elsewhere.
    silent: Option<&'a RawValue>,
    unknown: Vec<String>,
}

read_fields!(RequestFields {
    "model" => model: Word<'de>,
    "input" => input: &'de RawValue,
    "instructions" => instructions: JsonText<'de>,
    "max_output_tokens" => max_output_tokens: &'de RawValue,
    "temperature" => temperature: &'de RawValue,
    "top_p" => top_p: &'de RawValue,
    "top_logprobs" => top_logprobs: &'de RawValue,
    "parallel_tool_calls" => parallel_tool_calls: bool,
    "reasoning" => reasoning: ReasoningFields<'de>,
    "text" => text: TextFields<'de>,
    "tools" => tools: Vec<&'de RawValue>,
    "tool_choice" => tool_choice: &'de RawValue,
    "include" => include: Vec<JsonText<'de>>,
    "truncation" => truncation: Word<'de>,
    "max_tool_calls" => max_tool_calls: &'de RawValue,
    "previous_response_id" => previous_response_id: JsonText<'de>,
    "conversation" => conversation: &'de RawValue,
    "background" => background: bool,
    "prompt" => prompt: &'de RawValue,
    "access_programs" | "client_metadata" | "context_management" | "metadata" | "moderation"
        | "prompt_cache_key" | "prompt_cache_options" | "prompt_cache_retention"
        | "safety_identifier" | "service_tier" | "store" | "stream" | "stream_options" | "user"
        => silent: &'de RawValue,
} rest unknown);

/// `reasoning`, with the fields that OpenRouter's clients send.
#[derive(Debug, Default)]
struct ReasoningFields<'a> {
    effort: Option<JsonText<'a>>,
    summary: Option<JsonText<'a>>,
    max_tokens: Option<&'a RawValue>,
    exclude: Option<bool>,
    enabled: Option<bool>,
    unknown: Vec<String>,
}

read_fields!(ReasoningFields {
    "effort" => effort: JsonText<'de>,
    "summary" | "generate_summary" => summary: JsonText<'de>,
    "max_tokens" => max_tokens: &'de RawValue,
    "exclude" => exclude: bool,
    "enabled" => enabled: bool,
} rest unknown);

/// `text`.
#[derive(Debug, Default)]
struct TextFields<'a> {
    format: Option<&'a RawValue>,
    unknown: Vec<String>,
}

read_fields!(TextFields {
    "format" => format: &'de RawValue,
} rest unknown);

/// Reads a request for an answer.
pub fn read(body: &Bytes, target: &Target) -> Result<(Written, ResponsesPlan), Error> {
    let mut draft = DraftRequest::default();
    let fields = read_draft(body, target, &mut draft)?;
    let logprobs = draft.config.logprobs.is_some();
    let written = request::write(draft, target)?;
    let model = fields.model.as_deref().unwrap_or(&target.model);
    let one_call = fields.parallel_tool_calls == Some(false);
    let plan = AnswerPlan::new(model.into(), one_call, &written, target);
    let reasoning = fields.reasoning.as_ref();
    let echo = Echo {
        effort: reasoning.and_then(|reasoning| reasoning.effort),
        format: fields.text.as_ref().and_then(|text| text.format),
        max_output_tokens: fields.max_output_tokens,
        one_call: plan.one_call,
        summary: reasoning.and_then(|reasoning| reasoning.summary),
        temperature: fields.temperature,
        tool_choice: fields.tool_choice,
        top_p: fields.top_p,
    };
    Ok((written, ResponsesPlan { plan, echo: echo.written(), logprobs }))
}

/// Reads a request for a count of tokens (`POST /v1/responses/input_tokens`).
pub fn read_tokens(body: &Bytes, target: &Target) -> Result<Written, Error> {
    let mut draft = DraftRequest::default();
    read_draft(body, target, &mut draft)?;
    request::write_count(draft, target)
}

/// Writes the answer to a request for a count of tokens.
pub fn write_tokens(total: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(80);
    out.put_slice(br#"{"object":"response.input_tokens","input_tokens":"#);
    out.put_slice(total.to_string().as_bytes());
    out.put_u8(b'}');
    out.freeze()
}

fn read_draft<'a>(
    body: &'a [u8],
    target: &Target,
    draft: &mut DraftRequest<'a>,
) -> Result<RequestFields<'a>, Error> {
    let fields: RequestFields<'a> = read_body(body)?;
    refuse(&fields)?;
    draft.dropped.extend(fields.unknown.iter().cloned());
    // The tools have the order of the client's list, and then that of the items.
    push_tools(fields.tools.as_deref().unwrap_or_default(), "tools", draft)?;
    let instructions = text(fields.instructions, || "instructions".to_owned())?;
    draft.system.extend(instructions.filter(|text| !text.is_empty()).map(Into::into));
    let input = fields.input.ok_or_else(|| invalid("input", "The field is missing."))?;
    read_input(input, target, draft)?;
    if draft.pieces.is_empty() && draft.system.is_empty() {
        return Err(invalid("input", "The input is empty."));
    }
    draft.choice = read_choice(fields.tool_choice, &draft.tools)?;
    config(&fields, draft)?;
    if fields.truncation.as_deref().is_some_and(|how| how != "disabled") {
        draft.dropped.push("truncation".to_owned());
    }
    if fields.max_tool_calls.is_some() {
        draft.dropped.push("max_tool_calls".to_owned());
    }
    Ok(fields)
}

/// Refuses what another server would have to keep.
fn refuse(fields: &RequestFields<'_>) -> Result<(), Error> {
    if let Some(id) = fields.previous_response_id {
        let message = format!(
            "Previous response with id '{}' not found. This server keeps no responses: send the \
             whole input, or set store to false.",
            id.decoded()
        );
        let path = "previous_response_id";
        return Err(Refusal::error(RefusalCode::ResponseNotFound, path, message));
    }
    let stateful = [
        ("conversation", fields.conversation.is_some()),
        ("background", fields.background == Some(true)),
        ("prompt", fields.prompt.is_some()),
    ];
    match stateful.iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => {
            let message = format!(
                "This server keeps no conversations, prompts or responses, so `{name}` is not \
                 taken. Leave it out, and send the whole input."
            );
            Err(Refusal::error(RefusalCode::UnsupportedParameter, *name, message))
        }
        None => Ok(()),
    }
}

fn config<'a>(fields: &RequestFields<'a>, draft: &mut DraftRequest<'a>) -> Result<(), Error> {
    let config = &mut draft.config;
    config.paths = FieldPaths::RESPONSES;
    let limit = whole_number(fields.max_output_tokens, 1..=i64::MAX, "max_output_tokens")?;
    config.max_output_tokens = limit.and_then(|limit| u64::try_from(limit).ok());
    config.temperature = number(fields.temperature, "temperature")?;
    config.top_p = number(fields.top_p, "top_p")?;
    let most = whole_number(fields.top_logprobs, 0..=20, "top_logprobs")?;
    let most = most.and_then(|most| u8::try_from(most).ok()).filter(|most| *most > 0);
    let include = fields.include.as_deref().unwrap_or_default();
    let wants_logprobs =
        include.iter().any(|what| what.decoded() == "message.output_text.logprobs");
    config.logprobs = most.or_else(|| wants_logprobs.then_some(0));
    if let Some(text) = &fields.text {
        config.format = answer_format(text.format, "text.format")?;
        draft.dropped.extend(text.unknown.iter().map(|name| format!("text.{name}")));
    }
    if let Some(reasoning) = &fields.reasoning {
        config.thinking = thinking(reasoning)?;
        draft.dropped.extend(reasoning.unknown.iter().map(|name| format!("reasoning.{name}")));
    }
    Ok(())
}

fn thinking<'a>(fields: &ReasoningFields<'a>) -> Result<Thinking<'a>, Error> {
    const EFFORT: &str = "reasoning.effort";
    let effort = match text(fields.effort, || EFFORT.to_owned())? {
        Some(name) => Some(effort(&name.decoded(), EFFORT)?),
        None => (fields.enabled == Some(false)).then_some(Effort::None),
    };
    let tokens = whole_number(fields.max_tokens, -1..=i64::MAX, "reasoning.max_tokens")?;
    let is_shown = fields.exclude != Some(true);
    Ok(match (effort, tokens) {
        (Some(effort), _) => {
            let shows = effort != Effort::None || fields.summary.is_some();
            Thinking::Effort { effort, shows: shows && is_shown }
        }
        (None, Some(tokens)) => Thinking::Budget { tokens, shows: is_shown },
        (None, None) if fields.summary.is_some() && is_shown => Thinking::Shown,
        (None, None) => Thinking::Unset,
    })
}
