//! As many requests as N connections can carry.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::{JoinSet, yield_now};

use super::{Load, Outcome, Road, Tally, say};
use crate::clock;
use crate::request::Plan;

pub(super) async fn run(
    load: &Load,
    road: &Road,
    connections: u32,
    time: Duration,
    events: u32,
) -> Outcome {
    let tally = Rc::new(RefCell::new(Tally::new()));
    let request = load.request(Plan { events, interval_ms: 0 });
    let end = clock::now() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (tally, request, road) = (Rc::clone(&tally), request.clone(), road.clone());
        tasks.spawn_local(async move {
            let mut connection = None;
            let mut began = clock::now();
            while began < end {
                let ended = road.exchange(&mut connection, &request, |_| ()).await;
                let now = clock::now();
                let failed = ended.is_err();
                tally.borrow_mut().count(ended, now - began);
                if failed {
                    // A subject that refuses at once must not be asked a million times.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                began = now;
            }
        });
    }
    tasks.join_all().await;
    tally.replace(Tally::new()).outcome(None)
}

/// All connections are open, which is said, before the first request is written.
pub(super) async fn burst(load: &Load, road: &Road, connections: u32) -> Outcome {
    let request = load.request(Plan::ONE);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(road.open().await);
    }
    // Should nobody read it, nothing is lost.
    let _ = say(&json!({ "open": connections }));
    let tally = Rc::new(RefCell::new(Tally::new()));
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let (tally, request, road) = (Rc::clone(&tally), request.clone(), road.clone());
        tasks.spawn_local(async move {
            yield_now().await;
            let began = clock::now();
            let ended = road.exchange(&mut connection, &request, |_| ()).await;
            tally.borrow_mut().count(ended, clock::now() - began);
        });
    }
    tasks.join_all().await;
    tally.replace(Tally::new()).outcome(None)
}
