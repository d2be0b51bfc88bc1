//! Waiting within a request: always on a timer of its own, and never longer than its client waits.
//!
//! A request never waits for another request's future, since a Worker's runtime forbids it
//! (`ARCHITECTURE.md`). It polls for the result of work that another request does.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::context::Deadline;
use crate::error::Error;
use crate::platform::Platform;
use crate::policy::lock::{FencingToken, LOCK_TTL, LockResult};
use crate::time::Monotonic;

/// Calls `ask` until it answers: first without a pause, then after pauses that double. Returns the
/// answer, or the deadline's error if the client stops waiting before, and the time at the end.
pub(crate) async fn poll_until<P: Platform, T>(
    platform: &P,
    deadline: Option<Deadline>,
    mut now: Monotonic,
    mut ask: impl FnMut(Monotonic) -> Option<Result<T, Error>>,
) -> (Result<T, Error>, Monotonic) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(answer) = ask(now) {
            return (answer, now);
        }
        let mut wait = pause;
        if let Some(deadline) = deadline {
            if deadline.at <= now {
                return (Err(deadline.error()), now);
            }
            wait = wait.min(deadline.left(now));
        }
        platform.timer(wait).await;
        pause = (pause * 2).min(LAST_PAUSE);
        now = platform.now();
    }
}

/// The result of [`single_flight`]: which process does the work.
#[derive(Debug)]
#[must_use = "a flight that leads may hold a distributed lock"]
pub(crate) enum Flight<T> {
    /// Another process has done it.
    Done {
        /// From the store.
        result: T,
        /// The result was not there at the first read.
        waited: bool,
    },
    /// This process does the work while it renews the lock with this token, and then releases it.
    Lead {
        /// `None` if no other process shares the store, or if the wait was too long.
        lock: Option<FencingToken>,
        /// How long other processes held the lock.
        waited: Duration,
    },
}

/// Decides which process does work that is needed once among the processes that share the store. What
/// the work itself has to wait for comes before this call, so that the lock is not held meanwhile.
///
/// `recall` reads the result from the store. It is called before the lock, after each pause, and once
/// more with the lock, since the last holder may have written between the first read and the lock.
///
/// A holder that works renews its lock ([`while_renewing`]), so a process waits while there is one. A
/// holder that has died delays it by [`LOCK_TTL`] and one pause. After `longest_wait` it works without
/// the lock: doing the work twice is better than not doing it.
pub(crate) async fn single_flight<P: Platform, T, F: Future<Output = Option<T>>>(
    platform: &P,
    deadline: Option<Deadline>,
    key: &str,
    longest_wait: Duration,
    recall: impl Fn() -> F,
) -> Result<Flight<T>, Error> {
    let mut pause = FIRST_LOCK_PAUSE;
    let mut held_since: Option<Monotonic> = None;
    loop {
        if let Some(result) = recall().await {
            return Ok(Flight::Done { result, waited: held_since.is_some() });
        }
        let lock = platform.lock(key, LOCK_TTL).await;
        let now = platform.now();
        let waited = held_since.map_or(Duration::ZERO, |since| now.since(since));
        match lock {
            LockResult::NotShared => return Ok(Flight::Lead { lock: None, waited }),
            LockResult::Acquired(token) => {
                let recalled = while_renewing(platform, key, Some(token), pin!(recall())).await;
                if let Some(result) = recalled {
                    platform.unlock(key, token).await;
                    return Ok(Flight::Done { result, waited: true });
                }
                return Ok(Flight::Lead { lock: Some(token), waited });
            }
            LockResult::Held => {}
        }
        held_since = held_since.or(Some(now));
        if waited >= longest_wait {
            return Ok(Flight::Lead { lock: None, waited });
        }
        let mut wait = pause;
        if let Some(deadline) = deadline {
            if deadline.at <= now {
                return Err(deadline.error());
            }
            wait = wait.min(deadline.left(now));
        }
        platform.timer(wait).await;
        pause = (pause * 2).min(LAST_LOCK_PAUSE);
    }
}

/// Does work under a distributed lock, and renews the lock until the work ends.
///
/// A lock that is lost does not stop the work, since the fencing token protects what the work writes.
/// It is renewed again all the same: the store may only have been away for a moment.
pub(crate) async fn while_renewing<P: Platform, F: Future>(
    platform: &P,
    key: &str,
    token: Option<FencingToken>,
    mut work: Pin<&mut F>,
) -> F::Output {
    // Boxed, since most work has no lock.
    let mut renewing = token.map(|token| Box::pin(keep_renewing(platform, key, token)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if let Some(renewing) = &mut renewing {
            let _: Poll<Infallible> = renewing.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// Renews a lock until it is dropped.
async fn keep_renewing<P: Platform>(platform: &P, key: &str, token: FencingToken) -> Infallible {
    loop {
        platform.timer(RENEWAL_INTERVAL).await;
        if !platform.renew(key, token, LOCK_TTL).await {
            tracing::debug!(key, "the distributed lock is lost; the work goes on");
        }
    }
}

/// The future's output if it is there at once.
pub(crate) async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Waits for a future, and returns `None` if it takes longer than `limit`.
///
/// The caller pins the future. Passed by value, it would exist twice, as an argument and as the polled
/// value, and each level of that would double the size of a request's future.
pub(crate) async fn within<P: Platform, F: Future>(
    platform: &P,
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| platform.timer(limit));
        Pin::new(timer).poll(cx).map(|()| None)
    })
    .await
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// How often a lock is renewed: two renewals may fail before it expires.
const RENEWAL_INTERVAL: Duration = LOCK_TTL.checked_div(3).unwrap();

/// Pauses of a process that waits for another one's lock. A token refresh takes a quarter of a second.
const FIRST_LOCK_PAUSE: Duration = Duration::from_millis(20);
const LAST_LOCK_PAUSE: Duration = Duration::from_millis(500);
