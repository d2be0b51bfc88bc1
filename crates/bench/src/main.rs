//! Measures the proxy next to others, side by side on one machine: `cargo xtask bench`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod clock;
mod http1_codec;
mod load;
mod machine;
mod process;
mod request;
mod results;
mod rounds;
mod svg;
mod testbed;
mod train;
mod upstream;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser};
use tokio::task::LocalSet;

use machine::Machine;
use rounds::growth::Growth;
use rounds::{Findings, Rounds, Scale};
use testbed::{Programs, TestBed};

fn main() -> ExitCode {
    match perform(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What to do. People call `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(version)]
enum Task {
    /// One load against one address; prints one line of JSON
    Drive(load::Load),
    /// Writes the document and the pictures of the last run anew
    Render {
        /// The folder that the run has written to
        #[arg(long)]
        work: PathBuf,
        #[command(flatten)]
        paper: OutputPaths,
    },
    /// All rounds, then the document and the pictures
    Run {
        #[command(flatten)]
        programs: Programs,
        #[command(flatten)]
        paper: OutputPaths,
        /// How often everything is measured
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Only to see that everything works
        #[arg(long)]
        quick: bool,
        /// What `crates/worker/measure.mjs --json` has written; left out, the Worker is left out
        #[arg(long)]
        edge: Option<PathBuf>,
    },
    /// A bit of everything for a proxy that counts what it does; no figures
    Train {
        #[command(flatten)]
        programs: Programs,
    },
    /// The stand-in for Google; prints its ports as one line of JSON
    Upstream {
        /// Where the certificate goes that subjects must trust
        #[arg(long)]
        authority: PathBuf,
    },
}

/// Where the document goes.
#[derive(Debug, Args)]
struct OutputPaths {
    /// The folder for the document and the pictures
    #[arg(long)]
    docs: PathBuf,
    /// What people have to add to it
    #[arg(long)]
    notes: PathBuf,
    /// The README that is given the most important figures
    #[arg(long)]
    readme: Option<PathBuf>,
}

impl OutputPaths {
    fn write(&self, findings: &Findings) -> Result<(), BenchError> {
        results::write(findings, &self.docs, &self.notes)?;
        self.readme.as_deref().map_or(Ok(()), |readme| results::write_brief(findings, readme))
    }
}

fn perform(task: Task) -> Result<(), BenchError> {
    machine::raise_open_files();
    match task {
        Task::Drive(load) => block_on(async { load::run(&load).await }),
        Task::Render { work, paper } => paper.write(&rounds::kept(&work)?),
        Task::Run { programs, paper, rounds, quick, edge } => {
            let scale = if quick { Scale::quick(rounds) } else { Scale::full(rounds) };
            measure(&programs, &paper, scale, edge.as_deref())
        }
        Task::Train { programs } => train::run(&TestBed::new(&programs, &machine::cores())?),
        Task::Upstream { authority } => block_on(async { upstream::serve(&authority).await }),
    }
}

fn measure(
    programs: &Programs,
    paper: &OutputPaths,
    scale: Scale,
    edge: Option<&Path>,
) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut machine = Machine::look();
    let bed = TestBed::new(programs, &machine::cores())?;
    machine.programs = bed.versions();
    let (mut samples, problems) = Default::default();
    if let Some(edge) = edge {
        results::worker::read(edge, &mut samples)?;
    }
    let mut rounds = Rounds { bed: &bed, scale, samples, problems };
    rounds.run();
    let Rounds { samples, mut problems, .. } = rounds;
    let growth = Growth::measure(&bed, scale, &mut problems);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    drop(bed);
    machine.busy = machine.busy.max(machine::busy());
    let findings = Findings { machine, scale, samples, growth, problems, minutes };
    rounds::keep(&findings, &programs.work)?;
    paper.write(&findings)?;
    println!("\n{}", results::tables(&findings));
    Ok(())
}

/// Runs on one thread: driver and upstream share a core.
fn block_on(work: impl Future<Output = Result<(), BenchError>>) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Why something could not be done, in words.
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
