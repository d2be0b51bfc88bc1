//! The concurrency permits of the process: the core's queue, and the tasks that wait in it.
//!
//! While no task waits and no caller has a share of its own, the order does not matter: then a permit that is
//! given back stays with its thread for the next request ([`Credits`]), which takes no lock.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use code_assist_core::{Caller, Credits, Monotonic, Replica, Replicas, Ticket, WaitQueue};

/// The permits and the queue for them. A permit that becomes free wakes the one task that gets it.
#[derive(Debug)]
pub(crate) struct Permits(Replicas<SharedPermits>);

#[derive(Debug)]
struct SharedPermits {
    limit: usize,
    state: Mutex<PermitState>,
    /// The permits that threads keep.
    credits: Credits,
    /// No task waits, and no caller has a share of its own.
    is_open: AtomicBool,
}

#[derive(Debug)]
struct PermitState {
    /// It has the permits that no thread keeps.
    queue: WaitQueue,
    share: usize,
    /// The permits that threads keep, and those that were taken of them and not given back to the queue.
    kept: usize,
    /// The tasks that wait, by their tickets.
    wakers: HashMap<Ticket, Waker>,
}

/// A permit, or the wait for one. Dropping it gives the permit to the next task, also when the permit
/// came at the moment in which the wait was given up.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Replica<SharedPermits>,
    /// `None` for a permit that a thread kept.
    ticket: Option<Ticket>,
}

