//! The edits that make a body for Vertex AI acceptable to the public Gemini API.

use bytes::Bytes;

use super::VertexClientError;
use crate::json::{Cursor, JsonString, Splice, ValueKind, quote};
use crate::provider::edits::{
    AdaptedRequest, BoundedPaths, FieldPath, MOST_EDITS, MemberFilter, is_zero,
};

pub(super) fn adapt(body: &Bytes) -> Result<AdaptedRequest, VertexClientError> {
    let mut adapter = Adapter::new(body)?;
    adapter.members(Adapter::request_field)?;
    adapter.finish(body)
}

/// The public API counts nothing but `contents`, or a whole `generateContentRequest` with its model.
pub(super) fn count(body: &Bytes, model: &str) -> Result<AdaptedRequest, VertexClientError> {
    let mut adapter = Adapter::new(body)?;
    adapter.members(Adapter::counted_field)?;
    if !adapter.counts_more || adapter.is_wrapped {
        return adapter.finish(body);
    }
    let inside = memchr::memchr(b'{', body).map_or(0, |open| open + 1);
    let mut member = br#""model":"#.to_vec();
    quote(&format!("models/{model}"), &mut member);
    member.push(b',');
    adapter.splice.replace(inside..inside, member);
    let mut adapted = adapter.finish(body)?;
    adapted.request.push_front(r#"{"generateContentRequest":"#);
    adapted.request.push("}");
    Ok(adapted)
}

/// What is done with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
}

type Refusal = VertexClientError;

struct Adapter<'a> {
    cursor: Cursor<'a>,
    splice: Splice,
    dropped: BoundedPaths,
    path: FieldPath<'a>,
    temperature_zero: Option<bool>,
    looks_outside: bool,
    /// A count has more than contents.
    counts_more: bool,
    /// A count is in the public API's own form.
    is_wrapped: bool,
}

impl<'a> Adapter<'a> {
    fn new(body: &'a [u8]) -> Result<Self, Refusal> {
        Ok(Self {
            cursor: Cursor::new(body)?,
            splice: Splice::default(),
            dropped: BoundedPaths::default(),
            path: FieldPath::default(),
            temperature_zero: None,
            looks_outside: false,
            counts_more: false,
            is_wrapped: false,
        })
    }

    /// Checks that the body ends, and makes the edits.
    fn finish(mut self, body: &Bytes) -> Result<AdaptedRequest, Refusal> {
        self.cursor.end()?;
        Ok(AdaptedRequest {
            request: self.splice.pieces(body, 0..body.len()),
            dropped: self.dropped.0,
            temperature_zero: self.temperature_zero == Some(true),
            looks_outside: self.looks_outside,
            service_tier: None,
        })
    }

    fn counted_field(&mut self, key: &JsonString<'a>) -> Result<Verdict, Refusal> {
        match &*key.value {
            // The path names it.
            b"model" => return self.drop_value(),
            b"systemInstruction"
            | b"system_instruction"
            | b"tools"
            | b"generationConfig"
            | b"generation_config" => self.counts_more = true,
            b"generateContentRequest" | b"generate_content_request" => self.is_wrapped = true,
            _ => {}
        }
        self.request_field(key)
    }

    fn request_field(&mut self, key: &JsonString<'a>) -> Result<Verdict, Refusal> {
        match &*key.value {
            b"modelArmorConfig" | b"model_armor_config" => return self.refuse_given(),
            b"outputConfig" | b"output_config" => return self.drop_value(),
            b"cachedContent" | b"cached_content" => {
                let name = self.cursor.string_or_skip()?;
                if name.is_some_and(|name| name.value.starts_with(b"projects/")) {
                    return Err(self.vertex_only());
                }
            }
            b"tools" => self.list(|adapter| adapter.members(Self::tool_field))?,
            b"safetySettings" | b"safety_settings" => {
                self.list(|adapter| adapter.members(Self::safety_field))?;
            }
            b"generationConfig" | b"generation_config" => self.members(Self::config_field)?,
            _ => {
                self.cursor.skip()?;
            }
        }
        Ok(Verdict::Keep)
    }

