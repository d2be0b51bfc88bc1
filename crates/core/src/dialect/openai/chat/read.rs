//! Chat requests (`docs/reference/dialects.md` 2).

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::ChatPlan;
use super::messages::{self, Message};
use super::thinking::{ExtraBody, Google, Reasoning, ThinkingFields};
use crate::dialect::openai::settings::{Conditional, ImageConfig, Settings, StreamOptions};
use crate::dialect::openai::tools;
use crate::dialect::openai::values::{invalid, read_body};
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::{DraftRequest, GoogleTool, Tool};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::request::{self, Written};
use crate::dialect::translate::target::Target;
use crate::error::Error;

/// Reads a chat request, and writes it for Gemini.
pub fn read(body: &Bytes, target: &Target) -> Result<(Written, ChatPlan), Error> {
    let chat: ChatRequest<'_> = read_body(body)?;
    let mut draft = DraftRequest { config: chat.settings.config()?, ..DraftRequest::default() };
    let thought_tag = chat.thinking.write(&mut draft)?;
    chat.conditional.note_dropped(&mut draft.dropped);
    let unknown = chat.unknown.into_iter();
    draft.dropped.extend(unknown.filter(|name| !name.starts_with("prompt_cache_")));
    let is_legacy = chat.tools.write(&mut draft)?;
    let messages = chat.messages.unwrap_or_default();
    if messages.is_empty() {
        return Err(invalid("messages", "The request has no messages."));
    }
    messages::read(messages, target, &mut draft)?;
    let written = request::write(draft, target)?;
    let model = chat.model.as_deref().unwrap_or_default();
    let one_call = is_legacy || chat.parallel_tool_calls == Some(false);
    let plan = ChatPlan {
        plan: AnswerPlan::new(model.into(), one_call, &written, target),
        include_usage: StreamOptions::include_usage(chat.stream_options),
        thought_tag,
        legacy_functions: is_legacy,
    };
    Ok((written, plan))
}

/// A chat request.
#[derive(Debug, Default)]
struct ChatRequest<'a> {
    model: Option<Cow<'a, str>>,
    messages: Option<Vec<Message<'a>>>,
    tools: ToolSettings<'a>,
    parallel_tool_calls: Option<bool>,
    stream_options: Option<StreamOptions>,
    settings: Settings<'a>,
    thinking: ThinkingFields<'a>,
    conditional: Conditional<'a>,
    /// What changes nothing of the answer, or is read elsewhere.
    silent: Option<IgnoredAny>,
    unknown: Vec<String>,
}

read_fields!(ChatRequest {
    "model" => model: Word<'de>,
    "messages" => messages: Vec<Message<'de>>,
    "tools" => tools.tools: Vec<&'de RawValue>,
    "tool_choice" => tools.tool_choice: &'de RawValue,
    "parallel_tool_calls" => parallel_tool_calls: bool,
    "functions" => tools.functions: Vec<&'de RawValue>,
    "function_call" => tools.function_call: &'de RawValue,
    "web_search_options" => tools.web_search_options: &'de RawValue,
    "stream_options" => stream_options: StreamOptions,
    "max_completion_tokens" => settings.max_completion_tokens: &'de RawValue,
    "max_tokens" => settings.max_tokens: &'de RawValue,
    "temperature" => settings.temperature: &'de RawValue,
    "top_p" => settings.top_p: &'de RawValue,
    "top_k" => settings.top_k: &'de RawValue,
    "stop" => settings.stop: &'de RawValue,
    "n" => settings.n: &'de RawValue,
    "seed" => settings.seed: &'de RawValue,
    "presence_penalty" => settings.presence_penalty: &'de RawValue,
    "frequency_penalty" => settings.frequency_penalty: &'de RawValue,
    "logprobs" => settings.logprobs: bool,
    "top_logprobs" => settings.top_logprobs: &'de RawValue,
    "response_format" => settings.response_format: &'de RawValue,
    "modalities" => settings.modalities: &'de RawValue,
    "image_config" => settings.image_config: ImageConfig<'de>,
    "reasoning_effort" => thinking.reasoning_effort: Word<'de>,
    "reasoning" => thinking.reasoning: Reasoning<'de>,
    "extra_body" => thinking.extra_body: ExtraBody<'de>,
    "google" => thinking.google: Google<'de>,
    "logit_bias" => conditional.logit_bias: &'de RawValue,
    "service_tier" => conditional.service_tier: &'de RawValue,
    "store" => conditional.store: &'de RawValue,
    "stream" | "user" | "safety_identifier" | "metadata" => silent: IgnoredAny,
} rest unknown);

/// The tools, and the choice among them.
#[derive(Debug, Default)]
struct ToolSettings<'a> {
    tools: Option<Vec<&'a RawValue>>,
    tool_choice: Option<&'a RawValue>,
    functions: Option<Vec<&'a RawValue>>,
    function_call: Option<&'a RawValue>,
    web_search_options: Option<&'a RawValue>,
}

impl<'a> ToolSettings<'a> {
    /// Writes the tools into a draft. True if the client knows functions only, as clients did before
    /// there were tools.
    fn write(self, draft: &mut DraftRequest<'a>) -> Result<bool, Error> {
        for (index, tool) in self.tools.into_iter().flatten().enumerate() {
            tools::push_tool(tool, None, &|| format!("tools[{index}]"), draft)?;
        }
        let is_legacy = self.functions.is_some() || self.function_call.is_some();
        for (index, function) in self.functions.into_iter().flatten().enumerate() {
            tools::push_legacy_function(function, &|| format!("functions[{index}]"), draft)?;
        }
        if self.web_search_options.is_some() {
            let path = "web_search_options".to_owned();
            draft.tools.push(Tool::Google { kind: GoogleTool::Search, path, options: None });
        }
        draft.choice = match self.tool_choice {
            Some(choice) => tools::choice(Some(choice), "tool_choice")?,
            None => tools::choice(self.function_call, "function_call")?,
        };
        Ok(is_legacy)
    }
}
