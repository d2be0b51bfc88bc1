//! The response cache: which equal requests share one answer, and which answers are kept
//! (`docs/RESILIENCE.md`).
//!
//! Only *repeatable* requests come here. Streams never do. Two equal prompts at temperature 1 are
//! two requests, since a client that samples wants two answers.
//!
//! Errors are not shared: the failure may be the leader's own (its deadline, its wait for a permit).
//! When a leader fails, all its waiters ask upstream at once, as if there were no cache. If the
//! waiters led one after the other, the last of twenty would wait for twenty failures. When a
//! leader's client leaves, the next waiter that asks becomes the leader and the others go on
//! waiting, since nothing has failed.
//!
//! An answer that is not good enough to be kept goes to the requests that wait for it at that time,
//! and to no request that arrives later.

mod directive;
mod keep;
mod key;
mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

pub use self::directive::CacheDirective;
pub use self::keep::KeepRule;
use self::key::Digest;
pub use self::key::{ANSWER_PREFIX, CacheKey, idempotency_key};
pub use self::stored::StoredAnswer;
use crate::time::Monotonic;

/// A whole answer that may be given to several clients. `Debug` does not print the body.
#[derive(Clone, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers of the answer; headers that belong to one request are not among them.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What a repeatable request does next.
#[derive(Debug)]
#[must_use = "a verdict may carry a lease that other requests wait for"]
pub enum CacheVerdict {
    /// Ask upstream; the cache keeps nothing.
    Bypass,
    /// Use this answer to an equal request, which came while this request waited or shortly before.
    Coalesced(CachedAnswer),
    /// Refuse the request: its `Idempotency-Key` belongs to another one.
    Conflict,
    /// Use this cached answer.
    Hit(CachedAnswer),
    /// Ask upstream, then [`settle`](ResponseCache::settle) or [`give_up`](ResponseCache::give_up).
    Lead(FlightLease),
    /// The same as `Lead`, since the client accepts no cached answer.
    Refresh(FlightLease),
}

/// The leader's duty to report how its upstream request ended.
///
/// A lease that is never reported becomes void after [`CacheLimits::lease`].
#[derive(Debug)]
#[must_use = "other requests may wait for the lease's result"]
pub struct FlightLease {
    key: CacheKey,
    /// `None` when no other request waits for the result.
    serial: Option<u64>,
}

/// Why a leader has no answer to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// The upstream request failed.
    Failed,
    /// The leader's client left before there was an answer.
    Gone,
}

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// `REQUEST_DEDUP_WINDOW_MS`: how long an answer is shared with equal requests. Zero turns all
    /// sharing off, also among requests in flight.
    pub window: Duration,
    /// `RESPONSE_CACHE_TTL_SECONDS`: how long an answer is kept. Zero keeps no answers.
    pub ttl: Duration,
    /// `RESPONSE_CACHE_MAX_BYTES`: the memory of all answers, shared and kept. Zero turns the cache
    /// off.
    pub bytes: usize,
    /// The time after which an unreported lease is void. It must be longer than any answer takes.
    pub lease: Duration,
}

/// The repeatable requests in flight and the cached answers.
#[derive(Debug)]
pub struct ResponseCache {
    limits: CacheLimits,
    slots: BTreeMap<Digest, Slot>,
    /// Answers that are not kept.
    unkept: BTreeMap<Digest, UnkeptAnswer>,
    /// When each slot and each unkept answer expires, with its serial.
    expiries: BTreeMap<(Monotonic, u64), Digest>,
    /// The answers of slots and the unkept ones by serial, oldest first. All kept answers live
    /// equally long, so the oldest expires first as well.
    answers: BTreeMap<u64, Digest>,
    bytes: usize,
    serial: u64,
}

/// An answer for requests that arrived before it, and for no others.
#[derive(Debug)]
struct UnkeptAnswer {
    content: Digest,
    answer: CachedAnswer,
    at: Monotonic,
    size: usize,
    serial: u64,
    expires: Monotonic,
}

#[derive(Debug)]
struct Slot {
    content: Digest,
    state: SlotState,
    serial: u64,
    expires: Monotonic,
}

#[derive(Debug)]
enum SlotState {
    Answered {
        answer: CachedAnswer,
        at: Monotonic,
        size: usize,
    },
    /// Requests that arrived before this failure ask upstream without sharing.
    Failed {
        at: Monotonic,
    },
    InFlight {
        /// When an earlier leader failed.
        failed: Option<Monotonic>,
    },
}

