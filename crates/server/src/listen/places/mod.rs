//! The limited places for open connections, and which idle connections are closed for new ones when few
//! places are left.
//!
//! A connection is idle while it has no request in flight: silent since it was accepted, between two
//! requests, or in HTTP/2 without a stream. A request that was refused, or that needs no key, is in
//! flight no longer once that is known. Only idle connections are closed for others.
//!
//! A request changes two numbers of its own connection. Only accepting, closing and choosing take the
//! lock that all connections share. Choosing reads all of them, so it closes several at a time
//! (1/128 of the places): that is constant work for each connection accepted.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::{Caller, ConnectionEnd, Proxy};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::clock;

/// The places of one listener.
pub(super) struct Places {
    limit: usize,
    /// The most that one address may have when few are left. A load balancer is one address.
    share: usize,
    /// From this many places taken on, idle connections are closed.
    crowded: usize,
    /// From this many places taken on, only probes are answered if no connection is idle.
    spare: usize,
    is_crowded: AtomicBool,
    /// Where the connections are counted; `None` for a listener that is in no metric.
    proxy: Option<Arc<Proxy>>,
    epoch: Instant,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    places: Vec<Arc<Place>>,
    addresses: HashMap<Caller, AddressCount>,
    /// The places whose connection is being closed for another one.
    closing: usize,
    is_crowded: bool,
    warned: Option<Instant>,
}

#[derive(Default)]
struct AddressCount {
    taken: usize,
    closing: usize,
}

/// The place of one connection, and the state of that connection.
#[derive(Debug)]
pub(super) struct Place {
    address: Caller,
    /// Its index among all places.
    index: AtomicUsize,
    /// The number of requests in flight, [`CLOSING`] and [`OUT_OF_MEMORY`].
    requests: AtomicU32,
    /// In milliseconds since the epoch of [`Places`].
    accepted: u64,
    /// A request has ended here, or was refused.
    has_served: AtomicBool,
    /// A request was admitted.
    is_admitted: AtomicBool,
    /// Since when no request has been in flight, in milliseconds since the epoch of [`Places`].
    idle_since: AtomicU64,
    epoch: Instant,
    pub(super) writes: WriteProgress,
    /// Wakes the connection's task, to see why.
    woken: Notify,
}

/// How the client takes what is written.
#[derive(Debug, Default)]
pub(super) struct WriteProgress {
    /// The last write found the socket's buffer full.
    pub(super) blocked: AtomicBool,
    pub(super) done: AtomicU32,
}

/// Gives the place back when it is dropped.
#[must_use]
pub(super) struct PlaceGuard {
    places: Arc<Places>,
    pub(super) place: Arc<Place>,
    /// When it was taken, few places were left and no connection was idle.
    is_spare: bool,
}

