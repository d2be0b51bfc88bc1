//! How long a client waits for its answer.

use std::time::Duration;

use http::HeaderValue;

use crate::error::{Awaited, Error};
use crate::time::Monotonic;

/// When the client stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// How long the client waits in all.
    pub(crate) allowed: Duration,
    pub(crate) at: Monotonic,
}

impl Deadline {
    /// The deadline of a request that came at `received`, from `X-Server-Timeout` in seconds, which
    /// the google-genai SDKs send.
    pub(super) fn of(timeout: &HeaderValue, received: Monotonic) -> Option<Self> {
        let seconds: f64 = timeout.to_str().ok()?.trim().parse().ok()?;
        // Zero is no deadline, and neither is a value that is no number.
        let allowed = Duration::try_from_secs_f64(seconds).ok().filter(|it| !it.is_zero())?;
        let allowed = allowed.min(LONGEST_DEADLINE);
        Some(Self { allowed, at: received + allowed })
    }

    /// What is left of it.
    pub(crate) fn left(self, now: Monotonic) -> Duration {
        self.at.since(now)
    }

    /// What the client gets when it is over.
    pub(crate) fn error(self) -> Error {
        Error::UpstreamTimeout { awaited: Awaited::ClientDeadline, after: self.allowed }
    }
}

/// What the client gets when the time for the first byte is over: its own deadline's error, else the one
/// of the proxy's `own` limit.
pub(crate) fn first_byte_error(deadline: Option<Deadline>, own: Duration) -> Error {
    match deadline {
        Some(deadline) => deadline.error(),
        None => Error::UpstreamTimeout { awaited: Awaited::FirstByte, after: own },
    }
}

/// The longest time that a client may make the proxy wait for the first byte.
const LONGEST_DEADLINE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_how_long_it_waits() {
        for (text, allowed) in [
            ("60", Some(60.0)),
            (" 2.5 ", Some(2.5)),
            ("1e6", Some(3600.0)),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("soon", None),
            ("", None),
        ] {
            let timeout = HeaderValue::from_static(text);
            let deadline = Deadline::of(&timeout, Monotonic(0)).map(|deadline| deadline.allowed);
            assert_eq!(deadline, allowed.map(Duration::from_secs_f64), "{text:?}");
        }
    }
}
