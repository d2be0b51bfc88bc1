//! The answer to a request: the events of a stream, or one object (`docs/reference/dialects.md` 4.5, 4.6).

mod calls;
mod frames;
mod items;
mod object;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use super::ResponsesPlan;
use crate::dialect::Dialect;
use crate::dialect::openai::call_input::CallInput;
use crate::dialect::openai::error::push_object;
use crate::dialect::openai::logprobs::push_tokens;
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::citations::{Positions, Sources};
use crate::dialect::translate::draft::ClientToolName;
use crate::dialect::translate::fault::Fault;
use crate::dialect::translate::finish::Finish;
use crate::dialect::translate::ids::{CallIds, IdSource};
use crate::dialect::translate::json::push_string;
use crate::dialect::translate::part::{AnswerEvent, FunctionCall, Part};
use crate::dialect::translate::signatures::{Carried, CarriedKind};
use crate::dialect::translate::target::SignatureRecall;
use crate::dialect::translate::text::JsonText;
use crate::dialect::translate::usage::Usage;
use crate::error::Error;
use calls::NewCall;
use items::{ItemStatus, Items, OpenKind};
use object::{Head, Outcome};

/// Writes the answer to a request of the Responses API.
#[derive(Debug)]
pub struct ResponsesWriter {
    plan: ResponsesPlan,
    signatures: SignatureRecall,
    head: Head,
    items: Items,
    call_ids: CallIds,
    sources: Sources,
    positions: Positions,
    /// Where the open message begins, in code points of the whole text.
    message_start: usize,
    usage: Option<Usage>,
    finish: Option<Finish>,
    /// What the client gets in place of what a filter keeps back.
    refusal: Option<String>,
    has_produced: bool,
    has_begun: bool,
    has_ended: bool,
}

impl ResponsesWriter {
    /// A writer for one answer.
    pub fn new(plan: ResponsesPlan, birth: Birth) -> Self {
        let mut ids = IdSource::new(birth.seed);
        // Upstream's id would come again with each answer from the cache.
        let head = Head { id: ids.next("resp_"), created: birth.now };
        Self {
            plan,
            signatures: birth.signatures,
            head,
            items: Items::new(ids),
            call_ids: CallIds::default(),
            sources: Sources::default(),
            positions: Positions::default(),
            message_start: 0,
            usage: None,
            finish: None,
            refusal: None,
            has_produced: false,
            has_begun: false,
            has_ended: false,
        }
    }

