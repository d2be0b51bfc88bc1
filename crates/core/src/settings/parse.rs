//! Parsers of the values that are more than a number. No error quotes the value, which may be
//! secret.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::Uri;
use secrecy::{ExposeSecret, SecretBox, SecretString};

use super::{AllowedHost, ApiKey, Dialects, KvUrl, ModelAlias, RedisUrl, SealKeys, SettingError};

/// `HOST`, without the brackets of an IPv6 address.
pub(super) fn host(text: &str) -> Result<String, SettingError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.into());
    }
    let labels_are_sane = text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    // `127.1` and `300.1.1.1` are malformed addresses, not names.
    let looks_like_an_address =
        text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if labels_are_sane && !looks_like_an_address {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is neither an address nor a host name (without scheme; the port goes into PORT)"
            .into())
    }
}

/// Whether `host` is reachable from this machine only.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A project id; a number is refused.
pub(super) fn project(text: &str) -> Result<String, SettingError> {
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
pub(super) fn url(text: &str) -> Result<Uri, SettingError> {
    let uri: Uri = text.parse().map_err(|_| SettingError::from("is not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a URL that starts with https:// or http://".into());
    };
    if scheme != "http" && scheme != "https" {
        return Err("is neither an https nor an http URL".into());
    }
    if authority.as_str().contains('@') {
        return Err("holds a login, which is not supported".into());
    }
    let has_port = authority.as_str() != authority.host();
    if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
        return Err("has no proper host and port".into());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("holds a query or fragment".into());
    }
    Ok(uri)
}

/// Whether requests to `uri` cross a network without encryption.
pub(super) fn is_unencrypted(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    uri.scheme_str() == Some("http")
        && !is_loopback(host.trim_start_matches('[').trim_end_matches(']'))
}

/// The URL of an outgoing proxy: plain http, with or without the scheme.
pub(super) fn outgoing_proxy(text: &str) -> Result<SecretString, SettingError> {
    let whole = if text.contains("://") { text.into() } else { format!("http://{text}") };
    let uri: Uri = whole.parse().map_err(|_| SettingError::from("is not a URL"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err("is not the http:// URL of a proxy".into());
    }
    Ok(SecretString::from(whole))
}

/// `KV_URL`. `home` is for a path that starts with `~`.
pub(super) fn kv_url(text: &str, home: Option<&str>) -> Result<KvUrl, SettingError> {
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
        "redis" | "rediss" => Ok(KvUrl::Redis(Box::new(redis_url(scheme == "rediss", rest)?))),
        _ => Err("has an unknown scheme".into()),
    }
}

/// What follows `redis:` or `rediss:`.
fn redis_url(tls: bool, rest: &str) -> Result<RedisUrl, SettingError> {
    let rest = rest.strip_prefix("//").ok_or("has no `//` behind its scheme")?;
    if rest.contains('#') {
        return Err("holds a fragment (`#` in a password is written %23)".into());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, server) = match authority.rsplit_once('@') {
        Some((login, server)) => (Some(login), server),
        None => (None, authority),
    };
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(Cow::into_owned).map_err(|_| SettingError::from("has a login that is not UTF-8"))
    };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        // `redis://:password@host`: the form for servers without ACLs.
        Some((user, password)) => (decoded(user)?, decoded(password)?),
        None => (String::new(), String::new()),
    };
    if login.is_some() && password.is_empty() {
        return Err("has a login without a password".into());
    }
    let database = match path.trim_end_matches('/') {
        "" => 0,
        number => number.parse().map_err(|_| "has a path that is no database number")?,
    };
    let (mut prefix, mut sentinel) = (DEFAULT_PREFIX.to_owned(), None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "prefix" if value.is_empty() || value.chars().any(char::is_control) => {
                return Err("has a prefix that is empty or not printable".into());
            }
            "prefix" => prefix = value.into_owned(),
            "sentinel" if value.is_empty() || !value.bytes().all(is_name_byte) => {
                return Err("has a name for Sentinels that is empty or has odd characters".into());
            }
            "sentinel" => sentinel = Some(value.into_owned()),
            _ => {
                let known = "has an unknown query parameter (there are `prefix` and `sentinel`)";
                return Err(known.into());
            }
        }
    }
    let usual = if sentinel.is_some() { SENTINEL_PORT } else { REDIS_PORT };
    let hosts = server.split(',').map(|one| redis_host(one, usual));
    let hosts = hosts.collect::<Result<Vec<_>, SettingError>>()?;
    if hosts.len() > 1 && sentinel.is_none() {
        return Err("has several hosts, which only Sentinels may (`?sentinel=NAME`)".into());
    }
    Ok(RedisUrl {
        tls,
        hosts,
        sentinel,
        user: Some(user).filter(|user| !user.is_empty()),
        password: Some(password).filter(|it| !it.is_empty()).map(SecretString::from),
        database,
        prefix,
    })
}

fn redis_host(text: &str, usual_port: u16) -> Result<(String, u16), SettingError> {
    let uri: Uri = format!("redis://{text}/").parse().map_err(|_| "has no proper host")?;
    let authority = uri.authority().ok_or("has no host")?;
    let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || (authority.as_str() != authority.host() && authority.port_u16().is_none())
    {
        return Err("has no proper host and port".into());
    }
    Ok((bare.to_ascii_lowercase(), authority.port_u16().unwrap_or(usual_port)))
}

/// One key, or two: the current and the previous one.
pub(super) fn seal_keys(text: &str) -> Result<SealKeys, SettingError> {
    let keys = list(text).map(seal_key).collect::<Result<Vec<_>, SettingError>>()?;
    let mut keys = keys.into_iter();
    match (keys.next(), keys.next(), keys.next()) {
        (Some(first), second, None) => Ok(SealKeys { first, second }),
        _ => Err("holds neither one key nor two".into()),
    }
}

