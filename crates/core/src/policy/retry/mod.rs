//! Whether a try that failed is followed by another one (`spec.md` 10, `protocol.md` 7.2 to 7.5).
//!
//! Every SDK retries by itself, and stacked retries multiply load: what is not likely to go better
//! within seconds is delivered at once.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::error::Error;
use crate::google::error::UpstreamError;

/// A try that failed while the client had received nothing.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    /// How many [`Verdict::Again`]s there were before: 0 for the first try. A replay after
    /// [`Verdict::Reauthorize`] is not counted.
    pub number: u32,
    /// Why it failed.
    pub failure: Failure<'a>,
    /// This request has had its [`Verdict::Reauthorize`].
    pub reauthorized: bool,
    /// An endpoint that this request has not tried would take it (`Endpoints::elsewhere`).
    pub more_endpoints: bool,
}

/// Why a try failed.
#[derive(Debug, Clone, Copy)]
pub enum Failure<'a> {
    /// Upstream said no.
    Fault(&'a UpstreamError),
    /// There was no answer to read.
    Error(&'a Error),
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
        /// After so long.
        after: Duration,
        /// At an endpoint that has not been tried.
        elsewhere: bool,
    },
    /// Give the failure to the client.
    Deliver,
    /// Try again at once with another access token.
    Reauthorize,
}

/// Judges a failed try. `random` are 64 random bits; `left` is what the client's own deadline
/// leaves ([`client_patience`] less the time since), if it named one.
///
/// - A 401 is replayed once, whatever `MAX_RETRY_ATTEMPTS` is (`spec.md` 8).
/// - 429 and 503 with a stated delay are tried again after exactly that delay, if it is no longer
///   than `max`. "At once" is believed once: further on it is taken for no delay at all.
/// - 5xx and connection failures go to another endpoint at once, if there is one; a 429 does not,
///   since quotas are the account's.
/// - Otherwise they back off exponentially with full jitter: a delay drawn evenly from zero to a
///   ceiling that starts at `base` and doubles up to `max`. The lower bound is zero, which spreads
///   callers best (AWS Architecture Blog, "Exponential Backoff And Jitter").
/// - A time-out is final: generations take minutes, and a slow answer must not be started again.
/// - A retry that could not end within `left` is not begun.
pub fn judge(attempt: &Try<'_>, limits: &Limits, random: u64, left: Option<Duration>) -> Verdict {
    let remedy = remedy(attempt.failure);
    let verdict = match remedy {
        Remedy::None => Verdict::Deliver,
        Remedy::Token if attempt.reauthorized => Verdict::Deliver,
        Remedy::Token => Verdict::Reauthorize,
        _ if attempt.number >= limits.max_retries => Verdict::Deliver,
        Remedy::Time { elsewhere: true, .. } if attempt.more_endpoints => {
            Verdict::Again { after: Duration::ZERO, elsewhere: true }
        }
        Remedy::Time { tries, .. } if attempt.number >= tries => Verdict::Deliver,
        Remedy::Time { stated, .. } => match wait(attempt.number, stated, limits, random) {
            Some(after) => Verdict::Again { after, elsewhere: false },
            None => Verdict::Deliver,
        },
    };
    let begins_after = match verdict {
        Verdict::Again { after, .. } => after,
        Verdict::Deliver | Verdict::Reauthorize => Duration::ZERO,
    };
    match left {
        Some(left) if begins_after.saturating_add(SHORTEST_CALL) > left => Verdict::Deliver,
        _ => verdict,
    }
}

/// How long the client is willing to wait for its answer: `X-Server-Timeout` in seconds, which the
/// google-genai SDKs send.
pub fn client_patience(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(SERVER_TIMEOUT)?.to_str().ok()?.trim().parse().ok()?;
    // Zero, like nonsense, is no deadline that anybody means.
    Duration::try_from_secs_f64(seconds).ok().filter(|patience| !patience.is_zero())
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

fn remedy(failure: Failure<'_>) -> Remedy {
    match failure {
        Failure::Fault(fault) => remedy_for_fault(fault),
        Failure::Error(Error::UpstreamUnreachable { .. } | Error::UpstreamDisconnected) => {
            Remedy::Time {
                elsewhere: true,
                stated: Stated::AtLeast(Duration::ZERO),
                tries: u32::MAX,
            }
        }
        Failure::Error(_) => Remedy::None,
    }
}

fn remedy_for_fault(fault: &UpstreamError) -> Remedy {
    if fault.http == StatusCode::UNAUTHORIZED {
        return Remedy::Token;
    }
    if fault.is_terminal_quota() || fault.is_suspended() || fault.is_validation_required() {
        return Remedy::None;
    }
    let exactly = fault.retry_delay.map(Stated::Exactly);
    let at_least = Stated::AtLeast(fault.retry_delay.unwrap_or_default());
    let few = if is_capacity(fault) { FEW } else { u32::MAX };
    match fault.http {
        StatusCode::TOO_MANY_REQUESTS => match exactly {
            Some(stated) => Remedy::Time { elsewhere: false, stated, tries: few },
            // A throttle that does not say for how long is one of a minute (`protocol.md` 7.4).
            None if fault.has_reason("RATE_LIMIT_EXCEEDED") => Remedy::None,
            // Shared capacity, or blocking in disguise: `Resource has been exhausted`.
            None => Remedy::Time { elsewhere: false, stated: at_least, tries: FEW },
        },
        StatusCode::SERVICE_UNAVAILABLE => {
            Remedy::Time { elsewhere: true, stated: exactly.unwrap_or(at_least), tries: few }
        }
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => {
            Remedy::Time { elsewhere: true, stated: at_least, tries: few }
        }
        // Each such try may take minutes: "once or twice" (`protocol.md` 7.2).
        StatusCode::GATEWAY_TIMEOUT => {
            Remedy::Time { elsewhere: true, stated: at_least, tries: FEW }
        }
        _ => Remedy::None,
    }
}

/// The backend has no room for this model, whoever asks.
fn is_capacity(fault: &UpstreamError) -> bool {
    CAPACITY_REASONS.iter().any(|reason| fault.has_reason(reason))
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

/// Retries of what time seldom mends (`protocol.md` 7.2: "few").
const FEW: u32 = 2;

/// `protocol.md` 7.4, rule 6.
const CAPACITY_REASONS: [&str; 2] = ["MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"];

/// No call to Google ends sooner, so none is begun with less time left.
const SHORTEST_CALL: Duration = Duration::from_millis(50);

const SERVER_TIMEOUT: HeaderName = HeaderName::from_static("x-server-timeout");

#[cfg(test)]
mod tests;
