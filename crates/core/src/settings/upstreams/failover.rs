//! When another upstream stands in for one that failed.

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
        self.reasons & reason.bit() != 0
    }

    /// Whether no failure moves a request.
    pub const fn is_off(self) -> bool {
        self.reasons == 0
    }

    /// These reasons and one more.
    #[must_use]
    pub const fn and(self, reason: FailoverReason) -> Self {
        Self { reasons: self.reasons | reason.bit() }
    }
}

/// A class of failures that another upstream may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverReason {
    /// The account or its key is refused.
    Account,
    /// A quota is used up until the next day or for good.
    Quota,
    /// Too many requests for now, for longer than a retry waits.
    Capacity,
    /// No endpoint can be reached.
    Unreachable,
    /// The upstream does not know the model.
    NotFound,
    /// Prepaid credits or a spending limit are used up.
    Billing,
}

impl FailoverReason {
    /// Every reason, in the order of the reference.
    pub const ALL: [Self; 6] = [
        Self::Account,
        Self::Quota,
        Self::Capacity,
        Self::Unreachable,
        Self::NotFound,
        Self::Billing,
    ];

    /// The word in `FAILOVER`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Unreachable => "unreachable",
            Self::NotFound => "not-found",
            Self::Billing => "billing",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
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
