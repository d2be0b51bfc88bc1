//! The members of an answer's object that repeat the request.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use crate::dialect::translate::text::JsonText;
use crate::json::line;

/// What a request has said of the settings that its answer repeats.
#[derive(Debug, Default)]
pub(super) struct Echo<'a> {
    pub(super) effort: Option<JsonText<'a>>,
    pub(super) format: Option<&'a RawValue>,
    pub(super) max_output_tokens: Option<&'a RawValue>,
    pub(super) one_call: bool,
    pub(super) summary: Option<JsonText<'a>>,
    pub(super) temperature: Option<&'a RawValue>,
    pub(super) tool_choice: Option<&'a RawValue>,
    pub(super) top_p: Option<&'a RawValue>,
}

impl Echo<'_> {
    /// The members, without braces. Tools and instructions are not repeated: no known client reads them,
    /// and each event with the object would have them again.
    pub(super) fn written(&self) -> Arc<str> {
        let mut out = BytesMut::new();
        out.put_slice(b"\"background\":false,\"instructions\":null,\"max_output_tokens\":");
        push(self.max_output_tokens.map(RawValue::get), "null", &mut out);
        out.put_slice(b",\"metadata\":{},\"parallel_tool_calls\":");
        out.put_slice(if self.one_call { b"false" } else { b"true" });
        out.put_slice(b",\"previous_response_id\":null,\"reasoning\":{\"effort\":");
        push(self.effort.map(JsonText::quoted), "null", &mut out);
        out.put_slice(b",\"summary\":");
        push(self.summary.map(JsonText::quoted), "null", &mut out);
        out.put_slice(b"},\"store\":false,\"temperature\":");
        push(self.temperature.map(RawValue::get), "null", &mut out);
        out.put_slice(b",\"text\":{\"format\":");
        push(self.format.map(RawValue::get), r#"{"type":"text"}"#, &mut out);
        out.put_slice(b"},\"tool_choice\":");
        push(self.tool_choice.map(RawValue::get), "\"auto\"", &mut out);
        out.put_slice(b",\"tools\":[],\"top_p\":");
        push(self.top_p.map(RawValue::get), "null", &mut out);
        out.put_slice(b",\"truncation\":\"disabled\"");
        String::from_utf8_lossy(&out).into()
    }
}

fn push(json: Option<&str>, absent: &str, out: &mut BytesMut) {
    line::compact(json.unwrap_or(absent).as_bytes(), &mut false, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_put_on_one_line_and_keeps_its_strings_and_digits() {
        for (json, line) in [
            ("{ \"a\" :\n[1.50 ,\t\"x  \\\" y\\\\\" ] }", r#"{"a":[1.50,"x  \" y\\"]}"#),
            (r#""auto""#, r#""auto""#),
        ] {
            let mut out = BytesMut::new();
            push(Some(json), "", &mut out);
            assert_eq!(out, line);
        }
    }

    #[test]
    fn what_the_request_does_not_say_has_the_usual_value() {
        assert_eq!(
            &*Echo::default().written(),
            "\"background\":false,\"instructions\":null,\"max_output_tokens\":null,\"metadata\":{},\
             \"parallel_tool_calls\":true,\"previous_response_id\":null,\
             \"reasoning\":{\"effort\":null,\"summary\":null},\"store\":false,\"temperature\":null,\
             \"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],\
             \"top_p\":null,\"truncation\":\"disabled\""
        );
    }
}
