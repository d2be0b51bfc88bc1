//! Answers as Chat Completions has them (`docs/reference/dialects.md` 3).

mod frames;
pub(in crate::dialect::openai) mod logprobs;
mod object;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use super::ChatPlan;
use crate::dialect::Dialect;
use crate::dialect::openai::deltas::Deltas;
use crate::dialect::openai::error::push_object;
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::fault::Fault;
use crate::dialect::translate::json::push_string;
use crate::dialect::translate::part::AnswerEvent;
use crate::dialect::translate::usage::push_number;
use crate::error::Error;

/// Writes one answer, as a stream or whole.
#[derive(Debug)]
pub struct ChatWriter {
    deltas: Deltas,
    id: String,
    now: u64,
    include_usage: bool,
    /// The beginning of each frame, from the first event on.
    head: Vec<u8>,
}

impl ChatWriter {
    /// A writer for one answer.
    pub fn new(plan: ChatPlan, birth: Birth) -> Self {
        let (now, include_usage) = (birth.now, plan.include_usage);
        let mut deltas = Deltas::new(plan, birth);
        // An id of ours, since a cached answer has upstream's id again.
        let id = deltas.next_id("chatcmpl-");
        Self { deltas, id, now, include_usage, head: Vec::new() }
    }

    /// Writes the frames of an event. An error is found before any of them is written.
    pub fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
        if self.head.is_empty() {
            self.head =
                head(&self.id, "chat.completion.chunk", event, self.now, self.deltas.model());
        }
        let mut frames = frames::Frames::new(&self.head, self.include_usage, out);
        self.deltas.event(event, &mut frames)
    }

    /// Writes what follows the last event of a stream.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let mut frames = frames::Frames::new(&self.head, self.include_usage, out);
        self.deltas.end(false, &mut frames)?;
        if self.include_usage {
            frames.usage(&self.deltas.usage());
        }
        out.put_slice(DONE);
        Ok(())
    }

    /// Writes a sign of life.
    pub fn beat(&mut self, out: &mut BytesMut) {
        out.put_slice(BEAT);
    }

    /// Writes the error that ends a stream. Nothing follows it.
    pub fn error(&mut self, error: &Error, out: &mut BytesMut) {
        push_error(error, out);
    }

    /// How many bytes are kept for later.
    pub fn held(&self) -> usize {
        self.deltas.held()
    }

    /// Writes an answer that is not streamed.
    pub fn whole(&mut self, event: &AnswerEvent<'_>) -> Result<Bytes, Error> {
        let mut object = object::Object::default();
        self.deltas.event(event, &mut object)?;
        self.deltas.end(true, &mut object)?;
        let mut out = BytesMut::with_capacity(512 + object.len());
        push_head(&self.id, "chat.completion", event, self.now, self.deltas.model(), &mut out);
        object.push_choices(&mut out);
        out.put_slice(br#"],"usage":"#);
        self.deltas.usage().push_chat(&mut out);
        out.put_slice(br#","system_fingerprint":null,"service_tier":"default"}"#);
        Ok(out.freeze())
    }
}

/// The beginning of each frame of a stream.
pub(in crate::dialect::openai) fn head(
    id: &str,
    kind: &str,
    event: &AnswerEvent<'_>,
    now: u64,
    model: &str,
) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(128 + model.len());
    out.put_slice(b"data: ");
    push_head(id, kind, event, now, model, &mut out);
    out.to_vec()
}

/// Appends the beginning of an object, up to its choices. The time is upstream's, else ours.
pub(in crate::dialect::openai) fn push_head(
    id: &str,
    kind: &str,
    event: &AnswerEvent<'_>,
    now: u64,
    model: &str,
    out: &mut BytesMut,
) {
    let created = event.create_time.as_deref().and_then(|time| {
        let time: jiff::Timestamp = time.parse().ok()?;
        u64::try_from(time.as_second()).ok()
    });
    out.put_slice(br#"{"id":""#);
    out.put_slice(id.as_bytes());
    out.put_slice(br#"","object":""#);
    out.put_slice(kind.as_bytes());
    out.put_slice(br#"","created":"#);
    push_number(created.unwrap_or(now), out);
    out.put_slice(br#","model":"#);
    push_string(model, out);
    out.put_slice(br#","choices":["#);
}

/// Appends the frame of the error that ends a stream.
pub(in crate::dialect::openai) fn push_error(error: &Error, out: &mut BytesMut) {
    out.put_slice(br#"data: {"error":"#);
    push_object(&Fault::of(error, Dialect::OpenAi), out);
    out.put_slice(b"}\n\n");
}

/// The end of a stream.
pub(in crate::dialect::openai) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment, which readers of streams skip.
pub(in crate::dialect::openai) const BEAT: &[u8] = b": \n\n";
