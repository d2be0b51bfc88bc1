//! Content blocks with text, images and documents (`docs/reference/dialects.md` 5.2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::path::Path;
use crate::dialect::translate::draft::Media;
use crate::dialect::translate::media;
use crate::dialect::translate::target::Target;
use crate::dialect::translate::text::{JsonText, Text};
use crate::error::Error;

/// A content block of any kind. Each field takes any value, and is checked where it is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) is_error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_use_id: Option<&'a RawValue>,
}

impl<'a> Block<'a> {
    /// The block's `type`.
    pub(super) fn kind(&self, path: &Path<'_>) -> Result<Cow<'a, str>, Error> {
        Ok(path.field("type").required_text(self.kind)?.decoded())
    }

    /// The block's `text`.
    pub(super) fn required_text(&self, path: &Path<'_>) -> Result<JsonText<'a>, Error> {
        path.field("text").required_text(self.text)
    }
}

/// What a block becomes.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// A text.
    Text(Text<'a>),
    /// An image or a document.
    Media(Media<'a>),
}

/// Reads a block with text, an image or a document. False for another kind of block.
pub(super) fn read_item<'a>(
    block: &Block<'a>,
    kind: &str,
    target: &Target,
    path: &Path<'_>,
    items: &mut Vec<Item<'a>>,
) -> Result<bool, Error> {
    match kind {
        "text" => {
            let text = block.required_text(path)?;
            items.extend((!text.is_empty()).then_some(Item::Text(text.into())));
        }
        "image" => items.push(Item::Media(image(block, target, path)?)),
        "document" => document(block, target, path, items)?,
        "search_result" => search_result(block, path, items)?,
        _ => return Ok(false),
    }
    Ok(true)
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> Source<'a> {
    fn read(block: &Block<'a>, path: &Path<'_>) -> Result<(Cow<'a, str>, Self), Error> {
        let path = path.field("source");
        let source: Self = path.object(block.source.ok_or_else(|| path.required())?)?;
        let kind = path.field("type").required_text(source.kind)?.decoded();
        Ok((kind, source))
    }

    /// The data of a source `base64`.
    fn inline(
        &self,
        usual_type: Option<&'static str>,
        path: &Path<'_>,
    ) -> Result<Media<'a>, Error> {
        let source_path = path.field("source");
        let type_path = source_path.field("media_type");
        let mime = match (self.media_type, usual_type) {
            (None, Some(usual)) => Cow::Borrowed(usual),
            (given, _) => type_path.required_text(given)?.decoded(),
        };
        let data = source_path.field("data").required_text(self.data)?;
        media::inline(mime, data, &|| path.to_string())
    }

    /// The media at the URL of a source `url`.
    fn linked(&self, target: &Target, path: &Path<'_>) -> Result<Media<'a>, Error> {
        let url = path.field("source").field("url").required_text(self.url)?;
        media::from_url(url, None, target, &|| path.to_string())
    }
}

/// The error of a source that is none of those that Gemini takes.
fn no_such_source(kind: &str, path: &Path<'_>) -> Error {
    path.unsupported(match kind {
        "file" => "No files are kept here: send the content as a source `base64`.".to_owned(),
        kind => format!("The source `{kind}` is not known here."),
    })
}

fn image<'a>(block: &Block<'a>, target: &Target, path: &Path<'_>) -> Result<Media<'a>, Error> {
    let (kind, source) = Source::read(block, path)?;
    match &*kind {
        "base64" => source.inline(None, path),
        "url" => source.linked(target, path),
        kind => Err(no_such_source(kind, path)),
    }
}

fn document<'a>(
    block: &Block<'a>,
    target: &Target,
    path: &Path<'_>,
    items: &mut Vec<Item<'a>>,
) -> Result<(), Error> {
    let (kind, source) = Source::read(block, path)?;
    let title = block.title.map(|title| path.field("title").text(title)).transpose()?;
    let context = block.context.map(|context| path.field("context").text(context)).transpose()?;
    items.extend(joined([title, context]).map(Item::Text));
    let source_path = path.field("source");
    match &*kind {
        "base64" => items.push(Item::Media(source.inline(Some(PDF), path)?)),
        "url" => {
            let mut media = source.linked(target, path)?;
            // A URL that does not show its type is taken for an image's.
            if let Media::File { mime, .. } = &mut media
                && mime.starts_with("image/")
            {
                *mime = PDF.into();
            }
            items.push(Item::Media(media));
        }
        "text" => {
            let text = source_path.field("data").required_text(source.data)?;
            items.extend((!text.is_empty()).then_some(Item::Text(text.into())));
        }
        "content" => {
            let path = source_path.field("content");
            let content = source.content.ok_or_else(|| path.required())?;
            content_of(content, target, &path, items)?;
        }
        kind => return Err(no_such_source(kind, path)),
    }
    Ok(())
}

const PDF: &str = "application/pdf";

/// Reads the string or the blocks within another block. Only texts and images may be there, so that
/// blocks are never nested deeper.
fn content_of<'a>(
    content: &'a RawValue,
    target: &Target,
    path: &Path<'_>,
    items: &mut Vec<Item<'a>>,
) -> Result<(), Error> {
    if let Some(text) = JsonText::of(content) {
        items.extend((!text.is_empty()).then_some(Item::Text(text.into())));
        return Ok(());
    }
    for (at, block) in path.objects::<Block<'_>>(content)?.into_iter().enumerate() {
        let path = path.item(at);
        match &*block.kind(&path)? {
            kind @ ("text" | "image") => {
                read_item(&block, kind, target, &path, items)?;
            }
            kind => return Err(path.unsupported(format!("A block `{kind}` cannot be here."))),
        }
    }
    Ok(())
}

fn search_result<'a>(
    block: &Block<'a>,
    path: &Path<'_>,
    items: &mut Vec<Item<'a>>,
) -> Result<(), Error> {
    let title = path.field("title").required_text(block.title)?;
    let source = path.field("source").required_text(block.source)?;
    let mut texts = vec![Some(title), Some(source)];
    if let Some(content) = block.content {
        let path = path.field("content");
        for (at, inner) in path.objects::<Block<'_>>(content)?.into_iter().enumerate() {
            texts.push(Some(inner.required_text(&path.item(at))?));
        }
    }
    items.extend(joined(texts).map(Item::Text));
    Ok(())
}

/// The texts on lines of their own. A single one stays as it is written.
fn joined<'a>(texts: impl IntoIterator<Item = Option<JsonText<'a>>>) -> Option<Text<'a>> {
    let texts = texts.into_iter().flatten().filter(|text| !text.is_empty());
    let texts: Vec<JsonText<'a>> = texts.collect();
    match texts[..] {
        [] => None,
        [text] => Some(text.into()),
        _ => {
            let lines: Vec<Cow<'_, str>> = texts.iter().map(|text| text.decoded()).collect();
            Some(lines.join("\n").into())
        }
    }
}

/// What the model reads when a tool becomes known.
pub(super) fn available(tool: &str) -> String {
    format!("Tool {tool} is available now.")
}
