//! An HTTP/1.1 client that shows every byte: the test writes the request, and reads the response in
//! pieces.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::proxy::ProxyBuild;

/// One connection to the proxy.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were received and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `IP:PORT`.
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a TCP option");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a TCP option");
        Self { stream, buffer: Vec::new() }
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy reads");
    }

    /// Writes bytes to a peer that may have closed: false if it has.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the sending direction of the connection: no more bytes will come.
    pub fn end_writing(&mut self) {
        // The proxy may have closed the connection already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads the next response head. `100 Continue` counts as a head.
    pub fn head(&mut self) -> ResponseHead {
        let end = loop {
            if let Some(at) = position(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "the connection closed before a head: {:?}", self.buffer_text());
        };
        let text = String::from_utf8(self.buffer.drain(..end).collect()).expect("an ASCII head");
        ResponseHead::parse(&text)
    }

    /// Reads the next response head; `None` when the proxy has closed without one.
    pub fn try_head(&mut self) -> Option<ResponseHead> {
        while position(&self.buffer, b"\r\n\r\n").is_none() {
            if !self.fill() {
                return None;
            }
        }
        Some(self.head())
    }

    /// Reads the body that follows `head`.
    pub fn body(&mut self, head: &ResponseHead) -> Vec<u8> {
        if head.is_chunked() {
            let mut all = Vec::new();
            while let Some(chunk) = self.chunk() {
                all.extend_from_slice(&chunk);
            }
            return all;
        }
        if let Some(length) = head.find("content-length") {
            return self.exactly(length.parse().expect("a number"));
        }
        match head.status {
            100..=199 | 204 | 304 => Vec::new(),
            _ => self.until_closed(),
        }
    }

    /// Reads the next chunk of a chunked body, `None` at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        let size = usize::from_str_radix(&line, 16).expect("the size of a chunk");
        let chunk = self.exactly(size);
        assert_eq!(self.line(), "", "a chunk ends with CRLF");
        (size > 0).then_some(chunk)
    }

    /// Reads chunks until they contain this text: where a chunk ends is the runtime's choice.
    #[track_caller]
    pub fn chunks_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        while position(&all, text.as_bytes()).is_none() {
            let Some(chunk) = self.chunk() else {
                panic!("no {text:?} in {:?}", String::from_utf8_lossy(&all));
            };
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).expect("text, cut between characters")
    }

    /// Reads this many bytes.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "closed after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads until the peer closes, by FIN or RST.
    pub fn until_closed(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Sends one request and reads the whole response.
    pub fn send(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.write(request);
        self.response()
    }

    /// Reads a whole response.
    pub fn response(&mut self) -> Response {
        let head = self.head();
        let body = self.body(&head);
        Response { head, body }
    }

    fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = position(&self.buffer, b"\r\n") {
                break at + 2;
            }
            assert!(self.fill(), "closed inside a line: {:?}", self.buffer_text());
        };
        let line: Vec<u8> = self.buffer.drain(..end).collect();
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// Receives more bytes; false at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&bytes[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => {
                panic!("nothing was received: {error}; before it {:?}", self.buffer_text())
            }
        }
    }

    fn buffer_text(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(500)]).into_owned()
    }
}

/// Closing sends FIN to the binary. workerd reads FIN as the end of a request, not as a client that
/// has gone, so a Worker gets RST.
impl Drop for Connection {
    fn drop(&mut self) {
        if ProxyBuild::under_test() == ProxyBuild::Worker {
            // Fails only on a socket that is closed already.
            let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
    }
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// `HTTP/1.1`, as it was sent.
    pub version: String,
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl ResponseHead {
    fn parse(text: &str) -> Self {
        let mut lines = text.trim_end().split("\r\n");
        let mut status_line = lines.next().expect("a status line").splitn(3, ' ');
        let version = status_line.next().expect("a version").to_owned();
        let status = status_line.next().expect("a status").parse().expect("a number");
        let headers = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { version, status, headers }
    }

    /// The value of a header; empty when the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The value of a header. A header that was sent twice fails the test.
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {:?}", self.headers);
        first
    }

    /// Whether the body is sent in chunks.
    pub fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").eq_ignore_ascii_case("chunked")
    }

    /// One entry of `server-timing`, in milliseconds.
    pub fn server_timing(&self, entry: &str) -> f64 {
        let all = self.header("server-timing");
        let found = all.split(", ").find_map(|text| text.strip_prefix(&format!("{entry};dur=")));
        let text = found.unwrap_or_else(|| panic!("server-timing has no {entry}: {all:?}"));
        text.parse().expect("a number of milliseconds")
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body, with the chunks' framing removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of a header; empty when the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// The `error` object, bare or in an array of one element.
    #[track_caller]
    pub fn error(&self) -> Value {
        let mut value = self.json();
        if let Value::Array(list) = &mut value {
            assert_eq!(list.len(), 1, "{}", self.text());
            value = list.remove(0);
        }
        value["error"].clone()
    }

    /// The proxy's own reason in the `error` object; empty for errors that upstream made.
    #[track_caller]
    pub fn reason(&self) -> String {
        proxy_error_reason(&self.error())
    }

    /// The status code and the proxy's own reason.
    #[track_caller]
    pub fn status_and_reason(&self) -> (u16, String) {
        (self.status(), self.reason())
    }

    /// Asserts that the call failed before upstream answered. The binary knows how far the call came
    /// and must answer `exactly`; workerd reports a refused connection and a broken one in the same
    /// words, so a Worker may answer either.
    #[track_caller]
    pub fn assert_upstream_failed(&self, is_native: bool, exactly: (u16, &str)) {
        let (status, reason) = self.status_and_reason();
        let known = [exactly, (502, "UPSTREAM_DISCONNECTED"), (503, "UPSTREAM_UNREACHABLE")];
        let allowed = if is_native { &known[..1] } else { &known[..] };
        assert!(allowed.contains(&(status, &*reason)), "{}", self.text());
    }

    /// The payloads of an event stream, see [`parse_events`].
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        parse_events(&self.text())
    }
}

/// The reason in the proxy's own `ErrorInfo` of an `error` object; empty when there is none.
pub fn proxy_error_reason(error: &Value) -> String {
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let own = details.into_iter().find(|detail| detail["domain"] == "code-assist-proxy");
    own.map_or_else(String::new, |own| own["reason"].as_str().unwrap_or_default().to_owned())
}

/// The `data:` payloads of an event stream, which must be framed exactly as Google frames it.
#[track_caller]
pub fn parse_events(text: &str) -> Vec<Value> {
    let Some(blocks) = text.strip_suffix("\r\n\r\n") else { panic!("no event stream: {text:?}") };
    let payloads = blocks.split("\r\n\r\n").map(|block| {
        let Some(payload) = block.strip_prefix("data: ") else { panic!("no event: {block:?}") };
        serde_json::from_str(payload).unwrap_or_else(|why| panic!("{why}: {payload}"))
    });
    payloads.collect()
}

/// A `GET` as clients write it.
pub fn get(path: &str, headers: &[&str]) -> Vec<u8> {
    request("GET", path, headers, b"")
}

/// A `POST` of JSON as clients write it.
pub fn post(path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let json = "Content-Type: application/json";
    let headers: Vec<&str> = headers.iter().copied().chain([json]).collect();
    request("POST", path, &headers, body.as_ref())
}

/// A request with a `Host` (unless `headers` has one) and a `Content-Length`.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:")) {
        head.push_str("Host: localhost\r\n");
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Only a test that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(20);
