//! Whether a try that failed is followed by another one (`docs/RESILIENCE.md`,
//! `docs/reference/protocol.md` 7.2 to 7.5).
//!
//! Every SDK retries by itself, and stacked retries multiply load: what is not likely to go better
//! within seconds is delivered at once.

use std::time::Duration;

use crate::failure::{Failure, FailureClass};

/// A try that failed while the client had received nothing.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// How many [`Verdict::Again`]s there were before: 0 for the first try. A replay after
    /// [`Verdict::Reauthorize`] is not counted.
    pub number: u32,
    /// Why it failed.
    pub failure: Failure,
    /// This request has had its [`Verdict::Reauthorize`].
    pub reauthorized: bool,
    /// An endpoint that this request has not tried would take it (`Endpoints::elsewhere`).
    pub more_endpoints: bool,
}

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `MAX_RETRY_ATTEMPTS`, other endpoints included.
    pub max_retries: u32,
    /// `RETRY_BASE_DELAY_MS`.
    pub base: Duration,
    /// `RETRY_MAX_DELAY_MS`.
    pub max: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again.
    Again {
        /// After this pause; zero where another endpoint takes the next try.
        after: Duration,
    },
    /// Give the failure to the client.
    Deliver,
    /// Try again at once with another access token.
    Reauthorize,
}

/// Judges a failed try. `random` are 64 random bits; `left` is what the client's own deadline
/// leaves ([`client_patience`] less the time since), if it named one.
///
/// - A 401 is replayed once, whatever `MAX_RETRY_ATTEMPTS` is (`docs/CREDENTIALS.md`).
/// - 429 and 503 with a stated delay are tried again after exactly that delay, if it is no longer
///   than `max`. "At once" is believed once: further on it is taken for no delay at all.
/// - 5xx and connection failures go to another endpoint at once, if there is one; a 429 does not,
///   since quotas are the account's.
/// - Otherwise they back off exponentially with full jitter: a delay drawn evenly from zero to a
///   ceiling that starts at `base` and doubles up to `max`. The lower bound is zero, which spreads
///   callers best (AWS Architecture Blog, "Exponential Backoff And Jitter").
/// - A time-out is final: generations take minutes, and a slow answer must not be started again.
/// - A retry that could not end within `left` is not begun.
pub fn judge(attempt: &Try, limits: &Limits, random: u64, left: Option<Duration>) -> Verdict {
    let remedy = remedy(attempt.failure);
    let verdict = match remedy {
        Remedy::None => Verdict::Deliver,
        Remedy::Token if attempt.reauthorized => Verdict::Deliver,
        Remedy::Token => Verdict::Reauthorize,
        _ if attempt.number >= limits.max_retries => Verdict::Deliver,
        Remedy::Time { elsewhere: true, .. } if attempt.more_endpoints => {
            Verdict::Again { after: Duration::ZERO }
        }
        Remedy::Time { tries, .. } if attempt.number >= tries => Verdict::Deliver,
        Remedy::Time { stated, .. } => match wait(attempt.number, stated, limits, random) {
            Some(after) => Verdict::Again { after },
            None => Verdict::Deliver,
        },
    };
    let begins_after = match verdict {
        Verdict::Again { after } => after,
        Verdict::Deliver | Verdict::Reauthorize => Duration::ZERO,
    };
    match left {
        Some(left) if begins_after.saturating_add(SHORTEST_CALL) > left => Verdict::Deliver,
        _ => verdict,
    }
}

/// What may help against a failure.
enum Remedy {
    None,
    Time {
        /// Another endpoint may do better at once.
        elsewhere: bool,
        /// What upstream asks for.
        stated: Stated,
        /// No more retries than this, whatever the settings allow.
        tries: u32,
    },
    Token,
}

/// The delay that upstream asks for.
#[derive(Clone, Copy)]
enum Stated {
    /// Wait exactly so long.
    Exactly(Duration),
    /// Back off, and no less than this.
    AtLeast(Duration),
}

fn remedy(failure: Failure) -> Remedy {
    let exactly = failure.retry_delay.map(Stated::Exactly);
    let at_least = Stated::AtLeast(failure.retry_delay.unwrap_or_default());
    let tries = if failure.no_capacity { FEW } else { u32::MAX };
    match failure.class {
        FailureClass::Unauthenticated => Remedy::Token,
        FailureClass::Unreachable | FailureClass::Disconnected | FailureClass::ServerError => {
            Remedy::Time { elsewhere: true, stated: at_least, tries }
        }
        FailureClass::Unavailable => {
            Remedy::Time { elsewhere: true, stated: exactly.unwrap_or(at_least), tries }
        }
        // Each such try may take minutes: "once or twice" (`docs/reference/protocol.md` 7.2).
        FailureClass::GatewayTimeout => {
            Remedy::Time { elsewhere: true, stated: at_least, tries: FEW }
        }
        FailureClass::RateLimited | FailureClass::Throttled => match exactly {
            Some(stated) => Remedy::Time { elsewhere: false, stated, tries },
            // A rate limit that names no delay is one of a minute (`docs/reference/protocol.md`
            // 7.4).
            None if failure.class == FailureClass::RateLimited => Remedy::None,
            None => Remedy::Time { elsewhere: false, stated: at_least, tries: FEW },
        },
        FailureClass::Account
        | FailureClass::Local
        | FailureClass::Malformed
        | FailureClass::Project
        | FailureClass::Quota
        | FailureClass::Request
        | FailureClass::ShuttingDown
        | FailureClass::TimedOut
        | FailureClass::UnknownServerError => Remedy::None,
    }
}

/// How long to wait before the next try; `None` for longer than is worth waiting.
fn wait(number: u32, stated: Stated, limits: &Limits, random: u64) -> Option<Duration> {
    let delay = match stated {
        Stated::Exactly(delay) if number > 0 && delay.is_zero() => {
            jittered(ceiling(number, limits), random)
        }
        Stated::Exactly(delay) => delay,
        Stated::AtLeast(least) => least.max(jittered(ceiling(number, limits), random)),
    };
    (delay <= limits.max).then_some(delay)
}

/// `base`, doubled for each try before, up to `max`.
fn ceiling(number: u32, limits: &Limits) -> Duration {
    let factor = 1_u32.checked_shl(number).unwrap_or(u32::MAX);
    limits.base.saturating_mul(factor).min(limits.max)
}

/// A delay drawn evenly from zero to this one, both possible.
fn jittered(ceiling: Duration, random: u64) -> Duration {
    let micros = (u128::from(random) * (ceiling.as_micros() + 1)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Retries of what a pause seldom helps (`docs/reference/protocol.md` 7.2: "few").
const FEW: u32 = 2;

/// No call to Google ends sooner, so none is begun with less time left.
const SHORTEST_CALL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
