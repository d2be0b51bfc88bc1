//! Measures the proxy next to others, side by side on one machine: `cargo xtask bench`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod ask;
mod clock;
mod drive;
mod upstream;
mod wire;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::task::LocalSet;

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
    Drive(drive::Load),
    /// The stand-in for Google; prints its ports as one line of JSON
    Upstream {
        /// Where the certificate goes that subjects must trust
        #[arg(long)]
        authority: PathBuf,
    },
}

fn perform(task: Task) -> Result<(), Failure> {
    match task {
        Task::Drive(load) => block_on(async { drive::run(&load).await }),
        Task::Upstream { authority } => block_on(async { upstream::serve(&authority).await }),
    }
}

/// Runs on one thread: driver and upstream share a core.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Why something could not be done, in words.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
