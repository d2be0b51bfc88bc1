//! The two requests to Google's OAuth servers: refresh and tokeninfo.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, response};

use super::login::AccountLogin;
use super::source::Credential;
use super::{Credentials, ROTATED_KEY, TOKEN_KEY, TokenOutcome};
use crate::error::{Awaited, Error};
use crate::google::credentials::{
    self, AccessToken, Login, OAuthClient, RefreshError, RefreshedToken, StoredToken, TokenInfo,
};
use crate::google::error::retry_after;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::lock::FencingToken;
use crate::policy::token::pause_before_next_try;
use crate::sync::lock;
use crate::upstream::io::{read_whole, send_within};
use crate::wait::within;

impl Credentials {
    /// Refreshes the access token. `spent` of the time for further tries is over already.
    pub(super) async fn refresh<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
        token: Option<FencingToken>,
        spent: Duration,
    ) -> Result<AccessToken, TokenOutcome> {
        let mut refreshed = self.try_for_token(platform, &credential.login, spent).await;
        if let Err(FailedTry { error: RefreshError::Rejected(_), .. }) = &refreshed
            && let Some(login) = self.rotated_elsewhere(platform, credential).await
        {
            refreshed = self.try_for_token(platform, &login, spent).await;
        }
        if refreshed.is_err() {
            self.account.count_refresh(&self.metrics, false);
        }
        match refreshed {
            Ok(refreshed) => self.keep(platform, refreshed, credential, token).await,
            Err(FailedTry { error: RefreshError::Transient(why), delay, .. }) => {
                let error = Error::TokenUnavailable { why, after: Duration::ZERO };
                Err(match delay {
                    None => TokenOutcome::Failed(error),
                    Some(delay) => TokenOutcome::Deferred(error, delay),
                })
            }
            Err(FailedTry { error: RefreshError::Rejected(why), .. }) => {
                // The CLI may have signed in again a moment ago (`docs/reference/protocol.md` 1.8),
                // in which case this rejection does not apply to the new credentials.
                self.read_file(platform).await;
                let kind = self.place.kind();
                Err(TokenOutcome::Rejected(Error::CredentialsRejected {
                    why,
                    kind,
                    details: Bytes::new(),
                }))
            }
        }
    }

    /// Adopts the refresh token that another process has received meanwhile, if the store has one that
    /// has not been tried, and returns the login with it.
    async fn rotated_elsewhere<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
    ) -> Option<AccountLogin> {
        let fingerprint = &credential.version.fingerprint;
        let rotated = self.stored_rotation(platform, fingerprint).await?;
        let login = credential.login.clone().rotated(rotated);
        if login.has_same_secret(&credential.login) {
            return None;
        }
        let mut source = lock(&self.source);
        if source.version.fingerprint == *fingerprint {
            source.login = Some(login.clone());
            // The refresh token in the store is newer; the one kept here has been revoked.
            source.rotated = None;
        }
        Some(login)
    }

    /// Asks tokeninfo whether a token is valid. Without an answer the result is `Unknown`.
    pub(super) async fn tokeninfo<P: Platform>(
        &self,
        platform: &P,
        token: &AccessToken,
    ) -> TokenInfo {
        let Some(request) = token.tokeninfo_request(&self.settings.tokeninfo_url) else {
            return TokenInfo::Unknown;
        };
        let Ok(response) = send_within(platform, request, TOKENINFO_TIMEOUT).await else {
            return TokenInfo::Unknown;
        };
        let status = response.status();
        let body = response.into_body();
        match read_whole(platform, body, OAUTH_LIMIT, TOKENINFO_TIMEOUT).await {
            Ok(text) => credentials::read_tokeninfo(status, &text),
            Err(_) => TokenInfo::Unknown,
        }
    }

    /// Asks for a token until there is one, or until no further try may help in time.
    async fn try_for_token<P: Platform>(
        &self,
        platform: &P,
        login: &AccountLogin,
        spent: Duration,
    ) -> Result<RefreshedToken, FailedTry> {
        let began = platform.now();
        let mut tries = 0;
        loop {
            let asked = match login {
                AccountLogin::GeminiCli(login) => self.ask_for_token(platform, login).await,
                // Boxed, since its many requests make a large future.
                AccountLogin::Google(google) => Box::pin(self.google_token(platform, google)).await,
            };
            let failed = match asked {
                Ok(refreshed) => return Ok(refreshed),
                Err(failed) => failed,
            };
            tries += 1;
            let RefreshError::Transient(why) = &failed.error else { return Err(failed) };
            let elapsed = spent.saturating_add(platform.now().since(began));
            let random = platform.random();
            let pause = pause_before_next_try(tries, elapsed, failed.delay, random);
            let Some(pause) = pause.filter(|_| !failed.shutting_down) else { return Err(failed) };
            tracing::info!("no access token yet, the next try follows in {pause:?}: {why}");
            platform.timer(pause).await;
        }
    }

    async fn ask_for_token<P: Platform>(
        &self,
        platform: &P,
        login: &Login,
    ) -> Result<RefreshedToken, FailedTry> {
        let client = self.oauth_client();
        let Some(request) = login.refresh_request(&self.settings.token_url, &client) else {
            let why = "OAUTH_TOKEN_URL is no valid URL".to_owned();
            return Err(RefreshError::Rejected(why).into());
        };
        // The lifetime counts from the moment of issue, which may be any time from now on.
        let clock = platform.wall_clock();
        let (head, text) = asked(platform, request, "the token endpoint", TOKEN_TIMEOUT).await?;
        credentials::read_refresh(head.status, &text, clock)
            .map_err(|error| FailedTry { delay: retry_after(&head.headers), ..error.into() })
    }

    fn oauth_client(&self) -> OAuthClient {
        let mut client = OAuthClient::gemini_cli();
        if let Some(id) = &self.settings.oauth_client_id {
            client.id.clone_from(id);
        }
        if let Some(secret) = &self.settings.oauth_client_secret {
            client.secret = secret.clone();
        }
        client
    }

    /// Keeps a refreshed token in memory and store, unless the account has changed meanwhile.
    async fn keep<P: Platform>(
        &self,
        platform: &P,
        refreshed: RefreshedToken,
        credential: &Credential,
        fencing: Option<FencingToken>,
    ) -> Result<AccessToken, TokenOutcome> {
        self.account.count_refresh(&self.metrics, true);
        let RefreshedToken { token, refresh_token } = refreshed;
        let version = &credential.version;
        let fingerprint = &version.fingerprint;
        let refresh_count = {
            let mut source = lock(&self.source);
            if source.version.fingerprint != *fingerprint {
                return Err(TokenOutcome::Stale);
            }
            source.refreshes += 1;
            if let Some(rotated) = &refresh_token {
                source.login = source.login.take().map(|login| login.rotated(rotated.clone()));
                source.rotated = Some((fingerprint.clone(), rotated.clone()));
            }
            source.note_use(&token, version);
            source.refreshes
        };
        if self.self_signing(&credential.login).is_some() {
            // Each process signs its own.
            return Ok(token);
        }
        let clock = platform.wall_clock();
        if let Some(rotated) = &refresh_token {
            let text = credentials::rotated_to_stored(rotated, fingerprint);
            self.store(platform, ROTATED_KEY, text, ROTATED_TTL, fencing).await;
        }
        let left = token.expires_at.map_or(Duration::ZERO, |expiry| clock.until(expiry));
        let ttl = left.min(self.settings.token_cache_ttl);
        let stored = StoredToken {
            token: token.clone(),
            refresh_count,
            credential: Some(fingerprint.clone()),
        };
        self.store(platform, TOKEN_KEY, stored.to_stored(clock), ttl, fencing).await;
        Ok(token)
    }
}

