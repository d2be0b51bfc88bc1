//! The limit on guesses of keys (`docs/ACCESS.md`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rate_limit::RateLimiter;
use crate::caller::{Caller, KeyDigest};
use crate::shards::Sharded;
use crate::sync::lock;
use crate::time::Monotonic;

/// Counts the wrong keys of each address.
///
/// After ten wrong keys within a minute no key from that address is checked until the first of them is
/// a minute old. A key that was accepted from the address within the last hour still passes: otherwise
/// one program with a wrong key behind a NAT would block all others there.
///
/// The memory is bounded: wrong keys as [`RateLimiter`] bounds requests, accepted ones by
/// [`MOST_ACCEPTED`]. Only a holder of a valid key can add to the latter.
///
/// ```
/// # #[cfg(feature = "internals")] {
/// use std::time::Duration;
///
/// use code_assist_core::internals::policy::key_guesses::KeyGuesses;
/// use code_assist_core::{Caller, KeyDigest, Monotonic};
///
/// let (mut guesses, now) = (KeyGuesses::default(), Monotonic(0));
/// let (from, good) = (Caller::Unknown, KeyDigest::of("good"));
/// for _ in 0..10 {
///     assert_eq!(guesses.wrong(&from, now), None);
/// }
/// assert_eq!(guesses.refusal(&from, &good, now), Some(Duration::from_secs(60)));
/// # }
/// ```
#[derive(Debug)]
pub struct KeyGuesses {
    wrong: RateLimiter,
    accepted: BTreeMap<AcceptedKey, Monotonic>,
}

/// An address, and a key that was accepted from it.
type AcceptedKey = (Caller, KeyDigest);

impl Default for KeyGuesses {
    fn default() -> Self {
        let wrong = RateLimiter::new(MOST_WRONG, WINDOW).expect("a limit above zero");
        Self { wrong, accepted: BTreeMap::new() }
    }
}

impl KeyGuesses {
    /// How long a key from this address is not checked; `None` if it is checked now.
    pub fn refusal(&mut self, from: &Caller, key: &KeyDigest, now: Monotonic) -> Option<Duration> {
        let after = self.wrong.refusal(from, now)?;
        let accepted = self.accepted.get(&(*from, *key));
        let is_known = accepted.is_some_and(|at| now.since(*at) < REMEMBERED);
        (!is_known).then_some(after)
    }

    /// Counts a wrong key. Returns how long to wait if the address has reached the limit since it was
    /// asked for: requests that are handled at the same time count too.
    pub fn wrong(&mut self, from: &Caller, now: Monotonic) -> Option<Duration> {
        self.wrong.ask(from, now).refused
    }

    /// Remembers that a key was accepted from this address.
    pub fn accepted(&mut self, from: &Caller, key: &KeyDigest, now: Monotonic) {
        let pair = (*from, *key);
        if self.accepted.len() >= MOST_ACCEPTED && !self.accepted.contains_key(&pair) {
            self.forget_the_oldest();
        }
        self.accepted.insert(pair, now);
    }

    /// Drops a quarter at once, so that a sort is needed only once in a thousand new keys.
    fn forget_the_oldest(&mut self) {
        let mut times: Vec<Monotonic> = self.accepted.values().copied().collect();
        times.sort_unstable();
        let Some(limit) = times.get(MOST_ACCEPTED / 4).copied() else { return };
        self.accepted.retain(|_, at| *at > limit);
    }
}

/// The guesses, which all requests with a key share. A request whose key is accepted takes no lock, unless wrong
/// keys came lately, or another key came through its thread before it.
#[derive(Debug, Default)]
pub struct SharedKeyGuesses {
    guesses: Mutex<KeyGuesses>,
    /// When the latest wrong key came, plus one; zero stands for never.
    latest_wrong: AtomicU64,
    /// The key that each thread has had accepted last, and when that was noted.
    last: Sharded<Mutex<Option<(AcceptedKey, Monotonic)>>>,
}

impl SharedKeyGuesses {
    /// See [`KeyGuesses::refusal`].
    pub fn refusal(&self, from: &Caller, key: &KeyDigest, now: Monotonic) -> Option<Duration> {
        let latest = self.latest_wrong.load(Ordering::Acquire).checked_sub(1)?;
        // Twice, since counts are a little older than they seem.
        let is_recent = now.since(Monotonic(latest)) < 2 * WINDOW;
        if is_recent { lock(&self.guesses).refusal(from, key, now) } else { None }
    }

    /// See [`KeyGuesses::wrong`].
    pub fn wrong(&self, from: &Caller, now: Monotonic) -> Option<Duration> {
        let mut guesses = lock(&self.guesses);
        self.latest_wrong.fetch_max(now.0 + 1, Ordering::Release);
        guesses.wrong(from, now)
    }

    /// See [`KeyGuesses::accepted`].
    pub fn accepted(&self, from: &Caller, key: &KeyDigest, now: Monotonic) {
        let pair = (*from, *key);
        let mut last = lock(self.last.own());
        if last.is_some_and(|(last, at)| last == pair && now.since(at) < RENEWED_AFTER) {
            return;
        }
        lock(&self.guesses).accepted(from, key, now);
        *last = Some((pair, now));
    }
}

