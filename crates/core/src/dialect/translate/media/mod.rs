//! Images, documents, recordings and videos of the client's (`docs/reference/dialects.md` 2.1, 6.5).
//!
//! The proxy fetches no URL: it would reach what only the operator's network may reach.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::draft::Media;
use super::target::Target;
use super::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};
use crate::google::ProviderKind;

#[cfg(test)]
mod tests;

/// The path of a field, for errors.
type Path<'p> = &'p dyn Fn() -> String;

/// The media at a URL. `detail` is OpenAI's, and says how closely the model looks.
pub fn from_url<'a>(
    url: JsonText<'a>,
    detail: Option<&str>,
    target: &Target,
    path: Path<'_>,
) -> Result<Media<'a>, Error> {
    let text = url.decoded();
    if is_data_url(&text) {
        let (mime, data) = data_url(text, path)?;
        let resolution = detail.and_then(resolution).filter(|_| target.family.is_gemini_3());
        return Ok(Media::Inline { mime, data, resolution });
    }
    let mime = readable_mime(&text, target).ok_or_else(|| {
        let message =
            "URLs of images are not fetched here; send the image as a data: URL.".to_owned();
        Refusal::error(RefusalCode::UnsupportedValue, path(), message)
    })?;
    Ok(Media::File { mime: mime.into(), uri: text })
}

/// Media whose base64 the client sends apart from their MIME type.
pub fn inline<'a>(
    mime: impl Into<Cow<'a, str>>,
    data: JsonText<'a>,
    path: Path<'_>,
) -> Result<Media<'a>, Error> {
    let mime = checked_mime(mime.into(), path)?;
    let data = match data.decoded() {
        Cow::Borrowed(data) => base64_as_written(data, path)?,
        Cow::Owned(data) => base64_checked(&data, path)?.into_owned().into(),
    };
    Ok(Media::Inline { mime, data, resolution: None })
}

/// OpenAI's `input_audio`.
pub fn audio<'a>(
    data: JsonText<'a>,
    format: Option<&str>,
    path: Path<'_>,
) -> Result<Media<'a>, Error> {
    let Some(format) = format else {
        return Err(invalid(path, "The recording has no `format`."));
    };
    inline(format!("audio/{}", format.to_ascii_lowercase()), data, path)
}

/// OpenAI's `file_data` with its `filename`: a data URL, or base64 whose type the name shows.
pub fn file<'a>(
    data: JsonText<'a>,
    name: Option<&str>,
    path: Path<'_>,
) -> Result<Media<'a>, Error> {
    let named = name.and_then(mime_of_name);
    let text = data.decoded();
    if is_data_url(&text) {
        let (mime, data) = data_url(text, path)?;
        // Browsers give this type to what they do not know.
        let mime = match named {
            Some(named) if mime == "application/octet-stream" => named.into(),
            _ => mime,
        };
        return Ok(Media::Inline { mime, data, resolution: None });
    }
    let Some(mime) = named else {
        let message = "The type of the file is not known: send `file_data` as a data: URL, or a \
                       `filename` that ends in its type, such as `.pdf`.";
        return Err(Refusal::error(RefusalCode::UnsupportedValue, path(), message.to_owned()));
    };
    inline(mime, data, path)
}

/// OpenAI's `file_id`, which must be a URI that Google reads, since no files are kept here.
pub fn from_file_id<'a>(
    id: JsonText<'a>,
    target: &Target,
    path: Path<'_>,
) -> Result<Media<'a>, Error> {
    let text = id.decoded();
    match readable_mime(&text, target) {
        Some(mime) => Ok(Media::File { mime: mime.into(), uri: text }),
        None => {
            let message = "No files are kept here: send the file's content as `file_data`.";
            Err(Refusal::error(RefusalCode::UnsupportedValue, path(), message.to_owned()))
        }
    }
}

fn invalid(path: Path<'_>, message: &str) -> Error {
    Refusal::error(RefusalCode::InvalidValue, path(), message.to_owned())
}

fn is_data_url(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// A MIME type and base64.
type Typed<'t> = (Cow<'t, str>, Cow<'t, str>);

/// The MIME type without its parameters, and the base64, of a data URL.
fn data_url<'a>(url: Cow<'a, str>, path: Path<'_>) -> Result<Typed<'a>, Error> {
    match url {
        Cow::Borrowed(url) => read_data_url(url, base64_as_written, path),
        Cow::Owned(url) => {
            let (mime, data) = read_data_url(&url, base64_checked, path)?;
            Ok((mime.into_owned().into(), data.into_owned().into()))
        }
    }
}

fn read_data_url<'t>(
    url: &'t str,
    base64: fn(&'t str, Path<'_>) -> Result<Cow<'t, str>, Error>,
    path: Path<'_>,
) -> Result<Typed<'t>, Error> {
    let (head, data) = url
        .get(5..)
        .and_then(|rest| rest.split_once(','))
        .ok_or_else(|| invalid(path, "The data: URL has no comma."))?;
    let mut words = head.split(';').map(str::trim);
    let mime = match words.next().unwrap_or_default() {
        "" => Cow::Borrowed("text/plain"),
        mime => checked_mime(mime.into(), path)?,
    };
    if words.next_back().is_some_and(|word| word.eq_ignore_ascii_case("base64")) {
        return Ok((mime, base64(data, path)?));
    }
    let bytes: Vec<u8> = percent_decode_str(data).collect();
    Ok((mime, STANDARD.encode(bytes).into()))
}

