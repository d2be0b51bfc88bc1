//! Google's credential services: the token endpoint for clients of Vertex AI, the metadata server,
//! STS, IAM credentials, and the sources of subject tokens.

mod aws;
mod files;
mod form;
mod granted;
mod iam;
mod jwt;
mod metadata;
mod oidc;
mod settings;
mod sts;
mod token;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::{ApiError, http_status, pretty};

pub use self::aws::{AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, REGION as AWS_REGION};
pub use self::files::{
    IdentityPool, SERVICE_ACCOUNT, SUBJECT_TOKEN, SubjectSource, TARGET_ACCOUNT,
    authorized_user_json, external_account_json, external_authorized_user_json, impersonated_json,
    service_account_json, subject_token_json,
};
pub(crate) use self::granted::{GrantScope, GrantSource, GrantedTokens};
pub(crate) use self::jwt::{JwtFault, SignedClaims};
pub(crate) use self::settings::AuthSettings;
pub(crate) use self::token::answers as is_token_request;

/// An endpoint of the credential services, apart from the token endpoint, which Code Assist has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthEndpoint {
    AwsCredentials(Option<String>),
    AwsRegion,
    AwsSession,
    GenerateAccessToken(String),
    Metadata(String),
    Oidc,
    Sts,
    StsRefresh,
}

impl AuthEndpoint {
    /// The endpoint of a path, if the HTTP method fits.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let path = parts.uri.path();
        let get = parts.method == Method::GET;
        let post = parts.method == Method::POST;
        match path {
            "/v1/token" if post => return Some(Self::Sts),
            "/v1/oauthtoken" if post => return Some(Self::StsRefresh),
            "/oidc/token" if get => return Some(Self::Oidc),
            "/latest/api/token" if parts.method == Method::PUT => return Some(Self::AwsSession),
            "/latest/meta-data/placement/availability-zone" if get => return Some(Self::AwsRegion),
            // The presence check of the metadata server.
            "/" if get && has_flavor(&parts.headers) => {
                return Some(Self::Metadata(String::new()));
            }
            _ => {}
        }
        if let Some(role) = path.strip_prefix("/latest/meta-data/iam/security-credentials") {
            return match role.strip_prefix('/') {
                None if role.is_empty() && get => Some(Self::AwsCredentials(None)),
                Some(role) if get => {
                    Some(Self::AwsCredentials((!role.is_empty()).then(|| role.to_owned())))
                }
                _ => None,
            };
        }
        if let Some(rest) = path.strip_prefix("/computeMetadata/v1/") {
            return get.then(|| Self::Metadata(rest.to_owned()));
        }
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let account = path
            .strip_prefix("/v1/projects/-/serviceAccounts/")?
            .strip_suffix(":generateAccessToken")?;
        post.then(|| Self::GenerateAccessToken(account.to_owned()))
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::AwsCredentials(_) => "awsCredentials",
            Self::AwsRegion => "awsRegion",
            Self::AwsSession => "awsSession",
            Self::GenerateAccessToken(_) => "generateAccessToken",
            Self::Metadata(path) if path.ends_with("/token") => "metadataToken",
            Self::Metadata(_) => "metadata",
            Self::Oidc => "oidc",
            Self::Sts => "sts",
            Self::StsRefresh => "stsRefresh",
        }
    }

    pub(crate) fn answer(&self, request: &ApiRequest<'_>, state: &mut State) -> Reply {
        if let Some(name) = self.violation(request.headers) {
            return self.refusal(name);
        }
        match self {
            Self::AwsCredentials(role) => aws::credentials(role.as_deref(), request, state),
            Self::AwsRegion => aws::zone(request, state),
            Self::AwsSession => aws::session(request),
            Self::GenerateAccessToken(account) => iam::answer(account, request, state),
            Self::Metadata(path) => metadata::answer(path, request, state),
            Self::Oidc => oidc::answer(request, state),
            Self::Sts => sts::answer(request, state),
            Self::StsRefresh => sts::refresh(request, state),
        }
    }
}

impl AuthEndpoint {
    /// A header that must not reach the service.
    pub(crate) fn violation<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        // STS takes a client, IAM and the OIDC endpoint a token in `Authorization`.
        let is_authorized = matches!(
            self,
            Self::GenerateAccessToken(_) | Self::Oidc | Self::Sts | Self::StsRefresh
        );
        foreign_header(headers, if is_authorized { &[] } else { &["authorization"] })
    }

    /// The refusal of a header, in the form of the service.
    fn refusal(&self, name: &str) -> Reply {
        match self {
            Self::AwsCredentials(_) | Self::AwsRegion | Self::AwsSession | Self::Oidc => {
                text(403, format!("The header {name} is not wanted here."))
            }
            Self::GenerateAccessToken(_) => {
                let why =
                    format!("The emulator refuses what must not reach Google: header {name}.");
                ApiError::new(400, why).reply(false)
            }
            Self::Metadata(_) => metadata::refusal(name),
            Self::Sts | Self::StsRefresh => {
                let why = format!("The header {name} is not wanted here.");
                oauth_error(400, "invalid_request", &why)
            }
        }
    }
}

/// The answer of the token endpoint to a client of Vertex AI.
pub(crate) fn token(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    token::answer(request, state)
}

fn has_flavor(headers: &HeaderMap) -> bool {
    headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google")
}

/// A header of the request that must not reach a credential service: what a client sent to the proxy,
/// and those of `more`.
fn foreign_header<'a>(headers: &'a HeaderMap, more: &[&str]) -> Option<&'a str> {
    headers.keys().map(HeaderName::as_str).find(|name| {
        FOREIGN.contains(name) || more.contains(name) || name.starts_with("x-forwarded-")
    })
}

/// A flat OAuth error.
fn oauth_error(code: u16, error: &str, description: &str) -> Reply {
    let body = json!({"error": error, "error_description": description});
    Reply::json(http_status(code), pretty(&body))
}

/// A text as the metadata services of a cloud send it.
fn text(status: u16, body: impl Into<String>) -> Reply {
    Reply::new(http_status(status), "text/plain; charset=utf-8", body.into().into())
}

const FOREIGN: [&str; 9] = [
    "cookie",
    "forwarded",
    "origin",
    "proxy-authorization",
    "referer",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-real-ip",
];