impl Places {
    pub(super) fn new(limit: usize, proxy: Option<Arc<Proxy>>) -> Arc<Self> {
        if let Some(proxy) = &proxy {
            proxy.metrics().connections().set_limit(limit);
        }
        Arc::new(Self {
            limit,
            share: (limit * 3).div_ceil(4),
            crowded: (limit * 9).div_ceil(10),
            spare: (limit * 19).div_ceil(20),
            is_crowded: AtomicBool::new(false),
            proxy,
            epoch: Instant::now(),
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Waits for a place.
    pub(super) async fn wait_for(self: &Arc<Self>, address: Caller) -> PlaceGuard {
        loop {
            if let Some(place) = self.take(address, Instant::now()) {
                return place;
            }
            tokio::select! {
                () = self.freed.notified() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    /// Takes a place, and closes idle connections if few places are left. Returns `None` while all
    /// places are taken; connections may be closing.
    fn take(self: &Arc<Self>, address: Caller, now: Instant) -> Option<PlaceGuard> {
        let mut taken = self.taken();
        if taken.places.len() >= self.limit {
            if taken.closing == 0 {
                self.evict(&mut taken, self.limit / BATCHES + 1, now);
            }
            return None;
        }
        let mut is_spare = false;
        let open = taken.places.len() + 1 - taken.closing;
        if open < self.crowded {
            taken.is_crowded = false;
        } else {
            self.warn_once(&mut taken, now);
            let more = open + 1 - self.crowded;
            let evicted = self.evict(&mut taken, more.max(self.limit / BATCHES), now);
            is_spare =
                evicted == 0 && (open >= self.spare || taken.heaviest(self.share) == Some(address));
        }
        let place = Arc::new(Place::new(address, taken.places.len(), self.epoch, now));
        taken.places.push(Arc::clone(&place));
        taken.addresses.entry(address).or_default().taken += 1;
        self.show(taken.places.len());
        self.is_crowded.store(taken.is_crowded, Ordering::Relaxed);
        Some(PlaceGuard { places: Arc::clone(self), place, is_spare })
    }

    /// Closes the longest idle connection, for a machine that has run out of files.
    pub(super) fn evict_one(&self) {
        self.evict(&mut self.taken(), 1, Instant::now());
    }

    /// Closes the longest idle connections, at most `wanted`: those of strangers before others. If an
    /// address has more than its share, only its own are closed. Returns how many are closed.
    fn evict(&self, taken: &mut Taken, wanted: usize, now: Instant) -> usize {
        let of = taken.heaviest(self.share);
        let now = millis(now - self.epoch);
        let mut idle: Vec<(Claim, u64, usize)> = taken
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| of.is_none_or(|of| of == place.address) && place.is_idle())
            .map(|(index, place)| {
                (place.claim(now), place.idle_since.load(Ordering::Relaxed), index)
            })
            .collect();
        if idle.iter().any(|(claim, ..)| *claim != Claim::New) {
            idle.retain(|(claim, ..)| *claim != Claim::New);
        }
        if idle.len() > wanted {
            idle.select_nth_unstable(wanted);
            idle.truncate(wanted);
        }
        let mut closed = 0;
        for (_, _, index) in idle {
            let place = &taken.places[index];
            if !place.close(CLOSING) {
                continue;
            }
            if let Some(count) = taken.addresses.get_mut(&place.address) {
                count.closing += 1;
            }
            closed += 1;
            self.count(ConnectionEnd::IdleEvicted);
        }
        taken.closing += closed;
        closed
    }

    /// Wakes all connections, since the phase of the server has changed. A channel for all of them would have a
    /// lock, which each wake-up of each connection would take.
    pub(super) fn wake_all(&self) {
        self.taken().places.iter().for_each(|place| place.woken.notify_one());
    }

    fn warn_once(&self, taken: &mut Taken, now: Instant) {
        let is_recent = taken.warned.is_some_and(|at| now - at < WARN_PAUSE);
        if !taken.is_crowded && !is_recent {
            taken.warned = Some(now);
            tracing::warn!(
                limit = self.limit,
                "nine tenths of the places for connections are taken: the longest idle connections \
                 are closed for new ones"
            );
        }
        taken.is_crowded = true;
    }

    fn count(&self, end: ConnectionEnd) {
        if let Some(proxy) = &self.proxy {
            proxy.metrics().connections().ended(end);
        }
    }

    fn show(&self, open: usize) {
        if let Some(proxy) = &self.proxy {
            proxy.metrics().connections().set_open(open);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The address that has more than this share, which only one can have.
    fn heaviest(&self, share: usize) -> Option<Caller> {
        let is_heavy = |count: &AddressCount| count.taken - count.closing > share;
        let heaviest = self.addresses.iter().find(|(_, count)| is_heavy(count));
        heaviest.map(|(address, _)| *address)
    }
}

/// How much an idle connection deserves its place, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// No request of its was admitted.
    Stranger,
    Admitted,
    /// Its client has had no time yet to send a request.
    New,
}

impl Place {
    pub(super) fn new(address: Caller, index: usize, epoch: Instant, now: Instant) -> Self {
        let accepted = millis(now - epoch);
        Self {
            address,
            index: AtomicUsize::new(index),
            requests: AtomicU32::new(0),
            accepted,
            has_served: AtomicBool::new(false),
            is_admitted: AtomicBool::new(false),
            idle_since: AtomicU64::new(accepted),
            epoch,
            writes: WriteProgress::default(),
            woken: Notify::new(),
        }
    }

    fn claim(&self, now: u64) -> Claim {
        let is_young = self.is_young_at(now);
        match self.is_admitted.load(Ordering::Relaxed) {
            true => Claim::Admitted,
            false if is_young && !self.has_served.load(Ordering::Relaxed) => Claim::New,
            false => Claim::Stranger,
        }
    }

    /// Its client has had little time to send a request.
    pub(super) fn is_young(&self) -> bool {
        self.is_young_at(millis(clock::now() - self.epoch))
    }

    fn is_young_at(&self, now: u64) -> bool {
        now.saturating_sub(self.accepted) < YOUNG
    }

    /// A request of this connection was admitted.
    pub(super) fn admitted(&self) {
        self.is_admitted.store(true, Ordering::Relaxed);
    }

    /// A request begins. False if the connection is being closed for another one: then the request
    /// must not be processed.
    pub(super) fn begin_request(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let is_closing = before & (CLOSING | OUT_OF_MEMORY) != 0;
        if is_closing {
            self.requests.fetch_sub(1, Ordering::Relaxed);
        }
        !is_closing
    }

    /// A request is in flight no longer.
    pub(super) fn end_request(&self) {
        self.has_served.store(true, Ordering::Relaxed);
        self.idle_since.store(millis(clock::now() - self.epoch), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until the connection is to be closed for another one.
    pub(super) async fn evicted(&self) {
        while !self.is_closing() {
            self.woken().await;
        }
    }

    /// Waits until the connection is to be closed for another one, or the phase of the server has changed.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// True if the connection is to be closed for another one.
    pub(super) fn is_closing(&self) -> bool {
        self.requests.load(Ordering::Relaxed) & (CLOSING | OUT_OF_MEMORY) != 0
    }

    /// An answer whose last bytes wait in the socket is still in flight, if it is no stranger's.
    pub(super) fn is_idle(&self) -> bool {
        let is_blocked = self.writes.blocked.load(Ordering::Relaxed);
        self.requests.load(Ordering::Relaxed) == 0
            && !(is_blocked && self.is_admitted.load(Ordering::Relaxed))
    }

    /// Has an idle connection closed for its memory, unless a request has just begun.
    pub(super) fn close_idle_for_memory(&self) -> bool {
        self.close(OUT_OF_MEMORY)
    }

    /// Has a connection closed for its memory, whatever it does.
    pub(super) fn close_for_memory(&self) {
        self.requests.fetch_or(OUT_OF_MEMORY, Ordering::Relaxed);
        self.woken.notify_one();
    }

    /// True if the connection is closed for its memory.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.requests.load(Ordering::Relaxed) & OUT_OF_MEMORY != 0
    }

    /// Has the connection closed, unless a request has just begun.
    fn close(&self, why: u32) -> bool {
        let order = Ordering::Relaxed;
        let is_closing = self.requests.compare_exchange(0, why, order, order).is_ok();
        if is_closing {
            self.woken.notify_one();
        }
        is_closing
    }
}

impl PlaceGuard {
    /// True if only probes may be answered on this connection. All other places have requests in flight,
    /// or this address has more than its share of the places.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare && self.places.is_crowded.load(Ordering::Relaxed)
    }

    /// Counts why the proxy closes this connection.
    pub(super) fn ended(&self, why: ConnectionEnd) {
        self.places.count(why);
    }

    pub(super) fn proxy(&self) -> Option<&Arc<Proxy>> {
        self.places.proxy.as_ref()
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        let mut guard = self.places.taken();
        let taken = &mut *guard;
        let index = self.place.index.load(Ordering::Relaxed);
        taken.places.swap_remove(index);
        if let Some(moved) = taken.places.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        let was_closing = usize::from(self.place.requests.load(Ordering::Relaxed) & CLOSING != 0);
        taken.closing -= was_closing;
        if let Some(count) = taken.addresses.get_mut(&self.place.address) {
            count.taken -= 1;
            count.closing -= was_closing;
            if count.taken == 0 {
                taken.addresses.remove(&self.place.address);
            }
        }
        if taken.places.len() - taken.closing < self.places.crowded {
            self.places.is_crowded.store(false, Ordering::Relaxed);
        }
        self.places.show(taken.places.len());
        drop(guard);
        self.places.freed.notify_one();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// In [`Place::requests`]: the connection is being closed for another one.
const CLOSING: u32 = 1 << 31;

/// In [`Place::requests`]: the connection is being closed for its memory.
const OUT_OF_MEMORY: u32 = 1 << 30;

/// For how long a connection counts as new, in milliseconds. Clients connect when they have a request.
const YOUNG: u64 = 1000;

/// Connections are closed in batches of this part of the places.
const BATCHES: usize = 128;

/// How soon a new connection looks again for one that has become idle.
const RETRY: Duration = Duration::from_millis(20);

/// The least time between two warnings.
const WARN_PAUSE: Duration = Duration::from_secs(60);
