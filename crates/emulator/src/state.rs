//! What the emulator remembers: the account, its tokens, its operations and the knobs.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// The one account that the emulator knows, and how the emulator behaves.
#[derive(Debug, Serialize)]
pub(crate) struct State {
    pub(crate) account: AccountStatus,
    pub(crate) project: String,
    pub(crate) models: Vec<String>,
    pub(crate) quota: Vec<Value>,
    pub(crate) onboarding_polls: u32,
    pub(crate) onboarding_error: Option<Value>,
    pub(crate) token_lifetime_ms: u64,
    pub(crate) token_delay_ms: u64,
    pub(crate) token_status: Option<u16>,
    pub(crate) token_body: Option<String>,
    pub(crate) rotate_refresh: bool,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<String>,
    pub(crate) stream_events: usize,
    pub(crate) stream_interval_ms: u64,
    pub(crate) usage_chunk: bool,
    pub(crate) metadata_chunk: bool,
    /// Whether unknown fields and values of the wrong kind are refused.
    pub(crate) strict: bool,
    #[serde(skip)]
    pub(crate) tokens: TokenStore,
    #[serde(skip)]
    pub(crate) operations: HashMap<String, OnboardingOperation>,
}

impl State {
    pub(crate) fn new(token_lifetime: Duration, onboarded: bool) -> Self {
        Self {
            account: if onboarded {
                AccountStatus::Onboarded
            } else {
                AccountStatus::NeedsOnboarding
            },
            project: PROJECT.to_owned(),
            models: MODELS.iter().map(|model| (*model).to_owned()).collect(),
            quota: MODELS.iter().map(|model| bucket(model)).collect(),
            onboarding_polls: 2,
            onboarding_error: None,
            token_lifetime_ms: millis(token_lifetime),
            token_delay_ms: 0,
            token_status: None,
            token_body: None,
            rotate_refresh: false,
            client_id: CLIENT_ID.to_owned(),
            client_secret: None,
            stream_events: 3,
            stream_interval_ms: 0,
            usage_chunk: true,
            metadata_chunk: true,
            strict: true,
            tokens: TokenStore::new(),
            operations: HashMap::new(),
        }
    }

    pub(crate) fn token_lifetime(&self) -> Duration {
        Duration::from_millis(self.token_lifetime_ms)
    }

    pub(crate) fn pace(&self) -> StreamPacing {
        StreamPacing {
            events: self.stream_events,
            interval: Duration::from_millis(self.stream_interval_ms),
            usage_chunk: self.usage_chunk,
            metadata_chunk: self.metadata_chunk,
        }
    }

    pub(crate) fn issue(&mut self) -> String {
        let lifetime = self.token_lifetime();
        self.tokens.issue(lifetime)
    }

    /// Takes over what a control request asks for.
    pub(crate) fn change(&mut self, change: StateChange) {
        let StateChange {
            account,
            project,
            models,
            quota,
            onboarding_polls,
            onboarding_error,
            token_lifetime_ms,
            token_delay_ms,
            token_status,
            token_body,
            rotate_refresh,
            client_id,
            client_secret,
            stream_events,
            stream_interval_ms,
            usage_chunk,
            metadata_chunk,
            strict,
            expire_tokens,
            revoke_refresh,
        } = change;
        put(&mut self.account, account);
        put(&mut self.project, project);
        put(&mut self.models, models);
        put(&mut self.quota, quota);
        put(&mut self.onboarding_polls, onboarding_polls);
        put(&mut self.onboarding_error, onboarding_error);
        put(&mut self.token_lifetime_ms, token_lifetime_ms);
        put(&mut self.token_delay_ms, token_delay_ms);
        put(&mut self.token_status, token_status);
        put(&mut self.token_body, token_body);
        put(&mut self.rotate_refresh, rotate_refresh);
        put(&mut self.client_id, client_id);
        put(&mut self.client_secret, client_secret);
        put(&mut self.stream_events, stream_events);
        put(&mut self.stream_interval_ms, stream_interval_ms);
        put(&mut self.usage_chunk, usage_chunk);
        put(&mut self.metadata_chunk, metadata_chunk);
        put(&mut self.strict, strict);
        if expire_tokens {
            self.tokens.expire();
        }
        if revoke_refresh {
            self.tokens.refresh.clear();
        }
    }
}

/// How ordinary streams are cut into events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamPacing {
    pub(crate) events: usize,
    pub(crate) interval: Duration,
    pub(crate) usage_chunk: bool,
    pub(crate) metadata_chunk: bool,
}