    fn tool_field(&mut self, key: &JsonString<'a>) -> Result<Verdict, Refusal> {
        let declares = matches!(&*key.value, b"functionDeclarations" | b"function_declarations");
        self.looks_outside |= !declares && self.cursor.kind()? != ValueKind::Null;
        match &*key.value {
            b"retrieval"
            | b"enterpriseWebSearch"
            | b"enterprise_web_search"
            | b"parallelAiSearch"
            | b"parallel_ai_search"
            | b"exaAiSearch"
            | b"exa_ai_search" => self.refuse_given(),
            _ => self.keep_value(),
        }
    }

    fn safety_field(&mut self, key: &JsonString<'a>) -> Result<Verdict, Refusal> {
        match &*key.value {
            b"method" => self.drop_value(),
            _ => self.keep_value(),
        }
    }

    fn config_field(&mut self, key: &JsonString<'a>) -> Result<Verdict, Refusal> {
        match &*key.value {
            b"routingConfig" | b"routing_config" | b"modelConfig" | b"model_config"
            | b"audioTimestamp" | b"audio_timestamp" => self.drop_value(),
            b"modelArmorConfig" | b"model_armor_config" => self.refuse_given(),
            b"temperature" => {
                let is_number = self.cursor.kind()? == ValueKind::Number;
                let value = self.cursor.skip()?;
                let zero = is_number && is_zero(self.cursor.text(value));
                self.temperature_zero = Some(zero && self.temperature_zero != Some(false));
                Ok(Verdict::Keep)
            }
            _ => self.keep_value(),
        }
    }

    /// Reads a list with `item` for each of its items. A single value in place of a list is one item.
    fn list(&mut self, item: fn(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.cursor.kind()? != ValueKind::Array {
            return item(self);
        }
        let mut inside = self.cursor.array()?;
        let mut index = 0;
        while self.cursor.item(&mut inside)? {
            self.path.enter_item(index);
            item(self)?;
            self.path.leave();
            index += 1;
        }
        Ok(())
    }

    /// Reads an object's members with `member`, and removes those that it says to drop. A value that is no
    /// object is passed on; the body itself must be one.
    fn members(
        &mut self,
        member: fn(&mut Self, &JsonString<'a>) -> Result<Verdict, Refusal>,
    ) -> Result<(), Refusal> {
        let is_body = self.cursor.at() == 0;
        if !is_body && self.cursor.kind()? != ValueKind::Object {
            self.cursor.skip()?;
            return Ok(());
        }
        let mut inside = self.cursor.object()?;
        let mut members = MemberFilter::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.path.enter(&key);
            let verdict = member(self, &key)?;
            let span = key.span.start..self.cursor.at();
            match verdict {
                Verdict::Keep => members.keep(&mut self.splice, span),
                Verdict::Drop => {
                    self.dropped.push(self.path.to_string());
                    members.remove(&mut self.splice, span);
                }
            }
            self.path.leave();
            if self.splice.len() > MOST_EDITS {
                return Err(self.cursor.malformed("too many fields to correct").into());
            }
        }
        members.close(&mut self.splice);
        Ok(())
    }

    fn keep_value(&mut self) -> Result<Verdict, Refusal> {
        self.cursor.skip()?;
        Ok(Verdict::Keep)
    }

    fn drop_value(&mut self) -> Result<Verdict, Refusal> {
        self.cursor.skip()?;
        Ok(Verdict::Drop)
    }

    /// Refuses a value unless it is null; the public API does not know the field, so null is dropped.
    fn refuse_given(&mut self) -> Result<Verdict, Refusal> {
        let kind = self.cursor.kind()?;
        self.cursor.skip()?;
        if kind == ValueKind::Null { Ok(Verdict::Drop) } else { Err(self.vertex_only()) }
    }

    fn vertex_only(&self) -> Refusal {
        VertexClientError::VertexOnly { field: self.path.to_string() }
    }
}
