//! How the content of a reply becomes bytes: server-sent events, JSON arrays, gzip.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::reply::{ReplyContent, StreamEvent};
use crate::script::Rule;
use crate::status::pretty;

/// The bytes of a body, one frame for each event.
pub(super) enum Frames {
    Several(Vec<Bytes>),
    /// A body of known length.
    Single(Bytes),
}

pub(super) fn frames(content: ReplyContent, rule: &Rule) -> Frames {
    let (mut frames, single) = match content {
        ReplyContent::Array(events) => (array(&events), false),
        ReplyContent::Events(events) => (sse(&events, rule), false),
        ReplyContent::Generated(_) => (Vec::new(), false), // the body makes them
        ReplyContent::Whole(body) => (vec![body], true),
    };
    if rule.gzip {
        frames = gzip(&frames);
    }
    match frames.pop() {
        Some(frame) if single && frames.is_empty() => Frames::Single(frame),
        Some(frame) => {
            frames.push(frame);
            Frames::Several(frames)
        }
        None => Frames::Several(frames),
    }
}

fn sse(events: &[StreamEvent], rule: &Rule) -> Vec<Bytes> {
    let end = rule.line_ending.text();
    let prefix = rule.data_prefix.as_deref().unwrap_or("data: ");
    let last = events.len().saturating_sub(1);
    let frame = |(at, event): (usize, &StreamEvent)| {
        let payload = match event {
            StreamEvent::Raw(text) => return Bytes::from(text.clone()),
            StreamEvent::Payload(payload) => payload,
        };
        let mut text = String::with_capacity(payload.len() + 16);
        if rule.multi_line {
            // Every newline stands between JSON tokens, so each may begin a new `data:` line: JSON
            // strings have none.
            let lines = serde_json::from_str::<serde_json::Value>(payload)
                .map_or_else(|_| payload.clone(), |value| pretty(&value));
            for line in lines.split('\n') {
                text.push_str(prefix);
                text.push_str(line);
                text.push_str(end);
            }
        } else {
            text.push_str(prefix);
            text.push_str(payload);
            text.push_str(end);
        }
        if !(at == last && rule.no_final_blank_line) {
            text.push_str(end);
        }
        Bytes::from(text)
    };
    events.iter().enumerate().map(frame).collect()
}

/// Google's framing of a stream without `alt` (docs/reference/protocol.md 4.4).
fn array(events: &[StreamEvent]) -> Vec<Bytes> {
    if events.is_empty() {
        return vec![Bytes::from_static(b"[]")];
    }
    let mut frames = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let (StreamEvent::Payload(text) | StreamEvent::Raw(text)) = event;
        let before = if at == 0 { "[" } else { "\n,\r\n" };
        frames.push(Bytes::from(format!("{before}{text}")));
    }
    frames.push(Bytes::from_static(b"\n]\n"));
    frames
}

/// One gzip member, flushed after each frame so that the reader gets each event when it is sent.
fn gzip(frames: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut packed = Vec::with_capacity(frames.len());
    for frame in frames {
        let written = encoder.write_all(frame).and_then(|()| encoder.flush());
        written.expect("writing to memory does not fail");
        packed.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    let tail = encoder.finish().expect("writing to memory does not fail");
    match packed.last_mut() {
        Some(last) => {
            let mut whole = last.to_vec();
            whole.extend(tail);
            *last = whole.into();
        }
        None => packed.push(tail.into()),
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::LineEnding;

    fn written(events: &[StreamEvent], rule: &Rule) -> String {
        let frames = sse(events, rule);
        frames.iter().map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect()
    }

    #[test]
    fn an_ordinary_stream_has_crlf_and_a_blank_line_after_each_event() {
        let events = [StreamEvent::Payload("{\"a\":1}".into()), StreamEvent::Payload("{}".into())];
        let text = written(&events, &Rule::default());
        assert_eq!(text, "data: {\"a\":1}\r\n\r\ndata: {}\r\n\r\n");
    }

    #[test]
    fn a_rule_changes_the_framing_of_events() {
        let events =
            [StreamEvent::Payload("{\"a\":1}".into()), StreamEvent::Raw("{\"error\"}\n".into())];
        let rule = Rule {
            line_ending: LineEnding::Cr,
            data_prefix: Some("data:".into()),
            multi_line: true,
            ..Rule::default()
        };
        let text = written(&events, &rule);
        assert_eq!(text, "data:{\rdata:  \"a\": 1\rdata:}\r\r{\"error\"}\n");
        let rule =
            Rule { line_ending: LineEnding::Lf, no_final_blank_line: true, ..Rule::default() };
        assert_eq!(written(&events[..1], &rule), "data: {\"a\":1}\n");
    }

    #[test]
    fn a_json_array_is_framed_as_google_does() {
        let events = [StreamEvent::Payload("{}".into()), StreamEvent::Payload("{}".into())];
        let all: Vec<u8> = array(&events).concat();
        assert_eq!(all, b"[{}\n,\r\n{}\n]\n");
        assert_eq!(array(&[]).concat(), b"[]");
    }

    #[test]
    fn a_gzip_frame_can_be_read_before_the_next_one_comes() {
        use std::io::Read as _;

        let frames = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let packed = gzip(&frames);
        assert_eq!(packed.len(), 2);
        let mut first = [0; 3];
        flate2::read::GzDecoder::new(&packed[0][..]).read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one");
    }
}
