//! The items of a request (`docs/reference/dialects.md` 4.2).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::tools::push_tools;
use crate::dialect::openai::content::{Content, ContentPart, PartContent};
use crate::dialect::openai::values::{arguments, read, text, unsupported};
use crate::dialect::translate::draft::{Call, ClientToolName, DraftRequest, Piece, ToolResult};
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::{Error, Refusal, RefusalCode};

/// The fields of all items. Those whose form differs from type to type are kept as they are written, so
/// that an item of an unknown type can be read and left out.
#[derive(Debug, Default)]
struct Item<'a> {
    kind: Option<Cow<'a, str>>,
    role: Option<JsonText<'a>>,
    id: Option<JsonText<'a>>,
    call_id: Option<JsonText<'a>>,
    name: Option<JsonText<'a>>,
    namespace: Option<JsonText<'a>>,
    arguments: Option<&'a RawValue>,
    input: Option<JsonText<'a>>,
    output: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    encrypted_content: Option<JsonText<'a>>,
    tools: Option<&'a RawValue>,
}

read_fields!(Item {
    "type" => kind: Word<'de>,
    "role" => role: JsonText<'de>,
    "id" => id: JsonText<'de>,
    "call_id" => call_id: JsonText<'de>,
    "name" => name: JsonText<'de>,
    "namespace" => namespace: JsonText<'de>,
    "arguments" => arguments: &'de RawValue,
    "input" => input: JsonText<'de>,
    "output" => output: &'de RawValue,
    "content" => content: &'de RawValue,
    "encrypted_content" => encrypted_content: JsonText<'de>,
    "tools" => tools: &'de RawValue,
});

/// Reads `input`.
pub(super) fn read_input<'a>(
    input: &'a RawValue,
    target: &Target,
    draft: &mut DraftRequest<'a>,
) -> Result<(), Error> {
    if let Some(text) = JsonText::of(input) {
        draft.pieces.push(Piece::UserText(text.into()));
        return Ok(());
    }
    let items: Vec<Item<'a>> = read(input, || "input".to_owned())?;
    let mut reader = ItemReader { target, draft, is_head: true };
    for (index, item) in items.iter().enumerate() {
        reader.item(item, &|| format!("input[{index}]"))?;
    }
    Ok(())
}

struct ItemReader<'r, 'a> {
    target: &'r Target,
    draft: &'r mut DraftRequest<'a>,
    /// Only instructions have come so far.
    is_head: bool,
}

/// The path of an item.
type Path<'p> = &'p dyn Fn() -> String;

