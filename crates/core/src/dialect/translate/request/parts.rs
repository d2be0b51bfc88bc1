//! The parts of contents.

use bytes::{BufMut, BytesMut};

use super::super::draft::{Call, Media, ToolResult};
use super::super::family::ModelFamily;
use super::super::json::{push_escaped, push_string};
use super::super::text::Text;
use super::members::Members;

/// The response to a call that has no result.
const NO_RESULT: &str = "No result was returned for this call.";

/// Appends the inside of a JSON string, as it is written.
pub(super) fn push_inside(text: &Text<'_>, out: &mut BytesMut) {
    match text {
        Text::Json(text) if text.is_string() => out.put_slice(text.escaped().as_bytes()),
        // Any other value is a text that looks like it.
        Text::Json(value) => push_escaped(value.quoted(), out),
        Text::Plain(text) => push_escaped(text, out),
    }
}

/// Appends a JSON string, as it is written.
pub(super) fn push_text(text: &Text<'_>, out: &mut BytesMut) {
    out.put_u8(b'"');
    push_inside(text, out);
    out.put_u8(b'"');
}

/// Appends texts as one, with line breaks between them.
fn push_joined(texts: &[Text<'_>], out: &mut BytesMut) {
    for (number, text) in texts.iter().enumerate() {
        if number > 0 {
            out.put_slice(br"\n");
        }
        push_inside(text, out);
    }
}

/// Writes a text.
pub(super) fn text(text: &Text<'_>, signature: Option<&str>, out: &mut BytesMut) {
    let mut part = Members::begin(out);
    push_text(text, part.key("text"));
    if let Some(signature) = signature {
        push_base64(signature, part.key("thoughtSignature"));
    }
    part.end();
}

/// Writes an instruction that comes after the first message as a text of the user's.
pub(super) fn system(text: &Text<'_>, out: &mut BytesMut) {
    out.put_slice(br#"{"text":"<system>\n"#);
    push_inside(text, out);
    out.put_slice(br#"\n</system>"}"#);
}

/// Writes an image, a document or a recording.
pub(super) fn media(media: &Media<'_>, family: ModelFamily, out: &mut BytesMut) {
    let mut part = Members::begin(out);
    match media {
        Media::Inline { mime, data, resolution } => {
            inline(mime, data, part.key("inlineData"));
            if let Some(level) = resolution.filter(|_| family.is_gemini_3()) {
                part.object("mediaResolution", |inner| push_string(level, inner.key("level")));
            }
        }
        Media::File { mime, uri } => part.object("fileData", |file| {
            push_string(mime, file.key("mimeType"));
            push_string(uri, file.key("fileUri"));
        }),
    }
    part.end();
}

fn inline(mime: &str, data: &str, out: &mut BytesMut) {
    let mut blob = Members::begin(out);
    push_string(mime, blob.key("mimeType"));
    push_base64(data, blob.key("data"));
    blob.end();
}

/// Appends a new JSON string of base64, which is long and needs no escapes.
fn push_base64(data: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    // Without an early exit the loop takes many bytes at once.
    let needs_escapes = data
        .bytes()
        .fold(false, |found, byte| found | (byte == b'"') | (byte == b'\\') | (byte < b' '));
    if needs_escapes {
        push_escaped(data, out);
    } else {
        out.put_slice(data.as_bytes());
    }
    out.put_u8(b'"');
}

/// Writes a call. Models before Gemini 3 refuse its id.
pub(super) fn call(
    call: &Call<'_>,
    name: &str,
    signature: Option<&str>,
    family: ModelFamily,
    out: &mut BytesMut,
) {
    let mut part = Members::begin(out);
    part.object("functionCall", |inner| {
        id(&call.id, family, inner);
        push_string(name, inner.key("name"));
        inner.written("args", &call.args);
    });
    if let Some(signature) = signature {
        push_base64(signature, part.key("thoughtSignature"));
    }
    part.end();
}

fn id(id: &str, family: ModelFamily, part: &mut Members<'_>) {
    if family.is_gemini_3() && !id.is_empty() {
        push_string(id, part.key("id"));
    }
}

/// Writes the response to a call.
pub(super) fn response(
    call: &Call<'_>,
    name: &str,
    result: Option<&ToolResult<'_>>,
    family: ModelFamily,
    out: &mut BytesMut,
) {
    let mut part = Members::begin(out);
    part.object("functionResponse", |inner| {
        id(&call.id, family, inner);
        push_string(name, inner.key("name"));
        inner.object("response", |response| match result {
            // Always a text and never what it says: Google reads `$ref` in it, and numbers keep their
            // digits.
            Some(result) => {
                let out = response.key(if result.is_error { "error" } else { "output" });
                out.put_u8(b'"');
                push_joined(&result.texts, out);
                out.put_u8(b'"');
            }
            None => push_string(NO_RESULT, response.key("error")),
        });
        let within = result.into_iter().flat_map(|result| &result.media);
        push_within(within.filter(|media| is_within_response(media, family)), inner);
    });
    part.end();
}

/// Writes the media that a response holds.
fn push_within<'d>(media: impl Iterator<Item = &'d Media<'d>>, response: &mut Members<'_>) {
    let mut media = media.peekable();
    if media.peek().is_none() {
        return;
    }
    let out = response.key("parts");
    out.put_u8(b'[');
    for (number, media) in media.enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        if let Media::Inline { mime, data, .. } = media {
            out.put_slice(br#"{"inlineData":"#);
            inline(mime, data, out);
            out.put_u8(b'}');
        }
    }
    out.put_u8(b']');
}

/// True for media that go into the response itself, which only Gemini 3 and later take. Whether Code
/// Assist does is not certain. `fileData` has no place there in the public API.
pub(super) fn is_within_response(media: &Media<'_>, family: ModelFamily) -> bool {
    family.is_gemini_3() && matches!(media, Media::Inline { .. })
}

/// Writes the line before media that come after the responses.
pub(super) fn returned_by(name: &str, out: &mut BytesMut) {
    out.put_slice(br#"{"text":"Returned by "#);
    push_escaped(name, out);
    out.put_slice(br#":"}"#);
}

/// Writes the result of a call that is not in the content before it.
pub(super) fn orphan(result: &ToolResult<'_>, out: &mut BytesMut) {
    out.put_slice(br#"{"text":"[result of an earlier call]"#);
    if !result.texts.is_empty() {
        out.put_u8(b' ');
        push_joined(&result.texts, out);
    }
    out.put_slice(br#""}"#);
}
