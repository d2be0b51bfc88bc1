//! Access tokens in a request's life, and how the next one is got (`spec.md` 8).

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::turn::{Queue, Turn};
use super::{BackgroundJob, Proxy, attempt, lock};
use crate::error::{Awaited, Error};
use crate::google::credentials::{
    self, AccessToken, CredentialError, Login, OAuthClient, RefreshError, RefreshedToken,
    StoredToken, TokenInfo,
};
use crate::metrics::Ledger;
use crate::platform::{CredentialFile, Platform};
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;
use crate::policy::token::{Bearer, Outcome, Verdict};
use crate::time::Timestamp;

/// Where access tokens come from: the credential in use, and what was last made of it.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The version of the file that was read.
    stamp: Option<u64>,
    /// What was in it, by digest: a file that was only touched is no news.
    content: Option<[u8; 32]>,
    login: Option<Login>,
    version: Version,
    /// The refresh token that Google has put in the place of this credential's own. The store may
    /// have failed to keep it.
    rotated: Option<(String, SecretString)>,
    /// When the access token that was last put to use expires.
    newest: Option<Timestamp>,
    /// The credential's own access token, by digest, once it has been tried.
    spent: Option<[u8; 32]>,
    refreshes: u64,
}

/// Tells credentials apart over time: work that began with one version may end under another.
#[derive(Debug, Clone, Default)]
pub(super) struct Version {
    /// Counts the changes of the credential.
    epoch: u64,
    /// [`Login::fingerprint`] of the credential as it was given to us, before any rotation.
    pub(super) marker: String,
}

/// The credential in use, as it was when somebody began to work with it.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) login: Login,
    pub(super) version: Version,
}

impl Source {
    fn credential(&self) -> Option<Credential> {
        let login = self.login.clone()?;
        Some(Credential { login, version: self.version.clone() })
    }

    /// Puts a credential to use, with the refresh token that has taken its own one's place.
    fn adopt(&mut self, login: Login, stored: Option<SecretString>) {
        let marker = login.fingerprint();
        if self.version.marker != marker {
            self.reconsider();
        }
        let ours = self.rotated.as_ref().filter(|(owner, _)| *owner == marker);
        self.login = Some(match ours.map(|(_, token)| token.clone()).or(stored) {
            Some(rotated) => login.rotated(rotated),
            None => login,
        });
        self.version = Version { epoch: self.version.epoch + 1, marker };
    }

    /// True for a token that has not been tried, nor is older than the one in use.
    fn is_new(&self, token: &AccessToken) -> bool {
        self.spent != Some(digest(token))
            && token.expires_at.is_none_or(|expiry| Some(expiry) > self.newest)
    }

    /// The tokens that have been tried may be tried again.
    fn reconsider(&mut self) {
        self.newest = None;
        self.spent = None;
    }

    /// Takes note of a token from file or store that has been tried.
    fn tried(&mut self, token: &AccessToken) {
        let own = self.login.as_ref().and_then(Login::token);
        if own.is_some_and(|own| digest(&own) == digest(token)) {
            self.spent = Some(digest(token));
        }
    }
}

impl Proxy {
    /// The access token for this try. Waits only when there is none that lives.
    pub(super) async fn bearer<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> Result<Bearer, Error> {
        let begun = platform.now();
        let mut pause = FIRST_LOOK;
        let mut at_hand = true;
        let bearer = loop {
            let verdict = self.tokens().ask(platform.wall_clock(), platform.now());
            match verdict {
                Verdict::Refused(refusal) => break Err(refusal),
                Verdict::Use(bearer) => break Ok(bearer),
                Verdict::UseAndRenew(bearer, lease) => {
                    platform.spawn_job(BackgroundJob::RefreshToken(lease));
                    break Ok(bearer);
                }
                Verdict::Renew(lease) => platform.spawn_job(BackgroundJob::RefreshToken(lease)),
                Verdict::Wait => {}
            }
            at_hand = false;
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        };
        ledger.entry.auth += platform.now().since(begun);
        self.note_token(ledger, at_hand && bearer.is_ok());
        bearer
    }

    /// Takes note, once, of whether a client's request found its access token at hand.
    pub(super) fn note_token<P: Platform>(&self, ledger: &mut Ledger<P>, at_hand: bool) {
        if ledger.entry.counted && ledger.entry.token_at_hand.is_none() {
            ledger.entry.token_at_hand = Some(at_hand);
            self.report.token_asked(at_hand);
        }
    }

