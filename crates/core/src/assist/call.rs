//! A method of Code Assist as an HTTP request (`protocol.md` 2.1, 2.2).

use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};

use crate::payload::Payload;

/// One call, ready to be sent as often as needed and to any endpoint: cloning the payload is by
/// reference count.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    /// What follows the endpoint's base URL.
    path: String,
    payload: Payload,
    stream: bool,
    passed_on: bool,
    project: Option<Arc<str>>,
}

/// The endpoint's base URL makes no valid address with this path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint and the path make no valid URL")]
pub struct BadUrl;

impl Call {
    /// `POST /version:rpc`.
    pub fn post(version: &str, rpc: &str, payload: Payload) -> Self {
        Self::new(Method::POST, ["/", version, ":", rpc].concat(), payload)
    }

    /// `POST /version:rpc?alt=sse`.
    pub fn stream(version: &str, rpc: &str, payload: Payload) -> Self {
        let path = ["/", version, ":", rpc, "?alt=sse"].concat();
        let call = Self::new(Method::POST, path, payload);
        Self { stream: true, ..call }
    }

    /// `GET /version/name`, for operations.
    pub fn get(version: &str, name: &str) -> Self {
        Self::new(Method::GET, format!("/{version}/{name}"), Payload::default())
    }

    /// Whatever the client asked Code Assist's own protocol for: `suffix` starts with `:` or `/`.
    pub fn pass_on(
        method: Method,
        version: &str,
        suffix: &str,
        alt: Option<&str>,
        payload: Payload,
    ) -> Self {
        let query = alt.map(|alt| format!("?alt={alt}")).unwrap_or_default();
        let call = Self::new(method, format!("/{version}{suffix}{query}"), payload);
        Self { stream: alt == Some("sse"), passed_on: true, ..call }
    }

    /// The same call, which carries this project.
    pub fn in_project(self, project: Arc<str>) -> Self {
        Self { project: Some(project), ..self }
    }

    /// The project that we have put into it.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// True for a call whose client wants upstream's errors byte for byte.
    pub fn passes_errors(&self) -> bool {
        self.passed_on
    }

    /// The request to an endpoint, with this access token.
    pub fn request(
        &self,
        endpoint: &str,
        bearer: &HeaderValue,
    ) -> Result<Request<Payload>, BadUrl> {
        let uri = Uri::try_from([endpoint, &self.path].concat()).map_err(|_| BadUrl)?;
        let mut request = Request::new(self.payload.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if self.stream { "*/*" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // Compression would delay events; whether the server would use it is not established.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Ok(request)
    }

    fn new(method: Method, path: String, payload: Payload) -> Self {
        Self { method, path, payload, stream: false, passed_on: false, project: None }
    }
}

/// Our own name: the proxy does not pretend to be another product (`spec.md` 18).
pub const AGENT: &str = concat!("code-assist-proxy/", env!("CARGO_PKG_VERSION"));
