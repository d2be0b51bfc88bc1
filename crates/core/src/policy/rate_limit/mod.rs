//! The rate limit: how many requests a caller may make in a window of time (`docs/ACCESS.md`).
//!
//! The limiter keeps a sliding log and is not a GCRA. With a log, "100 a minute" lets 100 requests
//! through at once and never 101 within *any* minute. A GCRA that allows the same burst lets nearly
//! 200 through in its first minute, and one without the burst refuses the second of two quick
//! requests.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::caller::{Caller, KeyDigest, Rate, RateStanding};
use crate::time::Monotonic;

/// Counts the requests of all callers.
///
/// The memory is bounded. Up to ten thousand addresses have a log of their own, each with at most
/// 1024 entries and all together with about a million. Every key has a log, since the operator made
/// the keys. When all these logs belong to addresses that were active within the window, further
/// addresses share one log until a log is free.
///
/// An attacker with very many addresses can thus use up the allowance of new addresses. The attacker
/// can neither grow the memory, nor reset a count, nor affect addresses and keys with a log of their
/// own. If a new address took the oldest log instead, an attacker with enough addresses would have
/// no limit.
///
/// ```
/// # #[cfg(feature = "internals")] {
/// use std::time::Duration;
///
/// use code_assist_core::internals::policy::rate_limit::RateLimiter;
/// use code_assist_core::{Caller, KeyDigest, Monotonic};
///
/// let minute = Duration::from_secs(60);
/// let mut limiter = RateLimiter::new(1, minute).expect("a limit of 0 turns the limiter off");
/// let (alice, now) = (Caller::Key(KeyDigest::of("alice")), Monotonic(0));
/// assert_eq!(limiter.ask(&alice, now).refused, None);
/// assert_eq!(limiter.ask(&alice, now).refused, Some(minute), "wait for the window to pass");
/// assert_eq!(limiter.ask(&Caller::Key(KeyDigest::of("bob")), now).refused, None);
/// assert_eq!(limiter.ask(&alice, now + minute).refused, None);
/// # }
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    limit: u32,
    window: Duration,
    /// Requests that are closer together than this may share an entry. Zero up to a limit of
    /// [`MOST_ENTRIES`].
    grain: Duration,
    keys: BTreeMap<KeyDigest, RequestLog>,
    addresses: BTreeMap<IpAddr, RequestLog>,
    most_addresses: usize,
    /// The log of [`Caller::Unknown`].
    unknown: RequestLog,
    /// The shared log of the other addresses.
    other_addresses: RequestLog,
    /// The earliest time of the next search for logs that no active address needs.
    next_sweep: Monotonic,
}

impl RateLimiter {
    /// A limiter that lets `limit` requests of each caller through in any `window`. `None` for a
    /// limit of 0, which turns the limit off.
    pub fn new(limit: u32, window: Duration) -> Option<Self> {
        if limit == 0 {
            return None;
        }
        let entries = (limit as usize).min(MOST_ENTRIES);
        Some(Self {
            limit,
            window,
            grain: grain(limit, window),
            keys: BTreeMap::new(),
            addresses: BTreeMap::new(),
            most_addresses: (ENTRIES_OF_ALL / entries).min(MOST_ADDRESSES),
            unknown: RequestLog::default(),
            other_addresses: RequestLog::default(),
            next_sweep: Monotonic(0),
        })
    }

    /// The limit, its window and its precision.
    pub fn rate(&self) -> Rate {
        Rate { limit: self.limit, window: self.window, grain: self.grain }
    }

    /// Decides whether a request is let through, and counts it if so. A refused request is not
    /// counted: a caller that keeps asking is let through no later than a caller that waits.
    pub fn ask(&mut self, caller: &Caller, now: Monotonic) -> RateStanding {
        let (limit, window, grain) = (self.limit, self.window, self.grain);
        self.log(caller, now).ask(limit, window, grain, now)
    }

    /// How long the caller's next request would be refused; `None` if it would be let through. Counts
    /// nothing.
    pub fn refusal(&mut self, caller: &Caller, now: Monotonic) -> Option<Duration> {
        let log = match caller {
            Caller::Key(key) => self.keys.get_mut(key)?,
            Caller::Unknown => &mut self.unknown,
            // An address without a log of its own would begin with the shared one.
            Caller::Address(address) => {
                self.addresses.get_mut(address).unwrap_or(&mut self.other_addresses)
            }
        };
        log.refusal(self.limit, self.window, now)
    }

    /// Takes back the count of a request that was let through here and refused by another limiter.
    pub fn take_back(&mut self, caller: &Caller, now: Monotonic) {
        self.log(caller, now).take_back();
    }

