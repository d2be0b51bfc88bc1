//! What a test may change about Vertex AI.

use serde::{Deserialize, Serialize};

/// The project of Vertex AI and its models. `docs/EMULATOR.md` describes every field.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VertexSettings {
    pub(crate) project: String,
    pub(crate) api_key: String,
    /// The only project that `x-goog-user-project` may name. Without it that is `project`.
    pub(crate) quota_project: Option<String>,
    pub(crate) locations: Vec<String>,
    pub(crate) models: Vec<String>,
    /// Models that exist in the location `global` only.
    pub(crate) global_models: Vec<String>,
    /// How many polls a long-running prediction takes.
    pub(crate) operation_polls: u32,
    /// Model Armor blocks every prompt that names a template.
    pub(crate) model_armor_blocks: bool,
}

impl Default for VertexSettings {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            project: PROJECT.to_owned(),
            api_key: API_KEY.to_owned(),
            quota_project: None,
            locations: owned(&["global", "us", "eu", "us-central1", "europe-west4"]),
            models: owned(&MODELS),
            global_models: owned(&GLOBAL_MODELS),
            operation_polls: 1,
            model_armor_blocks: false,
        }
    }
}

/// The project of Vertex AI, until a test changes it. It is not that of Code Assist.
pub const PROJECT: &str = "emulator-vertex-project";
/// The location that has every model.
pub const LOCATION: &str = "global";
/// The API key that the express form takes.
pub const API_KEY: &str = "AQ.emulator-vertex-key";

const MODELS: [&str; 11] = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3.5-flash",
    "gemini-3.1-flash-lite",
    "gemini-embedding-001",
    "gemini-embedding-2",
    "text-embedding-005",
    "imagen-4.0-generate-001",
    "imagen-4.0-fast-generate-001",
    "veo-3.1-generate-001",
];
const GLOBAL_MODELS: [&str; 3] =
    ["gemini-3-pro-preview", "gemini-3.1-pro-preview", "gemini-3-flash-preview"];
