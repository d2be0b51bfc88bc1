//! Measures the proxy beside other programs on one machine: `cargo xtask bench`.
//!
//! A run starts a stand-in for Google ([`upstream`]) and the programs that are compared
//! ([`testbed`]), sends each the same loads in short alternating passes ([`rounds`], [`load`]), and
//! writes `docs/benchmarks.json` with its tables ([`results`]).

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod clock;
mod forwarder;
mod http1_codec;
mod load;
mod machine;
mod process;
mod request;
mod results;
mod rounds;
mod testbed;
mod train;
mod upstream;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tokio::task::LocalSet;

use machine::Machine;
use results::Results;
use results::samples::Samples;
use rounds::growth::Growth;
use rounds::{Rounds, Scale};
use testbed::{Programs, TestBed};

fn main() -> ExitCode {
    match perform(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The tasks of the bench. People call `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(version)]
enum Task {
    /// Sends one load to one address; prints one line of JSON
    Drive(load::Load),
    /// Measures all rounds; writes benchmarks.json and prints its tables
    Run {
        #[command(flatten)]
        programs: Programs,
        /// The folder of benchmarks.json; the tables of a BENCHMARKS.md there are replaced
        #[arg(long)]
        docs: PathBuf,
        /// How often everything is measured
        #[arg(long, default_value_t = 2)]
        rounds: usize,
        /// Measures little, only to see that everything works
        #[arg(long)]
        quick: bool,
        /// Output of `crates/worker/measure.mjs --json`; without it, the Worker is left out
        #[arg(long)]
        edge: Option<PathBuf>,
        /// What `cargo xtask costs` has counted of the whole binary
        #[arg(long)]
        counts: Option<PathBuf>,
    },
    /// Sends some of every load to a proxy that is built with profiling; measures nothing
    Train {
        #[command(flatten)]
        programs: Programs,
    },
    /// Forwards to upstream with hyper and h2, and does nothing else
    Forward {
        #[arg(long)]
        port: u16,
        /// `127.0.0.1:PORT`
        #[arg(long)]
        to: String,
        /// The certificate of upstream
        #[arg(long)]
        authority: PathBuf,
    },
    /// Serves as the stand-in for Google; prints its ports as one line of JSON
    Upstream {
        /// The file for the certificate that clients of upstream must trust
        #[arg(long)]
        authority: PathBuf,
    },
}

fn perform(task: Task) -> Result<(), BenchError> {
    machine::raise_open_files();
    match task {
        Task::Drive(load) => block_on(async { load::run(&load).await }),
        Task::Forward { port, to, authority } => {
            block_on(async { forwarder::serve(port, &to, &authority).await })
        }
        Task::Run { programs, docs, rounds, quick, edge, counts } => {
            let scale = if quick { Scale::quick(rounds) } else { Scale::full(rounds) };
            measure(&programs, &docs, scale, edge.as_deref(), counts.as_deref())
        }
        Task::Train { programs } => train::run(&TestBed::new(&programs, &machine::cores())?),
        Task::Upstream { authority } => block_on(async { upstream::serve(&authority).await }),
    }
}

fn measure(
    programs: &Programs,
    docs: &Path,
    scale: Scale,
    edge: Option<&Path>,
    counts: Option<&Path>,
) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut machine = Machine::describe();
    let bed = TestBed::new(programs, &machine::cores())?;
    machine.programs = bed.versions();
    let mut samples = Samples::default();
    if let Some(edge) = edge {
        results::worker::read(edge, &mut samples)?;
    }
    if let Some(counts) = counts {
        results::counts::read(counts, &mut samples)?;
    }
    let mut rounds = Rounds { bed: &bed, scale, samples, problems: Vec::new() };
    rounds.run();
    let Rounds { samples, mut problems, .. } = rounds;
    let growth = Growth::measure(&bed, scale, &mut problems);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    drop(bed);
    machine.busy = machine.busy.into_iter().chain([machine::busy()]).reduce(f64::max);
    let results = Results::new(machine, scale, minutes, &samples, &growth, problems);
    println!("\n{}\n{}", results::tables(&results), results::beside(&results));
    results.write(docs)
}

/// Runs `work` on one thread: load and upstream share a core.
fn block_on(work: impl Future<Output = Result<(), BenchError>>) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Why something could not be done. Every error of the bench ends in a message to its user.
#[derive(Debug)]
struct BenchError(String);

impl fmt::Display for BenchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for BenchError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
