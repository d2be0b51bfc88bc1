//! What has been used under one `id`.

use std::sync::Arc;

/// The usage and the reservations of one `id`, in this process.
#[derive(Debug)]
pub struct KeyAccount {
    /// The `id` of the keys.
    pub id: Arc<str>,
}

impl KeyAccount {
    pub(super) fn new(id: &Arc<str>) -> Arc<Self> {
        Arc::new(Self { id: Arc::clone(id) })
    }
}
