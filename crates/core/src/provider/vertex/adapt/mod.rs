//! The edits that make a request of the Gemini API acceptable to Vertex AI
//! (`docs/reference/upstreams.md` 3.2), as splices over the client's own bytes.
//!
//! A field is recognised in both of its spellings (camel and snake case), also when its name is
//! written with escapes. What Vertex refuses for a reason is passed on: its own message is the best.

mod config;
mod count;
mod fields;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Cursor, JsonError, JsonString, Splice, ValueKind};
use crate::provider::edits::{
    AdaptedRequest, BoundedPaths, FieldPath, MOST_EDITS, MemberFilter, ServiceTier,
    numbered_categories, unusual_role,
};
use crate::provider::vertex::path::VertexPaths;
use crate::provider::vertex_client::VertexClientError;
use crate::provider::vertex_client::names::{self, OwnName};
use fields::{RequestField, TierValue};

/// Adapts the body of `generateContent` or `streamGenerateContent`. The name of cached content gets the
/// upstream's own project and location, or is refused.
pub fn generate(body: &Bytes, paths: &VertexPaths) -> Result<AdaptedRequest, VertexClientError> {
    adapted(body, paths, Scope::Generate)
}

/// Adapts the body that creates or changes cached content. Its model gets its full name.
pub(crate) fn cached_content(
    body: &Bytes,
    paths: &VertexPaths,
) -> Result<AdaptedRequest, VertexClientError> {
    adapted(body, paths, Scope::Cached)
}

fn adapted(
    body: &Bytes,
    paths: &VertexPaths,
    scope: Scope,
) -> Result<AdaptedRequest, VertexClientError> {
    let mut adapter = Adapter { paths: Some(paths), ..Adapter::new(body)? };
    adapter.request(scope)?;
    match adapter.foreign.take() {
        Some(field) => Err(VertexClientError::ForeignName { field }),
        None => Ok(adapter.finish(body)?),
    }
}

/// Adapts the body of `countTokens`, in either of its two forms.
///
/// In the public API the two forms exclude each other. Of a body with both only the
/// `generateContentRequest` is used, and the other fields are reported as dropped.
pub fn count(body: &Bytes) -> Result<AdaptedRequest, JsonError> {
    count::adapt(body)
}

/// Which fields a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All.
    Generate,
    /// All, and the full name of a model.
    Cached,
    /// All, and a `generateContentRequest` that is null.
    Count,
    /// Those that Vertex's countTokens has.
    Counted,
}

/// The walk through one body, with the edits found so far.
struct Adapter<'a> {
    cursor: Cursor<'a>,
    splice: Splice,
    dropped: BoundedPaths,
    /// The path of the value at the cursor.
    path: FieldPath<'a>,
    /// Whether every temperature so far was zero; `None` before the first.
    temperature_zero: Option<bool>,
    /// Whether a tool is no list of function declarations.
    looks_outside: bool,
    service_tier: Option<ServiceTier>,
    /// Where the upstream's own resources are.
    paths: Option<&'a VertexPaths>,
    /// The field with a name in another project or location.
    foreign: Option<String>,
}

