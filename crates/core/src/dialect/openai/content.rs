//! The content of messages: texts, images, recordings, files (`docs/reference/dialects.md` 2.1, 4.2).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::values::{invalid, read, text, unsupported};
use crate::dialect::translate::draft::Media;
use crate::dialect::translate::fields::{Word, read_fields};
use crate::dialect::translate::media;
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::JsonText;
use crate::error::Error;

/// The content of a message.
#[derive(Debug)]
pub enum Content<'a> {
    /// None.
    Empty,
    /// A text.
    Text(JsonText<'a>),
    /// Several parts.
    Parts(Vec<ContentPart<'a>>),
}

impl<'a> Content<'a> {
    /// Reads content. `path` is its own.
    pub fn read(value: Option<&'a RawValue>, path: impl FnOnce() -> String) -> Result<Self, Error> {
        match value {
            None => Ok(Self::Empty),
            Some(value) => match JsonText::of(value) {
                Some(text) => Ok(Self::Text(text)),
                None => Ok(Self::Parts(read(value, path)?)),
            },
        }
    }
}

/// A part of a content: the fields of all its types.
#[derive(Debug, Default)]
pub struct ContentPart<'a> {
    /// `type`.
    pub kind: Option<Cow<'a, str>>,
    text: Option<JsonText<'a>>,
    refusal: Option<JsonText<'a>>,
    image_url: Option<&'a RawValue>,
    video_url: Option<&'a RawValue>,
    detail: Option<Cow<'a, str>>,
    input_audio: Option<AudioFields<'a>>,
    file: Option<FileFields<'a>>,
    file_data: Option<JsonText<'a>>,
    file_id: Option<JsonText<'a>>,
    file_url: Option<JsonText<'a>>,
    filename: Option<Cow<'a, str>>,
}

read_fields!(ContentPart {
    "type" => kind: Word<'de>,
    "text" => text: JsonText<'de>,
    "refusal" => refusal: JsonText<'de>,
    "image_url" => image_url: &'de RawValue,
    "video_url" => video_url: &'de RawValue,
    "detail" => detail: Word<'de>,
    "input_audio" => input_audio: AudioFields<'de>,
    "file" => file: FileFields<'de>,
    "file_data" => file_data: JsonText<'de>,
    "file_id" => file_id: JsonText<'de>,
    "file_url" => file_url: JsonText<'de>,
    "filename" => filename: Word<'de>,
});

#[derive(Debug, Default)]
struct UrlFields<'a> {
    url: Option<JsonText<'a>>,
    detail: Option<Cow<'a, str>>,
}

read_fields!(UrlFields {
    "url" => url: JsonText<'de>,
    "detail" => detail: Word<'de>,
});

#[derive(Debug, Default)]
struct AudioFields<'a> {
    data: Option<JsonText<'a>>,
    format: Option<Cow<'a, str>>,
}

read_fields!(AudioFields {
    "data" => data: JsonText<'de>,
    "format" => format: Word<'de>,
});

#[derive(Debug, Default)]
struct FileFields<'a> {
    file_data: Option<JsonText<'a>>,
    file_id: Option<JsonText<'a>>,
    file_url: Option<JsonText<'a>>,
    filename: Option<Cow<'a, str>>,
}

read_fields!(FileFields {
    "file_data" => file_data: JsonText<'de>,
    "file_id" => file_id: JsonText<'de>,
    "file_url" => file_url: JsonText<'de>,
    "filename" => filename: Word<'de>,
});

/// What a part is for a Gemini request.
#[derive(Debug)]
pub enum PartContent<'a> {
    /// A text, maybe an empty one.
    Text(JsonText<'a>),
    /// Data.
    Media(Media<'a>),
}

impl<'a> ContentPart<'a> {
    /// What the part is. `path` is its own.
    pub fn content(
        &self,
        target: &Target,
        path: &dyn Fn() -> String,
    ) -> Result<PartContent<'a>, Error> {
        let missing = |name: &str| invalid(format!("{}.{name}", path()), "The field is missing.");
        let kind = match (self.kind.as_deref(), self) {
            (Some(kind), _) => kind,
            (None, Self { text: Some(_), .. }) => "text",
            (None, Self { image_url: Some(_), .. }) => "image_url",
            (None, _) => return Err(missing("type")),
        };
        match kind {
            "text" | "input_text" | "output_text" => {
                let found = text(self.text, || format!("{}.text", path()))?;
                found.map(PartContent::Text).ok_or_else(|| missing("text"))
            }
            "refusal" => {
                let found = text(self.refusal, || format!("{}.refusal", path()))?;
                found.map(PartContent::Text).ok_or_else(|| missing("refusal"))
            }
            "image_url" | "input_image" => match (self.image_url, self.file_id) {
                (Some(url), _) => self.at_url(url, target, path),
                (None, Some(id)) => media::from_file_id(id, target, path).map(PartContent::Media),
                (None, None) => Err(missing("image_url")),
            },
            "video_url" => {
                self.at_url(self.video_url.ok_or_else(|| missing("video_url"))?, target, path)
            }
            "input_audio" => {
                let audio = self.input_audio.as_ref().ok_or_else(|| missing("input_audio"))?;
                let data = text(audio.data, path)?.ok_or_else(|| missing("input_audio.data"))?;
                media::audio(data, audio.format.as_deref(), path).map(PartContent::Media)
            }
            "file" | "input_file" => self.file(target, path).map(PartContent::Media),
            _ => Err(unsupported(
                format!("{}.type", path()),
                "The content has a type that is not known here. Leave it out, or send it as text.",
            )),
        }
    }

    /// An image or a video whose URL is a string, or within an object.
    fn at_url(
        &self,
        value: &'a RawValue,
        target: &Target,
        path: &dyn Fn() -> String,
    ) -> Result<PartContent<'a>, Error> {
        let fields = match JsonText::of(value) {
            Some(url) => UrlFields { url: Some(url), detail: None },
            None => read(value, path)?,
        };
        let url = text(fields.url, path)?
            .ok_or_else(|| invalid(path(), "The URL of the content is missing."))?;
        let detail = fields.detail.as_deref().or(self.detail.as_deref());
        media::from_url(url, detail, target, path).map(PartContent::Media)
    }

    fn file(&self, target: &Target, path: &dyn Fn() -> String) -> Result<Media<'a>, Error> {
        let of = |inner: fn(&FileFields<'a>) -> Option<JsonText<'a>>, own| {
            text(self.file.as_ref().and_then(inner).or(own), path)
        };
        let name = self.file.as_ref().and_then(|file| file.filename.as_deref());
        if let Some(data) = of(|file| file.file_data, self.file_data)? {
            return media::file(data, name.or(self.filename.as_deref()), path);
        }
        if let Some(url) = of(|file| file.file_url, self.file_url)? {
            return media::from_url(url, None, target, path);
        }
        match of(|file| file.file_id, self.file_id)? {
            Some(id) => media::from_file_id(id, target, path),
            None => Err(invalid(path(), "The file has no `file_data`.")),
        }
    }
}
