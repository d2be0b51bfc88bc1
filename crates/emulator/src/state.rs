//! The state: the account, its tokens and operations, and how the emulator behaves.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::code_assist::{self, AccountStatus, OnboardingOperation};
use crate::gemini_api::GeminiState;
use crate::google_auth::{AuthSettings, GrantedTokens};
use crate::logins::{LoginSettings, Logins};
use crate::oauth::{self, TokenStatus, TokenStore};
use crate::vertex::{Caches, Operations, VertexSettings};

/// The state of the emulator and its only account. `docs/EMULATOR.md` describes every field.
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
    pub(crate) strict: bool,
    #[serde(skip)]
    pub(crate) caches: Caches,
    #[serde(skip)]
    pub(crate) google_auth: AuthSettings,
    #[serde(skip)]
    pub(crate) granted: GrantedTokens,
    #[serde(skip)]
    pub(crate) predictions: Operations,
    #[serde(skip)]
    pub(crate) vertex: VertexSettings,
    #[serde(skip)]
    pub(crate) logins: Logins,
    #[serde(skip)]
    pub(crate) tokens: TokenStore,
    #[serde(skip)]
    pub(crate) operations: HashMap<String, OnboardingOperation>,
    #[serde(skip)]
    pub(crate) gemini: GeminiState,
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
            models: code_assist::MODELS.map(str::to_owned).to_vec(),
            quota: code_assist::MODELS.map(code_assist::quota_bucket).to_vec(),
            onboarding_polls: 2,
            onboarding_error: None,
            token_lifetime_ms: millis(token_lifetime),
            token_delay_ms: 0,
            token_status: None,
            token_body: None,
            rotate_refresh: false,
            client_id: oauth::CLIENT_ID.to_owned(),
            client_secret: None,
            stream_events: 3,
            stream_interval_ms: 0,
            usage_chunk: true,
            metadata_chunk: true,
            strict: true,
            google_auth: AuthSettings::default(),
            vertex: VertexSettings::default(),
            caches: Caches::new(),
            granted: GrantedTokens::default(),
            predictions: Operations::new(),
            logins: Logins::default(),
            tokens: TokenStore::new(),
            operations: HashMap::new(),
            gemini: GeminiState::new(),
        }
    }

    pub(crate) fn token_lifetime(&self) -> Duration {
        Duration::from_millis(self.token_lifetime_ms)
    }

    pub(crate) fn pacing(&self) -> StreamPacing {
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

    /// The state of an access token of any login.
    pub(crate) fn token_status(&self, token: &str) -> TokenStatus {
        match self.tokens.status(token) {
            TokenStatus::Unknown => self.logins.status(token),
            known => known,
        }
    }

    /// The login that a request comes with, if it is one of the further ones.
    pub(crate) fn login(&self, bearer: Option<&str>) -> Option<&LoginSettings> {
        self.logins.by_token(bearer?)
    }

    /// The only project that is accepted with a token.
    pub(crate) fn project(&self, bearer: Option<&str>) -> &str {
        self.login(bearer).map_or(&self.project, |login| &login.project)
    }

    /// Applies a control request.
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
            self.granted.expire();
            self.tokens.expire();
            self.logins.expire();
        }
        if revoke_refresh {
            self.tokens.revoke_refresh();
        }
    }
}

/// How an ordinary stream is cut into events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamPacing {
    pub(crate) events: usize,
    pub(crate) interval: Duration,
    pub(crate) usage_chunk: bool,
    pub(crate) metadata_chunk: bool,
}

/// A control request: the fields of [`State`] that may be set, and two actions.
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

fn put<T>(place: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *place = new;
    }
}

/// Distinguishes `null` (set to `None`) from an absent key (leave as it is).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The project of the emulator's account, until a test changes it.
pub const PROJECT: &str = "emulator-project";
