//! An HTTP/2 client that sends what no library does: the test writes each frame (RFC 9113).

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// One connection to the proxy, after the preface and the client's SETTINGS.
#[derive(Debug)]
pub struct Http2Connection {
    stream: TcpStream,
}

impl Http2Connection {
    /// Connects to `IP:PORT`, with the protocol's initial window for each stream.
    pub fn open(address: &str) -> Self {
        Self::open_with_window(address, 65_535)
    }

    /// Connects to `IP:PORT`. The proxy may send this many bytes of each answer.
    pub fn open_with_window(address: &str, window: u32) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a TCP option");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a TCP option");
        let mut connection = Self { stream };
        // Without a table no head refers to an earlier one.
        let settings = [&[0, 1, 0, 0, 0, 0][..], &[0, 4], &window.to_be_bytes()].concat();
        assert!(connection.write(PREFACE) && connection.frame(SETTINGS, 0, 0, &settings));
        connection
    }

    /// Limits how long a read or a write may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a TCP option");
        self.stream.set_write_timeout(Some(timeout)).expect("a TCP option");
    }

    /// Writes bytes: false if the proxy has closed, or took nothing for the timeout.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes a frame: false as for [`Self::write`].
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(frame(kind, flags, stream, payload))
    }

    /// Writes the head of a request.
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> bool {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &head_block(fields))
    }

    /// Writes a whole `GET`.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.head(stream, &pseudo("GET", path), true)
    }

    /// Writes a whole `POST` of JSON.
    pub fn post(&mut self, stream: u32, path: &str, body: &str) -> bool {
        let json = [("content-type", "application/json")];
        self.head(stream, &[&pseudo("POST", path)[..], &json].concat(), false)
            && self.frame(DATA, END_STREAM, stream, body.as_bytes())
    }

    /// Reads a frame; `None` when the proxy has closed.
    ///
    /// # Panics
    ///
    /// Nothing came for the timeout.
    #[track_caller]
    pub fn read(&mut self) -> Option<Http2Frame> {
        let mut head = [0; 9];
        self.exactly(&mut head)?;
        let [l0, l1, l2, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.exactly(&mut payload)?;
        Some(Http2Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
    }

    /// Reads until the answer of a stream has ended, in whatever way.
    #[track_caller]
    pub fn answer(&mut self, stream: u32) -> Http2Answer {
        let mut answer = Http2Answer { ok: false, body: Vec::new(), end: Http2End::Closed };
        while let Some(frame) = self.read() {
            match frame.kind {
                GOAWAY => answer.end = Http2End::GoAway(frame.error_code()),
                RST_STREAM if frame.stream == stream => {
                    answer.end = Http2End::Reset(frame.error_code());
                    return answer;
                }
                HEADERS if frame.stream == stream => answer.ok |= frame.is_ok_head(),
                DATA if frame.stream == stream => answer.body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.stream == stream
                && matches!(frame.kind, HEADERS | DATA)
                && frame.flags & END_STREAM != 0
            {
                answer.end = Http2End::Complete;
                return answer;
            }
        }
        answer
    }

    /// Fills the buffer; `None` when the proxy has closed.
    #[track_caller]
    fn exactly(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                panic!("the proxy sends nothing")
            }
            Err(_) => None,
        }
    }
}

/// A frame from the proxy.
#[derive(Debug)]
pub struct Http2Frame {
    /// Its type, such as [`HEADERS`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// Its content.
    pub payload: Vec<u8>,
}

impl Http2Frame {
    /// The error code, the last four bytes of the fixed part of RST_STREAM and GOAWAY.
    #[track_caller]
    pub fn error_code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Whether this is the head of a 200, which RFC 7541 writes as one byte. Before it the encoder may
    /// say that its table is empty.
    fn is_ok_head(&self) -> bool {
        let mut block = self.payload.iter().skip_while(|byte| **byte & 0xe0 == 0x20);
        block.next() == Some(&0x88)
    }
}

/// The result of one stream.
#[derive(Debug)]
pub struct Http2Answer {
    /// Whether the status was 200.
    ok: bool,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// How the answer ended.
    pub end: Http2End,
}

impl Http2Answer {
    /// The status: 200, else what the `error` object of a complete answer says, else 0.
    pub fn status(&self) -> u16 {
        if self.ok {
            return 200;
        }
        let code = serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| body["error"]["code"].as_u64());
        code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0)
    }

    /// Whether the proxy has refused the stream or the connection as a violation of the protocol.
    pub fn is_refused(&self) -> bool {
        !matches!(self.end, Http2End::Complete)
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2End {
    /// With its last frame.
    Complete,
    /// The proxy has reset the stream, with this error code.
    Reset(u32),
    /// The proxy has ended the connection, with this error code.
    GoAway(u32),
    /// The proxy has closed the connection without an error code.
    Closed,
}

/// The pseudo-header fields of a request to `localhost`.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("the length of a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without a table and without Huffman codes (RFC 7541, 6.2.2).
pub fn head_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).expect("less than 127"));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("less than 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("less than 128"));
}

/// What a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Carries a body.
pub const DATA: u8 = 0;
/// Begins a head.
pub const HEADERS: u8 = 1;
/// Names a stream that another depends on.
pub const PRIORITY: u8 = 2;
/// Ends a stream at once.
pub const RST_STREAM: u8 = 3;
/// Changes the settings of a connection.
pub const SETTINGS: u8 = 4;
/// Announces a request of the server's.
pub const PUSH_PROMISE: u8 = 5;
/// Asks for an echo.
pub const PING: u8 = 6;
/// Ends a connection.
pub const GOAWAY: u8 = 7;
/// Lets the peer send more.
pub const WINDOW_UPDATE: u8 = 8;
/// Continues a head.
pub const CONTINUATION: u8 = 9;

/// This is the answer to SETTINGS or PING.
pub const ACK: u8 = 1;
/// The last frame of a body.
pub const END_STREAM: u8 = 1;
/// The last frame of a head.
pub const END_HEADERS: u8 = 4;

/// Only a test that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(20);
