//! What has been used under one `id`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;

use super::standing::StandingHeaders;
use crate::caller::{Caller, KeyDigest, Rate, RateStanding};
use crate::platform::Platform;
use crate::policy::budget::{
    BudgetStanding, Charge, Cost, Day, Ledger, Limits, LoadMark, ModelTotal, Moment, ProcessId,
    ReservationTicket, Reserved, SharedReservation, SharedStanding, Shortage, TakenUsage, UsageRow,
};
use crate::policy::lease::{Lease, Leases};
use crate::policy::rate_limit::KeyRequests;
use crate::sync::lock;
use crate::time::Monotonic;

/// The moment on both clocks of a platform.
pub fn moment<P: Platform>(platform: &P) -> Moment {
    Moment { now: platform.now(), clock: platform.wall_clock() }
}

/// The usage and the reservations of one `id`, in this process.
#[derive(Debug)]
pub struct KeyAccount {
    /// The `id` of the keys.
    pub id: Arc<str>,
    /// The identity for `requests_per_minute` in a store that several processes share.
    pub requests_identity: Caller,
    state: Mutex<AccountState>,
    /// True while usage cannot be loaded; shared by all accounts, so that it is logged once.
    loads_fail: Arc<AtomicBool>,
}

#[derive(Debug)]
struct AccountState {
    ledger: Ledger,
    requests: KeyRequests,
    loading: Loading,
    loads: Leases,
    headers: StandingHeaders,
}

/// Whether the month's usage has been loaded from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loading {
    Due,
    Failed { again_at: Monotonic },
    Done,
}

impl Loading {
    fn is_over(self, now: Monotonic) -> bool {
        match self {
            Self::Done => true,
            Self::Failed { again_at } => now < again_at,
            Self::Due => false,
        }
    }
}

/// What a request has used.
#[derive(Debug, Clone, Copy)]
pub struct Settlement<'a> {
    /// What it had reserved.
    pub reservation: Option<ReservationTicket>,
    /// The model that was asked upstream.
    pub model: &'a Arc<str>,
    /// 1 for a request that was answered.
    pub requests: u64,
    /// What it has used, with its cost.
    pub charge: Charge,
    /// The bytes of the request's body, if upstream has counted its whole answer.
    pub learn: Option<u64>,
}

impl KeyAccount {
    pub(super) fn new(id: &Arc<str>, loads_fail: &Arc<AtomicBool>) -> Arc<Self> {
        // Differs from the identity of the `id` and of every other one: an `id` has no control characters.
        let requests_identity = Caller::Key(KeyDigest::of_id(&format!("{id}\0requests")));
        let state = AccountState {
            ledger: Ledger::new(id),
            requests: KeyRequests::default(),
            loading: Loading::Due,
            loads: Leases::default(),
            headers: StandingHeaders::default(),
        };
        Arc::new(Self {
            id: Arc::clone(id),
            requests_identity,
            state: Mutex::new(state),
            loads_fail: Arc::clone(loads_fail),
        })
    }

    /// How much of each budget with a limit is used, as far as this process knows: what was loaded, what it has
    /// counted since, and what the shared store has said last.
    pub fn standings(&self, limits: &Limits, at: Moment) -> Vec<BudgetStanding> {
        lock(&self.state).ledger.standings(limits, at)
    }

    /// What this process has counted since its start, by model.
    pub fn totals(&self) -> Vec<ModelTotal> {
        lock(&self.state).ledger.totals().to_vec()
    }

    /// What has been used and is in no batch for the store yet.
    pub fn unflushed_rows(&self) -> Vec<UsageRow> {
        lock(&self.state).ledger.unflushed_rows().to_vec()
    }

    /// True if something has been used that is in no batch for the store yet.
    pub fn has_unflushed_usage(&self) -> bool {
        !lock(&self.state).ledger.unflushed_rows().is_empty()
    }

    /// Counts a request within `requests_per_minute`, if it is allowed.
    pub fn ask_requests(&self, rate: Rate, now: Monotonic) -> RateStanding {
        lock(&self.state).requests.ask(rate, now)
    }

