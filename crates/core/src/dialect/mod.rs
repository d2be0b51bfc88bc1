//! What clients speak. The Gemini API is the common form within the proxy: other dialects translate to
//! it and from it, and every provider's answer is brought into it.

pub mod anthropic;
pub(crate) mod event;
pub mod gemini;
pub mod openai;
pub mod operation;
pub mod route;
pub mod translate;
pub(crate) mod translated;

use bytes::Bytes;

use crate::error::Error;
use event::{GeminiEvent, StreamFailure};
pub use operation::{CopiedKind, Operation};
pub(crate) use operation::{ModelCall, WholeCall};
pub(crate) use translated::{
    AnswerForm, CountCall, GenerateCall, LeftOut, TranslatedCall, TranslatedEncoder, Translation,
};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Anthropic's Messages API.
    Anthropic,
    /// The Gemini API, or Vertex AI.
    #[default]
    Gemini,
    /// OpenAI's API.
    OpenAi,
}

impl Dialect {
    /// The name in settings, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }
}

/// The dialect and framing in which a stream is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StreamFormat<'a> {
    /// For a client that speaks the Gemini API.
    Gemini(gemini::route::Framing),
    /// For a client that speaks another dialect.
    Translated(&'a AnswerForm),
}

impl StreamFormat<'_> {
    /// Makes the encoder for such a stream.
    pub(crate) fn encoder(self) -> StreamEncoder {
        match self {
            Self::Gemini(framing) => {
                StreamEncoder::Gemini(gemini::stream::GeminiEncoder::new(framing))
            }
            Self::Translated(form) => {
                StreamEncoder::Translated(Box::new(TranslatedEncoder::new(form)))
            }
        }
    }
}

/// Writes the events of a stream for a client.
#[derive(Debug)]
pub(crate) enum StreamEncoder {
    /// For a client that speaks the Gemini API.
    Gemini(gemini::stream::GeminiEncoder),
    /// For a client that speaks another dialect.
    Translated(Box<TranslatedEncoder>),
}

impl StreamEncoder {
    /// Writes one event. The bytes are sent as one piece; it is empty if the client gets nothing yet.
    pub(crate) fn event(&mut self, event: impl GeminiEvent) -> Result<Bytes, Error> {
        match self {
            Self::Gemini(encoder) => Ok(encoder.event(event)),
            Self::Translated(encoder) => encoder.event(event),
        }
    }

    /// Writes what follows the last event of a stream that ended without an error, if anything does. Fails
    /// if the answer is none for the client.
    pub(crate) fn end(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Gemini(encoder) => Ok(encoder.end()),
            Self::Translated(encoder) => encoder.end().map(Some),
        }
    }

    /// Writes the error that ends a stream.
    pub(crate) fn error(&mut self, error: &Error) -> StreamFailure {
        match self {
            Self::Gemini(encoder) => encoder.error(error),
            Self::Translated(encoder) => {
                StreamFailure { event: encoder.error(error), close: None, after_pause: None }
            }
        }
    }

    /// True if heartbeats keep the client's connection open while upstream is silent. No client of the
    /// Gemini API expects any.
    pub(crate) fn has_heartbeats(&self) -> bool {
        matches!(self, Self::Translated(_))
    }

    /// Writes a heartbeat.
    pub(crate) fn heartbeat(&mut self) -> Bytes {
        match self {
            Self::Gemini(_) => Bytes::new(),
            Self::Translated(encoder) => encoder.heartbeat(),
        }
    }

    /// What the client has not got of the answer.
    pub(crate) fn left_out(&self) -> LeftOut {
        match self {
            Self::Gemini(_) => LeftOut::default(),
            Self::Translated(encoder) => encoder.left_out(),
        }
    }

    /// How many bytes are kept for what is written later.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Gemini(_) => 0,
            Self::Translated(encoder) => encoder.held(),
        }
    }
}