impl ResponseCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            slots: BTreeMap::new(),
            unkept: BTreeMap::new(),
            expiries: BTreeMap::new(),
            answers: BTreeMap::new(),
            bytes: 0,
            serial: 0,
        }
    }

    /// False when the settings neither share nor keep answers. No request needs a key then.
    pub fn is_on(&self) -> bool {
        self.limits.bytes > 0 && !(self.limits.window.is_zero() && self.limits.ttl.is_zero())
    }

    /// Decides what a request does. `arrived` is the time of its first call of `ask`; that call
    /// has `now == arrived`. `None` while the leader of an equal request is at work: ask again a
    /// little later.
    pub fn ask(
        &mut self,
        key: &CacheKey,
        directive: CacheDirective,
        arrived: Monotonic,
        now: Monotonic,
    ) -> Option<CacheVerdict> {
        if !self.is_on() {
            return Some(CacheVerdict::Bypass);
        }
        self.expire(now);
        if directive == CacheDirective::Any
            && let Some(unkept) = self.unkept.get(&key.name)
            && unkept.content == key.content
            && arrived < unkept.at
        {
            return Some(CacheVerdict::Coalesced(unkept.answer.clone()));
        }
        let found = self.slots.get(&key.name);
        let bound = found.is_some_and(|slot| slot.state.binds(&self.limits, arrived, now));
        if bound && found.is_some_and(|slot| slot.content != key.content) {
            return Some(CacheVerdict::Conflict);
        }
        match directive {
            CacheDirective::NoStore => return Some(CacheVerdict::Bypass),
            CacheDirective::NoCache => return Some(CacheVerdict::Refresh(alone(key))),
            CacheDirective::Any => {}
        }
        let mut failed = None;
        match found.filter(|slot| slot.content == key.content).map(|slot| &slot.state) {
            Some(SlotState::Answered { answer, at, .. }) => {
                if arrived < *at {
                    return Some(CacheVerdict::Coalesced(answer.clone()));
                }
                if now < *at + self.limits.ttl {
                    return Some(CacheVerdict::Hit(answer.clone()));
                }
                if now < *at + self.limits.window {
                    return Some(CacheVerdict::Coalesced(answer.clone()));
                }
            }
            Some(SlotState::Failed { at }) => failed = Some(*at),
            Some(SlotState::InFlight { failed: Some(at) }) if arrived <= *at => failed = Some(*at),
            Some(SlotState::InFlight { .. }) => return None,
            None => {}
        }
        if self.limits.window.is_zero() || failed.is_some_and(|at| arrived <= at) {
            return Some(CacheVerdict::Lead(alone(key)));
        }
        let expires = now + self.limits.lease;
        let serial = self.put(key, SlotState::InFlight { failed }, expires);
        Some(CacheVerdict::Lead(FlightLease { key: *key, serial: Some(serial) }))
    }

    /// Records a successful answer, for the waiters and for later requests.
    ///
    /// An answer whose lease is void is as good as any other. An answer of more than an eighth of
    /// [`CacheLimits::bytes`] is not kept, and its waiters ask upstream themselves.
    pub fn settle(&mut self, lease: FlightLease, answer: CachedAnswer, now: Monotonic) {
        self.settle_aged(lease, answer, Duration::ZERO, now);
    }

    /// Records an answer that another process got `age` ago, which shortens its lifetime by `age`.
    pub fn settle_aged(
        &mut self,
        lease: FlightLease,
        answer: CachedAnswer,
        age: Duration,
        now: Monotonic,
    ) {
        self.expire(now);
        let size = answer.size();
        if size > self.limits.bytes / 8 {
            return self.give_up(lease, Abandoned::Failed, now);
        }
        let taken = self.slots.get(&lease.key.name).is_some_and(|slot| {
            slot.content != lease.key.content && slot.state.binds(&self.limits, now, now)
        });
        if taken {
            return;
        }
        let lifetime = self.limits.ttl.max(self.limits.window).saturating_sub(age).max(LINGER);
        let at =
            Monotonic(now.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)));
        let state = SlotState::Answered { answer, at, size };
        let serial = self.put(&lease.key, state, now + lifetime);
        self.answers.insert(serial, lease.key.name);
        self.bytes += size;
        self.evict();
    }

    /// Records a successful answer that is not kept: it is for the requests that wait for the leader.
    ///
    /// For a large answer the same holds as with [`settle`](Self::settle).
    pub fn share_in_flight(&mut self, lease: FlightLease, answer: CachedAnswer, now: Monotonic) {
        self.expire(now);
        let Some(slot) = self.slots.get(&lease.key.name) else { return };
        if !matches!(slot.state, SlotState::InFlight { .. }) || lease.serial != Some(slot.serial) {
            return;
        }
        let size = answer.size();
        if size > self.limits.bytes / 8 {
            return self.give_up(lease, Abandoned::Failed, now);
        }
        let CacheKey { name, content } = lease.key;
        self.remove(&name);
        self.remove_unkept(&name);
        self.serial += 1;
        let (serial, expires) = (self.serial, now + LINGER);
        let unkept = UnkeptAnswer { content, answer, at: now, size, serial, expires };
        self.unkept.insert(name, unkept);
        self.expiries.insert((expires, serial), name);
        self.answers.insert(serial, name);
        self.bytes += size;
        self.evict();
    }

    /// Records that the leader has no answer to share.
    #[expect(clippy::needless_pass_by_value, reason = "a lease is given up once")]
    pub fn give_up(&mut self, lease: FlightLease, abandoned: Abandoned, now: Monotonic) {
        let Some(slot) = self.slots.get(&lease.key.name) else { return };
        let SlotState::InFlight { failed } = slot.state else { return };
        if lease.serial != Some(slot.serial) {
            return;
        }
        let failed = match abandoned {
            Abandoned::Failed => Some(now),
            Abandoned::Gone => failed,
        };
        match failed {
            Some(at) => {
                self.put(&lease.key, SlotState::Failed { at }, now + LINGER);
            }
            None => self.remove(&lease.key.name),
        }
    }

    /// How long an answer may be given to other requests, in this process or another one.
    pub fn lifetime(&self) -> Duration {
        self.limits.ttl.max(self.limits.window)
    }

    /// Drops what has expired. [`ask`](Self::ask) and [`settle`](Self::settle) do this
    /// first; a regular call keeps an idle proxy from holding old answers.
    pub fn expire(&mut self, now: Monotonic) {
        while let Some((&(at, serial), name)) = self.expiries.first_key_value() {
            if now < at {
                break;
            }
            let name = *name;
            self.remove_serial(serial, &name);
        }
    }

    /// Drops the oldest answers until the others fit.
    fn evict(&mut self) {
        while self.bytes > self.limits.bytes {
            let Some((serial, oldest)) = self.answers.pop_first() else { break };
            self.remove_serial(serial, &oldest);
        }
        debug_assert!(
            self.bytes <= self.limits.bytes,
            "the cache holds more than `CacheLimits::bytes`"
        );
    }

    fn put(&mut self, key: &CacheKey, state: SlotState, expires: Monotonic) -> u64 {
        self.remove(&key.name);
        self.serial += 1;
        let serial = self.serial;
        let slot = Slot { content: key.content, state, serial, expires };
        self.expiries.insert((expires, serial), key.name);
        self.slots.insert(key.name, slot);
        serial
    }

    fn remove(&mut self, name: &Digest) {
        let Some(slot) = self.slots.remove(name) else { return };
        self.expiries.remove(&(slot.expires, slot.serial));
        self.answers.remove(&slot.serial);
        if let SlotState::Answered { size, .. } = slot.state {
            self.bytes -= size;
        }
    }

    fn remove_unkept(&mut self, name: &Digest) {
        let Some(unkept) = self.unkept.remove(name) else { return };
        self.expiries.remove(&(unkept.expires, unkept.serial));
        self.answers.remove(&unkept.serial);
        self.bytes -= unkept.size;
    }

    /// Removes the slot or the unkept answer with this serial.
    fn remove_serial(&mut self, serial: u64, name: &Digest) {
        if self.unkept.get(name).is_some_and(|unkept| unkept.serial == serial) {
            self.remove_unkept(name);
        } else {
            self.remove(name);
        }
    }
}

