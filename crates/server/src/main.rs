//! The native shell of `code-assist-proxy`: arguments and settings in, one command run, an exit
//! code out.

#![cfg_attr(not(unix), expect(dead_code, reason = "settings are read again on SIGHUP only"))]

mod check;
mod cli;
mod config;
#[cfg(feature = "emulator")]
mod emulator;
mod features;
mod kv;
mod listen;
mod models;
mod native;
#[cfg(not(feature = "emulator"))]
mod no_emulator;
mod notify;
mod parts;
mod serve;
mod signals;
mod sources;
mod store;
mod telemetry;
mod trim;
mod upstream;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use code_assist_core::settings::{Layer, Problem, Settings};

use cli::{Invocation, Task};
#[cfg(not(feature = "emulator"))]
use no_emulator as emulator;
use sources::Sources;

fn main() -> ExitCode {
    let invocation = Invocation::read();
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// Why the process ends with something else than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not work: 1.
    Runtime(String),
    /// It did not work, and the command itself has said why: 1.
    Told,
    /// Bad settings: 2.
    Settings(Vec<Problem>),
}

impl Failure {
    fn tell(&self) -> ExitCode {
        let mut standard_error = io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = match self {
            Self::Runtime(why) => writeln!(standard_error, "error: {why}"),
            Self::Told => Ok(()),
            Self::Settings(problems) => {
                problems.iter().try_for_each(|wrong| writeln!(standard_error, "error: {wrong}"))
            }
        };
        match self {
            Self::Runtime(_) | Self::Told => ExitCode::from(1),
            Self::Settings(_) => ExitCode::from(2),
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) {
    let mut standard_output = io::stdout().lock();
    let _ = standard_output.write_all(text.as_bytes()).and_then(|()| standard_output.flush());
}

/// Writes a warning to standard error.
pub(crate) fn warn(what: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {what}");
}

fn run(invocation: Invocation) -> Result<(), Failure> {
    if let Task::Completions { shell } = invocation.task {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "code-assist-proxy", &mut script);
        print(&String::from_utf8_lossy(&script));
        return Ok(());
    }

    let sources = Sources { config: invocation.config, flags: invocation.flags };
    let settings = sources.read();
    if let Task::Config = invocation.task {
        print(&sources.layered(|layers, _| listing(layers)));
    }
    if let Task::Check(check) = invocation.task {
        return runtime()?.block_on(check::run(settings, check.json));
    }
    let (settings, warnings) = settings.map_err(Failure::Settings)?;
    warnings.iter().for_each(warn);
    match invocation.task {
        Task::Check(_) | Task::Completions { .. } | Task::Config => Ok(()),
        Task::Kv(kv) => runtime()?.block_on(kv::run(kv.task, &settings)),
        Task::Models => runtime()?.block_on(models::run(settings)),
        Task::Serve(serve) => {
            if let Some(problem) = features::emulator_problem().filter(|_| serve.emulator) {
                return Err(Failure::Settings(vec![problem]));
            }
            let served = serve::run(settings, sources, serve.emulator);
            runtime()?.block_on(among_workers(served))
        }
    }
}

fn listing(layers: &[Layer<'_>]) -> String {
    let lines = Settings::effective(layers).into_iter();
    let lines: Vec<_> =
        lines.map(|line| (format!("{}={}", line.name, line.value), line.source)).collect();
    // One long value shall not push all sources out of sight.
    let width = lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= 60).max();
    let width = width.unwrap_or(0);
    lines.iter().map(|(line, source)| format!("{line:width$}  # from {source}\n")).collect()
}

/// Runs it in a task. What `block_on` itself runs has a thread of its own, which would be woken for
/// each connection only to wake a worker for it.
async fn among_workers(
    work: impl Future<Output = Result<(), Failure>> + Send + 'static,
) -> Result<(), Failure> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::Runtime(format!("no runtime: {error}")))
}
