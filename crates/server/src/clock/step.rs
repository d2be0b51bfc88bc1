//! The steps of a task, and its alarm.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

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

/// The same for a task that can hold back its wake-ups ([`hold_wakes`]). This costs one allocation.
pub(crate) fn spawn_holding<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(Stepped::holding(future))
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
    /// Wake-ups of the task that come from this thread are held back.
    is_holding: bool,
    /// One was held back. The task is woken at the end of the step.
    is_woken: bool,
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

/// Holds back the wake-ups of this step's task that come from this thread, until the result is dropped.
/// Then the task is woken at the end of the step: it is running, and no wake-up has an effect before.
///
/// Nothing is held back outside of steps, in tasks that were not spawned for it, and from other threads.
pub(crate) fn hold_wakes() -> HeldWakes {
    let step = STEP.get();
    STEP.set(step.map(|step| StepState { is_holding: true, ..step }));
    HeldWakes { was_woken: step.is_some_and(|step| step.is_woken), of_this_thread: PhantomData }
}

#[must_use]
#[derive(Debug)]
pub(crate) struct HeldWakes {
    /// One was held back before.
    was_woken: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl HeldWakes {
    /// Drops the wake-ups. The task must have no use for them.
    pub(crate) fn discard(self) {
        let is_woken = self.was_woken;
        STEP.set(STEP.get().map(|step| StepState { is_woken, ..step }));
    }
}

impl Drop for HeldWakes {
    fn drop(&mut self) {
        STEP.set(STEP.get().map(|step| StepState { is_holding: false, ..step }));
    }
}

/// Wakes a task, unless its step holds that back.
struct HoldableWaker(Waker);

impl Wake for HoldableWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = Arc::as_ptr(self).cast();
        match STEP.get().filter(|step| step.is_holding && step.waker == waker) {
            Some(step) => STEP.set(Some(StepState { is_woken: true, ..step })),
            None => self.0.wake_by_ref(),
        }
    }
}

/// A task's waker, and the one that can be held back.
#[derive(Debug)]
struct OwnWaker {
    task: Waker,
    own: Waker,
}

impl OwnWaker {
    /// Both wake nothing until the first poll.
    fn new() -> Self {
        Self { task: Waker::noop().clone(), own: Waker::noop().clone() }
    }

    fn for_task(&mut self, task: &Waker) -> &Waker {
        if !self.task.will_wake(task) {
            let own = Arc::new(HoldableWaker(task.clone())).into();
            *self = Self { task: task.clone(), own };
        }
        &self.own
    }
}

pin_project! {
    /// A future whose polls are steps.
    #[derive(Debug)]
    pub(super) struct Stepped<F> {
        #[pin]
        future: F,
        #[pin]
        alarm: Alarm,
        // Of a task that can hold back its wake-ups.
        waker: Option<OwnWaker>,
    }
}

impl<F> Stepped<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future, alarm: Alarm { at: None, sleep: None }, waker: None }
    }

    pub(super) fn holding(future: F) -> Self {
        Self { waker: Some(OwnWaker::new()), ..Self::new(future) }
    }
}

impl<F: Future> Future for Stepped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let waker = match this.waker {
            Some(own) => own.for_task(cx.waker()),
            None => cx.waker(),
        };
        let step = Step::begin(waker, this.alarm.as_mut().pending());
        let polled = this.future.poll(&mut Context::from_waker(waker));
        if let Some(end) = step.end().filter(|_| polled.is_pending()) {
            if let Some(deadline) = end.wanted {
                this.alarm.set_to(deadline, cx);
            }
            if end.is_woken {
                cx.waker().wake_by_ref();
            }
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
        let state = StepState {
            now: None,
            waker: waker.data(),
            alarm,
            wanted: None,
            is_holding: false,
            is_woken: false,
        };
        Self { outer: STEP.replace(Some(state)) }
    }

    /// Returns what is known at its end.
    fn end(self) -> Option<StepState> {
        STEP.get()
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
