//! A method of a Google API as an HTTP request (`docs/reference/protocol.md` 2.1, 2.2).

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request};

use crate::error::Error;
use crate::google;
use crate::payload::Payload;

/// One request, ready to be sent as often as needed and to any endpoint of its upstream: cloning
/// the body counts references.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamRequest {
    method: Method,
    /// What follows the endpoint's base URL.
    path: Result<PathAndQuery, UrlError>,
    body: Payload,
    stream: bool,
    passes_errors: bool,
    project: Option<Arc<str>>,
}

/// How a request shows that it may be made.
#[derive(Debug)]
pub(crate) enum Auth<'a> {
    /// `Authorization`, with this value.
    Bearer(&'a HeaderValue),
}

/// An endpoint's base URL, parsed once.
#[derive(Debug)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// What comes before every path, without a slash at its end.
    prefix: String,
}

/// The endpoint's base URL makes no valid address with this path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint and the path make no valid URL")]
pub struct UrlError;

impl BaseUrl {
    /// A base URL without a query.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let parts = url.parse::<Uri>().map_err(|_| UrlError)?.into_parts();
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let prefix = path.trim_end_matches('/').to_owned();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(UrlError);
        };
        Ok(Self { scheme, authority, prefix })
    }

    fn with(&self, path: &PathAndQuery) -> Result<Uri, UrlError> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(match &*self.prefix {
            "" => path.clone(),
            prefix => [prefix, path.as_str()].concat().try_into().map_err(|_| UrlError)?,
        });
        Uri::from_parts(parts).map_err(|_| UrlError)
    }
}

impl UpstreamRequest {
    pub(crate) fn new(method: Method, path: Result<PathAndQuery, UrlError>, body: Payload) -> Self {
        Self { method, path, body, stream: false, passes_errors: false, project: None }
    }

    pub(crate) fn post(path: Result<PathAndQuery, UrlError>, body: Payload) -> Self {
        Self::new(Method::POST, path, body)
    }

    /// The same request, whose answer is a stream of events.
    pub(crate) fn streamed(self) -> Self {
        Self { stream: true, ..self }
    }

    /// The same request, whose client wants upstream's errors byte for byte.
    pub(crate) fn passed_through(self) -> Self {
        Self { passes_errors: true, ..self }
    }

    /// The same request, which carries this project.
    pub(crate) fn in_project(self, project: Arc<str>) -> Self {
        Self { project: Some(project), ..self }
    }

    /// The project that the proxy has put into the request.
    pub(crate) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// True for a request whose client wants upstream's errors byte for byte.
    pub(crate) fn passes_errors(&self) -> bool {
        self.passes_errors
    }

    /// The request to an endpoint.
    pub(crate) fn to_http(
        &self,
        endpoint: &BaseUrl,
        auth: &Auth<'_>,
    ) -> Result<Request<Payload>, UrlError> {
        let uri = endpoint.with(self.path.as_ref().map_err(|error| *error)?)?;
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = if self.stream { &STREAM_HEADERS } else { &HEADERS };
        request.headers_mut().clone_from(headers);
        match auth {
            Auth::Bearer(value) => request.headers_mut().insert(AUTHORIZATION, (*value).clone()),
        };
        Ok(request)
    }
}

/// The headers of a request, with room for its token: cloning them costs a third of inserting them.
fn headers(accept: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (AUTHORIZATION, HeaderValue::from_static("")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, HeaderValue::from_static(accept)),
        // Compression would delay events; whether the server would use it is not established.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(google::USER_AGENT)),
    ])
}

/// The path of a request, with its query.
pub(crate) fn path(text: String) -> Result<PathAndQuery, UrlError> {
    PathAndQuery::try_from(text).map_err(|_| UrlError)
}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::UpstreamUnreachable { why: error.to_string() }
    }
}

static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("application/json"));
static STREAM_HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("*/*"));

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &str, request: &UpstreamRequest) -> Result<String, UrlError> {
        let bearer = HeaderValue::from_static("Bearer x");
        let request = request.to_http(&BaseUrl::new(base)?, &Auth::Bearer(&bearer))?;
        Ok(request.uri().to_string())
    }

    fn get(text: &str) -> UpstreamRequest {
        UpstreamRequest::new(Method::GET, path(text.to_owned()), Payload::default())
    }

    #[test]
    fn an_address_is_the_base_and_then_the_path() {
        let stream = get("/v1internal:streamGenerateContent?alt=sse").streamed();
        for base in ["https://a.example", "https://a.example:8443", "http://127.0.0.1:1/in/front"] {
            let text = format!("{base}/v1internal:streamGenerateContent?alt=sse");
            assert_eq!(address(base, &stream), Ok(text));
        }
        let operation = get("/v1internal/operations/x");
        let text = "https://a.example/v1internal/operations/x".to_owned();
        assert_eq!(address("https://a.example/", &operation), Ok(text));
    }

    #[test]
    fn what_makes_no_address_is_an_error() {
        assert_eq!(address("https://a.example", &get("/v1internal/a b")), Err(UrlError));
        assert_eq!(address("/no/host", &get("/v1internal")), Err(UrlError));
    }
}
