//! The settings that a running proxy takes over anew: keys and model aliases.

use std::sync::{Arc, PoisonError};

use super::Proxy;
use crate::access::Access;
use crate::settings::{ModelAlias, Settings};

/// What `Proxy::reload` swaps. A request goes on with what it began with.
#[derive(Debug)]
pub(super) struct Live {
    /// `PROXY_API_KEYS` and `ALLOWED_ORIGINS`.
    pub(super) access: Access,
    /// `MODEL_ALIASES`.
    pub(super) model_aliases: Vec<ModelAlias>,
}

impl Live {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        let model_aliases = settings.model_aliases.clone();
        Arc::new(Self { access: Access::new(settings), model_aliases })
    }
}

impl Proxy {
    /// Takes over keys, allowed origins and model aliases. Nothing else changes, and no request
    /// that is under way notices.
    pub fn reload(&self, settings: &Settings) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Live::new(settings);
    }

    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }
}