impl<'a> ItemReader<'_, 'a> {
    fn item(&mut self, item: &Item<'a>, path: Path<'_>) -> Result<(), Error> {
        let kind = match item.kind.as_deref() {
            None if item.role.is_some() => "message",
            None if item.id.is_some() => "item_reference",
            kind => kind.unwrap_or_default(),
        };
        match kind {
            "message" => return self.message(item, path),
            "function_call" => {
                let (args, is_whole) = arguments(item.arguments);
                if !is_whole {
                    self.draft.dropped.push(format!("{}.arguments", path()));
                }
                self.call(item, args);
            }
            "custom_tool_call" => {
                let input = text(item.input, || format!("{}.input", path()))?;
                let input = input.map_or("\"\"", JsonText::quoted);
                self.call(item, format!("{{\"input\":{input}}}").into());
            }
            "function_call_output" | "custom_tool_call_output" => self.result(item, path)?,
            "reasoning" => {
                let carried = item.encrypted_content.and_then(word);
                let carried = carried.filter(|carried| !carried.is_empty());
                self.signature(carried.or_else(|| self.remembered(&item.id.and_then(word)?)));
            }
            "item_reference" => self.reference(item, path)?,
            "additional_tools" => {
                if let Some(tools) = item.tools {
                    let path = format!("{}.tools", path());
                    let tools: Vec<&RawValue> = read(tools, || path.clone())?;
                    push_tools(&tools, &path, self.draft)?;
                }
            }
            // Clients send back what they do not understand.
            _ => self.draft.dropped.push(path()),
        }
        Ok(())
    }

    fn message(&mut self, item: &Item<'a>, path: Path<'_>) -> Result<(), Error> {
        let parts = self.content(item.content, &|| format!("{}.content", path()))?;
        let parts = parts.into_iter().filter(|part| match part {
            PartContent::Text(text) => !text.is_empty(),
            PartContent::Media(_) => true,
        });
        let pieces = &mut self.draft.pieces;
        match item.role.and_then(word).as_deref().unwrap_or_default() {
            "system" | "developer" => {
                for part in parts {
                    match part {
                        PartContent::Text(text) if self.is_head => {
                            self.draft.system.push(text.into());
                        }
                        PartContent::Text(text) => pieces.push(Piece::System(text.into())),
                        PartContent::Media(_) => {
                            return Err(unsupported(path(), "Instructions can be texts only."));
                        }
                    }
                }
            }
            "user" => {
                self.is_head = false;
                let before = pieces.len();
                pieces.extend(parts.map(|part| match part {
                    PartContent::Text(text) => Piece::UserText(text.into()),
                    PartContent::Media(media) => Piece::UserMedia(media),
                }));
                if pieces.len() == before {
                    pieces.push(Piece::EndOfModel);
                }
            }
            "assistant" => {
                self.is_head = false;
                pieces.extend(parts.map(|part| match part {
                    PartContent::Text(text) => {
                        Piece::ModelText { text: text.into(), signature: None }
                    }
                    PartContent::Media(media) => Piece::ModelMedia(media),
                }));
            }
            _ => {
                let message = "The role is none of user, assistant, system, and developer.";
                return Err(unsupported(format!("{}.role", path()), message));
            }
        }
        Ok(())
    }

    /// The parts of a content.
    fn content(
        &self,
        content: Option<&'a RawValue>,
        path: Path<'_>,
    ) -> Result<Vec<PartContent<'a>>, Error> {
        let read = |(index, part): (usize, &ContentPart<'a>)| {
            part.content(self.target, &|| format!("{}[{index}]", path()))
        };
        match Content::read(content, path)? {
            Content::Empty => Ok(Vec::new()),
            Content::Text(text) => Ok(vec![PartContent::Text(text)]),
            Content::Parts(parts) => parts.iter().enumerate().map(read).collect(),
        }
    }

    fn call(&mut self, item: &Item<'a>, args: Cow<'a, str>) {
        self.is_head = false;
        let name = ClientToolName {
            namespace: item.namespace.and_then(word),
            name: item.name.and_then(word).unwrap_or_default(),
        };
        let id = item.call_id.or(item.id).and_then(word).unwrap_or_default();
        self.draft.pieces.push(Piece::Call(Call { id, name, args, signature: None }));
    }

    fn result(&mut self, item: &Item<'a>, path: Path<'_>) -> Result<(), Error> {
        self.is_head = false;
        let id = item.call_id.and_then(word).unwrap_or_default();
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        match item.output {
            // A value that this API does not have is given to the model as JSON.
            Some(other) if !other.get().starts_with(['"', '[']) => {
                texts.push(Text::Plain(other.get().into()));
            }
            output => {
                for part in self.content(output, &|| format!("{}.output", path()))? {
                    match part {
                        PartContent::Text(text) => texts.push(text.into()),
                        PartContent::Media(one) => media.push(one),
                    }
                }
            }
        }
        let result = ToolResult { id, name: None, texts, media, is_error: false };
        self.draft.pieces.push(Piece::Result(result));
        Ok(())
    }

    fn reference(&mut self, item: &Item<'a>, path: Path<'_>) -> Result<(), Error> {
        let id = item.id.and_then(word).unwrap_or_default();
        if id.starts_with("rs_") {
            self.signature(self.remembered(&id));
            return Ok(());
        }
        // It may be a text of the model's, and an answer that does not know it would be wrong.
        let message = format!(
            "Item with id '{id}' not found. This server keeps no items: send the items themselves, \
             and set store to false (AI SDK: providerOptions.openai.store)."
        );
        Err(Refusal::error(RefusalCode::ItemNotFound, format!("{}.id", path()), message))
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

/// The content of a value, if it is a string.
fn word(value: JsonText<'_>) -> Option<Cow<'_, str>> {
    value.is_string().then(|| value.decoded())
}
