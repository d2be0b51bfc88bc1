//! Which access token to use, and which request starts the work of getting the next one
//! (`docs/CREDENTIALS.md`).
//!
//! Failures are opaque values of type `E`: the policy remembers them and gives them back.

use std::time::Duration;

use http::HeaderValue;

use super::lease::{Lease, Leases};
use crate::time::{Monotonic, Timestamp};

/// An access token ready to send. Cloning counts references; `Debug` prints `Sensitive`.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// `Bearer …`.
    pub header: HeaderValue,
    /// Tells tokens apart: a hundred requests with a 401 each invalidate one token once.
    generation: u64,
}

/// An access token that has just been got, still alive.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// `Bearer …`.
    pub header: HeaderValue,
    /// When it expires, if that is known.
    pub expires_at: Option<Timestamp>,
    /// How long it lived when it was issued; known only for tokens that were issued to this
    /// process.
    pub lifetime: Option<Duration>,
}

/// What a request does about its access token.
#[derive(Debug)]
#[must_use = "a verdict may carry a lease"]
pub enum Verdict<E> {
    /// There is no token, and waiting would not help.
    Failed(E),
    /// Start the work of getting a token in the background, then ask again.
    Refresh(Lease),
    /// Send it.
    Use(Bearer),
    /// Send it, and start the work of getting the next one in the background.
    UseAndRefresh(Bearer, Lease),
    /// A token is being got: ask again a little later.
    Wait,
}

/// How getting a token ended.
#[derive(Debug)]
pub enum Outcome<E> {
    /// There is none now; a later attempt may succeed.
    Failed(E),
    /// There is a new token.
    Got {
        /// The token.
        token: IssuedToken,
        /// Another token can be got before this one expires.
        renewable: bool,
    },
    /// There is none until the credentials change.
    Rejected(E),
    /// The credentials changed in the meantime: the work was for nothing.
    Stale,
}

/// The token in use, and what is known about getting another.
#[derive(Debug)]
pub struct TokenState<E> {
    current: Option<Current>,
    leases: Leases,
    trouble: Option<Trouble<E>>,
    /// Failures in a row, and when the last one was. Getting a token does not reset the count,
    /// since upstream may still reject the token.
    failed: Option<(u32, Monotonic)>,
    generation: u64,
    buffer: Duration,
    /// Upstream has rejected a token that was refreshed because of a 401: until this time no 401
    /// starts another refresh.
    cooldown_until: Option<Monotonic>,
}

#[derive(Debug)]
struct Current {
    bearer: Bearer,
    expires_at: Option<Timestamp>,
    /// When to start getting the next one; `None` for a token that cannot be renewed.
    renew_at: Option<Due>,
    /// Upstream has rejected it.
    invalidated: bool,
}

#[derive(Debug)]
struct Trouble<E> {
    error: E,
    /// `None` lasts until the credentials change.
    until: Option<Monotonic>,
}

impl<E: Clone> TokenState<E> {
    /// No token yet. `buffer` is how long before its expiry a token is renewed.
    pub fn new(buffer: Duration) -> Self {
        Self {
            current: None,
            leases: Leases::default(),
            trouble: None,
            failed: None,
            generation: 0,
            cooldown_until: None,
            buffer,
        }
    }

    /// What to do for a request. The shell asks too, once a second.
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> Verdict<E> {
        let quiet = match &self.trouble {
            Some(trouble) => trouble.until.is_none_or(|until| now < until),
            None => false,
        };
        if let Some(current) = self.current.as_ref().filter(|current| current.alive(clock)) {
            let bearer = current.bearer.clone();
            if !quiet
                && current.renew_at.is_some_and(|due| due.by(clock, now))
                && let Some(lease) = self.leases.take(now, LEASE)
            {
                return Verdict::UseAndRefresh(bearer, lease);
            }
            return Verdict::Use(bearer);
        }
        if self.leases.out(now) {
            return Verdict::Wait;
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|_| quiet) {
            return Verdict::Failed(trouble.error.clone());
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => Verdict::Refresh(lease),
            None => Verdict::Wait,
        }
    }

    /// Records how a lease's work ended.
    pub fn settle(&mut self, lease: Lease, outcome: Outcome<E>, clock: Timestamp, now: Monotonic) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            Outcome::Failed(error) => self.pause(error, now),
            Outcome::Got { token, renewable } => {
                self.trouble = None;
                self.adopt(token, renewable, clock, now);
            }
            Outcome::Rejected(error) => self.trouble = Some(Trouble { error, until: None }),
            Outcome::Stale => self.retry_now(clock, now),
        }
    }

    /// Records that upstream answered 401 to this token. The first report invalidates the token,
    /// the others change nothing. False when a refresh would not help: upstream has just rejected a
    /// token that was refreshed for the same reason.
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
        self.trouble = None;
        self.failed = None;
        self.cooldown_until = None;
    }

    /// The credentials have changed: earlier failures no longer apply, and the new credentials may
    /// have brought a token.
    pub fn retry_now(&mut self, clock: Timestamp, now: Monotonic) {
        self.trouble = None;
        self.failed = None;
        self.cooldown_until = None;
        if let Some(current) = &mut self.current {
            current.renew_at = Some(Due::after(Duration::ZERO, clock, now));
        }
    }

    /// When the current token expires: `None` without a token, `Some(None)` when it is not known.
    pub fn expiry(&self, clock: Timestamp) -> Option<Option<Timestamp>> {
        self.current.as_ref().filter(|current| current.alive(clock)).map(|it| it.expires_at)
    }

    /// The failure that keeps the credentials from giving a token, if there is one.
    pub fn trouble(&self) -> Option<&E> {
        self.trouble.as_ref().map(|trouble| &trouble.error)
    }

    fn pause(&mut self, error: E, now: Monotonic) {
        let in_a_row = self.failed.filter(|(_, at)| now.since(*at) < IN_A_ROW);
        let failures = in_a_row.map_or(0, |(failures, _)| failures) + 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(6)).min(LAST_PAUSE);
        self.failed = Some((failures, now));
        self.trouble = Some(Trouble { error, until: Some(now + pause) });
    }

    fn adopt(&mut self, token: IssuedToken, renewable: bool, clock: Timestamp, now: Monotonic) {
        self.generation += 1;
        let renew_at = token.expires_at.filter(|_| renewable).map(|expiry| {
            let left = token.lifetime.unwrap_or_else(|| self.buffer.saturating_mul(2));
            // A token that hardly outlives the buffer would be refreshed again and again.
            let ahead = if left >= self.buffer.mul_f32(1.5) { self.buffer } else { left / 4 };
            Due::after(clock.until(expiry).saturating_sub(ahead), clock, now)
        });
        self.current = Some(Current {
            bearer: Bearer { header: token.header, generation: self.generation },
            expires_at: token.expires_at,
            renew_at,
            invalidated: false,
        });
    }
}

/// A time by both clocks, whichever comes first: the wall clock may be set back, and the monotonic
/// one may stop while a laptop sleeps.
#[derive(Debug, Clone, Copy)]
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

impl Current {
    fn alive(&self, clock: Timestamp) -> bool {
        !self.invalidated && self.expires_at.is_none_or(|expiry| clock < expiry)
    }
}

/// Longer than everything that getting a token may take (file, store, tokeninfo, refresh).
const LEASE: Duration = Duration::from_secs(60);

/// An upstream that rejects every token causes one refresh in this time.
const REFRESH_COOLDOWN: Duration = Duration::from_secs(30);

/// After a failed refresh; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Failures less than this apart are in a row: more than the last pause and a slow try take.
const IN_A_ROW: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests;
