//! Many streams at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Load, Outcome, Road, Tally, histogram, say};
use crate::clock::{self, Stamps};
use crate::request::Plan;

pub(super) async fn run(load: &Load, road: &Road, streams: u32, plan: Plan, rate: f64) -> Outcome {
    let shared = Rc::new(Shared {
        tally: RefCell::new(Tally::new()),
        events: RefCell::new(histogram()),
        begun: Cell::new(0),
        change: Notify::new(),
    });
    let request = load.request(plan);
    let began = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..streams {
        let (shared, request, road) = (Rc::clone(&shared), request.clone(), road.clone());
        tasks.spawn_local(async move {
            tokio::time::sleep_until(began + Duration::from_secs_f64(f64::from(index) / rate))
                .await;
            let mut connection = road.open().await;
            let (mut stamps, mut seen, mut first) = (Stamps::default(), 0, None);
            let asked = clock::now();
            let ended = road.exchange(&mut connection, &request, |piece| {
                let now = clock::now();
                if first.is_none() {
                    first = Some(now - asked);
                    shared.has_begun();
                }
                stamps.read(piece, |stamp| {
                    seen += 1;
                    // The first one waits for the head too, and is counted as the first byte.
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
            shared.tally.borrow_mut().count(ended, first.unwrap_or_default());
        });
    }
    while shared.begun.get() < streams {
        shared.change.notified().await;
    }
    // Whoever reads the subject's memory waits for this line. Should nobody read it, nothing is lost.
    let _ = say(&json!({ "open": streams }));
    tasks.join_all().await;
    let events = shared.events.borrow();
    shared.tally.replace(Tally::new()).outcome(Some(&events))
}

struct Shared {
    tally: RefCell<Tally>,
    events: RefCell<Histogram<u64>>,
    /// Streams of which the first byte is here, and those that failed before.
    begun: Cell<u32>,
    change: Notify,
}

impl Shared {
    fn has_begun(&self) {
        self.begun.set(self.begun.get() + 1);
        self.change.notify_one();
    }
}
