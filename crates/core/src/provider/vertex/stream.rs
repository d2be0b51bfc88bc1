//! Decoding of Vertex AI's event streams, for a client of the Gemini API.

use super::answer::no_answer;
use crate::error::Error;
use crate::google::error;
use crate::provider::code_assist::envelope;
use crate::provider::event::{Decoded, DecodedEvent, EventContent};
use crate::sse::Event;

/// Decodes the events of one stream.
#[derive(Debug, Default)]
pub(crate) struct VertexDecoder {
    /// An event had a `finishReason`.
    finished: bool,
    /// There were lines that are no events.
    ignored: bool,
}

impl VertexDecoder {
    /// Decodes one upstream event. `Ok(None)` for lines without meaning. An error may come as an event,
    /// or bare, after the last event (`docs/reference/upstreams.md` 4.2).
    pub(crate) fn decode<'a>(&mut self, event: &'a Event) -> Result<Option<Decoded<'a>>, Error> {
        let (text, bare) = match event {
            Event::Bare(text) => (text, true),
            Event::Data(text) => (text, false),
        };
        let opened = match envelope::open_bare(text) {
            Ok(opened) => opened,
            Err(_) if bare => {
                self.ignored = true;
                return Ok(None);
            }
            Err(_) if text.trim_ascii() == b"[DONE]" => return Ok(None),
            Err(malformed) => {
                let what = format!("a stream event: {malformed}");
                return Err(no_answer(text, &what));
            }
        };
        let (finished, usage) = (opened.finished(), opened.usage());
        let content = match (opened.error, opened.response) {
            (Some(error), _) => EventContent::Error(Box::new(error::from_event(&error))),
            (None, Some(response)) if !response.is_empty() => {
                self.finished |= finished;
                EventContent::Event(DecodedEvent::Vertex { response, len: text.len() })
            }
            (None, _) => EventContent::Nothing,
        };
        Ok(Some(Decoded { usage, new_trace: false, content }))
    }

    /// True once an event had a `finishReason`.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    /// True when there were lines that are no events, as in a web page with status 200.
    pub(crate) fn ignored_lines(&self) -> bool {
        self.ignored
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::dialect::gemini::route::Framing;
    use crate::dialect::gemini::stream::GeminiEncoder;

    fn written(framing: Framing, events: &[&'static str]) -> String {
        let mut decoder = VertexDecoder::default();
        let mut encoder = GeminiEncoder::new(framing);
        let mut out = Vec::new();
        for text in events {
            let event = Event::Data(Bytes::from_static(text.as_bytes()));
            let decoded = decoder.decode(&event).unwrap().unwrap();
            let EventContent::Event(event) = decoded.content else { panic!("{text}") };
            out.extend_from_slice(&encoder.event(event));
        }
        out.extend(encoder.end().unwrap_or_default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_keep_their_bytes_in_either_framing_but_for_citations() {
        let first = r#"{"candidates": [{"content": {"role": "model","parts": [{"text": "OK"}]}}],"createTime": "x"}"#;
        let second = r#"{"candidates": [{"citationMetadata": {"citations": [{"title": "x"}]},"finishReason": "STOP"}]}"#;
        let edited = second.replace("citations", "citationSources");
        assert_eq!(
            written(Framing::Sse, &[first, second]),
            format!("data: {first}\r\n\r\ndata: {edited}\r\n\r\n")
        );
        assert_eq!(
            written(Framing::Array, &[first, second]),
            format!("[{first}\n,\r\n{edited}\n]")
        );
        let pretty = "{\n  \"candidates\": [ ]\r\n}";
        assert_eq!(written(Framing::Sse, &[pretty]), "data: {\"candidates\":[]}\r\n\r\n");
    }

    #[test]
    fn an_error_is_found_as_an_event_and_as_a_bare_object() {
        let error = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"m\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";
        for event in [Event::Data(error.into()), Event::Bare(error.into())] {
            let mut decoder = VertexDecoder::default();
            let decoded = decoder.decode(&event).unwrap().unwrap();
            let EventContent::Error(error) = decoded.content else { panic!("{event:?}") };
            assert_eq!((error.http.as_u16(), &*error.status), (503, "UNAVAILABLE"));
        }
    }

    #[test]
    fn what_is_no_event_is_ignored_and_a_broken_event_is_an_error() {
        let mut decoder = VertexDecoder::default();
        assert!(decoder.decode(&Event::Bare("<html>".into())).unwrap().is_none());
        assert!(decoder.ignored_lines());
        assert!(decoder.decode(&Event::Data("[DONE]".into())).unwrap().is_none());
        assert!(decoder.decode(&Event::Data("{\"a\":".into())).is_err());
        let empty = Event::Data("{}".into());
        let decoded = decoder.decode(&empty).unwrap().unwrap();
        assert!(matches!(decoded.content, EventContent::Nothing));
        assert!(!decoder.finished());
        let last = Event::Data(
            r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3}}"#
                .into(),
        );
        assert_eq!(decoder.decode(&last).unwrap().unwrap().usage.unwrap().prompt, 3);
        assert!(decoder.finished());
    }
}
