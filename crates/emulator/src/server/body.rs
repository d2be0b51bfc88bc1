//! The body of an answer: network writes, pauses and cuts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::log::LogEntry;
use crate::reply::ReplyContent;
use crate::script::{CutMode, Rule};
use crate::server::framing::{Frames, frames};

/// The body of an answer, sent step by step.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    steps: VecDeque<Step>,
    /// The `Content-Length`, for a body that is sent whole.
    length: Option<u64>,
    chunk_size: usize,
    chunk_interval: Duration,
    hang: bool,
    pause: Option<Pin<Box<Sleep>>>,
    entry: Option<LogEntry>,
    reset: ResetSwitch,
}

impl ReplyBody {
    /// Frames the content. Without a rule, events end in CRLF and come `interval` apart.
    pub(crate) fn new(
        content: ReplyContent,
        rule: Option<&Rule>,
        interval: Duration,
        entry: Option<LogEntry>,
        reset: ResetSwitch,
    ) -> Self {
        let plain = Rule::default();
        let rule = rule.unwrap_or(&plain);
        let interval = rule.event_interval_ms.map_or(interval, Duration::from_millis);
        let mut steps = VecDeque::new();
        let mut length = None;
        if let ReplyContent::Generated(bytes) = content {
            length = Some(bytes);
            steps.push_back(Step::Generate { from: 0, left: bytes });
        }
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
            reset,
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
                Some(Step::Generate { left: 0, .. }) => {}
                Some(Step::Generate { from, left }) => {
                    let many = left.min(GENERATED_AT_ONCE);
                    let next = Step::Generate { from: from + many, left: left - many };
                    self.steps.push_front(next);
                    self.steps.push_front(Step::Write(generated(from, many)));
                }
                Some(Step::Pause(wait)) if wait.is_zero() => {
                    // hyper flushes what it has before it polls again, so that each chunk is a
                    // network write of its own.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Pause(wait)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(wait)));
                }
                Some(Step::Cut(how)) => {
                    self.settle();
                    if how == CutMode::Reset {
                        self.reset.set();
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
        let is_over = |step: &Step| matches!(step, Step::Generate { left: 0, .. });
        self.steps.iter().all(is_over) && !self.hang
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

/// A switch of one connection: once it is set, the connection ends with RST instead of FIN.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A rule cut the connection.
#[derive(Debug)]
pub(crate) struct ConnectionCutError;

impl std::fmt::Display for ConnectionCutError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a rule of the script cut the connection here")
    }
}

impl std::error::Error for ConnectionCutError {}

#[derive(Debug)]
enum Step {
    Cut(CutMode),
    Generate { from: u64, left: u64 },
    Pause(Duration),
    Write(Bytes),
}

/// Keeps the first `most` bytes and cuts the connection there. A shorter body is cut where it would
/// end.
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
            Step::Generate { from, left: bytes } => {
                let bytes = bytes.min(left as u64);
                kept.push_back(Step::Generate { from, left: bytes });
                break;
            }
            other => kept.push_back(other),
        }
    }
    // A reset discards what the socket has not sent yet, so give it the time to send.
    kept.push_back(Step::Pause(FLUSH));
    kept.push_back(Step::Cut(how));
    *steps = kept;
}

/// The bytes of a generated file from a place on: byte `n` is `n % 251`.
fn generated(from: u64, many: u64) -> Bytes {
    (from..from + many).map(|place| (place % 251) as u8).collect::<Vec<u8>>().into()
}

const GENERATED_AT_ONCE: u64 = 64 << 10;
const FLUSH: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_can_flush_between_two_chunks() {
        let rule = Rule { chunk_size: Some(2), ..Rule::default() };
        let content = ReplyContent::Whole(Bytes::from_static(b"abcde"));
        let reset = ResetSwitch::default();
        let mut body = ReplyBody::new(content, Some(&rule), Duration::ZERO, None, reset);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut sent = Vec::new();
        loop {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.into_data().unwrap();
                    sent.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Poll::Ready(Some(Err(error))) => panic!("{error}"),
                Poll::Ready(None) => break,
                Poll::Pending => sent.push("flush".to_owned()),
            }
        }
        assert_eq!(sent, ["ab", "flush", "cd", "flush", "e"]);
    }
}
