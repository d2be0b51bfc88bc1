//! The spine.

/// Deferred work, as data.
#[derive(Debug, Clone)]
pub enum Chore {}
