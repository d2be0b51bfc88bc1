//! Tokens of Google Cloud's credentials: what each kind asks for and in which order
//! (`docs/reference/upstreams.md` 2.3).

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, response};
use secrecy::SecretString;

use super::Credentials;
use super::login::AccountLogin;
use super::refresh::{FailedTry, TOKEN_TIMEOUT, asked};
use crate::error::Error;
use crate::google::credentials::adc::{
    AuthorizedUser, AwsKeys, AwsSource, ExternalAccount, ExternalUser, GoogleCredential,
    Impersonation, MetadataServer, ServiceAccount, SubjectSource, TokenSource, UnsignedJwt,
    read_project,
};
use crate::google::credentials::{AccessToken, RefreshError, RefreshedToken};
use crate::google::error::{UpstreamError, retry_after};
use crate::payload::Payload;
use crate::platform::{CredentialFile, Platform};
use crate::signing::SignError;
use crate::sync::lock;

impl Credentials {
    /// The account that signs its own tokens, which are neither asked for nor shared.
    pub(super) fn self_signing<'a>(&self, login: &'a AccountLogin) -> Option<&'a ServiceAccount> {
        match login {
            AccountLogin::Google(google) if !self.exchanges.load(Relaxed) => google.self_signing(),
            _ => None,
        }
    }

    /// Records why upstream refused a token. A token that a service account has signed itself may be of
    /// a kind that upstream does not take.
    pub(in crate::upstream) fn note_refusal(&self, error: &Error) {
        if let Error::Upstream(error) = error
            && is_unsupported(error)
            && let Some(AccountLogin::Google(_)) = &lock(&self.source).login
        {
            self.exchange_from_now_on();
        }
    }

    /// The credential of Google Cloud that was read last.
    pub(crate) fn google_credential(&self) -> Option<std::sync::Arc<GoogleCredential>> {
        match &lock(&self.source).login {
            Some(AccountLogin::Google(google)) => Some(std::sync::Arc::clone(google)),
            _ => None,
        }
    }

    /// The project that the credential belongs to: its file names it, or the metadata server does.
    pub(crate) async fn google_project<P: Platform>(&self, platform: &P) -> Option<String> {
        let AccountLogin::Google(google) = self.credential(platform).await.ok()?.login else {
            return None;
        };
        if let Some(project) = google.project_id() {
            return Some(project.to_owned());
        }
        let TokenSource::MetadataServer(server) = &google.source else { return None };
        let request = server.project_request()?;
        let asked = asked(platform, request, METADATA, METADATA_TIMEOUT).await;
        let (head, body) = asked.ok()?;
        read_project(head.status, &head.headers, &body)
    }

    /// Gets an access token for the credential. The text of a refusal names the credential's place.
    pub(super) async fn google_token<P: Platform>(
        &self,
        platform: &P,
        google: &GoogleCredential,
    ) -> Result<RefreshedToken, FailedTry> {
        let asked = self.token_of_last_principal(platform, google).await;
        asked.map_err(|mut failed| {
            let is_in_file = !matches!(google.source, TokenSource::MetadataServer(_));
            if let RefreshError::Rejected(why) = &mut failed.error
                && is_in_file
            {
                let place = self.place.name(&self.settings);
                *why = format!("{place} ({}): {why}", google.kind());
            }
            failed
        })
    }

    async fn token_of_last_principal<P: Platform>(
        &self,
        platform: &P,
        google: &GoogleCredential,
    ) -> Result<RefreshedToken, FailedTry> {
        let mut issued = self.source_token(platform, &google.source).await?;
        for impersonation in &google.impersonations {
            let rotated = issued.refresh_token.take();
            issued = match impersonate(platform, impersonation, &issued.token).await? {
                Some(issued) => issued,
                None => {
                    self.exchange_from_now_on();
                    let source = self.source_token(platform, &google.source).await?;
                    let issued = impersonate(platform, impersonation, &source.token).await?;
                    issued.ok_or_else(|| {
                        let why = "Google's IAM Credentials API does not take the source's token";
                        FailedTry::from(RefreshError::Rejected(why.to_owned()))
                    })?
                }
            };
            issued.refresh_token = issued.refresh_token.or(rotated);
        }
        Ok(issued)
    }

    async fn source_token<P: Platform>(
        &self,
        platform: &P,
        source: &TokenSource,
    ) -> Result<RefreshedToken, FailedTry> {
        let clock = platform.wall_clock();
        match source {
            TokenSource::AuthorizedUser(user) => {
                let request = user.refresh_request(&self.settings.token_url);
                let (head, body) = ask(platform, request, "the token endpoint").await?;
                read(&head, AuthorizedUser::read_refresh(head.status, &body, clock))
            }
            TokenSource::ExternalUser(user) => {
                let (head, body) =
                    ask(platform, user.refresh_request(), "the token endpoint").await?;
                read(&head, ExternalUser::read_refresh(head.status, &body, clock))
            }
            TokenSource::ServiceAccount(account) => self.account_token(platform, account).await,
            TokenSource::MetadataServer(server) => metadata_token(platform, server).await,
            TokenSource::ExternalAccount(account) => {
                let subject = subject_token(platform, account).await?;
                let request = account.exchange_request(&subject);
                let clock = platform.wall_clock();
                let whom = "Google's Security Token Service";
                let (head, body) = ask(platform, request, whom).await?;
                read(&head, account.read_exchange(head.status, &body, clock))
            }
        }
    }

    async fn account_token<P: Platform>(
        &self,
        platform: &P,
        account: &ServiceAccount,
    ) -> Result<RefreshedToken, FailedTry> {
        let clock = platform.wall_clock();
        if !self.exchanges.load(Relaxed) {
            let token = sign(platform, account, account.self_signed(clock)).await?;
            return Ok(RefreshedToken { token, refresh_token: None });
        }
        let assertion = sign(platform, account, account.assertion(clock)).await?;
        let token_url = self.settings.own_token_url();
        let request = account.exchange_request(token_url, &assertion);
        let (head, body) = ask(platform, request, "the token endpoint").await?;
        read(&head, account.read_exchange(head.status, &body, clock))
    }

    fn exchange_from_now_on(&self) {
        if !self.exchanges.swap(true, Relaxed) {
            tracing::info!(
                "Google takes no token that the service account has signed itself; from now on each is \
                 exchanged for an access token"
            );
        }
    }
}

