//! Which access token to use, and whose turn it is to get the next one (`spec.md` 8).

use std::time::Duration;

use http::HeaderValue;

use super::lease::{Lease, Leases};
use crate::error::Error;
use crate::google::credentials::AccessToken;
use crate::time::{Monotonic, Timestamp};

/// An access token ready to send. Cloning is by reference count; printing it says `Sensitive`.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// `Bearer …`.
    pub header: HeaderValue,
    /// Tells tokens apart, so that one 401 for each of a hundred requests condemns one token.
    generation: u64,
}

/// What a request does about its access token.
#[derive(Debug)]
pub enum Verdict {
    /// There is none, and there is no use in waiting.
    Refused(Error),
    /// Send it.
    Use(Bearer),
    /// Send it; and it is time that somebody got the next one, in the background.
    UseAndRenew(Bearer, Lease),
    /// Have the next one got in the background, then ask again.
    Renew(Lease),
    /// Somebody is getting one: ask again a little later.
    Wait,
}

/// How getting a token ended.
#[derive(Debug)]
pub enum Outcome {
    /// Here it is.
    Got {
        /// The token.
        token: AccessToken,
        /// Another one can be got when this one comes of age.
        renewable: bool,
    },
    /// Not until the credentials change.
    Rejected(Error),
    /// Not now.
    Failed(Error),
    /// Nothing: the credentials changed in the meantime.
    Stale,
}

/// The token in use, and what is known about getting another.
#[derive(Debug)]
pub struct Tokens {
    current: Option<Current>,
    leases: Leases,
    trouble: Option<Trouble>,
    /// How many failures in a row, and when the last one was, for the backing off. A token that was
    /// got does not end the row: upstream may not take it.
    failed: Option<(u32, Monotonic)>,
    generation: u64,
    buffer: Duration,
    /// Upstream has refused a token that was renewed for it: renewing more would not help.
    stubborn_until: Option<Monotonic>,
}

#[derive(Debug)]
struct Current {
    bearer: Bearer,
    expires_at: Option<Timestamp>,
    /// When to have the next one got. Never for one that cannot be renewed.
    renew_at: Option<Due>,
    /// Upstream did not take it.
    condemned: bool,
}

#[derive(Debug)]
struct Trouble {
    refusal: Error,
    /// `None` lasts until the credentials change.
    until: Option<Monotonic>,
}

impl Tokens {
    /// No token yet. `buffer` is how long before its expiry a token is renewed.
    pub fn new(buffer: Duration) -> Self {
        Self {
            current: None,
            leases: Leases::default(),
            trouble: None,
            failed: None,
            generation: 0,
            stubborn_until: None,
            buffer,
        }
    }

