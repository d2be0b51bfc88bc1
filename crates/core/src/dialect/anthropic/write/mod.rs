//! An answer of Gemini's as a message of Anthropic's, streamed or whole
//! (`docs/reference/dialects.md` 5.5).
//!
//! How the message has ended is written when upstream's stream has ended, since token counts and late
//! parts may follow Gemini's `finishReason`.

mod blocks;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use self::blocks::{Blocks, OpenBlock, ToolUse, begin_frame, end_frame};
use super::{MessagesPlan, error};
use crate::dialect::Dialect;
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::citations::Sources;
use crate::dialect::translate::fault::Fault;
use crate::dialect::translate::finish::Finish;
use crate::dialect::translate::ids::{CallIds, IdSource};
use crate::dialect::translate::json::{push_escaped, push_number, push_string, push_written};
use crate::dialect::translate::part::{AnswerEvent, Blob, Candidate, FunctionCall, Part};
use crate::dialect::translate::signatures::{Carried, CarriedKind};
use crate::dialect::translate::target::SignatureRecall;
use crate::dialect::translate::text::JsonText;
use crate::dialect::translate::usage::Usage;
use crate::error::Error;

/// Writes one answer.
#[derive(Debug)]
pub struct MessagesWriter {
    plan: MessagesPlan,
    signatures: SignatureRecall,
    ids: IdSource,
    request_id: String,
    blocks: Blocks,
    has_begun: bool,
    has_called: bool,
    /// Something other than a thought has come.
    has_produced: bool,
    call_ids: CallIds,
    usage: Usage,
    finish: Option<Finish>,
    sources: Sources,
}

impl MessagesWriter {
    /// A writer for the answer to a request.
    pub fn new(plan: MessagesPlan, birth: Birth) -> Self {
        let provider = Some(plan.plan.provider);
        let unsigned = Carried { provider, kind: CarriedKind::None, raw: "" };
        Self {
            blocks: Blocks::frames(unsigned.to_string()),
            plan,
            signatures: birth.signatures,
            ids: IdSource::new(birth.seed),
            request_id: String::new(),
            has_begun: false,
            has_called: false,
            has_produced: false,
            call_ids: CallIds::default(),
            usage: Usage::default(),
            finish: None,
            sources: Sources::default(),
        }
    }