async fn sign<P: Platform>(
    platform: &P,
    account: &ServiceAccount,
    token: UnsignedJwt,
) -> Result<AccessToken, FailedTry> {
    let rejected = |why: String| FailedTry::from(RefreshError::Rejected(why));
    match platform.sign_rs256(&account.key, token.message()).await {
        Ok(signature) => Ok(token.signed(&signature)),
        Err(SignError::InvalidKey(why)) => {
            Err(rejected(format!("the private_key of {} cannot sign: {why}", account.email)))
        }
        Err(error @ SignError::Unsupported) => Err(rejected(error.to_string())),
        Err(SignError::Failed(why)) => {
            let why = format!("no signature with the private_key of {}: {why}", account.email);
            Err(RefreshError::Transient(why).into())
        }
    }
}

/// Gets the token of the service account that is impersonated. `None` if the source's token is one that
/// its account has signed itself and that has to be exchanged first.
async fn impersonate<P: Platform>(
    platform: &P,
    impersonation: &Impersonation,
    source: &AccessToken,
) -> Result<Option<RefreshedToken>, FailedTry> {
    let clock = platform.wall_clock();
    let request = impersonation.request(source);
    let (head, body) = ask(platform, request, "Google's IAM Credentials API").await?;
    if Impersonation::wants_exchange(head.status, &body) {
        return Ok(None);
    }
    read(&head, impersonation.read(head.status, &body, clock)).map(Some)
}

async fn metadata_token<P: Platform>(
    platform: &P,
    server: &MetadataServer,
) -> Result<RefreshedToken, FailedTry> {
    let clock = platform.wall_clock();
    let Some(request) = server.token_request() else {
        return Err(RefreshError::Rejected("GCE_METADATA_HOST is no host".to_owned()).into());
    };
    let answered = asked(platform, request, METADATA, METADATA_TIMEOUT).await;
    let (head, body) = answered.map_err(|mut failed| {
        if let RefreshError::Transient(why) = &mut failed.error {
            why.push_str(
                "; outside Google Cloud, set VERTEX_CREDENTIALS to the JSON of a service account or \
                 its path, or sign in with `gcloud auth application-default login`",
            );
        }
        failed
    })?;
    read(&head, server.read_token(head.status, &head.headers, &body, clock))
}

