//! The account's credentials and access token: where the token comes from, and how it is refreshed in
//! time (`docs/CREDENTIALS.md`).

pub(super) mod check;
mod file;
mod google;
mod login;
mod place;
mod refresh;
mod source;

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use super::account::AccountData;
use super::store;
use crate::context::RequestContext;
use crate::error::{CredentialKind, Error};
use crate::google::credentials::{self, AccessToken, StoredToken, TokenInfo};
use crate::job::{BackgroundJob, Job};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;
use crate::policy::token::{self, Bearer, IssuedToken, TokenExpiry, TokenState};
use crate::settings::Settings;
use crate::shards::SharedState;
use crate::sync::lock;
use crate::time::{Monotonic, Timestamp};
use crate::wait::{Flight, poll_until, single_flight, while_renewing};

use login::AccountLogin;
pub(super) use place::CredentialPlace;
use source::{Credential, CredentialSource, CredentialVersion};

/// How getting a token ended.
type TokenOutcome = token::FetchOutcome<Error>;

/// The credentials of an account, and its access token.
#[derive(Debug)]
pub(crate) struct Credentials {
    settings: Arc<Settings>,
    place: CredentialPlace,
    metrics: Arc<Metrics>,
    /// Cleared when the credentials become another account's.
    account: Arc<AccountData>,
    /// Lock order: this first, then `tokens` or any of `account`.
    source: Mutex<CredentialSource>,
    tokens: SharedState<TokenState<Error>>,
    /// Upstream has refused a token that a service account had signed itself, so that such a token is
    /// exchanged for one of Google's from now on.
    exchanges: AtomicBool,
}

/// The state of the credentials, for health.
#[derive(Debug)]
pub(crate) struct TokenStatus {
    /// The failure that keeps the credentials from giving a token.
    pub(crate) trouble: Option<Error>,
    pub(crate) expiry: TokenExpiry,
}