    /// The caller's own log, else the shared log of the other addresses.
    fn log(&mut self, caller: &Caller, now: Monotonic) -> &mut RequestLog {
        let address = match caller {
            Caller::Key(key) => return self.keys.entry(*key).or_default(),
            Caller::Unknown => return &mut self.unknown,
            Caller::Address(address) => *address,
        };
        if !self.addresses.contains_key(&address) {
            if self.addresses.len() >= self.most_addresses && now >= self.next_sweep {
                let window = self.window;
                self.addresses.retain(|_, log| log.newest().is_some_and(|it| now < it + window));
                self.next_sweep = now + window / SWEEPS;
            }
            if self.addresses.len() >= self.most_addresses {
                return &mut self.other_addresses;
            }
            self.other_addresses.expire(self.window, now);
            // The shared log may hold requests of this address, which must stay counted.
            self.addresses.insert(address, self.other_addresses.clone());
        }
        self.addresses.entry(address).or_default()
    }
}

/// The requests of one key, whose limit is asked with each of them: a reload may change it, and two tables may
/// count together with limits of their own.
#[derive(Debug, Default)]
pub struct KeyRequests(RequestLog);

impl KeyRequests {
    /// A limit of requests in a minute.
    pub fn per_minute(limit: u32) -> Rate {
        let window = Duration::from_secs(60);
        Rate { limit, window, grain: grain(limit, window) }
    }

    /// Decides whether a request is let through, and counts it if so.
    pub fn ask(&mut self, rate: Rate, now: Monotonic) -> RateStanding {
        self.0.ask(rate.limit, rate.window, rate.grain, now)
    }

    /// Takes back the count of a request that was let through here and refused elsewhere.
    pub fn take_back(&mut self) {
        self.0.take_back();
    }
}

/// Requests that are closer together than this may share an entry.
fn grain(limit: u32, window: Duration) -> Duration {
    if limit as usize <= MOST_ENTRIES { Duration::ZERO } else { window / GRAINS }
}

/// When a caller's requests were let through, oldest first.
#[derive(Debug, Clone, Default)]
struct RequestLog {
    entries: VecDeque<LogEntry>,
    /// The sum of the entries' counts.
    total: u32,
    /// The time of the first request of the last entry.
    begun: Monotonic,
}

/// Requests that count as if all had come at the time of the last one, so that a window never has
/// too many requests, but possibly too few.
#[derive(Debug, Clone, Copy)]
struct LogEntry {
    at: Monotonic,
    count: u32,
}

impl RequestLog {
    fn ask(
        &mut self,
        limit: u32,
        window: Duration,
        grain: Duration,
        now: Monotonic,
    ) -> RateStanding {
        let refused = self.refusal(limit, window, now);
        let now = self.not_before_newest(now);
        if refused.is_none() {
            self.push(grain, now);
        }
        RateStanding {
            limit,
            remaining: limit.saturating_sub(self.total),
            reset: self.newest().map_or(Duration::ZERO, |newest| (newest + window).since(now)),
            refused,
        }
    }

    fn refusal(&mut self, limit: u32, window: Duration, now: Monotonic) -> Option<Duration> {
        if self.entries.is_empty() {
            return None;
        }
        let now = self.not_before_newest(now);
        self.expire(window, now);
        let oldest = self.entries.front().filter(|_| self.total >= limit)?;
        Some((oldest.at + window).since(now))
    }

    /// The clock is read before the lock is taken, so `now` may be before the newest entry.
    fn not_before_newest(&self, now: Monotonic) -> Monotonic {
        self.newest().map_or(now, |newest| newest.max(now))
    }

    /// Drops the entries that have left the window: second 0 is outside the minute at second 60.
    fn expire(&mut self, window: Duration, now: Monotonic) {
        while let Some(oldest) = self.entries.front().filter(|oldest| oldest.at + window <= now) {
            self.total -= oldest.count;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            // Frees the memory of a burst.
            self.entries = VecDeque::new();
        }
    }

    fn push(&mut self, grain: Duration, now: Monotonic) {
        self.total += 1;
        match self.entries.back_mut() {
            Some(last) if now.since(self.begun) < grain || now == last.at => {
                last.at = now;
                last.count += 1;
            }
            _ => {
                self.begun = now;
                self.entries.push_back(LogEntry { at: now, count: 1 });
            }
        }
    }

    /// Removes the newest request. It may be another request of the same caller, which came only a little
    /// later.
    fn take_back(&mut self) {
        let Some(last) = self.entries.back_mut() else { return };
        last.count -= 1;
        self.total -= 1;
        if last.count == 0 {
            self.entries.pop_back();
            // The next request gets an entry of its own, so that the entry before keeps its time.
            self.begun = Monotonic(0);
        }
    }

    fn newest(&self) -> Option<Monotonic> {
        self.entries.back().map(|newest| newest.at)
    }
}

/// Up to this limit every request has its own entry, and all times are exact.
const MOST_ENTRIES: usize = 1024;

/// The number of entries in a window above [`MOST_ENTRIES`]. A request may then be let through a
/// thousandth of the window late.
const GRAINS: u32 = 1000;

/// The number of addresses with their own log, and the entries of all their logs: 16 MiB.
const MOST_ADDRESSES: usize = 10_000;
const ENTRIES_OF_ALL: usize = 1 << 20;

/// The number of sweeps in a window at most.
const SWEEPS: u32 = 16;

#[cfg(test)]
mod tests;
