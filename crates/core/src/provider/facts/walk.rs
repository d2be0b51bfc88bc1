//! The walk through the fields of a request that matter for other upstreams.

use super::signature::is_signature;
use crate::json::{Cursor, JsonError, JsonString, ValueKind};
use crate::provider::edits::is_zero;

/// What the walk found besides the signatures.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whether every temperature so far was zero; `None` before the first.
    pub(super) temperature_zero: Option<bool>,
    pub(super) looks_outside: bool,
    pub(super) bound: Option<&'static str>,
}

/// The walk through one body.
pub(super) struct Walk<'a, S> {
    cursor: Cursor<'a>,
    found: Found,
    /// What each thought signature is given to.
    signature: S,
}

impl<'a, S: FnMut(JsonString<'a>)> Walk<'a, S> {
    /// Walks through a body that must be one object.
    pub(super) fn over(body: &'a [u8], signature: S) -> Result<Found, JsonError> {
        let mut walk = Self { cursor: Cursor::new(body)?, found: Found::default(), signature };
        walk.request(true)?;
        walk.cursor.end()?;
        Ok(walk.found)
    }

    /// A request of any method on a model. `outermost` bounds the depth.
    fn request(&mut self, outermost: bool) -> Result<(), JsonError> {
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            match &*key.value {
                b"contents" | b"content" | b"systemInstruction" | b"system_instruction" => {
                    self.list(Self::content)?;
                }
                b"tools" => self.list(Self::tool)?,
                b"generationConfig" | b"generation_config" => self.generation_config()?,
                b"generateContentRequest" | b"generate_content_request" | b"requests"
                    if outermost =>
                {
                    self.list(|walk| match walk.cursor.kind()? {
                        ValueKind::Object => walk.request(false),
                        _ => walk.skip(),
                    })?;
                }
                b"cachedContent" | b"cached_content" => self.bind_if_given("cachedContent")?,
                b"previousInteractionId" | b"previous_interaction_id" => {
                    self.bind_if_given("previous_interaction_id")?;
                }
                b"modelArmorConfig" | b"model_armor_config" => {
                    self.bind_if_given("modelArmorConfig")?;
                }
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    /// Reads a list with `item` for each of its items. A single value in place of a list is one item.
    fn list(&mut self, item: fn(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Array {
            return item(self);
        }
        let mut inside = self.cursor.array()?;
        while self.cursor.item(&mut inside)? {
            item(self)?;
        }
        Ok(())
    }

    /// An object with parts: a `Content`, or the response of a function.
    fn content(&mut self) -> Result<(), JsonError> {
        self.members(|walk, key| match key {
            b"parts" => walk.list(Self::part),
            _ => walk.skip(),
        })
    }

    fn part(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            return self.skip();
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            match &*key.value {
                b"thoughtSignature" | b"thought_signature" => {
                    let text = self.cursor.string_or_skip()?;
                    if let Some(text) = text.filter(is_signature) {
                        (self.signature)(text);
                    }
                }
                b"fileData" | b"file_data" => self.file_data()?,
                b"functionResponse" | b"function_response" => self.content()?,
                b"toolCall" | b"tool_call" => self.bind_if_given("toolCall")?,
                b"toolResponse" | b"tool_response" => self.bind_if_given("toolResponse")?,
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    fn file_data(&mut self) -> Result<(), JsonError> {
        self.members(|walk, key| {
            if !matches!(key, b"fileUri" | b"file_uri") {
                return walk.skip();
            }
            let uri = walk.cursor.string_or_skip()?;
            if let Some(bound) = uri.and_then(|uri| bound_by_uri(&uri.value)) {
                walk.bind(bound);
            }
            Ok(())
        })
    }

    fn tool(&mut self) -> Result<(), JsonError> {
        self.members(|walk, key| {
            let bound = match key {
                b"functionDeclarations" | b"function_declarations" => return walk.skip(),
                b"fileSearch" | b"file_search" => "tools.fileSearch",
                b"mcpServers" | b"mcp_servers" => "tools.mcpServers",
                b"retrieval" => "tools.retrieval",
                b"enterpriseWebSearch" | b"enterprise_web_search" => "tools.enterpriseWebSearch",
                b"parallelAiSearch" | b"parallel_ai_search" => "tools.parallelAiSearch",
                b"exaAiSearch" | b"exa_ai_search" => "tools.exaAiSearch",
                _ => {
                    walk.found.looks_outside |= walk.cursor.kind()? != ValueKind::Null;
                    return walk.skip();
                }
            };
            walk.found.looks_outside |= walk.cursor.kind()? != ValueKind::Null;
            walk.bind_if_given(bound)
        })
    }

    fn generation_config(&mut self) -> Result<(), JsonError> {
        self.members(|walk, key| {
            match key {
                b"temperature" => {
                    let is_number = walk.cursor.kind()? == ValueKind::Number;
                    let value = walk.cursor.skip()?;
                    let zero = is_number && is_zero(walk.cursor.text(value));
                    let before = walk.found.temperature_zero;
                    walk.found.temperature_zero = Some(zero && before != Some(false));
                }
                b"modelArmorConfig" | b"model_armor_config" => {
                    walk.bind_if_given("modelArmorConfig")?;
                }
                _ => walk.skip()?,
            }
            Ok(())
        })
    }

    /// Reads an object's members with `member`; steps over what is no object.
    fn members(
        &mut self,
        member: fn(&mut Self, &[u8]) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            return self.skip();
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            member(self, &key.value)?;
        }
        Ok(())
    }

    /// Steps over a value that binds the request, unless it is null or an empty string.
    fn bind_if_given(&mut self, bound: &'static str) -> Result<(), JsonError> {
        let value = self.cursor.skip()?;
        if !matches!(self.cursor.text(value), b"null" | br#""""#) {
            self.bind(bound);
        }
        Ok(())
    }

    fn bind(&mut self, bound: &'static str) {
        self.found.bound.get_or_insert(bound);
    }

    fn skip(&mut self) -> Result<(), JsonError> {
        self.cursor.skip().map(drop)
    }
}

/// What a file's URI binds a request to. Web pages and videos bind to nothing.
fn bound_by_uri(uri: &[u8]) -> Option<&'static str> {
    let starts_with = |start: &str| {
        uri.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    if starts_with("gs://") {
        Some("fileData in Cloud Storage")
    } else if starts_with("https://generativelanguage.googleapis.com/")
        || starts_with("http://generativelanguage.googleapis.com/")
        || starts_with("files/")
    {
        Some("fileData of the Files API")
    } else {
        None
    }
}
