//! Parsers of the values of upstreams. No error quotes the value, which may be secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::Uri;
use secrecy::SecretString;

use super::failover::{Failover, FailoverModel, FailoverReason};
use crate::settings::error::SettingError;
use crate::settings::parse;

/// Base URLs without a trailing slash, each once.
pub(super) fn base_urls(text: &str) -> Result<Vec<String>, SettingError> {
    let mut bases: Vec<String> = Vec::new();
    for base in parse::list(text) {
        let base = base_url(base)?;
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    if bases.is_empty() { Err("holds no URL".into()) } else { Ok(bases) }
}

/// One base URL, without its trailing slash.
pub(in crate::settings) fn base_url(text: &str) -> Result<String, SettingError> {
    if text.contains(',') {
        return Err("is not one URL".into());
    }
    parse::url(text).map(|_| text.trim_end_matches('/').to_owned())
}

/// A key that a header can carry. A byte order mark and quotes around it are no part of it.
pub(super) fn api_key(text: &str) -> Result<SecretString, SettingError> {
    let bare = text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
    let inside = |quote: char| bare.strip_prefix(quote)?.strip_suffix(quote);
    let key = inside('"').or_else(|| inside('\'')).unwrap_or(bare);
    if key.starts_with('{') {
        return Err("looks like JSON, which is no API key".into());
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("has characters that no API key has".into());
    }
    Ok(SecretString::from(key))
}

/// The location of a Google Cloud service. It becomes part of the host name to which a token goes, so
/// nothing may end that name early (`docs/reference/upstreams.md` 1.2).
pub(super) fn location(text: &str) -> Result<String, SettingError> {
    let is_label = text.len() <= LONGEST_LABEL
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_label { Ok(text.into()) } else { Err("is no location (a-z, 0-9 and `-`)".into()) }
}

/// The base URL of Vertex AI at a location (`docs/reference/upstreams.md` 1.2).
pub(super) fn vertex_base_url(location: &str) -> String {
    match location {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        // A part of the world that is no single region, such as `eu`.
        part if !part.contains('-') => format!("https://aiplatform.{part}.rep.googleapis.com"),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// The id or the number of a project.
pub(super) fn project(text: &str) -> Result<String, SettingError> {
    let is_sane = text.len() <= 100
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphanumeric());
    if is_sane { Ok(text.into()) } else { Err("has characters that no project has".into()) }
}

/// A host name or address, with or without a port.
pub(super) fn metadata_host(text: &str) -> Result<String, SettingError> {
    let wrong = || SettingError::from("is no host name or address");
    let uri: Uri = format!("http://{text}/").parse().map_err(|_| wrong())?;
    let is_host = uri.path() == "/" && parse::url(&uri.to_string()).is_ok();
    if is_host && !text.contains('/') { Ok(text.into()) } else { Err(wrong()) }
}

/// Whether `text` can be a name in labels, header values and log lines.
pub(in crate::settings) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let is_usual = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= LONGEST_NAME
        && bytes.next().is_some_and(is_usual)
        && bytes.all(|b| is_usual(b) || b == b'-' || b == b'_')
}

/// Why `text` cannot be the name of an upstream.
pub(super) fn check_name(text: &str) -> Result<(), SettingError> {
    if !is_name(text) {
        return Err(
            "is no name of an upstream (at most 32 of a-z, 0-9, `-` and `_`, the first no sign)"
                .into(),
        );
    }
    if text == super::AUTO { Err("is a word of its own, and no name".into()) } else { Ok(()) }
}

/// `FAILOVER`.
pub(in crate::settings) fn failover(text: &str) -> Result<Failover, SettingError> {
    let words: Vec<String> = parse::list(text).map(str::to_ascii_lowercase).collect();
    if words.iter().any(|word| word == "off") {
        return match words.len() {
            1 => Ok(Failover::OFF),
            _ => Err("has `off` and something else".into()),
        };
    }
    words.iter().try_fold(Failover::OFF, |failover, word| {
        let mut all = FailoverReason::ALL.into_iter();
        if word == "on" {
            let usual = all.filter(|reason| *reason != FailoverReason::Billing);
            return Ok(usual.fold(failover, Failover::and));
        }
        let named = all.find(|reason| reason.word() == word);
        named.map(|reason| failover.and(reason)).ok_or_else(|| "has an unknown word".into())
    })
}

/// `FAILOVER_MODELS`. A leading `models/` of either name is removed. The last `@` begins the upstream:
/// models of Vertex AI may have one in their names.
pub(in crate::settings) fn failover_models(text: &str) -> Result<Vec<FailoverModel>, SettingError> {
    let mut models: Vec<FailoverModel> = Vec::new();
    for entry in parse::list(text) {
        let Some(((model, upstream), name)) =
            entry.split_once('=').and_then(|(asked, name)| Some((asked.rsplit_once('@')?, name)))
        else {
            return Err("has an entry without `@` and `=`".into());
        };
        let [model, name] = [model, name].map(model_name);
        let (Some(model), Some(name)) = (model, name) else {
            return Err("has an entry that is not two model names".into());
        };
        let upstream = upstream.trim();
        if check_name(upstream).is_err() {
            return Err("has an entry without the name of an upstream".into());
        }
        if models.iter().any(|known| (&*known.model, &*known.upstream) == (model, upstream)) {
            return Err("maps the same model of an upstream twice".into());
        }
        models.push(FailoverModel {
            model: model.into(),
            upstream: upstream.into(),
            name: name.into(),
        });
    }
    Ok(models)
}

/// A model's name without a leading `models/`. `None` if no path could hold it.
pub(super) fn model_name(text: &str) -> Option<&str> {
    let name = text.trim();
    let name = name.strip_prefix("models/").unwrap_or(name);
    let is_sane =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b"=/?#%,".contains(&b));
    is_sane.then_some(name)
}

/// Whether credentials are the JSON itself, and not the path of a file that holds it.
pub(crate) fn is_json(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c == BYTE_ORDER_MARK || c == '"' || c == '\'';
    let text = text.trim_matches(odd);
    if text.starts_with('{') {
        return true;
    }
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    // No credential JSON is shorter. The first four digits are three bytes.
    digits.len() >= SHORTEST_BASE64
        && digits.iter().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(b))
        && [STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().any(|alphabet| {
            alphabet.decode(&digits[..4]).is_ok_and(|bytes| bytes.first() == Some(&b'{'))
        })
}

/// The path of a file with credentials. `home` is for one that starts with `~`.
pub(in crate::settings) fn credentials_path(
    text: &str,
    home: Option<&str>,
) -> Result<String, SettingError> {
    let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    if text.contains(char::is_control) || starts(&["AIza", "AQ.", "ya29.", "-----BEGIN", "["]) {
        return Err("is neither a JSON object nor the path of a file".into());
    }
    parse::path(text, home)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

const LONGEST_NAME: usize = 32;

/// Of a part of a host name between two dots (RFC 1035, 2.3.4), less `-aiplatform`.
const LONGEST_LABEL: usize = 63 - "-aiplatform".len();

const SHORTEST_BASE64: usize = 64;
