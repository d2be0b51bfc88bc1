//! Further logins: accounts with tokens, a project, a quota and failures of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::code_assist::SERVICE;
use crate::oauth::{TokenStatus, TokenStore};
use crate::patch::Patch;
use crate::status::{ApiError, error_info};

/// The logins by name.
#[derive(Debug, Default)]
pub(crate) struct Logins(BTreeMap<String, Login>);

/// A login besides the emulator's usual one. `docs/EMULATOR.md` describes the fields.
#[derive(Debug)]
struct Login {
    settings: LoginSettings,
    tokens: TokenStore,
}

/// How a login behaves.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoginSettings {
    /// The only project that is accepted with a token of the login.
    pub(crate) project: String,
    /// The buckets of `retrieveUserQuota`; `null` for the usual ones.
    pub(crate) quota: Option<Vec<Value>>,
    /// Whether the quota of every model is used up.
    pub(crate) exhausted: bool,
    /// The status with which calls to models fail.
    pub(crate) status: Option<u16>,
    /// Whether refreshes are refused with `invalid_grant`.
    pub(crate) revoked: bool,
    /// The delay of the login's answers of `/token`.
    pub(crate) token_delay_ms: u64,
    /// Whether a refresh issues a new refresh token and revokes the old one.
    pub(crate) rotate_refresh: bool,
}

/// A control request: logins to add or change, and `null` for those to remove.
pub(crate) type LoginsChange = BTreeMap<String, Option<Patch<LoginSettings>>>;

impl Logins {
    /// Applies a control request. Fails for a name that no token could have.
    pub(crate) fn change(&mut self, change: LoginsChange) -> Result<(), String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if let Some(wrong) = change.keys().find(|name| !is_name(name)) {
            return Err(format!("{wrong:?} is no name of a login (a-z and 0-9)"));
        }
        for (name, patch) in change {
            match patch {
                None => drop(self.0.remove(&name)),
                Some(patch) => patch.apply(&mut self.login(&name).settings),
            }
        }
        Ok(())
    }

    /// The settings of all logins.
    pub(crate) fn shown(&self) -> BTreeMap<&str, &LoginSettings> {
        self.0.iter().map(|(name, login)| (&**name, &login.settings)).collect()
    }

    /// A valid refresh token of a login, which is made if there is none with this name.
    pub(crate) fn refresh_token(&mut self, name: &str) -> String {
        self.login(name).tokens.refresh_token()
    }

    fn login(&mut self, name: &str) -> &mut Login {
        self.0.entry(name.to_owned()).or_insert_with(|| Login {
            settings: LoginSettings {
                project: format!("project-of-{name}"),
                ..LoginSettings::default()
            },
            tokens: TokenStore::of_login(name),
        })
    }

    /// The login that a refresh token belongs to, with its delay.
    pub(crate) fn by_refresh_token(&mut self, token: &str) -> Option<RefreshedLogin<'_>> {
        let login = self.0.values_mut().find(|login| login.tokens.knows_refresh(token))?;
        let delay = Duration::from_millis(login.settings.token_delay_ms);
        Some(RefreshedLogin { login, delay })
    }

    /// The settings of the login that an access token belongs to.
    pub(crate) fn by_token(&self, token: &str) -> Option<&LoginSettings> {
        let login = self.0.values().find(|it| it.tokens.status(token) != TokenStatus::Unknown)?;
        Some(&login.settings)
    }

    /// The state of an access token of any login.
    pub(crate) fn status(&self, token: &str) -> TokenStatus {
        let mut states = self.0.values().map(|login| login.tokens.status(token));
        states.find(|it| *it != TokenStatus::Unknown).unwrap_or(TokenStatus::Unknown)
    }

    /// Expires every access token.
    pub(crate) fn expire(&mut self) {
        self.0.values_mut().for_each(|login| login.tokens.expire());
    }
}

/// A login whose token is refreshed.
pub(crate) struct RefreshedLogin<'a> {
    login: &'a mut Login,
    pub(crate) delay: Duration,
}

impl RefreshedLogin<'_> {
    /// A new access token, and a new refresh token if they rotate. `None` if the grant is refused.
    pub(crate) fn issue(self, old: &str, lifetime: Duration) -> Option<(String, Option<String>)> {
        let Login { settings, tokens } = self.login;
        if settings.revoked {
            return None;
        }
        let refresh = settings.rotate_refresh.then(|| tokens.rotate(old));
        Some((tokens.issue(lifetime), refresh))
    }
}

impl LoginSettings {
    /// Refuses a call to a model, if the login is set to fail.
    pub(crate) fn check_call(&self) -> Result<(), ApiError> {
        if self.exhausted {
            let message = "You have exhausted your capacity on this model. Your quota will reset after 2h0m0s.";
            let reason = error_info("QUOTA_EXHAUSTED", SERVICE, json!({}));
            let retry = json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": "7200s",
            });
            return Err(ApiError::new(429, message).detail(reason).detail(retry));
        }
        match self.status {
            Some(status) => Err(ApiError::new(status, "The login is set to fail.")),
            None => Ok(()),
        }
    }
}