impl<'a> Adapter<'a> {
    fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        Ok(Self {
            cursor: Cursor::new(body)?,
            splice: Splice::default(),
            dropped: BoundedPaths::default(),
            path: FieldPath::default(),
            temperature_zero: None,
            looks_outside: false,
            service_tier: None,
            paths: None,
            foreign: None,
        })
    }

    /// Checks that the body ends, and makes the edits.
    fn finish(mut self, body: &Bytes) -> Result<AdaptedRequest, JsonError> {
        self.cursor.end()?;
        Ok(AdaptedRequest {
            request: self.splice.pieces(body, 0..body.len()),
            dropped: self.dropped.0,
            temperature_zero: self.temperature_zero == Some(true),
            looks_outside: self.looks_outside,
            service_tier: self.service_tier,
        })
    }

    /// A `GenerateContentRequest`, or what countTokens takes of it.
    fn request(&mut self, scope: Scope) -> Result<(), JsonError> {
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.path.enter(&key);
            let keep = match RequestField::named(&key.value) {
                RequestField::Contents => self.list(Self::content)?,
                RequestField::SystemInstruction => self.system_instruction()?,
                RequestField::Tools => self.list(Self::tool)?,
                RequestField::CachedContent if scope == Scope::Generate => self.cached_content()?,
                RequestField::GenerationConfig => self.generation_config()?,
                _ if scope == Scope::Counted => self.removed()?,
                RequestField::SafetySettings => self.list(Self::safety_setting)?,
                RequestField::ToolConfig => self.tool_config()?,
                RequestField::ServiceTier => self.service_tier()?,
                RequestField::Store => self.removed()?,
                RequestField::GenerateContentRequest if scope == Scope::Count => {
                    self.cursor.skip()?;
                    false
                }
                RequestField::Model if scope == Scope::Cached => self.model()?,
                RequestField::CachedContent
                | RequestField::Model
                | RequestField::GenerateContentRequest
                | RequestField::Other => self.passed()?,
            };
            self.member(&mut members, &key, keep)?;
            self.path.leave();
        }
        members.close(&mut self.splice);
        Ok(())
    }

    /// Reads a list with `item` for each of its items. A single object in place of a list is one item:
    /// proto JSON takes it so.
    fn list(&mut self, item: fn(&mut Self) -> Result<(), JsonError>) -> Result<bool, JsonError> {
        match self.cursor.kind()? {
            ValueKind::Array => {
                let mut inside = self.cursor.array()?;
                let mut index = 0;
                while self.cursor.item(&mut inside)? {
                    self.path.enter_item(index);
                    item(self)?;
                    self.path.leave();
                    index += 1;
                }
            }
            ValueKind::Object => item(self)?,
            ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::Null => {
                self.cursor.skip()?;
            }
        }
        Ok(true)
    }

    /// A `Content`. The role `user` is set where there is none, and in place of `function` and `tool`.
    fn content(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let start = self.cursor.at();
        let (mut empty, mut has_role) = (true, false);
        while let Some(key) = self.cursor.key(&mut inside)? {
            empty = false;
            match &*key.value {
                b"role" => {
                    has_role = true;
                    if let Some(span) = unusual_role(&mut self.cursor)? {
                        self.replace(span, r#""user""#)?;
                    }
                }
                b"parts" => self.parts(&key)?,
                _ => {
                    self.cursor.skip()?;
                }
            }
        }
        if !has_role {
            let role = if empty { r#""role":"user""# } else { r#""role":"user","# };
            self.replace(start..start, role)?;
        }
        Ok(())
    }

    /// A `Content` whose role Vertex does not read, or a form of it that Vertex refuses.
    fn system_instruction(&mut self) -> Result<bool, JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            return self.passed();
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            if *key.value == *b"parts" {
                self.parts(&key)?;
            } else {
                self.cursor.skip()?;
            }
        }
        Ok(true)
    }

    fn parts(&mut self, key: &JsonString<'a>) -> Result<(), JsonError> {
        self.path.enter(key);
        self.list(|this| this.without(|key| matches!(key, b"partMetadata" | b"part_metadata")))?;
        self.path.leave();
        Ok(())
    }

    fn model(&mut self) -> Result<bool, JsonError> {
        let Some(text) = self.cursor.string_or_skip()? else { return Ok(true) };
        let span = text.span.clone();
        // Vertex itself says what is wrong with a name.
        if let Some(Ok(name)) = self.paths.map(|paths| paths.full_model_name(&text.into_str())) {
            self.splice.replace(span, names::quoted(&name));
        }
        Ok(true)
    }

    fn cached_content(&mut self) -> Result<bool, JsonError> {
        let Some(text) = self.cursor.string_or_skip()? else { return Ok(true) };
        let Some(paths) = self.paths else { return Ok(true) };
        let span = text.span.clone();
        match names::own(&text.into_str(), paths) {
            OwnName::Unchanged => {}
            OwnName::Changed(name) => self.splice.replace(span, names::quoted(&name)),
            OwnName::Foreign => self.foreign = Some(self.path.to_string()),
        }
        Ok(true)
    }

    fn tool_config(&mut self) -> Result<bool, JsonError> {
        self.without(|key| {
            matches!(
                key,
                b"includeServerSideToolInvocations" | b"include_server_side_tool_invocations"
            )
        })?;
        Ok(true)
    }

    fn tool(&mut self) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            let declares =
                matches!(&*key.value, b"functionDeclarations" | b"function_declarations");
            self.looks_outside |= !declares && self.cursor.kind()? != ValueKind::Null;
            self.cursor.skip()?;
        }
        Ok(())
    }

    fn safety_setting(&mut self) -> Result<(), JsonError> {
        for (span, name) in numbered_categories(&mut self.cursor)? {
            self.replace(span, name)?;
        }
        Ok(())
    }

    /// The tier becomes a header: Vertex refuses one spelling of it in a body and ignores the other.
    /// It is not reported as dropped, unless it is none that the header has.
    fn service_tier(&mut self) -> Result<bool, JsonError> {
        let value = self.cursor.skip()?;
        match TierValue::read(self.cursor.text(value)) {
            TierValue::Standard => self.service_tier = None,
            TierValue::Shared(tier) => self.service_tier = Some(tier),
            TierValue::Unknown => self.drop_here(),
        }
        Ok(false)
    }

    /// An object, without its members of certain names. A value that is no object is passed on.
    fn without(&mut self, is_removed: fn(&[u8]) -> bool) -> Result<(), JsonError> {
        if self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            let keep = !is_removed(&key.value);
            self.cursor.skip()?;
            if !keep {
                self.path.enter(&key);
                self.drop_here();
                self.path.leave();
            }
            self.member(&mut members, &key, keep)?;
        }
        members.close(&mut self.splice);
        Ok(())
    }

    /// Keeps or removes the member that ends at the cursor.
    fn member(
        &mut self,
        members: &mut MemberFilter,
        key: &JsonString<'_>,
        keep: bool,
    ) -> Result<(), JsonError> {
        let member = key.span.start..self.cursor.at();
        if keep {
            members.keep(&mut self.splice, member);
        } else {
            members.remove(&mut self.splice, member);
        }
        self.bound()
    }

    /// Steps over a value that is kept.
    fn passed(&mut self) -> Result<bool, JsonError> {
        self.cursor.skip()?;
        Ok(true)
    }

    /// Steps over a value that is removed, and reports it.
    fn removed(&mut self) -> Result<bool, JsonError> {
        self.cursor.skip()?;
        self.drop_here();
        Ok(false)
    }

    fn replace(&mut self, span: Range<usize>, by: &'static str) -> Result<(), JsonError> {
        self.splice.replace(span, by);
        self.bound()
    }

    /// Bounds the memory for edits.
    fn bound(&self) -> Result<(), JsonError> {
        if self.splice.len() > MOST_EDITS {
            return Err(self.cursor.malformed("too many fields to correct"));
        }
        Ok(())
    }

    fn drop_here(&mut self) {
        self.dropped.push(self.path.to_string());
    }
}
