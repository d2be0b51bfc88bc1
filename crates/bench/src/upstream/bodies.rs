//! The bodies of answers and events.

use bytes::{Bytes, BytesMut};

use crate::clock;

/// Bodies of whole answers, built once.
#[derive(Debug)]
pub(super) struct Bodies {
    wrapped: Bytes,
    bare: Bytes,
}

impl Default for Bodies {
    fn default() -> Self {
        let inner = response(&filler(ANSWER - 450), true);
        Self { wrapped: wrap(&inner).into(), bare: inner.into() }
    }
}

impl Bodies {
    /// A whole answer, 2 KiB.
    pub(super) fn whole(&self, wrapped: bool) -> Bytes {
        if wrapped { self.wrapped.clone() } else { self.bare.clone() }
    }
}

/// One event with the present time in it, framed as a chunk or bare.
pub(super) fn event(wrapped: bool, last: bool, chunked: bool) -> Bytes {
    let text = clock::stamp(clock::now()) + &filler(EVENT);
    let inner = response(&text, last);
    let json = if wrapped { wrap(&inner) } else { inner };
    let event = format!("data: {json}\r\n\r\n");
    let mut framed = BytesMut::with_capacity(event.len() + 16);
    if chunked {
        framed.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
    }
    framed.extend_from_slice(event.as_bytes());
    if chunked {
        framed.extend_from_slice(b"\r\n");
    }
    framed.freeze()
}

fn response(text: &str, last: bool) -> String {
    let finish = if last { r#","finishReason":"STOP""# } else { "" };
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}{finish},"index":0}}],"usageMetadata":{{"promptTokenCount":217,"candidatesTokenCount":41,"totalTokenCount":258}},"modelVersion":"gemini-2.5-flash","responseId":"bench-response"}}"#
    )
}

fn wrap(inner: &str) -> String {
    format!(r#"{{"response":{inner},"traceId":"bench-trace"}}"#)
}

fn filler(size: usize) -> String {
    PROSE.chars().cycle().take(size).collect()
}

const PROSE: &str = "All happy families are alike; each unhappy one is so in its own way. ";

/// Bytes of a whole answer.
const ANSWER: usize = 2 << 10;

/// Bytes of an event's text, about twenty words.
const EVENT: usize = 120;
