//! The RPCs of Code Assist: their paths, names and messages.

use http::Method;

use crate::code_assist::GENERATE_CONTENT;
use crate::proto::fields::{self, MessageSpec};

/// An RPC of Code Assist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    CountTokens,
    FetchAdminControls,
    GenerateContent,
    GlobalUserSetting,
    ListExperiments,
    LoadCodeAssist,
    OnboardUser,
    Operation(String),
    RecordMetrics,
    RetrieveUserQuota,
    SetGlobalUserSetting,
    StreamGenerateContent,
}

impl Rpc {
    /// The RPC of a path, if the HTTP method fits.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1internal")?;
        if method == Method::GET {
            if let Some(name) = rest.strip_prefix('/') {
                return name.starts_with("operations/").then(|| Self::Operation(name.to_owned()));
            }
            let name = after_colon(rest)?;
            return (name == "getCodeAssistGlobalUserSetting").then_some(Self::GlobalUserSetting);
        }
        if method != Method::POST {
            return None;
        }
        match after_colon(rest)? {
            "countTokens" => Some(Self::CountTokens),
            "fetchAdminControls" => Some(Self::FetchAdminControls),
            "generateContent" => Some(Self::GenerateContent),
            "listExperiments" => Some(Self::ListExperiments),
            "loadCodeAssist" => Some(Self::LoadCodeAssist),
            "onboardUser" => Some(Self::OnboardUser),
            "recordCodeAssistMetrics" => Some(Self::RecordMetrics),
            "retrieveUserQuota" => Some(Self::RetrieveUserQuota),
            "setCodeAssistGlobalUserSetting" => Some(Self::SetGlobalUserSetting),
            "streamGenerateContent" => Some(Self::StreamGenerateContent),
            _ => None,
        }
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CountTokens => "countTokens",
            Self::FetchAdminControls => "fetchAdminControls",
            Self::GenerateContent => "generateContent",
            Self::GlobalUserSetting => "getCodeAssistGlobalUserSetting",
            Self::ListExperiments => "listExperiments",
            Self::LoadCodeAssist => "loadCodeAssist",
            Self::OnboardUser => "onboardUser",
            Self::Operation(_) => "operations",
            Self::RecordMetrics => "recordCodeAssistMetrics",
            Self::RetrieveUserQuota => "retrieveUserQuota",
            Self::SetGlobalUserSetting => "setCodeAssistGlobalUserSetting",
            Self::StreamGenerateContent => "streamGenerateContent",
        }
    }

    pub(crate) fn streams(&self) -> bool {
        *self == Self::StreamGenerateContent
    }

    /// The full name of the method, as errors have it.
    pub(super) fn method(&self) -> String {
        match self {
            Self::GenerateContent => GENERATE_CONTENT.method.to_owned(),
            Self::StreamGenerateContent => {
                GENERATE_CONTENT.method.replace(".Generate", ".StreamGenerate")
            }
            Self::CountTokens => GENERATE_CONTENT.method.replace("GenerateContent", "CountTokens"),
            other => {
                let mut name = other.name().to_owned();
                name[..1].make_ascii_uppercase();
                format!("google.internal.cloud.code.v1internal.CloudCode.{name}")
            }
        }
    }

    /// The message that the body has to be; none for a `GET`.
    pub(super) fn message(&self) -> Option<&'static MessageSpec> {
        match self {
            Self::CountTokens => Some(&fields::COUNT),
            Self::FetchAdminControls => Some(&fields::ADMIN_CONTROLS),
            Self::GenerateContent | Self::StreamGenerateContent => Some(&fields::GENERATE),
            Self::GlobalUserSetting | Self::Operation(_) => None,
            Self::ListExperiments => Some(&fields::EXPERIMENTS),
            Self::LoadCodeAssist => Some(&fields::LOAD),
            Self::OnboardUser => Some(&fields::ONBOARD),
            Self::RecordMetrics => Some(&fields::METRICS),
            Self::RetrieveUserQuota => Some(&fields::QUOTA),
            Self::SetGlobalUserSetting => Some(&fields::USER_SETTING),
        }
    }
}

/// What follows the colon of `/v1internal:method`, percent-encoded or not.
fn after_colon(rest: &str) -> Option<&str> {
    rest.strip_prefix(':').or_else(|| rest.strip_prefix("%3A")).or_else(|| rest.strip_prefix("%3a"))
}
