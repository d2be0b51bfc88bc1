//! The settings that a running proxy can replace: keys, allowed origins and model aliases.

use std::sync::{Arc, PoisonError};

use super::Proxy;
use crate::access::Access;
use crate::platform::Platform;
use crate::settings::{ModelAlias, Settings};

/// The settings that [`Proxy::reload`] replaces. A request keeps the ones with which it began.
#[derive(Debug)]
pub(super) struct ReloadableSettings {
    /// `PROXY_API_KEYS` and `ALLOWED_ORIGINS`.
    pub(super) access: Access,
    /// `MODEL_ALIASES`.
    pub(super) model_aliases: Vec<ModelAlias>,
}

impl ReloadableSettings {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        let model_aliases = settings.model_aliases.clone();
        Arc::new(Self { access: Access::new(settings), model_aliases })
    }
}

impl Proxy {
    /// Replaces keys, allowed origins and model aliases, and forgets which quotas are exhausted. Other
    /// settings and requests in flight are not affected.
    pub fn reload<P: Platform>(&self, platform: &P, settings: &Settings) {
        self.upstream.calls.quotas.clear(platform.wall_clock());
        *self.reloadable.write().unwrap_or_else(PoisonError::into_inner) =
            ReloadableSettings::new(settings);
    }

    pub(super) fn reloadable(&self) -> Arc<ReloadableSettings> {
        Arc::clone(&self.reloadable.read().unwrap_or_else(PoisonError::into_inner))
    }
}
