//! What a request costs the whole release binary: the real server under valgrind, with the bench's
//! stand-in for Google behind it.
//!
//! Callgrind counts the calls of the clock, of the allocator and of `memcpy`, with all that they are
//! called by: our code, its libraries, and the runtime. DHAT finds the sizes of allocations. A number
//! of requests is sent, not a time of load, so that a count can be repeated.

mod budgets;
mod calls;
mod load;
mod server;
mod sites;

use std::path::Path;
use std::process::Command;

pub(super) use self::budgets::{
    ALLOCATIONS_GOAL, Budgets, CLOCK_READS_GOAL, Row, Site, differences, regressions,
};
use self::calls::Profile;
use self::load::Load;
use self::server::{Server, Upstream};
use crate::process::captured;
use crate::report::Failure;
use crate::workspace::{make_folder, read, target};

/// Counts all loads in the binary at `program`. A load that misses a goal of `budgets` is counted again.
pub(super) fn measure(program: &Path, bench: &Path, budgets: &Budgets) -> Result<Budgets, Failure> {
    for (file, built_by) in [(program, "smoke"), (bench, "costs")] {
        if !file.is_file() {
            let file = file.display();
            return Err(Failure::new(format!("no {file}: `cargo xtask {built_by}` builds it")));
        }
    }
    let work = target().join("costs/binary");
    make_folder(&work)?;
    let upstream = Upstream::start(bench, &work)?;
    let rows = count(program, &upstream, &work, budgets)?;
    let sites = find_sites(program, &upstream, &work)?;
    for row in &rows {
        println!("    {row}");
    }
    for site in &sites {
        println!("    {site}");
    }
    Ok(Budgets { rows, sites })
}

/// What the load of this name is.
pub(super) fn what(name: &str) -> &'static str {
    Load::ALL.iter().find(|load| load.name == name).map_or("", |load| load.what)
}

/// Counts calls with callgrind. What is done once in a process or on a connection is not counted: it is
/// done before callgrind begins.
fn count(
    program: &Path,
    upstream: &Upstream,
    work: &Path,
    budgets: &Budgets,
) -> Result<Vec<Row>, Failure> {
    let profile = work.join("callgrind");
    // Profiles of earlier runs have names of the same kind.
    for number in 1..=Load::ALL.len() * MAX_WINDOWS {
        let _ = std::fs::remove_file(numbered(&profile, number));
    }
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()));
    let server = Server::start(valgrind, program, upstream, work)?;
    let mut rows = Vec::new();
    let mut number = 0;
    for load in Load::ALL {
        let mut connections = load::connect(load.connections, &server.address)?;
        load.send(&mut connections, WARM_UP)?;
        ask(&server, "instrumentation on")?;
        let mut best: Option<Row> = None;
        for window in 1..=MAX_WINDOWS {
            load.send(&mut connections, load.requests)?;
            // Writes the profile and sets all counts to zero.
            ask(&server, "dump")?;
            number += 1;
            let counted = Profile::parse(&read(&numbered(&profile, number))?, program)?;
            let row = Row::new(load, &counted)?;
            if best.as_ref().is_none_or(|best| row.clock_reads < best.clock_reads) {
                best = Some(row);
            }
            let misses = best.as_ref().is_some_and(|best| !budgets.missed_goals(best).is_empty());
            if window >= WINDOWS && !misses {
                break;
            }
        }
        ask(&server, "instrumentation off")?;
        rows.extend(best);
    }
    server.stop()?;
    Ok(rows)
}

/// Finds where large pieces of memory are allocated, with DHAT.
fn find_sites(program: &Path, upstream: &Upstream, work: &Path) -> Result<Vec<Site>, Failure> {
    let profile = work.join("dhat.json");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=dhat", "--num-callers=40"])
        .arg(format!("--dhat-out-file={}", profile.display()));
    let server = Server::start(valgrind, program, upstream, work)?;
    for load in Load::ALL.iter().filter(|load| load.connections > 1) {
        // Few connections: what is allocated for each of them does not count.
        load.send(&mut load::connect(SITE_CONNECTIONS, &server.address)?, SITE_REQUESTS)?;
    }
    server.stop()?;
    sites::large(&read(&profile)?, SITE_REQUESTS)
}

/// Sends a command to callgrind in the server's process.
fn ask(server: &Server, command: &str) -> Result<(), Failure> {
    let mut vgdb = Command::new("vgdb");
    vgdb.arg(format!("--pid={}", server.pid())).args(command.split(' '));
    captured(&mut vgdb).map(|_| ())
}

/// The file of callgrind's dump with a number.
fn numbered(profile: &Path, number: usize) -> std::path::PathBuf {
    profile.with_extension(number.to_string())
}

/// A load is counted so often, and the window with the fewest clock reads is the one that is kept: in
/// it, other work on this machine has delayed driver and upstream the least.
const WINDOWS: usize = 4;

/// A load that misses a goal is counted up to so often.
const MAX_WINDOWS: usize = 16;

/// Enough for buffers, caches and pools to have their size.
const WARM_UP: usize = 200;

/// DHAT is slow: it sees every byte that is read and written.
const SITE_REQUESTS: usize = 1000;

const SITE_CONNECTIONS: usize = 4;
