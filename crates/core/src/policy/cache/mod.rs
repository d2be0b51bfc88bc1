//! Equal requests that may share one answer, and answers that are kept (`docs/RESILIENCE.md`).
//!
//! Only *repeatable* requests come here, and streams never do: two equal prompts at temperature 1
//! are two questions, and a sampling client must get two answers.
//!
//! Errors are not shared. A leader's failure may be its own (its deadline, its place in line), so
//! whoever waited for it then asks for itself, all at once as if this room did not exist: were the
//! waiting to lead one after the other, the last of twenty would wait for twenty failures. A leader
//! whose client has gone has learned nothing, so there the next who asks takes its place and the
//! others go on waiting.

mod directive;
mod key;
mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

pub use self::directive::CacheDirective;
use self::key::Digest;
pub use self::key::{ANSWER_PREFIX, CacheKey, idempotency_key};
pub use self::stored::StoredAnswer;
use crate::time::Monotonic;

/// A whole answer, as it may be given to several clients. Printing it does not show the body.
#[derive(Clone, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers that are the answer's, not the request's.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What a repeatable request does.
#[derive(Debug)]
pub enum Verdict {
    /// Ask upstream, and leave no trace here.
    Bypass,
    /// Here is the answer that an equal request got while this one waited, or a moment ago.
    Coalesced(CachedAnswer),
    /// The `Idempotency-Key` stands for another request.
    Conflict,
    /// Here is an answer that was kept.
    Hit(CachedAnswer),
    /// Ask upstream, then [`settle`](ResponseCache::settle) or [`give_up`](ResponseCache::give_up).
    Lead(FlightLease),
    /// The same, because the client wants no answer that was there before it asked.
    Refresh(FlightLease),
}

/// The duty to tell how asking upstream went. One that is never settled is void after a while.
#[derive(Debug)]
#[must_use = "others may wait for it"]
pub struct FlightLease {
    question: CacheKey,
    /// `None` when nobody waits for it.
    serial: Option<u64>,
}

/// Why there is no answer to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// There was an error.
    Failed,
    /// The client went away before there was an answer.
    Gone,
}

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `REQUEST_DEDUP_WINDOW_MS`: for so long after it an answer is shared. Zero turns all sharing
    /// off, also of what is in flight.
    pub window: Duration,
    /// `RESPONSE_CACHE_TTL_SECONDS`: for so long an answer is kept. Zero turns keeping off.
    pub ttl: Duration,
    /// `RESPONSE_CACHE_MAX_BYTES`, for what is shared and what is kept. Zero turns both off.
    pub bytes: usize,
    /// After so long a lease that has not been settled is void. Longer than an answer may take.
    pub lease: Duration,
}

/// Questions in flight and answers kept.
#[derive(Debug)]
pub struct ResponseCache {
    limits: Limits,
    slots: BTreeMap<Digest, Slot>,
    /// When each slot is to be forgotten.
    expiries: BTreeMap<(Monotonic, u64), Digest>,
    /// The answers, oldest first. All live equally long, so the oldest is the next to go anyway.
    answers: BTreeMap<u64, Digest>,
    bytes: usize,
    serial: u64,
}

#[derive(Debug)]
struct Slot {
    content: Digest,
    state: State,
    serial: u64,
    expires: Monotonic,
}

#[derive(Debug)]
enum State {
    Answered {
        answer: CachedAnswer,
        at: Monotonic,
        size: usize,
    },
    /// Whoever came before this failure asks for itself.
    Failed {
        at: Monotonic,
    },
    InFlight {
        /// An earlier leader failed.
        failed: Option<Monotonic>,
    },
}

