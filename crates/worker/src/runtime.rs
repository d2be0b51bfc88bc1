//! The runtime's part: what is asked of it (`runtime.js`), headers in its form, bodies that it reads.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, Headers, ReadableStream, ReadableStreamDefaultReader, Response};
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{Promise, Uint8Array};

#[wasm_bindgen(module = "/src/runtime.js")]
extern "C" {
    /// A response to the client.
    pub(crate) fn answer(status: u16, headers: &str, body: &JsValue) -> Response;
    /// Fulfilled when the client has left.
    pub(crate) fn left(signal: &AbortSignal) -> Promise;
    /// From the runtime's cryptographic source.
    pub(crate) fn random() -> u64;
    /// `fetch`, which follows no redirect. Fulfilled with a [`Response`] when its head is there.
    pub(crate) fn send(
        url: &str,
        method: &str,
        headers: &str,
        body: &JsValue,
        signal: &AbortSignal,
    ) -> Promise;
    fn listed(headers: &Headers) -> String;
    /// Fulfilled with all of a request's or a response's body, as a [`Uint8Array`].
    fn whole(source: &JsValue) -> Promise;
}

/// The runtime's headers as the core has them.
pub(crate) fn headers_from(headers: &Headers) -> HeaderMap {
    let listed = listed(headers);
    let mut lines = listed.split('\n');
    let mut map = HeaderMap::new();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        // The runtime has let nothing through that is no header.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value_from(value)) {
            map.append(name, value);
        }
    }
    map
}

/// A character of the runtime's is a byte of the header's (Fetch Standard, "isomorphic decode").
fn value_from(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    if text.is_ascii() {
        return HeaderValue::from_str(text);
    }
    let bytes: Vec<u8> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes)
}

/// The core's headers as the runtime takes them.
pub(crate) fn headers_to(map: &HeaderMap) -> String {
    let mut text = String::with_capacity(32 * map.len());
    for (name, value) in map {
        let value = value.as_bytes();
        // Writing to a string cannot fail.
        let _ = match std::str::from_utf8(value).ok().filter(|value| value.is_ascii()) {
            Some(value) => writeln!(text, "{name}\n{value}"),
            None => {
                let value: String = value.iter().copied().map(char::from).collect();
                writeln!(text, "{name}\n{value}")
            }
        };
    }
    text
}

/// A body that the runtime reads: a small one of known length in one go, which is much cheaper, any
/// other chunk by chunk.
///
/// A reader is never given back: that would have the runtime write out an error with its stack, for
/// nobody.
#[derive(Debug)]
pub(crate) enum Chunks {
    Ended,
    Stream { reader: ReadableStreamDefaultReader, awaited: Option<JsFuture> },
    Whole { source: JsValue, awaited: Option<JsFuture> },
}

impl Chunks {
    /// The body of a request or response (`source`) with these headers.
    pub(crate) fn of(
        source: &impl AsRef<JsValue>,
        stream: Option<ReadableStream>,
        headers: &HeaderMap,
    ) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse().ok());
        match stream {
            None => Self::Ended,
            Some(_) if length.is_some_and(|length: u64| length <= SMALL) => {
                Self::Whole { source: source.as_ref().clone(), awaited: None }
            }
            Some(stream) => {
                Self::Stream { reader: stream.get_reader().unchecked_into(), awaited: None }
            }
        }
    }

    /// True when there is nothing to wait for any more.
    pub(crate) fn ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = JsValue;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, JsValue>>> {
        let (chunk, is_last) = match &mut *self {
            Self::Ended => return Poll::Ready(None),
            Self::Stream { reader, awaited } => {
                let read = awaited.get_or_insert_with(|| JsFuture::from(reader.read()));
                let result = ready!(Pin::new(read).poll(cx));
                *awaited = None;
                (result.map(|result| result.unchecked_into::<ReadResult>().value()), false)
            }
            Self::Whole { source, awaited } => {
                let read = awaited.get_or_insert_with(|| JsFuture::from(whole(source)));
                let result = ready!(Pin::new(read).poll(cx));
                (result.map(|all| Some(all.unchecked_into())), true)
            }
        };
        if is_last || !matches!(chunk, Ok(Some(_))) {
            *self = Self::Ended;
        }
        let frame = |chunk: Uint8Array| Frame::data(Bytes::from(chunk.to_vec()));
        Poll::Ready(chunk.transpose().map(|chunk| chunk.map(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended()
    }
}

#[wasm_bindgen]
extern "C" {
    /// <https://streams.spec.whatwg.org/#dictdef-readablestreamreadresult>
    type ReadResult;

    /// Missing at the end.
    #[wasm_bindgen(method, getter)]
    fn value(this: &ReadResult) -> Option<Uint8Array>;
}

/// Short enough to arrive within any patience.
const SMALL: u64 = 64 * 1024;