    /// The look that a shell must take about once a second: has the credential file changed, is it
    /// time for the next access token? Credentials that Google has rejected come back to life here
    /// and nowhere else.
    pub async fn tick<P: Platform>(&self, platform: &P) {
        self.look_at_file(platform).await;
        // The store's token, which comes first, may itself be about to expire.
        for _ in 0..2 {
            let verdict = self.tokens().ask(platform.wall_clock(), platform.now());
            let (Verdict::Renew(lease) | Verdict::UseAndRenew(_, lease)) = verdict else { break };
            self.run_job(platform, BackgroundJob::RefreshToken(lease)).await;
        }
        if platform.shares() {
            self.learn_from_others(platform).await;
        }
    }

    /// Which quotas the others have found used up. A second late at most.
    async fn learn_from_others<P: Platform>(&self, platform: &P) {
        let account = self.known_marker();
        if let Some(stored) = self.recall(platform, QUOTAS_KEY).await {
            lock(&self.quotas).learn(&stored, &account, platform.wall_clock());
        }
    }

    /// Tells the others which quotas are used up. Of two who do so at the same time one may not be
    /// heard; then it costs the others a call to learn the same.
    pub(super) async fn warn_others<P: Platform>(&self, platform: &P) {
        self.learn_from_others(platform).await;
        let account = self.known_marker();
        let stored = lock(&self.quotas).to_stored(&account, platform.wall_clock());
        if let Some((stored, ttl)) = stored {
            self.remember(platform, QUOTAS_KEY, stored, ttl, None).await;
        }
    }

    /// Gets the next access token; the lease's work.
    pub(super) async fn renew<P: Platform>(&self, platform: &P, lease: Lease) {
        let begun = lock(&self.login).version.clone();
        let (version, outcome) = match self.login(platform).await {
            Ok(credential) => {
                let outcome = self.next_token(platform, &credential).await;
                (credential.version, outcome)
            }
            Err(outcome) => (begun, outcome),
        };
        self.settle(platform, lease, &version, outcome);
    }

    /// Ends a lease with what came of working on a version of the credential. What does not hold
    /// for the version that is in use now counts for nothing: a token of another account's, or a
    /// failure of an older file's.
    pub(super) fn settle<P: Platform>(
        &self,
        platform: &P,
        lease: Lease,
        version: &Version,
        outcome: Outcome,
    ) {
        // Held until the end: between the look and the settling nothing may change.
        let source = lock(&self.login);
        let stale = match &outcome {
            Outcome::Got { .. } => source.version.marker != version.marker,
            Outcome::Failed(_) | Outcome::Rejected(_) => source.version.epoch != version.epoch,
            Outcome::Stale => true,
        };
        let outcome = if stale { Outcome::Stale } else { outcome };
        if let Outcome::Rejected(refusal) | Outcome::Failed(refusal) = &outcome {
            tracing::warn!(reason = refusal.label(), "no access token: {}", refusal.message());
        }
        self.tokens().settle(lease, outcome, platform.wall_clock(), platform.now());
    }

    /// The newest living token from file and store, else a refresh. Of all that share the store one
    /// refreshes, and the others find its fruit there.
    async fn next_token<P: Platform>(&self, platform: &P, credential: &Credential) -> Outcome {
        let login = &credential.login;
        let mut queue = Queue::join(platform);
        loop {
            if let Some(token) = self.token_at_hand(platform, credential).await {
                self.note_use(&token, &credential.version);
                return Outcome::Got { token, renewable: login.can_refresh() };
            }
            if !login.can_refresh() {
                return self.no_other_token(platform, login);
            }
            match queue.turn(platform, TOKEN_KEY, TURN).await {
                Turn::Alone => return self.refreshed(platform, credential, None).await,
                Turn::Later => {}
                Turn::Now(fence) => {
                    // The last holder may have put it there between the look and the turn.
                    let outcome = match self.token_at_hand(platform, credential).await {
                        Some(token) => {
                            self.note_use(&token, &credential.version);
                            Outcome::Got { token, renewable: true }
                        }
                        None => self.refreshed(platform, credential, Some(fence)).await,
                    };
                    platform.release(TOKEN_KEY, fence).await;
                    return outcome;
                }
            }
        }
    }

