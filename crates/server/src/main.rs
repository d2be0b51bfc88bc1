//! The native shell of `code-assist-proxy`: reads arguments and settings, runs one command, and
//! returns an exit code.

#![cfg_attr(not(unix), expect(dead_code, reason = "settings are read again on SIGHUP only"))]

mod app;
mod audit;
mod cgroup;
mod check;
mod cli;
mod clock;
mod config;
mod core_dumps;
#[cfg(feature = "emulator")]
mod emulator;
mod features;
mod health;
mod http_client;
mod http_version;
mod introduce;
mod keys_command;
mod kv;
mod listen;
mod local_request;
mod manual;
mod models;
#[cfg(not(feature = "emulator"))]
mod no_emulator;
#[cfg(not(feature = "otel"))]
mod no_traces;
mod notify;
mod operator_file;
mod permits;
mod platform;
mod private_file;
mod serve;
mod signals;
mod signing;
mod sources;
mod store;
mod telemetry;
#[cfg(feature = "otel")]
mod traces;
mod trim;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use code_assist_core::settings::{Layer, Problem, Settings, Source};

use cli::{Invocation, Task};
use config::ConfigFile;
#[cfg(not(feature = "emulator"))]
use no_emulator as emulator;
#[cfg(not(feature = "otel"))]
use no_traces as traces;
use sources::Sources;

fn main() -> ExitCode {
    let invocation = Invocation::read();
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Why a command failed, and with it the exit code.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Exit code 1.
    Runtime(Box<dyn Error + Send + Sync>),
    /// Exit code 1. The command has printed the reason already.
    Reported,
    /// Exit code 2: bad settings.
    Settings(Vec<Problem>),
}

impl CommandError {
    pub(crate) fn runtime(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Runtime(error.into())
    }

    fn report(&self) -> ExitCode {
        let mut standard_error = io::stderr().lock();
        // When standard error is closed, there is no other place to report to.
        let _ = match self {
            Self::Runtime(error) => writeln!(standard_error, "error: {error}"),
            Self::Reported => Ok(()),
            Self::Settings(problems) => {
                problems.iter().try_for_each(|wrong| writeln!(standard_error, "error: {wrong}"))
            }
        };
        match self {
            Self::Runtime(_) | Self::Reported => ExitCode::from(1),
            Self::Settings(_) => ExitCode::from(2),
        }
    }
}

/// Writes to standard output. A closed pipe (`| head`) is not an error.
pub(crate) fn print(text: &str) {
    let mut standard_output = io::stdout().lock();
    let _ = standard_output.write_all(text.as_bytes()).and_then(|()| standard_output.flush());
}

pub(crate) fn warn(warning: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {warning}");
}

fn run(invocation: Invocation) -> Result<(), CommandError> {
    if let Task::Completions { shell } = invocation.task {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "code-assist-proxy", &mut script);
        print(&String::from_utf8_lossy(&script));
        return Ok(());
    }
    if let Task::Man { folder } = &invocation.task {
        return manual::write(folder).map_err(|error| {
            CommandError::runtime(format!("cannot write into {}: {error}", folder.display()))
        });
    }

    let emulated = match &invocation.task {
        Task::Serve(serve) => serve.emulator,
        _ => None,
    };
    let sources = Sources { config: invocation.config, flags: invocation.flags, emulated };
    if let Task::Keys(keys) = &invocation.task {
        return keys_command::run(&keys.task, &sources);
    }
    let settings = sources.read();
    if let Task::Config = invocation.task {
        print(&sources.layered(listing));
    }
    if let Task::Check(check) = invocation.task {
        return runtime()?.block_on(check::run(settings, check.json));
    }
    let (settings, warnings) = settings.map_err(CommandError::Settings)?;
    if let Task::Health { url } = &invocation.task {
        // A container engine asks every few seconds: the warnings are in the log of `serve`.
        return runtime()?.block_on(health::run(url.as_deref(), &settings));
    }
    warnings.iter().for_each(warn);
    match invocation.task {
        Task::Check(_)
        | Task::Completions { .. }
        | Task::Config
        | Task::Health { .. }
        | Task::Keys(_)
        | Task::Man { .. } => Ok(()),
        Task::Kv(kv) => runtime()?.block_on(kv::run(kv.task, &settings)),
        Task::Models => runtime()?.block_on(models::run(settings)),
        Task::Serve(serve) => {
            if let Some(problem) = features::emulator_problem().filter(|_| serve.emulator.is_some())
            {
                return Err(CommandError::Settings(vec![problem]));
            }
            let served = serve::run(settings, sources, serve.emulator);
            runtime()?.block_on(run_on_worker(served))
        }
    }
}

/// One line for each setting, and one for each key of a table.
fn listing(layers: &[Layer<'_>], file: &ConfigFile) -> String {
    let settings = Settings::effective(layers).into_iter();
    let settings = settings.map(|line| (format!("{}={}", line.name, line.value), line.source));
    let upstreams = file.upstreams.iter().flat_map(|table| {
        let line = |(key, value)| (format!("upstream.{}.{key}={value}", table.name), Source::File);
        table.listing().into_iter().map(line)
    });
    let (tables, source) = file.key_tables.clone().in_force(layers);
    let tables = tables.listing().into_iter().flat_map(|(name, lines)| {
        lines.into_iter().map(move |(key, value)| (format!("{name}.{key}={value}"), source))
    });
    let lines: Vec<_> = settings.chain(upstreams).chain(tables).collect();
    // A long value must not push the column of sources off the screen.
    let width = lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= 60).max();
    let width = width.unwrap_or(0);
    lines.iter().map(|(line, source)| format!("{line:width$}  # from {source}\n")).collect()
}

/// Runs a future in a task. `block_on` polls its own future on the main thread, which would wake up
/// for each connection only to wake a worker.
async fn run_on_worker(
    work: impl Future<Output = Result<(), CommandError>> + Send + 'static,
) -> Result<(), CommandError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| CommandError::runtime(format!("cannot start the runtime: {error}")))
}