impl Credentials {
    pub(super) fn new(
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
        account: &Arc<AccountData>,
        place: CredentialPlace,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            place,
            metrics: Arc::clone(metrics),
            account: Arc::clone(account),
            source: Mutex::default(),
            tokens: SharedState::new(TokenState::new(settings.token_refresh_buffer)),
            exchanges: AtomicBool::new(false),
        }
    }

    /// Returns the access token for this try. Waits only if no token is valid.
    pub(super) async fn bearer<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<Bearer, Error>, Monotonic) {
        let clock = context.platform().wall_clock();
        if let Some(bearer) = self.tokens.ready(|token| token.bearer(clock, now)) {
            self.account.note_token(context, true);
            return (Ok(bearer), now);
        }
        let platform = context.platform().clone();
        let mut at_hand = true;
        let (bearer, then) = poll_until(&platform, context.deadline, now, |now| {
            match self.tokens.with(|tokens| tokens.ask(platform.wall_clock(), now)) {
                token::TokenVerdict::Failed(error, left) => {
                    return Some(Err(error.with_delay(left.unwrap_or_default())));
                }
                token::TokenVerdict::Use(bearer) => return Some(Ok(bearer)),
                token::TokenVerdict::UseAndRefresh(bearer, lease) => {
                    platform
                        .spawn_job(BackgroundJob::new(Job::RefreshToken(self.account.id, lease)));
                    return Some(Ok(bearer));
                }
                token::TokenVerdict::Refresh(lease) => platform
                    .spawn_job(BackgroundJob::new(Job::RefreshToken(self.account.id, lease))),
                token::TokenVerdict::Wait => {}
            }
            at_hand = false;
            None
        })
        .await;
        context.timings.auth += then.since(now);
        self.account.note_token(context, at_hand && bearer.is_ok());
        (bearer, then)
    }

    /// Records that upstream answered 401 to this token. False when a refresh would not help.
    #[must_use = "without a refresh there is no other token to retry with"]
    pub(super) fn invalidate(&self, bearer: &Bearer, now: Monotonic) -> bool {
        self.tokens.with(|tokens| tokens.invalidate(bearer, now))
    }

    /// Records that upstream rejected the token that was refreshed because of a 401.
    pub(super) fn rejected_again(&self, now: Monotonic) {
        self.tokens.with(|tokens| tokens.rejected_again(now));
    }

    /// The kind of the credentials, for messages.
    pub(super) fn kind(&self) -> CredentialKind {
        self.place.kind()
    }

    /// True when there is a valid token.
    pub(super) fn has_token(&self, clock: Timestamp) -> bool {
        self.tokens.with(|tokens| tokens.expiry(clock)) != TokenExpiry::NoToken
    }

    /// Returns the state of the credentials.
    pub(crate) fn status(&self, clock: Timestamp) -> TokenStatus {
        self.tokens.with(|tokens| TokenStatus {
            trouble: tokens.trouble().cloned(),
            expiry: tokens.expiry(clock),
        })
    }

    /// Why no request could be served with these credentials; `None` if one could.
    ///
    /// Once the credentials have given a token, a failing token endpoint is no reason, since it concerns all
    /// processes alike. Before that it is a reason: a process with wrong credentials must never be ready.
    pub(crate) fn unready_reason(&self, clock: Timestamp) -> Option<&'static str> {
        self.tokens.with(|tokens| {
            if tokens.expiry(clock) != TokenExpiry::NoToken {
                return None;
            }
            match tokens.trouble() {
                Some(
                    error @ (Error::CredentialsMissing { .. }
                    | Error::CredentialsRejected { .. }
                    | Error::CredentialsUnreadable { .. }),
                ) => Some(error.label()),
                _ if tokens.is_proven() => None,
                Some(error) => Some(error.label()),
                None => Some("credentials_not_tried"),
            }
        })
    }

    /// Returns the lease of a refresh, if no token was ever asked for.
    pub(crate) fn begin_first_token(&self, clock: Timestamp, now: Monotonic) -> Option<Lease> {
        self.tokens.with(|tokens| {
            if tokens.is_proven() || tokens.trouble().is_some() {
                return None;
            }
            match tokens.ask(clock, now) {
                token::TokenVerdict::Refresh(lease) => Some(lease),
                _ => None,
            }
        })
    }

    /// Reads the credential file if it has changed, and gets the next token if it is time to. Rejected
    /// credentials are only retried here, after their file has changed.
    pub(super) async fn tick<P: Platform>(&self, platform: &P) {
        self.read_file(platform).await;
        // The first round may take a token from the store that is itself about to expire.
        for _ in 0..2 {
            let (clock, now) = (platform.wall_clock(), platform.now());
            let verdict = self.tokens.with(|tokens| tokens.ask(clock, now));
            let (token::TokenVerdict::Refresh(lease)
            | token::TokenVerdict::UseAndRefresh(_, lease)) = verdict
            else {
                break;
            };
            self.renew(platform, lease).await;
        }
    }

    /// Gets the next access token; the lease's work.
    pub(super) async fn renew<P: Platform>(&self, platform: &P, lease: Lease) {
        let before = lock(&self.source).version.clone();
        let (version, outcome) = match self.credential(platform).await {
            Ok(credential) => {
                let outcome = self.next_token(platform, &credential).await;
                (credential.version, outcome)
            }
            Err(outcome) => (before, outcome),
        };
        self.settle(platform, lease, &version, outcome);
    }

    /// Ends a lease with the outcome of work on a version of the credential. An outcome that does not
    /// apply to the version in use is ignored: a token of another account, or a failure of an older
    /// file.
    fn settle<P: Platform>(
        &self,
        platform: &P,
        lease: Lease,
        version: &CredentialVersion,
        outcome: TokenOutcome,
    ) {
        // Locked until the end, so that nothing changes between the comparison and the settling.
        let source = lock(&self.source);
        let stale = match &outcome {
            TokenOutcome::Got { .. } => source.version.fingerprint != version.fingerprint,
            TokenOutcome::Failed(_) | TokenOutcome::Deferred(..) | TokenOutcome::Rejected(_) => {
                source.version.generation != version.generation
            }
            TokenOutcome::Stale => true,
        };
        let outcome = if stale { TokenOutcome::Stale } else { outcome };
        if let TokenOutcome::Rejected(error)
        | TokenOutcome::Failed(error)
        | TokenOutcome::Deferred(error, _) = &outcome
        {
            let key = self.account.key();
            tracing::warn!(reason = error.label(), key, "no access token: {}", error.message());
        }
        let (clock, now) = (platform.wall_clock(), platform.now());
        self.tokens.with(|tokens| tokens.settle(lease, outcome, clock, now));
    }

    /// Takes the newest valid token from file or store, else refreshes. Of the processes that share a
    /// store, one refreshes and the others read the new token from the store.
    async fn next_token<P: Platform>(&self, platform: &P, credential: &Credential) -> TokenOutcome {
        if self.self_signing(&credential.login).is_some() {
            let signed = self.refresh(platform, credential, None, Duration::ZERO).await;
            return self.outcome(platform, signed, true);
        }
        if !credential.login.can_refresh() {
            return match self.token_at_hand(platform, credential).await {
                Some(token) => self.outcome(platform, Ok(token), false),
                None => self.no_other_token(platform, &credential.login),
            };
        }
        let recall = || self.token_at_hand(platform, credential);
        let key = self.account.store_key(TOKEN_KEY);
        let flight = single_flight(platform, None, &key, LONGEST_WAIT, recall).await;
        let refreshed = match flight {
            Err(error) => Err(TokenOutcome::Failed(error)),
            Ok(Flight::Done { result, .. }) => Ok(result),
            Ok(Flight::Lead { lock, waited }) => {
                // The tries of the process that held the lock count for this one too, except for a
                // second try: otherwise the processes of a fleet would fail one after the other, each
                // after all its tries.
                let spent = waited.min(MOST_SPENT);
                let refreshing = pin!(self.refresh(platform, credential, lock, spent));
                let refreshed = while_renewing(platform, &key, lock, refreshing).await;
                if let Some(lock) = lock {
                    platform.unlock(&key, lock).await;
                }
                refreshed
            }
        };
        self.outcome(platform, refreshed, true)
    }

    /// Turns a received token into an outcome for the policy. A token that has already expired, or that
    /// no header may carry, is a failure.
    fn outcome<P: Platform>(
        &self,
        platform: &P,
        got: Result<AccessToken, TokenOutcome>,
        renewable: bool,
    ) -> TokenOutcome {
        let token = match got {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        if !token.alive(platform.wall_clock()) {
            let why = "the access token had already expired when it was received".to_owned();
            let kind = self.place.kind();
            return TokenOutcome::Failed(Error::CredentialsRejected {
                why,
                kind,
                details: Bytes::new(),
            });
        }
        let Some(header) = token.header() else {
            let why = "the access token has characters that no header may have".to_owned();
            let kind = self.place.kind();
            return TokenOutcome::Failed(Error::CredentialsUnreadable { why, kind });
        };
        let (expires_at, lifetime) = (token.expires_at, token.lifetime);
        let login = &lock(&self.source).login;
        let longest_ahead = login.as_ref().and_then(AccountLogin::longest_ahead);
        let token = IssuedToken { header, expires_at, lifetime, longest_ahead };
        TokenOutcome::Got { token, renewable }
    }

    /// Returns the failure of credentials without a refresh token that have no unused token.
    fn no_other_token<P: Platform>(&self, platform: &P, login: &AccountLogin) -> TokenOutcome {
        let why = "the access token has expired or was revoked, and the credentials have no \
                   refresh_token to get another with"
            .to_owned();
        let kind = self.place.kind();
        let error = Error::CredentialsRejected { why, kind, details: Bytes::new() };
        if !login.token().is_some_and(|token| token.alive(platform.wall_clock())) {
            return TokenOutcome::Rejected(error);
        }
        // A single 401 may be upstream's mistake. There is no other token, so this one is tried
        // again after the pause.
        lock(&self.source).retry_tokens();
        TokenOutcome::Failed(error)
    }

    /// Finds a token that needs no refresh: the credential's own or the store's, whichever expires
    /// later, unless it is the one that was used last.
    async fn token_at_hand<P: Platform>(
        &self,
        platform: &P,
        credential: &Credential,
    ) -> Option<AccessToken> {
        let Credential { login, version } = credential;
        let fingerprint = &version.fingerprint;
        let clock = platform.wall_clock();
        let stored = match store::recall(
            platform,
            &self.metrics,
            &self.account.store_key(TOKEN_KEY),
        )
        .await
        {
            Some(text) if login.can_refresh() => StoredToken::from_stored(&text, clock),
            _ => None,
        };
        let stored = stored
            .filter(|stored| stored.credential.as_ref().is_none_or(|owner| owner == fingerprint));
        let mut candidates: Vec<AccessToken> = {
            let mut source = lock(&self.source);
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
            lock(&self.source).note_tried(&token);
            let is_asked = self.settings.validate_tokens && login.has_tokeninfo();
            let info =
                if is_asked { self.tokeninfo(platform, &token).await } else { TokenInfo::Unknown };
            match info {
                TokenInfo::Invalid => continue,
                TokenInfo::Unknown => {}
                TokenInfo::Valid(left) => {
                    token.expires_at = token.expires_at.or_else(|| left.map(|left| clock + left));
                }
            }
            lock(&self.source).note_use(&token, version);
            return Some(token);
        }
        None
    }

    /// Reads from the store the refresh token with which Google has replaced this credential's own.
    async fn stored_rotation<P: Platform>(
        &self,
        platform: &P,
        fingerprint: &str,
    ) -> Option<SecretString> {
        let text =
            store::recall(platform, &self.metrics, &self.account.store_key(ROTATED_KEY)).await?;
        credentials::rotated_from_stored(&text, fingerprint)
    }

    /// Reads the credential and returns its [`AccountLogin::fingerprint`], empty when there is none.
    pub(crate) async fn read_fingerprint<P: Platform>(&self, platform: &P) -> String {
        let credential = self.credential(platform).await;
        credential.map(|credential| credential.version.fingerprint).unwrap_or_default()
    }

    /// Returns the fingerprint of the credential that was read last, empty when there is none.
    pub(crate) fn fingerprint(&self) -> String {
        lock(&self.source).version.fingerprint.clone()
    }

    /// True while this is still the account in use.
    pub(super) fn is_account(&self, fingerprint: &str) -> bool {
        lock(&self.source).version.fingerprint == fingerprint
    }

    async fn store<P: Platform>(
        &self,
        platform: &P,
        entry: &'static str,
        value: Bytes,
        ttl: Duration,
        token: Option<FencingToken>,
    ) {
        let key = self.account.store_key(entry);
        store::remember(platform, &self.metrics, &key, value, ttl, token).await;
    }
}

/// The store's key for the access token.
const TOKEN_KEY: &str = "oauth_token_cache";
/// The store's key for a refresh token with which Google has replaced the credential's own. No other
/// entry is the only copy of what it holds.
pub const ROTATED_KEY: &str = "oauth_refresh_token";

/// How long a process waits for others that refresh. Longer than one refresh with all its tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Of the 3 s for the tries of a refresh. What is left is enough for a second try.
const MOST_SPENT: Duration = Duration::from_millis(2250);
