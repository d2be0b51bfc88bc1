//! The settings that a running proxy can replace: keys, allowed hosts and origins, model aliases.

use std::sync::Arc;

use super::Proxy;
use crate::access::Access;
use crate::keys::{KeyHolder, Keys};
use crate::platform::Platform;
use crate::settings::{KeySettings, ModelAlias, Problem, Settings};
use crate::shards::{Published, Replica};
use crate::upstream::{KeyLists, Upstreams};

/// The settings that [`Proxy::reload`] replaces. A request keeps the ones with which it began.
#[derive(Debug)]
pub(super) struct ReloadableSettings {
    /// `PROXY_API_KEYS`, `ALLOWED_HOSTS` and `ALLOWED_ORIGINS`.
    pub(super) access: Access,
    /// The upstreams of keys that do not use the operator's.
    pub(super) upstreams: KeyLists,
    /// False if the operator needs no login: see [`needs_operators`].
    pub(super) needs_operators: bool,
    /// `MODEL_ALIASES`.
    pub(super) model_aliases: Vec<ModelAlias>,
    /// The holders of keys; none without `[[key]]` tables.
    pub(super) holders: Vec<Arc<KeyHolder>>,
    keys: usize,
}

impl ReloadableSettings {
    pub(super) fn new(settings: &Settings, keys: &Keys, upstreams: &Upstreams) -> Self {
        let model_aliases = settings.model_aliases.clone();
        let holders = keys.holders(settings);
        let lists = upstreams.lists(&settings.keys);
        Self {
            // Without holders no usage is counted, and the operator's key has nothing to read.
            access: Access::new(settings, &holders)
                .with_operator(keys.operator().filter(|_| !holders.is_empty())),
            needs_operators: needs_operators(settings, &lists),
            upstreams: lists,
            model_aliases,
            holders,
            keys: settings.number_of_keys(),
        }
    }

    /// A replica for each shard.
    pub(super) fn published(self) -> Published<Replica<Self>> {
        let all = Arc::new(self);
        Published::new(|| Arc::new(Arc::clone(&all)))
    }
}

/// False if every key has a login of its own, and no other upstream. Keys of admins without a login do not count:
/// they read usage and metrics.
fn needs_operators(settings: &Settings, lists: &KeyLists) -> bool {
    let uses = |key: &KeySettings| match lists.of(&key.digest) {
        Some(list) => list.iter().any(|upstream| upstream.own_login().is_none()),
        None => !key.admin,
    };
    let have_logins = settings.keys.iter().any(|key| key.own.is_some());
    !have_logins || !settings.api_keys.is_empty() || settings.keys.iter().any(uses)
}

impl Proxy {
    /// Forgets which quotas are exhausted, so that upstream is asked again.
    pub fn retry_quotas<P: Platform>(&self, platform: &P) {
        let own = self.upstreams.own();
        for upstream in self.upstreams.operators.iter().chain(own.iter().map(|own| &**own)) {
            upstream.calls.quotas.clear(platform.wall_clock());
            upstream.forget_inability();
        }
    }

    /// Replaces keys with their upstreams, allowed hosts and origins, and model aliases. Other settings and requests in
    /// flight are not affected.
    pub fn reload(&self, settings: &Settings) {
        let all = Arc::new(ReloadableSettings::new(settings, &self.keys, &self.upstreams));
        self.reloadable.replace(|| Arc::new(Arc::clone(&all)));
        self.memory.set_keys(settings.number_of_keys());
    }

    /// Why these settings cannot be applied to the running process: keys that name upstreams which it does not
    /// have. Without this check such a key could use any.
    pub fn reload_problems(&self, settings: &Settings) -> Vec<Problem> {
        let operators = &self.upstreams.operators;
        let is_here = |name: &str| operators.iter().any(|upstream| *upstream.name == *name);
        let mut problems = Vec::new();
        for key in &settings.keys {
            let missing: Vec<&str> =
                key.upstreams.iter().map(|name| &**name).filter(|name| !is_here(name)).collect();
            if !missing.is_empty() {
                let text = format!(
                    "names {}, which the running process does not have: upstreams change with a restart",
                    missing.join(", ")
                );
                problems.push(Problem { name: format!("upstreams of key {}", key.id), text });
            }
        }
        problems
    }

    /// True while clients must present a key.
    pub fn needs_keys(&self) -> bool {
        self.reloadable().access.needs_keys()
    }

    /// How many concurrency permits one caller holds at most, which the number of keys decides too.
    pub fn permits_per_caller(&self) -> usize {
        self.settings.permits_per_caller(self.reloadable().keys)
    }

    pub(super) fn reloadable(&self) -> Replica<ReloadableSettings> {
        self.reloadable.read(Arc::clone)
    }
}
