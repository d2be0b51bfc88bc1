//! What web pages may reach without keys: `Host` against DNS rebinding, `Origin` against pages of other
//! sites.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::header::{self, HeaderMap, HeaderValue};

use super::{Access, AccessError, shown};

impl Access {
    /// Admits only loopback names on a loopback address. Any other name means that a web page had
    /// its own name resolved to this machine (DNS rebinding).
    pub(super) fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), AccessError> {
        if !self.is_local {
            return Ok(());
        }
        let named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
        // HTTP/2 names the host in `:authority`; HTTP/1.0 may not name it at all.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        for host in named.chain(authority) {
            let text = std::str::from_utf8(host).ok();
            if !text.and_then(host_name).is_some_and(is_loopback) {
                return Err(AccessError::HostNotAllowed { host: shown(host) });
            }
        }
        Ok(())
    }

    pub(super) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), AccessError> {
        let Some(origin) = headers.get(header::ORIGIN) else {
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

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(listed) if listed.is_empty())
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address.
fn host_name(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host)
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
