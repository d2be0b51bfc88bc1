//! The concurrency permits of the process: the core's queue, and the tasks that wait in it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use code_assist_core::{Caller, Monotonic, Ticket, WaitQueue};

/// The permits and the queue for them. A permit that becomes free wakes the one task that gets it.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<PermitState>,
}

#[derive(Debug)]
struct PermitState {
    queue: WaitQueue,
    /// The tasks that wait, by their tickets.
    wakers: HashMap<Ticket, Waker>,
}

/// A permit, or the wait for one. Dropping it gives the permit to the next task, also when the permit
/// came at the moment in which the wait was given up.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    ticket: Ticket,
}

impl Permits {
    /// As many permits as this, of which a caller holds at most `share`.
    pub(crate) fn new(permits: usize, share: usize) -> Self {
        let queue = WaitQueue::new(permits, share);
        Self { state: Mutex::new(PermitState { queue, wakers: HashMap::new() }) }
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(self: &Arc<Self>, caller: Caller) -> Permit {
        let (ticket, permitted) = {
            let mut state = self.state();
            // The time matters only where a ticket may be lost, and here every ticket leaves.
            let ticket = state.queue.join(caller, Monotonic(0));
            (ticket, state.queue.has_permit(ticket))
        };
        let permit = Permit { permits: Arc::clone(self), ticket };
        if !permitted {
            poll_fn(|cx| {
                let mut state = self.state();
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
        self.state().queue.is_at_share(caller)
    }

    /// Changes how many permits a caller holds at most.
    pub(crate) fn set_share(&self, share: usize) {
        let wakers: Vec<Waker> = {
            let mut state = self.state();
            let PermitState { queue, wakers } = &mut *state;
            queue.set_share(share).iter().filter_map(|ticket| wakers.remove(ticket)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        // No code under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut state = self.permits.state();
            state.wakers.remove(&self.ticket);
            let next = state.queue.leave(self.ticket);
            next.and_then(|next| state.wakers.remove(&next))
        };
        // Outside of the lock, since a waker is code of the runtime.
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use code_assist_core::KeyDigest;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
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
        let permits = Arc::new(Permits::new(1, 1));
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
        let permits = Arc::new(Permits::new(1, 1));
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
        assert!(permits.state().queue.is_empty() && permits.state().wakers.is_empty());
    }

    #[test]
    fn a_greater_share_wakes_the_tasks_that_may_go_on() {
        let permits = Arc::new(Permits::new(4, 1));
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
}
