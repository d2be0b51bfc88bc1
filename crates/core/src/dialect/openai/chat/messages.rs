//! The messages of a chat request (`docs/reference/dialects.md` 2.1).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::openai::content::{Content, ContentPart, PartContent};
use crate::dialect::openai::values::{arguments, invalid, text, unsupported};
use crate::dialect::translate::draft::{
    Call, ClientToolName, DraftRequest, Media, Piece, ToolResult,
};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// A message: the fields of all roles. Thoughts that come back (`reasoning_content`, `reasoning`) are not
/// read: Gemini wants its signatures, and not its summaries.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    role: Option<Cow<'a, str>>,
    content: Option<&'a RawValue>,
    refusal: Option<JsonText<'a>>,
    images: Option<Vec<ContentPart<'a>>>,
    tool_calls: Option<Vec<ToolCall<'a>>>,
    function_call: Option<CallFields<'a>>,
    tool_call_id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    extra_content: Option<ExtraContent<'a>>,
}

read_fields!(Message {
    "role" => role: Word<'de>,
    "content" => content: &'de RawValue,
    "refusal" => refusal: JsonText<'de>,
    "images" => images: Vec<ContentPart<'de>>,
    "tool_calls" => tool_calls: Vec<ToolCall<'de>>,
    "function_call" => function_call: CallFields<'de>,
    "tool_call_id" => tool_call_id: Word<'de>,
    "name" => name: Word<'de>,
    "extra_content" => extra_content: ExtraContent<'de>,
});

#[derive(Debug, Default)]
struct ToolCall<'a> {
    id: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    function: Option<CallFields<'a>>,
    custom: Option<CallFields<'a>>,
    extra_content: Option<ExtraContent<'a>>,
}

read_fields!(ToolCall {
    "id" => id: Word<'de>,
    "type" => kind: Word<'de>,
    "function" => function: CallFields<'de>,
    "custom" => custom: CallFields<'de>,
    "extra_content" => extra_content: ExtraContent<'de>,
});

#[derive(Debug, Default)]
struct CallFields<'a> {
    name: Option<Cow<'a, str>>,
    arguments: Option<&'a RawValue>,
    input: Option<JsonText<'a>>,
}

read_fields!(CallFields {
    "name" => name: Word<'de>,
    "arguments" => arguments: &'de RawValue,
    "input" => input: JsonText<'de>,
});

/// Where Google's own API for OpenAI's clients carries signatures.
#[derive(Debug, Default)]
struct ExtraContent<'a> {
    google: Option<GoogleContent<'a>>,
}

read_fields!(ExtraContent {
    "google" => google: GoogleContent<'de>,
});

#[derive(Debug, Default)]
struct GoogleContent<'a> {
    thought_signature: Option<Cow<'a, str>>,
}

read_fields!(GoogleContent {
    "thought_signature" | "thoughtSignature" => thought_signature: Word<'de>,
});

impl<'a> ExtraContent<'a> {
    fn signature(this: Option<Self>) -> Option<Cow<'a, str>> {
        this?.google?.thought_signature
    }
}

/// Reads messages into a draft.
pub(super) fn read<'a>(
    messages: Vec<Message<'a>>,
    target: &Target,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    let mut is_head = true;
    for (at, message) in messages.into_iter().enumerate() {
        let mut reader = Reader { at, target, draft: &mut *draft };
        let role = message.role.clone();
        let is_instruction = matches!(role.as_deref(), Some("system" | "developer"));
        is_head &= is_instruction;
        match role.as_deref() {
            _ if is_instruction => reader.instruction(&message, is_head)?,
            Some("user") => reader.user(&message)?,
            Some("assistant") => reader.assistant(message)?,
            Some("tool" | "function") => reader.result(message)?,
            Some(_) => {
                let message = "The role is none of system, developer, user, assistant, tool, and \
                               function.";
                return Err(unsupported(reader.path("role"), message));
            }
            None => return Err(invalid(reader.path("role"), "The message has no role.")),
        }
    }
    Ok(())
}

/// Reads one message.
struct Reader<'r, 'a> {
    at: usize,
    target: &'r Target,
    draft: &'r mut DraftRequest<'a>,
}

