//! What is known of an account's models: a plain value without clock or lock.

use std::sync::Arc;

use crate::dialect::gemini::models::Model;
use crate::policy::lease::Leases;
use crate::time::Monotonic;

/// The models that are listed, and the lease for finding them.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) known: Option<KnownModels>,
    pub(super) leases: Leases,
}

/// The models that were found last.
#[derive(Debug)]
pub(super) struct KnownModels {
    pub(super) models: Arc<[Model]>,
    pub(super) since: Monotonic,
    /// Until when they answer requests that arrive after `since`.
    pub(super) until: Monotonic,
}

impl Catalog {
    /// Forgets everything, since another account may have other models.
    pub(super) fn clear(&mut self) {
        self.known = None;
        self.leases.void();
    }
}
