//! Admission of clients: keys, the `Host` and `Origin` of web pages, CORS (`docs/ACCESS.md`).

mod carriers;
mod pages;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::caller::{Caller, KeyDigest};
use crate::error::Error;
use crate::keys::{self, KeyHolder};
use crate::policy::key_guesses::KeyGuesses;
use crate::settings::{AllowedHosts, ApiKey, Settings};
use crate::sync::lock;
use crate::time::Monotonic;

use carriers::presented;
use pages::{AllowedOrigins, is_loopback};

/// The operator's rules of admission. Keys are held as digests only.
#[derive(Clone)]
pub struct Access {
    keys: Vec<KnownKey>,
    /// Accepted like the others, and no reason to need a key.
    operator: Option<KnownKey>,
    hosts: AllowedHosts,
    origins: AllowedOrigins,
    /// `HOST` is a loopback name or address, so that only local programs can connect.
    is_local: bool,
}

impl Access {
    /// The rules of these settings. `holders` are those of their keys; none without `[[key]]` tables.
    pub fn new(settings: &Settings, holders: &[Arc<KeyHolder>]) -> Self {
        let Settings { host, api_keys, allowed_hosts, allowed_origins, .. } = settings;
        let mut access = Self::of(host, api_keys, allowed_hosts, allowed_origins);
        if !holders.is_empty() {
            access.keys = holders.iter().map(KnownKey::held).collect();
        }
        access
    }

    /// Accepts the operator's key too, where there are keys.
    #[must_use]
    pub fn with_operator(mut self, operator: Option<&Arc<KeyHolder>>) -> Self {
        self.operator = operator.map(KnownKey::held);
        self
    }

    /// Decides whether a request is admitted.
    ///
    /// With keys set, a request that `needs` one must carry a valid one; its origin does not
    /// matter. Without keys, requests of foreign web pages are refused: by `Host` (DNS rebinding),
    /// and by `Origin` and `Sec-Fetch-Site`.
    ///
    /// A key that is not needed is not checked, so that such a route cannot be used to guess keys.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        needs: Needs,
        attempt: &Attempt<'_>,
    ) -> Result<Client, AccessError> {
        if !self.needs_keys() {
            self.check_host(headers, uri)?;
            self.check_origin(headers, uri, needs)?;
            return Ok(Client::default());
        }
        if needs != Needs::Key {
            return Ok(Client::default());
        }
        let Some(key) = presented(headers, uri) else {
            return Err(AccessError::KeyMissing);
        };
        let digest = KeyDigest::of(&key);
        let Attempt { guesses, from, now } = attempt;
        if let Some(after) = lock(guesses).refusal(from, &digest, *now) {
            return Err(AccessError::TooManyAttempts { after });
        }
        match self.recognise(digest) {
            Some(client) => {
                lock(guesses).accepted(from, &digest, *now);
                Ok(client)
            }
            None => Err(match lock(guesses).wrong(from, *now) {
                Some(after) => AccessError::TooManyAttempts { after },
                None => AccessError::KeyInvalid,
            }),
        }
    }

    /// True if keys are set.
    pub fn needs_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Adds the CORS headers to an answer, errors and streams included. An answer to a request from
    /// another than an allowed origin gets only `Vary`, and no header when no origin is allowed.
    pub fn add_cors_headers(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        answer.insert(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed_origin(request) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The headers of a 204 to `OPTIONS`: the permissions for a preflight from an allowed origin,
    /// the list of methods for any other request.
    pub fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Private-Network";
        answer.insert(header::VARY, HeaderValue::from_static(vary));
        let Some(origin) = self.allowed_origin(request) else {
            return answer;
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let echo = asked.filter(|names| is_header_list(names)).cloned();
        let names = echo.unwrap_or_else(|| HeaderValue::from_static(CLIENT_HEADERS));
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
        if request.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            answer.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        answer
    }

    fn of(host: &str, keys: &[ApiKey], hosts: &AllowedHosts, origins: &[String]) -> Self {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self {
            keys: (1..).zip(keys).map(|(number, key)| KnownKey::plain(number, key)).collect(),
            operator: None,
            hosts: hosts.clone(),
            origins: AllowedOrigins::new(origins),
            is_local: is_loopback(host),
        }
    }

    /// Compares with every key, each in constant time. The time taken shows neither how much of a
    /// key is right nor which key it is.
    fn recognise(&self, digest: KeyDigest) -> Option<Client> {
        let mut found = 0_u64;
        for (number, key) in (1..).zip(&self.keys) {
            found.conditional_assign(&number, digest.0.ct_eq(&key.digest.0));
        }
        let key = match &self.operator {
            Some(operator) if bool::from(digest.0.ct_eq(&operator.digest.0)) => operator,
            _ => self.keys.get(usize::try_from(found.checked_sub(1)?).ok()?)?,
        };
        Some(Client {
            key: Some(key.identity),
            label: Some(Arc::clone(&key.label)),
            holder: key.holder.clone(),
        })
    }

    fn allowed_origin<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        request.get(header::ORIGIN).filter(|origin| self.origins.allow(origin))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<&str> = self.keys.iter().map(|key| &*key.label).collect();
        f.debug_struct("Access")
            .field("keys", &labels)
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .field("is_local", &self.is_local)
            .finish()
    }
}

/// The client of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Client {
    /// The identity of the key's holder, for limits and caches; `None` without a valid key.
    pub key: Option<KeyDigest>,
    /// The key's name, else its place in the list, as in `#2`; `None` without a valid key. It
    /// contains no hash of the key: more people may read logs and metrics than may know the keys, and a
    /// guessed key could be compared with a hash.
    pub label: Option<Arc<str>>,
    /// The holder of the key, where there are `[[key]]` tables.
    pub holder: Option<Arc<KeyHolder>>,
}

