//! The accounts that requests go out with, and when one of them stands in for another.

mod auto;
mod draft;
mod failover;
mod fields;
pub(super) mod parse;
mod provider;
mod read;
pub(super) mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;

pub use failover::{Failover, FailoverModel, FailoverReason, FailoverSignatures};
pub(super) use fields::UPSTREAM_FIELDS;
pub(super) use parse::base_url;
pub(crate) use parse::is_json;
pub use tables::UpstreamTable;

use super::{CredentialsJson, ModelAlias, models};
use provider::ProviderName;

/// One account at one provider.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// The name in `UPSTREAMS`, headers, log lines and labels: at most 32 lower-case letters, digits,
    /// `-` and `_`.
    pub name: Arc<str>,
    /// The provider, with what it needs to know of the account.
    pub account: AccountSettings,
    /// Base URLs without a trailing slash; at least one. Only Code Assist has several.
    pub endpoints: Vec<String>,
    /// The models that the upstream serves; empty is all of them.
    pub models: Vec<ModelPattern>,
    /// Names of models at this upstream, by the names that are asked for.
    pub model_map: Vec<ModelAlias>,
}

impl UpstreamSettings {
    /// Whether the operator lets this upstream serve `model`.
    pub fn serves(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }
}

/// The account of an upstream, by provider.
#[derive(Debug, Clone)]
pub enum AccountSettings {
    /// A sign-in with Gemini Code Assist.
    CodeAssist(CodeAssistSettings),
    /// An API key of the public Gemini API.
    GeminiApi(GeminiApiSettings),
    /// A Google Cloud project with Vertex AI, or a key of its express mode.
    Vertex(VertexSettings),
}

impl AccountSettings {
    /// The name of the provider.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::CodeAssist(_) => ProviderName::CodeAssist.word(),
            Self::GeminiApi(_) => ProviderName::GeminiApi.word(),
            Self::Vertex(_) => ProviderName::Vertex.word(),
        }
    }
}

/// An account of Code Assist. The first credential that is set is used, in the order access token,
/// JSON, file.
#[derive(Debug, Clone, Default)]
pub struct CodeAssistSettings {
    /// `GCP_SERVICE_ACCOUNT`: the JSON of the CLI's `oauth_creds.json`.
    pub credentials_json: Option<CredentialsJson>,
    /// `GEMINI_OAUTH_CREDS_FILE`, or its default path (needs a home folder).
    pub credentials_file: Option<String>,
    /// `GOOGLE_CLOUD_ACCESS_TOKEN`: used as it is, never refreshed.
    pub access_token: Option<SecretString>,
    /// `GEMINI_PROJECT_ID`, never all digits.
    pub project_id: Option<String>,
    /// The `id` of the key whose own login this is.
    pub key: Option<Arc<str>>,
}

/// An account of the public Gemini API.
#[derive(Debug, Clone)]
pub struct GeminiApiSettings {
    /// `GEMINI_API_KEY`: a legal header value.
    pub api_key: SecretString,
}

/// An account of Vertex AI.
#[derive(Debug, Clone)]
pub struct VertexSettings {
    /// What requests are authorised with.
    pub auth: VertexAuth,
    /// `VERTEX_PROJECT`: an id or a number. `None` with a key, or where the credentials name it.
    pub project: Option<String>,
    /// `VERTEX_LOCATION`, which is safe as a part of a host name.
    pub location: String,
    /// `VERTEX_API_VERSION`.
    pub api_version: String,
    /// `GOOGLE_CLOUD_QUOTA_PROJECT`, which is sent as `x-goog-user-project`.
    pub quota_project: Option<String>,
}

/// What requests to Vertex AI are authorised with.
#[derive(Debug, Clone)]
pub enum VertexAuth {
    /// `VERTEX_API_KEY`, for express mode. Only without a project.
    ApiKey(SecretString),
    /// Access tokens that these credentials give.
    Google(GoogleCredentials),
}

/// Where Google credentials are.
#[derive(Debug, Clone)]
pub enum GoogleCredentials {
    /// A JSON object of any kind that Google's libraries write.
    Json(CredentialsJson),
    /// The path of a file that holds such an object.
    File(String),
    /// gcloud's file, or else the metadata server.
    Search,
}

/// A model's name, in which each `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// A pattern from text, without a leading `models/`. `None` if no model could have such a name.
    pub fn new(text: &str) -> Option<Self> {
        parse::model_name(text).map(|name| Self(name.to_owned()))
    }

    /// The pattern of every model.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether every model that `other` means is one of those that are meant. The `*` of `other` is
    /// compared as a character, which only a `*` stands for.
    pub fn covers(&self, other: &Self) -> bool {
        models::matches(&self.0, &other.0)
    }

    /// Whether `model` is one of those that are meant.
    pub fn matches(&self, model: &str) -> bool {
        models::matches(&self.0, model)
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An upstream that is configured and, under `UPSTREAMS=auto`, not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedUpstream {
    /// Its name.
    pub name: Arc<str>,
    /// The line that would use it too.
    pub hint: String,
}

/// The value of `UPSTREAMS` that leaves the choice to the proxy.
const AUTO: &str = "auto";
