//! The work of one event: a future that is polled, as a whole, whenever the runtime has told
//! something that it waits for.
//!
//! There are no promises on this side of the border, and nothing of a request's own is kept alive
//! in JavaScript: whatever is fulfilled over there is told with one call, by two numbers, that of
//! the work and that of the thing awaited. A promise for each, as a future of `js_sys`, would cost
//! eight calls and two closures that are to be collected.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::Timestamp;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use worker::js_sys::Date;
use worker::wasm_bindgen_futures::spawn_local;

use crate::runtime::{self, Event};

/// The wall clock. The runtime lets it move only with input and output, so it is read when
/// something is told.
pub(crate) fn clock() -> Timestamp {
    TASKS.with(|tasks| tasks.clock.get())
}

/// The work of one event.
pub(crate) struct Task {
    number: u32,
    event: Event,
    work: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    wakes: Waker,
    state: Cell<State>,
    awaited: RefCell<Vec<Rc<Awaited>>>,
    has_left: Cell<bool>,
    is_full: Cell<bool>,
    /// When the runtime will ring.
    alarm: Cell<Option<Timestamp>>,
    began: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    Polled,
    /// To be polled once more.
    Woken,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Task {
    /// The work of an event with this request, if it has one.
    pub(crate) fn new(request: &JsValue, life: &JsValue) -> Rc<Self> {
        TASKS.with(|tasks| {
            tasks.hear();
            let number = tasks.last.get().wrapping_add(1);
            tasks.last.set(number);
            Rc::new(Self {
                number,
                event: runtime::event(number, request, life),
                work: RefCell::default(),
                wakes: Waker::from(Arc::new(Wakes(number))),
                state: Cell::new(State::Idle),
                // The work itself has the number 0.
                awaited: RefCell::new(vec![Rc::new(Awaited::new(0))]),
                has_left: Cell::new(false),
                is_full: Cell::new(false),
                alarm: Cell::new(None),
                began: tasks.clock.get(),
            })
        })
    }

    /// Begins the work.
    pub(crate) fn begin(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        *self.work.borrow_mut() = Some(Box::pin(work));
        for forgotten in TASKS.with(|tasks| tasks.add(Rc::clone(self))) {
            // It holds itself.
            drop(forgotten.work.take());
        }
        self.run();
    }

    /// The runtime's side of it.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// One thing more that the runtime will tell of.
    pub(crate) fn awaited(&self) -> Rc<Awaited> {
        let mut all = self.awaited.borrow_mut();
        let awaited = Rc::new(Awaited::new(u32::try_from(all.len()).unwrap_or(u32::MAX)));
        all.push(Rc::clone(&awaited));
        awaited
    }

    /// True when the client is not there any more.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left.get()
    }

    /// Writes a piece of a stream, and waits while nobody takes it.
    pub(crate) async fn write(&self, piece: &[u8]) {
        self.is_full.set(self.event.write(piece));
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

    /// Sees to it that the runtime rings at that time, or before.
    fn set_alarm(&self, at: Timestamp) {
        if self.alarm.get().is_none_or(|set| at < set) {
            let left = clock().until(at).as_millis();
            self.event.set_alarm(i32::try_from(left).unwrap_or(i32::MAX));
            self.alarm.set(Some(at));
        }
    }

    fn told(&self, what: u32) {
        match what {
            LEFT => self.has_left.set(true),
            ROOM => self.is_full.set(false),
            RANG => self.alarm.set(None),
            _ => {}
        }
    }

    fn run(&self) {
        if self.state.get() != State::Idle {
            return self.state.set(State::Woken);
        }
        let Some(mut work) = self.work.borrow_mut().take() else { return };
        let polled = loop {
            self.state.set(State::Polled);
            let mut cx = Context::from_waker(&self.wakes);
            // The core turns its own panics into answers; these are the shell's.
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut cx)));
            if polled.as_ref().is_ok_and(Poll::is_pending) && self.state.get() == State::Woken {
                continue;
            }
            break polled;
        };
        match polled {
            Ok(Poll::Pending) => {
                *self.work.borrow_mut() = Some(work);
                self.state.set(State::Idle);
            }
            Ok(Poll::Ready(())) => TASKS.with(|tasks| tasks.remove(self.number)),
            Err(_) => {
                self.event.fail();
                TASKS.with(|tasks| tasks.remove(self.number));
            }
        }
    }
}

/// Something that the runtime will tell of: bytes, piece by piece, or an answer's head.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) number: u32,
    pieces: RefCell<VecDeque<Bytes>>,
    head: RefCell<Option<String>>,
    end: RefCell<Option<Result<(), String>>>,
    /// It is being told.
    is_told: Cell<bool>,
    /// Somebody waits for it.
    is_wanted: Cell<bool>,
    /// Nobody will.
    is_unwanted: Cell<bool>,
}

impl Awaited {
    fn new(number: u32) -> Self {
        Self {
            number,
            pieces: RefCell::default(),
            head: RefCell::default(),
            end: RefCell::default(),
            is_told: Cell::new(false),
            is_wanted: Cell::new(false),
            is_unwanted: Cell::new(false),
        }
    }

    fn told(&self, what: u32, bytes: Vec<u8>) {
        let end = match what {
            ENDED => Some(Ok(())),
            BROKEN => Some(Err(String::from_utf8_lossy(&bytes).into_owned())),
            _ => None,
        };
        if what != BROKEN && !bytes.is_empty() {
            self.pieces.borrow_mut().push_back(Bytes::from(bytes));
        }
        if end.is_some() {
            *self.end.borrow_mut() = end;
        }
    }

    /// Nothing will be told of it.
    pub(crate) fn end(&self) {
        *self.end.borrow_mut() = Some(Ok(()));
    }

