//! Requests for an answer, and for a count of tokens (`docs/reference/dialects.md` 4.1).

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use super::ResponsesPlan;
use super::echo::Echo;
use super::fields::{Members, number, read_as};
use super::items::read_input;
use super::tools::ToolReader;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::{AnswerFormat, DraftRequest, FieldPaths, Thinking};
use crate::dialect::translate::effort::Effort;
use crate::dialect::translate::request::{self, Written};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::{Error, Refusal, RefusalCode};

/// Reads a request for an answer.
pub fn read(body: &Bytes, target: &Target) -> Result<(Written, ResponsesPlan), Error> {
    let mut reader = Reader::new(target);
    reader.body(body)?;
    let Reader { draft, echo, model, one_call, logprobs, .. } = reader;
    let shows_thoughts = match draft.config.thinking {
        Thinking::Effort { shows, .. } | Thinking::Budget { shows, .. } => shows,
        Thinking::Shown => true,
        Thinking::Unset | Thinking::Written(_) => false,
    };
    let echo = echo.written();
    let model = model.map_or_else(|| target.model.clone(), |model| model.decoded().into());
    let written = request::write(draft, target)?;
    let plan = AnswerPlan {
        model,
        names: written.names.clone(),
        one_call,
        provider: target.provider,
        shows_thoughts,
    };
    Ok((written, ResponsesPlan { plan, echo, logprobs }))
}

/// Reads a request for a count of tokens (`POST /v1/responses/input_tokens`).
pub fn read_tokens(body: &Bytes, target: &Target) -> Result<Written, Error> {
    let mut reader = Reader::new(target);
    reader.body(body)?;
    request::write_count(reader.draft, target)
}

