//! Which URLs of a credential file secrets are posted to.

use std::net::IpAddr;

use http::Uri;

use super::error::GoogleCredentialError;

/// The URL, if it is one of Google's own services or a loopback address. The file may come from someone
/// else, and secrets are posted to what it names.
pub(super) fn service_url(
    field: &str,
    url: &str,
    universe: &str,
) -> Result<String, GoogleCredentialError> {
    let refused = || {
        let why = format!(
            "its {field} is no https address below {universe}; secrets are sent to no other server"
        );
        Err(GoogleCredentialError::Unusable(why))
    };
    let url = url.trim();
    let Some((scheme, host)) = parts(url) else { return refused() };
    let below = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|name| name.len() > 1 && name.ends_with('.'))
    };
    // A query can make a service keep what is posted, as an upload into anybody's bucket does.
    let is_google = scheme == "https" && below(universe) && !url.contains('?');
    if is_google || is_loopback(&host) { Ok(url.to_owned()) } else { refused() }
}

/// The URL, if it is one of http or https.
pub(super) fn web_url(field: &str, url: &str) -> Result<String, GoogleCredentialError> {
    let url = url.trim();
    if parts(url).is_some() {
        return Ok(url.to_owned());
    }
    let why = format!("its {field} is no http or https address");
    Err(GoogleCredentialError::Unusable(why))
}

/// Scheme and host of an http or https URL without a user name.
fn parts(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    let authority = uri.authority()?.as_str();
    if authority.contains('@') {
        return None;
    }
    let host = uri.host()?.to_ascii_lowercase();
    (!host.is_empty()).then(|| (scheme.to_owned(), host))
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