    /// There is nothing to get another token with.
    fn no_other_token<P: Platform>(&self, platform: &P, login: &Login) -> Outcome {
        let why = "the access token has expired or was revoked, and the credentials have no \
                   refresh_token to get another with"
            .to_owned();
        let refusal = Error::CredentialsRejected { why };
        if !login.token().is_some_and(|token| token.alive(platform.wall_clock())) {
            return Outcome::Rejected(refusal);
        }
        // One refusal may be a whim, and there is nothing else to be had: it gets another chance
        // after the pause.
        lock(&self.login).reconsider();
        Outcome::Failed(refusal)
    }

    /// A token that Google issues now.
    pub(super) async fn refreshed<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
        fence: Option<FencingToken>,
    ) -> Outcome {
        let mut refreshed = self.refresh(platform, &credential.login).await;
        if let Err(RefreshError::Rejected(_)) = &refreshed
            && let Some(login) = self.rotated_elsewhere(platform, credential).await
        {
            refreshed = self.refresh(platform, &login).await;
        }
        if refreshed.is_err() {
            self.report.refresh_failed();
        }
        match refreshed {
            Ok(refreshed) => self.keep(platform, refreshed, &credential.version, fence).await,
            Err(RefreshError::Transient(why)) => {
                Outcome::Failed(Error::UpstreamUnreachable { why })
            }
            Err(RefreshError::Rejected(why)) => {
                // The CLI may have signed in again a moment ago (`protocol.md` 1.8), and then this
                // is nothing to the new login.
                self.look_at_file(platform).await;
                Outcome::Rejected(Error::CredentialsRejected { why })
            }
        }
    }

    /// The login with the refresh token that another process has got for it meanwhile, if there is
    /// one in the store that has not been tried. From now on it is this process's too.
    async fn rotated_elsewhere<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
    ) -> Option<Login> {
        let marker = &credential.version.marker;
        let login = credential.login.clone().rotated(self.stored_rotation(platform, marker).await?);
        if login.fingerprint() == credential.login.fingerprint() {
            return None;
        }
        let mut source = lock(&self.login);
        if source.version.marker == *marker {
            source.login = Some(login.clone());
            // The store's is the newer one: what was kept here in its place is dead.
            source.rotated = None;
        }
        Some(login)
    }

    /// A token that need not be asked for: the best of those that came with the credential and from
    /// the store, unless it is the one that was used last.
    async fn token_at_hand<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
    ) -> Option<AccessToken> {
        let Credential { login, version: Version { marker, .. } } = credential;
        let clock = platform.wall_clock();
        let stored = match self.recall(platform, TOKEN_KEY).await {
            Some(text) if login.can_refresh() => StoredToken::from_stored(&text, clock),
            _ => None,
        };
        let stored =
            stored.filter(|stored| stored.credential.as_ref().is_none_or(|owner| owner == marker));
        let mut candidates: Vec<AccessToken> = {
            let mut source = lock(&self.login);
            let count = stored.as_ref().map_or(0, |stored| stored.refresh_count);
            source.refreshes = source.refreshes.max(count);
            login
                .token()
                .into_iter()
                .chain(stored.map(|stored| stored.token))
                .filter(|token| token.alive(clock) && source.is_new(token))
                .collect()
        };
        candidates.sort_by_key(|token| std::cmp::Reverse(token.expires_at));
        for mut token in candidates {
            lock(&self.login).tried(&token);
            if !self.settings.validate_tokens {
                return Some(token);
            }
            match self.tokeninfo(platform, &token).await {
                TokenInfo::Invalid => {}
                TokenInfo::Unknown => return Some(token),
                TokenInfo::Valid(left) => {
                    token.expires_at = token.expires_at.or_else(|| left.map(|left| clock + left));
                    return Some(token);
                }
            }
        }
        None
    }

    async fn tokeninfo<P: Platform>(&self, platform: &P, token: &AccessToken) -> TokenInfo {
        let Some(request) = token.tokeninfo_request(&self.settings.tokeninfo_url) else {
            return TokenInfo::Unknown;
        };
        let Ok(response) = attempt::send_within(platform, request, TOKENINFO_TIMEOUT).await else {
            return TokenInfo::Unknown;
        };
        let status = response.status();
        let body = response.into_body();
        match attempt::whole(platform, body, OAUTH_LIMIT, TOKENINFO_TIMEOUT).await {
            Ok(text) => credentials::read_tokeninfo(status, &text),
            Err(_) => TokenInfo::Unknown,
        }
    }

    async fn refresh<P: Platform>(
        &self,
        platform: &P,
        login: &Login,
    ) -> Result<RefreshedToken, RefreshError> {
        let client = self.oauth_client();
        let Some(request) = login.refresh_request(&self.settings.token_url, &client) else {
            return Err(RefreshError::Rejected("OAUTH_TOKEN_URL is no valid URL".to_owned()));
        };
        let unreachable = |refusal: Error| {
            let why = match refusal {
                Error::UpstreamUnreachable { why } => why,
                Error::UpstreamTimeout { after, .. } => format!("silent for {after:?}"),
                other => other.label().to_owned(),
            };
            RefreshError::Transient(format!("no answer from the token endpoint: {why}"))
        };
        // A token lives from when it is issued, which may be any time from now on.
        let clock = platform.wall_clock();
        let asked = pin!(async {
            let response = attempt::send_within(platform, request, TOKEN_TIMEOUT).await?;
            let status = response.status();
            let body = response.into_body();
            let text = attempt::whole(platform, body, OAUTH_LIMIT, TOKEN_TIMEOUT).await?;
            Ok((status, text))
        });
        // Head and body together, so that a turn outlasts them.
        let late =
            || Err(Error::UpstreamTimeout { awaited: Awaited::NextChunk, after: TOKEN_TIMEOUT });
        let answered = attempt::within(platform, TOKEN_TIMEOUT, asked).await;
        let (status, text) = answered.unwrap_or_else(late).map_err(unreachable)?;
        credentials::read_refresh(status, &text, clock)
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

    /// Takes a refresh's fruit into memory and store, unless another account has come meanwhile.
    async fn keep<P: Platform>(
        &self,
        platform: &P,
        refreshed: RefreshedToken,
        version: &Version,
        fence: Option<FencingToken>,
    ) -> Outcome {
        self.report.refreshed();
        let RefreshedToken { token, refresh_token } = refreshed;
        let marker = &version.marker;
        let refresh_count = {
            let mut source = lock(&self.login);
            if source.version.marker != *marker {
                return Outcome::Stale;
            }
            source.refreshes += 1;
            if let Some(rotated) = &refresh_token {
                source.login = source.login.take().map(|login| login.rotated(rotated.clone()));
                source.rotated = Some((marker.clone(), rotated.clone()));
            }
            source.refreshes
        };
        self.note_use(&token, version);
        let clock = platform.wall_clock();
        if let Some(rotated) = &refresh_token {
            let text = credentials::rotated_to_stored(rotated, marker);
            self.remember(platform, ROTATED_KEY, text, ROTATED_TTL, fence).await;
        }
        let left = token.expires_at.map_or(Duration::ZERO, |expiry| clock.until(expiry));
        let ttl = left.min(self.settings.token_cache_ttl);
        let stored =
            StoredToken { token: token.clone(), refresh_count, credential: Some(marker.clone()) };
        self.remember(platform, TOKEN_KEY, stored.to_stored(clock), ttl, fence).await;
        Outcome::Got { token, renewable: true }
    }

    fn note_use(&self, token: &AccessToken, version: &Version) {
        let mut source = lock(&self.login);
        if source.version.marker == version.marker {
            source.newest = token.expires_at;
        }
    }

    /// The credential in use.
    pub(super) async fn login<P: Platform>(&self, platform: &P) -> Result<Credential, Outcome> {
        self.look_at_file(platform).await;
        if let Some(credential) = lock(&self.login).credential() {
            return Ok(credential);
        }
        let login = match (&self.settings.access_token, &self.settings.credentials_json) {
            (Some(token), _) => Login::from_access_token(token.clone()),
            (None, Some(json)) => Login::parse(json.expose_secret().as_bytes()).map_err(|why| {
                let why = format!("GCP_SERVICE_ACCOUNT cannot be used: {why}");
                Outcome::Rejected(Error::CredentialsRejected { why })
            })?,
            (None, None) => return Err(missing(platform.credential_file(None).await)),
        };
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;
        let mut source = lock(&self.login);
        if source.login.is_none() {
            source.adopt(login, rotated);
        }
        source.credential().ok_or(Outcome::Stale)
    }

    /// Reads the credential file if it is the source and has changed.
    async fn look_at_file<P: Platform>(&self, platform: &P) {
        if self.settings.access_token.is_some() || self.settings.credentials_json.is_some() {
            return;
        }
        let seen = lock(&self.login).stamp;
        let CredentialFile::Read { stamp, content } = platform.credential_file(seen).await else {
            return;
        };
        // A half-written file is read again at the next look: its stamp is not noted.
        let Ok(login) = Login::parse(&content) else { return };
        let content = Sha256::digest(&content).into();
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;

        // Held until the end: nobody may find the new account with the old one's token or project.
        let mut source = lock(&self.login);
        if source.stamp != seen {
            // Somebody else has looked at the same time.
            return;
        }
        source.stamp = Some(stamp);
        let in_trouble = self.tokens().trouble().is_some();
        let (mut other_account, mut newer) = (false, false);
        if source.content != Some(content) {
            let known = source.login.is_some();
            other_account = known && source.version.marker != login.fingerprint();
            newer = known && login.token().is_some_and(|token| source.is_new(&token));
            source.content = Some(content);
            source.adopt(login, rotated);
        }
        if other_account {
            tracing::info!("the credential file is another login's now");
            self.tokens().forget();
            lock(&self.projects).forget();
            lock(&self.quotas).forget();
            lock(&self.catalogue).forget();
        } else if in_trouble || newer {
            self.tokens().reopen(platform.wall_clock(), platform.now());
            lock(&self.projects).reopen();
        }
    }

    /// The refresh token that Google has put in the place of this credential's own, as far as the
    /// store knows.
    async fn stored_rotation<P: Platform>(
        &self,
        platform: &P,
        marker: &str,
    ) -> Option<SecretString> {
        let text = self.recall(platform, ROTATED_KEY).await?;
        credentials::rotated_from_stored(&text, marker)
    }

    /// [`Login::fingerprint`] of the credential in use, empty when there is none.
    pub(super) async fn account<P: Platform>(&self, platform: &P) -> String {
        let credential = self.login(platform).await;
        credential.map(|credential| credential.version.marker).unwrap_or_default()
    }

    /// The same as far as it is known already.
    pub(super) fn known_marker(&self) -> String {
        lock(&self.login).version.marker.clone()
    }

    /// True while this is still the account in use.
    pub(super) fn is_account(&self, marker: &str) -> bool {
        lock(&self.login).version.marker == marker
    }

    /// Reads an entry; a store that fails never fails a request.
    pub(super) async fn recall<P: Platform>(&self, platform: &P, key: &str) -> Option<Bytes> {
        let loaded = platform.load(key).await;
        self.report.store(loaded.is_ok());
        loaded
            .inspect_err(|why| tracing::warn!(key, "the key-value store cannot be read: {why}"))
            .ok()
            .flatten()
    }

    /// Writes an entry; a store that fails never fails a request.
    pub(super) async fn remember<P: Platform>(
        &self,
        platform: &P,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) {
        if ttl.is_zero() {
            return;
        }
        let saved = platform.save(key, value, ttl, fence).await;
        self.report.store(saved.is_ok());
        if let Err(why) = saved {
            tracing::warn!(key, "the key-value store cannot be written: {why}");
        }
    }
}