/// A change of state: every field of [`State`] that may be set, and two deeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateChange {
    account: Option<AccountStatus>,
    project: Option<String>,
    models: Option<Vec<String>>,
    quota: Option<Vec<Value>>,
    onboarding_polls: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    onboarding_error: Option<Option<Value>>,
    token_lifetime_ms: Option<u64>,
    token_delay_ms: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    token_status: Option<Option<u16>>,
    #[serde(default, deserialize_with = "given")]
    token_body: Option<Option<String>>,
    rotate_refresh: Option<bool>,
    client_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    client_secret: Option<Option<String>>,
    stream_events: Option<usize>,
    stream_interval_ms: Option<u64>,
    usage_chunk: Option<bool>,
    metadata_chunk: Option<bool>,
    strict: Option<bool>,
    #[serde(default)]
    expire_tokens: bool,
    #[serde(default)]
    revoke_refresh: bool,
}

/// The account's standing with Code Assist (protocol.md 2.6).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountStatus {
    /// No tier, and none to be had (`INELIGIBLE_ACCOUNT`).
    Ineligible,
    /// A tier may be had through `onboardUser`.
    NeedsOnboarding,
    /// A tier, but the server names no project: the user has to.
    NoProject,
    Onboarded,
    /// Today's consumer answer.
    UnsupportedClient,
    /// The user must first confirm something in a browser.
    ValidationRequired,
}

/// An onboarding that takes its time.
#[derive(Debug)]
pub(crate) struct OnboardingOperation {
    pub(crate) polls_left: u32,
    pub(crate) project: Option<String>,
}

/// The access and refresh tokens that were issued.
#[derive(Debug)]
pub(crate) struct TokenStore {
    next: u64,
    access: HashMap<String, Option<Instant>>,
    refresh: HashSet<String>,
}

/// What is known of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenStatus {
    Expired,
    Unknown,
    Valid { seconds_left: u64 },
}

impl TokenStore {
    fn new() -> Self {
        let mut tokens = Self { next: 0, access: HashMap::new(), refresh: HashSet::new() };
        tokens.access.insert(ACCESS_TOKEN.to_owned(), None);
        tokens.refresh.insert(REFRESH_TOKEN.to_owned());
        tokens
    }

    pub(crate) fn issue(&mut self, lifetime: Duration) -> String {
        self.next += 1;
        let now = Instant::now();
        if self.access.len() > ACCESS_KEPT {
            self.access.retain(|_, until| until.is_none_or(|until| until > now));
        }
        let token = format!("ya29.emulator-{:06}", self.next);
        self.access.insert(token.clone(), Some(now + lifetime));
        token
    }

    /// An access token that is known and dead.
    pub(crate) fn issue_expired(&mut self) -> String {
        self.issue(Duration::ZERO)
    }

    /// A refresh token that works, a new one if all were revoked.
    pub(crate) fn refresh_token(&mut self) -> String {
        if let Some(token) = self.refresh.iter().next() {
            return token.clone();
        }
        self.new_refresh_token()
    }

    pub(crate) fn knows_refresh(&self, token: &str) -> bool {
        self.refresh.contains(token)
    }

    /// Issues another refresh token in place of this one.
    pub(crate) fn rotate(&mut self, token: &str) -> String {
        self.refresh.remove(token);
        self.new_refresh_token()
    }

    pub(crate) fn standing(&self, token: &str) -> TokenStatus {
        let Some(until) = self.access.get(token) else {
            return TokenStatus::Unknown;
        };
        let Some(until) = until else {
            return TokenStatus::Valid { seconds_left: 3599 };
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return TokenStatus::Expired;
        }
        TokenStatus::Valid { seconds_left: left.as_secs() }
    }

    /// Ends a grant by either of its tokens; false if the token is not known.
    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        let known = self.refresh.contains(token) || self.standing(token) != TokenStatus::Unknown;
        if known {
            self.refresh.clear();
            self.access.clear();
        }
        known
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for until in self.access.values_mut() {
            *until = Some(now);
        }
    }

    fn new_refresh_token(&mut self) -> String {
        self.next += 1;
        let token = format!("{REFRESH_TOKEN}-{:06}", self.next);
        self.refresh.insert(token.clone());
        token
    }
}

fn put<T>(place: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *place = new;
    }
}

/// Tells `null` (set to nothing) from an absent key (leave alone).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn bucket(model: &str) -> Value {
    json!({
        "resetTime": "2099-01-01T07:00:00Z",
        "tokenType": "REQUESTS",
        "modelId": model,
        "remainingFraction": 0.985,
        "remainingAmount": "985",
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An access token that works from the start and does not age, for `GOOGLE_CLOUD_ACCESS_TOKEN`.
pub(crate) const ACCESS_TOKEN: &str = "ya29.emulator-access";
pub(crate) const PROJECT: &str = "emulator-project";
pub(crate) const REFRESH_TOKEN: &str = "1//emulator-refresh";
/// The public client of the Gemini CLI (protocol.md 1.1).
pub(crate) const CLIENT_ID: &str =
    "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";
const ACCESS_KEPT: usize = 10_000;
/// Ids that Code Assist takes (protocol.md 6.1): `gemini-3.5-flash` is not one, `gemini-3-flash` is.
const MODELS: [&str; 8] = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3-pro-preview",
    "gemini-3.1-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3-flash",
    "gemini-3.1-flash-lite",
];