impl SlotState {
    /// True while the slot's `Idempotency-Key` may not be used for another request.
    fn binds(&self, limits: &CacheLimits, arrived: Monotonic, now: Monotonic) -> bool {
        match self {
            Self::Answered { at, .. } => arrived < *at || now < *at + limits.ttl.max(limits.window),
            Self::Failed { .. } => false,
            Self::InFlight { .. } => true,
        }
    }
}

impl CachedAnswer {
    /// The answer in memory of its own, for the cache. What upstream sent are slices of a connection's
    /// read buffer, which may be many times as large as a short answer and would be kept with it.
    pub fn copied(&self) -> Self {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            // The bytes of a header value make one again.
            Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?))
        });
        Self {
            status: self.status,
            headers: headers.collect(),
            body: Bytes::copy_from_slice(&self.body),
        }
    }

    /// The approximate memory that the answer takes.
    fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize =
            headers.map(|(name, value)| name.as_str().len() + value.len() + PER_HEADER).sum();
        PER_ANSWER + headers + self.body.len()
    }
}

impl fmt::Debug for CachedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedAnswer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A lease that no other request waits for.
fn alone(key: &CacheKey) -> FlightLease {
    FlightLease { key: *key, serial: None }
}

/// The shortest time that an answer or a failure stays, so that the waiters find it however short
/// the window is. Longer than any pause between two calls of [`ResponseCache::ask`].
const LINGER: Duration = Duration::from_secs(2);

/// The memory of an answer besides its bytes: its slot in three maps, its header table.
const PER_ANSWER: usize = 1024;
const PER_HEADER: usize = 64;

#[cfg(test)]
mod tests;
