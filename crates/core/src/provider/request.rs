//! A call of a Google API as an HTTP request (`docs/reference/protocol.md` 2.1, 2.2).

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use crate::error::Error;
use crate::google;
use crate::payload::Payload;
use crate::policy::breaker::ModelOperation;
use crate::policy::endpoint::BreakerScope;
use crate::request_texts::RequestTexts;
use crate::trace::{TRACEPARENT, TraceContext, put};

/// One request, which can be sent several times and to any endpoint of its upstream. Cloning the body
/// counts references.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamRequest {
    method: Method,
    /// What follows the endpoint's base URL.
    path: Result<PathAndQuery, UrlError>,
    body: Payload,
    /// Headers of the client's that go with the request, and those of the provider's own.
    headers: Option<Box<HeaderMap>>,
    stream: bool,
    /// The headers are all of the client's, and none is added but a credential and the user agent.
    copied: bool,
    /// The request carries an ephemeral token, and so no credential of the operator's.
    own_credential: bool,
    passes_errors: bool,
    keeps_errors: bool,
    repeatable: bool,
    project: Option<Arc<str>>,
    counted_for: CountedFor,
    /// Pieces of the body that belong to the provider's envelope, at each end.
    envelope_pieces: usize,
}

/// Which breakers a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountedFor {
    /// The endpoint's: a call of the proxy's own.
    Endpoint,
    /// The endpoint's, and the one of its model and this method of the API.
    Model(&'static str),
    /// None: a method of the provider's own protocol that generates nothing.
    Nothing,
}

impl CountedFor {
    /// The breakers of a request for this model.
    pub(crate) fn scope(self, model: &str) -> BreakerScope<'_> {
        match self {
            Self::Endpoint => BreakerScope::Endpoint,
            // A client of the provider's own protocol may send any name, or none.
            Self::Model(_) if model.is_empty() || model.len() > LONGEST_MODEL => {
                BreakerScope::Endpoint
            }
            Self::Model(operation) => BreakerScope::Model(ModelOperation { model, operation }),
            Self::Nothing => BreakerScope::Nothing,
        }
    }
}

/// How a request is authenticated.
#[derive(Debug)]
pub(crate) enum Auth<'a> {
    /// `Authorization`, with this value.
    Bearer(&'a HeaderValue),
    /// `x-goog-api-key`, with this value.
    ApiKey(&'a HeaderValue),
}

/// An endpoint's base URL, parsed once.
#[derive(Debug)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// What comes before every path, without a slash at its end.
    prefix: String,
}

/// The endpoint's base URL makes no valid URL with this path.
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

    /// The scheme, the authority, and the path before every other.
    pub(crate) fn parts(&self) -> (&Scheme, &Authority, &str) {
        (&self.scheme, &self.authority, &self.prefix)
    }

    /// Host, and port if one is given.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
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
        Self {
            method,
            path,
            body,
            headers: None,
            stream: false,
            copied: false,
            own_credential: false,
            passes_errors: false,
            keeps_errors: false,
            repeatable: false,
            project: None,
            counted_for: CountedFor::Endpoint,
            envelope_pieces: 0,
        }
    }

    pub(crate) fn post(path: Result<PathAndQuery, UrlError>, body: Payload) -> Self {
        Self::new(Method::POST, path, body)
    }

    /// Sets the body.
    #[must_use]
    pub(crate) fn with_body(self, body: Payload) -> Self {
        Self { body, ..self }
    }

    /// Adds headers, which replace the usual ones.
    #[must_use]
    pub(crate) fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), ..self }
    }

    /// Sets the headers of a request that is copied.
    #[must_use]
    pub(crate) fn with_copied_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), copied: true, ..self }
    }

    /// Marks the request as one that carries an ephemeral token.
    #[must_use]
    pub(crate) fn with_own_credential(self) -> Self {
        Self { own_credential: true, ..self }
    }

    /// Marks the answer as a stream of events.
    #[must_use]
    pub(crate) fn streamed(self) -> Self {
        Self { stream: true, ..self }
    }

    /// Marks upstream's errors as passed on byte for byte.
    #[must_use]
    pub(crate) fn passed_through(self) -> Self {
        Self { passes_errors: true, ..self }
    }

    /// Marks upstream's errors as given to the client in the form in which they come.
    #[must_use]
    pub(crate) fn with_errors_as_sent(self) -> Self {
        Self { keeps_errors: true, ..self }
    }

    /// Marks the request as harmless to carry out twice.
    #[must_use]
    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// Sets the breakers that the request counts for.
    #[must_use]
    pub(crate) fn counted_for(self, counted_for: CountedFor) -> Self {
        Self { counted_for, ..self }
    }

    /// Marks the first and the last piece of the body as the provider's envelope.
    #[must_use]
    pub(crate) fn in_envelope(self) -> Self {
        Self { envelope_pieces: 1, ..self }
    }

    /// Sets the project that the request carries.
    #[must_use]
    pub(crate) fn in_project(self, project: Arc<str>) -> Self {
        Self { project: Some(project), ..self }
    }

    /// The project that the proxy has put into the request.
    pub(crate) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Says which breakers the request counts for.
    pub(crate) fn counts_for(&self) -> CountedFor {
        self.counted_for
    }

    /// A hash of the client's part of the body: of `most` bytes at each end. An envelope differs each
    /// time.
    pub(crate) fn body_hash(&self, most: usize) -> u64 {
        self.body.hash_of_ends(self.envelope_pieces, most)
    }

    /// True when upstream's errors are passed on byte for byte.
    pub(crate) fn passes_errors(&self) -> bool {
        self.passes_errors
    }

    /// True for a request that is copied, whose answer is of any kind.
    pub(crate) fn is_copied(&self) -> bool {
        self.copied
    }

    /// True when the client gets upstream's errors in the form in which they come.
    pub(crate) fn keeps_errors(&self) -> bool {
        self.keeps_errors
    }

    /// True for a request that counts against the quota of its model. Counting tokens does not, and a
    /// method of the provider's own protocol is not the proxy's to judge.
    pub(crate) fn uses_quota(&self) -> bool {
        let counts =
            matches!(self.counted_for, CountedFor::Model(method) if method != "countTokens");
        counts && !self.passes_errors
    }

    /// True when it does no harm to carry out the request twice.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Makes the HTTP request to one endpoint.
    pub(crate) fn to_http(
        &self,
        endpoint: &BaseUrl,
        auth: &Auth<'_>,
        (trace, texts): (&TraceContext, &mut RequestTexts),
    ) -> Result<Request<Payload>, UrlError> {
        self.with_head(endpoint, auth, (trace, texts), self.body.clone())
    }

    /// Makes the HTTP request to one endpoint, without its body.
    pub(crate) fn head_to_http(
        &self,
        endpoint: &BaseUrl,
        auth: &Auth<'_>,
        (trace, texts): (&TraceContext, &mut RequestTexts),
    ) -> Result<Request<()>, UrlError> {
        self.with_head(endpoint, auth, (trace, texts), ())
    }

    fn with_head<B>(
        &self,
        endpoint: &BaseUrl,
        auth: &Auth<'_>,
        (trace, texts): (&TraceContext, &mut RequestTexts),
        body: B,
    ) -> Result<Request<B>, UrlError> {
        let uri = endpoint.with(self.path.as_ref().map_err(|error| *error)?)?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = match (self.copied, self.stream) {
            (true, _) => &COPIED_HEADERS,
            (false, true) => &STREAM_HEADERS,
            (false, false) => &HEADERS,
        };
        request.headers_mut().clone_from(headers);
        trace.write(request.headers_mut(), texts);
        if let Some(own) = &self.headers {
            for name in own.keys() {
                request.headers_mut().remove(name);
            }
            for (name, value) in &**own {
                request.headers_mut().append(name, value.clone());
            }
        }
        if self.own_credential {
            return Ok(request);
        }
        match auth {
            Auth::Bearer(value) => put(request.headers_mut(), &AUTHORIZATION, (*value).clone()),
            Auth::ApiKey(value) => {
                request.headers_mut().remove(AUTHORIZATION);
                request.headers_mut().insert(API_KEY, (*value).clone());
            }
        }
        Ok(request)
    }
}

