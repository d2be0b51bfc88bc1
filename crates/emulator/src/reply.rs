//! An answer before it is framed: its head, and a whole body or a list of events.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// An answer, not yet cut into network writes.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) content: ReplyContent,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, media: &'static str, body: Bytes) -> Self {
        Self {
            status,
            headers: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static(media))],
            content: ReplyContent::Whole(body),
        }
    }

    pub(crate) fn json(status: StatusCode, body: String) -> Self {
        Self::new(status, JSON, body.into())
    }

    pub(crate) fn ok(value: &impl serde::Serialize) -> Self {
        Self::json(StatusCode::OK, crate::status::pretty(value) + "\n")
    }

    /// A stream of server-sent events, which Google sends with `alt=sse`.
    pub(crate) fn events(events: Vec<StreamEvent>) -> Self {
        let media = HeaderValue::from_static("text/event-stream");
        Self {
            status: StatusCode::OK,
            headers: vec![(http::header::CONTENT_TYPE, media)],
            content: ReplyContent::Events(events),
        }
    }

    /// A streamed JSON array, which Google sends without `alt=sse`.
    pub(crate) fn array(events: Vec<StreamEvent>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON))],
            content: ReplyContent::Array(events),
        }
    }

    /// Sets a header, unless the value cannot be one.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.set(HeaderName::from_static(name), value);
        }
        self
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value));
    }
}

/// The body of a [`Reply`].
#[derive(Debug)]
pub(crate) enum ReplyContent {
    Array(Vec<StreamEvent>),
    Events(Vec<StreamEvent>),
    /// So many bytes, made while they are sent.
    Generated(u64),
    Whole(Bytes),
}

/// An element of a stream.
#[derive(Clone, Debug)]
pub(crate) enum StreamEvent {
    /// A payload, to be framed as the stream is.
    Payload(String),
    /// Text that is written without framing.
    Raw(String),
}

const JSON: &str = "application/json; charset=UTF-8";