impl ResponseCache {
    /// Nothing has been asked yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: BTreeMap::new(),
            expiries: BTreeMap::new(),
            answers: BTreeMap::new(),
            bytes: 0,
            serial: 0,
        }
    }

    /// False when nothing would ever be shared or kept: no need to make a question then.
    pub fn is_on(&self) -> bool {
        self.limits.bytes > 0 && !(self.limits.window.is_zero() && self.limits.ttl.is_zero())
    }

    /// What a request does that first asked at `arrived` (at `now`, the first time). `None` while
    /// an equal request is being answered: ask again a little later.
    pub fn ask(
        &mut self,
        question: &CacheKey,
        freshness: CacheDirective,
        arrived: Monotonic,
        now: Monotonic,
    ) -> Option<Verdict> {
        if !self.is_on() {
            return Some(Verdict::Bypass);
        }
        self.expire(now);
        let found = self.slots.get(&question.name);
        let bound = found.is_some_and(|slot| slot.state.binds(&self.limits, arrived, now));
        if bound && found.is_some_and(|slot| slot.content != question.content) {
            return Some(Verdict::Conflict);
        }
        match freshness {
            CacheDirective::NoStore => return Some(Verdict::Bypass),
            CacheDirective::NoCache => return Some(Verdict::Refresh(alone(question))),
            CacheDirective::Any => {}
        }
        let mut failed = None;
        match found.filter(|slot| slot.content == question.content).map(|slot| &slot.state) {
            Some(State::Answered { answer, at, .. }) => {
                if arrived < *at {
                    return Some(Verdict::Coalesced(answer.clone()));
                }
                if now < *at + self.limits.ttl {
                    return Some(Verdict::Hit(answer.clone()));
                }
                if now < *at + self.limits.window {
                    return Some(Verdict::Coalesced(answer.clone()));
                }
            }
            Some(State::Failed { at }) => failed = Some(*at),
            Some(State::InFlight { failed: Some(at) }) if arrived <= *at => failed = Some(*at),
            Some(State::InFlight { .. }) => return None,
            None => {}
        }
        if self.limits.window.is_zero() || failed.is_some_and(|at| arrived <= at) {
            return Some(Verdict::Lead(alone(question)));
        }
        let expires = now + self.limits.lease;
        let serial = self.put(question, State::InFlight { failed }, expires);
        Some(Verdict::Lead(FlightLease { question: *question, serial: Some(serial) }))
    }

    /// Takes note of a successful answer, for those who wait and those who will ask.
    ///
    /// A late one, whose lease is void, is as good as any. One that would take more than an eighth
    /// of the budget is not kept, and who waited for it asks for itself.
    pub fn settle(&mut self, lease: FlightLease, answer: CachedAnswer, now: Monotonic) {
        self.settle_aged(lease, answer, Duration::ZERO, now);
    }

    /// The same for an answer that was given elsewhere, some time ago: it is kept for that much
    /// less.
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
        let taken = self.slots.get(&lease.question.name).is_some_and(|slot| {
            slot.content != lease.question.content && slot.state.binds(&self.limits, now, now)
        });
        if taken {
            return;
        }
        let lifetime = self.limits.ttl.max(self.limits.window).saturating_sub(age).max(LINGER);
        let at =
            Monotonic(now.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)));
        let state = State::Answered { answer, at, size };
        let serial = self.put(&lease.question, state, now + lifetime);
        self.answers.insert(serial, lease.question.name);
        self.bytes += size;
        while self.bytes > self.limits.bytes {
            let Some((_, oldest)) = self.answers.pop_first() else { break };
            self.remove(&oldest);
        }
        debug_assert!(self.bytes <= self.limits.bytes, "the cache is over its budget");
    }

    /// Takes note that there is no answer to share.
    #[expect(clippy::needless_pass_by_value, reason = "a lease is given up once")]
    pub fn give_up(&mut self, lease: FlightLease, loss: Abandoned, now: Monotonic) {
        let Some(slot) = self.slots.get(&lease.question.name) else { return };
        let State::InFlight { failed } = slot.state else { return };
        if lease.serial != Some(slot.serial) {
            return;
        }
        let failed = match loss {
            Abandoned::Failed => Some(now),
            Abandoned::Gone => failed,
        };
        match failed {
            Some(at) => {
                self.put(&lease.question, State::Failed { at }, now + LINGER);
            }
            None => self.remove(&lease.question.name),
        }
    }

    /// How long an answer is of use to anybody.
    pub fn lifetime(&self) -> Duration {
        self.limits.ttl.max(self.limits.window)
    }

    /// Forgets what has had its time. Whoever asks does this; a shell may do it regularly, so that
    /// an idle proxy holds no old answers.
    pub fn expire(&mut self, now: Monotonic) {
        while let Some((&(at, _), name)) = self.expiries.first_key_value() {
            if now < at {
                break;
            }
            let name = *name;
            self.remove(&name);
        }
    }

    fn put(&mut self, question: &CacheKey, state: State, expires: Monotonic) -> u64 {
        self.remove(&question.name);
        self.serial += 1;
        let serial = self.serial;
        let slot = Slot { content: question.content, state, serial, expires };
        self.expiries.insert((expires, serial), question.name);
        self.slots.insert(question.name, slot);
        serial
    }

    fn remove(&mut self, name: &Digest) {
        let Some(slot) = self.slots.remove(name) else { return };
        self.expiries.remove(&(slot.expires, slot.serial));
        self.answers.remove(&slot.serial);
        if let State::Answered { size, .. } = slot.state {
            self.bytes -= size;
        }
    }
}

impl State {
    /// True while an `Idempotency-Key` stands for what it was first used for.
    fn binds(&self, limits: &Limits, arrived: Monotonic, now: Monotonic) -> bool {
        match self {
            Self::Answered { at, .. } => arrived < *at || now < *at + limits.ttl.max(limits.window),
            Self::Failed { .. } => false,
            Self::InFlight { .. } => true,
        }
    }
}

impl CachedAnswer {
    /// The memory it takes, about.
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

fn alone(question: &CacheKey) -> FlightLease {
    FlightLease { question: *question, serial: None }
}

/// How long an answer stays for those who waited for it to come and get it, however short the
/// window; longer than anybody sleeps between two looks.
const LINGER: Duration = Duration::from_secs(2);

/// What an answer takes besides its bytes: its slot in three maps, its header table.
const PER_ANSWER: usize = 512;
const PER_HEADER: usize = 64;

#[cfg(test)]
mod tests;
