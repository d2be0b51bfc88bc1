//! The access token, and which request starts its refresh (`docs/CREDENTIALS.md`).
//!
//! Failures are opaque values of type `E`: the policy keeps and returns them.

mod tries;

use std::time::Duration;

use http::HeaderValue;

pub use self::tries::pause_before_next_try;
use super::lease::{Lease, Leases};
use crate::shards::HasReadyPart;
use crate::time::{Monotonic, Timestamp};

/// An access token, or a key in place of one, ready to send. A clone shares the bytes; `Debug` prints `Sensitive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The value of `Authorization`: `Bearer …`. (Of a key: the key.)
    pub header: HeaderValue,
    /// The token's number, so that a hundred requests that get a 401 invalidate one token once.
    generation: u64,
}

impl Bearer {
    /// A key, which nothing invalidates.
    pub(crate) fn of_key(header: HeaderValue) -> Self {
        Self { header, generation: 0 }
    }

    /// The same token in bytes of its own.
    fn copy(&self) -> Self {
        let mut header =
            HeaderValue::from_bytes(self.header.as_bytes()).unwrap_or_else(|_| self.header.clone());
        header.set_sensitive(self.header.is_sensitive());
        Self { header, generation: self.generation }
    }
}

/// A new access token that has not expired.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The value of `Authorization`: `Bearer …`.
    pub header: HeaderValue,
    /// When the token expires, if that is known.
    pub expires_at: Option<Timestamp>,
    /// The token's lifetime at its issue; known only for a token that this process was issued.
    pub lifetime: Option<Duration>,
    /// How long before its expiry the token is renewed at the earliest. A server that gives the same token
    /// again until then would otherwise be asked in a loop.
    pub longest_ahead: Option<Duration>,
}

/// What a request does about its access token.
#[derive(Debug)]
#[must_use = "a verdict may carry a lease"]
pub enum TokenVerdict<E> {
    /// Fail: there is no token, and waiting would not help. The duration is what is left until the next
    /// refresh may start; `None` if none does before the credentials change.
    Failed(E, Option<Duration>),
    /// Start a refresh in the background, then ask again.
    Refresh(Lease),
    /// Send this token.
    Use(Bearer),
    /// Send this token, and start a refresh in the background.
    UseAndRefresh(Bearer, Lease),
    /// Ask again a little later: a refresh is in progress.
    Wait,
}

/// When the access token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExpiry {
    /// At this time.
    At(Timestamp),
    /// There is no valid token.
    NoToken,
    /// There is a token, and its expiry is not known.
    Unknown,
}

impl TokenExpiry {
    /// The time, if it is known.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::NoToken | Self::Unknown => None,
        }
    }
}

/// How a refresh ended.
#[derive(Debug)]
pub enum FetchOutcome<E> {
    /// No token was issued; a later refresh may succeed.
    Failed(E),
    /// The same, and Google asks not to be asked again before this time has passed.
    Deferred(E, Duration),
    /// A token was issued.
    Got {
        /// The new token.
        token: IssuedToken,
        /// True when a refresh can replace the token before it expires.
        renewable: bool,
    },
    /// No token will be issued until the credentials change.
    Rejected(E),
    /// The credentials changed during the refresh, so its result does not apply.
    Stale,
}

/// The token in use, and what is known of its refresh.
#[derive(Debug)]
pub struct TokenState<E> {
    current: Option<CurrentToken>,
    leases: Leases,
    trouble: Option<Trouble<E>>,
    /// The number of failures in a row, and the time of the last one. A new token does not reset the
    /// count, since upstream may still reject that token.
    failed: Option<(u32, Monotonic)>,
    generation: u64,
    /// The credentials have given a token, and were not refused since.
    proven: bool,
    buffer: Duration,
    /// Until when a 401 starts no refresh, since upstream also rejected the token of the last one.
    cooldown_until: Option<Monotonic>,
}

#[derive(Debug)]
struct CurrentToken {
    bearer: Bearer,
    expires_at: Option<Timestamp>,
    /// When to start the refresh; `None` for a token that cannot be renewed.
    renew_at: Option<Due>,
    /// True when upstream has rejected the token.
    invalidated: bool,
}