    /// Writes an event of upstream's. An error leaves `out` as it is.
    pub fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
        let candidate = event.first_candidate();
        let finish = candidate.and_then(Finish::of);
        if let Some(finish) = &finish {
            let produces =
                candidate.is_some_and(|candidate| candidate.parts().iter().any(Part::is_product));
            if let Some(error) = finish.error(self.has_produced || produces) {
                return Err(error);
            }
        }
        if !self.has_begun {
            self.begin(event.created(), out);
        }
        if let Some(usage) = event.usage_metadata.and_then(Usage::read) {
            self.usage = Some(usage);
        }
        if let Some(candidate) = candidate {
            self.sources.note(candidate);
            let mut logprobs = BytesMut::new();
            if let Some(result) = candidate.logprobs_result.filter(|_| self.plan.logprobs) {
                push_tokens(result, &mut logprobs);
            }
            for part in candidate.parts() {
                self.part(part, &mut logprobs, out);
            }
            self.items.late_logprobs(&logprobs);
        }
        if let Some(finish) = finish {
            self.refusal = match &finish {
                Finish::Filtered { reason, message } => Some(
                    message
                        .clone()
                        .unwrap_or_else(|| format!("A filter has ended the answer ({reason}).")),
                ),
                Finish::Failed { .. } | Finish::Length | Finish::Stop => None,
            };
            self.finish = Some(finish);
        } else if let Some(finish) = event.prompt_feedback.as_ref().and_then(Finish::of_prompt) {
            self.refusal = finish.refusal();
            self.finish = Some(finish);
        }
        Ok(())
    }

    /// Writes the end of a stream that has ended without an error.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        if self.has_ended {
            return Ok(());
        }
        let outcome = self.close(out)?;
        self.has_ended = true;
        let Self { items, head, plan, usage, .. } = self;
        let Items { frames, done, .. } = items;
        frames.frame(outcome.event(), out, |out| {
            out.put_slice(b",\"response\":");
            head.push(&outcome, done, usage.unwrap_or_default().into(), plan, out);
        });
        Ok(())
    }

    /// Writes a heartbeat. Codex counts no comments, but every event
    /// (`docs/reference/dialects.md` 6.7).
    pub fn heartbeat(&mut self, out: &mut BytesMut) {
        if self.has_ended {
            return;
        }
        if self.has_begun {
            self.head("response.in_progress", out);
        } else {
            self.begin(None, out);
        }
    }

    /// Writes an error that ends the stream: once for SDKs, once for clients that read the answer's
    /// object only (`docs/reference/dialects.md` 1.4).
    pub fn error(&mut self, error: &Error, out: &mut BytesMut) {
        if self.has_ended {
            return;
        }
        if !self.has_begun {
            self.begin(None, out);
        }
        self.has_ended = true;
        let fault = Fault::of(error, Dialect::OpenAi).for_prompt_in("input");
        self.items.frames.frame("error", out, |out| {
            out.put_slice(b",\"code\":");
            push_string(fault.code.as_deref().unwrap_or_else(|| fault.response_code()), out);
            out.put_slice(b",\"message\":");
            push_string(&fault.message, out);
            out.put_slice(b",\"param\":");
            match &fault.param {
                Some(param) => push_string(param, out),
                None => out.put_slice(b"null"),
            }
            out.put_slice(b",\"error\":");
            push_object(&fault, out);
        });
        let outcome =
            Outcome::Failed { code: fault.response_code(), message: fault.message.clone() };
        let Self { items, head, plan, usage, .. } = self;
        let Items { frames, done, .. } = items;
        frames.frame(outcome.event(), out, |out| {
            out.put_slice(b",\"response\":");
            head.push(&outcome, done, *usage, plan, out);
        });
    }

    /// How many bytes are kept for the events to come.
    pub fn held(&self) -> usize {
        self.items.held() + self.sources.held() + self.positions.held() + self.call_ids.held()
    }

    /// The object of an answer that is not streamed.
    pub fn whole(mut self, event: &AnswerEvent<'_>) -> Result<Bytes, Error> {
        let mut out = BytesMut::new();
        self.items.frames.silence();
        self.event(event, &mut out)?;
        let outcome = self.close(&mut out)?;
        let usage = self.usage.unwrap_or_default();
        self.head.push(&outcome, &self.items.done, Some(usage), &self.plan, &mut out);
        Ok(out.freeze())
    }

    /// Writes the first events, which come once. The time is upstream's, else ours.
    fn begin(&mut self, created: Option<u64>, out: &mut BytesMut) {
        self.has_begun = true;
        if let Some(created) = created {
            self.head.created = created;
        }
        self.head("response.created", out);
        self.head("response.in_progress", out);
    }

    /// Writes an event with the answer's object as it is before any item.
    fn head(&mut self, kind: &str, out: &mut BytesMut) {
        let Self { items, head, plan, .. } = self;
        items.frames.frame(kind, out, |out| {
            out.put_slice(b",\"response\":");
            head.push(&Outcome::InProgress, b"", None, plan, out);
        });
    }

    fn part(&mut self, part: &Part<'_>, logprobs: &mut BytesMut, out: &mut BytesMut) {
        self.has_produced |= part.is_product();
        if let Some(call) = &part.function_call {
            // Of parallel calls only the first one may be given: the model asks again.
            if !self.plan.plan.one_call || self.call_ids.is_empty() {
                self.call(call, part.thought_signature.as_deref(), out);
            }
        } else if let Some(text) = part.written_text() {
            if part.thought == Some(true) {
                if self.items.open_kind() != Some(OpenKind::Reasoning) {
                    self.close_item(None, ItemStatus::Completed, out);
                    self.items.open_reasoning(out);
                }
                self.items.thought(text, out);
            } else {
                self.text(text, part.thought_signature.as_deref(), logprobs, out);
            }
        } else if let Some(blob) = &part.inline_data {
            if let Some((_, data)) = blob.image() {
                self.close_item(None, ItemStatus::Completed, out);
                self.items.image(data, out);
            }
        } else if let Some(code) = part.executable_code.as_ref().and_then(|code| code.code) {
            self.close_item(None, ItemStatus::Completed, out);
            self.items.open_code(code, out);
        } else if let Some(result) = &part.code_execution_result {
            self.items.close_code(result.output.filter(|output| output.is_string()), out);
        }
    }

    fn text(
        &mut self,
        text: JsonText<'_>,
        signature: Option<&str>,
        logprobs: &mut BytesMut,
        out: &mut BytesMut,
    ) {
        if self.items.open_kind() != Some(OpenKind::Message) {
            self.close_item(
                signature.map(|raw| (CarriedKind::Text, raw)),
                ItemStatus::Completed,
                out,
            );
            self.message_start = self.positions.code_point(usize::MAX);
        }
        self.positions.push(text);
        self.items.text(text, &logprobs.split(), out);
    }

    fn call(&mut self, call: &FunctionCall<'_>, signature: Option<&str>, out: &mut BytesMut) {
        let carried = signature.map(|raw| (CarriedKind::Call, raw));
        if !self.close_item(carried, ItemStatus::Completed, out)
            && let Some((kind, raw)) = carried
        {
            let encrypted = self.carried(kind, raw);
            let id = self.items.bare_reasoning(&encrypted, out);
            self.signatures.remember(&id, &encrypted);
        }
        let call_id = self.call_ids.next(call.id.as_deref(), &mut self.items.ids, "call_");
        if let Some(raw) = signature {
            self.signatures.remember(&call_id, raw);
        }
        let upstream = call.name.as_deref().unwrap_or_default();
        let named = self.plan.plan.names.of(upstream);
        let undeclared = ClientToolName { namespace: None, name: upstream.into() };
        let input = CallInput::new(call.args, named);
        let name = named.map_or(&undeclared, |tool| &tool.client);
        self.items.call(&NewCall { call_id: &call_id, name, input }, out);
    }

    /// Closes the item that is open. Thoughts take the signature of the part that follows them: `true` if
    /// there were some.
    fn close_item(
        &mut self,
        next: Option<(CarriedKind, &str)>,
        status: ItemStatus,
        out: &mut BytesMut,
    ) -> bool {
        match self.items.open_kind() {
            None => {}
            Some(OpenKind::Code) => self.items.close_code(None, out),
            Some(OpenKind::Message) => self.items.close_message(status, out),
            Some(OpenKind::Reasoning) => {
                let (kind, raw) = next.unwrap_or((CarriedKind::None, ""));
                let encrypted = self.carried(kind, raw);
                let id = self.items.close_reasoning(&encrypted, out);
                if let Some(id) = id.filter(|_| next.is_some()) {
                    self.signatures.remember(&id, &encrypted);
                }
                return true;
            }
        }
        false
    }

    fn carried(&self, kind: CarriedKind, raw: &str) -> String {
        Carried { provider: Some(self.plan.plan.provider), kind, raw }.to_string()
    }

    /// Closes the last item, and says how the answer has ended.
    fn close(&mut self, out: &mut BytesMut) -> Result<Outcome, Error> {
        let Some(finish) = self.finish.take() else {
            return Err(Error::UpstreamIncomplete);
        };
        let (outcome, status) = match &finish {
            Finish::Length => (Outcome::Incomplete("max_output_tokens"), ItemStatus::Incomplete),
            Finish::Filtered { .. } => {
                (Outcome::Incomplete("content_filter"), ItemStatus::Incomplete)
            }
            Finish::Stop | Finish::Failed { .. } => (Outcome::Completed, ItemStatus::Completed),
        };
        self.annotate(out);
        self.close_item(None, status, out);
        for query in self.sources.queries() {
            self.items.search(&query, out);
        }
        if let Some(refusal) = self.refusal.take() {
            self.items.refusal(&refusal, out);
        }
        Ok(outcome)
    }

    /// Gives the open message the pages that it is based on. They come with upstream's last event.
    fn annotate(&mut self, out: &mut BytesMut) {
        if self.sources.is_empty() || self.items.open_kind() != Some(OpenKind::Message) {
            return;
        }
        let citations = self.sources.citations(&self.positions);
        let annotations: Vec<BytesMut> = citations
            .iter()
            .filter(|citation| citation.start >= self.message_start)
            .map(|citation| object::annotation(citation, self.message_start))
            .collect();
        self.items.annotate(&annotations, out);
    }
}
