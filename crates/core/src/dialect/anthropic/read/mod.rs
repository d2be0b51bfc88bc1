//! Requests for messages and for their token counts, read into a draft of a Gemini request
//! (`docs/reference/dialects.md` 5.1 to 5.4).
//!
//! What a value must be is checked where the value is used, so that an error names the path. A field that
//! has no form in a Gemini request is left out and named, unless the answer would be of another kind.

mod blocks;
mod config;
mod messages;
mod path;
mod served;
#[cfg(test)]
mod tests;
mod tools;

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::messages::{Conversation, MESSAGES, Message};
use self::path::Path;
use self::tools::{TOOLS, ToolFields};
use super::MessagesPlan;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::{DraftRequest, FieldPaths, Thinking};
use crate::dialect::translate::request::{self, Written};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// Reads a request for a message.
pub fn read(body: &Bytes, target: &Target) -> Result<(Written, MessagesPlan), Error> {
    let request = Request::read(body)?;
    let model = Path::root("model").required_text(request.model)?.decoded();
    let (draft, asks) = draft(&request, target, Purpose::Answer)?;
    let written = request::write(draft, target)?;
    let Asks { one_call, thinking, shows_thoughts } = asks;
    let plan = AnswerPlan::new(model.into(), one_call, &written, target);
    Ok((written, MessagesPlan { plan, thinking, shows_thoughts }))
}

/// Reads a request for the token count of a message's prompt.
pub fn read_count(body: &Bytes, target: &Target) -> Result<Written, Error> {
    let request = Request::read(body)?;
    let (draft, _) = draft(&request, target, Purpose::Count)?;
    request::write_count(draft, target)
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Count,
}

/// What the client asks of the answer's form.
#[derive(Debug, Default, Clone, Copy)]
struct Asks {
    one_call: bool,
    thinking: bool,
    shows_thoughts: bool,
}

fn draft<'a>(
    request: &Request<'a>,
    target: &Target,
    purpose: Purpose,
) -> Result<(DraftRequest<'a>, Asks), Error> {
    refuse_threads(request)?;
    let mut draft = DraftRequest { dropped: request.unknown.clone(), ..DraftRequest::default() };
    draft.config.paths = FieldPaths::MESSAGES;
    if request.container.is_some() {
        draft.dropped.push("container".to_owned());
    }
    if request.mcp_servers.is_some_and(|servers| servers.get() != "[]") {
        draft.dropped.push("mcp_servers".to_owned());
    }
    let thinking = config::read(request, target, purpose, &mut draft)?;
    if let Some(system) = request.system {
        messages::read_system(system, &mut draft)?;
    }
    let messages = request.messages.as_deref().ok_or_else(|| MESSAGES.required())?;
    let mut conversation = Conversation::new(target, &mut draft);
    conversation.read(messages)?;
    let references = conversation.into_references();
    let tools = request.tools.as_deref().unwrap_or_default();
    let one_call = tools::read(tools, request.tool_choice, &references, &mut draft)?;
    let shows_thoughts = match draft.config.thinking {
        Thinking::Effort { shows, .. } | Thinking::Budget { shows, .. } => shows,
        Thinking::Shown => true,
        Thinking::Unset | Thinking::Written(_) => false,
    };
    Ok((draft, Asks { one_call, thinking, shows_thoughts }))
}

/// Refuses threads, whose messages are kept by the service. Upon these errors Anthropic's SDKs send whole
/// conversations.
fn refuse_threads(request: &Request<'_>) -> Result<(), Error> {
    let message = "Conversations are not kept here: send all messages, without `thread`.";
    let thread = request.thread.map(|thread| Path::root("thread").object::<Thread<'_>>(thread));
    let (code, path) = match thread.transpose()? {
        Some(Thread { previous_message_id: Some(_) }) => {
            (RefusalCode::ThreadNotFound, "thread.previous_message_id")
        }
        _ if request.previous_message_id.is_some() => {
            (RefusalCode::ThreadNotFound, "previous_message_id")
        }
        Some(_) => (RefusalCode::ThreadUnsupported, "thread"),
        None => return Ok(()),
    };
    Err(Refusal::error(code, path, message))
}

#[derive(serde::Deserialize)]
struct Thread<'a> {
    #[serde(borrow)]
    previous_message_id: Option<&'a RawValue>,
}

