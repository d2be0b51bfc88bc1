//! The border to JavaScript: the calls to `runtime.js`, headers in its form, and bodies that the
//! runtime reads.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use code_assist_core::RequestBodyError;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Frame, SizeHint};
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Promise;

use crate::completion::Completion;
use crate::executor::Task;

#[wasm_bindgen(module = "/src/runtime.js")]
extern "C" {
    /// Installs the callbacks through which the runtime delivers results: bytes with task, completion,
    /// kind and clock, and heads with task, completion and clock.
    #[wasm_bindgen(js_name = installCallbacks)]
    pub(crate) fn install_callbacks(
        on_bytes: &Closure<dyn Fn(u32, u32, u32, f64, Vec<u8>) -> u32>,
        on_head: &Closure<dyn Fn(u32, u32, f64, String) -> u32>,
    );
    /// The runtime's side of a task.
    pub(crate) fn event(task: u32, request: &JsValue, ctx: &JsValue) -> Event;
    /// Writes a line to the console.
    pub(crate) fn log(line: &str);
    /// Fills the bytes from the runtime's cryptographic source.
    #[wasm_bindgen(js_name = fillRandom)]
    fn fill_random(bytes: &mut [u8]);

    pub(crate) type Event;
    /// The promise that the event's handler returns.
    #[wasm_bindgen(method)]
    pub(crate) fn promise(this: &Event) -> Promise;
    /// Has the runtime wait for the task after the event is over.
    #[wasm_bindgen(method, js_name = keepAlive)]
    pub(crate) fn keep_alive(this: &Event);
    /// Resolves the promise of a task that has no answer.
    #[wasm_bindgen(method)]
    pub(crate) fn done(this: &Event);
    /// Ends the event with an error.
    #[wasm_bindgen(method)]
    pub(crate) fn fail(this: &Event);
    /// Method, URL and headers of the request, line by line.
    #[wasm_bindgen(method, js_name = requestHead)]
    pub(crate) fn request_head(this: &Event) -> String;
    /// Signs with the key in PKCS#8, which `digest` tells from others.
    #[wasm_bindgen(method)]
    pub(crate) fn sign(this: &Event, completion: u32, digest: &str, pkcs8: &[u8], message: &[u8]);
    /// Starts to read the body of the request.
    #[wasm_bindgen(method, js_name = readBody)]
    fn read_body(this: &Event, completion: u32, is_small: bool);
    /// Calls `fetch` with method, URL and headers line by line. It follows no redirects.
    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Event, completion: u32, head: &str, body: &JsValue, is_live: bool);
    /// The same with a body that is copied.
    #[wasm_bindgen(method, js_name = sendSmall)]
    pub(crate) fn send_small(this: &Event, completion: u32, head: &str, body: &[u8], is_live: bool);
    /// The same with a body that `write_upload` fills. Its length is negative if it is not known.
    #[wasm_bindgen(method, js_name = sendStreamed)]
    pub(crate) fn send_streamed(
        this: &Event,
        completion: u32,
        upload: u32,
        head: &str,
        length: f64,
        is_live: bool,
    );
    /// Writes a chunk of an upload. A byte is delivered to the upload's completion when the runtime has taken
    /// the chunk.
    #[wasm_bindgen(method, js_name = writeUpload)]
    pub(crate) fn write_upload(this: &Event, upload: u32, chunk: &[u8]);
    /// Ends the body of an upload.
    #[wasm_bindgen(method, js_name = endUpload)]
    pub(crate) fn end_upload(this: &Event);
    /// Reads more of a body.
    #[wasm_bindgen(method, js_name = readMore)]
    fn read_more(this: &Event, completion: u32);
    /// Cancels the call or the body of a completion.
    #[wasm_bindgen(method)]
    fn cancel(this: &Event, completion: u32);
    /// Answers the client with a whole body.
    #[wasm_bindgen(method)]
    pub(crate) fn answer(this: &Event, status: u16, headers: &str, body: Option<&[u8]>);
    /// Answers the client with a stream, which `write` fills.
    #[wasm_bindgen(method)]
    pub(crate) fn stream(this: &Event, status: u16, headers: &str);
    /// Writes a chunk of the stream. True when the client has enough for now.
    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Event, chunk: &[u8]) -> bool;
    /// Ends the stream, with an error if there is one.
    #[wasm_bindgen(method, js_name = endStream)]
    pub(crate) fn end_stream(this: &Event, error: Option<&str>);
    /// Gives up the stream of a client that has left.
    #[wasm_bindgen(method, js_name = abandonStream)]
    pub(crate) fn abandon_stream(this: &Event);
    /// Sets the timer of the task.
    #[wasm_bindgen(method, js_name = setAlarm)]
    pub(crate) fn set_alarm(this: &Event, milliseconds: i32);
}

