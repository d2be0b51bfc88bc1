//! Google's Application Default Credentials: which file kinds there are, and how each gets an access
//! token (`docs/reference/upstreams.md` 2).
//!
//! A credential has a source, which gives a first token, and any number of impersonations, each of which
//! gives the next token for the one before it. All of it is pure: requests are built here and answers
//! are read here, and `upstream/credentials/` sends them.

mod answer;
mod aws;
mod error;
mod external;
mod file;
mod form;
mod impersonation;
mod metadata;
mod service_account;
#[cfg(test)]
mod tests;
mod url;
mod user;

use sha2::{Digest, Sha256};

pub use aws::{AwsKeys, AwsSource};
pub use error::GoogleCredentialError;
pub use external::{ExternalAccount, SubjectFormat, SubjectSource};
pub use impersonation::Impersonation;
pub use metadata::{MetadataServer, read_project};
pub use service_account::{ServiceAccount, UnsignedJwt};
pub use user::{AuthorizedUser, ExternalUser};

/// A credential that gives access tokens for Google Cloud.
#[derive(Debug, Clone)]
pub struct GoogleCredential {
    /// What gives the first token.
    pub source: TokenSource,
    /// The service accounts that are impersonated, one after the other.
    pub impersonations: Vec<Impersonation>,
    project_id: Option<String>,
    quota_project_id: Option<String>,
}

/// What gives the first token of a credential.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// `authorized_user`: a login with gcloud.
    AuthorizedUser(AuthorizedUser),
    /// `external_account`: another identity provider's token.
    ExternalAccount(Box<ExternalAccount>),
    /// `external_account_authorized_user`: a login with gcloud at another identity provider.
    ExternalUser(ExternalUser),
    /// The metadata server of a machine at Google.
    MetadataServer(MetadataServer),
    /// `service_account`: a private key.
    ServiceAccount(ServiceAccount),
}

impl GoogleCredential {
    /// The service account that is attached to the machine. `host` is `GCE_METADATA_HOST`.
    pub fn of_metadata_server(host: Option<&str>) -> Self {
        Self {
            source: TokenSource::MetadataServer(MetadataServer::new(host)),
            impersonations: Vec::new(),
            project_id: None,
            quota_project_id: None,
        }
    }

    /// The `type` of the credential.
    pub fn kind(&self) -> &'static str {
        match &self.source {
            TokenSource::AuthorizedUser(_) => "authorized_user",
            TokenSource::ExternalAccount(_) => "external_account",
            TokenSource::ExternalUser(_) => "external_account_authorized_user",
            TokenSource::MetadataServer(_) => "metadata server",
            TokenSource::ServiceAccount(_) => "service_account",
        }
    }

    /// The project that the file names.
    pub fn project_id(&self) -> Option<&str> {
        self.project_id.as_deref()
    }

    /// The project that the file wants to be charged, for `x-goog-user-project`.
    pub fn quota_project_id(&self) -> Option<&str> {
        self.quota_project_id.as_deref()
    }

    /// The account that signs its own access tokens: no other process and no server is asked.
    pub fn self_signing(&self) -> Option<&ServiceAccount> {
        match &self.source {
            TokenSource::ServiceAccount(account) if self.impersonations.is_empty() => Some(account),
            _ => None,
        }
    }

    /// A short digest of kind, principal and scope, which reveals nothing of them. Tokens of credentials
    /// with the same fingerprint may be used for each other. A service account's does not change with
    /// its key.
    pub fn fingerprint(&self) -> String {
        let principal = match &self.source {
            TokenSource::AuthorizedUser(user) => user.principal(),
            TokenSource::ExternalAccount(account) => account.principal(),
            TokenSource::ExternalUser(user) => user.principal(),
            TokenSource::MetadataServer(server) => server.host().to_owned(),
            TokenSource::ServiceAccount(account) => account.email.clone(),
        };
        let mut hasher = Sha256::new();
        for part in [self.kind(), &principal, CLOUD_PLATFORM] {
            hasher.update(part);
            hasher.update([0]);
        }
        for impersonation in &self.impersonations {
            hasher.update(impersonation.principal());
            hasher.update([0]);
        }
        hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// True if neither has a refresh token or both have the same one.
    pub fn has_same_refresh_token(&self, other: &Self) -> bool {
        let token = |it: &Self| match &it.source {
            TokenSource::AuthorizedUser(user) => Some(user.refresh_token().to_owned()),
            TokenSource::ExternalUser(user) => Some(user.refresh_token().to_owned()),
            TokenSource::ExternalAccount(_)
            | TokenSource::MetadataServer(_)
            | TokenSource::ServiceAccount(_) => None,
        };
        token(self) == token(other)
    }

    /// Replaces the refresh token by the one that was issued in its place.
    #[must_use]
    pub fn rotated(mut self, refresh_token: secrecy::SecretString) -> Self {
        match &mut self.source {
            TokenSource::AuthorizedUser(user) => user.rotate(refresh_token),
            TokenSource::ExternalUser(user) => user.rotate(refresh_token),
            TokenSource::ExternalAccount(_)
            | TokenSource::MetadataServer(_)
            | TokenSource::ServiceAccount(_) => {}
        }
        self
    }
}

/// Says why the text of a credential cannot be used for Vertex AI, as the second half of a sentence. `None`
/// if it can.
pub fn google_credential_problem(text: &[u8]) -> Option<String> {
    GoogleCredential::parse(text, DEFAULT_UNIVERSE).err().map(|why| why.to_string())
}

/// The scope of every access token.
pub const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The domain of Google's public APIs.
pub const DEFAULT_UNIVERSE: &str = "googleapis.com";
