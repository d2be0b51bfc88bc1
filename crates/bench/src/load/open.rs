//! Open loop: each request is due at a fixed moment, and its latency counts from that moment. One
//! stall therefore shows in every request that was due meanwhile; a driver that waits for answers
//! hides it (coordinated omission).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Load, LoadResult, LoadTarget, Recorder};
use crate::BenchError;
use crate::clock::{self, SECOND};
use crate::request::ResponsePlan;

pub(super) async fn run(
    load: &Load,
    target: &LoadTarget,
    rate: f64,
    time: Duration,
) -> Result<LoadResult, BenchError> {
    let timer = PreciseTimer::new()?;
    let shared = Rc::new(OpenLoop {
        recorder: RefCell::new(Recorder::new()),
        due: RefCell::default(),
        ready: Semaphore::new(0),
    });
    let request = load.request(ResponsePlan::ONE);
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (shared, request, target) = (Rc::clone(&shared), request.clone(), target.clone());
        tasks.spawn_local(async move {
            // Connecting is not measured.
            let mut connection = target.open().await;
            while let Ok(permit) = shared.ready.acquire().await {
                permit.forget();
                let Some(due) = shared.due.borrow_mut().pop_front() else { continue };
                let ended = target.exchange(&mut connection, &request, |_| ()).await;
                let took = clock::now().saturating_sub(due);
                shared.recorder.borrow_mut().count(ended, took);
            }
        });
    }
    let schedule = Schedule { started: clock::now() + SETTLING, rate };
    for index in 0..schedule.requests(time) {
        let due = schedule.due(index);
        timer.at(due).await?;
        shared.due.borrow_mut().push_back(due);
        shared.ready.add_permits(1);
    }
    // Requests that are due are still sent.
    while !shared.due.borrow().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shared.ready.close();
    tasks.join_all().await;
    Ok(shared.recorder.replace(Recorder::new()).result(None))
}

struct OpenLoop {
    recorder: RefCell<Recorder>,
    due: RefCell<VecDeque<u64>>,
    ready: Semaphore,
}

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    started: u64,
    rate: f64,
}

impl Schedule {
    fn requests(self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.rate) as u64
    }

    fn due(self, index: u64) -> u64 {
        self.started + (index as f64 / self.rate * SECOND as f64) as u64
    }
}

/// A timer with nanoseconds: tokio's has milliseconds.
struct PreciseTimer(AsyncFd<OwnedFd>);

impl PreciseTimer {
    #[expect(deprecated, reason = "its replacement is unsafe; only this type has the descriptor")]
    fn new() -> Result<Self, BenchError> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    async fn at(&self, due: u64) -> Result<(), BenchError> {
        if clock::now() >= due {
            return Ok(());
        }
        let value = Timespec {
            tv_sec: i64::try_from(due / SECOND).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(due % SECOND).unwrap_or_default(),
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut readable = self.0.readable().await?;
            let read = readable.try_io(|timer| {
                let mut expirations = [0; 8];
                Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)
            });
            if let Ok(read) = read {
                read?;
                return Ok(());
            }
        }
    }
}

/// More than are ever in use, unless the contender falls behind.
const CONNECTIONS: usize = 64;

/// Nanoseconds before the first request is due, for all connections to open.
const SETTLING: u64 = SECOND / 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_intervals() {
        let schedule = Schedule { started: 1000, rate: 2000.0 };
        assert_eq!(schedule.requests(Duration::from_secs(3)), 6000);
        assert_eq!(schedule.due(0), 1000);
        assert_eq!(schedule.due(1), 1000 + 500_000);
        assert_eq!(schedule.due(6000), 1000 + 3 * SECOND);
    }

    #[tokio::test]
    async fn the_timer_fires_when_it_is_due_and_at_once_when_it_was() {
        let timer = PreciseTimer::new().unwrap();
        let due = clock::now() + 3_000_000;
        timer.at(due).await.unwrap();
        assert!(clock::now() >= due);
        timer.at(due - 1).await.unwrap();
    }
}
