//! Workload and workforce identity federation: another identity provider's token (the *subject token*) is
//! exchanged for one of Google's (`docs/reference/upstreams.md` 2.3 d).

use http::header::{HeaderName, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::CLOUD_PLATFORM;
use super::answer::{Refusal, read_token};
use super::aws::AwsSource;
use super::error::GoogleCredentialError;
use super::form::post_form;
use crate::google;
use crate::google::credentials::refresh::clip;
use crate::google::credentials::{OAuthClient, RefreshError, RefreshedToken};
use crate::payload::Payload;
use crate::time::Timestamp;

/// An account at another identity provider.
#[derive(Debug, Clone)]
pub struct ExternalAccount {
    /// Where the subject token comes from.
    pub subject: SubjectSource,
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    pub(super) client: Option<OAuthClient>,
    pub(super) workforce_project: Option<String>,
    /// The token is only used to impersonate.
    pub(super) impersonates: bool,
    /// Tells two accounts of one audience apart: the digest of `credential_source`, which may hold secrets.
    pub(super) source_digest: String,
}

/// Where a subject token comes from.
#[derive(Debug, Clone)]
pub enum SubjectSource {
    /// A request to AWS that is signed and not sent.
    Aws(AwsSource),
    /// A file, which is read each time, since Kubernetes replaces it.
    File {
        /// Its path.
        path: String,
        /// What it holds.
        format: SubjectFormat,
    },
    /// The answer to a GET.
    Url {
        /// The address.
        url: String,
        /// Headers to send, which may hold secrets.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// What the answer holds.
        format: SubjectFormat,
    },
}

impl SubjectSource {
    /// The GET for the subject token; `None` for the other sources.
    pub fn url_request(&self) -> Option<Request<Payload>> {
        let Self::Url { url, headers, .. } = self else { return None };
        let mut request = Request::builder().uri(url).header(USER_AGENT, google::USER_AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Payload::default()).ok()
    }

    /// Reads the answer to that GET.
    pub fn read_url(&self, status: StatusCode, body: &[u8]) -> Result<SecretString, RefreshError> {
        let Self::Url { url, format, .. } = self else {
            return Err(RefreshError::Transient("there is no credential_source.url".to_owned()));
        };
        if !status.is_success() {
            let text = clip(&String::from_utf8_lossy(body));
            let why = format!("credential_source.url ({url}) answered {status}: {text}");
            // The identity provider's words are not known here, so a later try may succeed.
            return Err(RefreshError::Transient(why));
        }
        format.read(body, &format!("the answer of credential_source.url ({url})"))
    }
}

/// The form in which a subject token comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectFormat {
    /// The text is the token.
    Text,
    /// The token is the field of this name in an object.
    Json(String),
}

impl SubjectFormat {
    /// Finds the token in the content of `place`. The content may be about to be replaced.
    pub fn read(&self, content: &[u8], place: &str) -> Result<SecretString, RefreshError> {
        let token = match self {
            Self::Text => std::str::from_utf8(content).ok().map(str::to_owned),
            Self::Json(field) => {
                let value: Value = serde_json::from_slice(content).unwrap_or(Value::Null);
                value.get(field).and_then(Value::as_str).map(str::to_owned)
            }
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        token.map(SecretString::from).ok_or_else(|| {
            RefreshError::Transient(match self {
                Self::Text => format!("{place} has no token"),
                Self::Json(field) => format!("{place} is no JSON with a text in the field {field}"),
            })
        })
    }
}

impl ExternalAccount {
    /// The exchange of a subject token at Google's Security Token Service.
    pub fn exchange_request(&self, subject_token: &SecretString) -> Option<Request<Payload>> {
        let scope = if self.impersonates { IAM } else { CLOUD_PLATFORM };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("audience", &self.audience)
            .append_pair("scope", scope)
            .append_pair("requested_token_type", ACCESS_TOKEN_TYPE)
            .append_pair("subject_token", subject_token.expose_secret())
            .append_pair("subject_token_type", &self.subject_token_type);
        if let (Some(project), None) = (&self.workforce_project, &self.client) {
            form.append_pair("options", &json!({ "userProject": project }).to_string());
        }
        post_form(&self.token_url, form.finish(), self.client.as_ref())
    }

    /// Reads the answer to the exchange.
    pub fn read_exchange(
        &self,
        status: StatusCode,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        let who = "Google's Security Token Service";
        read_token(who, status, body, clock, |refusal| self.remedy(refusal))
    }

    /// What the token is meant for. AWS' signed request names it too.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    pub(super) fn principal(&self) -> String {
        format!("{} {}", self.audience, self.source_digest)
    }

    fn remedy(&self, refusal: &Refusal) -> String {
        match refusal.code.as_str() {
            "invalid_target" => {
                let audience = clip(&self.audience);
                format!(
                    "the pool or provider that audience names does not exist or is disabled: {audience}"
                )
            }
            "invalid_client" => "client_id and client_secret are not accepted".to_owned(),
            "invalid_grant" | "access_denied" => {
                "the subject token is not accepted: see the provider's issuer, its audiences, and \
                 the pool's attribute condition"
                    .to_owned()
            }
            "unauthorized_client" => {
                "the pool's attribute condition does not admit the subject token".to_owned()
            }
            _ => "see audience, subject_token_type and the pool's settings".to_owned(),
        }
    }
}

/// The headers that a credential file lists. All of them may hold secrets.
pub(super) fn headers(
    value: &Value,
) -> Result<Vec<(HeaderName, HeaderValue)>, GoogleCredentialError> {
    let wrong = || {
        let why = "its credential_source.headers are no texts that a header may hold";
        GoogleCredentialError::Unusable(why.to_owned())
    };
    let Value::Object(listed) = value else {
        return if value.is_null() { Ok(Vec::new()) } else { Err(wrong()) };
    };
    let header = |(name, value): (&String, &Value)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::from_str(value.as_str()?).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    listed.iter().map(|pair| header(pair).ok_or_else(wrong)).collect()
}

const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The scope of a token that only impersonates.
const IAM: &str = "https://www.googleapis.com/auth/iam";
