//! The parts of a request that can carry the client's key (`docs/ACCESS.md`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{self, HeaderMap, HeaderName};

/// The key that the client presents: the first carrier that is not empty counts.
pub(super) fn presented(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let plain = |name: HeaderName| {
        let values = headers.get_all(name).into_iter();
        let mut values = values.filter_map(|value| value.to_str().ok().map(str::trim));
        values.find(|value| !value.is_empty()).map(str::to_owned)
    };
    plain(GOOG_API_KEY)
        .or_else(|| authorization(headers, "bearer").map(str::to_owned))
        .or_else(|| plain(X_API_KEY))
        .or_else(|| query_key(uri))
        .or_else(|| basic_password(headers))
}

/// The credentials of the first `Authorization` with this scheme.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let (own, credentials) = value.to_str().ok()?.trim().split_once(' ')?;
        let credentials = credentials.trim();
        (own.eq_ignore_ascii_case(scheme) && !credentials.is_empty()).then_some(credentials)
    })
}

fn query_key(uri: &Uri) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    let keys = pairs.filter(|(name, _)| name == "key").map(|(_, key)| key.trim().to_owned());
    keys.into_iter().find(|key| !key.is_empty())
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let decoded = STANDARD.decode(authorization(headers, "basic")?).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

const GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