/// Sends a request that a token depends on and reads the answer. `limit` is for head and body together.
pub(super) async fn asked<P: Platform>(
    platform: &P,
    request: Request<Payload>,
    whom: &str,
    limit: Duration,
) -> Result<(response::Parts, Bytes), FailedTry> {
    let unreachable = |error: Error| {
        let shutting_down = matches!(error, Error::ShuttingDown);
        let why = match error {
            Error::OutOfResources { why } | Error::UpstreamUnreachable { why } => why,
            Error::UpstreamTimeout { after, .. } => format!("silent for {after:?}"),
            other => other.label().to_owned(),
        };
        let why = format!("no answer from {whom}: {why}");
        FailedTry { error: RefreshError::Transient(why), delay: None, shutting_down }
    };
    let asked = pin!(async {
        let response = send_within(platform, request, limit).await?;
        let (head, body) = response.into_parts();
        let text = read_whole(platform, body, OAUTH_LIMIT, limit).await?;
        Ok((head, text))
    });
    let late = || Err(Error::UpstreamTimeout { awaited: Awaited::NextChunk, after: limit });
    let answered = within(platform, limit, asked).await;
    answered.unwrap_or_else(late).map_err(unreachable)
}

/// A try at the token endpoint that gave no token.
pub(super) struct FailedTry {
    pub(super) error: RefreshError,
    /// `Retry-After`.
    pub(super) delay: Option<Duration>,
    /// The shell sends nothing any more, so that no try can help.
    pub(super) shutting_down: bool,
}

impl From<RefreshError> for FailedTry {
    fn from(error: RefreshError) -> Self {
        Self { error, delay: None, shutting_down: false }
    }
}

/// Google revokes refresh tokens after six months without use.
const ROTATED_TTL: Duration = Duration::from_secs(180 * 24 * 3600);

pub(super) const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
const TOKENINFO_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes read of an OAuth answer, more than any has.
const OAUTH_LIMIT: usize = 1 << 18;
