//! Path and query to what the client wants (`spec.md` 4).

use http::{Method, Uri};

/// What the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST …:generateContent`.
    Generate {
        /// The model as the client wrote it, prefixes stripped.
        model: String,
    },
    /// `POST …:streamGenerateContent`.
    Stream {
        /// The model as the client wrote it, prefixes stripped.
        model: String,
        /// The framing the client asked for.
        framing: Framing,
    },
    /// `POST …:countTokens`.
    Count {
        /// The model as the client wrote it, prefixes stripped.
        model: String,
    },
    /// `GET …/models`.
    Models {
        /// `pageSize` as the client wrote it, if it is a number.
        page_size: Option<usize>,
        /// `pageToken`.
        page_token: Option<String>,
    },
    /// `GET …/models/{m}`.
    Model {
        /// The model as the client wrote it, prefixes stripped.
        model: String,
    },
    /// `/v1internal…`: Code Assist's own protocol, passed on.
    Assist {
        /// What follows the version: `:loadCodeAssist` or `/operations/x`.
        suffix: String,
        /// The query that goes upstream: only `alt`, if it was there.
        alt: Option<String>,
    },
    /// `GET /`.
    Root,
    /// `GET /health`.
    Health,
    /// `GET /health/detailed`.
    HealthDetailed,
    /// `GET /metrics`.
    Metrics {
        /// `?format=`, if it was there.
        format: Option<String>,
    },
    /// `OPTIONS` on anything.
    Options,
}

/// How a stream is written to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A JSON array, element by element.
    Array,
    /// Server-sent events.
    Sse,
}

/// The path leads nowhere here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing has this path.
    NotFound {
        /// The path, shortened and without its query.
        path: String,
    },
    /// The public API has it, Code Assist has not.
    NotOffered {
        /// The public method or collection, such as `embedContent` or `files`.
        what: String,
        /// The model in the path, if there was one.
        model: Option<String>,
    },
    /// The path is known, the HTTP method is not one of its own.
    WrongMethod {
        /// The value for `Allow`.
        allow: &'static str,
    },
}

/// Reads method, path and query.
pub fn read(method: &Method, uri: &Uri) -> Result<Route, NoRoute> {
    todo!("{method} {uri}")
}
