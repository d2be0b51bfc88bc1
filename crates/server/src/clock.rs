//! The clocks, read at most once a step.
//!
//! A step is one poll of a task that carries requests. It takes some microseconds, and many parts of the
//! program ask for the time in it. The first one reads the clock, and the others get what it has read.
//! Work that takes long runs in no step, but on threads of its own ([`Platform::heavy`]). Outside of
//! steps every question reads the clock.
//!
//! [`Platform::heavy`]: code_assist_core::Platform::heavy

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Spawns a task whose polls are steps.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(Stepped { future })
}

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    read(|step| &mut step.now, Instant::now)
}

/// The monotonic clock, read anew. The rest of the step goes on with this time.
pub(crate) fn now_anew() -> Instant {
    if let Some(step) = STEP.get() {
        STEP.set(Some(StepTimes { now: None, ..step }));
    }
    now()
}

/// The wall clock.
pub(crate) fn wall_clock() -> SystemTime {
    read(|step| &mut step.wall_clock, SystemTime::now)
}

/// What has been read in a step.
#[derive(Debug, Clone, Copy, Default)]
struct StepTimes {
    now: Option<Instant>,
    wall_clock: Option<SystemTime>,
}

thread_local! {
    /// Of the step that this thread is in; `None` outside of steps.
    static STEP: Cell<Option<StepTimes>> = const { Cell::new(None) };
}

fn read<T: Copy>(field: fn(&mut StepTimes) -> &mut Option<T>, clock: fn() -> T) -> T {
    let Some(mut step) = STEP.get() else { return clock() };
    if let Some(time) = *field(&mut step) {
        return time;
    }
    let time = clock();
    *field(&mut step) = Some(time);
    STEP.set(Some(step));
    time
}

pin_project! {
    /// A future whose polls are steps.
    #[derive(Debug)]
    struct Stepped<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Stepped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _step = Step::begin();
        self.project().future.poll(cx)
    }
}

/// A step. It ends when this is dropped, also by a panic.
struct Step {
    outer: Option<StepTimes>,
}

impl Step {
    fn begin() -> Self {
        Self { outer: STEP.replace(Some(StepTimes::default())) }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        STEP.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    /// Waits until both clocks have gone on.
    fn let_time_pass() {
        let (at, wall) = (Instant::now(), SystemTime::now());
        while Instant::now() == at || SystemTime::now() == wall {}
    }

    fn both() -> (Instant, SystemTime) {
        (now(), wall_clock())
    }

    #[tokio::test]
    async fn each_clock_is_read_once_a_step_and_anew_in_the_next_one() {
        let steps = spawn(async {
            let first = both();
            let_time_pass();
            assert_eq!(both(), first);
            yield_now().await;
            let second = both();
            assert!(second.0 > first.0 && second.1 != first.1);
            let_time_pass();
            assert_eq!(both(), second);
        });
        steps.await.unwrap();
    }

    #[tokio::test]
    async fn a_step_reads_the_clock_anew_when_it_is_asked_to() {
        let step = spawn(async {
            let before = both();
            let_time_pass();
            let anew = now_anew();
            assert!(anew > before.0);
            let_time_pass();
            assert_eq!(both(), (anew, before.1), "the rest of the step has this time");
        });
        step.await.unwrap();
    }

    #[tokio::test]
    async fn time_goes_on_outside_of_steps_also_after_one_that_has_panicked() {
        let step = spawn(async {
            now();
            panic!("a step that panics");
        });
        assert!(step.await.unwrap_err().is_panic());
        let before = both();
        let_time_pass();
        let after = both();
        assert!(after.0 > before.0 && after.1 != before.1);
    }

    #[tokio::test]
    async fn a_step_within_a_step_has_times_of_its_own() {
        let outer = spawn(async {
            let before = now();
            let_time_pass();
            let inner = Stepped { future: async { now() } }.await;
            assert!(inner > before);
            assert_eq!(now(), before);
        });
        outer.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_sees_the_time_of_a_paused_runtime() {
        let begun = Instant::now();
        let step = spawn(async move {
            tokio::time::advance(std::time::Duration::from_secs(5)).await;
            now() - begun
        });
        assert_eq!(step.await.unwrap().as_secs(), 5);
    }
}
