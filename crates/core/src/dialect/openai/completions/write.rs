//! Answers as the legacy completions have them: texts only.

use bytes::{BufMut, Bytes, BytesMut};

use crate::dialect::openai::chat::ChatPlan;
use crate::dialect::openai::deltas::{Delta, DeltaSink, Deltas};
use crate::dialect::openai::frames::{
    DONE, HEARTBEAT, head, push_end, push_error, push_head, push_usage,
};
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::json::{push_number, push_written};
use crate::dialect::translate::part::AnswerEvent;
use crate::error::Error;

/// Writes one answer, as a stream or whole. Thoughts are left out.
#[derive(Debug)]
pub struct CompletionsWriter {
    deltas: Deltas,
    id: String,
    now: u64,
    include_usage: bool,
    /// The beginning of each frame, from the first event on.
    head: Vec<u8>,
}

impl CompletionsWriter {
    /// A writer for one answer.
    pub fn new(plan: ChatPlan, birth: Birth) -> Self {
        let (now, include_usage) = (birth.now, plan.include_usage);
        let mut deltas = Deltas::new(ChatPlan { thought_tag: None, ..plan }, birth);
        let id = deltas.next_id("cmpl-");
        Self { deltas, id, now, include_usage, head: Vec::new() }
    }

    /// Writes the frames of an event. An error is found before any of them is written.
    pub fn event(&mut self, event: &AnswerEvent<'_>, out: &mut BytesMut) -> Result<(), Error> {
        if self.head.is_empty() {
            self.head = head(&self.id, KIND, event, self.now, self.deltas.model());
        }
        let mut frames = TextFrames { head: &self.head, include_usage: self.include_usage, out };
        self.deltas.event(event, &mut frames)
    }

    /// Writes what follows the last event of a stream.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let include_usage = self.include_usage;
        let mut frames = TextFrames { head: &self.head, include_usage, out: &mut *out };
        self.deltas.end(&mut frames)?;
        if include_usage {
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
        let mut texts = Texts::default();
        self.deltas.event(event, &mut texts)?;
        self.deltas.end(&mut texts)?;
        let mut out = BytesMut::with_capacity(512);
        push_head(&self.id, KIND, event, self.now, self.deltas.model(), &mut out);
        texts.choices.sort_by_key(|(index, ..)| *index);
        for (place, (index, text, finish)) in texts.choices.iter().enumerate() {
            if place > 0 {
                out.put_u8(b',');
            }
            let pieces = [std::str::from_utf8(text).unwrap_or_default()];
            push_choice(*index, &pieces, Some(finish), &mut out);
        }
        out.put_slice(br#"],"usage":"#);
        self.deltas.usage().push_chat(&mut out);
        out.put_slice(br#","system_fingerprint":null}"#);
        Ok(out.freeze())
    }
}

const KIND: &str = "text_completion";

/// Writes each piece of the text as a frame.
struct TextFrames<'w> {
    head: &'w [u8],
    include_usage: bool,
    out: &'w mut BytesMut,
}

impl DeltaSink for TextFrames<'_> {
    fn delta(&mut self, index: u32, delta: Delta<'_>) {
        let (pieces, finish) = match delta {
            Delta::Text { pieces, .. } => (pieces, None),
            Delta::Finish(word) => ([""; 3], Some(word)),
            _ => return,
        };
        self.out.put_slice(self.head);
        push_choice(index, &pieces, finish, self.out);
        push_end(self.include_usage, self.out);
    }
}

/// Collects the texts: of each choice its index, the inside of a JSON string, and why it has ended.
#[derive(Default)]
struct Texts {
    choices: Vec<(u32, BytesMut, &'static str)>,
}

impl DeltaSink for Texts {
    fn delta(&mut self, index: u32, delta: Delta<'_>) {
        if let Delta::Begin { .. } = delta {
            self.choices.push((index, BytesMut::new(), "stop"));
        }
        let choice = self.choices.iter_mut().find(|(known, ..)| *known == index);
        let Some((_, text, finish)) = choice else { return };
        match delta {
            Delta::Text { pieces, .. } => pieces.iter().for_each(|piece| push_written(piece, text)),
            Delta::Finish(word) => *finish = word,
            _ => {}
        }
    }
}

fn push_choice(index: u32, pieces: &[&str], finish: Option<&str>, out: &mut BytesMut) {
    out.put_slice(br#"{"text":""#);
    pieces.iter().for_each(|piece| push_written(piece, out));
    out.put_slice(br#"","index":"#);
    push_number(index.into(), out);
    out.put_slice(br#","logprobs":null,"finish_reason":"#);
    match finish {
        Some(word) => {
            out.put_u8(b'"');
            out.put_slice(word.as_bytes());
            out.put_slice(br#""}"#);
        }
        None => out.put_slice(b"null}"),
    }
}
