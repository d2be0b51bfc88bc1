//! What upstream receives, and what it does with it.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Monotonic, SendError};
use http::{HeaderMap, StatusCode};

/// A request as upstream saw it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and URL, such as `POST http://code.test/v1internal:generateContent`.
    pub line: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// When it came.
    pub at: Monotonic,
}

impl Received {
    /// True when the line ends with this.
    pub fn is(&self, end: &str) -> bool {
        self.line.ends_with(end)
    }
}

/// What upstream does with a request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) delay: Duration,
    pub(super) head: Result<(StatusCode, HeaderMap), SendError>,
    pub(super) pieces: Vec<Piece>,
}

/// One thing that happens in a reply's body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// The body breaks.
    Break(String),
    /// Bytes come.
    Data(Bytes),
    /// Nothing comes for so long.
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

    /// 200 with a body in pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut reply = Self::ok("");
        reply.pieces = pieces.into_iter().collect();
        reply
    }

    /// The same, and then these things happen.
    pub fn then(mut self, pieces: impl IntoIterator<Item = Piece>) -> Self {
        self.pieces.extend(pieces);
        self
    }

    /// No answer at all.
    pub fn unreachable(why: SendError) -> Self {
        Self { delay: Duration::ZERO, head: Err(why), pieces: Vec::new() }
    }

    /// The same, after a while.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same, with a header.
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        if let Ok((_, headers)) = &mut self.head {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        self
    }
}
