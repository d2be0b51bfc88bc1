//! What clients speak. The Gemini API is the common form within the proxy: other dialects translate to
//! it and from it, and every provider's answer is brought into it.

#[allow(dead_code, reason = "wired last")]
pub mod anthropic;
pub(crate) mod event;
pub mod gemini;
#[allow(dead_code, reason = "wired last")]
pub mod openai;
pub mod operation;
#[allow(dead_code, reason = "wired last")]
pub mod route;
#[allow(dead_code, reason = "wired last")]
pub mod translate;

use bytes::Bytes;

use crate::error::Error;
use event::{GeminiEvent, StreamFailure};
pub use operation::{CopiedKind, Operation};
pub(crate) use operation::{ModelCall, WholeCall};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// For a client that speaks the Gemini API.
    Gemini(gemini::route::Framing),
}

impl StreamFormat {
    /// Makes the encoder for such a stream.
    pub(crate) fn encoder(self) -> StreamEncoder {
        match self {
            Self::Gemini(framing) => {
                StreamEncoder::Gemini(gemini::stream::GeminiEncoder::new(framing))
            }
        }
    }
}

/// Writes the events of a stream for a client.
#[derive(Debug)]
pub(crate) enum StreamEncoder {
    /// For a client that speaks the Gemini API.
    Gemini(gemini::stream::GeminiEncoder),
}

impl StreamEncoder {
    /// Writes one event. The bytes are sent as one piece.
    pub(crate) fn event(&mut self, event: impl GeminiEvent) -> Bytes {
        match self {
            Self::Gemini(encoder) => encoder.event(event),
        }
    }

    /// Writes what follows the last event of a stream that ended without an error, if anything does.
    pub(crate) fn end(&mut self) -> Option<Bytes> {
        match self {
            Self::Gemini(encoder) => encoder.end(),
        }
    }

    /// Writes the error that ends a stream.
    pub(crate) fn error(&mut self, error: &Error) -> StreamFailure {
        match self {
            Self::Gemini(encoder) => encoder.error(error),
        }
    }
}
