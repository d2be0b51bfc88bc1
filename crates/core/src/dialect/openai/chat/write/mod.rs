//! Answers as Chat Completions has them (`docs/reference/dialects.md` 3).

mod frames;
mod object;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use super::ChatPlan;
use crate::dialect::openai::deltas::Deltas;
use crate::dialect::openai::frames::{DONE, HEARTBEAT, head, push_error, push_head, push_usage};
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::part::AnswerEvent;
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
        let mut frames = frames::Frames::new(&self.head, self.include_usage, &mut *out);
        self.deltas.end(&mut frames)?;
        if self.include_usage {
            push_usage(&self.head, &self.deltas.usage(), out);
        }
        out.put_slice(DONE);
        Ok(())
    }

    /// Writes a heartbeat.
    pub fn heartbeat(&mut self, out: &mut BytesMut) {
        out.put_slice(HEARTBEAT);
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
        self.deltas.end(&mut object)?;
        let mut out = BytesMut::with_capacity(512 + object.len());
        push_head(&self.id, "chat.completion", event, self.now, self.deltas.model(), &mut out);
        object.push_choices(&mut out);
        out.put_slice(br#"],"usage":"#);
        self.deltas.usage().push_chat(&mut out);
        out.put_slice(br#","system_fingerprint":null,"service_tier":"default"}"#);
        Ok(out.freeze())
    }
}
