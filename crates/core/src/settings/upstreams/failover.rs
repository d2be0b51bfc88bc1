//! When another upstream stands in for one that failed.

pub use crate::failure::FailoverReason;

/// The reasons for which the next upstream is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failover {
    reasons: u8,
}

impl Failover {
    /// No reason.
    pub const OFF: Self = Self { reasons: 0 };

    /// Whether the next upstream is tried for `reason`.
    pub const fn includes(self, reason: FailoverReason) -> bool {
        self.reasons & bit(reason) != 0
    }

    /// Whether no failure moves a request.
    pub const fn is_off(self) -> bool {
        self.reasons == 0
    }

    /// These reasons and one more.
    #[must_use]
    pub const fn and(self, reason: FailoverReason) -> Self {
        Self { reasons: self.reasons | bit(reason) }
    }
}

const fn bit(reason: FailoverReason) -> u8 {
    1 << reason as u8
}

/// One of `FAILOVER_MODELS`: the model that an upstream is asked for in place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverModel {
    /// The model that the request names.
    pub model: String,
    /// The name of the upstream that stands in.
    pub upstream: String,
    /// The model that this upstream is asked for.
    pub name: String,
}

/// What happens to thought signatures of another provider (`FAILOVER_SIGNATURES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverSignatures {
    /// A body that has some stays with its upstream.
    Keep,
    /// Each is replaced by the placeholder that Google documents.
    Placeholder,
}
