//! Retries: whether another try follows a failed one (`docs/RESILIENCE.md`,
//! `docs/reference/protocol.md` 7.2 to 7.5).
//!
//! Every SDK retries by itself, and stacked retries multiply the load. A failure that another try
//! within seconds is not likely to avoid is therefore delivered at once.

use std::time::Duration;

use crate::failure::{Failure, FailureClass};

/// A failed try of a request whose client has received nothing.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// The number of earlier [`RetryVerdict::Again`]s, 0 for the first try. A replay after
    /// [`RetryVerdict::Reauthorize`] does not count.
    pub number: u32,
    /// Why the try failed.
    pub failure: Failure,
    /// True when the request has already had its [`RetryVerdict::Reauthorize`].
    pub reauthorized: bool,
    /// True when another endpoint may be called at once that the request has not tried
    /// (`AfterCall::more_endpoints`).
    pub more_endpoints: bool,
}

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// `MAX_RETRY_ATTEMPTS`, which includes tries at other endpoints.
    pub max_retries: u32,
    /// `RETRY_BASE_DELAY_MS`.
    pub base: Duration,
    /// `RETRY_MAX_DELAY_MS`.
    pub max: Duration,
}

/// What follows a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the verdict says whether the client gets the failure"]
pub enum RetryVerdict {
    /// Try again.
    Again {
        /// The pause before the next try; zero when that try goes to another endpoint.
        after: Duration,
    },
    /// Give the failure to the client.
    Deliver,
    /// Try again at once with another access token.
    Reauthorize,
}

/// Decides what follows a failed try. `random` are 64 random bits. `left` is the time until the
/// client's deadline, if the client set one.
///
/// - A 401 is replayed once, whatever `MAX_RETRY_ATTEMPTS` is (`docs/CREDENTIALS.md`).
/// - A 429 or 503 with a stated delay is tried again after exactly that delay, if the delay is not
///   longer than `max`. A stated delay of zero counts once; later it is treated as no stated delay.
/// - A 5xx or a connection failure moves to another endpoint at once, if there is one. A 429 does
///   not, since quotas belong to the account.
/// - A request that upstream may have carried out is not tried again when its connection breaks: a
///   generation would run, and count, twice.
/// - Otherwise the tries back off exponentially with full jitter: a delay drawn evenly from zero to
///   a ceiling that starts at `base` and doubles up to `max`. The lower bound of zero spreads the
///   callers best (AWS Architecture Blog, "Exponential Backoff And Jitter").
/// - A time-out is not tried again: a generation takes minutes, and a slow one must not run twice.
/// - A retry that cannot end within `left` is not begun.
pub fn judge(
    attempt: &Try,
    limits: &RetryLimits,
    random: u64,
    left: Option<Duration>,
) -> RetryVerdict {
    let remedy = remedy(attempt.failure);
    let verdict = match remedy {
        Remedy::None => RetryVerdict::Deliver,
        Remedy::Token if attempt.reauthorized => RetryVerdict::Deliver,
        Remedy::Token => RetryVerdict::Reauthorize,
        _ if attempt.number >= limits.max_retries => RetryVerdict::Deliver,
        Remedy::Time { elsewhere: true, .. } if attempt.more_endpoints => {
            RetryVerdict::Again { after: Duration::ZERO }
        }
        Remedy::Time { tries, .. } if attempt.number >= tries => RetryVerdict::Deliver,
        Remedy::Time { stated, .. } => match wait(attempt.number, stated, limits, random) {
            Some(after) => RetryVerdict::Again { after },
            None => RetryVerdict::Deliver,
        },
    };
    let begins_after = match verdict {
        RetryVerdict::Again { after } => after,
        RetryVerdict::Deliver | RetryVerdict::Reauthorize => Duration::ZERO,
    };
    match left {
        Some(left) if begins_after.saturating_add(SHORTEST_CALL) > left => RetryVerdict::Deliver,
        _ => verdict,
    }
}

/// What may help after a failure.
enum Remedy {
    None,
    Time {
        /// True when another endpoint may succeed at once.
        elsewhere: bool,
        /// The delay that upstream states.
        stated: Stated,
        /// The most retries, whatever the settings allow.
        tries: u32,
    },
    Token,
}

/// The delay that upstream states.
#[derive(Clone, Copy)]
enum Stated {
    /// Wait for exactly this time.
    Exactly(Duration),
    /// Back off, for at least this time.
    AtLeast(Duration),
}

fn remedy(failure: Failure) -> Remedy {
    let exactly = failure.retry_delay.map(Stated::Exactly);
    let at_least = Stated::AtLeast(failure.retry_delay.unwrap_or_default());
    let tries = if failure.no_capacity { FEW } else { u32::MAX };
    match failure.class {
        FailureClass::Unauthenticated => Remedy::Token,
        FailureClass::NoEvents
        | FailureClass::NotProcessed
        | FailureClass::ServerError
        | FailureClass::Unreachable => Remedy::Time { elsewhere: true, stated: at_least, tries },
        // Another endpoint needs the same resources.
        FailureClass::LocalResources => Remedy::Time { elsewhere: false, stated: at_least, tries },
        FailureClass::Unavailable => {
            Remedy::Time { elsewhere: true, stated: exactly.unwrap_or(at_least), tries }
        }
        // Each such try may take minutes. "Once or twice" (`docs/reference/protocol.md` 7.2).
        FailureClass::GatewayTimeout => {
            Remedy::Time { elsewhere: true, stated: at_least, tries: FEW }
        }
        FailureClass::RateLimited | FailureClass::Throttled => match exactly {
            Some(stated) => Remedy::Time { elsewhere: false, stated, tries },
            // A rate limit without a stated delay has a window of a minute
            // (`docs/reference/protocol.md` 7.4).
            None if failure.class == FailureClass::RateLimited => Remedy::None,
            None => Remedy::Time { elsewhere: false, stated: at_least, tries: FEW },
        },
        FailureClass::Account
        | FailureClass::Billing
        | FailureClass::BrokenAnswer
        | FailureClass::Credentials
        | FailureClass::Disconnected
        | FailureClass::Local
        | FailureClass::Malformed
        | FailureClass::NoAnswer
        | FailureClass::Project
        | FailureClass::Quota
        | FailureClass::Request
        | FailureClass::ShuttingDown
        | FailureClass::TimedOut
        | FailureClass::UnknownServerError => Remedy::None,
    }
}

/// The pause before the next try; `None` when it is longer than the settings allow.
fn wait(number: u32, stated: Stated, limits: &RetryLimits, random: u64) -> Option<Duration> {
    let delay = match stated {
        Stated::Exactly(delay) if number > 0 && delay.is_zero() => {
            jittered(ceiling(number, limits), random)
        }
        Stated::Exactly(delay) => delay,
        Stated::AtLeast(least) => least.max(jittered(ceiling(number, limits), random)),
    };
    (delay <= limits.max).then_some(delay)
}

/// `base`, doubled for each earlier retry, up to `max`.
fn ceiling(number: u32, limits: &RetryLimits) -> Duration {
    let factor = 1_u32.checked_shl(number).unwrap_or(u32::MAX);
    limits.base.saturating_mul(factor).min(limits.max)
}

/// A delay drawn evenly from zero to the ceiling, both included.
fn jittered(ceiling: Duration, random: u64) -> Duration {
    let micros = (u128::from(random) * (ceiling.as_micros() + 1)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The most retries after failures that a pause seldom cures (`docs/reference/protocol.md` 7.2:
/// "few").
const FEW: u32 = 2;

/// The shortest time that a call to Google takes: no retry begins with less time left.
const SHORTEST_CALL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
