//! The system prompt and the conversation (`docs/reference/dialects.md` 5.1, 5.2).

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::{Block, Item, available, read_item};
use super::path::Path;
use super::served;
use crate::dialect::translate::draft::{Call, ClientToolName, DraftRequest, Piece, ToolResult};
use crate::dialect::translate::signatures::Carried;
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// The tools that the conversation makes known, or withdraws.
pub(super) type References<'a> = HashMap<Cow<'a, str>, bool>;

/// Reads the system prompt.
pub(super) fn read_system<'a>(
    system: &'a RawValue,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    const SYSTEM: Path<'static> = Path::root("system");
    if let Some(text) = JsonText::of(system) {
        draft.system.extend((!text.is_empty()).then_some(Text::Json(text)));
        return Ok(());
    }
    for (at, block) in SYSTEM.objects::<Block<'_>>(system)?.into_iter().enumerate() {
        let path = SYSTEM.item(at);
        let kind = block.kind(&path)?;
        if kind != "text" {
            return Err(path.unsupported(format!("A system prompt has no block `{kind}` here.")));
        }
        let text = block.required_text(&path)?;
        // It differs between the requests of one session, and would defeat Gemini's cache of prefixes.
        if !text.is_empty() && !text.escaped().starts_with("x-anthropic-billing-header:") {
            draft.system.push(text.into());
        }
    }
    Ok(())
}

/// The path of the messages.
pub(super) const MESSAGES: Path<'static> = Path::root("messages");

/// A message. Each field takes any value, and is checked where it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Assistant,
    System,
    User,
}

/// Reads messages into a draft.
pub(super) struct Conversation<'d, 'a> {
    target: &'d Target,
    draft: &'d mut DraftRequest<'a>,
    references: References<'a>,
}

impl<'d, 'a> Conversation<'d, 'a> {
    pub(super) fn new(target: &'d Target, draft: &'d mut DraftRequest<'a>) -> Self {
        Self { target, draft, references: References::new() }
    }

