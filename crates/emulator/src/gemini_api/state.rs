//! What the Gemini API keeps: keys, files, uploads and other resources; and how a test changes it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gemini_api::batches::Job;
use crate::gemini_api::files::StoredFile;
use crate::gemini_api::interactions::StoredInteraction;
use crate::gemini_api::keys::{self, ApiKey};
use crate::gemini_api::models;
use crate::gemini_api::uploads::UploadSession;
use crate::oauth;

/// The state of the Gemini API. `docs/EMULATOR.md` describes every field.
#[derive(Debug, Serialize)]
pub(crate) struct GeminiState {
    pub(super) keys: BTreeMap<String, ApiKey>,
    pub(super) models: Vec<String>,
    pub(super) paid_models: Vec<String>,
    pub(super) stream_errors: StreamErrorForm,
    pub(super) strict_headers: bool,
    pub(super) job_polls: u32,
    pub(super) advanced_ms: i64,
    #[serde(skip)]
    pub(super) files: BTreeMap<String, StoredFile>,
    #[serde(skip)]
    pub(super) uploads: BTreeMap<String, UploadSession>,
    /// Cached contents, file search stores and webhooks, by name.
    #[serde(skip)]
    pub(super) resources: BTreeMap<String, Value>,
    #[serde(skip)]
    pub(super) jobs: BTreeMap<String, Job>,
    #[serde(skip)]
    pub(super) interactions: BTreeMap<String, StoredInteraction>,
    #[serde(skip)]
    pub(super) auth_tokens: BTreeSet<String>,
}

/// The form of an error of `streamGenerateContent` before its first byte. Both were captured, and by
/// which rule is unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StreamErrorForm {
    Array,
    #[default]
    Object,
}

impl GeminiState {
    pub(crate) fn new() -> Self {
        Self {
            keys: keys::initial(),
            models: models::ids(),
            paid_models: Vec::new(),
            stream_errors: StreamErrorForm::default(),
            strict_headers: true,
            job_polls: 1,
            advanced_ms: 0,
            files: BTreeMap::new(),
            uploads: BTreeMap::new(),
            resources: BTreeMap::new(),
            jobs: BTreeMap::new(),
            interactions: BTreeMap::new(),
            auth_tokens: BTreeSet::new(),
        }
    }

    /// The clock, which a test can advance.
    pub(super) fn now(&self) -> Timestamp {
        let now = oauth::now_ms().saturating_add(self.advanced_ms);
        Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Applies a control request.
    pub(crate) fn change(&mut self, change: GeminiStateChange) {
        for (key, value) in change.keys.unwrap_or_default() {
            match value {
                Some(value) => self.keys.insert(key, value),
                None => self.keys.remove(&key),
            };
        }
        if let Some(models) = change.models {
            self.models = models;
        }
        if let Some(models) = change.paid_models {
            self.paid_models = models;
        }
        if let Some(form) = change.stream_errors {
            self.stream_errors = form;
        }
        if let Some(strict) = change.strict_headers {
            self.strict_headers = strict;
        }
        if let Some(polls) = change.job_polls {
            self.job_polls = polls;
        }
        self.advanced_ms = self.advanced_ms.saturating_add(change.advance_ms);
        if let Some(file) = change.make_file {
            let now = self.now();
            self.files.insert(file.name.clone(), StoredFile::generated(&file, now));
        }
    }
}

/// A control request: the fields of [`GeminiState`] that may be set, and two actions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeminiStateChange {
    keys: Option<BTreeMap<String, Option<ApiKey>>>,
    models: Option<Vec<String>>,
    paid_models: Option<Vec<String>>,
    stream_errors: Option<StreamErrorForm>,
    strict_headers: Option<bool>,
    job_polls: Option<u32>,
    #[serde(default)]
    advance_ms: i64,
    make_file: Option<MadeFile>,
}

/// A file that a control request makes. Its content is generated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MadeFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    #[serde(default = "video")]
    pub(super) mime_type: String,
}

fn video() -> String {
    "video/mp4".to_owned()
}
