//! What a call of the model's gives to the client's tool.

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::translate::json::{push_embedded, push_written};
use crate::dialect::translate::names::NamedTool;
use crate::dialect::translate::text::JsonText;

/// What a tool is called with.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallInput<'a> {
    /// The arguments of a function: JSON.
    Arguments(&'a str),
    /// The text for a custom tool.
    Text(JsonText<'a>),
    /// Arguments for a custom tool that hold no text: JSON.
    NoText(&'a str),
}

impl<'a> CallInput<'a> {
    /// The arguments of a call as its tool takes them.
    pub(super) fn new(args: Option<&'a RawValue>, tool: Option<&NamedTool>) -> Self {
        /// For Gemini a custom tool is a function of one text.
        #[derive(Deserialize)]
        struct TextArguments<'a> {
            #[serde(borrow)]
            input: JsonText<'a>,
        }
        let args = args.map_or("{}", RawValue::get);
        if !tool.is_some_and(|tool| tool.takes_text) {
            return Self::Arguments(args);
        }
        match serde_json::from_str::<TextArguments<'_>>(args) {
            Ok(read) if read.input.is_string() => Self::Text(read.input),
            _ => Self::NoText(args),
        }
    }

    /// Appends the input as the inside of a JSON string.
    pub(super) fn push(self, out: &mut BytesMut) {
        match self {
            Self::Arguments(json) | Self::NoText(json) => push_embedded(json, out),
            Self::Text(text) => push_written(text.escaped(), out),
        }
    }
}