    /// The tools that the messages make known.
    pub(super) fn into_references(self) -> References<'a> {
        self.references
    }

    /// Reads all messages.
    pub(super) fn read(&mut self, messages: &[Message<'a>]) -> Result<(), Error> {
        if messages.is_empty() {
            return Err(MESSAGES.invalid("There must be at least one message."));
        }
        for (at, message) in messages.iter().enumerate() {
            self.message(message, &MESSAGES.item(at))?;
        }
        Ok(())
    }

    fn message(&mut self, message: &Message<'a>, path: &Path<'_>) -> Result<(), Error> {
        let role_path = path.field("role");
        let role = match &*role_path.required_text(message.role)?.decoded() {
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "user" => Role::User,
            role => {
                let message = format!("The role `{role}` is none of user, assistant and system.");
                return Err(role_path.unsupported(message));
            }
        };
        let path = path.field("content");
        let content = message.content.ok_or_else(|| path.required())?;
        let before = self.draft.pieces.len();
        if let Some(text) = JsonText::of(content) {
            self.push_text(role, text.into());
        } else {
            for (at, block) in path.objects::<Block<'_>>(content)?.into_iter().enumerate() {
                let path = path.item(at);
                match role {
                    Role::Assistant => self.assistant_block(&block, &path)?,
                    Role::System => self.system_block(&block, &path)?,
                    Role::User => self.user_block(&block, &path)?,
                }
            }
        }
        if role == Role::User && self.draft.pieces.len() == before {
            self.draft.pieces.push(Piece::EndOfModel);
        }
        Ok(())
    }

    fn user_block(&mut self, block: &Block<'a>, path: &Path<'_>) -> Result<(), Error> {
        match &*block.kind(path)? {
            "tool_result" => self.tool_result(block, path),
            "tool_addition" | "tool_removal" => self.tool_change(block, Role::User, path),
            kind if served::is_served(kind) => {
                self.push_served(Role::User, kind, block, path);
                Ok(())
            }
            kind => {
                let mut items = Vec::new();
                if !read_item(block, kind, self.target, path, &mut items)? {
                    let message = format!("A user's message has no block `{kind}` here.");
                    return Err(path.unsupported(message));
                }
                self.draft.pieces.extend(items.into_iter().map(|item| match item {
                    Item::Text(text) => Piece::UserText(text),
                    Item::Media(media) => Piece::UserMedia(media),
                }));
                Ok(())
            }
        }
    }

    fn system_block(&mut self, block: &Block<'a>, path: &Path<'_>) -> Result<(), Error> {
        match &*block.kind(path)? {
            "text" => self.push_text(Role::System, block.required_text(path)?.into()),
            "tool_addition" | "tool_removal" => self.tool_change(block, Role::System, path)?,
            kind => {
                let message = format!("A system message has no block `{kind}` here.");
                return Err(path.unsupported(message));
            }
        }
        Ok(())
    }

    /// Reads a block of the model's. Blocks of unknown kinds come from another service, and are left out.
    fn assistant_block(&mut self, block: &Block<'a>, path: &Path<'_>) -> Result<(), Error> {
        match &*block.kind(path)? {
            "tool_use" => self.tool_use(block, path)?,
            "tool_result" => {
                return Err(path.unsupported("A `tool_result` must be in a user's message."));
            }
            "thinking" => {
                let signature = block.signature.and_then(JsonText::of).map(JsonText::decoded);
                // What Claude has signed has no meaning for Gemini.
                if let Some(signature) = signature.filter(|text| Carried::read(text).is_some()) {
                    self.draft.pieces.push(Piece::Signature(signature));
                }
            }
            "redacted_thinking" => {}
            // The summary of messages that were left out.
            "compaction" => {
                if let Some(text) = block.content.and_then(JsonText::of) {
                    self.push_text(Role::Assistant, text.into());
                }
            }
            kind if served::is_served(kind) => {
                self.push_served(Role::Assistant, kind, block, path);
            }
            kind => {
                let mut items = Vec::new();
                if !read_item(block, kind, self.target, path, &mut items)? {
                    self.draft.dropped.push(path.to_string());
                }
                self.draft.pieces.extend(items.into_iter().map(|item| match item {
                    Item::Text(text) => Piece::ModelText { text, signature: None },
                    Item::Media(media) => Piece::ModelMedia(media),
                }));
            }
        }
        Ok(())
    }

    fn tool_use(&mut self, block: &Block<'a>, path: &Path<'_>) -> Result<(), Error> {
        let name = path.field("name").required_text(block.name)?.decoded();
        let id = path.field("id").required_text(block.id)?.decoded();
        let args: Cow<'a, str> = match block.input.map(RawValue::get) {
            None => "{}".into(),
            Some(input) if input.starts_with('{') => input.into(),
            Some(input) => {
                self.draft.dropped.push(path.field("input").to_string());
                format!(r#"{{"_raw":{input}}}"#).into()
            }
        };
        self.draft.pieces.push(Piece::Call(Call {
            id,
            name: ClientToolName { namespace: None, name },
            args,
            signature: block.extra_content.and_then(call_signature),
        }));
        Ok(())
    }

    fn tool_result(&mut self, block: &Block<'a>, path: &Path<'_>) -> Result<(), Error> {
        let id = path.field("tool_use_id").required_text(block.tool_use_id)?.decoded();
        let mut items = Vec::new();
        match block.content {
            None => {}
            Some(content) => {
                let path = path.field("content");
                if let Some(text) = JsonText::of(content) {
                    items.push(Item::Text(text.into()));
                } else {
                    for (at, inner) in path.objects::<Block<'_>>(content)?.iter().enumerate() {
                        self.result_block(inner, &path.item(at), &mut items)?;
                    }
                }
            }
        }
        let mut result = ToolResult {
            id,
            name: None,
            texts: Vec::new(),
            media: Vec::new(),
            is_error: block.is_error.is_some_and(|is_error| is_error.get() == "true"),
        };
        for item in items {
            match item {
                Item::Text(text) => result.texts.push(text),
                Item::Media(media) => result.media.push(media),
            }
        }
        self.draft.pieces.push(Piece::Result(result));
        Ok(())
    }

    fn result_block(
        &mut self,
        block: &Block<'a>,
        path: &Path<'_>,
        items: &mut Vec<Item<'a>>,
    ) -> Result<(), Error> {
        let kind = block.kind(path)?;
        if kind == "tool_reference" {
            let name = path.field("tool_name").required_text(block.tool_name)?.decoded();
            items.push(Item::Text(available(&name).into()));
            self.references.insert(name, true);
            return Ok(());
        }
        match read_item(block, &kind, self.target, path, items)? {
            true => Ok(()),
            false => Err(path.unsupported(format!("A result has no block `{kind}` here."))),
        }
    }

    /// Reads a block that makes a tool known from here on, or withdraws it. The model reads of it, and only
    /// those of the request's `tools` that are known are declared.
    fn tool_change(&mut self, block: &Block<'a>, role: Role, path: &Path<'_>) -> Result<(), Error> {
        let tool_path = path.field("tool");
        let tool = block.tool.ok_or_else(|| tool_path.required())?;
        let reference: Block<'a> = tool_path.object(tool)?;
        // Tools of MCP servers and definitions within the conversation have no form in a Gemini request.
        let Some(name) = reference.tool_name.and_then(JsonText::of).map(JsonText::decoded) else {
            self.draft.dropped.push(path.to_string());
            return Ok(());
        };
        let is_added = block.kind(path)? == "tool_addition";
        let text = if is_added {
            available(&name)
        } else {
            format!("Tool {name} is no longer available.")
        };
        self.push_text(role, text.into());
        self.references.insert(name, is_added);
        Ok(())
    }

    fn push_served(&mut self, role: Role, kind: &str, block: &Block<'a>, path: &Path<'_>) {
        match served::text(kind, block) {
            Some(text) => self.push_text(role, text.into()),
            None => self.draft.dropped.push(path.to_string()),
        }
        for name in served::found_tools(block) {
            self.references.insert(name, true);
        }
    }

    fn push_text(&mut self, role: Role, text: Text<'a>) {
        if text.is_empty() {
            return;
        }
        self.draft.pieces.push(match role {
            Role::Assistant => Piece::ModelText { text, signature: None },
            Role::System => Piece::System(text),
            Role::User => Piece::UserText(text),
        });
    }
}

/// The raw signature that a client without `thinking` blocks brings back on a call.
fn call_signature(extra_content: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Extra<'a> {
        #[serde(borrow)]
        google: Option<Google<'a>>,
    }
    #[derive(Deserialize)]
    struct Google<'a> {
        #[serde(borrow)]
        thought_signature: Option<&'a RawValue>,
    }
    let extra: Extra<'_> = serde_json::from_str(extra_content.get()).ok()?;
    let signature = extra.google?.thought_signature.and_then(JsonText::of)?.decoded();
    (!signature.is_empty()).then_some(signature)
}
