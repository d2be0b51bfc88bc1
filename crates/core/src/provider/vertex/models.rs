//! Vertex AI's catalogue as the Gemini API's model list (`docs/reference/upstreams.md` 5.2).

use std::borrow::Cow;

use serde::Deserialize;

use crate::dialect::gemini::models::{Model, title, version};
use crate::json::JsonError;

/// One page of the catalogue.
#[derive(Debug)]
pub struct CataloguePage {
    /// The models that a client of the Gemini API can use.
    pub models: Vec<Model>,
    /// What asks for the next page.
    pub next_page_token: Option<String>,
}

/// Reads an answer to `GET …/publishers/google/models`.
///
/// The catalogue says nothing about a model's methods and limits: methods follow from the id, and limits are
/// those of most models. Models that the Gemini API has no method for are left out.
pub fn page(answer: &[u8]) -> Result<CataloguePage, JsonError> {
    let malformed = |_| JsonError::at(answer, 0, "no list of models");
    let list: PublisherModels = serde_json::from_slice(answer).map_err(malformed)?;
    let models = list.publisher_models.iter().filter_map(PublisherModel::read).collect();
    let next_page_token = list.next_page_token.filter(|token| !token.is_empty());
    Ok(CataloguePage { models, next_page_token })
}

/// Reads an answer to `GET …/publishers/google/models/{m}`. `None` for a model that the Gemini API has no
/// method for.
pub fn one(answer: &[u8]) -> Result<Option<Model>, JsonError> {
    let malformed = |_| JsonError::at(answer, 0, "no model");
    let model: PublisherModel = serde_json::from_slice(answer).map_err(malformed)?;
    Ok(model.read())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublisherModels {
    #[serde(default)]
    publisher_models: Vec<PublisherModel>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublisherModel {
    name: String,
    version_id: Option<String>,
    launch_stage: Option<String>,
}

impl PublisherModel {
    fn read(&self) -> Option<Model> {
        let id = self.name.strip_prefix("publishers/google/models/")?;
        let methods = methods(id)?;
        let description = match self.launch_stage.as_deref() {
            Some("GA") => "Through Vertex AI, generally available.",
            Some("PUBLIC_PREVIEW" | "PRIVATE_PREVIEW" | "EXPERIMENTAL") => {
                "Through Vertex AI, in preview."
            }
            _ => "Through Vertex AI.",
        };
        let stated = self.version_id.as_deref().filter(|id| !matches!(*id, "" | "default"));
        Some(Model {
            id: Cow::Owned(id.to_owned()),
            version: Cow::Owned(stated.map_or_else(|| version(id), str::to_owned)),
            display_name: Cow::Owned(title(id)),
            description: Cow::Borrowed(description),
            supported_generation_methods: methods,
            thinking: methods == GENERATES && id.starts_with("gemini-"),
            ..Model::DEFAULTS
        })
    }
}

/// The methods of the Gemini API that a model has, by its id.
fn methods(id: &str) -> Option<&'static [&'static str]> {
    if id.contains("embedding") {
        // Others have `predict`, in a form of its own.
        return id.starts_with("gemini-").then_some(&["embedContent"]);
    }
    let family = id.split('-').next().unwrap_or_default();
    match family {
        "gemini" if id.contains("-live") => Some(&["bidiGenerateContent"]),
        "gemini" | "gemma" => Some(GENERATES),
        "imagen" => Some(&["predict"]),
        "veo" => Some(&["predictLongRunning"]),
        _ => None,
    }
}

const GENERATES: &[&str] = &["generateContent", "countTokens"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gemini::models::list;

    #[test]
    fn the_catalogue_becomes_a_model_list_of_the_gemini_api() {
        let answer = br#"{"publisherModels": [
            {"name": "publishers/google/models/gemini-2.5-flash", "versionId": "default", "launchStage": "GA",
             "supportedActions": {}, "publisherModelTemplate": "x"},
            {"name": "publishers/google/models/gemini-3-pro-preview", "launchStage": "PUBLIC_PREVIEW"},
            {"name": "publishers/google/models/gemini-embedding-001", "versionId": "001"},
            {"name": "publishers/google/models/gemini-3-flash-live"},
            {"name": "publishers/google/models/imagen-4.0-generate-001"},
            {"name": "publishers/google/models/veo-3.1"},
            {"name": "publishers/google/models/text-bison"},
            {"name": "publishers/google/models/text-embedding-005"},
            {"name": "publishers/anthropic/models/claude"}
        ], "nextPageToken": "n", "new": 1}"#;
        let page = page(answer).unwrap();
        assert_eq!(page.next_page_token.as_deref(), Some("n"));
        let read: Vec<_> = page
            .models
            .iter()
            .map(|model| {
                (&*model.id, &*model.version, model.supported_generation_methods, model.thinking)
            })
            .collect();
        assert_eq!(
            read,
            [
                ("gemini-2.5-flash", "2.5", GENERATES, true),
                ("gemini-3-pro-preview", "3", GENERATES, true),
                ("gemini-embedding-001", "001", &["embedContent"], false),
                ("gemini-3-flash-live", "3", &["bidiGenerateContent"], false),
                ("imagen-4.0-generate-001", "4.0", &["predict"], false),
                ("veo-3.1", "3.1", &["predictLongRunning"], false),
            ]
        );
        assert_eq!(page.models[0].display_name, "Gemini 2.5 Flash");
        let list = list(&page.models, None, None).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        assert_eq!(list["models"][0]["name"], "models/gemini-2.5-flash");
        assert_eq!(
            list["models"][2]["supportedGenerationMethods"],
            serde_json::json!(["embedContent"])
        );
    }

    #[test]
    fn one_model_is_read_and_other_answers_are_refused() {
        let model = one(br#"{"name":"publishers/google/models/gemini-2.5-pro"}"#).unwrap().unwrap();
        assert_eq!((&*model.id, &*model.version), ("gemini-2.5-pro", "2.5"));
        assert_eq!(one(br#"{"name":"publishers/google/models/text-bison"}"#).unwrap(), None);
        for answer in ["", "[]", "{}", r#"{"name":7}"#] {
            assert!(one(answer.as_bytes()).is_err(), "{answer}");
        }
        let empty = page(b"{}").unwrap();
        assert!(empty.models.is_empty() && empty.next_page_token.is_none());
        let last = page(br#"{"publisherModels":[],"nextPageToken":""}"#).unwrap();
        assert_eq!(last.next_page_token, None);
        assert!(page(b"<html>").is_err());
    }
}
