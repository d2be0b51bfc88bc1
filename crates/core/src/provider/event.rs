//! The result of decoding one upstream event.

use bytes::BytesMut;

use super::code_assist::envelope::OpenedResponse;
use crate::dialect::event::GeminiEvent;
use crate::google::error::UpstreamError;
use crate::google::usage::TokenUsage;

/// One decoded upstream event.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    /// Token counts, if the event has them.
    pub(crate) usage: Option<TokenUsage>,
    /// True when the event's trace id differs from the one before.
    pub(crate) new_trace: bool,
    pub(crate) content: EventContent<'a>,
}

/// The part of an event that is for the client.
#[derive(Debug)]
pub(crate) enum EventContent<'a> {
    /// The stream has failed.
    Error(Box<UpstreamError>),
    /// A Gemini event.
    Event(DecodedEvent<'a>),
    /// Nothing, as in a chunk with only a trace id or credits.
    Nothing,
}

/// A Gemini event that has been found within upstream's bytes and is not written yet.
#[derive(Debug)]
pub(crate) enum DecodedEvent<'a> {
    /// Taken out of Code Assist's wrapper.
    CodeAssist {
        response: OpenedResponse<'a>,
        /// The length of the event in its wrapper.
        wrapper_len: usize,
    },
    /// Vertex AI's own event.
    Vertex {
        response: OpenedResponse<'a>,
        /// The length of the event.
        len: usize,
    },
}

impl GeminiEvent for DecodedEvent<'_> {
    fn len_hint(&self) -> usize {
        match self {
            Self::CodeAssist { wrapper_len, .. } => *wrapper_len,
            Self::Vertex { len, .. } => *len,
        }
    }

    fn write_line(self, out: &mut BytesMut) {
        match self {
            Self::CodeAssist { response, .. } => response.write_line(out),
            Self::Vertex { response, .. } => response.write_as_written(out),
        }
    }
}
