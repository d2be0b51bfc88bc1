//! Timers. An event has one alarm for all of them: most are dropped long before they end, and each
//! alarm that is set and taken back costs two calls between the languages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use code_assist_core::platform::Millis;
use wasm_bindgen::closure::Closure;
use worker::js_sys::Date;

use crate::runtime;

/// The wall clock. It stands still while the runtime computes, and moves with input and output.
pub(crate) fn clock() -> Millis {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, after 1970"
    )]
    Millis(Date::now() as u64)
}

/// The alarm of an event.
#[derive(Debug)]
pub(crate) struct Alarm {
    state: RefCell<State>,
    rings: Closure<dyn Fn()>,
}

#[derive(Debug, Default)]
struct State {
    /// When the runtime will ring, and its number for it.
    set: Option<(Millis, i32)>,
    /// Who is to be woken, by time and number.
    waiting: BTreeMap<(Millis, u64), Waker>,
    timers: u64,
}

impl Alarm {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new_cyclic(|alarm: &Weak<Self>| {
            let alarm = alarm.clone();
            let rings = Closure::wrap_assert_unwind_safe(Box::new(move || {
                if let Some(alarm) = alarm.upgrade() {
                    alarm.ring();
                }
            }) as Box<dyn Fn()>);
            Self { state: RefCell::default(), rings }
        })
    }

    /// A timer that ends after `how_long`.
    pub(crate) fn timer(self: &Rc<Self>, how_long: Duration) -> Timer {
        let mut state = self.state.borrow_mut();
        state.timers += 1;
        Timer { alarm: Rc::clone(self), ends: clock() + how_long, number: state.timers }
    }

    /// Wakes whose time has come.
    fn ring(&self) {
        let now = clock();
        let due = {
            let mut state = self.state.borrow_mut();
            state.set = None;
            let later = state.waiting.split_off(&(now + ONE, 0));
            std::mem::replace(&mut state.waiting, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
        self.set(now);
    }

    /// Sees to it that the runtime rings for the first who waits, or before.
    fn set(&self, now: Millis) {
        let mut state = self.state.borrow_mut();
        let Some(((first, _), _)) = state.waiting.first_key_value() else { return };
        let first = *first;
        match state.set {
            Some((at, _)) if at <= first => return,
            Some((_, id)) => runtime::take_back_alarm(id),
            None => {}
        }
        let left = now.until(first).as_millis();
        let left = i32::try_from(left).unwrap_or(i32::MAX);
        state.set = Some((first, runtime::set_alarm(&self.rings, left)));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some((_, id)) = self.state.get_mut().set {
            runtime::take_back_alarm(id);
        }
    }
}

/// Ends at its time, in whichever task it is polled last.
#[derive(Debug)]
pub(crate) struct Timer {
    alarm: Rc<Alarm>,
    ends: Millis,
    number: u64,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = clock();
        if self.ends <= now {
            return Poll::Ready(());
        }
        let place = (self.ends, self.number);
        self.alarm.state.borrow_mut().waiting.insert(place, cx.waker().clone());
        self.alarm.set(now);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.alarm.state.borrow_mut().waiting.remove(&(self.ends, self.number));
    }
}

const ONE: Duration = Duration::from_millis(1);
