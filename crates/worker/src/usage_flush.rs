//! When usage goes to the usage object. There is no regular work between events, so requests do it: one of
//! those that run repeats what the isolate has reserved, and one of those that have ended sends what the
//! isolate has counted.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use code_assist_core::{Platform as _, Proxy, Timestamp};

use crate::edge::Edge;
use crate::reply::within;

/// Answers a request whose usage is counted. What it has used is sent a second after its end, with what other
/// requests have used meanwhile.
pub(crate) async fn counted(
    edge: &Edge,
    proxy: &Proxy,
    mut answering: Pin<Box<impl Future<Output = ()>>>,
) {
    let event = edge.task().event();
    let mut is_answered = within(edge, REPEAT_EVERY, answering.as_mut()).await.is_some();
    while !is_answered {
        if is_due(&SENT, REPEAT_EVERY, edge.wall_clock()) {
            let mut sending = pin!(proxy.send_usage(edge));
            poll_fn(|cx| {
                if !is_answered && answering.as_mut().poll(cx).is_ready() {
                    is_answered = true;
                    event.keep_alive();
                }
                sending.as_mut().poll(cx)
            })
            .await;
            if is_answered {
                event.done();
            }
        }
        is_answered = is_answered || within(edge, REPEAT_EVERY, answering.as_mut()).await.is_some();
    }
    drop(answering);
    if is_due(&FLUSH_BEGUN, FLUSH_LOST_AFTER, edge.wall_clock()) {
        event.keep_alive();
        for _ in 0..MOST_FLUSHES {
            edge.timer(FLUSH_AFTER).await;
            for begun in [&FLUSH_BEGUN, &SENT] {
                begun.set(edge.wall_clock());
            }
            // What requests have used that ended meanwhile is left for the next second.
            if proxy.send_usage(edge).await {
                break;
            }
        }
        FLUSH_BEGUN.set(Timestamp(0));
        event.done();
    }
}

/// True, and done by this event, if no event of the isolate has done it since.
fn is_due(
    last: &'static std::thread::LocalKey<Cell<Timestamp>>,
    every: Duration,
    now: Timestamp,
) -> bool {
    let is_due = last.get() + every <= now;
    if is_due {
        last.set(now);
    }
    is_due
}

thread_local! {
    /// When an event of this isolate has last sent something.
    static SENT: Cell<Timestamp> = const { Cell::new(Timestamp(0)) };
    /// When an event has last begun to wait for the end of a second. Others then leave theirs to it.
    static FLUSH_BEGUN: Cell<Timestamp> = const { Cell::new(Timestamp(0)) };
}

const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The runtime gives an event 30 s after its answer.
const MOST_FLUSHES: u32 = 20;

/// The runtime may end an event that waits.
const FLUSH_LOST_AFTER: Duration = Duration::from_secs(5);

/// The usage object forgets what an isolate has reserved that says nothing for ten seconds.
const REPEAT_EVERY: Duration = Duration::from_secs(4);
