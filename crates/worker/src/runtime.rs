//! The runtime's part: what is asked of it (`runtime.js`), headers in its form, bodies that it reads.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use wasm_bindgen::closure::Closure;
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
    /// A body that is written as it comes.
    pub(crate) fn pipe() -> Pipe;
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
    /// Rings after so many milliseconds. The number is for taking it back.
    #[wasm_bindgen(js_name = setAlarm)]
    pub(crate) fn set_alarm(rings: &Closure<dyn Fn()>, milliseconds: i32) -> i32;
    #[wasm_bindgen(js_name = takeBackAlarm)]
    pub(crate) fn take_back_alarm(id: i32);
    pub(crate) type Pipe;
    /// For [`answer`].
    #[wasm_bindgen(method, getter)]
    pub(crate) fn readable(this: &Pipe) -> JsValue;
    /// Fulfilled when nobody reads any more.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn lost(this: &Pipe) -> Promise;
    /// Fulfilled when the reader has taken the chunk, rejected when there is none.
    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Pipe, chunk: &Uint8Array) -> Promise;
    /// Ends the body well.
    #[wasm_bindgen(method)]
    pub(crate) fn close(this: &Pipe) -> Promise;
    /// Breaks it off.
    #[wasm_bindgen(method)]
    pub(crate) fn abort(this: &Pipe, why: &str) -> Promise;
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
    AsTheyCome { reader: ReadableStreamDefaultReader, awaited: Option<JsFuture> },
    Ended,
    Whole { source: JsValue, awaited: Option<JsFuture> },
}

impl Chunks {
    /// The body of a request or response (`source`) with these headers.
    pub(crate) fn of(
        source: &impl AsRef<JsValue>,
        stream: Option<ReadableStream>,
        headers: &HeaderMap,
    ) -> Self {
        match stream {
            None => Self::Ended,
            Some(_) if is_small(headers) => {
                Self::Whole { source: source.as_ref().clone(), awaited: None }
            }
            Some(stream) => {
                let reader = stream.get_reader().unchecked_into();
                Self::AsTheyCome { reader, awaited: None }
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
            Self::AsTheyCome { reader, awaited } => {
                let result = ready!(read(awaited, || reader.read(), cx));
                (result.map(|result| result.unchecked_into::<ReadResult>().value()), false)
            }
            Self::Whole { source, awaited } => {
                let result = ready!(read(awaited, || whole(source), cx));
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

/// What a read gives, which is begun if none is under way.
fn read(
    awaited: &mut Option<JsFuture>,
    begin: impl FnOnce() -> Promise,
    cx: &mut Context<'_>,
) -> Poll<Result<JsValue, JsValue>> {
    let under_way = awaited.get_or_insert_with(|| JsFuture::from(begin()));
    let result = ready!(Pin::new(under_way).poll(cx));
    *awaited = None;
    Poll::Ready(result)
}

fn is_small(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length <= SMALL)
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