    /// What to do for a request, or for nobody in particular (the shell's regular look).
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> Verdict {
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
                return Verdict::UseAndRenew(bearer, lease);
            }
            return Verdict::Use(bearer);
        }
        if self.leases.out(now) {
            return Verdict::Wait;
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|_| quiet) {
            return Verdict::Refused(trouble.refusal.clone());
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => Verdict::Renew(lease),
            None => Verdict::Wait,
        }
    }

    /// Takes note of how a lease's work ended.
    pub fn settle(&mut self, lease: Lease, outcome: Outcome, clock: Timestamp, now: Monotonic) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            Outcome::Got { token, renewable } => match token.header() {
                Some(header) if token.alive(clock) => {
                    self.trouble = None;
                    self.adopt(header, &token, renewable, clock, now);
                }
                useless => {
                    let why = match useless {
                        Some(_) => "the access token was dead when it came",
                        None => "the access token has characters that no header may have",
                    };
                    let why = why.to_owned();
                    self.pause(Error::CredentialsRejected { why }, now);
                }
            },
            Outcome::Rejected(refusal) => self.trouble = Some(Trouble { refusal, until: None }),
            Outcome::Failed(refusal) => self.pause(refusal, now),
            Outcome::Stale => self.reopen(clock, now),
        }
    }

    /// Upstream answered 401 to this token. Whoever hears it first condemns it; for the others it
    /// has been dealt with. False when another token is not to be had by asking: a moment ago
    /// upstream refused one that had just been renewed.
    pub fn condemn(&mut self, bearer: &Bearer, now: Monotonic) -> bool {
        let refused = self.current.as_mut().filter(|it| it.bearer.generation == bearer.generation);
        let Some(current) = refused else { return true };
        if self.stubborn_until.is_some_and(|until| now < until) {
            return false;
        }
        current.condemned = true;
        true
    }

    /// Upstream refused the token that was renewed after its first refusal.
    pub fn refused_again(&mut self, now: Monotonic) {
        self.stubborn_until = Some(now + STUBBORN);
    }

    /// The credentials are another account's: nothing that is known holds for it.
    pub fn forget(&mut self) {
        self.current = None;
        self.trouble = None;
        self.failed = None;
        self.stubborn_until = None;
    }

    /// The credentials have changed: what stood against them is forgotten, and it is time to look
    /// for the token that may have come with them.
    pub fn reopen(&mut self, clock: Timestamp, now: Monotonic) {
        self.trouble = None;
        self.failed = None;
        self.stubborn_until = None;
        if let Some(current) = &mut self.current {
            current.renew_at = Some(Due::after(Duration::ZERO, clock, now));
        }
    }

    /// When the current token expires: `None` without a token, `Some(None)` when it is not known.
    pub fn expiry(&self, clock: Timestamp) -> Option<Option<Timestamp>> {
        self.current.as_ref().filter(|current| current.alive(clock)).map(|it| it.expires_at)
    }

    /// What stands against the credentials, if anything.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref().map(|trouble| &trouble.refusal)
    }

    fn pause(&mut self, refusal: Error, now: Monotonic) {
        let in_a_row = self.failed.filter(|(_, at)| now.since(*at) < IN_A_ROW);
        let failures = in_a_row.map_or(0, |(failures, _)| failures) + 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(6)).min(LAST_PAUSE);
        self.failed = Some((failures, now));
        self.trouble = Some(Trouble { refusal, until: Some(now + pause) });
    }

    fn adopt(
        &mut self,
        header: HeaderValue,
        token: &AccessToken,
        renewable: bool,
        clock: Timestamp,
        now: Monotonic,
    ) {
        self.generation += 1;
        let renew_at = token.expires_at.filter(|_| renewable).map(|expiry| {
            let left = token.lifetime.unwrap_or_else(|| self.buffer.saturating_mul(2));
            // A token that hardly outlives the buffer would be renewed over and over.
            let ahead = if left >= self.buffer.mul_f32(1.5) { self.buffer } else { left / 4 };
            Due::after(clock.until(expiry).saturating_sub(ahead), clock, now)
        });
        self.current = Some(Current {
            bearer: Bearer { header, generation: self.generation },
            expires_at: token.expires_at,
            renew_at,
            condemned: false,
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
        !self.condemned && self.expires_at.is_none_or(|expiry| clock < expiry)
    }
}

/// Longer than everything that getting a token may take (file, store, tokeninfo, refresh).
const LEASE: Duration = Duration::from_secs(60);

/// One refresh in so long for an upstream that refuses every token.
const STUBBORN: Duration = Duration::from_secs(30);

/// After a failed refresh; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Failures less than this apart are in a row: more than the last pause and a slow try take.
const IN_A_ROW: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: Duration = Duration::from_secs(300);
    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    fn token(lives: u64, lifetime: Option<u64>) -> AccessToken {
        AccessToken {
            access_token: format!("ya29.{lives}").into(),
            expires_at: Some(NOW + Duration::from_secs(lives)),
            lifetime: lifetime.map(Duration::from_secs),
            scope: None,
        }
    }

    fn with(token: AccessToken) -> Tokens {
        let mut tokens = Tokens::new(BUFFER);
        let Verdict::Renew(lease) = tokens.ask(NOW, Monotonic(0)) else { panic!("cold") };
        tokens.settle(lease, Outcome::Got { token, renewable: true }, NOW, Monotonic(0));
        tokens
    }

    fn after(secs: u64) -> (Timestamp, Monotonic) {
        (NOW + Duration::from_secs(secs), Monotonic(0) + Duration::from_secs(secs))
    }

    #[test]
    fn of_a_hundred_cold_callers_one_renews_and_the_rest_wait() {
        let mut tokens = Tokens::new(BUFFER);
        assert!(matches!(tokens.ask(NOW, Monotonic(0)), Verdict::Renew(_)));
        for _ in 0..99 {
            assert!(matches!(tokens.ask(NOW, Monotonic(1)), Verdict::Wait));
        }
    }

    #[test]
    fn within_the_buffer_one_caller_renews_and_nobody_waits() {
        let mut tokens = with(token(3599, Some(3599)));
        let (clock, now) = after(3298);
        assert!(matches!(tokens.ask(clock, now), Verdict::Use(_)));
        let (clock, now) = after(3299);
        assert!(matches!(tokens.ask(clock, now), Verdict::UseAndRenew(..)));
        for _ in 0..99 {
            assert!(matches!(tokens.ask(clock, now), Verdict::Use(_)));
        }
    }

    #[test]
    fn a_short_lived_token_is_not_renewed_at_once() {
        let mut tokens = with(token(8, Some(8)));
        let (clock, now) = after(5);
        assert!(matches!(tokens.ask(clock, now), Verdict::Use(_)));
        let (clock, now) = after(6);
        assert!(matches!(tokens.ask(clock, now), Verdict::UseAndRenew(..)));
        let (clock, now) = after(8);
        assert!(matches!(tokens.ask(clock, now), Verdict::Wait), "dead, and somebody is at it");
    }

    #[test]
    fn a_loaded_token_within_the_buffer_is_renewed_at_once() {
        let mut tokens = with(token(200, None));
        assert!(matches!(tokens.ask(NOW, Monotonic(0)), Verdict::UseAndRenew(..)));
    }

    #[test]
    fn a_hundred_401s_condemn_one_token_once() {
        let mut tokens = with(token(3599, Some(3599)));
        let Verdict::Use(bearer) = tokens.ask(NOW, Monotonic(0)) else { panic!("warm") };
        assert!(tokens.condemn(&bearer, Monotonic(1)));
        let Verdict::Renew(lease) = tokens.ask(NOW, Monotonic(1)) else { panic!("condemned") };
        let got = Outcome::Got { token: token(7000, Some(7000)), renewable: true };
        tokens.settle(lease, got, NOW, Monotonic(2));
        for _ in 0..99 {
            assert!(tokens.condemn(&bearer, Monotonic(1)));
        }
        assert!(matches!(tokens.ask(NOW, Monotonic(3)), Verdict::Use(_)));
    }

    #[test]
    fn an_upstream_that_refuses_every_token_costs_one_renewal_in_a_while() {
        let mut tokens = with(token(3599, Some(3599)));
        let Verdict::Use(bearer) = tokens.ask(NOW, Monotonic(0)) else { panic!("warm") };
        tokens.refused_again(Monotonic(0));
        assert!(!tokens.condemn(&bearer, Monotonic(1)));
        assert!(matches!(tokens.ask(NOW, Monotonic(1)), Verdict::Use(_)));
        assert!(tokens.condemn(&bearer, Monotonic(0) + STUBBORN));
    }

    #[test]
    fn a_stubborn_upstream_is_still_shown_the_successor_of_an_old_token() {
        let mut tokens = with(token(3599, Some(3599)));
        let Verdict::Use(old) = tokens.ask(NOW, Monotonic(0)) else { panic!("warm") };
        tokens.condemn(&old, Monotonic(0));
        let Verdict::Renew(lease) = tokens.ask(NOW, Monotonic(0)) else { panic!("condemned") };
        let got = Outcome::Got { token: token(7000, Some(7000)), renewable: true };
        tokens.settle(lease, got, NOW, Monotonic(0));
        tokens.refused_again(Monotonic(0));
        assert!(tokens.condemn(&old, Monotonic(1)));
        assert!(matches!(tokens.ask(NOW, Monotonic(1)), Verdict::Use(_)));
    }

    #[test]
    fn a_failed_renewal_is_tried_again_later_while_the_old_token_serves() {
        let mut tokens = with(token(200, None));
        let Verdict::UseAndRenew(_, lease) = tokens.ask(NOW, Monotonic(0)) else { panic!("due") };
        let refusal = || Error::CredentialsRejected { why: String::new() };
        tokens.settle(lease, Outcome::Failed(refusal()), NOW, Monotonic(0));
        assert!(matches!(tokens.ask(NOW, Monotonic(0)), Verdict::Use(_)));
        let (clock, now) = after(1);
        let Verdict::UseAndRenew(_, lease) = tokens.ask(clock, now) else { panic!("again") };
        tokens.settle(lease, Outcome::Failed(refusal()), clock, now);
        let (clock, now) = after(2);
        assert!(matches!(tokens.ask(clock, now), Verdict::Use(_)), "two seconds after the second");
        let (clock, now) = after(3);
        assert!(matches!(tokens.ask(clock, now), Verdict::UseAndRenew(..)));
    }

    #[test]
    fn a_token_that_cannot_be_used_is_a_failure_and_backed_off_from() {
        let dead = token(0, Some(0));
        let unsendable =
            AccessToken { access_token: "two\nlines".to_owned().into(), ..token(60, None) };
        for useless in [dead, unsendable] {
            let mut tokens = Tokens::new(BUFFER);
            let mut renewals = 0;
            for second in 0..100 {
                let (_, now) = after(second);
                if let Verdict::Renew(lease) = tokens.ask(NOW, now) {
                    renewals += 1;
                    let got = Outcome::Got { token: useless.clone(), renewable: true };
                    tokens.settle(lease, got, NOW, now);
                }
                assert!(matches!(tokens.ask(NOW, now), Verdict::Refused(_)));
            }
            assert_eq!(renewals, 7, "after 0, 1, 3, 7, 15, 31 and 63 seconds");
        }
    }

    #[test]
    fn a_clock_that_jumps_costs_one_renewal_at_most() {
        let hours = Duration::from_secs(5 * 3600);
        let mut tokens = with(token(3599, Some(3599)));
        let back = Timestamp(NOW.0 - 18_000_000);
        assert!(matches!(tokens.ask(back, Monotonic(1)), Verdict::Use(_)));
        let (_, now) = after(3299);
        assert!(
            matches!(tokens.ask(back, now), Verdict::UseAndRenew(..)),
            "it comes of age although the wall clock says it has hours to go"
        );
        let mut tokens = with(token(3599, Some(3599)));
        assert!(matches!(tokens.ask(NOW + hours, Monotonic(1)), Verdict::Renew(_)));
        for _ in 0..99 {
            assert!(matches!(tokens.ask(NOW + hours, Monotonic(1)), Verdict::Wait));
        }
    }

    #[test]
    fn a_rejection_lasts_until_the_credentials_change() {
        let mut tokens = Tokens::new(BUFFER);
        let Verdict::Renew(lease) = tokens.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let refusal = Error::CredentialsRejected { why: "revoked".to_owned() };
        tokens.settle(lease, Outcome::Rejected(refusal), NOW, Monotonic(0));
        let (clock, now) = after(100_000);
        assert!(matches!(tokens.ask(clock, now), Verdict::Refused(_)));
        tokens.reopen(clock, now);
        assert!(matches!(tokens.ask(clock, now), Verdict::Renew(_)));
    }

    #[test]
    fn work_on_credentials_that_changed_in_the_meantime_counts_for_nothing() {
        let mut tokens = Tokens::new(BUFFER);
        let Verdict::Renew(lease) = tokens.ask(NOW, Monotonic(0)) else { panic!("cold") };
        tokens.settle(lease, Outcome::Stale, NOW, Monotonic(1));
        assert!(matches!(tokens.ask(NOW, Monotonic(1)), Verdict::Renew(_)));
    }

    #[test]
    fn another_account_never_gets_the_last_ones_token() {
        let mut tokens = with(token(3599, Some(3599)));
        tokens.forget();
        assert!(matches!(tokens.ask(NOW, Monotonic(1)), Verdict::Renew(_)));
    }

    #[test]
    fn work_that_was_lost_is_taken_up_again() {
        let mut tokens = Tokens::new(BUFFER);
        let Verdict::Renew(lost) = tokens.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let (clock, now) = after(60);
        assert!(matches!(tokens.ask(clock, now), Verdict::Renew(_)));
        let late = Outcome::Got { token: token(10, Some(10)), renewable: true };
        tokens.settle(lost, late, clock, now);
        assert!(matches!(tokens.ask(clock, now), Verdict::Wait), "the late holder changes nothing");
    }
}
