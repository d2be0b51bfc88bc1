//! Where a credential is: a setting, a file, or whatever Google's own libraries find.

use secrecy::ExposeSecret;

use super::login::AccountLogin;
use crate::error::{CredentialKind, Error};
use crate::google::credentials::adc::{DEFAULT_UNIVERSE, GoogleCredential, GoogleCredentialError};
use crate::google::credentials::{CredentialError, Login};
use crate::platform::{CredentialFile, Platform};
use crate::settings::{CodeAssistSettings, CredentialsJson, GoogleCredentials, Settings};

/// Where the credential of an account is.
#[derive(Debug, Clone)]
pub(crate) enum CredentialPlace {
    /// That of the Gemini CLI.
    GeminiCli(CodeAssistSettings),
    /// One of Google Cloud.
    Google(GoogleCredentials),
}

/// Why there is no credential.
#[derive(Debug)]
pub(super) enum Missing {
    /// A later look may find it: the file may be half-written.
    ForNow(Error),
    /// None is there until the operator does something.
    UntilChanged(Error),
}

impl CredentialPlace {
    pub(super) fn kind(&self) -> CredentialKind {
        match self {
            Self::GeminiCli(CodeAssistSettings { key: Some(_), .. }) => CredentialKind::KeysOwn,
            Self::GeminiCli(_) => CredentialKind::GeminiCli,
            Self::Google(_) => CredentialKind::GoogleCloud,
        }
    }

    /// The place, as a message names it.
    pub(super) fn name(&self, settings: &Settings) -> String {
        match self {
            Self::Google(GoogleCredentials::Json(json)) => json.name.to_owned(),
            _ => self.file(settings).unwrap_or_else(|| "the credential".to_owned()),
        }
    }

    /// The file that holds the credential, if one may.
    pub(super) fn file(&self, settings: &Settings) -> Option<String> {
        match self {
            Self::GeminiCli(place) => {
                let has_other = place.access_token.is_some() || place.credentials_json.is_some();
                place.credentials_file.clone().filter(|_| !has_other)
            }
            Self::Google(GoogleCredentials::Json(_)) => None,
            Self::Google(GoogleCredentials::File(path)) => Some(path.clone()),
            Self::Google(GoogleCredentials::Search) => settings.adc_file.clone(),
        }
    }

    /// Reads the content of that file.
    pub(super) fn parse<P: Platform>(
        &self,
        platform: &P,
        content: &[u8],
    ) -> Result<AccountLogin, UnusableCredential> {
        match self {
            Self::GeminiCli(_) => Ok(AccountLogin::GeminiCli(Box::new(Login::parse(content)?))),
            Self::Google(_) => {
                let universe = platform.variable("GOOGLE_CLOUD_UNIVERSE_DOMAIN");
                let universe = universe.as_deref().unwrap_or(DEFAULT_UNIVERSE);
                Ok(AccountLogin::Google(GoogleCredential::parse(content, universe)?.into()))
            }
        }
    }

    /// Returns the credential that is in no file, or says why there is none.
    pub(super) async fn without_file<P: Platform>(
        &self,
        platform: &P,
        settings: &Settings,
    ) -> Result<AccountLogin, Missing> {
        let json = match self {
            Self::GeminiCli(CodeAssistSettings { access_token: Some(token), .. }) => {
                return Ok(AccountLogin::GeminiCli(Box::new(Login::from_access_token(token))));
            }
            Self::GeminiCli(place) => place.credentials_json.as_ref(),
            Self::Google(GoogleCredentials::Json(json)) => Some(json),
            Self::Google(_) => None,
        };
        if let Some(CredentialsJson { name, text }) = json {
            return self
                .parse(platform, text.expose_secret().as_bytes())
                .map_err(|why| Missing::UntilChanged(why.at(name, self.kind())));
        }
        match (self, self.file(settings)) {
            (Self::GeminiCli(_), None) => Err(no_place()),
            (Self::GeminiCli(_) | Self::Google(GoogleCredentials::File(_)), Some(path)) => {
                let file = platform.credential_file(&path, None).await;
                Err(self.missing(platform, file, &path))
            }
            (Self::Google(_), path) => self.search(platform, settings, path).await,
        }
    }

