//! The login of a key's holder, which gives the key an upstream of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::Upstream;
use crate::platform::Platform;
use crate::settings::{
    AccountSettings, CodeAssistSettings, CredentialsJson, KeySettings, OwnCredentials, Settings,
    UpstreamSettings, is_json,
};

/// A login of a key. Keys with the same `id` and the same login share it.
#[derive(Debug)]
pub(crate) struct OwnLogin {
    /// The `id` of the key.
    pub(crate) id: Arc<str>,
    settings: OwnCredentials,
    /// What its entries in the store have after their names.
    pub(super) place: Arc<str>,
    refreshes: AtomicU64,
    failed_refreshes: AtomicU64,
    /// Its regular work is being done.
    pub(super) is_looked_after: AtomicBool,
}

impl OwnLogin {
    /// The login of a key, if it has one.
    pub(super) fn of(key: &KeySettings) -> Option<Self> {
        let settings = key.own.clone()?;
        Some(Self {
            id: Arc::clone(&key.id),
            settings,
            place: format!("key/{}", key.id).into(),
            refreshes: AtomicU64::default(),
            failed_refreshes: AtomicU64::default(),
            is_looked_after: AtomicBool::default(),
        })
    }

    /// True for the same holder, credentials and project.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let secret = |it: &Self| it.settings.credentials.expose_secret().to_owned();
        self.id == other.id
            && self.settings.project == other.settings.project
            && secret(self) == secret(other)
    }

    /// Keeps the entries of a second login with the same `id` apart from those of the first.
    pub(super) fn move_to_further_place(&mut self) {
        let digest = Sha256::digest(self.settings.credentials.expose_secret());
        let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        self.place = format!("{}/{short}", self.place).into();
    }

    /// What tells the answers of the login apart from those of others in a cache.
    pub(super) fn variant(&self) -> String {
        let digest = Sha256::digest(self.settings.credentials.expose_secret());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {digest} {:?}", self.place, self.settings.project)
    }

    /// The upstream of the login: like the operator's at Code Assist, if there is one, in all but the
    /// account.
    pub(super) fn upstream_settings(&self, settings: &Settings) -> UpstreamSettings {
        let is_code_assist =
            |it: &&UpstreamSettings| matches!(it.account, AccountSettings::CodeAssist(_));
        let like = settings.upstreams.iter().find(is_code_assist);
        let account = AccountSettings::CodeAssist(self.account());
        match like {
            Some(operators) => UpstreamSettings { account, ..operators.clone() },
            None => UpstreamSettings {
                name: "code-assist".into(),
                account,
                endpoints: settings.code_assist_endpoints.clone(),
                models: Vec::new(),
                model_map: Vec::new(),
            },
        }
    }

    fn account(&self) -> CodeAssistSettings {
        let OwnCredentials { credentials, project } = &self.settings;
        let text = credentials.expose_secret();
        let is_json = is_json(text);
        let json = CredentialsJson { name: "`credentials` of the key", text: credentials.clone() };
        CodeAssistSettings {
            credentials_json: is_json.then_some(json),
            credentials_file: (!is_json).then(|| text.to_owned()),
            access_token: None,
            project_id: project.clone(),
            key: Some(Arc::clone(&self.id)),
        }
    }

    /// How many refreshes have succeeded, and how many have failed.
    pub(super) fn refreshes(&self) -> (u64, u64) {
        (self.refreshes.load(Relaxed), self.failed_refreshes.load(Relaxed))
    }

    /// Counts a refresh.
    pub(super) fn count_refresh(&self, succeeded: bool) {
        let count = if succeeded { &self.refreshes } else { &self.failed_refreshes };
        count.fetch_add(1, Relaxed);
    }
}

impl Upstream {
    /// True while the regular work of a key's upstream is being done.
    pub(super) fn is_looked_after(&self) -> bool {
        self.own_login().is_some_and(|own| own.is_looked_after.load(Relaxed))
    }

    /// Does the regular work of a key's upstream, unless it is being done already.
    pub(crate) async fn look_after<P: Platform>(&self, platform: &P) {
        let Some(own) = self.own_login() else { return };
        if !own.is_looked_after.swap(true, Relaxed) {
            let _guard = LookingAfter(own);
            self.tick(platform).await;
        }
    }
}

/// The regular work of a login, until it ends or is cancelled.
struct LookingAfter<'a>(&'a OwnLogin);

impl Drop for LookingAfter<'_> {
    fn drop(&mut self) {
        self.0.is_looked_after.store(false, Relaxed);
    }
}
