//! What web pages may reach without keys: `Host` against DNS rebinding, `Origin` and `Sec-Fetch-Site`
//! against pages of other sites.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Access, AccessError, Needs, shown};
use crate::settings::AllowedHosts;

impl Access {
    /// Admits loopback names and `ALLOWED_HOSTS`, and on a network IP addresses too. Any other name may
    /// be that of a web page whose owner has it resolved to this machine (DNS rebinding). An IP address in
    /// `Host` was not resolved.
    pub(super) fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), AccessError> {
        let named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
        // HTTP/2 names the host in `:authority`; HTTP/1.0 may not name it at all.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        for host in named.chain(authority) {
            let text = std::str::from_utf8(host).ok();
            if !text
                .and_then(host_and_port)
                .is_some_and(|(host, port)| self.allows_host(host, port))
            {
                return Err(AccessError::HostNotAllowed { host: shown(host) });
            }
        }
        Ok(())
    }

    fn allows_host(&self, host: &str, port: Option<u16>) -> bool {
        if is_loopback(host) {
            return true;
        }
        // Only the standard notations: a browser writes `127.1` and `0x7f.1` in that way itself.
        if !self.is_local && host.parse::<IpAddr>().is_ok() {
            return true;
        }
        match &self.hosts {
            AllowedHosts::Any => true,
            AllowedHosts::Listed(listed) => listed.iter().any(|allowed| {
                let name = host.strip_suffix('.').unwrap_or(host);
                // Browsers leave the port out where it is the scheme's own.
                let has_port = allowed.port.is_none_or(|own| match port {
                    Some(port) => port == own,
                    None => matches!(own, 80 | 443),
                });
                has_port && allowed.name.eq_ignore_ascii_case(name)
            }),
        }
    }

    /// Browsers send no `Origin` with an image, a script or a link. They say with `Sec-Fetch-Site` that
    /// the page is of another site; no script can change that header, and other programs do not send it.
    pub(super) fn check_origin(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        needs: Needs,
    ) -> Result<(), AccessError> {
        let mut site = headers.get_all(SEC_FETCH_SITE).iter();
        let is_foreign = site.any(|site| site == "cross-site" || site == "same-site");
        let origin = headers.get(header::ORIGIN);
        if is_foreign {
            let is_link = headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
            let is_allowed = match origin {
                Some(origin) => self.origins.allow(origin),
                None => self.origins.allow_all() || needs == Needs::Nothing && is_link,
            };
            return match is_allowed {
                true => Ok(()),
                false => Err(AccessError::OriginNotAllowed {
                    origin: origin.map_or_else(String::new, |origin| shown(origin.as_bytes())),
                }),
            };
        }
        let Some(origin) = origin else {
            return Ok(());
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
        let is_own = host.is_some_and(|host| is_same_host(origin.as_bytes(), host));
        if is_own || self.origins.allow(origin) {
            return Ok(());
        }
        Err(AccessError::OriginNotAllowed { origin: shown(origin.as_bytes()) })
    }
}

/// `ALLOWED_ORIGINS`.
#[derive(Debug, Clone)]
pub(super) enum AllowedOrigins {
    All,
    /// In lower case, without a trailing slash but for `file://`.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::All;
        }
        let plain = |origin: &String| match origin.trim_end_matches('/') {
            "file:" => "file://".to_owned(),
            origin => origin.to_ascii_lowercase(),
        };
        Self::Listed(origins.iter().map(plain).collect())
    }

    pub(super) fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::All => true,
            Self::Listed(listed) => {
                listed.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
            }
        }
    }

    pub(super) fn allow_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(listed) if listed.is_empty())
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address, and the port.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port {
        "" | ":" => None,
        port => {
            let digits = port.strip_prefix(':')?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            Some(digits.parse().ok().filter(|_: &u16| is_number)?)
        }
    };
    Some((host, port))
}

/// `localhost`, `*.localhost`, 127.0.0.0/8, and `::1`, also as an IPv4 address in IPv6.
pub(super) fn is_loopback(host: &str) -> bool {
    // The names that nearly every client uses need no parsing.
    if matches!(host, "127.0.0.1" | "localhost") {
        return true;
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        let mapped = address.to_ipv4_mapped().is_some_and(|address| address.is_loopback());
        return mapped || address.is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name == "localhost" || name.ends_with(".localhost") && name.bytes().all(is_label)
}

/// True when `origin` has the name and port of `host`. The scheme is not compared: TLS may end at a
/// proxy in front of this one.
fn is_same_host(origin: &[u8], host: &str) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else {
        return false;
    };
    let (authority, default_port) = match origin.split_once("://") {
        Some(("http", authority)) => (authority, ":80"),
        Some(("https", authority)) => (authority, ":443"),
        _ => return false,
    };
    let without_default = |text: &str| text.strip_suffix(default_port).unwrap_or(text).to_owned();
    !authority.is_empty() && without_default(authority).eq_ignore_ascii_case(&without_default(host))
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
