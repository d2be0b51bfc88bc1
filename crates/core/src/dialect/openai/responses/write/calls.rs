//! Items that say what the model has called, searched, run or drawn.

use bytes::{BufMut, BytesMut};

use super::frames::{Place, push_member};
use super::items::{Items, OpenItem, OpenKind, push_head};
use crate::dialect::openai::call_input::CallInput;
use crate::dialect::translate::draft::ClientToolName;
use crate::dialect::translate::json::{push_string, push_written};
use crate::dialect::translate::text::JsonText;

/// A call of the client's tool.
#[derive(Debug)]
pub(super) struct NewCall<'a> {
    /// Its id.
    pub(super) call_id: &'a str,
    /// The name that the client knows.
    pub(super) name: &'a ClientToolName<'a>,
    pub(super) input: CallInput<'a>,
}

impl Items {
    /// Writes the call of a tool.
    pub(super) fn call(&mut self, call: &NewCall<'_>, out: &mut BytesMut) {
        let (kind, prefix, field, events) = match call.input {
            CallInput::Arguments(_) => ("function_call", "fc_", "arguments", ARGUMENT_EVENTS),
            CallInput::Text(_) | CallInput::NoText(_) => {
                ("custom_tool_call", "ctc_", "input", INPUT_EVENTS)
            }
        };
        let mut input = BytesMut::new();
        call.input.push(&mut input);
        let id = self.ids.next(prefix);
        let push_item = |input: &[u8], status: &[u8], item: &mut BytesMut| {
            push_head(kind, &id, item);
            push_member("call_id", call.call_id.as_bytes(), item);
            if let Some(namespace) = &call.name.namespace {
                item.put_slice(b",\"namespace\":");
                push_string(namespace, item);
            }
            item.put_slice(b",\"name\":");
            push_string(&call.name.name, item);
            push_member(field, input, item);
            push_member("status", status, item);
            item.put_u8(b'}');
        };
        self.add(out, |item| push_item(b"", b"in_progress", item));
        let index = self.next - 1;
        let place = Place { id: &id, index, part: None };
        self.frames.part(events.0, place, out, |out| push_member("delta", &input, out));
        self.frames.part(events.1, place, out, |out| {
            if let CallInput::Arguments(_) = call.input {
                out.put_slice(b",\"name\":");
                push_string(&call.name.name, out);
            }
            push_member(field, &input, out);
        });
        self.finish(index, out, |item| push_item(&input, b"completed", item));
    }

    /// Writes a search that Google has made.
    pub(super) fn search(&mut self, query: &str, out: &mut BytesMut) {
        let id = self.ids.next("ws_");
        let push_item = |status: &[u8], item: &mut BytesMut| {
            push_head("web_search_call", &id, item);
            push_member("status", status, item);
            item.put_slice(br#","action":{"type":"search","query":"#);
            push_string(query, item);
            item.put_slice(b"}}");
        };
        self.add(out, |item| push_item(b"in_progress", item));
        let index = self.next - 1;
        let place = Place { id: &id, index, part: None };
        self.frames.part("response.web_search_call.completed", place, out, |_| {});
        self.finish(index, out, |item| push_item(b"completed", item));
    }

    /// Writes an image that the model has made: base64.
    pub(super) fn image(&mut self, data: JsonText<'_>, out: &mut BytesMut) {
        let id = self.ids.next("ig_");
        self.add(out, |item| {
            push_head("image_generation_call", &id, item);
            item.put_slice(br#","status":"in_progress","result":null}"#);
        });
        let index = self.next - 1;
        let place = Place { id: &id, index, part: None };
        self.frames.part("response.image_generation_call.completed", place, out, |_| {});
        self.finish(index, out, |item| {
            push_head("image_generation_call", &id, item);
            item.put_slice(b",\"status\":\"completed\",\"result\":\"");
            push_written(data.escaped(), item);
            item.put_slice(b"\"}");
        });
    }

    /// Opens an item for code that Google runs.
    pub(super) fn open_code(&mut self, code: JsonText<'_>, out: &mut BytesMut) {
        let id = self.ids.next("ci_");
        self.add(out, |item| push_code(&id, b"in_progress", b"", b"", item));
        let mut open = OpenItem::new(OpenKind::Code, id, self.next - 1);
        push_written(code.escaped(), &mut open.text);
        let place = open.place(None);
        for (event, name) in CODE_EVENTS {
            self.frames.part(event, place, out, |out| push_member(name, &open.text, out));
        }
        self.open = Some(open);
    }

    /// Closes the open code, if some is open, with what it has printed.
    pub(super) fn close_code(&mut self, output: Option<JsonText<'_>>, out: &mut BytesMut) {
        let Some(open) = self.open.take_if(|open| open.kind == OpenKind::Code) else { return };
        let mut outputs = BytesMut::new();
        if let Some(output) = output {
            outputs.put_slice(b"{\"type\":\"logs\",\"logs\":\"");
            push_written(output.escaped(), &mut outputs);
            outputs.put_slice(b"\"}");
        }
        let place = open.place(None);
        self.frames.part("response.code_interpreter_call.completed", place, out, |_| {});
        self.finish(open.index, out, |item| {
            push_code(&open.id, b"completed", &open.text, &outputs, item);
        });
    }
}

fn push_code(id: &str, status: &[u8], code: &[u8], outputs: &[u8], out: &mut BytesMut) {
    push_head("code_interpreter_call", id, out);
    push_member("status", status, out);
    push_member("code", code, out);
    out.put_slice(b",\"outputs\":[");
    out.put_slice(outputs);
    out.put_slice(b"],\"container_id\":\"none\"}");
}

const ARGUMENT_EVENTS: (&str, &str) =
    ("response.function_call_arguments.delta", "response.function_call_arguments.done");
const INPUT_EVENTS: (&str, &str) =
    ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done");
const CODE_EVENTS: [(&str, &str); 2] = [
    ("response.code_interpreter_call_code.delta", "delta"),
    ("response.code_interpreter_call_code.done", "code"),
];