    /// Takes back a request that another count has refused.
    pub fn take_back_request(&self) {
        lock(&self.state).requests.take_back();
    }

    /// What a request may use whose body has so many bytes.
    pub fn estimate(&self, prompt_bytes: u64) -> Charge {
        lock(&self.state).ledger.estimate(prompt_bytes)
    }

    /// The same, as a reservation.
    pub fn reservation(&self, prompt_bytes: u64, cost: impl FnOnce(Charge) -> Cost) -> Reserved {
        reserved(self.estimate(prompt_bytes), cost)
    }

    /// Reserves what a request may use whose body has so many bytes, if nothing has to be waited for. `cost` is what
    /// an estimate costs.
    pub fn reserve_at_once(
        &self,
        limits: &Limits,
        prompt_bytes: u64,
        cost: impl FnOnce(Charge) -> Cost,
        at: Moment,
    ) -> Option<ReservationTicket> {
        let state = &mut *lock(&self.state);
        if !state.loading.is_over(at.now) {
            return None;
        }
        let estimate = reserved(state.ledger.estimate(prompt_bytes), cost);
        state.ledger.reserve_at_once(limits, estimate, at)
    }

    /// Reserves what a request may use, or gives it a place in line.
    pub fn reserve(
        &self,
        limits: &Limits,
        estimate: Reserved,
        place: &mut Option<ReservationTicket>,
        at: Moment,
    ) -> Result<ReservationTicket, Shortage> {
        lock(&self.state).ledger.reserve(limits, estimate, place, at)
    }

    /// The same reservation for the store that several processes share, before it is made here: what the process
    /// has reserved otherwise replaces what the store knows of it.
    pub fn shared_reservation(
        &self,
        request: (Limits, Reserved),
        process: ProcessId,
        at: Moment,
    ) -> SharedReservation {
        let (limits, estimate) = request;
        let mut state = lock(&self.state);
        let mut own = state.ledger.outside_the_store();
        own.tokens = own.tokens.saturating_sub(estimate.tokens);
        own.cost.0 = own.cost.0.saturating_sub(estimate.cost.0);
        own.calls = own.calls.saturating_sub(estimate.calls);
        let day = state.ledger.day(at);
        SharedReservation { process, key: Arc::clone(&self.id), limits, estimate, own, day }
    }

    /// Notes what the shared store says.
    pub fn note(&self, standing: &SharedStanding, at: Moment) {
        lock(&self.state).ledger.note(standing, at);
    }

    /// Gives back a reservation that another process does not allow. The request gets the place in line that it had.
    pub fn put_back(
        &self,
        ticket: ReservationTicket,
        limits: &Limits,
        shortage: Shortage,
        now: Monotonic,
    ) -> Option<ReservationTicket> {
        lock(&self.state).ledger.put_back(ticket, limits, shortage, now)
    }

    /// Leaves the line.
    pub fn leave(&self, place: &mut Option<ReservationTicket>) {
        let _ = lock(&self.state).ledger.leave(place);
    }

    /// True if no request with the same limits waits before this one.
    pub fn is_first(&self, limits: &Limits, place: Option<ReservationTicket>) -> bool {
        lock(&self.state).ledger.is_first(limits, place)
    }

    /// How long until there is something left of a minute's limit.
    pub fn minute_frees_in(&self, limit: u64, now: Monotonic) -> Duration {
        lock(&self.state).ledger.minute_frees_in(limit, now)
    }

    /// Gives back what a request had reserved that has used nothing.
    pub fn release(&self, reservation: ReservationTicket) {
        lock(&self.state).ledger.release(reservation);
    }

    /// Counts what a request has used, and gives back what it had reserved.
    pub fn settle(&self, settlement: Settlement<'_>, at: Moment) {
        let Settlement { reservation, model, requests, charge, learn } = settlement;
        let mut state = lock(&self.state);
        let ledger = &mut state.ledger;
        if let Some(reservation) = reservation {
            ledger.release(reservation);
        }
        if requests > 0 || charge != Charge::default() {
            ledger.charge(model, requests, charge, at);
        }
        if let Some(prompt_bytes) = learn {
            ledger.learn(prompt_bytes, &charge);
        }
    }

