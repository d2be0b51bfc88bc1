//! What upstreams speak: how a Gemini request becomes an upstream request, and how the answer becomes a
//! Gemini answer again.

pub(crate) mod answer;
pub mod code_assist;
pub(crate) mod edits;
pub(crate) mod event;
pub mod facts;
pub(crate) mod forward;
pub(crate) mod gemini_api;
pub mod request;
pub mod vertex;
pub mod vertex_client;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use crate::dialect::gemini::models::bare;
use crate::dialect::gemini::route::ClientMode;
use crate::dialect::{ModelCall, Operation, WholeCall};
use crate::error::Error;
pub(crate) use crate::google::ProviderKind;
use crate::payload::Payload;
use crate::settings::ModelAlias;
use crate::sse::Event;
use answer::GeminiAnswer;
use code_assist::CodeAssist;
use code_assist::adapt::AdaptedRequest;
use event::Decoded;
use facts::BodyFacts;
use gemini_api::GeminiApi;
use request::CountedFor;
use vertex::Vertex;
use vertex_client::VertexClientError;

/// A kind of Google API that serves Gemini models.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Code Assist, with the sign-in of the Gemini CLI.
    CodeAssist(Arc<CodeAssist>),
    /// The public Gemini API, with a key.
    GeminiApi(GeminiApi),
    /// Vertex AI, with an account of Google Cloud or a key of its express mode.
    Vertex(Arc<Vertex>),
}

impl Provider {
    pub(crate) fn kind(&self) -> ProviderKind {
        match self {
            Self::CodeAssist(_) => ProviderKind::CodeAssist,
            Self::GeminiApi(_) => ProviderKind::GeminiApi,
            Self::Vertex(_) => ProviderKind::Vertex,
        }
    }

    /// True if the provider has this operation.
    pub(crate) fn offers(&self, operation: Operation) -> bool {
        match operation {
            Operation::CountTokens | Operation::Generate | Operation::Stream => true,
            Operation::PassThrough => matches!(self, Self::CodeAssist(_)),
            Operation::BatchEmbed => matches!(self, Self::GeminiApi(_)),
            Operation::Copy(kind) => match self {
                Self::CodeAssist(_) => false,
                Self::GeminiApi(_) => true,
                Self::Vertex(vertex) => vertex::copied::copies(kind) && !vertex.is_express(),
            },
            Operation::Embed => match self {
                Self::CodeAssist(_) => false,
                Self::GeminiApi(_) => true,
                Self::Vertex(vertex) => !vertex.is_express(),
            },
            Operation::GetModel | Operation::ListModels => match self {
                Self::CodeAssist(_) | Self::GeminiApi(_) => true,
                Self::Vertex(vertex) => !vertex.is_express(),
            },
            Operation::VertexResource => match self {
                Self::CodeAssist(_) | Self::GeminiApi(_) => false,
                Self::Vertex(vertex) => !vertex.is_express(),
            },
            _ => false,
        }
    }

    /// True for Vertex AI with an API key, which lacks what a project has.
    pub(crate) fn is_express(&self) -> bool {
        matches!(self, Self::Vertex(vertex) if vertex.is_express())
    }

    /// The model at the provider for the name that a client has asked for. An alias of the operator's is
    /// final.
    pub(crate) fn resolve<'a>(&self, requested: &'a str, aliases: &'a [ModelAlias]) -> &'a str {
        match self {
            Self::CodeAssist(_) => code_assist::models::resolve(requested, aliases),
            Self::GeminiApi(_) | Self::Vertex(_) => resolve_alias(requested, aliases),
        }
    }

    /// Makes a client's body acceptable to the provider, for `model` (a bare id).
    pub(crate) fn adapt(
        &self,
        call: ModelCall,
        mode: ClientMode,
        body: &Bytes,
        model: &str,
    ) -> Result<AdaptedRequest, VertexClientError> {
        match (self, mode) {
            (Self::CodeAssist(provider), _) => {
                if mode == ClientMode::Vertex {
                    vertex_client::at_code_assist(body)?;
                }
                Ok(provider.adapt(call, body, model)?)
            }
            (Self::GeminiApi(_), ClientMode::Gemini) => Ok(unedited(call, body)),
            (Self::GeminiApi(_), ClientMode::Vertex) => match call {
                ModelCall::Whole(WholeCall::CountTokens) => {
                    vertex_client::count_at_gemini_api(body, model)
                }
                ModelCall::Stream | ModelCall::Whole(_) => vertex_client::at_gemini_api(body),
            },
            (Self::Vertex(provider), _) => provider.adapt(call, mode, body),
        }
    }

    /// The breakers that a call counts for.
    pub(crate) fn counted_for(&self, call: ModelCall) -> CountedFor {
        match self {
            Self::CodeAssist(_) | Self::GeminiApi(_) | Self::Vertex(_) => {
                CountedFor::Model(method(call))
            }
        }
    }

