//! The kinds of upstreams, by the names that settings have for them.

use secrecy::SecretString;

use super::{
    AccountSettings, CodeAssistSettings, GeminiApiSettings, GoogleCredentials, VertexAuth,
    VertexSettings,
};

/// A kind of Google API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderName {
    CodeAssist,
    GeminiApi,
    Vertex,
}

impl ProviderName {
    /// In the order in which `UPSTREAMS=auto` looks for credentials.
    pub(super) const ALL: [Self; 3] = [Self::CodeAssist, Self::GeminiApi, Self::Vertex];

    /// The word in settings, which is also the name of the upstream that the short settings make.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::CodeAssist => "code-assist",
            Self::GeminiApi => "gemini-api",
            Self::Vertex => "vertex",
        }
    }

    /// An account without a credential, until an emulator gives it one.
    pub(super) fn emulated_account(self) -> AccountSettings {
        match self {
            Self::CodeAssist => AccountSettings::CodeAssist(CodeAssistSettings::default()),
            Self::GeminiApi => {
                AccountSettings::GeminiApi(GeminiApiSettings { api_key: SecretString::default() })
            }
            Self::Vertex => AccountSettings::Vertex(VertexSettings {
                auth: VertexAuth::Google(GoogleCredentials::Search),
                project: None,
                location: "global".to_owned(),
                api_version: "v1beta1".to_owned(),
                quota_project: None,
            }),
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.word() == word)
    }

    /// The short setting that means the same as a key of a table; `None` if the provider has no such
    /// thing.
    pub(super) const fn setting(self, key: TableKey) -> Option<&'static str> {
        Some(match (self, key) {
            (Self::CodeAssist, TableKey::Endpoint) => "CODE_ASSIST_ENDPOINT",
            (Self::CodeAssist, TableKey::Credentials) => "GEMINI_OAUTH_CREDS_FILE",
            (Self::CodeAssist, TableKey::Project) => "GEMINI_PROJECT_ID",
            (Self::GeminiApi, TableKey::Endpoint) => "GEMINI_API_ENDPOINT",
            (Self::GeminiApi, TableKey::ApiKey) => "GEMINI_API_KEY",
            (Self::Vertex, TableKey::Endpoint) => "VERTEX_ENDPOINT",
            (Self::Vertex, TableKey::ApiKey) => "VERTEX_API_KEY",
            (Self::Vertex, TableKey::Credentials) => "VERTEX_CREDENTIALS",
            (Self::Vertex, TableKey::Project) => "VERTEX_PROJECT",
            (Self::Vertex, TableKey::Location) => "VERTEX_LOCATION",
            (Self::Vertex, TableKey::ApiVersion) => "VERTEX_API_VERSION",
            _ => return None,
        })
    }
}

/// A key of an `[[upstream]]` table that not every provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKey {
    Endpoint,
    ApiKey,
    Credentials,
    Project,
    Location,
    ApiVersion,
}

impl TableKey {
    pub(super) const ALL: [Self; 6] = [
        Self::Endpoint,
        Self::ApiKey,
        Self::Credentials,
        Self::Project,
        Self::Location,
        Self::ApiVersion,
    ];

    /// The key as the file has it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::ApiKey => "api_key",
            Self::Credentials => "credentials",
            Self::Project => "project",
            Self::Location => "location",
            Self::ApiVersion => "api_version",
        }
    }
}
