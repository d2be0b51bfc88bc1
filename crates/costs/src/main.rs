//! The hot paths, one at a time, for counting what they cost: `cargo xtask costs` runs each case
//! under callgrind and holds the counts to `budgets.txt`.
//!
//! `costs` lists the cases; `costs CASE` runs one. Its input is made, it runs twice unmeasured, so
//! that whatever is done once in a process is done, and then once inside [`measured`], the function
//! that callgrind watches. It prints how many allocations that took, of how many bytes, and how often the core asked for the time.
//! `costs CASE N` runs it N times and prints how long the quickest run took.
//!
//! Everything is fixed: inputs, clock, random bits, one thread, no input or output.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod cases;
mod dialect_texts;
mod dialects;
#[path = "../../server/src/telemetry/line.rs"]
mod line;
mod null_platform;
mod texts;

use std::alloc::System;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use cases::{CASES, Case, SIZES};
use null_platform::CLOCK_READS;

/// Counts allocations with a few relaxed additions each, so that it hardly shows in the counts.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for case in CASES {
            println!("case {:<18} {}", case.name, case.what);
        }
        for size in SIZES {
            println!("size {:<18} {} {}", size.name, (size.bytes)(), size.what);
        }
        return ExitCode::SUCCESS;
    };
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        println!("there is no case `{name}`");
        return ExitCode::from(2);
    };
    match std::env::args().nth(2).and_then(|times| times.parse().ok()) {
        Some(times) => time(case, times),
        None => run(case),
    }
    ExitCode::SUCCESS
}

fn run(case: &Case) {
    let mut rounds = (case.set_up)();
    for _ in 0..WARM_UP {
        rounds.next()();
    }
    let mut round = Some(rounds.next());
    let clock_reads_before = CLOCK_READS.load(Relaxed);
    let region = Region::new(ALLOCATOR);
    measured(&mut || {
        if let Some(round) = round.take() {
            round();
        }
    });
    let counted = region.change();
    let allocations = counted.allocations + counted.reallocations;
    let bytes = counted.bytes_allocated;
    let clock_reads = CLOCK_READS.load(Relaxed) - clock_reads_before;
    println!("{allocations} allocations, {bytes} bytes, {clock_reads} clock reads");
}

fn time(case: &Case, times: usize) {
    let mut rounds = (case.set_up)();
    let quickest = (0..times).map(|_| {
        let round = rounds.next();
        let begin = Instant::now();
        round();
        begin.elapsed()
    });
    println!("{:?}", quickest.min().unwrap_or_default());
}

/// What callgrind counts, and nothing else.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

const WARM_UP: usize = 2;
