//! An answer before it is framed: head, and either a whole body or a list of events.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// What the emulator wants to say, not yet cut into network writes.
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

    /// An `alt=sse` stream.
    pub(crate) fn events(events: Vec<StreamEvent>) -> Self {
        let media = HeaderValue::from_static("text/event-stream");
        Self {
            status: StatusCode::OK,
            headers: vec![(http::header::CONTENT_TYPE, media)],
            content: ReplyContent::Events(events),
        }
    }

    /// A streamed JSON array, what Google sends without `alt`.
    pub(crate) fn array(events: Vec<StreamEvent>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON))],
            content: ReplyContent::Array(events),
        }
    }

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
    Whole(Bytes),
}

/// One element of a stream.
#[derive(Clone, Debug)]
pub(crate) enum StreamEvent {
    /// A payload that gets the framing of the stream.
    Payload(String),
    /// Bytes that are written exactly so, whatever the framing.
    Raw(String),
}

const JSON: &str = "application/json; charset=UTF-8";
