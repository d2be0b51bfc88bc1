//! The texts that need more than a number to be read: each function takes one value and returns it
//! parsed, or says what is wrong with it without quoting it.

use std::net::IpAddr;

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::KvUrl;

/// `HOST`, without the brackets of an IPv6 address.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.into());
    }
    let labels_are_sane = text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    // `127.1` or `300.1.1.1`: an address that is none, not a name.
    let looks_like_an_address =
        text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if labels_are_sane && !looks_like_an_address {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is neither an address nor a host name (the port goes into PORT)".into())
    }
}

/// Whether `host` is only reachable from the machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A project id; a number is refused.
pub(super) fn project(text: &str) -> Result<String, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is a project number; Code Assist wants the project id, the one with letters \
                    (`gcloud projects describe NUMBER --format='value(projectId)'` prints it)"
            .into());
    }
    if text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
    {
        Ok(text.into())
    } else {
        Err("has characters that no project id has".into())
    }
}

/// An http(s) URL without login, query or fragment.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| String::from("is not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a URL that starts with https:// or http://".into());
    };
    if scheme != "http" && scheme != "https" {
        return Err("is neither an https nor an http URL".into());
    }
    if authority.as_str().contains('@') {
        return Err("holds a login, which is not supported".into());
    }
    if authority.host().is_empty() || (authority.port().is_some() && authority.port_u16().is_none())
    {
        return Err("has no proper host and port".into());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("holds a query or fragment".into());
    }
    Ok(uri)
}

/// Whether what is sent to `uri` crosses a network in the clear.
pub(super) fn is_in_the_clear(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    uri.scheme_str() == Some("http")
        && !is_loopback(host.trim_start_matches('[').trim_end_matches(']'))
}

/// The URL of an outgoing proxy: plain http, with or without the scheme.
pub(super) fn outgoing_proxy(text: &str) -> Result<SecretString, String> {
    let whole = if text.contains("://") { text.into() } else { format!("http://{text}") };
    let uri: Uri = whole.parse().map_err(|_| String::from("is not a URL"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err("is not the http:// URL of a proxy".into());
    }
    Ok(SecretString::from(whole))
}

/// `KV_URL`. `home` is for a path that starts with `~`.
pub(super) fn kv_url(text: &str, home: Option<&str>) -> Result<KvUrl, String> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err("has no scheme".into());
    };
    match scheme {
        "file" => {
            // `file:///var/lib/kv.redb` is a URL with an empty host.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.ends_with('/') {
                return Err("names no file".into());
            }
            Ok(KvUrl::File(expand_home(path, home)?))
        }
        "memory" if rest.is_empty() => Ok(KvUrl::Memory),
        "memory" => Err("is `memory:` with something behind it".into()),
        // The one place to lift when the Redis back end arrives.
        "redis" | "rediss" => {
            Err("comes with the Redis back end, which this version does not have; use file: or \
                 memory:"
                .into())
        }
        _ => Err("has an unknown scheme".into()),
    }
}

/// A path, with `~` expanded.
pub(super) fn path(text: &str, home: Option<&str>) -> Result<String, String> {
    if text.starts_with('{') {
        return Err("looks like JSON; this is for the path of a file".into());
    }
    expand_home(text, home)
}

/// `name:key` or `key`, separated by commas.
pub(super) fn api_keys(text: &str) -> Result<Vec<(Option<String>, SecretString)>, String> {
    let mut keys: Vec<(Option<String>, SecretString)> = Vec::new();
    for (index, entry) in list(text).enumerate() {
        let number = index + 1;
        let (name, key) = match entry.split_once(':') {
            Some((name, key)) => (Some(name.trim()), key.trim()),
            None => (None, entry),
        };
        // No name is quoted: it may be the first half of a key that holds a colon.
        if name.is_some_and(|name| name.is_empty() || !name.bytes().all(is_name_byte)) {
            return Err(format!("entry {number} has a name that is empty or has odd characters"));
        }
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("entry {number} has a key that is empty or not visible ASCII"));
        }
        if name.is_some() && keys.iter().any(|(known, _)| known.as_deref() == name) {
            return Err(format!("entry {number} has a name that another entry has"));
        }
        if keys.iter().any(|(_, known)| known.expose_secret() == key) {
            return Err(format!("entry {number} is a key that another entry has"));
        }
        keys.push((name.map(str::to_owned), SecretString::from(key)));
    }
    // Somebody who sets it wants the door shut.
    if keys.is_empty() { Err("holds no key".into()) } else { Ok(keys) }
}

/// `from=to`, separated by commas, without the `models/` that either may have in front.
pub(super) fn model_aliases(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut aliases: Vec<(String, String)> = Vec::new();
    for entry in list(text) {
        let Some((from, to)) = entry.split_once('=') else {
            return Err("has an entry without `=`".into());
        };
        let [from, to] = [from, to].map(|name| {
            let name = name.trim();
            name.strip_prefix("models/").unwrap_or(name)
        });
        if [from, to].iter().any(|name| {
            name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && !b"=/?#%".contains(&b))
        }) {
            return Err("has an entry that is not two model names".into());
        }
        if aliases.iter().any(|(known, _)| known == from) {
            return Err("maps the same name twice".into());
        }
        aliases.push((from.into(), to.into()));
    }
    Ok(aliases)
}

/// Browser origins, as browsers write them.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    list(text).map(origin).collect()
}

fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.into());
    }
    let bare = text.strip_suffix('/').unwrap_or(text);
    match bare.split_once("://") {
        Some((scheme, host))
            if !scheme.is_empty()
                && !host.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
                && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,*\\".contains(&b)) =>
        {
            Ok(bare.to_ascii_lowercase())
        }
        _ => Err("has an entry that is not an origin".into()),
    }
}

/// The version in Code Assist's paths.
pub(super) fn api_version(text: &str) -> Result<String, String> {
    if text.bytes().all(is_name_byte) {
        Ok(text.into())
    } else {
        Err("has characters that no version has".into())
    }
}

/// The entries of a list separated by commas, without those that are empty.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn expand_home(path: &str, home: Option<&str>) -> Result<String, String> {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Ok(format!("{home}{rest}"))
        }
        (Some(rest), None) if rest.is_empty() || rest.starts_with('/') => {
            Err("starts with `~`, but HOME is not set".into())
        }
        _ => Ok(path.into()),
    }
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_.-".contains(&b)
}
