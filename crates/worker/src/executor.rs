//! The executor: one task for each event of the runtime. A task is a future that is polled as a
//! whole whenever the runtime delivers something to it.
//!
//! There are no promises on this side of the border, and JavaScript keeps nothing of a request
//! alive. Each result is delivered with one call, by the numbers of its task and its completion. A
//! promise for each result, as a future of `js_sys`, would cost eight calls and two closures for the
//! garbage collector.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use code_assist_core::Timestamp;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use worker::js_sys::Date;
use worker::wasm_bindgen_futures::spawn_local;

use crate::completion::{Completion, UNWANTED};
use crate::runtime::{self, Event};

/// The wall clock. The runtime moves it only with input and output, so it is read with each delivery.
pub(crate) fn clock() -> Timestamp {
    EXECUTOR.with(|executor| executor.clock.get())
}

/// The work of one event.
pub(crate) struct Task {
    number: u32,
    event: Event,
    work: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    waker: Waker,
    state: Cell<TaskState>,
    completions: RefCell<Vec<Rc<Completion>>>,
    client_has_left: Cell<bool>,
    /// The client's stream takes no more at present.
    is_full: Cell<bool>,
    /// When the runtime's timer fires.
    alarm: Cell<Option<Timestamp>>,
    started: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum TaskState {
    Idle,
    Polled,
    /// Woken while it was polled, so to be polled once more.
    Woken,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Task {
    /// The task of an event. `request` is undefined for an event without a request.
    pub(crate) fn new(request: &JsValue, ctx: &JsValue) -> Rc<Self> {
        EXECUTOR.with(|executor| {
            executor.subscribe();
            let number = executor.last.get().wrapping_add(1);
            executor.last.set(number);
            Rc::new(Self {
                number,
                event: runtime::event(number, request, ctx),
                work: RefCell::default(),
                waker: Waker::from(Arc::new(TaskWaker(number))),
                state: Cell::new(TaskState::Idle),
                // Number 0 stands for the task itself.
                completions: RefCell::new(vec![Rc::new(Completion::new(0))]),
                client_has_left: Cell::new(false),
                is_full: Cell::new(false),
                alarm: Cell::new(None),
                started: executor.clock.get(),
            })
        })
    }

    /// Starts the work.
    pub(crate) fn start(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        *self.work.borrow_mut() = Some(Box::pin(work));
        for stale in EXECUTOR.with(|executor| executor.add(Rc::clone(self))) {
            // The work holds its own task, so drop it to break the circle.
            drop(stale.work.take());
        }
        self.run();
    }

    /// The runtime's side of the task.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// A new completion of the task.
    pub(crate) fn new_completion(&self) -> Rc<Completion> {
        let mut all = self.completions.borrow_mut();
        let number = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let completion = Rc::new(Completion::new(number));
        all.push(Rc::clone(&completion));
        completion
    }

    /// Whether the client has closed its connection.
    pub(crate) fn client_has_left(&self) -> bool {
        self.client_has_left.get()
    }

    /// Writes a chunk of the client's stream, and waits while the client does not read.
    pub(crate) async fn write(&self, chunk: &[u8]) {
        self.is_full.set(self.event.write(chunk));
        std::future::poll_fn(|_| match self.is_full.get() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
    }

    /// A timer that ends after `how_long`.
    pub(crate) fn timer(self: &Rc<Self>, how_long: Duration) -> Timer {
        Timer { task: Rc::clone(self), ends: clock() + how_long }
    }

    /// Makes sure that the runtime's timer fires at that time or before.
    fn set_alarm(&self, at: Timestamp) {
        if self.alarm.get().is_none_or(|set| at < set) {
            let left = clock().until(at).as_millis();
            self.event.set_alarm(i32::try_from(left).unwrap_or(i32::MAX));
            self.alarm.set(Some(at));
        }
    }

    /// Takes a signal to the task itself.
    fn signal(&self, kind: u32) {
        match kind {
            ALARM => self.alarm.set(None),
            CLIENT_LEFT => self.client_has_left.set(true),
            WRITABLE => self.is_full.set(false),
            _ => {}
        }
    }

    fn run(&self) {
        if self.state.get() != TaskState::Idle {
            return self.state.set(TaskState::Woken);
        }
        let Some(mut work) = self.work.borrow_mut().take() else { return };
        let polled = loop {
            self.state.set(TaskState::Polled);
            let mut cx = Context::from_waker(&self.waker);
            // The core turns its own panics into answers. This catches those of the shell.
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut cx)));
            let is_pending = polled.as_ref().is_ok_and(Poll::is_pending);
            if is_pending && self.state.get() == TaskState::Woken {
                continue;
            }
            break polled;
        };
        match polled {
            Ok(Poll::Pending) => {
                *self.work.borrow_mut() = Some(work);
                self.state.set(TaskState::Idle);
            }
            Ok(Poll::Ready(())) => EXECUTOR.with(|executor| executor.remove(self.number)),
            Err(_) => {
                self.event.fail();
                EXECUTOR.with(|executor| executor.remove(self.number));
            }
        }
    }
}

