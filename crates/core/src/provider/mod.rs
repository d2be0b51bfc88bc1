//! What upstreams speak: how a Gemini request becomes an upstream request, and how the answer becomes a
//! Gemini answer again.

pub(crate) mod answer;
pub mod code_assist;
pub(crate) mod edits;
pub(crate) mod event;
#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "there is one upstream only yet")
)]
pub mod facts;
pub mod request;
#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "no upstream is made of it yet")
)]
pub mod vertex;
#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "there is one upstream only yet")
)]
pub mod vertex_client;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method};

use crate::dialect::{ModelCall, WholeCall};
use crate::error::Error;
use crate::json::JsonError;
use crate::payload::Payload;
use crate::sse::Event;
use answer::GeminiAnswer;
use code_assist::CodeAssist;
use code_assist::adapt::AdaptedRequest;
use code_assist::envelope::Envelope;
use code_assist::project::Onboarding;
use event::Decoded;
use request::{CountedFor, UpstreamRequest};

/// A kind of Google API that serves Gemini models.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Code Assist, with the sign-in of the Gemini CLI.
    CodeAssist(CodeAssist),
}

impl Provider {
    /// Code Assist in this version of its protocol, such as `v1internal`.
    pub(crate) fn code_assist(version: &str) -> Self {
        Self::CodeAssist(CodeAssist::new(version))
    }

    /// Makes a client's body acceptable to the provider, for `model` (a bare id).
    pub(crate) fn adapt(
        &self,
        call: ModelCall,
        body: &Bytes,
        model: &str,
    ) -> Result<AdaptedRequest, JsonError> {
        match self {
            Self::CodeAssist(provider) => provider.adapt(call, body, model),
        }
    }

    /// The breakers that a call counts for.
    pub(crate) fn counted_for(&self, call: ModelCall) -> CountedFor {
        match self {
            Self::CodeAssist(_) => CountedFor::Model(code_assist::method(call)),
        }
    }

    /// The model that a request of the provider's own protocol works on; empty if there is none.
    pub(crate) fn passed_model(&self, suffix: &str, body: &Bytes) -> String {
        match self {
            Self::CodeAssist(_) => code_assist::passed_model(suffix, body).unwrap_or_default(),
        }
    }

    /// True for a method of the provider's own protocol that a client's session needs and that changes
    /// nothing of the account.
    pub(crate) fn is_session_method(&self, suffix: &str) -> bool {
        match self {
            Self::CodeAssist(_) => code_assist::pass_through::is_session_method(suffix),
        }
    }

    /// The places in a body of the provider's own protocol that name a project. Fails for a body that is
    /// not exactly one JSON object.
    pub(crate) fn named_projects(&self, body: &Bytes) -> Result<Vec<Range<usize>>, JsonError> {
        match self {
            Self::CodeAssist(_) => code_assist::pass_through::named_projects(body),
        }
    }

    /// The body with this project at these places.
    pub(crate) fn in_project(
        &self,
        body: &Bytes,
        named: Vec<Range<usize>>,
        project: &str,
    ) -> Payload {
        match self {
            Self::CodeAssist(_) => code_assist::pass_through::in_project(body, named, project),
        }
    }

    /// The request that counts the tokens of an adapted body.
    pub(crate) fn count_tokens(&self, body: Payload) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.count_tokens(body),
        }
    }

    /// The request that generates a whole answer to an adapted body.
    pub(crate) fn generate(&self, body: Payload, envelope: &Envelope<'_>) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.generate(body, envelope),
        }
    }

    /// The request that generates a stream of events for an adapted body.
    pub(crate) fn stream(&self, body: Payload, envelope: &Envelope<'_>) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.stream(body, envelope),
        }
    }

    /// A request of the provider's own protocol, without its body.
    pub(crate) fn pass_through(
        &self,
        method: Method,
        suffix: &str,
        alt: Option<&str>,
    ) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.pass_through(method, suffix, alt),
        }
    }

    /// `loadCodeAssist`: does the account have a project?
    pub(crate) fn load_code_assist(&self) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.load_code_assist(),
        }
    }

    /// `onboardUser`, which creates the account's project.
    pub(crate) fn onboard_user(&self, onboarding: &Onboarding) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.onboard_user(onboarding),
        }
    }

    /// Asks whether a long-running operation of Google, the onboarding, is done.
    pub(crate) fn poll_operation(&self, name: &str) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.poll_operation(name),
        }
    }

    /// `retrieveUserQuota` for a project.
    pub(crate) fn user_quota(&self, project: &Arc<str>) -> UpstreamRequest {
        match self {
            Self::CodeAssist(provider) => provider.user_quota(project),
        }
    }

    /// Takes a whole answer out of the provider's form.
    pub(crate) fn read_answer<'a>(
        &self,
        call: WholeCall,
        text: &'a Bytes,
    ) -> Result<GeminiAnswer<'a>, Error> {
        match self {
            Self::CodeAssist(_) => match call {
                WholeCall::CountTokens => code_assist::answer::count(text),
                WholeCall::Generate => code_assist::answer::generated(text),
            },
        }
    }

    /// What reads a stream of the provider's.
    pub(crate) fn stream_decoder(&self) -> StreamDecoder {
        match self {
            Self::CodeAssist(_) => {
                StreamDecoder::CodeAssist(code_assist::stream::CodeAssistDecoder::default())
            }
        }
    }

    /// The header with the provider's id for a request.
    pub(crate) fn trace_header(&self) -> HeaderName {
        match self {
            Self::CodeAssist(_) => code_assist::TRACE_ID,
        }
    }
}

/// Reads the events of an upstream's stream.
#[derive(Debug)]
pub(crate) enum StreamDecoder {
    /// Code Assist wraps each event.
    CodeAssist(code_assist::stream::CodeAssistDecoder),
}

impl StreamDecoder {
    /// Reads one upstream event. `Ok(None)` for lines that mean nothing.
    pub(crate) fn decode<'a>(&mut self, event: &'a Event) -> Result<Option<Decoded<'a>>, Error> {
        match self {
            Self::CodeAssist(decoder) => decoder.decode(event),
        }
    }

    /// True once an event said why the answer ended.
    pub(crate) fn finished(&self) -> bool {
        match self {
            Self::CodeAssist(decoder) => decoder.finished(),
        }
    }

    /// True when there were lines that are no events.
    pub(crate) fn ignored_lines(&self) -> bool {
        match self {
            Self::CodeAssist(decoder) => decoder.ignored_lines(),
        }
    }

    /// Upstream's id for the request, as the events carry it.
    pub(crate) fn trace(&self) -> Option<&str> {
        match self {
            Self::CodeAssist(decoder) => decoder.trace(),
        }
    }
}