/// A failed refresh, and how long no other refresh is started.
#[derive(Debug)]
struct Trouble<E> {
    error: E,
    /// `None` until the credentials change.
    until: Option<Monotonic>,
}

impl<E: Clone> TokenState<E> {
    /// A state without a token. `buffer` is how long before its expiry a token is renewed.
    pub fn new(buffer: Duration) -> Self {
        Self {
            current: None,
            leases: Leases::default(),
            trouble: None,
            failed: None,
            generation: 0,
            proven: false,
            cooldown_until: None,
            buffer,
        }
    }

    /// Decides what a request does. `Proxy::tick` asks too, once a second.
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> TokenVerdict<E> {
        let paused = match &self.trouble {
            Some(trouble) => trouble.until.is_none_or(|until| now < until),
            None => false,
        };
        if let Some(current) = self.current.as_ref().filter(|current| current.alive(clock)) {
            let bearer = current.bearer.clone();
            if !paused
                && current.renew_at.is_some_and(|due| due.by(clock, now))
                && let Some(lease) = self.leases.take(now, LEASE)
            {
                return TokenVerdict::UseAndRefresh(bearer, lease);
            }
            return TokenVerdict::Use(bearer);
        }
        if self.leases.is_held(now) {
            return TokenVerdict::Wait;
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|_| paused) {
            let left = trouble.until.map(|until| until.since(now));
            return TokenVerdict::Failed(trouble.error.clone(), left);
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => TokenVerdict::Refresh(lease),
            None => TokenVerdict::Wait,
        }
    }

    /// Records how the lease's refresh ended.
    pub fn settle(
        &mut self,
        lease: Lease,
        outcome: FetchOutcome<E>,
        clock: Timestamp,
        now: Monotonic,
    ) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            FetchOutcome::Failed(error) => self.pause(error, Duration::ZERO, now),
            FetchOutcome::Deferred(error, least) => self.pause(error, least, now),
            FetchOutcome::Got { token, renewable } => {
                self.trouble = None;
                self.proven = true;
                self.adopt(token, renewable, clock, now);
            }
            FetchOutcome::Rejected(error) => {
                self.proven = false;
                self.trouble = Some(Trouble { error, until: None });
            }
            FetchOutcome::Stale => self.retry_now(clock, now),
        }
    }

    /// Records that upstream answered 401 to this token. The first report invalidates the token; the
    /// others change nothing. False when a refresh would not help, since upstream has just rejected
    /// a token that was refreshed for the same reason.
    pub fn invalidate(&mut self, bearer: &Bearer, now: Monotonic) -> bool {
        let refused = self.current.as_mut().filter(|it| it.bearer.generation == bearer.generation);
        let Some(current) = refused else { return true };
        if self.cooldown_until.is_some_and(|until| now < until) {
            return false;
        }
        current.invalidated = true;
        true
    }

    /// Records that upstream rejected the token that was refreshed because of a 401.
    pub fn rejected_again(&mut self, now: Monotonic) {
        self.cooldown_until = Some(now + REFRESH_COOLDOWN);
    }

    /// Clears everything: the credentials are another account's.
    pub fn clear(&mut self) {
        self.current = None;
        self.proven = false;
        self.trouble = None;
        self.failed = None;
        self.cooldown_until = None;
    }

    /// Clears earlier failures and makes a refresh due: the credentials have changed, and the new
    /// ones may contain a token.
    pub fn retry_now(&mut self, clock: Timestamp, now: Monotonic) {
        self.trouble = None;
        self.failed = None;
        self.cooldown_until = None;
        if let Some(current) = &mut self.current {
            current.renew_at = Some(Due::after(Duration::ZERO, clock, now));
        }
    }

    /// When the current token expires.
    pub fn expiry(&self, clock: Timestamp) -> TokenExpiry {
        match self.current.as_ref().filter(|current| current.alive(clock)) {
            None => TokenExpiry::NoToken,
            Some(current) => current.expires_at.map_or(TokenExpiry::Unknown, TokenExpiry::At),
        }
    }

    /// True once the credentials have given a token, until they are refused or replaced by another
    /// account's.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// The failure of the last refresh, until a refresh succeeds or the credentials change.
    pub fn trouble(&self) -> Option<&E> {
        self.trouble.as_ref().map(|trouble| &trouble.error)
    }

    fn pause(&mut self, error: E, least: Duration, now: Monotonic) {
        let in_a_row = self.failed.filter(|(_, at)| now.since(*at) < IN_A_ROW);
        let failures = in_a_row.map_or(0, |(failures, _)| failures) + 1;
        let pause =
            FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(6)).max(least).min(LAST_PAUSE);
        self.failed = Some((failures, now));
        self.trouble = Some(Trouble { error, until: Some(now + pause) });
    }

    fn adopt(&mut self, token: IssuedToken, renewable: bool, clock: Timestamp, now: Monotonic) {
        self.generation += 1;
        let renew_at = token.expires_at.filter(|_| renewable).map(|expiry| {
            let buffer = token.longest_ahead.map_or(self.buffer, |most| most.min(self.buffer));
            let left = token.lifetime.unwrap_or_else(|| buffer.saturating_mul(2));
            // With the whole buffer, a token that lives little longer would be refreshed at once.
            let ahead = if left >= buffer.mul_f32(1.5) { buffer } else { left / 4 };
            Due::after(clock.until(expiry).saturating_sub(ahead), clock, now)
        });
        self.current = Some(CurrentToken {
            bearer: Bearer { header: token.header, generation: self.generation },
            expires_at: token.expires_at,
            renew_at,
            invalidated: false,
        });
    }
}