impl<'a> Reader<'_, 'a> {
    fn path(&self, field: &str) -> String {
        format!("messages[{}].{field}", self.at)
    }

    /// Calls `with` for each text and each medium of a content.
    fn parts(
        &mut self,
        content: Option<&'a RawValue>,
        mut with: impl FnMut(PartContent<'a>) -> Option<Piece<'a>>,
    ) -> Result<(), Error> {
        match Content::read(content, || self.path("content"))? {
            Content::Empty => {}
            Content::Text(text) => self.draft.pieces.extend(with(PartContent::Text(text))),
            Content::Parts(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    let path = || format!("{}[{index}]", self.path("content"));
                    let content = part.content(self.target, &path)?;
                    self.draft.pieces.extend(with(content));
                }
            }
        }
        Ok(())
    }

    fn instruction(&mut self, message: &Message<'a>, is_head: bool) -> Result<(), Error> {
        let (mut texts, mut has_media) = (Vec::new(), false);
        self.parts(message.content, |content| {
            match content {
                PartContent::Text(text) if !text.is_empty() => texts.push(Text::Json(text)),
                PartContent::Text(_) => {}
                PartContent::Media(_) => has_media = true,
            }
            None
        })?;
        if has_media {
            let message = "An instruction has text only. Send the rest in a message of the user.";
            return Err(unsupported(self.path("content"), message));
        }
        if is_head {
            self.draft.system.extend(texts);
        } else {
            self.draft.pieces.extend(texts.into_iter().map(Piece::System));
        }
        Ok(())
    }

    fn user(&mut self, message: &Message<'a>) -> Result<(), Error> {
        let before = self.draft.pieces.len();
        self.parts(message.content, |content| match content {
            PartContent::Text(text) => (!text.is_empty()).then(|| Piece::UserText(text.into())),
            PartContent::Media(media) => Some(Piece::UserMedia(media)),
        })?;
        if self.draft.pieces.len() == before {
            self.draft.pieces.push(Piece::EndOfModel);
        }
        Ok(())
    }

    fn assistant(&mut self, message: Message<'a>) -> Result<(), Error> {
        let before = self.draft.pieces.len();
        let model_text = |text: JsonText<'a>| {
            (!text.is_empty()).then(|| Piece::ModelText { text: text.into(), signature: None })
        };
        self.parts(message.content, |content| match content {
            PartContent::Text(text) => model_text(text),
            PartContent::Media(media) => Some(Piece::ModelMedia(media)),
        })?;
        let refusal = text(message.refusal, || self.path("refusal"))?;
        self.draft.pieces.extend(refusal.and_then(model_text));
        // Gemini gives the signature of a text with its end.
        let mut pieces = self.draft.pieces.get_mut(before..).unwrap_or_default().iter_mut().rev();
        let last = pieces.find_map(|piece| match piece {
            Piece::ModelText { signature, .. } => Some(signature),
            _ => None,
        });
        if let Some(last) = last {
            *last = ExtraContent::signature(message.extra_content);
        }
        for (index, image) in message.images.unwrap_or_default().iter().enumerate() {
            let path = || self.path(&format!("images[{index}]"));
            if let PartContent::Media(media) = image.content(self.target, &path)? {
                self.draft.pieces.push(Piece::ModelMedia(media));
            }
        }
        for (index, call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
            self.tool_call(call, &format!("tool_calls[{index}]"))?;
        }
        match message.function_call {
            Some(function) => self.call("".into(), function, None, "function_call"),
            None => Ok(()),
        }
    }

    fn tool_call(&mut self, call: ToolCall<'a>, field: &str) -> Result<(), Error> {
        let signature = ExtraContent::signature(call.extra_content);
        let id = call.id.unwrap_or_default();
        match (call.function, call.custom) {
            (Some(function), _) => self.call(id, function, signature, &format!("{field}.function")),
            (None, Some(custom)) => self.call(id, custom, signature, &format!("{field}.custom")),
            (None, None) if call.kind.as_deref().is_none_or(|kind| kind == "function") => {
                Err(invalid(self.path(&format!("{field}.function")), "The field is missing."))
            }
            (None, None) => {
                let message = "The call is neither of a function nor of a custom tool.";
                Err(unsupported(self.path(&format!("{field}.type")), message))
            }
        }
    }

    /// Reads a call whose name and arguments are in `field`.
    fn call(
        &mut self,
        id: Cow<'a, str>,
        fields: CallFields<'a>,
        signature: Option<Cow<'a, str>>,
        field: &str,
    ) -> Result<(), Error> {
        let Some(name) = fields.name.filter(|name| !name.is_empty()) else {
            return Err(invalid(self.path(&format!("{field}.name")), "The call has no name."));
        };
        let args = match text(fields.input, || self.path(&format!("{field}.input")))? {
            // A custom tool is a function of one text for Gemini.
            Some(input) => format!(r#"{{"input":{}}}"#, input.quoted()).into(),
            None => {
                let (args, is_whole) = arguments(fields.arguments);
                if !is_whole {
                    self.draft.dropped.push(self.path(&format!("{field}.arguments")));
                }
                args
            }
        };
        let name = ClientToolName { namespace: None, name };
        self.draft.pieces.push(Piece::Call(Call { id, name, args, signature }));
        Ok(())
    }

    fn result(&mut self, message: Message<'a>) -> Result<(), Error> {
        let (mut texts, mut media): (Vec<Text<'a>>, Vec<Media<'a>>) = (Vec::new(), Vec::new());
        self.parts(message.content, |content| {
            match content {
                PartContent::Text(text) => texts.push(text.into()),
                PartContent::Media(medium) => media.push(medium),
            }
            None
        })?;
        let id = message.tool_call_id.unwrap_or_default();
        let result = ToolResult { id, name: message.name, texts, media, is_error: false };
        self.draft.pieces.push(Piece::Result(result));
        Ok(())
    }
}
