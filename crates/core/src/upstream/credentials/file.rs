//! Reading the credentials from the setting or file that holds them, and the errors when there are
//! none.

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::source::Credential;
use super::{Credentials, TokenOutcome};
use crate::error::Error;
use crate::google::credentials::{CredentialError, Login};
use crate::platform::{CredentialFile, Platform};
use crate::settings::CredentialsJson;
use crate::sync::lock;

impl Credentials {
    /// Returns the credential in use, and reads it first if necessary.
    pub(super) async fn credential<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<Credential, TokenOutcome> {
        self.read_file(platform).await;
        if let Some(credential) = lock(&self.source).credential() {
            return Ok(credential);
        }
        let login = match (&self.place.access_token, &self.place.credentials_json) {
            (Some(token), _) => Login::from_access_token(token),
            (None, Some(CredentialsJson { name, text })) => {
                Login::parse(text.expose_secret().as_bytes())
                    .map_err(|why| TokenOutcome::Rejected(unusable(name, &why)))?
            }
            (None, None) => {
                return Err(match &self.place.credentials_file {
                    Some(path) => missing(platform.credential_file(path, None).await, path),
                    None => no_place(),
                });
            }
        };
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;
        let mut source = lock(&self.source);
        if source.login.is_none() {
            source.adopt(login, rotated);
        }
        source.credential().ok_or(TokenOutcome::Stale)
    }

    /// Reads the credential file if it is the source and has changed.
    pub(super) async fn read_file<P: Platform>(&self, platform: &P) {
        if self.place.access_token.is_some() || self.place.credentials_json.is_some() {
            return;
        }
        let Some(path) = &self.place.credentials_file else { return };
        let seen = lock(&self.source).stamp;
        let CredentialFile::Read { stamp, content } = platform.credential_file(path, seen).await
        else {
            return;
        };
        // The stamp of a half-written file is not kept, so that the file is read again next time.
        let Ok(login) = Login::parse(&content) else { return };
        let content = Sha256::digest(&content).into();
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;

        // Locked until the end, so that no request sees the new account with the old one's token or
        // project.
        let mut source = lock(&self.source);
        if source.stamp != seen {
            // Another task has read the file at the same time.
            return;
        }
        source.stamp = Some(stamp);
        let in_trouble = lock(&self.tokens).trouble().is_some();
        let (mut other_account, mut newer) = (false, false);
        if source.content != Some(content) {
            let known = source.login.is_some();
            other_account = known && source.version.fingerprint != login.fingerprint();
            newer = known && login.token().is_some_and(|token| source.is_new(&token));
            source.content = Some(content);
            source.adopt(login, rotated);
        }
        if other_account {
            tracing::info!("the credential file now holds another login");
            lock(&self.tokens).clear();
            self.account.clear();
        } else if in_trouble || newer {
            lock(&self.tokens).retry_now(platform.wall_clock(), platform.now());
            self.account.retry_now();
        }
    }
}

pub(super) fn changed_meanwhile() -> Error {
    Error::CredentialsMissing { why: "the credential file appeared a moment ago".to_owned() }
}

/// The error for a credential that is there and cannot be used. `place` is a variable or a path.
fn unusable(place: &str, why: &CredentialError) -> Error {
    Error::CredentialsUnreadable { why: format!("{place} {why}") }
}

/// Returns the error of a shell without a home folder, for which no credential is set.
fn no_place() -> TokenOutcome {
    let why =
        "GCP_SERVICE_ACCOUNT is not set, and without a home folder there is no place to look for \
               the Gemini CLI's oauth_creds.json"
            .to_owned();
    TokenOutcome::Rejected(Error::CredentialsMissing { why })
}

/// Returns the error for having no credential at all. `path` is where the file was read.
fn missing(file: CredentialFile, path: &str) -> TokenOutcome {
    let missing = |why: String| TokenOutcome::Rejected(Error::CredentialsMissing { why });
    let unusable = |why| unusable(path, why);
    match file {
        CredentialFile::Absent { path, encrypted_store: true } => missing(format!(
            "{path} does not exist, but the Gemini CLI's encrypted credential store lies next to \
             it, which only the CLI can read: unset GEMINI_FORCE_ENCRYPTED_FILE_STORAGE and sign in \
             again with `gemini`"
        )),
        CredentialFile::Absent { path, encrypted_store: false } => {
            missing(format!("{path} does not exist"))
        }
        CredentialFile::Unreadable(why) => {
            missing(format!("the credential file cannot be read: {why}"))
        }
        CredentialFile::Unsupported => missing("GCP_SERVICE_ACCOUNT is not set".to_owned()),
        CredentialFile::Unchanged => missing("the credential file could not be read".to_owned()),
        CredentialFile::Read { content, .. } => match Login::parse(&content) {
            // The file may be half-written.
            Err(why @ CredentialError::NotJson(_)) => TokenOutcome::Failed(unusable(&why)),
            Err(why) => TokenOutcome::Rejected(unusable(&why)),
            Ok(_) => TokenOutcome::Failed(changed_meanwhile()),
        },
    }
}