/// Base64 from a JSON string without escapes, which can be copied into another one. Google judges it.
fn base64_as_written<'t>(text: &'t str, path: Path<'_>) -> Result<Cow<'t, str>, Error> {
    match memchr::memchr2(b'%', b' ', text.as_bytes()) {
        None => Ok(text.into()),
        Some(_) => base64_checked(text, path),
    }
}

/// Base64 from a text that may have any character. What may stand between its characters is left out.
fn base64_checked<'t>(text: &'t str, path: Path<'_>) -> Result<Cow<'t, str>, Error> {
    let bytes = percent_decode_str(text).filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = String::from_utf8(bytes).unwrap_or_else(|_| "?".to_owned());
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    if !text.bytes().all(is_base64) {
        return Err(invalid(path, "The data is not base64."));
    }
    Ok(text.into())
}

/// The type as Gemini spells it.
fn checked_mime<'t>(mime: Cow<'t, str>, path: Path<'_>) -> Result<Cow<'t, str>, Error> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/".contains(&byte);
    if mime.eq_ignore_ascii_case("image/jpg") {
        return Ok("image/jpeg".into());
    }
    if mime.len() > 127 || !mime.contains('/') || !mime.bytes().all(is_token) {
        return Err(invalid(path, "The MIME type is not one."));
    }
    Ok(mime)
}

/// `mediaResolution.level` for OpenAI's `detail`.
fn resolution(detail: &str) -> Option<&'static str> {
    match detail {
        "low" => Some("MEDIA_RESOLUTION_LOW"),
        "medium" => Some("MEDIA_RESOLUTION_MEDIUM"),
        "high" => Some("MEDIA_RESOLUTION_HIGH"),
        _ => None,
    }
}

/// The MIME type of what is at a URI, if Google reads that URI.
fn readable_mime(uri: &str, target: &Target) -> Option<&'static str> {
    let (scheme, rest) = uri.split_once("://")?;
    let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(path_at);
    let file_path = rest.split(['?', '#']).next().unwrap_or_default();
    let by_path = || mime_of_name(file_path).unwrap_or("image/jpeg");
    if scheme.eq_ignore_ascii_case("gs") {
        // The public API refuses these itself. For Code Assist it is not known that it takes them.
        return Some(by_path());
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let host = public_host(authority)?;
    if host == "generativelanguage.googleapis.com" && file_path.contains("/files/") {
        return (target.provider == ProviderKind::GeminiApi).then(by_path);
    }
    if host == "youtu.be" || host == "youtube.com" || host.ends_with(".youtube.com") {
        return Some("video/mp4");
    }
    let is_fetched = match target.provider {
        // A name without a number may be any generation: upstream judges it.
        ProviderKind::GeminiApi => {
            target.family.generation.is_none() || target.family.is_at_least(2, 5)
        }
        ProviderKind::Vertex => true,
        // It is not known that Code Assist fetches URLs.
        ProviderKind::CodeAssist => false,
    };
    is_fetched.then(by_path)
}

/// The host in lower case. `None` for an address, for a name without a dot, and beside a user's name.
fn public_host(authority: &str) -> Option<String> {
    if authority.contains(['@', '[', '\\', '%']) {
        return None;
    }
    let host = authority.split(':').next()?.trim_end_matches('.').to_ascii_lowercase();
    let (_, last) = host.rsplit_once('.')?;
    // A host whose last label is a number is an IPv4 address, in whatever base it is written.
    let is_number =
        last.is_empty() || last.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    (!is_number).then_some(host)
}

/// The MIME type that the end of a file's name shows.
fn mime_of_name(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    let end = end.to_ascii_lowercase();
    MIME_TYPES.iter().find(|(known, _)| *known == end).map(|(_, mime)| *mime)
}

/// MIME types that Gemini reads, by the ends of names.
const MIME_TYPES: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("aac", "audio/aac"),
    ("aiff", "audio/aiff"),
    ("avi", "video/avi"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("m4a", "audio/m4a"),
    ("md", "text/markdown"),
    ("mov", "video/mov"),
    ("mp3", "audio/mp3"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpg"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/opus"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("rtf", "text/rtf"),
    ("txt", "text/plain"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("wmv", "video/wmv"),
    ("xml", "text/xml"),
];
