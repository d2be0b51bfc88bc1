//! What a provider's decoder makes of one upstream event.

use bytes::BytesMut;

use super::code_assist::envelope::OpenedResponse;
use crate::dialect::event::GeminiEvent;
use crate::google::error::UpstreamError;
use crate::google::usage::TokenUsage;

/// What one upstream event means.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    /// Token counts, if the event has them.
    pub(crate) usage: Option<TokenUsage>,
    /// The event carries another trace id than the ones before.
    pub(crate) new_trace: bool,
    pub(crate) content: EventContent<'a>,
}

/// What an event has for the client.
#[derive(Debug)]
pub(crate) enum EventContent<'a> {
    /// The stream has failed.
    Error(Box<UpstreamError>),
    /// A Gemini event.
    Event(DecodedEvent<'a>),
    /// Nothing: a chunk with only a trace id or credits.
    Nothing,
}

/// A Gemini event within upstream's bytes, not written yet.
#[derive(Debug)]
pub(crate) enum DecodedEvent<'a> {
    /// Taken out of Code Assist's wrapper.
    CodeAssist {
        response: OpenedResponse<'a>,
        /// The length of the event in its wrapper.
        wrapper_len: usize,
    },
}

impl GeminiEvent for DecodedEvent<'_> {
    fn len_hint(&self) -> usize {
        match self {
            Self::CodeAssist { wrapper_len, .. } => *wrapper_len,
        }
    }

    fn write_line(self, out: &mut BytesMut) {
        match self {
            Self::CodeAssist { response, .. } => response.write_line(out),
        }
    }
}
