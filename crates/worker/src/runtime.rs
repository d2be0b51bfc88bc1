//! The runtime's part: what is asked of it (`runtime.js`), headers in its form, bodies that it reads.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Promise;

use crate::task::{Awaited, Task};

#[wasm_bindgen(module = "/src/runtime.js")]
extern "C" {
    /// Gives the runtime the shell's ears.
    pub(crate) fn lend(
        ears: &Closure<dyn Fn(u32, u32, u32, f64, Vec<u8>) -> u32>,
        ears_for_heads: &Closure<dyn Fn(u32, u32, f64, String) -> u32>,
    );
    /// The runtime's side of some work.
    pub(crate) fn event(task: u32, request: &JsValue, life: &JsValue) -> Event;
    /// A line to the console.
    pub(crate) fn log(line: &str);
    fn fill(bytes: &mut [u8]);

    pub(crate) type Event;
    /// What the runtime waits for.
    #[wasm_bindgen(method)]
    pub(crate) fn promise(this: &Event) -> Promise;
    /// Has the runtime wait, also after the event is over.
    #[wasm_bindgen(method)]
    pub(crate) fn keep(this: &Event);
    /// There is nothing to wait for any more.
    #[wasm_bindgen(method)]
    pub(crate) fn done(this: &Event);
    /// There never will be an answer.
    #[wasm_bindgen(method)]
    pub(crate) fn fail(this: &Event);
    /// Method, URL and headers of the request, line by line.
    #[wasm_bindgen(method)]
    pub(crate) fn asked(this: &Event) -> String;
    /// Begins to read the request's body.
    #[wasm_bindgen(method)]
    fn read(this: &Event, awaited: u32, is_small: bool);
    /// `fetch`, which follows no redirect, with method, URL and headers line by line.
    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Event, awaited: u32, call: &str, body: &JsValue, is_live: bool);
    /// Reads on in a body.
    #[wasm_bindgen(method)]
    fn want(this: &Event, awaited: u32);
    /// Reads no further.
    #[wasm_bindgen(method)]
    fn cancel(this: &Event, awaited: u32);
    /// Answers the client.
    #[wasm_bindgen(method)]
    pub(crate) fn answer(this: &Event, status: u16, headers: &str, body: Option<&[u8]>);
    /// Answers the client with a body that is written as it comes.
    #[wasm_bindgen(method)]
    pub(crate) fn stream(this: &Event, status: u16, headers: &str);
    /// Writes a piece of it. True when that is enough for now.
    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Event, piece: &[u8]) -> bool;
    /// Ends it well, or breaks it off.
    #[wasm_bindgen(method)]
    pub(crate) fn finish(this: &Event, why: Option<&str>);
    /// Leaves it as it is.
    #[wasm_bindgen(method)]
    pub(crate) fn leave(this: &Event);
    /// Rings after so many milliseconds.
    #[wasm_bindgen(method, js_name = setAlarm)]
    pub(crate) fn set_alarm(this: &Event, milliseconds: i32);
}

/// From the runtime's cryptographic source, many at a time.
pub(crate) fn random() -> u64 {
    thread_local! {
        static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < size_of::<u64>() {
            pool.resize(POOL_SIZE, 0);
            fill(pool);
        }
        let mut number = [0; size_of::<u64>()];
        number.copy_from_slice(&pool.split_off(pool.len() - size_of::<u64>()));
        u64::from_le_bytes(number)
    })
}

/// Headers from lines, names and values in turns.
pub(crate) fn headers_from<'a>(mut lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(USUAL_HEADERS);
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

/// Adds the core's headers as the runtime takes them, line by line.
pub(crate) fn add_headers(text: &mut String, map: &HeaderMap) {
    text.reserve(LINE * map.len());
    for (name, value) in map {
        text.push_str(name.as_str());
        text.push('\n');
        let value = value.as_bytes();
        match std::str::from_utf8(value).ok().filter(|value| value.is_ascii()) {
            Some(value) => text.push_str(value),
            None => text.extend(value.iter().copied().map(char::from)),
        }
        text.push('\n');
    }
}

/// A body that the runtime reads.
#[derive(Debug)]
pub(crate) struct Chunks {
    task: Rc<Task>,
    awaited: Rc<Awaited>,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// The client's: what is left of it is the runtime's affair.
    In { is_begun: bool, is_small: bool },
    /// Upstream's, which is being read.
    Out,
}

impl Chunks {
    /// The body of the client's request with these headers.
    pub(crate) fn of_request(task: &Rc<Task>, headers: &HeaderMap) -> Self {
        let length = length(headers);
        let is_small = length.is_some_and(|length| length <= SMALL);
        let awaited = task.awaited();
        if length == Some(0) {
            awaited.end();
        }
        Self { task: Rc::clone(task), awaited, way: Way::In { is_begun: false, is_small } }
    }

    /// The body of an answer whose head has been told.
    pub(crate) fn of_answer(task: &Rc<Task>, awaited: &Rc<Awaited>) -> Self {
        Self { task: Rc::clone(task), awaited: Rc::clone(awaited), way: Way::Out }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Self { task, awaited, way } = &mut *self;
        let piece = ready!(awaited.poll_piece(|| match way {
            Way::In { is_begun: begun @ false, is_small } => {
                *begun = true;
                task.event().read(awaited.number, *is_small);
            }
            Way::In { .. } | Way::Out => task.event().want(awaited.number),
        }));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.awaited.is_over()
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if self.awaited.leave() && self.way == Way::Out {
            self.task.event().cancel(self.awaited.number);
        }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Short enough to arrive within any patience.
const SMALL: u64 = 64 * 1024;

/// Of a header, about.
const LINE: usize = 48;

const USUAL_HEADERS: usize = 16;

const POOL_SIZE: usize = 64 * size_of::<u64>();
