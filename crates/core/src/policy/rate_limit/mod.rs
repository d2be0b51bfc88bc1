//! How many requests a caller may make in a window of time (`docs/ACCESS.md`).
//!
//! A sliding log rather than GCRA: "100 a minute" lets 100 through at once and never 101 within
//! *any* minute, whereas a GCRA that allows the same burst lets nearly 200 through in its first
//! minute, and one that does not refuses the second of two quick requests.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::caller::{Caller, Rate, RateStanding};
use crate::time::Monotonic;

/// Counts everybody's requests.
///
/// Memory is bounded: some ten thousand addresses have a log of their own, each with at most about
/// a thousand entries and all together with a million; keys always have one, since the operator
/// has made them. When every place is taken by an address that has been active within the window,
/// further addresses share one log, the crowd's, until places come free. An attacker with very
/// many addresses can so use up the newcomers' allowance, but neither grow the memory, nor reset
/// anybody's count, nor touch those who have a place or a key. Giving way the other way round (the
/// oldest log for a new one) would lift the limit for whoever has enough addresses.
#[derive(Debug)]
pub struct RateLimiter {
    limit: u32,
    window: Duration,
    /// Requests closer together than this may share an entry. Zero up to a limit of
    /// [`MOST_ENTRIES`].
    grain: Duration,
    keys: BTreeMap<Arc<str>, Log>,
    addresses: BTreeMap<IpAddr, Log>,
    places: usize,
    /// [`Caller::Unknown`]'s.
    anybody: Log,
    /// That of the addresses without a place.
    crowd: Log,
    /// When it is worth looking again for places that have come free.
    sweep: Monotonic,
}

impl RateLimiter {
    /// Lets `limit` requests of each caller through in any `window`. `None` when `limit` is 0,
    /// which is how the limit is turned off.
    pub fn new(limit: u32, window: Duration) -> Option<Self> {
        if limit == 0 {
            return None;
        }
        let entries = (limit as usize).min(MOST_ENTRIES);
        let is_fine = limit as usize <= MOST_ENTRIES;
        Some(Self {
            limit,
            window,
            grain: if is_fine { Duration::ZERO } else { window / GRAINS },
            keys: BTreeMap::new(),
            addresses: BTreeMap::new(),
            places: (ENTRIES_OF_ALL / entries).min(MOST_ADDRESSES),
            anybody: Log::default(),
            crowd: Log::default(),
            sweep: Monotonic(0),
        })
    }

    /// What it lets through.
    pub fn rate(&self) -> Rate {
        Rate { limit: self.limit, window: self.window, grain: self.grain }
    }

    /// Counts a request, if it is let through. A refused one costs nothing: who keeps asking is
    /// let through no later than who waits.
    pub fn ask(&mut self, caller: &Caller, now: Monotonic) -> RateStanding {
        let (limit, window, grain) = (self.limit, self.window, self.grain);
        self.log(caller, now).ask(limit, window, grain, now)
    }

    /// The caller's own log, made if there is room; else the crowd's.
    fn log(&mut self, caller: &Caller, now: Monotonic) -> &mut Log {
        let address = match caller {
            Caller::Key(label) => return self.keys.entry(Arc::clone(label)).or_default(),
            Caller::Unknown => return &mut self.anybody,
            Caller::Address(address) => *address,
        };
        if !self.addresses.contains_key(&address) {
            if self.addresses.len() >= self.places && now >= self.sweep {
                let window = self.window;
                self.addresses.retain(|_, log| log.newest().is_some_and(|it| now < it + window));
                self.sweep = now + window / SWEEPS;
            }
            if self.addresses.len() >= self.places {
                return &mut self.crowd;
            }
            self.crowd.expire(self.window, now);
            // Some of the crowd's requests may have been this address's: it must not have them
            // again.
            self.addresses.insert(address, self.crowd.clone());
        }
        self.addresses.entry(address).or_default()
    }
}

/// When a caller's requests were let through, oldest first.
#[derive(Debug, Clone, Default)]
struct Log {
    entries: VecDeque<Entry>,
    /// How many requests the entries stand for.
    total: u32,
    /// When the last entry was begun.
    begun: Monotonic,
}

/// Requests that are counted as if all had come when the last of them did: so there may be too few
/// in a window, never too many.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Monotonic,
    count: u32,
}

impl Log {
    fn ask(
        &mut self,
        limit: u32,
        window: Duration,
        grain: Duration,
        now: Monotonic,
    ) -> RateStanding {
        // Callers read the clock before they take the lock; time does not go back in a log.
        let now = self.newest().map_or(now, |newest| newest.max(now));
        self.expire(window, now);
        let refused = match self.entries.front() {
            Some(oldest) if self.total >= limit => Some((oldest.at + window).since(now)),
            _ => None,
        };
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

    /// Forgets what has left the window: a request at second 0 leaves a minute at second 60.
    fn expire(&mut self, window: Duration, now: Monotonic) {
        while let Some(oldest) = self.entries.front().filter(|oldest| oldest.at + window <= now) {
            self.total -= oldest.count;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            // A burst must not hold its memory for ever.
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
                self.entries.push_back(Entry { at: now, count: 1 });
            }
        }
    }

    fn newest(&self) -> Option<Monotonic> {
        self.entries.back().map(|newest| newest.at)
    }
}

/// Up to this limit every request has an entry of its own and all times are exact.
const MOST_ENTRIES: usize = 1024;

/// Above it a window has at most so many entries, and a request may be let through a thousandth of
/// the window late.
const GRAINS: u32 = 1000;

/// Addresses with a log of their own, and what all their logs may hold: 16 MiB.
const MOST_ADDRESSES: usize = 10_000;
const ENTRIES_OF_ALL: usize = 1 << 20;

/// How many times a window free places are looked for at most.
const SWEEPS: u32 = 16;

#[cfg(test)]
mod tests;