/// Wrong keys of one address in a `WINDOW`.
pub const MOST_WRONG: u32 = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// How long an accepted key passes while its address is refused.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How long a key counts as just accepted. Shorter than [`REMEMBERED`] by far.
const RENEWED_AFTER: Duration = Duration::from_secs(60);

/// The greatest number of pairs of address and key: some 400 KiB.
pub const MOST_ACCEPTED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic(0) + Duration::from_secs(secs)
    }

    fn nth_address(n: u32) -> Caller {
        Caller::Address(IpAddr::from(n.to_be_bytes()))
    }

    fn exhausted(from: &Caller, now: Monotonic) -> KeyGuesses {
        let mut guesses = KeyGuesses::default();
        for _ in 0..MOST_WRONG {
            assert_eq!(guesses.wrong(from, now), None);
        }
        guesses
    }

    #[test]
    fn ten_wrong_keys_block_an_address_for_the_rest_of_the_minute() {
        let from = nth_address(1);
        let mut guesses = exhausted(&from, at(0));
        let key = KeyDigest::of("good");
        assert_eq!(guesses.refusal(&from, &key, at(0)), Some(WINDOW));
        assert_eq!(guesses.refusal(&from, &key, at(59)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wrong(&from, at(59)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.refusal(&nth_address(2), &key, at(59)), None, "another address");
        assert_eq!(guesses.refusal(&from, &key, at(60)), None);
        assert_eq!(guesses.wrong(&from, at(60)), None);
    }

    #[test]
    fn a_key_that_was_accepted_from_the_address_passes_for_an_hour() {
        let (from, key) = (nth_address(1), KeyDigest::of("good"));
        let mut guesses = KeyGuesses::default();
        guesses.accepted(&from, &key, at(0));
        let mut refused = |key: &str, from: &Caller, now: u64| {
            for _ in 0..MOST_WRONG {
                let _ = guesses.wrong(from, at(now));
            }
            guesses.refusal(from, &KeyDigest::of(key), at(now)).is_some()
        };
        assert!(!refused("good", &from, 3599));
        assert!(refused("another", &from, 3599));
        assert!(refused("good", &nth_address(2), 3599), "accepted from elsewhere");
        assert!(refused("good", &from, 3600));
    }

    #[test]
    fn a_key_in_steady_use_stays_remembered() {
        let (from, key) = (nth_address(1), KeyDigest::of("good"));
        let mut guesses = KeyGuesses::default();
        for secs in (0..7200).step_by(7) {
            guesses.accepted(&from, &key, at(secs));
        }
        for _ in 0..MOST_WRONG {
            assert_eq!(guesses.wrong(&from, at(7200)), None);
        }
        assert_eq!(guesses.refusal(&from, &key, at(7200)), None);
    }

    #[test]
    fn a_key_that_is_accepted_again_takes_no_lock_and_wrong_keys_are_seen_by_all_threads() {
        let (from, key) = (nth_address(1), KeyDigest::of("good"));
        let guesses = SharedKeyGuesses::default();
        guesses.accepted(&from, &key, at(0));
        {
            let _locked = lock(&guesses.guesses);
            assert_eq!(guesses.refusal(&from, &key, at(59)), None);
            guesses.accepted(&from, &key, at(59));
        }
        let guess = || {
            let _ = guesses.wrong(&from, at(100));
        };
        std::thread::scope(|scope| {
            for _ in 0..MOST_WRONG {
                scope.spawn(guess);
            }
        });
        let another = KeyDigest::of("another");
        assert_eq!(guesses.refusal(&from, &key, at(101)), None, "it was accepted before");
        assert_eq!(guesses.refusal(&from, &another, at(101)), Some(Duration::from_secs(59)));
        assert_eq!(guesses.refusal(&from, &another, at(159)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.refusal(&from, &another, at(160)), None);
    }

    #[test]
    fn accepted_keys_are_bounded_and_the_oldest_are_forgotten_first() {
        let mut guesses = KeyGuesses::default();
        let key = KeyDigest::of("good");
        let many = u32::try_from(3 * MOST_ACCEPTED).unwrap();
        for n in 0..many {
            guesses.accepted(&nth_address(n), &key, Monotonic(u64::from(n)));
            assert!(guesses.accepted.len() <= MOST_ACCEPTED);
        }
        for n in many - u32::try_from(MOST_ACCEPTED / 2).unwrap()..many {
            assert!(guesses.accepted.contains_key(&(nth_address(n), key)), "{n}");
        }
    }

    #[test]
    fn accepted_keys_of_the_same_instant_are_bounded_too() {
        let mut guesses = KeyGuesses::default();
        for n in 0..u32::try_from(3 * MOST_ACCEPTED).unwrap() {
            guesses.accepted(&nth_address(n), &KeyDigest::of("good"), at(1));
        }
        assert!(guesses.accepted.len() <= MOST_ACCEPTED);
    }
}