/// Writes the answer to a request for a count of tokens.
pub fn write_tokens(total: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(80);
    out.put_slice(br#"{"object":"response.input_tokens","input_tokens":"#);
    out.put_slice(total.to_string().as_bytes());
    out.put_u8(b'}');
    out.freeze()
}

struct Reader<'r, 'a> {
    target: &'r Target,
    draft: DraftRequest<'a>,
    echo: Echo<'a>,
    model: Option<JsonText<'a>>,
    one_call: bool,
    logprobs: bool,
    top_logprobs: Option<u8>,
}

impl<'r, 'a> Reader<'r, 'a> {
    fn new(target: &'r Target) -> Self {
        let mut draft = DraftRequest::default();
        draft.config.paths = FieldPaths::RESPONSES;
        Self {
            target,
            draft,
            echo: Echo::default(),
            model: None,
            one_call: false,
            logprobs: false,
            top_logprobs: None,
        }
    }

    fn body(&mut self, body: &'a [u8]) -> Result<(), Error> {
        let members: Members<'a> = serde_json::from_slice(body)
            .map_err(|error| Error::MalformedJson { detail: error.to_string() })?;
        let mut tools = ToolReader::default();
        // Instructions are before the instructions in `input`, and `tools` before those.
        if let Some(instructions) = members.get("instructions") {
            self.instructions(instructions)?;
        }
        if let Some(list) = members.get("tools") {
            tools.read(list, "tools", &mut self.draft)?;
        }
        for (name, value) in members.iter() {
            self.field(name, value, &mut tools)?;
        }
        if self.draft.pieces.is_empty() && self.draft.system.is_empty() {
            return Err(invalid("input", "The request has no `input`."));
        }
        if let Some(choice) = members.get("tool_choice") {
            tools.choice(choice, &mut self.draft)?;
            self.echo.tool_choice = Some(choice);
        }
        if self.logprobs || self.top_logprobs.is_some() {
            self.logprobs = true;
            self.draft.config.logprobs = Some(self.top_logprobs.unwrap_or_default());
        }
        Ok(())
    }

    fn field(
        &mut self,
        name: &str,
        value: &'a RawValue,
        tools: &mut ToolReader<'a>,
    ) -> Result<(), Error> {
        let config = &mut self.draft.config;
        match name {
            "input" => read_input(value, self.target, &mut self.draft, tools)?,
            "model" => self.model = JsonText::of(value),
            "max_output_tokens" => {
                config.max_output_tokens = Some(read_as(value, name, "a whole number")?);
                self.echo.max_output_tokens = Some(value);
            }
            "temperature" => {
                config.temperature = Some(number(value, name)?);
                self.echo.temperature = Some(value);
            }
            "top_p" => {
                config.top_p = Some(number(value, name)?);
                self.echo.top_p = Some(value);
            }
            "top_logprobs" => {
                let most = read_as::<u8>(value, name, "a whole number up to 20")?;
                self.top_logprobs = (most > 0).then_some(most);
            }
            "parallel_tool_calls" => {
                self.one_call = value.get() == "false";
                self.echo.one_call = self.one_call;
            }
            "reasoning" => self.reasoning(value)?,
            "text" => self.text(value)?,
            "include" => {
                let include: Vec<JsonText<'a>> = read_as(value, name, "a list of strings")?;
                self.logprobs |=
                    include.iter().any(|what| what.decoded() == "message.output_text.logprobs");
            }
            "truncation" if value.get() == "\"disabled\"" => {}
            "previous_response_id" => {
                let id = JsonText::of(value).map(JsonText::decoded).unwrap_or_default();
                let message = format!(
                    "Previous response with id '{id}' not found. This server keeps no responses: \
                     send the whole input, or set store to false."
                );
                return Err(Refusal::error(RefusalCode::ResponseNotFound, name, message));
            }
            "background" if value.get() != "true" => {}
            "conversation" | "background" | "prompt" => {
                let message = format!(
                    "`{name}` needs a server that keeps responses and prompts, and this one keeps \
                     none. Leave it out, and send the whole input."
                );
                return Err(Refusal::error(RefusalCode::UnsupportedParameter, name, message));
            }
            // They are read apart, or have no meaning for Gemini (2.5, 4.1).
            "access_programs"
            | "client_metadata"
            | "context_management"
            | "instructions"
            | "metadata"
            | "moderation"
            | "prompt_cache_key"
            | "prompt_cache_options"
            | "prompt_cache_retention"
            | "safety_identifier"
            | "service_tier"
            | "store"
            | "stream"
            | "stream_options"
            | "tool_choice"
            | "tools"
            | "user" => {}
            _ => self.draft.dropped.push(name.to_owned()),
        }
        Ok(())
    }

    fn instructions(&mut self, value: &'a RawValue) -> Result<(), Error> {
        let Some(text) = JsonText::of(value) else {
            return Err(invalid("instructions", "The value must be a string."));
        };
        if !text.is_empty() {
            self.draft.system.push(Text::Json(text));
        }
        Ok(())
    }

    fn reasoning(&mut self, value: &'a RawValue) -> Result<(), Error> {
        let fields: Members<'a> = read_as(value, "reasoning", "an object")?;
        let effort = match fields.word("effort") {
            Some(effort) => Some(Effort::named(&effort).ok_or_else(|| {
                let message = format!(
                    "There is no effort {effort:?}: it is `none`, `minimal`, `low`, `medium`, `high` \
                     or `xhigh`."
                );
                Refusal::error(RefusalCode::UnsupportedValue, "reasoning.effort", message)
            })?),
            None if fields.get("enabled").is_some_and(|is| is.get() == "false") => {
                Some(Effort::None)
            }
            None => None,
        };
        let summary = fields.text("summary").or_else(|| fields.text("generate_summary"));
        let is_hidden = fields.is_true("exclude");
        self.draft.config.thinking = match (effort, fields.get("max_tokens")) {
            (Some(effort), _) => {
                let shows = (summary.is_some() || effort != Effort::None) && !is_hidden;
                Thinking::Effort { effort, shows }
            }
            (None, Some(tokens)) => Thinking::Budget {
                tokens: read_as(tokens, "reasoning.max_tokens", "a whole number")?,
                shows: !is_hidden,
            },
            (None, None) if summary.is_some() && !is_hidden => Thinking::Shown,
            (None, None) => Thinking::Unset,
        };
        self.echo.effort = fields.text("effort");
        self.echo.summary = summary;
        Ok(())
    }

    fn text(&mut self, value: &'a RawValue) -> Result<(), Error> {
        let fields: Members<'a> = read_as(value, "text", "an object")?;
        for (name, value) in fields.iter() {
            if name == "format" {
                self.draft.config.format = self.format(value)?;
                self.echo.format = Some(value);
            } else {
                self.draft.dropped.push(format!("text.{name}"));
            }
        }
        Ok(())
    }

    fn format(&self, value: &'a RawValue) -> Result<AnswerFormat<'a>, Error> {
        let fields: Members<'a> = read_as(value, "text.format", "an object")?;
        Ok(match fields.word("type").as_deref().unwrap_or("text") {
            "text" => AnswerFormat::Text,
            "json_object" => AnswerFormat::Json,
            "json_schema" => {
                // Chat Completions has one more level.
                let nested = match fields.get("json_schema") {
                    Some(nested) => read_as(nested, "text.format", "an object")?,
                    None => fields,
                };
                nested.get("schema").map_or(AnswerFormat::Json, |schema| {
                    AnswerFormat::Schema(schema, "text.format.schema")
                })
            }
            kind => {
                let message = format!("There is no format {kind:?} here.");
                let code = RefusalCode::UnsupportedValue;
                return Err(Refusal::error(code, "text.format.type", message));
            }
        })
    }
}

fn invalid(path: &str, message: &str) -> Error {
    Refusal::error(RefusalCode::InvalidValue, path, message)
}
