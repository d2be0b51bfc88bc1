//! The parts of messages and of results (`docs/reference/dialects.md` 2.1, 4.2).

use serde_json::value::RawValue;

use super::fields::{Members, read_as};
use crate::dialect::translate::draft::Media;
use crate::dialect::translate::media;
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// A part of a message or of a result.
#[derive(Debug)]
pub(super) enum ContentPart<'a> {
    Text(JsonText<'a>),
    Media(Media<'a>),
}

/// Reads the content of a message or of a result: a string, or a list of parts.
pub(super) fn read_content<'a>(
    content: &'a RawValue,
    path: &str,
    target: &Target,
) -> Result<Vec<ContentPart<'a>>, Error> {
    if let Some(text) = JsonText::of(content) {
        return Ok(vec![ContentPart::Text(text)]);
    }
    let parts: Vec<Members<'a>> = read_as(content, path, "a string or a list of parts")?;
    let read = |(at, part)| read_part(part, &format!("{path}[{at}]"), target);
    parts.iter().enumerate().map(read).collect()
}

fn read_part<'a>(
    part: &Members<'a>,
    path: &str,
    target: &Target,
) -> Result<ContentPart<'a>, Error> {
    let at = || path.to_owned();
    let media = match part.word("type").as_deref().unwrap_or_default() {
        "input_text" | "output_text" | "text" => {
            return Ok(ContentPart::Text(required(part.text("text"), path, "text")?));
        }
        "refusal" => {
            return Ok(ContentPart::Text(required(part.text("refusal"), path, "refusal")?));
        }
        kind @ ("input_image" | "image_url" | "input_video" | "video_url") => {
            let field = if kind.ends_with("video") || kind == "video_url" {
                "video_url"
            } else {
                "image_url"
            };
            image(part, field, path, target)?
        }
        "input_audio" => {
            let audio = part.get("input_audio");
            let audio: Members<'a> =
                read_as(required(audio, path, "input_audio")?, path, "a recording")?;
            let data = required(audio.text("data"), path, "input_audio.data")?;
            media::audio(data, audio.word("format").as_deref(), &at)?
        }
        "input_file" | "file" => {
            if let Some(data) = part.text("file_data") {
                media::file(data, part.word("filename").as_deref(), &at)?
            } else if let Some(url) = part.text("file_url") {
                media::from_url(url, None, target, &at)?
            } else {
                let id = required(part.text("file_id"), path, "file_data")?;
                media::from_file_id(id, target, &at)?
            }
        }
        kind => {
            let message = format!("Parts of the type {kind:?} have no form in a Gemini request.");
            return Err(Refusal::error(RefusalCode::UnsupportedValue, path, message));
        }
    };
    Ok(ContentPart::Media(media))
}

/// An image: its URL, as a string or as Chat Completions has it, or a file.
fn image<'a>(
    part: &Members<'a>,
    field: &str,
    path: &str,
    target: &Target,
) -> Result<Media<'a>, Error> {
    let at = || path.to_owned();
    let mut detail = part.word("detail");
    let url = match part.get(field) {
        None => {
            let id = required(part.text("file_id"), path, field)?;
            return media::from_file_id(id, target, &at);
        }
        Some(url) => match JsonText::of(url) {
            Some(url) => url,
            None => {
                let url: Members<'a> = read_as(url, path, "a URL")?;
                detail = detail.or_else(|| url.word("detail"));
                required(url.text("url"), path, field)?
            }
        },
    };
    media::from_url(url, detail.as_deref(), target, &at)
}

fn required<T>(value: Option<T>, path: &str, field: &str) -> Result<T, Error> {
    value.ok_or_else(|| {
        let message = format!("The part has no `{field}`.");
        Refusal::error(RefusalCode::InvalidValue, path, message)
    })
}