/// Makes the headers of a request, with places for its token and its trace. Cloning them costs a third of inserting
/// them.
///
/// There are places for a few more, without which each clone would grow when its token is set.
fn headers(accept: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
    headers.extend([
        (AUTHORIZATION, HeaderValue::from_static("")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, HeaderValue::from_static(accept)),
        // Compression would delay events. Whether the server would use it is not known.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(google::USER_AGENT)),
        (TRACEPARENT, HeaderValue::from_static("")),
    ]);
    headers
}

/// The headers of a usual request, and some of its client's.
const MOST_HEADERS: usize = 8;

/// The header of an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Parses the path of a request, with its query.
pub(crate) fn path(text: String) -> Result<PathAndQuery, UrlError> {
    PathAndQuery::try_from(text).map_err(|_| UrlError)
}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::UpstreamUnreachable { why: error.to_string() }
    }
}

/// Longer than any model's name. A breaker keeps the name, so its length needs a bound.
pub(crate) const LONGEST_MODEL: usize = 256;

static COPIED_HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    HeaderMap::from_iter([
        (USER_AGENT, HeaderValue::from_static(google::USER_AGENT)),
        (TRACEPARENT, HeaderValue::from_static("")),
    ])
});
static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("application/json"));
static STREAM_HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| headers("*/*"));

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, request: &UpstreamRequest) -> Result<String, UrlError> {
        let bearer = HeaderValue::from_static("Bearer x");
        let trace = (&TraceContext::NONE, &mut RequestTexts::default());
        let request = request.to_http(&BaseUrl::new(base)?, &Auth::Bearer(&bearer), trace)?;
        Ok(request.uri().to_string())
    }

    fn get(text: &str) -> UpstreamRequest {
        UpstreamRequest::new(Method::GET, path(text.to_owned()), Payload::default())
    }

    #[test]
    fn a_url_is_the_base_followed_by_the_path() {
        let stream = get("/v1internal:streamGenerateContent?alt=sse").streamed();
        for base in ["https://a.example", "https://a.example:8443", "http://127.0.0.1:1/in/front"] {
            let text = format!("{base}/v1internal:streamGenerateContent?alt=sse");
            assert_eq!(url(base, &stream), Ok(text));
        }
        let operation = get("/v1internal/operations/x");
        let text = "https://a.example/v1internal/operations/x".to_owned();
        assert_eq!(url("https://a.example/", &operation), Ok(text));
    }

    #[test]
    fn an_invalid_url_is_an_error() {
        assert_eq!(url("https://a.example", &get("/v1internal/a b")), Err(UrlError));
        assert_eq!(url("/no/host", &get("/v1internal")), Err(UrlError));
    }
}
