//! Writing an answer out: framing, network writes, pauses, cuts.

use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::log::LogEntry;
use crate::reply::{ReplyContent, StreamEvent};
use crate::script::{CutMode, Rule};

/// The body of an answer, played step by step.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    steps: VecDeque<Step>,
    /// Set when the length is to be promised in the head.
    length: Option<u64>,
    chunk_size: usize,
    chunk_interval: Duration,
    hang: bool,
    pause: Option<Pin<Box<Sleep>>>,
    entry: Option<LogEntry>,
    link: ResetSwitch,
}

impl ReplyBody {
    /// Frames an answer; with no rule it is plain CRLF events with `interval` between them.
    pub(crate) fn new(
        content: ReplyContent,
        rule: Option<&Rule>,
        interval: Duration,
        entry: Option<LogEntry>,
        link: ResetSwitch,
    ) -> Self {
        let plain = Rule::default();
        let rule = rule.unwrap_or(&plain);
        let interval = rule.event_interval_ms.map_or(interval, Duration::from_millis);
        let mut steps = VecDeque::new();
        let mut length = None;
        match frames(content, rule) {
            Frames::Several(frames) => {
                for frame in frames {
                    if !steps.is_empty() {
                        steps.push_back(Step::Pause(interval));
                    }
                    steps.push_back(Step::Write(frame));
                }
            }
            Frames::Single(frame) => {
                length = Some(frame.len() as u64);
                steps.push_back(Step::Write(frame));
            }
        }
        if rule.body_delay_ms > 0 {
            steps.push_front(Step::Pause(Duration::from_millis(rule.body_delay_ms)));
        }
        if let Some(most) = rule.cut_after_bytes {
            cut(&mut steps, most, rule.cut);
        }
        Self {
            steps,
            length,
            chunk_size: rule.chunk_size.unwrap_or(usize::MAX),
            chunk_interval: Duration::from_millis(rule.chunk_interval_ms),
            hang: rule.hang,
            pause: None,
            entry,
            link,
        }
    }

    fn settle(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.end();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ConnectionCutError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionCutError>>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let (size, interval) = (self.chunk_size, self.chunk_interval);
            match self.steps.pop_front() {
                Some(Step::Write(mut bytes)) => {
                    if bytes.len() > size {
                        let rest = bytes.split_off(size);
                        self.steps.push_front(Step::Write(rest));
                        self.steps.push_front(Step::Pause(interval));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Pause(wait)) if wait.is_zero() => {
                    // One turn of the connection's loop: what was written is flushed before more
                    // is offered, so that each chunk is a network write of its own.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Pause(wait)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(wait)));
                }
                Some(Step::Cut(how)) => {
                    self.settle();
                    if how == CutMode::Reset {
                        self.link.reset();
                    }
                    return Poll::Ready(Some(Err(ConnectionCutError)));
                }
                None if self.hang => return Poll::Pending,
                None => {
                    self.settle();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && !self.hang
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body of known length is dropped after its last byte without being polled again.
        if self.is_end_stream() {
            self.settle();
        }
    }
}

/// A connection's own switch: once thrown, it ends with RST instead of FIN.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The connection was cut because a script said so.
#[derive(Debug)]
pub(crate) struct ConnectionCutError;

impl std::fmt::Display for ConnectionCutError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the script cut the connection here")
    }
}

impl std::error::Error for ConnectionCutError {}

#[derive(Debug)]
enum Step {
    Cut(CutMode),
    Pause(Duration),
    Write(Bytes),
}

enum Frames {
    Several(Vec<Bytes>),
    Single(Bytes),
}

fn frames(content: ReplyContent, rule: &Rule) -> Frames {
    let (mut frames, single) = match content {
        ReplyContent::Array(events) => (array(&events), false),
        ReplyContent::Events(events) => (sse(&events, rule), false),
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
            // Only a newline between tokens may become a new `data:` line; inside JSON strings
            // there are none.
            let pretty = serde_json::from_str::<serde_json::Value>(payload)
                .map_or_else(|_| payload.clone(), |value| crate::status::pretty(&value));
            for line in pretty.split('\n') {
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

/// Google's framing of a stream without `alt` (protocol.md 4.4).
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

/// One gzip member, flushed after each frame so that a reader gets every event in its time.
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

/// Keeps the first `most` bytes, and cuts there or, if there are fewer, where the end would be.
fn cut(steps: &mut VecDeque<Step>, most: u64, how: CutMode) {
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    let mut kept = VecDeque::new();
    while let Some(step) = steps.pop_front() {
        match step {
            Step::Write(bytes) if bytes.len() > left => {
                kept.push_back(Step::Write(bytes.slice(..left)));
                break;
            }
            Step::Write(bytes) => {
                left -= bytes.len();
                kept.push_back(Step::Write(bytes));
            }
            other => kept.push_back(other),
        }
    }
    // Time for what was written to leave the machine's buffers: a reset throws them away.
    kept.push_back(Step::Pause(FLUSH));
    kept.push_back(Step::Cut(how));
    *steps = kept;
}

const FLUSH: Duration = Duration::from_millis(20);

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
    fn every_quirk_of_framing_can_be_had() {
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
    fn an_array_is_framed_as_google_does() {
        let events = [StreamEvent::Payload("{}".into()), StreamEvent::Payload("{}".into())];
        let all: Vec<u8> = array(&events).concat();
        assert_eq!(all, b"[{}\n,\r\n{}\n]\n");
        assert_eq!(array(&[]).concat(), b"[]");
    }

    #[test]
    fn each_chunk_is_offered_alone_so_that_it_is_written_alone() {
        let rule = Rule { chunk_size: Some(2), ..Rule::default() };
        let content = ReplyContent::Whole(Bytes::from_static(b"abcde"));
        let link = ResetSwitch::default();
        let mut body = ReplyBody::new(content, Some(&rule), Duration::ZERO, None, link);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut played = Vec::new();
        loop {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.into_data().unwrap();
                    played.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Poll::Ready(Some(Err(severed))) => panic!("{severed}"),
                Poll::Ready(None) => break,
                Poll::Pending => played.push("flush".to_owned()),
            }
        }
        assert_eq!(played, ["ab", "flush", "cd", "flush", "e"]);
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
