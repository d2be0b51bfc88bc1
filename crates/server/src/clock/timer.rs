//! Timers of requests and connections.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{now, now_anew, step};

/// Ends at a deadline. In a step it is two comparisons of times; the task's alarm wakes it.
#[derive(Debug)]
pub(crate) struct Timer {
    deadline: Instant,
    /// For where no alarm is: outside of steps.
    own: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(crate) fn after(how_long: Duration) -> Self {
        let now = now();
        Self::at(now.checked_add(how_long).unwrap_or(now + FAR))
    }

    pub(crate) fn at(deadline: Instant) -> Self {
        Self { deadline, own: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        if let Some(answer) = step::poll_deadline(deadline, cx.waker()) {
            return answer;
        }
        let own = self.own.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(own.as_mut().poll(cx));
        if now() < deadline {
            // The step has begun before the deadline. What asks next must not find it in the future.
            now_anew();
        }
        Poll::Ready(())
    }
}

/// The timers of hyper's connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HyperTimer;

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Timer::after(duration))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Timer::at(deadline.into()))
    }

    fn now(&self) -> std::time::Instant {
        now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, new_deadline: std::time::Instant) {
        match sleep.as_mut().downcast_mut_pin::<Timer>() {
            Some(mut timer) => timer.set(Timer::at(new_deadline.into())),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl hyper::rt::Sleep for Timer {}

/// How far away a deadline is that no clock can state.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
