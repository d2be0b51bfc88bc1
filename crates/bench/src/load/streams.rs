//! Many streams at once, opened at a rate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Load, LoadResult, LoadTarget, Recorder, histogram, print_line};
use crate::clock::{self, TimestampReader};
use crate::request::ResponsePlan;

pub(super) async fn run(
    load: &Load,
    target: &LoadTarget,
    streams: u32,
    plan: ResponsePlan,
    rate: f64,
) -> LoadResult {
    let shared = Rc::new(OpenStreams {
        recorder: RefCell::new(Recorder::new()),
        events: RefCell::new(histogram()),
        begun: Cell::new(0),
        change: Notify::new(),
    });
    let request = load.request(plan);
    let started = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..streams {
        let (shared, request, target) = (Rc::clone(&shared), request.clone(), target.clone());
        tasks.spawn_local(async move {
            tokio::time::sleep_until(started + Duration::from_secs_f64(f64::from(index) / rate))
                .await;
            let mut connection = target.open().await;
            let (mut stamps, mut seen, mut first) = (TimestampReader::default(), 0, None);
            let asked = clock::now();
            let ended = target.exchange(&mut connection, &request, |piece| {
                let now = clock::now();
                if first.is_none() {
                    first = Some(now - asked);
                    shared.has_begun();
                }
                stamps.read(piece, |stamp| {
                    seen += 1;
                    // The first event waits for the head too, and counts as the first byte.
                    if seen > 1 {
                        shared.events.borrow_mut().saturating_record(now.saturating_sub(stamp));
                    }
                });
            });
            let ended = ended.await.and_then(|()| match seen == plan.events {
                true => Ok(()),
                false => Err(format!("{seen} events of {}", plan.events)),
            });
            if first.is_none() {
                shared.has_begun();
            }
            shared.recorder.borrow_mut().count(ended, first.unwrap_or_default());
        });
    }
    while shared.begun.get() < streams {
        shared.change.notified().await;
    }
    // The parent reads the contender's memory after this line. Fails only when the parent has exited.
    let _ = print_line(&json!({ "open": streams }));
    tasks.join_all().await;
    let events = shared.events.borrow();
    shared.recorder.replace(Recorder::new()).result(Some(&events))
}

struct OpenStreams {
    recorder: RefCell<Recorder>,
    events: RefCell<Histogram<u64>>,
    /// Streams that have their first byte, and those that failed before it.
    begun: Cell<u32>,
    change: Notify,
}

impl OpenStreams {
    fn has_begun(&self) {
        self.begun.set(self.begun.get() + 1);
        self.change.notify_one();
    }
}