impl Permits {
    /// As many permits as this, of which a caller holds at most `share`.
    pub(crate) fn new(permits: usize, share: usize) -> Self {
        let queue = WaitQueue::new(permits, share);
        let state = PermitState { queue, share, kept: 0, wakers: HashMap::new() };
        Self(Replicas::of(&Arc::new(SharedPermits {
            limit: permits,
            state: Mutex::new(state),
            credits: Credits::new(permits / 2),
            is_open: AtomicBool::new(share >= permits),
        })))
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self, caller: Caller) -> Permit {
        let shared = self.0.own();
        if shared.is_open.load(SeqCst) && shared.credits.take(1) {
            return Permit { permits: Arc::clone(shared), ticket: None };
        }
        let (ticket, permitted) = shared.join(caller);
        let permit = Permit { permits: Arc::clone(shared), ticket: Some(ticket) };
        if !permitted {
            let shared = &permit.permits;
            poll_fn(|cx| {
                let mut state = shared.state();
                if state.queue.has_permit(ticket) {
                    return Poll::Ready(());
                }
                state.wakers.insert(ticket, cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
        permit
    }

    /// True when the caller holds its share of the permits.
    pub(crate) fn is_at_share(&self, caller: &Caller) -> bool {
        self.0.own().state().queue.is_at_share(caller)
    }

    /// Changes how many permits a caller holds at most.
    pub(crate) fn set_share(&self, share: usize) {
        let shared = self.0.own();
        shared.change(|state| {
            state.share = share;
            shared.update(state);
            shared.take_back(state)
        });
    }
}

impl SharedPermits {
    /// Joins the queue, and says whether the ticket has a permit at once.
    fn join(&self, caller: Caller) -> (Ticket, bool) {
        self.change(|state| {
            // The time matters only where a ticket may be lost, and here every ticket leaves.
            let ticket = state.queue.join(caller, Monotonic(0));
            if state.queue.has_permit(ticket) {
                return ((ticket, true), Vec::new());
            }
            // Permits that are given back come to the queue from here on. Those that threads keep are free.
            self.update(state);
            let (_, granted) = self.take_back(state);
            ((ticket, state.queue.has_permit(ticket)), granted)
        })
    }

    /// Gives back a permit that a thread kept.
    fn give_back(&self) {
        if self.is_open.load(SeqCst) && self.credits.give(1) {
            if !self.is_open.load(SeqCst) {
                // A task has begun to wait meanwhile.
                self.change(|state| self.take_back(state));
            }
            return;
        }
        self.change(|state| {
            state.kept -= 1;
            ((), state.queue.set_limits(self.limit - state.kept, state.share))
        });
    }

    /// Removes a ticket. If no task waits for its permit, the thread keeps it.
    fn leave(&self, ticket: Ticket) {
        self.change(|state| {
            state.wakers.remove(&ticket);
            let had_permit = state.queue.has_permit(ticket);
            let next = state.queue.leave(ticket);
            self.update(state);
            let is_free = had_permit && next.is_none();
            if is_free && self.is_open.load(SeqCst) && self.credits.give(1) {
                state.kept += 1;
                let _ = state.queue.set_limits(self.limit - state.kept, state.share);
            }
            ((), next.into_iter().collect())
        });
    }

    /// Takes back what threads keep, and returns the tickets that got a permit by it.
    fn take_back(&self, state: &mut PermitState) -> ((), Vec<Ticket>) {
        state.kept -= self.credits.take_all();
        ((), state.queue.set_limits(self.limit - state.kept, state.share))
    }

    fn update(&self, state: &PermitState) {
        let is_open = state.share >= self.limit && !state.queue.has_waiting();
        if self.is_open.load(SeqCst) != is_open {
            self.is_open.store(is_open, SeqCst);
        }
    }

    /// Changes the state, and wakes the tasks whose tickets got a permit by it.
    fn change<T>(&self, work: impl FnOnce(&mut PermitState) -> (T, Vec<Ticket>)) -> T {
        let (result, wakers) = {
            let mut state = self.state();
            let (result, granted) = work(&mut state);
            self.update(&state);
            let wakers: Vec<Waker> =
                granted.iter().filter_map(|ticket| state.wakers.remove(ticket)).collect();
            (result, wakers)
        };
        // Outside of the lock, since a waker is code of the runtime.
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        // No code under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.ticket {
            None => self.permits.give_back(),
            Some(ticket) => self.permits.leave(ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake};

    use code_assist_core::KeyDigest;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(SeqCst)
        }
    }

    fn caller(name: &str) -> Caller {
        Caller::Key(KeyDigest::of(name))
    }

    fn poll<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
    }

    #[test]
    fn a_permit_wakes_the_one_task_that_gets_it() {
        let permits = Permits::new(1, 1);
        let wakes: [Arc<Wakes>; 3] = Default::default();
        let mut first = pin!(permits.acquire(caller("ann")));
        let mut second = pin!(permits.acquire(caller("bob")));
        let mut third = pin!(permits.acquire(caller("eve")));
        let Poll::Ready(permit) = poll(first.as_mut(), &wakes[0]) else { panic!("it is free") };
        assert!(poll(second.as_mut(), &wakes[1]).is_pending());
        assert!(poll(third.as_mut(), &wakes[2]).is_pending());
        drop(permit);
        assert_eq!(wakes.each_ref().map(|wakes| wakes.count()), [0, 1, 0]);
        assert!(poll(third.as_mut(), &wakes[2]).is_pending());
        assert!(poll(second.as_mut(), &wakes[1]).is_ready());
        assert_eq!(wakes[2].count(), 1, "the second permit was dropped at once");
    }

    #[test]
    fn a_wait_that_is_given_up_passes_its_permit_on() {
        let permits = Permits::new(1, 1);
        let wakes: [Arc<Wakes>; 3] = Default::default();
        let Poll::Ready(permit) = poll(pin!(permits.acquire(caller("ann"))), &wakes[0]) else {
            panic!("it is free");
        };
        let mut second = Box::pin(permits.acquire(caller("bob")));
        let mut third = Box::pin(permits.acquire(caller("eve")));
        let mut fourth = Box::pin(permits.acquire(caller("eve")));
        assert!(poll(second.as_mut(), &wakes[1]).is_pending());
        assert!(poll(third.as_mut(), &wakes[2]).is_pending());
        assert!(poll(fourth.as_mut(), &wakes[2]).is_pending());
        drop(fourth);
        drop(permit);
        // It has been woken and leaves before it is polled.
        assert_eq!(wakes[1].count(), 1);
        drop(second);
        assert_eq!(wakes[2].count(), 1);
        assert!(poll(third.as_mut(), &wakes[2]).is_ready());
        drop(third);
        let state = permits.0.own().state();
        assert!(state.queue.is_empty() && state.wakers.is_empty());
    }

    #[test]
    fn a_greater_share_wakes_the_tasks_that_may_go_on() {
        let permits = Permits::new(4, 1);
        let wakes: [Arc<Wakes>; 2] = Default::default();
        let Poll::Ready(_permit) = poll(pin!(permits.acquire(caller("ann"))), &wakes[0]) else {
            panic!("it is free");
        };
        let mut second = pin!(permits.acquire(caller("ann")));
        assert!(poll(second.as_mut(), &wakes[1]).is_pending());
        assert!(permits.is_at_share(&caller("ann")) && !permits.is_at_share(&caller("bob")));
        permits.set_share(4);
        assert_eq!(wakes[1].count(), 1);
        assert!(poll(second.as_mut(), &wakes[1]).is_ready());
    }

    #[test]
    fn a_permit_that_is_given_back_serves_the_next_request_without_the_lock() {
        let permits = Permits::new(100, 100);
        let wakes = Arc::default();
        let Poll::Ready(first) = poll(pin!(permits.acquire(caller("ann"))), &wakes) else {
            panic!("it is free");
        };
        drop(first);
        let shared = Arc::clone(permits.0.own());
        let _locked = shared.state();
        let Poll::Ready(second) = poll(pin!(permits.acquire(caller("bob"))), &wakes) else {
            panic!("the thread keeps one");
        };
        drop(second);
    }

    #[test]
    fn permits_that_other_threads_keep_are_had_before_a_request_waits() {
        let permits = Permits::new(100, 100);
        let take = |count: usize| -> Vec<Permit> {
            let wakes = Arc::default();
            let taken =
                (0..count).map(|_| match poll(pin!(permits.acquire(caller("ann"))), &wakes) {
                    Poll::Ready(permit) => permit,
                    Poll::Pending => panic!("it is free"),
                });
            taken.collect()
        };
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| drop(take(5)));
            }
        });
        assert!(permits.0.own().credits.sum() > 0, "no thread has kept any");
        let all = take(100);
        let wakes = Arc::default();
        let mut waiting = pin!(permits.acquire(caller("bob")));
        assert!(poll(waiting.as_mut(), &wakes).is_pending(), "there are no more than a hundred");
        drop(all);
        assert_eq!(wakes.count(), 1);
        assert!(poll(waiting.as_mut(), &wakes).is_ready());
    }

    #[test]
    fn a_permit_that_a_thread_kept_goes_to_the_task_that_waits_and_a_share_ends_the_keeping() {
        let permits = Permits::new(32, 32);
        let wakes: [Arc<Wakes>; 2] = Default::default();
        let take = || match poll(pin!(permits.acquire(caller("ann"))), &wakes[0]) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("it is free"),
        };
        drop(take());
        let kept = take();
        assert_eq!(kept.ticket, None);
        let others: Vec<Permit> = (0..31).map(|_| take()).collect();
        let mut waiting = pin!(permits.acquire(caller("bob")));
        assert!(poll(waiting.as_mut(), &wakes[1]).is_pending());
        drop(kept);
        assert_eq!(wakes[1].count(), 1);
        assert!(poll(waiting.as_mut(), &wakes[1]).is_ready());
        drop(others);
        permits.set_share(16);
        assert_eq!(permits.0.own().credits.sum(), 0);
        assert!(take().ticket.is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn tasks_on_many_threads_hold_no_more_permits_than_there_are_and_all_get_one() {
        let permits = Arc::new(Permits::new(2, 2));
        let held = Arc::new(AtomicUsize::new(0));
        for _ in 0..300 {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (permits, held) = (Arc::clone(&permits), Arc::clone(&held));
                    tokio::spawn(async move {
                        for _ in 0..20 {
                            let permit = permits.acquire(caller("ann")).await;
                            assert!(held.fetch_add(1, SeqCst) < 2);
                            held.fetch_sub(1, SeqCst);
                            drop(permit);
                        }
                    })
                })
                .collect();
            for task in tasks {
                let ended = tokio::time::timeout(std::time::Duration::from_secs(10), task).await;
                ended.expect("no task waits for ever").unwrap();
            }
        }
        let shared = permits.0.own();
        let state = shared.state();
        assert_eq!(state.kept, shared.credits.sum());
        assert!(state.queue.is_empty() && state.wakers.is_empty());
    }

    #[test]
    fn a_permit_that_passes_to_the_last_task_that_waits_is_not_kept_too() {
        let permits = Permits::new(2, 2);
        let wakes: [Arc<Wakes>; 2] = Default::default();
        let take = || match poll(pin!(permits.acquire(caller("ann"))), &wakes[0]) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("it is free"),
        };
        let [first, _second] = [take(), take()];
        let mut third = pin!(permits.acquire(caller("bob")));
        assert!(poll(third.as_mut(), &wakes[1]).is_pending());
        drop(first);
        let Poll::Ready(_third) = poll(third.as_mut(), &wakes[1]) else { panic!("it was woken") };
        assert_eq!(permits.0.own().credits.sum(), 0);
        let fourth = pin!(permits.acquire(caller("eve")));
        assert!(poll(fourth, &wakes[0]).is_pending(), "two of two are held");
    }
}
