//! Many at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use code_assist_harness::{Connection, post};

use crate::answers::{EVENT, HELLO, STREAM};
use crate::bench::Bench;
use crate::network::watching;

pub(crate) fn a_thousand_vanish() -> Vec<Bench> {
    let (closed, upstream) = watching(|wire| {
        wire.begin_stream();
        wire.chunk(format!("data: {EVENT}\r\n\r\n"));
    });
    let settings = [("MAX_CONCURRENT_REQUESTS", "2000"), ("LOG_LEVEL", "warn")];
    let bench = Bench::at(&upstream, &settings);
    let before = bench.memory("VmRSS");
    for round in 1..=4 {
        let mut running: Vec<Connection> = (0..1000)
            .map(|_| {
                let mut connection = bench.connect();
                connection.write(post(STREAM, &[], HELLO));
                connection
            })
            .collect();
        // Some leave before their answer begins, in an order that nobody could guess.
        let mut random = Random(round as u64);
        for _ in 0..200 {
            running.swap_remove(random.below(running.len()));
        }
        for connection in &mut running {
            assert_eq!(connection.head().status, 200, "none waits for another");
        }
        assert_eq!(bench.checks()["queue"]["in_flight"], 800);
        while !running.is_empty() {
            running.swap_remove(random.below(running.len()));
        }
        bench.until("idle", |bench| {
            let checks = bench.checks();
            checks["queue"]["in_flight"] == 0 && checks["endpoints"][0]["in_flight"] == 0
        });
        // Those who left before their request was read have never been sent upstream.
        let begun = Instant::now();
        while closed.load(Ordering::SeqCst) < upstream.received().len() {
            let left = upstream.received().len() - closed.load(Ordering::SeqCst);
            assert!(begun.elapsed() < Duration::from_secs(10), "{left} stay open upstream");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(closed.load(Ordering::SeqCst) >= 800 * round);
    }
    // Back where it was, within two looks of `trim.rs`.
    let begun = Instant::now();
    loop {
        let grown = bench.memory("VmRSS").saturating_sub(before);
        if grown < 12 << 20 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{} KiB more than at rest", grown >> 10);
        std::thread::sleep(Duration::from_millis(50));
    }
    vec![bench]
}

/// Numbers that look random and are the same in each run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