    /// The head of an answer, or why there is none.
    pub(crate) async fn head(&self) -> Result<String, String> {
        std::future::poll_fn(|_| match self.head.borrow_mut().take() {
            Some(head) => Poll::Ready(Ok(head)),
            None => match self.end.borrow_mut().take() {
                Some(end) => Poll::Ready(Err(end.err().unwrap_or_default())),
                None => Poll::Pending,
            },
        })
        .await
    }

    /// The next piece, `None` at the end. `want` begins to read.
    pub(crate) fn poll_piece(&self, want: impl FnOnce()) -> Poll<Option<Result<Bytes, String>>> {
        if let Some(piece) = self.pieces.borrow_mut().pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(end) = &*self.end.borrow() {
            return Poll::Ready(end.clone().err().map(Err));
        }
        // Who is telling it learns from the answer that more is wanted.
        if !self.is_wanted.replace(true) && !self.is_told.get() {
            want();
        }
        Poll::Pending
    }

    /// True when everything has been told and taken.
    pub(crate) fn is_over(&self) -> bool {
        self.pieces.borrow().is_empty() && matches!(&*self.end.borrow(), Some(Ok(())))
    }

    /// Whoever tells of it will learn that nobody wants it. True when that may be never.
    pub(crate) fn leave(&self) -> bool {
        self.is_unwanted.set(true);
        !self.is_told.get() && self.end.borrow().is_none()
    }
}

/// Ends at its time.
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

/// Wakes work that waits for a promise of the `worker` crate's: one of KV or the register.
struct Wakes(u32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let number = self.0;
        let Some(task) = TASKS.with(|tasks| tasks.find(number)) else { return };
        if task.state.get() == State::Idle {
            spawn_local(async move {
                TASKS.with(|tasks| tasks.clock.set(millis(Date::now())));
                task.run();
            });
        } else {
            task.state.set(State::Woken);
        }
    }
}

/// All work of the isolate's.
struct Tasks {
    all: RefCell<BTreeMap<u32, Rc<Task>>>,
    last: Cell<u32>,
    clock: Cell<Timestamp>,
    is_heard: Cell<bool>,
}

impl Tasks {
    /// Reads the clock, and listens from now on.
    fn hear(&self) {
        self.clock.set(millis(Date::now()));
        if !self.is_heard.replace(true) {
            let bytes = |task, awaited, what, clock, bytes: Vec<u8>| {
                told(task, awaited, clock, |task, awaited| match awaited.number {
                    0 => task.told(what),
                    _ => awaited.told(what, bytes),
                })
            };
            let heads = |task, awaited, clock, head: String| {
                told(task, awaited, clock, |_, awaited| {
                    *awaited.head.borrow_mut() = Some(head);
                })
            };
            let bytes = Closure::wrap_assert_unwind_safe(
                Box::new(bytes) as Box<dyn Fn(u32, u32, u32, f64, Vec<u8>) -> u32>
            );
            let heads = Closure::wrap_assert_unwind_safe(
                Box::new(heads) as Box<dyn Fn(u32, u32, f64, String) -> u32>
            );
            runtime::lend(&bytes, &heads);
            bytes.forget();
            heads.forget();
        }
    }

    fn find(&self, number: u32) -> Option<Rc<Task>> {
        self.all.borrow().get(&number).cloned()
    }

    /// Adds one, and hands over those that the runtime must have thrown away.
    fn add(&self, task: Rc<Task>) -> Vec<Rc<Task>> {
        let mut all = self.all.borrow_mut();
        let mut forgotten = Vec::new();
        while let Some(oldest) = all.first_entry() {
            if oldest.get().began.until(self.clock.get()) < LONGEST {
                break;
            }
            forgotten.push(oldest.remove());
        }
        all.insert(task.number, task);
        forgotten
    }

    fn remove(&self, number: u32) {
        let removed = self.all.borrow_mut().remove(&number);
        drop(removed);
    }
}

/// What the runtime tells goes to the work that waits for it. The answer says whether it waits for
/// more of the same.
fn told(number: u32, awaited: u32, clock: f64, what: impl FnOnce(&Task, &Awaited)) -> u32 {
    let task = TASKS.with(|tasks| {
        tasks.clock.set(millis(clock));
        tasks.find(number)
    });
    let Some(task) = task else { return UNWANTED };
    let awaited = task.awaited.borrow().get(awaited as usize).cloned();
    let Some(awaited) = awaited.filter(|awaited| !awaited.is_unwanted.get()) else {
        return UNWANTED;
    };
    awaited.is_told.set(true);
    awaited.is_wanted.set(false);
    what(&task, &awaited);
    task.run();
    awaited.is_told.set(false);
    match (awaited.is_unwanted.get(), awaited.is_wanted.get()) {
        (true, _) => UNWANTED,
        (false, false) => ENOUGH,
        (false, true) => WANTED,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, after 1970")]
fn millis(clock: f64) -> Timestamp {
    Timestamp(clock as u64)
}

thread_local! {
    static TASKS: Tasks = const {
        Tasks {
            all: RefCell::new(BTreeMap::new()),
            last: Cell::new(0),
            clock: Cell::new(Timestamp(0)),
            is_heard: Cell::new(false),
        }
    };
}

// What is told; `runtime.js` has the same numbers.
const ENDED: u32 = 1;
const BROKEN: u32 = 2;

// What is told to the work itself.
const RANG: u32 = 0;
const LEFT: u32 = 1;
const ROOM: u32 = 2;

// What comes back.
const UNWANTED: u32 = 0;
const ENOUGH: u32 = 1;
const WANTED: u32 = 2;

/// Longer than any answer takes: whatever began before that, the runtime has thrown away.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
