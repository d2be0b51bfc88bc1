//! A method of Code Assist as an HTTP request (`protocol.md` 2.1, 2.2).

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request};

use crate::payload::Payload;

/// One call, ready to be sent as often as needed and to any endpoint: cloning the payload is by
/// reference count.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    /// What follows the endpoint's base URL.
    path: Result<PathAndQuery, UrlError>,
    payload: Payload,
    stream: bool,
    passed_on: bool,
    project: Option<Arc<str>>,
}

/// The paths of the methods that nearly every request is for: built once, for one version.
#[derive(Debug)]
pub struct Paths {
    generate: Result<PathAndQuery, UrlError>,
    stream: Result<PathAndQuery, UrlError>,
}

/// An endpoint's base URL, taken apart once: no call has to read a URL again.
#[derive(Debug)]
pub struct Base {
    scheme: Scheme,
    authority: Authority,
    /// What comes before every path, without a slash at its end.
    prefix: String,
}

/// The endpoint's base URL makes no valid address with this path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint and the path make no valid URL")]
pub struct UrlError;

impl Paths {
    /// The paths of this version.
    pub fn new(version: &str) -> Self {
        Self {
            generate: path(format!("/{version}:generateContent")),
            stream: path(format!("/{version}:streamGenerateContent?alt=sse")),
        }
    }
}

impl Base {
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

impl Call {
    /// `POST /version:generateContent`.
    pub fn generate(paths: &Paths, payload: Payload) -> Self {
        Self::new(Method::POST, paths.generate.clone(), payload)
    }

    /// `POST /version:streamGenerateContent?alt=sse`.
    pub fn stream(paths: &Paths, payload: Payload) -> Self {
        Self { stream: true, ..Self::new(Method::POST, paths.stream.clone(), payload) }
    }

    /// `POST /version:rpc`.
    pub fn post(version: &str, rpc: &str, payload: Payload) -> Self {
        Self::new(Method::POST, path(format!("/{version}:{rpc}")), payload)
    }

    /// `GET /version/name`, for operations.
    pub fn get(version: &str, name: &str) -> Self {
        Self::new(Method::GET, path(format!("/{version}/{name}")), Payload::default())
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
        let call = Self::new(method, path(format!("/{version}{suffix}{query}")), payload);
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
        endpoint: &Base,
        bearer: &HeaderValue,
    ) -> Result<Request<Payload>, UrlError> {
        let uri = endpoint.with(self.path.as_ref().map_err(|bad| *bad)?)?;
        let mut request = Request::new(self.payload.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = if self.stream { &STREAM_HEADERS } else { &HEADERS };
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        Ok(request)
    }

    fn new(method: Method, path: Result<PathAndQuery, UrlError>, payload: Payload) -> Self {
        Self { method, path, payload, stream: false, passed_on: false, project: None }
    }
}

/// The headers of a call, with room for its token: to clone them costs a third of inserting them.
fn headers(accept: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (AUTHORIZATION, HeaderValue::from_static("")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, HeaderValue::from_static(accept)),
        // Compression would delay events; whether the server would use it is not established.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(AGENT)),
    ])
}

fn path(text: String) -> Result<PathAndQuery, UrlError> {
    PathAndQuery::try_from(text).map_err(|_| UrlError)
}

static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("application/json"));
static STREAM_HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("*/*"));

/// Our own name: the proxy does not pretend to be another product (`spec.md` 18).
pub const AGENT: &str = concat!("code-assist-proxy/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_base_and_then_the_path() {
        let paths = Paths::new("v1internal");
        let bearer = HeaderValue::from_static("Bearer x");
        let address = |base: &str, call: &Call| {
            call.request(&Base::new(base)?, &bearer).map(|request| request.uri().to_string())
        };
        let payload = Payload::default;
        let stream = Call::stream(&paths, payload());
        for base in ["https://a.example", "https://a.example:8443", "http://127.0.0.1:1/in/front"] {
            let text = format!("{base}/v1internal:streamGenerateContent?alt=sse");
            assert_eq!(address(base, &stream), Ok(text));
        }
        let generate = Call::generate(&paths, payload());
        let by_name = Call::post("v1internal", "generateContent", payload());
        let base = "https://a.example/";
        assert_eq!(address(base, &generate), address(base, &by_name));
        let get = Call::get("v1internal", "operations/x");
        assert_eq!(address(base, &get), Ok("https://a.example/v1internal/operations/x".to_owned()));
        let bad = Call::get("v1internal", "a b");
        assert_eq!(address(base, &bad), Err(UrlError));
        assert_eq!(address("/no/host", &get), Err(UrlError));
    }
}