/// The fields of a request, as they are written, but for the two that are long: those are read at once, so
/// that nothing is scanned twice. `null` is no value.
#[derive(Debug, Default)]
struct Request<'a> {
    container: Option<&'a RawValue>,
    max_tokens: Option<&'a RawValue>,
    mcp_servers: Option<&'a RawValue>,
    messages: Option<Vec<Message<'a>>>,
    model: Option<&'a RawValue>,
    output_config: Option<&'a RawValue>,
    output_format: Option<&'a RawValue>,
    previous_message_id: Option<&'a RawValue>,
    stop_sequences: Option<&'a RawValue>,
    system: Option<&'a RawValue>,
    temperature: Option<&'a RawValue>,
    thinking: Option<&'a RawValue>,
    thread: Option<&'a RawValue>,
    tool_choice: Option<&'a RawValue>,
    tools: Option<Vec<ToolFields<'a>>>,
    top_k: Option<&'a RawValue>,
    top_p: Option<&'a RawValue>,
    /// The names of other fields that have a value.
    unknown: Vec<String>,
}

/// Fields that need not be named when they are left out: they say how the request is billed, cached,
/// counted or routed.
const SILENT: &[&str] = &[
    "anthropic_version",
    "betas",
    "billing_policy",
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "metadata",
    "service_tier",
    "speed",
    "stream",
    "user_profile_id",
    "workspace_id",
];

impl<'a> Request<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map_err(|error| match error.is_data() {
            true => wrong_type(body),
            false => Error::MalformedJson { detail: error.to_string() },
        })
    }

    /// The field of this name, of those that are kept as they are written.
    fn field(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            "container" => &mut self.container,
            "max_tokens" => &mut self.max_tokens,
            "mcp_servers" => &mut self.mcp_servers,
            "model" => &mut self.model,
            "output_config" => &mut self.output_config,
            "output_format" => &mut self.output_format,
            "previous_message_id" => &mut self.previous_message_id,
            "stop_sequences" => &mut self.stop_sequences,
            "system" => &mut self.system,
            "temperature" => &mut self.temperature,
            "thinking" => &mut self.thinking,
            "thread" => &mut self.thread,
            "tool_choice" => &mut self.tool_choice,
            "top_k" => &mut self.top_k,
            "top_p" => &mut self.top_p,
            _ => return None,
        })
    }
}

/// The error of a body that is JSON, and no request. It names the list that has the wrong type.
#[cold]
fn wrong_type(body: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Lists<'a> {
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
    }
    let lists: Option<Lists<'_>> = serde_json::from_slice(body).ok();
    let wrong = lists.and_then(|Lists { messages, tools }| {
        let wrong = messages.and_then(|list| MESSAGES.objects::<Message<'_>>(list).err());
        wrong.or_else(|| tools.and_then(|list| TOOLS.objects::<ToolFields<'_>>(list).err()))
    });
    let message = "The body must be a JSON object: see Anthropic's Messages API.";
    wrong.unwrap_or_else(|| Refusal::error(RefusalCode::InvalidValue, "", message))
}

impl<'de> Deserialize<'de> for Request<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Request<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut request = Request::default();
                while let Some(name) = map.next_key::<&RawValue>()? {
                    let name = JsonText::of(name).map(JsonText::decoded).unwrap_or_default();
                    if name == "messages" {
                        request.messages = map.next_value()?;
                    } else if name == "tools" {
                        request.tools = map.next_value()?;
                    } else if let Some(field) = request.field(&name) {
                        *field = map.next_value()?;
                    } else if map.next_value::<Option<IgnoredAny>>()?.is_some()
                        && !SILENT.contains(&&*name)
                    {
                        request.unknown.push(name.into_owned());
                    }
                }
                Ok(request)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
