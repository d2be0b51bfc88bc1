//! A received request, as the services read it.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, header};

use crate::model::ResponseStamp;

/// A request whose body has been read and unpacked.
#[derive(Debug)]
pub(crate) struct ApiRequest<'a> {
    /// The authority that the client called: the `Host` header, or `:authority` of HTTP/2.
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) bearer: Option<&'a str>,
    /// The request's number in the log.
    pub(crate) seq: u64,
    /// The mark of the response, should a model answer.
    pub(crate) stamp: ResponseStamp,
    pub(crate) trace_id: String,
}

impl ApiRequest<'_> {
    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The first query parameter that is neither one of the system parameters of Google's APIs nor
    /// one of the call's own.
    pub(crate) fn unknown_query_parameter(&self, own: &[&str]) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| {
                !SYSTEM_PARAMETERS.contains(&key.as_ref()) && !own.contains(&key.as_ref())
            })
            .map(|(key, _)| key.into_owned())
    }

    /// Whether a stream is to be server-sent events instead of a JSON array.
    pub(crate) fn wants_events(&self) -> bool {
        let alt = self.query("alt").or_else(|| self.query("$alt"));
        alt.is_some_and(|alt| alt == "sse")
    }

    /// Whether the body is an HTML form.
    pub(crate) fn has_form(&self) -> bool {
        let media = self.headers.get(header::CONTENT_TYPE);
        media.is_some_and(|media| media.as_bytes().starts_with(FORM))
    }
}

/// The authority that a client called, empty if it names none.
pub(crate) fn authority(parts: &Parts) -> &str {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| parts.uri.authority().map(Authority::as_str)).unwrap_or_default()
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";

const SYSTEM_PARAMETERS: [&str; 19] = [
    "$.xgafv",
    "$alt",
    "$callback",
    "$fields",
    "$key",
    "$prettyPrint",
    "$unique",
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "passwd",
    "prettyPrint",
    "quotaUser",
    "upload_protocol",
    "uploadType",
    "userIp",
];
