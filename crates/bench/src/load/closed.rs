//! Closed loop: as many requests as N connections can carry.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::{JoinSet, yield_now};

use super::{Load, LoadResult, LoadTarget, Recorder, print_line};
use crate::clock;
use crate::request::ResponsePlan;

pub(super) async fn run(
    load: &Load,
    target: &LoadTarget,
    connections: u32,
    time: Duration,
    events: u32,
) -> LoadResult {
    let recorder = Rc::new(RefCell::new(Recorder::new()));
    let request = load.request(ResponsePlan { events, interval_ms: 0 });
    let end = clock::now() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (recorder, request, target) = (Rc::clone(&recorder), request.clone(), target.clone());
        tasks.spawn_local(async move {
            let mut connection = None;
            let mut started = clock::now();
            while started < end {
                let ended = target.exchange(&mut connection, &request, |_| ()).await;
                let now = clock::now();
                let failed = ended.is_err();
                recorder.borrow_mut().count(ended, now - started);
                if failed {
                    // A contender that refuses at once is not asked a million times.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started = now;
            }
        });
    }
    tasks.join_all().await;
    recorder.replace(Recorder::new()).result(None)
}

/// Opens all connections, reports it, and then sends one request on each.
pub(super) async fn burst(load: &Load, target: &LoadTarget, connections: u32) -> LoadResult {
    let request = load.request(ResponsePlan::ONE);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(target.open().await);
    }
    // Fails only when the parent has exited.
    let _ = print_line(&json!({ "open": connections }));
    let recorder = Rc::new(RefCell::new(Recorder::new()));
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let (recorder, request, target) = (Rc::clone(&recorder), request.clone(), target.clone());
        tasks.spawn_local(async move {
            yield_now().await;
            let started = clock::now();
            let ended = target.exchange(&mut connection, &request, |_| ()).await;
            recorder.borrow_mut().count(ended, clock::now() - started);
        });
    }
    tasks.join_all().await;
    recorder.replace(Recorder::new()).result(None)
}