/// A future that ends at its time.
#[derive(Debug)]
pub(crate) struct Timer {
    task: Rc<Task>,
    ends: Timestamp,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.ends <= clock() {
            return Poll::Ready(());
        }
        self.task.set_alarm(self.ends);
        Poll::Pending
    }
}

/// Wakes a task that waits for a promise of the `worker` crate: one of KV or of the lock object.
struct TaskWaker(u32);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let number = self.0;
        let Some(task) = EXECUTOR.with(|executor| executor.find(number)) else { return };
        if task.state.get() == TaskState::Idle {
            spawn_local(async move {
                EXECUTOR.with(|executor| executor.clock.set(millis(Date::now())));
                task.run();
            });
        } else {
            task.state.set(TaskState::Woken);
        }
    }
}

/// All tasks of the isolate.
struct Executor {
    tasks: RefCell<BTreeMap<u32, Rc<Task>>>,
    /// The number of the last task.
    last: Cell<u32>,
    clock: Cell<Timestamp>,
    is_subscribed: Cell<bool>,
}

impl Executor {
    /// Reads the clock and, the first time, installs the callbacks of the isolate.
    fn subscribe(&self) {
        self.clock.set(millis(Date::now()));
        if self.is_subscribed.replace(true) {
            return;
        }
        let on_bytes = |task, completion, kind, clock, bytes: Vec<u8>| {
            deliver(task, completion, clock, |task, completion| match completion.number {
                0 => task.signal(kind),
                _ => completion.deliver(kind, bytes),
            })
        };
        let on_head = |task, completion, clock, head: String| {
            deliver(task, completion, clock, |_, completion| completion.deliver_head(head))
        };
        let on_bytes = Closure::wrap_assert_unwind_safe(
            Box::new(on_bytes) as Box<dyn Fn(u32, u32, u32, f64, Vec<u8>) -> u32>
        );
        let on_head = Closure::wrap_assert_unwind_safe(
            Box::new(on_head) as Box<dyn Fn(u32, u32, f64, String) -> u32>
        );
        runtime::install_callbacks(&on_bytes, &on_head);
        on_bytes.forget();
        on_head.forget();
    }

    fn find(&self, number: u32) -> Option<Rc<Task>> {
        self.tasks.borrow().get(&number).cloned()
    }

    /// Adds a task. Returns the tasks that are so old that the runtime must have dropped their events.
    fn add(&self, task: Rc<Task>) -> Vec<Rc<Task>> {
        let mut tasks = self.tasks.borrow_mut();
        let mut stale = Vec::new();
        while let Some(oldest) = tasks.first_entry() {
            if oldest.get().started.until(self.clock.get()) < STALE_AFTER {
                break;
            }
            stale.push(oldest.remove());
        }
        tasks.insert(task.number, task);
        stale
    }

    fn remove(&self, number: u32) {
        // Dropped after the borrow ends, since dropping a task may use the executor.
        let removed = self.tasks.borrow_mut().remove(&number);
        drop(removed);
    }
}

/// Delivers a result of the runtime to the task that waits for it, and runs the task. Returns whether
/// the task wants more.
fn deliver(task: u32, completion: u32, clock: f64, store: impl FnOnce(&Task, &Completion)) -> u32 {
    let task = EXECUTOR.with(|executor| {
        executor.clock.set(millis(clock));
        executor.find(task)
    });
    let Some(task) = task else { return UNWANTED };
    let completion = task.completions.borrow().get(completion as usize).cloned();
    let Some(completion) = completion else { return UNWANTED };
    completion.deliver_and_run(|| store(&task, &completion), || task.run())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, after 1970")]
fn millis(clock: f64) -> Timestamp {
    Timestamp(clock as u64)
}

thread_local! {
    static EXECUTOR: Executor = const {
        Executor {
            tasks: RefCell::new(BTreeMap::new()),
            last: Cell::new(0),
            clock: Cell::new(Timestamp(0)),
            is_subscribed: Cell::new(false),
        }
    };
}

// Signals to the task itself. `runtime.js` has the same numbers.
const ALARM: u32 = 0;
const CLIENT_LEFT: u32 = 1;
const WRITABLE: u32 = 2;

/// Longer than any answer takes: the runtime has dropped the event of an older task.
const STALE_AFTER: Duration = Duration::from_secs(2 * 3600);