    /// Gives the request's id, which errors repeat.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Writes the frames of one event. An answer that has failed with nothing to show is an error, and
    /// nothing is written then.
    pub fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
        self.note(event)?;
        if !self.has_begun {
            self.has_begun = true;
            self.push_start(out);
        }
        self.push_parts(event, out);
        Ok(())
    }

    /// Writes how the message has ended. A stream without an end is an error.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let finish = self.ended()?;
        self.blocks.close(out);
        let searches = self.push_search(out);
        begin_frame("message_delta", out);
        out.put_slice(br#","delta":{"stop_reason":"#);
        push_string(self.stop_reason(&finish), out);
        out.put_slice(br#","stop_sequence":null"#);
        if let Finish::Filtered { .. } = finish {
            out.put_slice(br#","stop_details":"#);
            push_stop_details(&finish, out);
        }
        out.put_slice(br#"},"usage":"#);
        self.push_usage(searches, out);
        end_frame(out);
        begin_frame("message_stop", out);
        end_frame(out);
        Ok(())
    }

    /// Writes a heartbeat.
    pub fn heartbeat(&mut self, out: &mut BytesMut) {
        out.put_slice(HEARTBEAT);
    }

    /// Writes the error that ends the stream.
    pub fn error(&mut self, error: &Error, out: &mut BytesMut) {
        let fault = Fault::of(error, Dialect::Anthropic);
        begin_frame("error", out);
        out.put_slice(br#","error":"#);
        error::push_object(&fault, out);
        out.put_slice(br#","request_id":"#);
        push_string(&self.request_id, out);
        end_frame(out);
    }

    /// How many bytes are kept for later.
    pub fn held(&self) -> usize {
        let words = match &self.finish {
            Some(Finish::Filtered { reason, message } | Finish::Failed { reason, message }) => {
                reason.len() + message.as_ref().map_or(0, String::len)
            }
            _ => 0,
        };
        self.sources.held() + self.call_ids.held() + words
    }

    /// The whole message.
    pub fn whole(mut self, event: &AnswerEvent<'_>) -> Result<Bytes, Error> {
        self.note(event)?;
        let finish = self.ended()?;
        self.blocks.make_array();
        let mut out = BytesMut::with_capacity(512);
        self.push_head(&mut out);
        self.push_parts(event, &mut out);
        self.blocks.close(&mut out);
        let searches = self.push_search(&mut out);
        out.put_slice(br#"],"stop_reason":"#);
        push_string(self.stop_reason(&finish), &mut out);
        out.put_slice(br#","stop_sequence":null,"stop_details":"#);
        push_stop_details(&finish, &mut out);
        out.put_slice(br#","usage":"#);
        self.push_usage(searches, &mut out);
        out.put_u8(b'}');
        Ok(out.freeze())
    }

    /// Takes what is not written at once.
    fn note(&mut self, event: &AnswerEvent<'_>) -> Result<(), Error> {
        if let Some(usage) = event.usage_metadata.and_then(Usage::read) {
            self.usage = usage;
        }
        if let Some(feedback) = &event.prompt_feedback
            && let Some(finish) = Finish::of_prompt(feedback)
        {
            self.finish = Some(finish);
        }
        let Some(candidate) = event.first_candidate() else { return Ok(()) };
        self.sources.note(candidate);
        self.has_produced |= candidate.parts().iter().any(Part::is_product);
        if let Some(finish) = Finish::of(candidate) {
            if let Some(error) = finish.error(self.has_produced) {
                return Err(error);
            }
            self.finish = Some(finish);
        }
        Ok(())
    }

    /// How the answer has ended.
    fn ended(&mut self) -> Result<Finish, Error> {
        self.finish.take().ok_or(Error::UpstreamIncomplete)
    }

    fn push_start(&mut self, out: &mut BytesMut) {
        begin_frame("message_start", out);
        out.put_slice(br#","message":"#);
        self.push_head(out);
        out.put_slice(br#"],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":"#);
        push_number(self.usage.uncached_input_tokens(), out);
        out.put_slice(br#","output_tokens":1,"cache_read_input_tokens":"#);
        push_number(self.usage.cached, out);
        out.put_slice(br#","cache_creation_input_tokens":0}}"#);
        end_frame(out);
        out.put_slice(HEARTBEAT);
    }

    /// Writes a message as far as its content. Its id is new: Claude Code merges messages with one id.
    fn push_head(&mut self, out: &mut BytesMut) {
        out.put_slice(br#"{"id":"#);
        push_string(&self.ids.next("msg_"), out);
        out.put_slice(br#","type":"message","role":"assistant","model":"#);
        push_string(&self.plan.plan.model, out);
        out.put_slice(br#","content":["#);
    }

    fn push_parts(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) {
        for part in event.first_candidate().map(Candidate::parts).unwrap_or_default() {
            self.push_part(part, out);
        }
    }

    /// Writes a part. Parts of unknown kinds, and media other than images, have no form in a message.
    fn push_part(&mut self, part: &Part<'_>, out: &mut BytesMut) {
        let signature = part.thought_signature.as_deref().filter(|signature| !signature.is_empty());
        if let Some(call) = &part.function_call {
            self.push_call(call, signature, out);
        } else if let Some(text) = part.written_text() {
            if part.thought == Some(true) {
                if self.plan.thinking && self.plan.shows_thoughts {
                    self.blocks.thinking(out, |out| push_written(text.escaped(), out));
                }
                return;
            }
            // The signature of a text is optional, and a text that goes on has no place before it.
            if self.plan.thinking && self.blocks.open() != Some(OpenBlock::Text) {
                self.carry(signature, CarriedKind::Text, out);
            }
            self.blocks.text(out, |out| push_written(text.escaped(), out));
        } else if let Some(code) = &part.executable_code {
            let language = code.language.as_deref().unwrap_or_default().to_ascii_lowercase();
            self.push_fenced(&language, code.code, out);
        } else if let Some(result) = &part.code_execution_result {
            self.push_fenced("output", result.output, out);
        } else if let Some(blob) = &part.inline_data {
            self.push_image(blob, out);
        }
    }

    fn push_call(&mut self, call: &FunctionCall<'_>, signature: Option<&str>, out: &mut BytesMut) {
        if self.plan.plan.one_call && self.has_called {
            return;
        }
        self.has_called = true;
        let id = self.call_ids.next(call.id.as_deref(), &mut self.ids, "toolu_");
        if let Some(signature) = signature {
            self.signatures.remember(&id, signature);
        }
        if self.plan.thinking {
            self.carry(signature, CarriedKind::Call, out);
        }
        let upstream = call.name.as_deref().unwrap_or_default();
        let named = self.plan.plan.names.of(upstream);
        let call = ToolUse {
            id: &id,
            name: named.map_or(upstream, |tool| &tool.client.name),
            input: call
                .args
                .map(|args| args.get())
                .filter(|args| args.starts_with('{'))
                .unwrap_or("{}"),
            signature: signature.filter(|_| !self.plan.thinking),
        };
        self.blocks.tool_use(&call, out);
    }

    /// Writes the signature of the part that comes next, in the `thinking` block before it.
    fn carry(&mut self, signature: Option<&str>, kind: CarriedKind, out: &mut BytesMut) {
        let Some(raw) = signature else { return };
        let carried = Carried { provider: Some(self.plan.plan.provider), kind, raw };
        self.blocks.sign(&carried.to_string(), out);
    }

    fn push_fenced(&mut self, language: &str, code: Option<JsonText<'_>>, out: &mut BytesMut) {
        self.blocks.text(out, |out| {
            out.put_slice(br"\n```");
            push_escaped(language, out);
            out.put_slice(br"\n");
            let code = code.filter(|code| code.is_string()).map_or("", JsonText::escaped);
            push_written(code, out);
            if !code.is_empty() && !code.ends_with(r"\n") {
                out.put_slice(br"\n");
            }
            out.put_slice(br"```\n");
        });
    }

    /// Writes an image as Markdown. It is uncertain that a client shows it: a message has no other form.
    fn push_image(&mut self, blob: &Blob<'_>, out: &mut BytesMut) {
        let Some((mime, data)) = blob.image() else { return };
        self.blocks.text(out, |out| {
            out.put_slice(b"![image](data:");
            push_escaped(mime, out);
            out.put_slice(b";base64,");
            push_written(data.escaped(), out);
            out.put_u8(b')');
        });
    }

    /// Writes the searches that Google has made, and returns how many there were. Gemini names them with
    /// the last event, so that they come after the text.
    fn push_search(&mut self, out: &mut BytesMut) -> usize {
        let (queries, pages) = (self.sources.queries(), self.sources.pages());
        if queries.is_empty() && pages.is_empty() {
            return 0;
        }
        // Gemini does not say which query has found which page.
        let id = self.ids.next("srvtoolu_");
        self.blocks.search(&id, &queries.join("; "), &pages, out);
        queries.len().max(1)
    }

    fn stop_reason(&self, finish: &Finish) -> &'static str {
        match finish {
            Finish::Length => "max_tokens",
            Finish::Filtered { .. } => "refusal",
            Finish::Stop | Finish::Failed { .. } if self.has_called => "tool_use",
            Finish::Stop | Finish::Failed { .. } => "end_turn",
        }
    }

    fn push_usage(&self, searches: usize, out: &mut BytesMut) {
        out.put_slice(br#"{"input_tokens":"#);
        push_number(self.usage.uncached_input_tokens(), out);
        out.put_slice(br#","cache_read_input_tokens":"#);
        push_number(self.usage.cached, out);
        out.put_slice(br#","cache_creation_input_tokens":0,"output_tokens":"#);
        push_number(self.usage.output_tokens(), out);
        out.put_slice(br#","output_tokens_details":{"thinking_tokens":"#);
        push_number(self.usage.thoughts, out);
        out.put_u8(b'}');
        if searches > 0 {
            out.put_slice(br#","server_tool_use":{"web_search_requests":"#);
            push_number(searches as u64, out);
            out.put_u8(b'}');
        }
        out.put_u8(b'}');
    }
}

/// A heartbeat: an event of its own, since clients count events.
pub const HEARTBEAT: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

fn push_stop_details(finish: &Finish, out: &mut BytesMut) {
    let Finish::Filtered { reason, message } = finish else {
        out.put_slice(b"null");
        return;
    };
    let message = message.as_deref().unwrap_or("Google has stopped the request or its answer.");
    out.put_slice(br#"{"type":"refusal","category":null,"explanation":"#);
    push_string(&format!("{reason}: {message}"), out);
    out.put_u8(b'}');
}