async fn subject_token<P: Platform>(
    platform: &P,
    account: &ExternalAccount,
) -> Result<SecretString, FailedTry> {
    match &account.subject {
        SubjectSource::File { path, format } => {
            let why = match platform.credential_file(path, None).await {
                CredentialFile::Read { content, .. } => {
                    return Ok(format.read(&content, path)?);
                }
                CredentialFile::Absent { path, .. } => {
                    format!("credential_source.file: {path} does not exist")
                }
                CredentialFile::Unreadable(why) => {
                    format!("credential_source.file cannot be read: {why}")
                }
                CredentialFile::Unchanged => "credential_source.file: no content".to_owned(),
                CredentialFile::Unsupported => {
                    let why =
                        "credential_source.file: a Worker has no files; use a source with url";
                    return Err(RefreshError::Rejected(why.to_owned()).into());
                }
            };
            // Kubernetes replaces the file.
            Err(RefreshError::Transient(why).into())
        }
        SubjectSource::Url { .. } => {
            let request = account.subject.url_request();
            let (head, body) = ask(platform, request, "credential_source.url").await?;
            read(&head, account.subject.read_url(head.status, &body))
        }
        SubjectSource::Aws(aws) => aws_token(platform, aws, account.audience()).await,
    }
}

async fn aws_token<P: Platform>(
    platform: &P,
    aws: &AwsSource,
    audience: &str,
) -> Result<SecretString, FailedTry> {
    let region =
        platform.variable("AWS_REGION").or_else(|| platform.variable("AWS_DEFAULT_REGION"));
    let keys = keys_of_environment(platform);
    let session = match (aws.session_request(), &region, &keys) {
        (None, ..) | (Some(_), Some(_), Some(_)) => None,
        (Some(request), ..) => {
            let (head, body) = ask_aws(platform, Some(request)).await?;
            Some(SecretString::from(AwsSource::read_line(head.status, &body, "session token")?))
        }
    };
    let region = match region {
        Some(region) => region,
        None => {
            let (head, body) = ask_aws(platform, aws.region_request(session.as_ref())).await?;
            let zone = AwsSource::read_line(head.status, &body, "region")?;
            AwsSource::region_of_zone(&zone).to_owned()
        }
    };
    let keys = match keys {
        Some(keys) => keys,
        None => {
            let (head, body) = ask_aws(platform, aws.role_request(session.as_ref())).await?;
            let role = AwsSource::read_line(head.status, &body, "role")?;
            let request = aws.keys_request(&role, session.as_ref());
            let (head, body) = ask_aws(platform, request).await?;
            AwsSource::read_keys(head.status, &body)?
        }
    };
    Ok(aws.subject_token(&region, &keys, audience, platform.wall_clock())?)
}

fn keys_of_environment<P: Platform>(platform: &P) -> Option<AwsKeys> {
    Some(AwsKeys {
        access_key_id: platform.variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: platform.variable("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: platform.variable("AWS_SESSION_TOKEN").map(SecretString::from),
    })
}

/// Asks AWS' metadata server. Without a request there is nothing to ask.
async fn ask_aws<P: Platform>(
    platform: &P,
    request: Option<Request<Payload>>,
) -> Result<(response::Parts, Bytes), FailedTry> {
    let Some(request) = request else {
        let why = "credential_source has no usable region_url and url, and AWS_REGION, \
                   AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not all set";
        return Err(RefreshError::Rejected(why.to_owned()).into());
    };
    asked(platform, request, "AWS' metadata server", METADATA_TIMEOUT).await
}

async fn ask<P: Platform>(
    platform: &P,
    request: Option<Request<Payload>>,
    whom: &str,
) -> Result<(response::Parts, Bytes), FailedTry> {
    let Some(request) = request else {
        let why = format!("no request to {whom} can be made: its URL or a header is not valid");
        return Err(RefreshError::Rejected(why).into());
    };
    asked(platform, request, whom, TOKEN_TIMEOUT).await
}

/// Adds the delay that the answer states.
fn read<T>(head: &response::Parts, result: Result<T, RefreshError>) -> Result<T, FailedTry> {
    result.map_err(|error| FailedTry { delay: retry_after(&head.headers), ..error.into() })
}

/// Upstream wants an access token and no signed one.
fn is_unsupported(error: &UpstreamError) -> bool {
    error.reasons.iter().any(|reason| reason == "ACCESS_TOKEN_TYPE_UNSUPPORTED")
}

const METADATA: &str = "the metadata server";

/// For the metadata servers of Google and AWS, which are next to the machine.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
