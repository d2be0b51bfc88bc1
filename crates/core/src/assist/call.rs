//! A method of Code Assist as an HTTP request (`protocol.md` 2.1, 2.2).

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};

use crate::payload::Payload;

/// One call, ready to be sent as often as needed: cloning the payload is by reference count.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    uri: Uri,
    payload: Payload,
    stream: bool,
    passed_on: bool,
}

/// The configured base URL makes no valid address with this path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint and the path make no valid URL")]
pub struct BadUrl;

impl Call {
    /// `POST base:rpc`, where `base` is `<endpoint>/<version>`.
    pub fn post(base: &str, rpc: &str, payload: Payload) -> Result<Self, BadUrl> {
        Self::new(Method::POST, format!("{base}:{rpc}"), payload)
    }

    /// `POST base:rpc?alt=sse`.
    pub fn stream(base: &str, rpc: &str, payload: Payload) -> Result<Self, BadUrl> {
        let call = Self::new(Method::POST, format!("{base}:{rpc}?alt=sse"), payload)?;
        Ok(Self { stream: true, ..call })
    }

    /// `GET base/name`, for operations.
    pub fn get(base: &str, name: &str) -> Result<Self, BadUrl> {
        Self::new(Method::GET, format!("{base}/{name}"), Payload::default())
    }

    /// Whatever the client asked Code Assist's own protocol for: `suffix` starts with `:` or `/`.
    pub fn pass_on(
        method: Method,
        base: &str,
        suffix: &str,
        alt: Option<&str>,
        payload: Payload,
    ) -> Result<Self, BadUrl> {
        let query = alt.map(|alt| format!("?alt={alt}")).unwrap_or_default();
        let call = Self::new(method, format!("{base}{suffix}{query}"), payload)?;
        Ok(Self { stream: alt == Some("sse"), passed_on: true, ..call })
    }

    /// True for a call whose client wants upstream's errors byte for byte.
    pub fn passes_errors(&self) -> bool {
        self.passed_on
    }

    /// The request, with this access token.
    pub fn request(&self, bearer: &HeaderValue) -> Request<Payload> {
        let mut request = Request::new(self.payload.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if self.stream { "*/*" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // Compression would delay events; whether the server would use it is not established.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        request
    }

    fn new(method: Method, url: String, payload: Payload) -> Result<Self, BadUrl> {
        let uri = Uri::try_from(url).map_err(|_| BadUrl)?;
        Ok(Self { method, uri, payload, stream: false, passed_on: false })
    }
}

/// Our own name: the proxy does not pretend to be another product (`spec.md` 18).
pub const AGENT: &str = concat!("code-assist-proxy/", env!("CARGO_PKG_VERSION"));
