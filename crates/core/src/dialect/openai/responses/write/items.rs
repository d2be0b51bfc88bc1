//! The items of an answer, in the order of Gemini's parts. At most one item is open at a time.

use bytes::{BufMut, BytesMut};

use super::frames::{Frames, Place, push_member};
use crate::dialect::translate::ids::IdSource;
use crate::dialect::translate::json::{
    push_comma, push_escaped, push_number, push_string, push_written,
};
use crate::dialect::translate::text::JsonText;

/// The items of an answer.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) frames: Frames,
    pub(super) ids: IdSource,
    /// The position of the next item.
    pub(super) next: u32,
    /// The items that are done, with commas between them: `completed` repeats them.
    pub(super) done: BytesMut,
    pub(super) open: Option<OpenItem>,
}

/// An item to which the next part may still add.
#[derive(Debug)]
pub(super) struct OpenItem {
    pub(super) kind: OpenKind,
    pub(super) id: String,
    pub(super) index: u32,
    /// The inside of the JSON string that the item has so far.
    pub(super) text: BytesMut,
    /// The annotations or log probabilities that a message has so far, with commas between them.
    annotations: BytesMut,
    logprobs: BytesMut,
}

/// The kinds of items that more than one part can add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenKind {
    /// Code that Google runs, whose output is awaited.
    Code,
    /// A text.
    Message,
    /// Thoughts, whose signature is awaited.
    Reasoning,
}

/// How complete an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemStatus {
    Completed,
    Incomplete,
}

impl ItemStatus {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Completed => b"completed",
            Self::Incomplete => b"incomplete",
        }
    }
}

impl Items {
    pub(super) fn new(ids: IdSource) -> Self {
        Self { frames: Frames::default(), ids, next: 0, done: BytesMut::new(), open: None }
    }

    /// How many bytes are kept.
    pub(super) fn held(&self) -> usize {
        let open = self
            .open
            .as_ref()
            .map_or(0, |open| open.text.len() + open.annotations.len() + open.logprobs.len());
        self.done.len() + open
    }

    /// The kind of the open item.
    pub(super) fn open_kind(&self) -> Option<OpenKind> {
        self.open.as_ref().map(|open| open.kind)
    }

    /// Adds to the thoughts that are open.
    pub(super) fn thought(&mut self, text: JsonText<'_>, out: &mut BytesMut) {
        let Some(open) = &mut self.open else { return };
        let start = open.add_text(text);
        let added = open.text.get(start..).unwrap_or_default();
        let place = open.place(Some(SUMMARY));
        self.frames.part("response.reasoning_summary_text.delta", place, out, |out| {
            push_member("delta", added, out);
        });
    }

