//! The Gemini API's model list (`docs/reference/protocol.md` 6.6).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::error::Error;

/// One entry of the model list, in the public API's form.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// The bare id; written as `name` with `models/` before it.
    #[serde(rename = "name", serialize_with = "with_prefix")]
    pub id: Cow<'static, str>,
    /// The generation, such as `2.5`.
    pub version: Cow<'static, str>,
    /// What pickers show.
    pub display_name: Cow<'static, str>,
    /// One sentence.
    pub description: Cow<'static, str>,
    /// Tokens in.
    pub input_token_limit: u32,
    /// Tokens out.
    pub output_token_limit: u32,
    /// The method names that SillyTavern and others filter on (`docs/reference/clients.md` R12).
    pub supported_generation_methods: &'static [&'static str],
    /// The default.
    pub temperature: u8,
    /// The default.
    pub top_p: f32,
    /// The default.
    pub top_k: u8,
    /// The highest `temperature` allowed.
    pub max_temperature: u8,
    /// The model can think.
    pub thinking: bool,
}

impl Model {
    /// The values that most models of the public API's list have.
    pub(crate) const DEFAULTS: Self = Self {
        id: Cow::Borrowed(""),
        version: Cow::Borrowed(""),
        display_name: Cow::Borrowed(""),
        description: Cow::Borrowed(""),
        input_token_limit: 1_048_576,
        output_token_limit: 65_536,
        supported_generation_methods: &["generateContent", "countTokens"],
        temperature: 1,
        top_p: 0.95,
        top_k: 64,
        max_temperature: 2,
        thinking: true,
    };
}

/// Writes one page of the list, a `ListModelsResponse`.
///
/// A page holds `page_size` models, at most 1000. Without a size, or with zero, it holds 50.
pub fn list(
    models: &[Model],
    page_size: Option<usize>,
    page_token: Option<&str>,
) -> Result<Bytes, PageTokenError> {
    let page_size = page_size.filter(|&size| size > 0).unwrap_or(DEFAULT_PAGE).min(LONGEST_PAGE);
    let start = page_token.map_or(Ok(0), |token| after(models, token))?;
    let rest = &models[start..];
    let page = &rest[..rest.len().min(page_size)];
    let last = page.last().filter(|_| page.len() < rest.len());
    let next_page_token = last.map(|model| URL_SAFE_NO_PAD.encode(model.id.as_bytes()));
    Ok(json(&Page { models: page, next_page_token }))
}

/// Writes one model in the public API's form, by its exact id.
pub fn one(models: &[Model], id: &str) -> Option<Bytes> {
    let id = bare(id);
    models.iter().find(|model| model.id == id).map(json)
}

/// A `pageToken` that did not come from this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page token is not one of this list")]
pub struct PageTokenError;

impl From<PageTokenError> for Error {
    fn from(_: PageTokenError) -> Self {
        Self::BadPageToken
    }
}

/// Returns where the page of a token begins. The token is the last id of the page before, so it keeps
/// its meaning when models are added meanwhile.
fn after(models: &[Model], token: &str) -> Result<usize, PageTokenError> {
    let last = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageTokenError)?;
    let at = models.iter().position(|model| model.id.as_bytes() == last).ok_or(PageTokenError)?;
    Ok(at + 1)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    models: &'a [Model],
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // Serializing strings and numbers cannot fail.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

fn with_prefix<S: Serializer>(id: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("models/{id}"))
}

/// A model's name without `models/`.
pub(crate) fn bare(name: &str) -> &str {
    name.strip_prefix("models/").unwrap_or(name)
}

/// `2.5` of `gemini-2.5-pro`: the first part that is a number.
pub(crate) fn version(id: &str) -> String {
    let is_number = |part: &&str| part.starts_with(|c: char| c.is_ascii_digit());
    id.split('-').find(is_number).unwrap_or("1").to_owned()
}

/// `Gemini 4 Pro Preview` of `gemini-4-pro-preview`.
pub(crate) fn title(id: &str) -> String {
    let capital = |part: &str| {
        let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        first.to_ascii_uppercase() + rest
    };
    id.split('-').map(capital).collect::<Vec<_>>().join(" ")
}

/// The public API's page sizes.
const DEFAULT_PAGE: usize = 50;
const LONGEST_PAGE: usize = 1000;
