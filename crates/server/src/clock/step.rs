//! The steps of a task, and its alarm.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

/// Spawns a task whose polls are steps.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(Stepped::new(future))
}

/// What is known in a step.
#[derive(Debug, Clone, Copy)]
struct StepState {
    /// The time, once it was asked for.
    now: Option<Instant>,
    /// The identity of the task's waker.
    waker: *const (),
    /// When the task's alarm will wake it, if it is set.
    alarm: Option<Instant>,
    /// The first deadline of the timers that wait, among those before `alarm`.
    wanted: Option<Instant>,
}

thread_local! {
    /// Of the step that this thread is in; `None` outside of steps.
    static STEP: Cell<Option<StepState>> = const { Cell::new(None) };
}

/// The time of the step; `None` outside of steps.
pub(super) fn now() -> Option<Instant> {
    let step = STEP.get()?;
    Some(step.now.unwrap_or_else(|| {
        let now = Instant::now();
        STEP.set(Some(StepState { now: Some(now), ..step }));
        now
    }))
}

pub(super) fn forget_now() {
    if let Some(step) = STEP.get() {
        STEP.set(Some(StepState { now: None, ..step }));
    }
}

/// Whether a deadline has come. If not, the task will be polled again when it does. Returns `None` outside of
/// steps, and for a waker that is not the task's: then the caller needs a timer of its own.
///
/// Before the alarm no clock has to be read.
pub(super) fn poll_deadline(deadline: Instant, waker: &Waker) -> Option<Poll<()>> {
    let step = STEP.get().filter(|step| step.waker == waker.data())?;
    if step.alarm.is_some_and(|alarm| alarm <= deadline) {
        return Some(Poll::Pending);
    }
    if now()? >= deadline {
        return Some(Poll::Ready(()));
    }
    let wanted = Some(step.wanted.map_or(deadline, |wanted| wanted.min(deadline)));
    STEP.set(STEP.get().map(|step| StepState { wanted, ..step }));
    Some(Poll::Pending)
}

pin_project! {
    /// A future whose polls are steps.
    #[derive(Debug)]
    pub(super) struct Stepped<F> {
        #[pin]
        future: F,
        #[pin]
        alarm: Alarm,
    }
}

impl<F> Stepped<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future, alarm: Alarm { at: None, sleep: None } }
    }
}

impl<F: Future> Future for Stepped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let step = Step::begin(cx.waker(), this.alarm.as_mut().pending());
        let polled = this.future.poll(cx);
        let wanted = step.end();
        if let Some(deadline) = wanted.filter(|_| polled.is_pending()) {
            this.alarm.set_to(deadline, cx);
        }
        polled
    }
}

/// A step. It ends when this is dropped, also by a panic.
struct Step {
    outer: Option<StepState>,
}

impl Step {
    fn begin(waker: &Waker, alarm: Option<Instant>) -> Self {
        let state = StepState { now: None, waker: waker.data(), alarm, wanted: None };
        Self { outer: STEP.replace(Some(state)) }
    }

    /// Returns when the task has to be woken, if that is before its alarm.
    fn end(self) -> Option<Instant> {
        STEP.get().and_then(|state| state.wanted)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        STEP.set(self.outer);
    }
}

pin_project! {
    /// Wakes a task at the first deadline of its timers.
    ///
    /// Nearly all timers are dropped before their deadline, and so the alarm is left as it is when its timer
    /// has gone. It then wakes the task once for nothing, which costs less than to set it for each timer.
    #[derive(Debug)]
    struct Alarm {
        at: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Alarm {
    /// When it will go off. `None` if it has, or was never set.
    fn pending(self: Pin<&mut Self>) -> Option<Instant> {
        let this = self.project();
        if this.sleep.as_ref().as_pin_ref().is_none_or(|sleep| sleep.is_elapsed()) {
            *this.at = None;
        }
        *this.at
    }

    fn set_to(self: Pin<&mut Self>, deadline: Instant, cx: &mut Context<'_>) {
        let mut this = self.project();
        *this.at = Some(deadline);
        match this.sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.reset(deadline),
            None => this.sleep.as_mut().set(Some(sleep_until(deadline))),
        }
        // Registers the waker. Where the task's budget is used up, tokio would not do that.
        if let Some(sleep) = this.sleep.as_pin_mut()
            && pin!(unconstrained(sleep)).poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}