/// A random number from the runtime's cryptographic source, which is asked for many at a time.
pub(crate) fn random() -> u64 {
    thread_local! {
        static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < size_of::<u64>() {
            pool.resize(POOL_SIZE, 0);
            fill_random(pool);
        }
        let mut number = [0; size_of::<u64>()];
        number.copy_from_slice(&pool.split_off(pool.len() - size_of::<u64>()));
        u64::from_le_bytes(number)
    })
}

/// Reads headers from lines that are names and values in alternation.
pub(crate) fn headers_from<'a>(mut lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(USUAL_HEADERS);
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        // The runtime has checked them, so none is skipped.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value_from(value)) {
            map.append(name, value);
        }
    }
    map
}

/// Each character of the runtime's text is a byte of the value (Fetch Standard, "isomorphic decode").
fn value_from(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    if text.is_ascii() {
        return HeaderValue::from_str(text);
    }
    let bytes: Vec<u8> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes)
}

/// Appends headers in the runtime's form, line by line.
pub(crate) fn add_headers(text: &mut String, map: &HeaderMap) {
    text.reserve(HEADER_LENGTH * map.len());
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

/// A body that the runtime reads, chunk by chunk.
#[derive(Debug)]
pub(crate) struct Chunks {
    task: Rc<Task>,
    completion: Rc<Completion>,
    direction: Direction,
    /// How many bytes are left, where the headers announce it.
    left: Option<u64>,
}

/// The runtime's words for a body that broke off. It has no others for a client's broken framing, since
/// it reads HTTP itself.
#[derive(Debug)]
pub(crate) struct ChunkError(pub(crate) String);

impl From<ChunkError> for RequestBodyError {
    fn from(_: ChunkError) -> Self {
        Self::Disconnected
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    /// The body of the client's request. The runtime reads what the proxy leaves of it.
    Request { is_started: bool, is_small: bool },
    /// The body of an upstream answer, whose reading has started.
    Answer,
}

impl Chunks {
    /// The body of a client's request with this method and these headers. The runtime takes a body of no
    /// `GET` or `HEAD`.
    pub(crate) fn of_request(task: &Rc<Task>, method: &Method, headers: &HeaderMap) -> Self {
        let is_empty = method == Method::GET || method == Method::HEAD;
        let length = if is_empty { Some(0) } else { content_length(headers) };
        let is_small = length.is_some_and(|length| length <= SMALL);
        let completion = task.new_completion();
        if length == Some(0) {
            completion.end();
        }
        Self {
            task: Rc::clone(task),
            completion,
            direction: Direction::Request { is_started: false, is_small },
            left: length,
        }
    }

    /// The body of an upstream answer.
    pub(crate) fn of_answer(task: &Rc<Task>, completion: &Rc<Completion>) -> Self {
        Self {
            task: Rc::clone(task),
            completion: Rc::clone(completion),
            direction: Direction::Answer,
            left: None,
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = ChunkError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ChunkError>>> {
        let Self { task, completion, direction, left } = &mut *self;
        let chunk = ready!(completion.poll_chunk(|| match direction {
            Direction::Request { is_started: started @ false, is_small } => {
                *started = true;
                task.event().read_body(completion.number, *is_small);
            }
            Direction::Request { .. } | Direction::Answer =>
                task.event().read_more(completion.number),
        }));
        if let (Some(left), Some(Ok(chunk))) = (left, &chunk) {
            *left = left.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data).map_err(ChunkError)))
    }

    fn is_end_stream(&self) -> bool {
        self.completion.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if self.completion.abandon() && self.direction == Direction::Answer {
            self.task.event().cancel(self.completion.number);
        }
    }
}

/// The body's length, if the headers announce it.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// In bytes: a body of at most this size crosses the border in one call.
pub(crate) const SMALL: u64 = 64 * 1024;

/// The usual length of a header.
const HEADER_LENGTH: usize = 48;

const USUAL_HEADERS: usize = 16;

const POOL_SIZE: usize = 64 * size_of::<u64>();
