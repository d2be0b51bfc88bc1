//! The text of a credential JSON, in the forms in which people store and paste it.
//!
//! PowerShell writes files in UTF-16 and with a byte order mark. `docker --env-file` and systemd keep
//! quotes. Platforms without line ends in variables get base64, or JSON with escapes.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::IgnoredAny;

use super::CredentialError;

/// The JSON object in `stored`, which may be quoted, escaped, in base64 or in UTF-16. The object may
/// still be cut or wrong.
pub(super) fn json_in(stored: &[u8]) -> Result<String, CredentialError> {
    unwrapped(stored, MOST_WRAPPERS).ok_or_else(|| CredentialError::NotJson(what_it_is(stored)))
}

/// The JSON object in `stored`, like [`json_in`].
pub(super) fn object_in(stored: &[u8]) -> Option<String> {
    unwrapped(stored, MOST_WRAPPERS)
}

/// Says what a text without a JSON object is, for an operator who wants to use Vertex AI.
pub(super) fn what_it_is_for_vertex(stored: &[u8]) -> String {
    let text = decoded(stored).unwrap_or_default();
    let text = unquoted(&text);
    let what = if text.is_empty() {
        "it is empty"
    } else if text.starts_with("AIza") || text.starts_with("AQ.") {
        "it is an API key, not JSON; an API key goes into VERTEX_API_KEY"
    } else if text.starts_with("ya29.") {
        "it is an access token, which expires within the hour; the JSON of a credential is needed"
    } else if text.starts_with("-----BEGIN") {
        "it is a key alone; the whole JSON of the service account is needed"
    } else {
        "it is neither JSON nor JSON in base64"
    };
    what.to_owned()
}

/// A secret of one line without the byte order mark and the quotes that came with it.
pub(super) fn unquoted(secret: &str) -> &str {
    let secret = trimmed(secret);
    trimmed(inside_quotes(secret).unwrap_or(secret))
}

fn unwrapped(stored: &[u8], wrappers: usize) -> Option<String> {
    let text = decoded(stored)?;
    let text = trimmed(&text);
    if text.starts_with('{') {
        return Some(unescaped(text).unwrap_or_else(|| text.to_owned()));
    }
    let left = wrappers.checked_sub(1)?;
    if let Some(inner) = inside_quotes(text) {
        let inner = serde_json::from_str(text).map_or(Cow::Borrowed(inner), Cow::Owned);
        return unwrapped(inner.as_bytes(), left);
    }
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.iter().find_map(|engine| unwrapped(&from_base64(engine, &digits)?, left))
}

/// The text of UTF-8 or UTF-16.
fn decoded(stored: &[u8]) -> Option<Cow<'_, str>> {
    let unit: fn([u8; 2]) -> u16 = match stored {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        // Without a mark: the first character is ASCII.
        [first, 0, ..] if *first != 0 => u16::from_le_bytes,
        [0, second, ..] if *second != 0 => u16::from_be_bytes,
        _ => return std::str::from_utf8(stored).ok().map(Cow::Borrowed),
    };
    let units = stored.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    text.ok().map(Cow::Owned)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK || c == '\0')
}

fn inside_quotes(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

/// JSON whose quotes or line ends have backslashes before them, without these.
fn unescaped(text: &str) -> Option<String> {
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    if !text.contains('\\') || is_json(text) {
        return None;
    }
    let whole = serde_json::from_str::<String>(&format!("\"{text}\"")).ok();
    let parts = || {
        let spaced = text.replace("\\n", " ").replace("\\r", " ").replace("\\t", " ");
        spaced.replace("\\\"", "\"")
    };
    whole.filter(|text| is_json(text)).or_else(|| Some(parts()).filter(|text| is_json(text)))
}

/// The bytes of base64. What was cut off is left out, so that the JSON says where it breaks off.
fn from_base64(engine: &GeneralPurpose, digits: &[u8]) -> Option<Vec<u8>> {
    let whole = digits.len() / 4 * 4;
    engine.decode(digits).or_else(|_| engine.decode(&digits[..whole])).ok()
}

/// Says what a text without a JSON object is. It quotes nothing of it but a path.
fn what_it_is(stored: &[u8]) -> String {
    let Some(text) = decoded(stored) else {
        return "it is binary or encrypted data, not text".to_owned();
    };
    let text = unquoted(&text);
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let what = if text.is_empty() {
        "it is empty"
    } else if starts(&["AIza"]) {
        "it is an API key of the Gemini API, which Code Assist does not take; the JSON of the Gemini \
         CLI's oauth_creds.json is needed"
    } else if starts(&["ya29."]) {
        "it is an access token, not JSON; an access token goes into GOOGLE_CLOUD_ACCESS_TOKEN"
    } else if starts(&["1//"]) {
        "it is a refresh token alone; the whole JSON of the Gemini CLI's oauth_creds.json is needed"
    } else if starts(&["-----BEGIN", "age-encryption.org", "Salted__", "U2FsdGVkX1"]) {
        "it is a key or encrypted data, not JSON"
    } else if text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        "it is binary or encrypted data, not text"
    } else if is_path(text) {
        let is_printable = text.len() <= LONGEST_PATH && text.ends_with(".json");
        let (path, to) = if is_printable { (text, text) } else { ("of a file", "PATH") };
        return format!(
            "it holds the path {path}, not the JSON of the file; set GEMINI_OAUTH_CREDS_FILE={to}"
        );
    } else if starts(&["["]) || serde_json::from_str::<IgnoredAny>(text).is_ok() {
        "it is JSON, but no object"
    } else {
        "it is neither JSON nor JSON in base64"
    };
    what.to_owned()
}

/// Whether a text without a JSON object looks like the path of a file.
fn is_path(text: &str) -> bool {
    let has_drive =
        matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    let starts = ["/", "~", "./", "../", "\\\\", "file:", "$HOME", "${HOME}", "%USERPROFILE%"];
    !text.contains(['\n', '\r'])
        && (has_drive || text.ends_with(".json") || starts.iter().any(|it| text.starts_with(it)))
}

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

const BASE64: [GeneralPurpose; 2] = [lenient(&STANDARD), lenient(&URL_SAFE)];

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Quotes around base64 of quoted JSON, for example.
const MOST_WRAPPERS: usize = 3;

const LONGEST_PATH: usize = 200;