    /// Takes a whole answer out of the provider's form.
    pub(crate) fn read_answer<'a>(
        &self,
        call: WholeCall,
        mode: ClientMode,
        text: &'a Bytes,
    ) -> Result<GeminiAnswer<'a>, Error> {
        match (self, call) {
            (Self::CodeAssist(_), WholeCall::CountTokens) => code_assist::answer::count(text),
            (Self::CodeAssist(_), _) => code_assist::answer::generated(text),
            (Self::Vertex(_), WholeCall::BatchEmbed | WholeCall::Embed) => gemini_api::answer(text),
            (Self::Vertex(_), _) if mode == ClientMode::Vertex => gemini_api::answer(text),
            (Self::Vertex(_), WholeCall::CountTokens) => vertex::answer::count(text),
            (Self::Vertex(_), WholeCall::Generate) => vertex::answer::generated(text),
            (Self::GeminiApi(_), _) => gemini_api::answer(text),
        }
    }

    /// What the provider's streams are; `None` if they are copied as they come.
    pub(crate) fn upstream_format(&self, mode: ClientMode) -> Option<UpstreamFormat> {
        match self {
            Self::CodeAssist(_) => Some(UpstreamFormat::CodeAssist),
            Self::Vertex(_) if mode == ClientMode::Gemini => Some(UpstreamFormat::Vertex),
            Self::GeminiApi(_) | Self::Vertex(_) => None,
        }
    }

    /// What the provider's streams are for a client of another dialect, which are always read.
    pub(crate) fn translated_format(&self) -> UpstreamFormat {
        match self {
            Self::CodeAssist(_) => UpstreamFormat::CodeAssist,
            // Neither wraps its events.
            Self::GeminiApi(_) | Self::Vertex(_) => UpstreamFormat::Vertex,
        }
    }

    /// True if whole answers pass as they come, with the headers that clients of the provider know.
    pub(crate) fn copies_answers(&self) -> bool {
        matches!(self, Self::GeminiApi(_))
    }

    /// The header with the provider's id for a request.
    pub(crate) fn trace_header(&self) -> Option<HeaderName> {
        match self {
            Self::CodeAssist(_) => Some(code_assist::TRACE_ID),
            Self::GeminiApi(_) | Self::Vertex(_) => None,
        }
    }
}

/// A body as it is, with what the response cache needs to know of it. The answer to a stream is not kept.
fn unedited(call: ModelCall, body: &Bytes) -> AdaptedRequest {
    let facts = match call {
        ModelCall::Whole(_) => Some(BodyFacts::of(body)),
        ModelCall::Stream => None,
    };
    AdaptedRequest {
        request: Payload::from(body.clone()),
        dropped: Vec::new(),
        temperature_zero: facts.is_some_and(|facts| facts.temperature_zero),
        looks_outside: facts.is_none_or(|facts| facts.looks_outside),
        service_tier: None,
    }
}

/// The API's method for a call.
pub(crate) fn method(call: ModelCall) -> &'static str {
    match call {
        ModelCall::Stream => "streamGenerateContent",
        ModelCall::Whole(WholeCall::BatchEmbed) => "batchEmbedContents",
        ModelCall::Whole(WholeCall::CountTokens) => "countTokens",
        ModelCall::Whole(WholeCall::Embed) => "embedContent",
        ModelCall::Whole(WholeCall::Generate) => "generateContent",
    }
}

/// The model that an alias of the operator's names, or else the one that was asked for.
fn resolve_alias<'a>(requested: &'a str, aliases: &'a [ModelAlias]) -> &'a str {
    let requested = bare(requested);
    let alias = ModelAlias::find(aliases, requested);
    alias.map_or(requested, |alias| bare(&alias.to))
}

/// The form of a stream that is read event by event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFormat {
    /// Code Assist wraps each event.
    CodeAssist,
    /// Vertex AI names citations otherwise.
    Vertex,
}

impl UpstreamFormat {
    /// Makes the decoder for such a stream.
    pub(crate) fn decoder(self) -> StreamDecoder {
        match self {
            Self::CodeAssist => {
                StreamDecoder::CodeAssist(code_assist::stream::CodeAssistDecoder::default())
            }
            Self::Vertex => StreamDecoder::Vertex(vertex::stream::VertexDecoder::default()),
        }
    }
}

/// Reads the events of an upstream's stream.
#[derive(Debug)]
pub(crate) enum StreamDecoder {
    /// Code Assist wraps each event.
    CodeAssist(code_assist::stream::CodeAssistDecoder),
    /// Vertex AI's events are Gemini's, but for citations.
    Vertex(vertex::stream::VertexDecoder),
}

impl StreamDecoder {
    /// Reads one upstream event. `Ok(None)` for lines that mean nothing.
    pub(crate) fn decode<'a>(&mut self, event: &'a Event) -> Result<Option<Decoded<'a>>, Error> {
        match self {
            Self::CodeAssist(decoder) => decoder.decode(event),
            Self::Vertex(decoder) => decoder.decode(event),
        }
    }

    /// True once an event said why the answer ended.
    pub(crate) fn finished(&self) -> bool {
        match self {
            Self::CodeAssist(decoder) => decoder.finished(),
            Self::Vertex(decoder) => decoder.finished(),
        }
    }

    /// True when there were lines that are no events.
    pub(crate) fn ignored_lines(&self) -> bool {
        match self {
            Self::CodeAssist(decoder) => decoder.ignored_lines(),
            Self::Vertex(decoder) => decoder.ignored_lines(),
        }
    }

    /// Upstream's id for the request, as the events carry it.
    pub(crate) fn trace(&self) -> Option<&str> {
        match self {
            Self::CodeAssist(decoder) => decoder.trace(),
            Self::Vertex(_) => None,
        }
    }
}