/// Why there is no credential at all.
fn missing(file: CredentialFile) -> Outcome {
    let missing = |why: String| Outcome::Rejected(Error::CredentialsMissing { why });
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
            // Perhaps in the middle of being written.
            Err(why @ CredentialError::NotJson(_)) => Outcome::Failed(Error::CredentialsRejected {
                why: format!("the credential file cannot be used: {why}"),
            }),
            Err(why) => Outcome::Rejected(Error::CredentialsRejected {
                why: format!("the credential file cannot be used: {why}"),
            }),
            Ok(_) => Outcome::Failed(Error::CredentialsMissing {
                why: "the credential file appeared a moment ago".to_owned(),
            }),
        },
    }
}

fn digest(token: &AccessToken) -> [u8; 32] {
    Sha256::digest(token.access_token.expose_secret()).into()
}

/// The seed's key for the access token.
const TOKEN_KEY: &str = "oauth_token_cache";
/// A refresh token that Google has put in the place of the credential's own.
const ROTATED_KEY: &str = "oauth_refresh_token";
/// The models whose quota is used up.
const QUOTAS_KEY: &str = "spent_quotas";
/// Google's refresh tokens die after six months without use.
const ROTATED_TTL: Duration = Duration::from_secs(180 * 24 * 3600);

/// A waiting request looks again after this, then after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// Longer than a refresh takes, and as long as a holder that dies delays the others.
const TURN: Duration = Duration::from_secs(12);

const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
const TOKENINFO_TIMEOUT: Duration = Duration::from_secs(3);
const OAUTH_LIMIT: usize = 1 << 18;