    /// Opens an item for thoughts.
    pub(super) fn open_reasoning(&mut self, out: &mut BytesMut) {
        let id = self.add_reasoning(out);
        let open = OpenItem::new(OpenKind::Reasoning, id, self.next - 1);
        let place = open.place(Some(SUMMARY));
        self.frames.part("response.reasoning_summary_part.added", place, out, |out| {
            out.put_slice(br#","part":{"type":"summary_text","text":""}"#);
        });
        self.open = Some(open);
    }

    /// Closes the open thoughts. Returns the item's id.
    pub(super) fn close_reasoning(
        &mut self,
        encrypted: &str,
        out: &mut BytesMut,
    ) -> Option<String> {
        let open = self.open.take_if(|open| open.kind == OpenKind::Reasoning)?;
        let place = open.place(Some(SUMMARY));
        let text = &open.text;
        self.frames.part("response.reasoning_summary_text.done", place, out, |out| {
            push_member("text", text, out);
        });
        self.frames.part("response.reasoning_summary_part.done", place, out, |out| {
            out.put_slice(br#","part":{"type":"summary_text""#);
            push_member("text", text, out);
            out.put_u8(b'}');
        });
        self.finish(open.index, out, |item| {
            push_head("reasoning", &open.id, item);
            item.put_slice(br#","summary":[{"type":"summary_text""#);
            push_member("text", text, item);
            item.put_slice(b"}],\"encrypted_content\":");
            push_string(encrypted, item);
            item.put_u8(b'}');
        });
        Some(open.id)
    }

    /// Writes an item without thoughts, which holds the signature of what follows. Returns its id.
    pub(super) fn bare_reasoning(&mut self, encrypted: &str, out: &mut BytesMut) -> String {
        let id = self.add_reasoning(out);
        self.finish(self.next - 1, out, |item| {
            push_head("reasoning", &id, item);
            item.put_slice(b",\"summary\":[],\"encrypted_content\":");
            push_string(encrypted, item);
            item.put_u8(b'}');
        });
        id
    }

    fn add_reasoning(&mut self, out: &mut BytesMut) -> String {
        let id = self.ids.next("rs_");
        self.add(out, |item| {
            push_head("reasoning", &id, item);
            item.put_slice(b",\"summary\":[]}");
        });
        id
    }

    /// Adds to the text that is open, or opens a message.
    pub(super) fn text(&mut self, text: JsonText<'_>, logprobs: &[u8], out: &mut BytesMut) {
        if self.open_kind() != Some(OpenKind::Message) {
            self.open_message(out);
        }
        let Some(open) = &mut self.open else { return };
        let start = open.add_text(text);
        open.add_logprobs(logprobs);
        let added = open.text.get(start..).unwrap_or_default();
        let place = open.place(Some(CONTENT));
        self.frames.part("response.output_text.delta", place, out, |out| {
            push_member("delta", added, out);
            out.put_slice(b",\"logprobs\":[");
            out.put_slice(logprobs);
            out.put_u8(b']');
        });
    }

    /// Adds probabilities, which come after their tokens, to the text that is open.
    pub(super) fn late_logprobs(&mut self, logprobs: &[u8]) {
        if let Some(open) = &mut self.open {
            open.add_logprobs(logprobs);
        }
    }

    fn open_message(&mut self, out: &mut BytesMut) {
        let open = self.add_message(out);
        let place = open.place(Some(CONTENT));
        self.frames.part("response.content_part.added", place, out, |out| {
            out.put_slice(
                br#","part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#,
            );
        });
        self.open = Some(open);
    }

    fn add_message(&mut self, out: &mut BytesMut) -> OpenItem {
        let id = self.ids.next("msg_");
        self.add(out, |item| {
            push_head("message", &id, item);
            item.put_slice(br#","status":"in_progress","role":"assistant","content":[]}"#);
        });
        OpenItem::new(OpenKind::Message, id, self.next - 1)
    }

    /// Adds annotations to the message that is open, if one is: JSON objects.
    pub(super) fn annotate(&mut self, annotations: &[BytesMut], out: &mut BytesMut) {
        let Some(open) = self.open.as_mut().filter(|open| open.kind == OpenKind::Message) else {
            return;
        };
        for (at, annotation) in (0_u64..).zip(annotations) {
            push_comma(&mut open.annotations);
            open.annotations.put_slice(annotation);
            let place = open.place(Some(CONTENT));
            self.frames.part("response.output_text.annotation.added", place, out, |out| {
                out.put_slice(b",\"annotation_index\":");
                push_number(at, out);
                out.put_slice(b",\"annotation\":");
                out.put_slice(annotation);
            });
        }
    }

    /// Closes the open text, if one is open.
    pub(super) fn close_message(&mut self, status: ItemStatus, out: &mut BytesMut) {
        let Some(open) = self.open.take_if(|open| open.kind == OpenKind::Message) else { return };
        let place = open.place(Some(CONTENT));
        let (text, logprobs) = (&open.text, &open.logprobs);
        self.frames.part("response.output_text.done", place, out, |out| {
            push_member("text", text, out);
            out.put_slice(b",\"logprobs\":[");
            out.put_slice(logprobs);
            out.put_u8(b']');
        });
        let push_part = |out: &mut BytesMut| {
            out.put_slice(b"{\"type\":\"output_text\"");
            push_member("text", text, out);
            out.put_slice(b",\"annotations\":[");
            out.put_slice(&open.annotations);
            out.put_slice(b"],\"logprobs\":[");
            out.put_slice(logprobs);
            out.put_slice(b"]}");
        };
        self.frames.part("response.content_part.done", place, out, |out| {
            out.put_slice(b",\"part\":");
            push_part(out);
        });
        self.finish_message(&open, status, out, push_part);
    }

    /// Writes a message that says why there is no text.
    pub(super) fn refusal(&mut self, refusal: &str, out: &mut BytesMut) {
        let open = self.add_message(out);
        let place = open.place(Some(CONTENT));
        let mut inside = BytesMut::new();
        push_escaped(refusal, &mut inside);
        self.frames.part("response.content_part.added", place, out, |out| {
            out.put_slice(br#","part":{"type":"refusal","refusal":""}"#);
        });
        self.frames.part("response.refusal.delta", place, out, |out| {
            push_member("delta", &inside, out);
        });
        self.frames.part("response.refusal.done", place, out, |out| {
            push_member("refusal", &inside, out);
        });
        let push_part = |out: &mut BytesMut| {
            out.put_slice(b"{\"type\":\"refusal\"");
            push_member("refusal", &inside, out);
            out.put_u8(b'}');
        };
        self.frames.part("response.content_part.done", place, out, |out| {
            out.put_slice(b",\"part\":");
            push_part(out);
        });
        self.finish_message(&open, ItemStatus::Completed, out, push_part);
    }

    fn finish_message(
        &mut self,
        open: &OpenItem,
        status: ItemStatus,
        out: &mut BytesMut,
        push_part: impl FnOnce(&mut BytesMut),
    ) {
        self.finish(open.index, out, |item| {
            push_head("message", &open.id, item);
            push_member("status", status.word(), item);
            item.put_slice(br#","role":"assistant","content":["#);
            push_part(item);
            item.put_slice(b"]}");
        });
    }

    /// Writes that an item is there, and gives it the next position.
    pub(super) fn add(&mut self, out: &mut BytesMut, push_item: impl FnOnce(&mut BytesMut)) {
        let index = self.next;
        self.next += 1;
        self.frames.frame("response.output_item.added", out, |out| {
            push_item_at(index, out);
            push_item(out);
        });
    }

    /// Writes that an item is done, and keeps it for the answer's object.
    pub(super) fn finish(
        &mut self,
        index: u32,
        out: &mut BytesMut,
        push_item: impl FnOnce(&mut BytesMut),
    ) {
        push_comma(&mut self.done);
        let start = self.done.len();
        push_item(&mut self.done);
        let item = self.done.get(start..).unwrap_or_default();
        self.frames.frame("response.output_item.done", out, |out| {
            push_item_at(index, out);
            out.put_slice(item);
        });
    }
}

impl OpenItem {
    pub(super) fn new(kind: OpenKind, id: String, index: u32) -> Self {
        let (text, annotations, logprobs) = Default::default();
        Self { kind, id, index, text, annotations, logprobs }
    }

    /// Adds to the text. Returns where the addition begins.
    fn add_text(&mut self, text: JsonText<'_>) -> usize {
        let start = self.text.len();
        push_written(text.escaped(), &mut self.text);
        start
    }

    fn add_logprobs(&mut self, logprobs: &[u8]) {
        if !logprobs.is_empty() && self.kind == OpenKind::Message {
            push_comma(&mut self.logprobs);
            self.logprobs.put_slice(logprobs);
        }
    }

    pub(super) fn place(&self, part: Option<&'static str>) -> Place<'_> {
        Place { id: &self.id, index: self.index, part: part.map(|name| (name, 0)) }
    }
}

/// Appends the first members of an item.
pub(super) fn push_head(kind: &str, id: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_u8(b'"');
    push_member("id", id.as_bytes(), out);
}

fn push_item_at(index: u32, out: &mut BytesMut) {
    out.put_slice(b",\"output_index\":");
    push_number(index.into(), out);
    out.put_slice(b",\"item\":");
}

/// The names of the positions of parts. Each item has one part only.
const SUMMARY: &str = "summary_index";
const CONTENT: &str = "content_index";