    /// The values of the `x-ratelimit-…` headers for the budget of which the smallest share is left: its limit, what
    /// is left of it, and the seconds until it begins anew. `None` if no budget has a limit, or the headers do not
    /// want this one.
    pub fn standing_headers(
        &self,
        limits: &Limits,
        at: Moment,
        is_wanted: impl FnOnce(u64, u64) -> bool,
    ) -> Option<[HeaderValue; 3]> {
        let state = &mut *lock(&self.state);
        let (standing, left) = state.ledger.tightest(limits, at)?;
        is_wanted(standing.limit, left).then(|| state.headers.values(&standing, left, at.clock))
    }

    /// Takes what was used for a batch.
    pub(super) fn take_usage(&self, now: Monotonic) -> TakenUsage {
        let ledger = &mut lock(&self.state).ledger;
        ledger.release_lost(now);
        ledger.take_usage()
    }

    /// The store has what was taken.
    pub(super) fn flushed(&self) {
        lock(&self.state).ledger.flushed();
    }

    /// True if the month's usage has been loaded, or cannot be loaded at present.
    pub fn is_loaded(&self, now: Monotonic) -> bool {
        lock(&self.state).loading.is_over(now)
    }

    /// Loads the month's usage from the store, unless it is loaded or another request loads it. False for that.
    pub async fn load<P: Platform>(&self, platform: &P) -> bool {
        let at = moment(platform);
        if self.is_loaded(at.now) {
            return true;
        }
        let Some((lease, mark)) = self.begin_load(at.now) else { return false };
        self.load_with(platform, lease, mark).await;
        true
    }

    /// Loads the month's usage once more, so that the usage of processes which share the store is known.
    pub async fn load_again<P: Platform>(&self, platform: &P) {
        if let Some((lease, mark)) = self.begin_load(platform.now()) {
            self.load_with(platform, lease, mark).await;
        }
    }

    async fn load_with<P: Platform>(&self, platform: &P, lease: Lease, mark: LoadMark) {
        let guard = LoadGuard { account: self, lease };
        let today = Day::of(platform.wall_clock());
        let rows = platform.usage(today.month()..=today, Some(&self.id)).await;
        let at = moment(platform);
        let mut state = lock(&self.state);
        match rows {
            Ok(rows) => {
                let is_exact = state.ledger.loaded(mark, &rows, today.month(), at);
                if is_exact {
                    state.loading = Loading::Done;
                }
                if self.loads_fail.swap(false, Relaxed) {
                    tracing::info!("the usage of keys is loaded again");
                }
            }
            Err(error) => {
                if state.loading != Loading::Done {
                    state.loading = Loading::Failed { again_at: at.now + LOAD_PAUSE };
                }
                if !self.loads_fail.swap(true, Relaxed) {
                    tracing::warn!(
                        %error,
                        "the usage of keys cannot be loaded: until it can, budgets begin with what this \
                         process counts"
                    );
                }
            }
        }
        drop(state);
        drop(guard);
    }

    fn begin_load(&self, now: Monotonic) -> Option<(Lease, LoadMark)> {
        let mut state = lock(&self.state);
        let mark = state.ledger.begin_load()?;
        Some((state.loads.take(now, LONGEST_LOAD)?, mark))
    }
}

/// Lets the next request load if this one leaves.
struct LoadGuard<'a> {
    account: &'a KeyAccount,
    lease: Lease,
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        lock(&self.account.state).loads.settle(self.lease);
    }
}

/// How long a request that loads is believed to live.
const LONGEST_LOAD: Duration = Duration::from_secs(10);

/// How long after a failure usage is loaded again.
const LOAD_PAUSE: Duration = Duration::from_secs(10);

/// An estimate with its cost, as the reservation of one request.
fn reserved(estimate: Charge, cost: impl FnOnce(Charge) -> Cost) -> Reserved {
    Reserved { tokens: estimate.tokens(), cost: cost(estimate), calls: 1 }
}