    /// The rest of the search that Google's libraries make.
    async fn search<P: Platform>(
        &self,
        platform: &P,
        settings: &Settings,
        gclouds: Option<String>,
    ) -> Result<AccountLogin, Missing> {
        let mut looked_for = "a home folder with gcloud's file".to_owned();
        if let Some(path) = gclouds {
            match platform.credential_file(&path, None).await {
                CredentialFile::Absent { path, .. } => looked_for = path,
                CredentialFile::Unsupported => return Err(no_google_credential("")),
                other => return Err(self.missing(platform, other, &path)),
            }
        }
        if settings.metadata_host.is_none() {
            let why = format!(": there is no {looked_for}, and NO_GCE_CHECK is set");
            return Err(no_google_credential(&why));
        }
        let server = GoogleCredential::of_metadata_server(settings.metadata_host.as_deref());
        Ok(AccountLogin::Google(server.into()))
    }

    /// Says why there is no credential. `path` is where the file was read.
    fn missing<P: Platform>(&self, platform: &P, file: CredentialFile, path: &str) -> Missing {
        let kind = self.kind();
        let missing = |why: String| Missing::UntilChanged(Error::CredentialsMissing { why, kind });
        match file {
            CredentialFile::Absent { path, encrypted_store: true }
                if matches!(self, Self::GeminiCli(_)) =>
            {
                missing(format!(
                    "{path} does not exist, but the Gemini CLI's encrypted credential store lies next \
                     to it, which only the CLI can read: unset GEMINI_FORCE_ENCRYPTED_FILE_STORAGE \
                     and sign in again with `gemini`"
                ))
            }
            CredentialFile::Absent { path, .. } => missing(format!("{path} does not exist")),
            CredentialFile::Unreadable(why) => {
                missing(format!("the credential file cannot be read: {why}"))
            }
            CredentialFile::Unsupported => match self {
                Self::GeminiCli(CodeAssistSettings { key: Some(_), .. }) => missing(
                    "a Worker has no files: `credentials` of the key has to be the JSON itself"
                        .to_owned(),
                ),
                Self::GeminiCli(_) => missing("GCP_SERVICE_ACCOUNT is not set".to_owned()),
                Self::Google(_) => no_google_credential(": a Worker has no files"),
            },
            CredentialFile::Unchanged => {
                missing("the credential file could not be read".to_owned())
            }
            CredentialFile::Read { content, .. } => match self.parse(platform, &content) {
                Err(why) if why.may_be_half_written() => Missing::ForNow(why.at(path, kind)),
                Err(why) => Missing::UntilChanged(why.at(path, kind)),
                Ok(_) => Missing::ForNow(changed_meanwhile(kind)),
            },
        }
    }
}

/// Why a credential that is there cannot be used. The text follows the name of the credential's place.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableCredential {
    #[error(transparent)]
    GeminiCli(#[from] CredentialError),
    #[error(transparent)]
    Google(#[from] GoogleCredentialError),
}

impl UnusableCredential {
    fn may_be_half_written(&self) -> bool {
        matches!(
            self,
            Self::GeminiCli(CredentialError::NotJson(_))
                | Self::Google(GoogleCredentialError::NotJson(_))
        )
    }

    /// `place` is a variable or a path.
    fn at(&self, place: &str, kind: CredentialKind) -> Error {
        Error::CredentialsUnreadable { why: format!("{place} {self}"), kind }
    }
}

pub(super) fn changed_meanwhile(kind: CredentialKind) -> Error {
    let why = "the credential file appeared a moment ago".to_owned();
    Error::CredentialsMissing { why, kind }
}

/// The error of an account of Code Assist without any configured place for its credential.
fn no_place() -> Missing {
    let why =
        "GCP_SERVICE_ACCOUNT is not set, and without a home folder there is no place to look for \
               the Gemini CLI's oauth_creds.json"
            .to_owned();
    let kind = CredentialKind::GeminiCli;
    Missing::UntilChanged(Error::CredentialsMissing { why, kind })
}

fn no_google_credential(why: &str) -> Missing {
    let why = format!(
        "there is no credential for Vertex AI{why}; set VERTEX_CREDENTIALS to the JSON of a service \
         account or its path, or sign in with `gcloud auth application-default login`"
    );
    let kind = CredentialKind::GoogleCloud;
    Missing::UntilChanged(Error::CredentialsMissing { why, kind })
}
