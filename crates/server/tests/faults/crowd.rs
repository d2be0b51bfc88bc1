//! Many clients at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{EVENT, HELLO, STREAM};
use code_assist_harness::{Connection, TestProxy, post};

use crate::network::watching;

pub(crate) fn a_thousand_vanish() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {EVENT}\r\n\r\n"));
    });
    let settings = [("MAX_CONCURRENT_REQUESTS", "2000"), ("LOG_LEVEL", "warn")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let before = proxy.memory("VmRSS");
    for round in 1..=4 {
        let mut running: Vec<Connection> = (0..1000)
            .map(|_| {
                let mut connection = proxy.connect();
                connection.write(post(STREAM, &[], HELLO));
                connection
            })
            .collect();
        // Some clients disconnect before their answer begins, in random order.
        let mut random = Random(round as u64);
        for _ in 0..200 {
            running.swap_remove(random.below(running.len()));
        }
        for connection in &mut running {
            assert_eq!(connection.head().status, 200, "none waits for another");
        }
        assert_eq!(proxy.checks()["queue"]["in_flight"], 800);
        while !running.is_empty() {
            running.swap_remove(random.below(running.len()));
        }
        proxy.until("idle", |proxy| {
            let checks = proxy.checks();
            checks["queue"]["in_flight"] == 0 && checks["endpoints"][0]["in_flight"] == 0
        });
        // Requests of clients that disconnected before they were read were never sent upstream.
        let started = Instant::now();
        while closed.load(Ordering::SeqCst) < upstream.received().len() {
            let left = upstream.received().len() - closed.load(Ordering::SeqCst);
            assert!(started.elapsed() < Duration::from_secs(10), "{left} stay open upstream");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(closed.load(Ordering::SeqCst) >= 800 * round);
    }
    // Memory is released within two intervals of `trim.rs`.
    let started = Instant::now();
    loop {
        let grown = proxy.memory("VmRSS").saturating_sub(before);
        if grown < 12 << 20 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{} KiB more than at rest",
            grown >> 10
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    vec![proxy]
}

/// Pseudo-random numbers, the same in each run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
