//! Mixed traffic with random faults for a given time: `cargo xtask soak --minutes N`.
//!
//! The text of every request is a plan: its number, the length of its answer, and its fault. Upstream
//! follows the plan, so each client knows exactly what it must receive. Every event has its place and a
//! checksum: the client finds any event that is corrupted, lost, repeated or out of order.

mod plan;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder};
use serde_json::json;

use crate::plan::Random;
use crate::traffic::{Driver, Sums};

#[test]
#[ignore = "takes minutes: `cargo xtask soak --minutes N`"]
fn soak() {
    let seconds: u64 = number("SOAK_SECONDS").unwrap_or(20);
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    say(&format!("{seconds} s with seed {seed} (SOAK_SEED={seed} repeats it)"));
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_lifetime_ms": 5000}));
    let overloaded = Arc::new(AtomicU64::new(0));
    let upstream = traffic::upstream(Arc::clone(&overloaded));
    let proxy = ProxyBuilder::for_emulator(&google)
        .credentials(&google.expired_credentials())
        .env("CODE_ASSIST_ENDPOINT", upstream.url())
        .env("GEMINI_PROJECT_ID", "emulator-project")
        .env("FIRST_BYTE_TIMEOUT_MS", IDLE_MS.to_string())
        .env("STREAM_IDLE_TIMEOUT_MS", IDLE_MS.to_string())
        .env("RETRY_BASE_DELAY_MS", "10")
        // A healthy model has many faults too, but hardly so many in a row.
        .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "10")
        .env("CIRCUIT_BREAKER_TIMEOUT_MS", "5000")
        // Short, so that the cache reaches its final size within the run.
        .env("RESPONSE_CACHE_TTL_SECONDS", "2")
        .env("ENABLE_MODEL_NAME_CACHE", "false")
        .env("LOG_LEVEL", "warn")
        .start();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random::new(seed);
    let (sums, samples) = thread::scope(|scope| {
        let drivers: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let mut driver = Driver::new(&proxy, n, random.fork());
                scope.spawn(move || {
                    driver.run_until(end);
                    driver.sums
                })
            })
            .collect();
        let samples = watch(&proxy, end);
        let mut sums = Sums::default();
        for driver in drivers {
            sums.add(driver.join().expect("a driver does not panic"));
        }
        (sums, samples)
    });
    judge(&proxy, &google, &sums, &samples);
    let calls = overloaded.load(Relaxed);
    // Each failed request is tried three times at most, and each probe once.
    let most = 10 * 3 + seconds / 5 + CLIENTS * 3;
    say(&format!("{calls} calls for the overloaded model, at most {most}"));
    assert!(calls <= most, "{calls} calls for the overloaded model");
}

/// What the process uses at one moment.
struct Sample {
    memory: u64,
    files: u64,
}

fn watch(proxy: &Proxy, end: Instant) -> Vec<Sample> {
    let mut samples = Vec::new();
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(250));
        let (memory, files) = (proxy.memory("VmRSS"), proxy.open_files() as u64);
        samples.push(Sample { memory, files });
    }
    samples
}

/// Prints whether each promise was kept, and fails if one was not.
fn judge(proxy: &Proxy, google: &GoogleEmulator, sums: &Sums, samples: &[Sample]) {
    say(&format!(
        "{} requests: {} streams with {} events, {} whole answers, {} counts, {} lists, {} for the \
         overloaded model (the proxy refused {}); {} faults injected, {} clients gone, {} refreshes",
        sums.requests,
        sums.streams,
        sums.events,
        sums.answers,
        sums.counts,
        sums.lists,
        sums.overloaded,
        sums.rested,
        sums.faults,
        sums.gone,
        google.count("token"),
    ));
    for wrong in sums.wrong.iter().take(20) {
        say(&format!("WRONG   {wrong}"));
    }
    let mut tally = Tally::default();
    let of = |what: &str| sums.wrong.iter().filter(|wrong| wrong.starts_with(what)).count();
    tally.check("no event was corrupted, lost, repeated or out of order", of("stream") == 0);
    tally.check("each whole answer was its question's own", of("answer") == 0);
    tally.check("each count and each list was right", of("count") + of("list") == 0);
    tally.check("each fault ended in a proper error, or in none at all", of("fault") == 0);
    tally.check(
        "the overloaded model's requests got its error or CIRCUIT_OPEN",
        of("overloaded") == 0,
    );
    tally.check("the overloaded model, and no other, rested", {
        let health = proxy.get("/health/detailed").json();
        let resting = health["checks"]["resting_models"].as_array().cloned().unwrap_or_default();
        say(&format!("resting: {resting:?}"));
        sums.rested > 0 && resting.iter().all(|model| model["model"] == traffic::OVERLOADED)
    });
    tally.check(
        "every kind of traffic and of fault was there",
        sums.streams.min(sums.answers).min(sums.counts).min(sums.lists) > 0 && sums.all_faults(),
    );
    tally.check("tokens were renewed under way", google.count("token") > 1);
    tally.check("nothing stayed in flight", comes_to_rest(proxy));
    // The first tenth is warm-up.
    let (_, warm) = samples.split_at(samples.len() / 10);
    let (first, second) = warm.split_at(warm.len() / 2);
    let memory = [first, second].map(|half| median(half.iter().map(|sample| sample.memory)));
    let files = [first, second].map(|half| median(half.iter().map(|sample| sample.files)));
    say(&format!(
        "memory {} MiB, then {} MiB; files {}, then {} (medians of the halves)",
        memory[0] >> 20,
        memory[1] >> 20,
        files[0],
        files[1]
    ));
    tally.check("memory was flat", memory[1] < memory[0] + memory[0] / 10 + (4 << 20));
    tally.check("file descriptors were flat", files[1] <= files[0] + 10);
    let log = proxy.stdout();
    tally.check("nothing in the log was an error", !log.contains(r#""level":"ERROR""#));
    say(&format!("{} passed, {} failed", tally.passed, tally.failed));
    assert_eq!(tally.failed, 0, "see above");
}

fn comes_to_rest(proxy: &Proxy) -> bool {
    let started = Instant::now();
    loop {
        let queue = proxy.get("/health/detailed").json()["checks"]["queue"].take();
        if queue["in_flight"] == 0 && queue["waiting"] == 0 {
            return true;
        }
        if started.elapsed() > Duration::from_secs(10) {
            say(&format!("left: {queue}"));
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn check(&mut self, what: &str, kept: bool) {
        say(&format!("{} {what}", if kept { "ok     " } else { "FAILED " }));
        if kept {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut all: Vec<u64> = values.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `cargo xtask soak` reads these lines.
#[expect(clippy::print_stdout, reason = "a test that talks while it runs")]
fn say(what: &str) {
    println!("soak: {what}");
}

const CLIENTS: u64 = 8;

/// Shorter than a client's timeout, longer than any pause of the machine.
const IDLE_MS: u64 = 1500;
