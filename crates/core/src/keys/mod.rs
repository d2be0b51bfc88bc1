//! The holders of keys: what each may do, and what each has used.

mod account;
mod flush;
mod retention;
mod standing;
pub(crate) mod usage;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret;

use crate::caller::KeyDigest;
use crate::policy::budget::{Limits, ProcessId};
use crate::settings::{ApiKey, KeySettings, PriceSettings, Settings};
use crate::sync::lock;
use crate::time::Timestamp;

pub use account::{KeyAccount, Settlement, moment};
pub use flush::Flushed;
use flush::Flushing;
use retention::Retention;

/// A key that a client may present, with what its holder may do.
#[derive(Debug)]
pub struct KeyHolder {
    /// The key's table, or what stands in for one.
    pub settings: KeySettings,
    /// The identity for limits and caches.
    pub identity: KeyDigest,
    /// True for one of `PROXY_API_KEYS`, which has no table: it may read metrics and detailed health.
    pub is_plain: bool,
    /// What has been used under the `id`.
    pub account: Arc<KeyAccount>,
    /// What models cost.
    pub prices: Arc<[PriceSettings]>,
}

impl KeyHolder {
    /// The name in logs, metrics and usage.
    pub fn id(&self) -> &Arc<str> {
        &self.settings.id
    }

    /// When the key has expired, if it has. `clock` is read only for a key that expires.
    pub fn expired(&self, clock: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        self.settings.expires.filter(|at| *at <= clock())
    }

    /// True for the key that the shell gives to the commands of this machine's operator. It may read
    /// `/usage`, of all keys, and nothing else.
    pub fn is_operator(&self) -> bool {
        &*self.settings.id == OPERATOR
    }

    /// Whether the holder may read metrics and detailed health.
    pub fn may_read_metrics(&self) -> bool {
        self.is_plain || self.settings.admin
    }
}

/// Two holders are equal if they are the same person's and have the same key.
impl PartialEq for KeyHolder {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.settings.digest == other.settings.digest
    }
}

/// What all keys have used. It outlives the tables: a reload finds the accounts again by `id`.
#[derive(Debug)]
pub struct Keys {
    /// This process, for a store that several share.
    pub process: ProcessId,
    accounts: Mutex<HashMap<Arc<str>, Arc<KeyAccount>>>,
    /// In no list of holders or accounts.
    operator: Option<Arc<KeyHolder>>,
    flushing: Mutex<Flushing>,
    /// True while usage cannot be loaded.
    loads_fail: Arc<AtomicBool>,
    retention: Retention,
}

impl Keys {
    /// No accounts yet.
    pub fn new(process: ProcessId) -> Self {
        Self {
            process,
            accounts: Mutex::default(),
            operator: None,
            flushing: Mutex::default(),
            loads_fail: Arc::default(),
            retention: Retention::default(),
        }
    }

    /// The holders of the keys in these settings: those of the tables, then those of `PROXY_API_KEYS`.
    /// Without tables there are none, and no usage is counted.
    pub fn holders(&self, settings: &Settings) -> Vec<Arc<KeyHolder>> {
        if settings.keys.is_empty() {
            return Vec::new();
        }
        let prices: Arc<[PriceSettings]> = settings.prices.clone().into();
        let tables = settings.keys.iter().map(|table| {
            let identity = KeyDigest::of_id(&table.id);
            self.holder(table.clone(), identity, false, &prices)
        });
        let plain = (1..).zip(&settings.api_keys).map(|(number, key)| {
            let digest = KeyDigest::of(key.key.expose_secret());
            self.holder(plain_settings(label(number, key), digest), digest, true, &prices)
        });
        tables.chain(plain).map(Arc::new).collect()
    }

    /// Makes the key with this digest the operator's.
    pub fn set_operator(&mut self, digest: KeyDigest) {
        let mut settings = plain_settings(OPERATOR.into(), digest);
        settings.admin = true;
        let account = KeyAccount::new(&settings.id, &self.loads_fail);
        let prices = Arc::new([]);
        let holder = KeyHolder { settings, identity: digest, is_plain: false, account, prices };
        self.operator = Some(Arc::new(holder));
    }

    /// The operator's key, if there is one.
    pub fn operator(&self) -> Option<&Arc<KeyHolder>> {
        self.operator.as_ref()
    }

    /// True without tables: no usage is counted.
    pub fn are_none(&self) -> bool {
        lock(&self.accounts).is_empty()
    }

    /// All accounts, in the order of their ids.
    pub fn accounts(&self) -> Vec<Arc<KeyAccount>> {
        let mut accounts: Vec<_> = lock(&self.accounts).values().cloned().collect();
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        accounts
    }

    fn holder(
        &self,
        settings: KeySettings,
        identity: KeyDigest,
        is_plain: bool,
        prices: &Arc<[PriceSettings]>,
    ) -> KeyHolder {
        let id = &settings.id;
        let mut accounts = lock(&self.accounts);
        let account = accounts.entry(Arc::clone(id));
        let account = Arc::clone(account.or_insert_with(|| KeyAccount::new(id, &self.loads_fail)));
        drop(accounts);
        KeyHolder { settings, identity, is_plain, account, prices: Arc::clone(prices) }
    }
}

/// The name of one of `PROXY_API_KEYS` in logs: its own, else its place in the list, as in `#2`. No name
/// begins with `#`.
pub fn label(number: usize, key: &ApiKey) -> Arc<str> {
    key.name.clone().unwrap_or_else(|| format!("#{number}")).into()
}

/// The name of the operator's key in logs. No `id` of a table begins with `#`, and no name.
const OPERATOR: &str = "#operator";

fn plain_settings(id: Arc<str>, digest: KeyDigest) -> KeySettings {
    KeySettings {
        id,
        digest,
        models: Vec::new(),
        upstreams: Vec::new(),
        requests_per_minute: None,
        limits: Limits::default(),
        expires: None,
        own: None,
        code_assist_protocol: None,
        admin: false,
    }
}