/// What a request needs to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A key, if keys are set.
    Key,
    /// No key. Without keys it may not come from a foreign web page.
    NoKey,
    /// No key, and a foreign web page may lead a browser to it.
    Nothing,
}

/// Where a request with a key comes from, and when.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The wrong keys of all addresses.
    pub guesses: &'a Mutex<KeyGuesses>,
    /// The address, as [`Caller::new`] groups addresses.
    pub from: Caller,
    /// When the request came.
    pub now: Monotonic,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The `Host` is neither a loopback name nor one that is allowed.
    #[error("the host {host:?} is not allowed")]
    HostNotAllowed {
        /// The name that the client used, shortened.
        host: String,
    },
    /// The key is not one of `PROXY_API_KEYS`.
    #[error("the key is not valid")]
    KeyInvalid,
    /// The request carries no key.
    #[error("there is no key")]
    KeyMissing,
    /// Too many wrong keys came from this address.
    #[error("too many wrong keys")]
    TooManyAttempts {
        /// How long until a key is checked again.
        after: Duration,
    },
    /// The request comes from a web page of another origin.
    #[error("the origin {origin:?} is not allowed")]
    OriginNotAllowed {
        /// The page's origin, shortened.
        origin: String,
    },
}

impl From<AccessError> for Error {
    fn from(denied: AccessError) -> Self {
        match denied {
            AccessError::HostNotAllowed { host } => Self::HostNotAllowed { host },
            AccessError::KeyInvalid => Self::ApiKeyInvalid,
            AccessError::KeyMissing => Self::ApiKeyMissing,
            AccessError::TooManyAttempts { after } => Self::TooManyAttempts { after },
            AccessError::OriginNotAllowed { origin } => Self::OriginNotAllowed { origin },
        }
    }
}

/// True if the request carries a key of any kind.
pub(crate) fn presents_key(headers: &HeaderMap, uri: &Uri) -> bool {
    presented(headers, uri).is_some()
}

/// The client's address: that of its connection, or behind a trusted proxy the last one in
/// `X-Forwarded-For`. The client itself may have written the addresses before the last one.
pub fn address(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trust_forwarded_for: bool,
) -> Option<IpAddr> {
    if !trust_forwarded_for {
        return peer;
    }
    let last = headers.get_all(FORWARDED_FOR).iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    last.and_then(forwarded).or(peer)
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn forwarded(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Whether a client's own `x-request-id` is well-formed: 1 to 128 letters, digits, `.`, `_` and `-`.
pub fn is_forwardable_request_id(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

/// One of `PROXY_API_KEYS`, as a digest.
#[derive(Clone)]
struct KnownKey {
    digest: KeyDigest,
    /// For limits and caches.
    identity: KeyDigest,
    label: Arc<str>,
    holder: Option<Arc<KeyHolder>>,
}

impl KnownKey {
    /// `number` is the key's place in the list.
    fn plain(number: usize, key: &ApiKey) -> Self {
        let digest = KeyDigest::of(key.key.expose_secret());
        Self { digest, identity: digest, label: keys::label(number, key), holder: None }
    }

    fn held(holder: &Arc<KeyHolder>) -> Self {
        Self {
            digest: holder.settings.digest,
            identity: holder.identity,
            label: Arc::clone(holder.id()),
            holder: Some(Arc::clone(holder)),
        }
    }
}

/// True for a list of header names and nothing else, which is safe to echo.
fn is_header_list(names: &HeaderValue) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_, ".contains(&byte);
    (1..=2048).contains(&names.len()) && names.as_bytes().iter().copied().all(is_plain)
}

/// A header's value for an error message: printable and shortened.
fn shown(value: &[u8]) -> String {
    let printable = value.iter().filter(|byte| byte.is_ascii_graphic());
    printable.take(100).map(|&byte| char::from(byte)).collect()
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The methods of all routes.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The headers that clients send from browsers (`docs/reference/clients.md` R14,
/// `docs/reference/dialects.md` 1.1), for a preflight that names none. No pattern is allowed here, so that
/// each `x-stainless-` header of the SDKs is listed.
const CLIENT_HEADERS: &str = "x-goog-api-key, x-goog-api-client, content-type, authorization, \
    x-api-key, x-goog-request-params, x-server-timeout, x-request-id, x-session-id, \
    anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, \
    openai-organization, openai-project, openai-beta, x-stainless-arch, x-stainless-async, \
    x-stainless-helper, x-stainless-helper-method, x-stainless-lang, x-stainless-os, \
    x-stainless-package-version, x-stainless-poll-helper, x-stainless-custom-poll-interval, \
    x-stainless-raw-response, x-stainless-read-timeout, x-stainless-retry-count, \
    x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout, idempotency-key, \
    cache-control";

/// The headers that a page may read besides those that are always readable.
const EXPOSED_HEADERS: &str = "x-request-id, request-id, x-should-retry, x-proxy-model, x-proxy-dropped-fields, \
    x-proxy-normalized, x-cache, x-cloudaicompanion-trace-id, x-ratelimit-limit, \
    x-ratelimit-remaining, x-ratelimit-reset, retry-after, server-timing, x-proxy-upstream, \
    x-proxy-failover, x-proxy-tried, x-goog-upload-url, x-goog-upload-control-url, \
    x-goog-upload-status, x-goog-upload-chunk-granularity, x-goog-upload-size-received";

/// Two hours, the longest time that Chromium keeps a preflight's answer.
const MAX_AGE_SECONDS: &str = "7200";

#[cfg(test)]
mod tests;
