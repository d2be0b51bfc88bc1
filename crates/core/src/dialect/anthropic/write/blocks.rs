//! The content blocks of a message, as frames of a stream or as the array of a whole message
//! (`docs/reference/dialects.md` 5.5).
//!
//! At most one block is open at a time. A stream's clients require an `event:` line before each `data:`.

use bytes::{BufMut, BytesMut};

use crate::dialect::translate::citations::Page;
use crate::dialect::translate::json::{
    push_embedded, push_escaped, push_number, push_string, push_written,
};

/// Writes content blocks, one after the other.
#[derive(Debug)]
pub(super) struct Blocks {
    form: Form,
    /// How many blocks were begun.
    begun: u32,
    open: Option<OpenBlock>,
    /// What a `thinking` block without a signature has in its place: some clients drop unsigned blocks.
    unsigned: String,
}

/// How blocks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As elements of an array.
    Array,
    /// As frames of server-sent events.
    Frames,
}

/// A block that may go on with the next part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenBlock {
    /// `text`.
    Text,
    /// `thinking`.
    Thinking,
}

/// A call of a tool, as the client gets it.
#[derive(Debug)]
pub(super) struct ToolUse<'a> {
    /// The id.
    pub(super) id: &'a str,
    /// The name that the client knows.
    pub(super) name: &'a str,
    /// The arguments, a JSON object.
    pub(super) input: &'a str,
    /// The raw signature, for clients without `thinking` blocks.
    pub(super) signature: Option<&'a str>,
}

impl Blocks {
    /// Blocks for a stream.
    pub(super) fn frames(unsigned: String) -> Self {
        Self { form: Form::Frames, begun: 0, open: None, unsigned }
    }

    /// Writes the coming blocks as elements of an array.
    pub(super) fn make_array(&mut self) {
        self.form = Form::Array;
    }

    /// The block that the next part may continue.
    pub(super) fn open(&self) -> Option<OpenBlock> {
        self.open
    }

