//! The logins of people: `authorized_user`, and `external_account_authorized_user`.

use http::{Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::answer::{Refusal, read_token};
use super::form::post_form;
use crate::google::credentials::{OAuthClient, RefreshError, RefreshedToken};
use crate::payload::Payload;
use crate::time::Timestamp;

/// A login with gcloud. Its `token_uri` is ignored: the refresh token goes to Google only.
#[derive(Debug, Clone)]
pub struct AuthorizedUser {
    pub(super) client: OAuthClient,
    pub(super) refresh_token: SecretString,
    /// The digest of the refresh token in the file.
    pub(super) principal: String,
}

impl AuthorizedUser {
    pub(super) fn new(client: OAuthClient, refresh_token: SecretString) -> Self {
        let principal = principal(&client, &refresh_token);
        Self { client, refresh_token, principal }
    }

    /// The refresh request.
    pub fn refresh_request(&self, token_url: &str) -> Option<Request<Payload>> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &self.client.id)
            .append_pair("client_secret", self.client.secret.expose_secret())
            .append_pair("refresh_token", self.refresh_token.expose_secret())
            .finish();
        post_form(token_url, form, None)
    }

    /// Reads the answer to the refresh request.
    pub fn read_refresh(
        status: StatusCode,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        read_token("Google's token endpoint", status, body, clock, |refusal| {
            let what = match refusal.reason.as_str() {
                "invalid_rapt" | "rapt_required" => "the organisation wants a new sign-in",
                _ if refusal.code == "invalid_grant" => "the login has expired or was revoked",
                _ => "the login cannot be used",
            };
            format!("{what}: sign in again with `gcloud auth application-default login`")
        })
    }

    pub(super) fn principal(&self) -> String {
        self.principal.clone()
    }

    pub(super) fn refresh_token(&self) -> &str {
        self.refresh_token.expose_secret()
    }

    pub(super) fn rotate(&mut self, refresh_token: SecretString) {
        self.refresh_token = refresh_token;
    }
}

/// A login with gcloud at another identity provider (workforce identity federation).
#[derive(Debug, Clone)]
pub struct ExternalUser {
    pub(super) client: OAuthClient,
    pub(super) refresh_token: SecretString,
    pub(super) token_url: String,
    pub(super) principal: String,
}

impl ExternalUser {
    pub(super) fn new(client: OAuthClient, refresh_token: SecretString, token_url: String) -> Self {
        let principal = principal(&client, &refresh_token);
        Self { client, refresh_token, token_url, principal }
    }

    /// The refresh request, at the file's own `token_url`.
    pub fn refresh_request(&self) -> Option<Request<Payload>> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", self.refresh_token.expose_secret())
            .finish();
        post_form(&self.token_url, form, Some(&self.client))
    }

    /// Reads the answer to the refresh request.
    pub fn read_refresh(
        status: StatusCode,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        let remedy = |_: &Refusal| {
            "sign in again with `gcloud auth application-default login --login-config=FILE`"
                .to_owned()
        };
        read_token("Google's token endpoint", status, body, clock, remedy)
    }

    pub(super) fn principal(&self) -> String {
        self.principal.clone()
    }

    pub(super) fn refresh_token(&self) -> &str {
        self.refresh_token.expose_secret()
    }

    pub(super) fn rotate(&mut self, refresh_token: SecretString) {
        self.refresh_token = refresh_token;
    }
}

/// The file names no account, so the refresh token stands for it.
fn principal(client: &OAuthClient, refresh_token: &SecretString) -> String {
    let digest = Sha256::digest(refresh_token.expose_secret());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {digest}", client.id)
}
