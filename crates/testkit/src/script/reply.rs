//! Upstream's side: the requests that it receives, and its replies.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Monotonic, SendError};
use http::{HeaderMap, StatusCode};

/// A request that upstream received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and URL, such as `POST http://code.test/v1internal:generateContent`.
    pub line: String,
    /// The request headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: String,
    /// When it arrived.
    pub at: Monotonic,
}

impl Received {
    /// True when the line ends with `end`.
    pub fn is(&self, end: &str) -> bool {
        self.line.ends_with(end)
    }
}

/// Upstream's reply to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) delay: Duration,
    pub(super) head: Result<(StatusCode, HeaderMap), SendError>,
    pub(super) pieces: Vec<Piece>,
}

/// A step of a reply's body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// The connection breaks, for this reason.
    Break(String),
    /// A chunk arrives.
    Data(Bytes),
    /// No chunk arrives for this time.
    Silence(Duration),
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200, body)
    }

    /// This status with this body.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a test names a valid status");
        let head = Ok((status, HeaderMap::new()));
        Self { delay: Duration::ZERO, head, pieces: vec![Piece::Data(body.into())] }
    }

    /// 200 with a body of these pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut reply = Self::ok("");
        reply.pieces = pieces.into_iter().collect();
        reply
    }

    /// The reply with these pieces after its own.
    pub fn then(mut self, pieces: impl IntoIterator<Item = Piece>) -> Self {
        self.pieces.extend(pieces);
        self
    }

    /// No response head.
    pub fn unreachable(why: SendError) -> Self {
        Self { delay: Duration::ZERO, head: Err(why), pieces: Vec::new() }
    }

    /// The reply, with its head after `delay`.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The reply with one more header.
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        if let Ok((_, headers)) = &mut self.head {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        self
    }
}