/// A token that a request sends as long as no refresh is due.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadyToken {
    bearer: Bearer,
    expires_at: Option<Timestamp>,
    renew_at: Option<Due>,
}

impl ReadyToken {
    /// The token, as [`TokenState::ask`] would return it: `None` if there is more to decide.
    pub fn bearer(&self, clock: Timestamp, now: Monotonic) -> Option<Bearer> {
        let is_ready = self.expires_at.is_none_or(|expiry| clock < expiry)
            && !self.renew_at.is_some_and(|due| due.by(clock, now));
        is_ready.then(|| self.bearer.clone())
    }
}

impl<E> HasReadyPart for TokenState<E> {
    type Ready = ReadyToken;

    fn ready(&self) -> Option<ReadyToken> {
        let current = self.current.as_ref().filter(|current| !current.invalidated)?;
        let CurrentToken { bearer, expires_at, renew_at, .. } = current;
        Some(ReadyToken { bearer: bearer.clone(), expires_at: *expires_at, renew_at: *renew_at })
    }

    fn copy(ready: &ReadyToken) -> ReadyToken {
        ReadyToken { bearer: ready.bearer.copy(), ..*ready }
    }
}

/// A time on both clocks; the earlier one counts. The wall clock may be set back, and the monotonic
/// clock may stop while a laptop sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    clock: Timestamp,
    now: Monotonic,
}

impl Due {
    fn after(how_long: Duration, clock: Timestamp, now: Monotonic) -> Self {
        Self { clock: clock + how_long, now: now + how_long }
    }

    fn by(self, clock: Timestamp, now: Monotonic) -> bool {
        self.clock <= clock || self.now <= now
    }
}

impl CurrentToken {
    fn alive(&self, clock: Timestamp) -> bool {
        !self.invalidated && self.expires_at.is_none_or(|expiry| clock < expiry)
    }
}

/// Longer than a refresh takes with all its parts (file, store, tokeninfo, token request).
const LEASE: Duration = Duration::from_secs(60);

/// The time in which an upstream that rejects every token causes one refresh.
const REFRESH_COOLDOWN: Duration = Duration::from_secs(30);

/// The pause after a failed refresh, which doubles with each further failure up to the last one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Failures less than this apart are in a row. Longer than the last pause and a slow refresh.
const IN_A_ROW: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests;
