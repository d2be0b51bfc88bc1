//! Impersonation: the token of one principal gives the token of a service account
//! (`docs/reference/upstreams.md` 2.3 e).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::CLOUD_PLATFORM;
use super::answer::Refusal;
use crate::google;
use crate::google::credentials::fields::{expiry, secret};
use crate::google::credentials::{AccessToken, RefreshError, RefreshedToken};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The impersonation of a service account.
#[derive(Debug, Clone)]
pub struct Impersonation {
    pub(super) url: String,
    pub(super) delegates: Vec<String>,
    pub(super) lifetime: Duration,
}

impl Impersonation {
    /// The request for the service account's token.
    pub fn request(&self, source: &AccessToken) -> Option<Request<Payload>> {
        let mut body = json!({
            "scope": [CLOUD_PLATFORM],
            "lifetime": format!("{}s", self.lifetime.as_secs()),
        });
        if !self.delegates.is_empty() {
            body["delegates"] = json!(self.delegates);
        }
        Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(AUTHORIZATION, source.header()?)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, google::USER_AGENT)
            .body(Payload::from(Bytes::from(body.to_string())))
            .ok()
    }

    /// Reads the answer.
    pub fn read(
        &self,
        status: StatusCode,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        let who = "Google's IAM Credentials API";
        if !status.is_success() {
            let refusal = Refusal::read(status, body);
            return Err(refusal.into_error(who, |refusal| self.remedy(refusal)));
        }
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let access_token = value.as_object().and_then(|it| secret(it, &["accessToken"]));
        let expires_at = value.get("expireTime").and_then(expiry);
        let (Some(access_token), Some(expires_at)) = (access_token, expires_at) else {
            let why = format!("{who} answered without an accessToken and its expireTime");
            return Err(RefreshError::Transient(why));
        };
        let token = AccessToken {
            access_token,
            expires_at: Some(expires_at),
            lifetime: Some(clock.until(expires_at)),
            scope: Some(CLOUD_PLATFORM.to_owned()),
        };
        Ok(RefreshedToken { token, refresh_token: None })
    }

    /// True for the answer to a token that its account has signed itself and that is not accepted.
    pub fn wants_exchange(status: StatusCode, body: &[u8]) -> bool {
        status == StatusCode::UNAUTHORIZED
            && Refusal::read(status, body).reason == "ACCESS_TOKEN_TYPE_UNSUPPORTED"
    }

    /// The e-mail address of the service account.
    pub fn service_account(&self) -> &str {
        let rest = self.url.rsplit_once("/serviceAccounts/").map_or("", |(_, rest)| rest);
        rest.split(':').next().unwrap_or_default()
    }

    pub(super) fn principal(&self) -> String {
        format!("{} {}", self.url, self.delegates.join(" "))
    }

    fn remedy(&self, refusal: &Refusal) -> String {
        let email = self.service_account();
        match (refusal.reason.as_str(), refusal.status) {
            ("SERVICE_DISABLED", _) => "enable the API iamcredentials.googleapis.com".to_owned(),
            (_, StatusCode::NOT_FOUND) => format!("there is no service account {email}"),
            (_, StatusCode::FORBIDDEN) => format!(
                "the principal that impersonates {email} needs the role Service Account Token \
                 Creator (roles/iam.serviceAccountTokenCreator) on it"
            ),
            (_, StatusCode::BAD_REQUEST) => format!(
                "check service_account_impersonation_url, delegates and token_lifetime_seconds for \
                 {email}: more than an hour must be allowed by the organisation's policy"
            ),
            _ => format!("the token of the principal that impersonates {email} is not accepted"),
        }
    }
}

/// What Google grants without a policy for more.
pub(super) const USUAL_LIFETIME: Duration = Duration::from_secs(3600);
