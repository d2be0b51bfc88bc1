//! The items of a request (`docs/reference/dialects.md` 4.2).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::content::{ContentPart, read_content};
use super::fields::{Members, read_as};
use super::tools::ToolReader;
use crate::dialect::translate::draft::{Call, ClientToolName, DraftRequest, Piece, ToolResult};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::{Error, Refusal, RefusalCode};

/// Reads `input`.
pub(super) fn read_input<'a>(
    input: &'a RawValue,
    target: &Target,
    draft: &mut DraftRequest<'a>,
    tools: &mut ToolReader<'a>,
) -> Result<(), Error> {
    if let Some(text) = JsonText::of(input) {
        draft.pieces.push(Piece::UserText(text.into()));
        return Ok(());
    }
    let items: Vec<Members<'a>> = read_as(input, "input", "a string or a list of items")?;
    let mut reader = ItemReader { target, draft, tools, is_head: true };
    for (at, item) in items.iter().enumerate() {
        reader.item(item, format!("input[{at}]"))?;
    }
    Ok(())
}

struct ItemReader<'r, 'a> {
    target: &'r Target,
    draft: &'r mut DraftRequest<'a>,
    tools: &'r mut ToolReader<'a>,
    /// Only instructions have come so far.
    is_head: bool,
}

impl<'a> ItemReader<'_, 'a> {
    fn item(&mut self, item: &Members<'a>, path: String) -> Result<(), Error> {
        let kind = item.word("type");
        match kind.as_deref() {
            Some("message") => self.message(item, &path)?,
            None if item.get("role").is_some() => self.message(item, &path)?,
            Some("function_call") => {
                let args = self.arguments(item, &path);
                self.call(item, args);
            }
            Some("custom_tool_call") => {
                let input = item.text("input").map_or("\"\"", JsonText::quoted);
                self.call(item, format!("{{\"input\":{input}}}").into());
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                self.result(item, &path)?;
            }
            Some("reasoning") => {
                let carried = item.word("encrypted_content").filter(|carried| !carried.is_empty());
                let id = item.word("id");
                self.signature(carried.or_else(|| self.remembered(id.as_deref()?)));
            }
            Some("item_reference") => self.reference(item, &path)?,
            None if item.get("id").is_some() => self.reference(item, &path)?,
            Some("additional_tools") => {
                if let Some(tools) = item.get("tools") {
                    self.tools.read(tools, &format!("{path}.tools"), self.draft)?;
                }
            }
            // Clients send back what they do not understand.
            _ => self.draft.dropped.push(path),
        }
        Ok(())
    }

    fn message(&mut self, item: &Members<'a>, path: &str) -> Result<(), Error> {
        let parts = match item.get("content") {
            Some(content) => read_content(content, &format!("{path}.content"), self.target)?,
            None => Vec::new(),
        };
        match item.word("role").as_deref().unwrap_or_default() {
            "system" | "developer" => self.system(parts, path),
            "user" => {
                self.is_head = false;
                let before = self.draft.pieces.len();
                self.draft.pieces.extend(parts.into_iter().filter_map(|part| match part {
                    ContentPart::Text(text) if text.is_empty() => None,
                    ContentPart::Text(text) => Some(Piece::UserText(text.into())),
                    ContentPart::Media(media) => Some(Piece::UserMedia(media)),
                }));
                if self.draft.pieces.len() == before {
                    self.draft.pieces.push(Piece::EndOfModel);
                }
                Ok(())
            }
            "assistant" => {
                self.is_head = false;
                self.draft.pieces.extend(parts.into_iter().filter_map(|part| match part {
                    ContentPart::Text(text) if text.is_empty() => None,
                    ContentPart::Text(text) => {
                        Some(Piece::ModelText { text: text.into(), signature: None })
                    }
                    ContentPart::Media(media) => Some(Piece::ModelMedia(media)),
                }));
                Ok(())
            }
            role => {
                let message = format!(
                    "There is no role {role:?}: it is `user`, `assistant`, `system` or `developer`."
                );
                Err(Refusal::error(RefusalCode::InvalidValue, format!("{path}.role"), message))
            }
        }
    }

    fn system(&mut self, parts: Vec<ContentPart<'a>>, path: &str) -> Result<(), Error> {
        for part in parts {
            let ContentPart::Text(text) = part else {
                let message = "Instructions can be texts only.";
                return Err(Refusal::error(RefusalCode::UnsupportedValue, path, message));
            };
            if text.is_empty() {
                continue;
            }
            if self.is_head {
                self.draft.system.push(text.into());
            } else {
                self.draft.pieces.push(Piece::System(text.into()));
            }
        }
        Ok(())
    }

    /// The arguments of a call: one object. What is none is kept as a text.
    fn arguments(&mut self, item: &Members<'a>, path: &str) -> Cow<'a, str> {
        let Some(written) = item.text("arguments").filter(|text| !text.is_empty()) else {
            return "{}".into();
        };
        let args = written.decoded();
        let is_object = args.trim_ascii_start().starts_with('{')
            && serde_json::from_str::<&RawValue>(&args).is_ok();
        if is_object {
            return args;
        }
        self.draft.dropped.push(format!("{path}.arguments"));
        format!("{{\"_raw\":{}}}", written.quoted()).into()
    }

    fn call(&mut self, item: &Members<'a>, args: Cow<'a, str>) {
        self.is_head = false;
        let name = ClientToolName {
            namespace: item.word("namespace"),
            name: item.word("name").unwrap_or_default(),
        };
        let id = item.word("call_id").or_else(|| item.word("id")).unwrap_or_default();
        self.draft.pieces.push(Piece::Call(Call { id, name, args, signature: None }));
    }

    fn result(&mut self, item: &Members<'a>, path: &str) -> Result<(), Error> {
        self.is_head = false;
        let id = item.word("call_id").unwrap_or_default();
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        match item.get("output") {
            Some(output) if output.get().starts_with(['"', '[']) => {
                for part in read_content(output, &format!("{path}.output"), self.target)? {
                    match part {
                        ContentPart::Text(text) => texts.push(text.into()),
                        ContentPart::Media(one) => media.push(one),
                    }
                }
            }
            // A value that this API does not have is given to the model as JSON.
            Some(output) => texts.push(Text::Plain(output.get().into())),
            None => {}
        }
        let result = ToolResult { id, name: None, texts, media, is_error: false };
        self.draft.pieces.push(Piece::Result(result));
        Ok(())
    }

    fn reference(&mut self, item: &Members<'a>, path: &str) -> Result<(), Error> {
        let id = item.word("id").unwrap_or_default();
        if !id.starts_with("rs_") {
            let message = format!(
                "Item with id '{id}' not found. This server keeps no items: send the items \
                 themselves, and set store to false (AI SDK: providerOptions.openai.store)."
            );
            return Err(Refusal::error(RefusalCode::ItemNotFound, format!("{path}.id"), message));
        }
        self.signature(self.remembered(&id));
        Ok(())
    }

    /// What a reasoning item of ours has carried, if it is remembered.
    fn remembered(&self, id: &str) -> Option<Cow<'a, str>> {
        let carried = self.target.signatures.recall(id)?;
        Some(String::from_utf8(carried.into()).ok()?.into())
    }

    fn signature(&mut self, carried: Option<Cow<'a, str>>) {
        self.is_head = false;
        self.draft.pieces.extend(carried.map(Piece::Signature));
    }
}