fn seal_key(text: &str) -> Result<Arc<SecretBox<[u8; 32]>>, SettingError> {
    let hex = |digits: &[u8]| {
        let nibble =
            |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
        digits.chunks(2).map(|two| Some(nibble(two[0])? << 4 | nibble(*two.get(1)?)?)).collect()
    };
    let base64 = || BASE64.iter().find_map(|alphabet| alphabet.decode(text).ok());
    let bytes: Option<Vec<u8>> = if text.len() == 64 { hex(text.as_bytes()) } else { base64() };
    let key: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match key {
        Some(key) => Ok(Arc::new(SecretBox::new(Box::new(key)))),
        None => Err("has a key that is not 32 bytes (`openssl rand -base64 32` makes one)".into()),
    }
}

/// A path, with `~` expanded.
pub(super) fn path(text: &str, home: Option<&str>) -> Result<String, SettingError> {
    if text.starts_with('{') {
        return Err("looks like JSON; this is for the path of a file".into());
    }
    expand_home(text, home)
}

/// `name:key` or `key`, separated by commas.
pub(super) fn api_keys(text: &str) -> Result<Vec<ApiKey>, SettingError> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (index, entry) in list(text).enumerate() {
        let number = index + 1;
        let (name, key) = match entry.split_once(':') {
            Some((name, key)) => (Some(name.trim()), key.trim()),
            None => (None, entry),
        };
        // The name is not quoted: it may be the first half of a key that holds a colon.
        if name.is_some_and(|name| name.is_empty() || !name.bytes().all(is_name_byte)) {
            return Err(
                format!("entry {number} has a name that is empty or has odd characters").into()
            );
        }
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(
                format!("entry {number} has a key that is empty or not visible ASCII").into()
            );
        }
        if name.is_some() && keys.iter().any(|known| known.name.as_deref() == name) {
            return Err(format!("entry {number} has a name that another entry has").into());
        }
        if keys.iter().any(|known| known.key.expose_secret() == key) {
            return Err(format!("entry {number} is a key that another entry has").into());
        }
        keys.push(ApiKey { name: name.map(str::to_owned), key: SecretString::from(key) });
    }
    // An operator who sets it wants keys to be required.
    if keys.is_empty() { Err("holds no key".into()) } else { Ok(keys) }
}

/// `from=to`, separated by commas. A leading `models/` of either name is removed.
pub(super) fn model_aliases(text: &str) -> Result<Vec<ModelAlias>, SettingError> {
    let mut aliases: Vec<ModelAlias> = Vec::new();
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
        if aliases.iter().any(|known| known.from == from) {
            return Err("maps the same name twice".into());
        }
        if to.contains('*') {
            return Err("has a `*` on the right side of an entry".into());
        }
        aliases.push(ModelAlias { from: from.into(), to: to.into() });
    }
    ModelAlias::sort(&mut aliases);
    Ok(aliases)
}

/// The dialects that are served.
pub(super) fn dialects(text: &str) -> Result<Dialects, SettingError> {
    let mut served = Dialects { gemini: false, openai: false, anthropic: false };
    for name in list(text) {
        match name.to_ascii_lowercase().as_str() {
            "anthropic" => served.anthropic = true,
            "gemini" => served.gemini = true,
            "openai" => served.openai = true,
            _ => return Err("names something else than gemini, openai, anthropic".into()),
        }
    }
    if served == (Dialects { gemini: false, openai: false, anthropic: false }) {
        return Err("names no dialect".into());
    }
    Ok(served)
}

pub(super) const ALL_DIALECTS: Dialects = Dialects { gemini: true, openai: true, anthropic: true };

/// Names of hosts, each with or without a port.
pub(super) fn allowed_hosts(text: &str) -> Result<Vec<AllowedHost>, SettingError> {
    list(text).map(allowed_host).collect()
}

fn allowed_host(text: &str) -> Result<AllowedHost, SettingError> {
    let (name, port) = match text.rsplit_once(':') {
        // The last colon of a bare IPv6 address does not begin a port.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port = port.map(|port| port.parse().map_err(|_| "has an entry with a bad port"));
    let name = host(name.strip_suffix('.').unwrap_or(name))
        .map_err(|_| "has an entry that is not a host name (without scheme and path)")?;
    Ok(AllowedHost { name, port: port.transpose()? })
}

/// Browser origins, as browsers write them.
pub(super) fn origins(text: &str) -> Result<Vec<String>, SettingError> {
    list(text).map(origin).collect()
}

fn origin(text: &str) -> Result<String, SettingError> {
    // Pages from files, and sandboxed frames, have an origin without a host: `null` in browsers,
    // `file://` in some web views.
    if text == "*" || text.eq_ignore_ascii_case("null") {
        return Ok(text.to_ascii_lowercase());
    }
    if ["file://", "file:///"].iter().any(|file| text.eq_ignore_ascii_case(file)) {
        return Ok("file://".into());
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
pub(super) fn api_version(text: &str) -> Result<String, SettingError> {
    if text.bytes().all(is_name_byte) {
        Ok(text.into())
    } else {
        Err("has characters that no version has".into())
    }
}

/// A port number.
pub(super) fn port(text: &str) -> Result<u16, SettingError> {
    text.parse().map_err(|_| "is no port number".into())
}

/// A number of bytes: plain, or with one of the units `KiB`, `MiB` and `GiB` in any case.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}

/// The entries of a list separated by commas, without those that are empty.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn expand_home(path: &str, home: Option<&str>) -> Result<String, SettingError> {
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

/// The prefix of store keys, unless the URL has another.
const DEFAULT_PREFIX: &str = "code-assist-proxy:";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const BASE64: [GeneralPurpose; 4] = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
