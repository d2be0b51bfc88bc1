//! An HTTP/1.1 client that shows every byte: what goes out is written by the test, what comes in is
//! read piece by piece.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::process::Subject;

/// One connection to the proxy.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    ahead: Vec<u8>,
}

impl Connection {
    pub(crate) fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a TCP option");
        Self { stream, ahead: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy reads");
    }

    /// The same for a peer that may have closed: false if it has.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The next response head. `100 Continue` is a head of its own.
    pub(crate) fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more(), "the connection closed before a head: {:?}", self.ahead_text());
        };
        let text = String::from_utf8(self.ahead.drain(..end).collect()).expect("an ASCII head");
        Head::read(&text)
    }

    /// The rest of an answer whose head was read.
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
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

    /// The next chunk of a chunked body, `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        let size = usize::from_str_radix(&line, 16).expect("the size of a chunk");
        let chunk = self.exactly(size);
        assert_eq!(self.line(), "", "a chunk ends with CRLF");
        (size > 0).then_some(chunk)
    }

    /// The chunks of a body until they have brought this text: where one ends is the runtime's.
    #[track_caller]
    pub(crate) fn chunks_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        while find(&all, text.as_bytes()).is_none() {
            let Some(chunk) = self.chunk() else {
                panic!("no {text:?} in {:?}", String::from_utf8_lossy(&all));
            };
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).expect("text, cut between characters")
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.more(), "closed after {} of {count} bytes", self.ahead.len());
        }
        self.ahead.drain(..count).collect()
    }

    /// Everything until the peer closes, by FIN or RST.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.ahead)
    }

    /// One request and its whole answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.write(request);
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let body = self.body(&head);
        Answer { head, body }
    }

    fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                break at + 2;
            }
            assert!(self.more(), "closed inside a line: {:?}", self.ahead_text());
        };
        let line: Vec<u8> = self.ahead.drain(..end).collect();
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}; so far {:?}", self.ahead_text()),
        }
    }

    fn ahead_text(&self) -> String {
        String::from_utf8_lossy(&self.ahead[..self.ahead.len().min(500)]).into_owned()
    }
}

/// Leaving is a FIN to the binary. workerd takes a polite end for a client that has nothing more to
/// say, and sees only a reset.
impl Drop for Connection {
    fn drop(&mut self) {
        if Subject::chosen() == Subject::Worker {
            // Fails only on a socket that has gone already.
            let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
    }
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) version: String,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(text: &str) -> Self {
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

    /// A header's value; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {:?}", self.headers);
        first
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").eq_ignore_ascii_case("chunked")
    }

    /// A part of `server-timing`, in milliseconds.
    pub(crate) fn timing(&self, part: &str) -> f64 {
        let all = self.header("server-timing");
        let found = all.split(", ").find_map(|entry| entry.strip_prefix(&format!("{part};dur=")));
        let text = found.unwrap_or_else(|| panic!("server-timing has no {part}: {all:?}"));
        text.parse().expect("a number of milliseconds")
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// The `error` object, also of a one-element array.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let mut value = self.json();
        if let Value::Array(list) = &mut value {
            assert_eq!(list.len(), 1, "{}", self.text());
            value = list.remove(0);
        }
        value["error"].clone()
    }

    /// The reason that the proxy gives; empty for upstream's own errors.
    #[track_caller]
    pub(crate) fn reason(&self) -> String {
        reason(&self.error())
    }

    /// Status, reason and message at one glance.
    #[track_caller]
    pub(crate) fn verdict(&self) -> (u16, String) {
        (self.status(), self.reason())
    }

    /// 502 or 503 for a call that has not come to an answer. The binary knows how far it came
    /// (`exactly`); workerd has the same words for a connection refused and one that broke.
    #[track_caller]
    pub(crate) fn came_to_nothing(&self, is_native: bool, exactly: (u16, &str)) {
        let (status, reason) = self.verdict();
        let known = [exactly, (502, "UPSTREAM_DISCONNECTED"), (503, "UPSTREAM_UNREACHABLE")];
        let allowed = if is_native { &known[..1] } else { &known[..] };
        assert!(allowed.contains(&(status, &*reason)), "{}", self.text());
    }

    /// The `data:` payloads of an event stream in the one form that it may have.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        events(&self.text())
    }
}

/// The reason in an `error` object's ErrorInfo of this proxy.
pub(crate) fn reason(error: &Value) -> String {
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let own = details.into_iter().find(|detail| detail["domain"] == "code-assist-proxy");
    own.map_or_else(String::new, |own| own["reason"].as_str().unwrap_or_default().to_owned())
}

#[track_caller]
pub(crate) fn events(text: &str) -> Vec<Value> {
    let Some(blocks) = text.strip_suffix("\r\n\r\n") else { panic!("no event stream: {text:?}") };
    let payloads = blocks.split("\r\n\r\n").map(|block| {
        let Some(payload) = block.strip_prefix("data: ") else { panic!("no event: {block:?}") };
        serde_json::from_str(payload).unwrap_or_else(|why| panic!("{why}: {payload}"))
    });
    payloads.collect()
}

/// A `GET` as clients write it.
pub(crate) fn get(path: &str, headers: &[&str]) -> Vec<u8> {
    request("GET", path, headers, b"")
}

/// A `POST` of JSON as clients write it.
pub(crate) fn post(path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let json = "Content-Type: application/json";
    let headers: Vec<&str> = headers.iter().copied().chain([json]).collect();
    request("POST", path, &headers, body.as_ref())
}

/// A request with a `Host` (unless the headers bring one) and a `Content-Length`.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
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

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Generous: only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