    /// Writes a piece of text. `piece` writes the inside of a JSON string.
    pub(super) fn text(&mut self, out: &mut BytesMut, piece: impl FnOnce(&mut BytesMut)) {
        self.open_block(OpenBlock::Text, out);
        match self.form {
            Form::Array => piece(out),
            Form::Frames => self.delta(br#"{"type":"text_delta","text":""#, br#""}"#, out, piece),
        }
    }

    /// Writes a piece of the thoughts. `piece` writes the inside of a JSON string.
    pub(super) fn thinking(&mut self, out: &mut BytesMut, piece: impl FnOnce(&mut BytesMut)) {
        self.open_block(OpenBlock::Thinking, out);
        match self.form {
            Form::Array => piece(out),
            Form::Frames => {
                self.delta(br#"{"type":"thinking_delta","thinking":""#, br#""}"#, out, piece);
            }
        }
    }

    /// Ends the open `thinking` block, or an empty one, with the signature of the part that comes next.
    pub(super) fn sign(&mut self, signature: &str, out: &mut BytesMut) {
        self.open_block(OpenBlock::Thinking, out);
        self.end_thinking(signature, out);
    }

    /// Ends the open block, if there is one.
    pub(super) fn close(&mut self, out: &mut BytesMut) {
        match self.open {
            None => {}
            Some(OpenBlock::Text) => {
                if self.form == Form::Array {
                    out.put_slice(br#""}"#);
                }
                self.stop(out);
            }
            Some(OpenBlock::Thinking) => {
                let unsigned = std::mem::take(&mut self.unsigned);
                self.end_thinking(&unsigned, out);
                self.unsigned = unsigned;
            }
        }
    }

    /// Writes a call.
    pub(super) fn tool_use(&mut self, call: &ToolUse<'_>, out: &mut BytesMut) {
        self.begin(out);
        out.put_slice(br#"{"type":"tool_use","id":"#);
        push_string(call.id, out);
        out.put_slice(br#","name":"#);
        push_string(call.name, out);
        out.put_slice(br#","input":"#);
        match self.form {
            Form::Array => push_written(call.input, out),
            Form::Frames => out.put_slice(b"{}"),
        }
        if let Some(signature) = call.signature {
            out.put_slice(br#","extra_content":{"google":{"thought_signature":"#);
            push_string(signature, out);
            out.put_slice(b"}}");
        }
        out.put_u8(b'}');
        if self.form == Form::Frames {
            end_frame(out);
            self.input(out, |out| push_embedded(call.input, out));
        }
        self.stop(out);
    }

    /// Writes a search that Google has made: the call and its result.
    pub(super) fn search(&mut self, id: &str, query: &str, pages: &[Page], out: &mut BytesMut) {
        let mut input = BytesMut::new();
        input.put_slice(br#"{"query":"#);
        push_string(query, &mut input);
        input.put_u8(b'}');
        self.begin(out);
        out.put_slice(br#"{"type":"server_tool_use","id":"#);
        push_string(id, out);
        out.put_slice(br#","name":"web_search","input":"#);
        match self.form {
            Form::Array => {
                out.put_slice(&input);
                out.put_u8(b'}');
            }
            Form::Frames => {
                out.put_slice(b"{}}");
                end_frame(out);
                let input = String::from_utf8_lossy(&input);
                self.input(out, |out| push_embedded(&input, out));
            }
        }
        self.stop(out);

        self.begin(out);
        out.put_slice(br#"{"type":"web_search_tool_result","tool_use_id":"#);
        push_string(id, out);
        out.put_slice(br#","content":["#);
        for (at, page) in pages.iter().enumerate() {
            if at > 0 {
                out.put_u8(b',');
            }
            out.put_slice(br#"{"type":"web_search_result","url":"#);
            push_string(&page.url, out);
            out.put_slice(br#","title":"#);
            push_string(&page.title, out);
            out.put_slice(br#","encrypted_content":"","page_age":null}"#);
        }
        out.put_slice(b"]}");
        if self.form == Form::Frames {
            end_frame(out);
        }
        self.stop(out);
    }

    /// Opens a block of this kind, unless it is open.
    fn open_block(&mut self, kind: OpenBlock, out: &mut BytesMut) {
        if self.open == Some(kind) {
            return;
        }
        self.begin(out);
        self.open = Some(kind);
        match (self.form, kind) {
            (Form::Array, OpenBlock::Text) => out.put_slice(br#"{"type":"text","text":""#),
            (Form::Array, OpenBlock::Thinking) => {
                out.put_slice(br#"{"type":"thinking","thinking":""#);
            }
            (Form::Frames, OpenBlock::Text) => {
                out.put_slice(br#"{"type":"text","text":""}"#);
                end_frame(out);
            }
            (Form::Frames, OpenBlock::Thinking) => {
                out.put_slice(br#"{"type":"thinking","thinking":"","signature":""}"#);
                end_frame(out);
            }
        }
    }

    /// Writes what comes before a block's own object, after it has ended the block before.
    fn begin(&mut self, out: &mut BytesMut) {
        self.close(out);
        match self.form {
            Form::Array if self.begun == 0 => {}
            Form::Array => out.put_u8(b','),
            Form::Frames => {
                self.frame("content_block_start", self.begun, out);
                out.put_slice(br#","content_block":"#);
            }
        }
        self.begun += 1;
    }

    fn end_thinking(&mut self, signature: &str, out: &mut BytesMut) {
        match self.form {
            Form::Array => {
                out.put_slice(br#"","signature":"#);
                push_string(signature, out);
                out.put_u8(b'}');
            }
            Form::Frames => {
                let piece = |out: &mut BytesMut| push_escaped(signature, out);
                self.delta(br#"{"type":"signature_delta","signature":""#, br#""}"#, out, piece);
            }
        }
        self.stop(out);
    }

    /// Writes the whole input of a call.
    fn input(&self, out: &mut BytesMut, piece: impl FnOnce(&mut BytesMut)) {
        self.delta(br#"{"type":"input_json_delta","partial_json":""#, br#""}"#, out, piece);
    }

    /// Writes a piece of the block that was begun last.
    fn delta(
        &self,
        before: &[u8],
        after: &[u8],
        out: &mut BytesMut,
        piece: impl FnOnce(&mut BytesMut),
    ) {
        self.frame("content_block_delta", self.begun.saturating_sub(1), out);
        out.put_slice(br#","delta":"#);
        out.put_slice(before);
        piece(out);
        out.put_slice(after);
        end_frame(out);
    }

    /// Ends the block that was begun last.
    fn stop(&mut self, out: &mut BytesMut) {
        self.open = None;
        if self.form == Form::Frames {
            self.frame("content_block_stop", self.begun.saturating_sub(1), out);
            end_frame(out);
        }
    }

    /// Writes a frame as far as the block's index.
    fn frame(&self, name: &str, index: u32, out: &mut BytesMut) {
        begin_frame(name, out);
        out.put_slice(br#","index":"#);
        push_number(index.into(), out);
    }
}

/// Writes a frame's `event:` line, and its data as far as the type.
pub(super) fn begin_frame(name: &str, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: {\"type\":\"");
    out.put_slice(name.as_bytes());
    out.put_u8(b'"');
}

/// Ends a frame and its object.
pub(super) fn end_frame(out: &mut BytesMut) {
    out.put_slice(b"}\n\n");
}
