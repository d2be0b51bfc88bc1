//! Decoding of Code Assist's event streams: each event is taken out of its wrapper.

use super::answer::UNWRAPPED;
use super::envelope;
use crate::error::Error;
use crate::google::error;
use crate::provider::event::{Decoded, DecodedEvent, EventContent};
use crate::sse::Event;

/// Decodes the events of one stream.
#[derive(Debug, Default)]
pub(crate) struct CodeAssistDecoder {
    /// The trace id that the events carry.
    trace: Option<String>,
    /// An event had a `finishReason`.
    finished: bool,
    /// There were lines that are no events.
    ignored: bool,
}

impl CodeAssistDecoder {
    /// Decodes one upstream event. `Ok(None)` for lines without meaning.
    pub(crate) fn decode<'a>(&mut self, event: &'a Event) -> Result<Option<Decoded<'a>>, Error> {
        let (text, bare) = match event {
            Event::Bare(text) => (text, true),
            Event::Data(text) => (text, false),
        };
        let opened = match envelope::open(text, self.trace.as_deref()) {
            Ok(opened) => opened,
            // Lines that are neither SSE nor JSON have no meaning, and neither has OpenAI's end mark.
            Err(_) if bare => {
                self.ignored = true;
                return Ok(None);
            }
            Err(_) if text.trim_ascii() == b"[DONE]" => return Ok(None),
            Err(malformed) => {
                let error = match error::from_string(text) {
                    Ok(error) => error,
                    Err(said) => {
                        let what = match said {
                            Some(said) => format!("a stream event is only a text, {said:?}"),
                            None => format!("a stream event is no JSON: {malformed}"),
                        };
                        return Err(Error::UpstreamMalformed { what });
                    }
                };
                let content = EventContent::Error(Box::new(error));
                return Ok(Some(Decoded { usage: None, new_trace: false, content }));
            }
        };
        let (finished, usage) = (opened.finished(), opened.usage());
        let new_trace = opened.trace_id.is_some();
        if let Some(trace) = opened.trace_id {
            self.trace = Some(trace.into_owned());
        }
        let content = match (opened.error, opened.response) {
            (Some(error), _) => EventContent::Error(Box::new(error::from_event(&error))),
            // A response without members means as little as none.
            (None, Some(response)) if response.is_empty() => EventContent::Nothing,
            (None, Some(response)) => {
                self.finished |= finished;
                EventContent::Event(DecodedEvent::CodeAssist { response, wrapper_len: text.len() })
            }
            (None, None) if opened.unwrapped => {
                let what = UNWRAPPED.to_owned();
                return Err(Error::UpstreamMalformed { what });
            }
            (None, None) => {
                self.ignored |= bare;
                EventContent::Nothing
            }
        };
        Ok(Some(Decoded { usage, new_trace, content }))
    }

    /// True once an event had a `finishReason`.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    /// True when there were lines that are no events, as in a web page with status 200.
    pub(crate) fn ignored_lines(&self) -> bool {
        self.ignored
    }

    /// The trace id that the events carry.
    pub(crate) fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }
}
