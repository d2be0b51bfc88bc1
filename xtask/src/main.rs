//! The commands that people and CI run in this repository: `cargo xtask COMMAND`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool prints for its user")]

mod agents;
mod bench;
mod ci;
mod clients;
mod conformance;
mod core_dependencies;
mod costs;
mod counts;
mod deny;
mod dist;
mod docs;
mod failed_tests;
mod features;
mod fuzz;
mod http;
mod links;
mod lint;
mod monitoring;
mod packaging;
mod pgo;
mod plain_words;
mod process;
mod proxy;
mod report;
mod setup;
mod smoke;
mod soak;
mod spelling;
mod test;
mod tools;
mod unix;
mod worker;
mod workflows;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use conformance::Subject;
use report::Report;
use setup::{Install, Need};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(command) => run(command, arguments.install),
        // A wrong command has ended the program already, with exit code 2.
        None => match Arguments::command().print_long_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

/// Runs everything in this repository: tests, lints, measurements, documents.
///
/// What a command downloads or builds stays in target/, fuzz/ and the folders node_modules. System
/// packages are installed by `setup`, by `test` as root on Debian or Ubuntu, and by every command
/// where CI is set in the environment or with --install; any other command that misses one stops and
/// prints what to run.
///
/// Exit code: 0 everything succeeded, 1 something failed, 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    /// Installs missing system packages first, as `setup` does.
    #[arg(long, global = true)]
    install: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs the system packages that the other commands need.
    ///
    /// As root on Debian and Ubuntu it installs them with apt-get. Elsewhere it prints what to run,
    /// and fails if something is missing.
    Setup,
    /// Runs every test: Rust, Worker, conformance, Google's clients, monitoring, packaging.
    ///
    /// Needs Rust, Node, Python 3 with venv, Redis, HAProxy, promtool and Chromium; as root on Debian
    /// and Ubuntu it installs what is missing. The last line is `N passed, N failed`.
    Test,
    /// Drives both builds, with each provider behind them, with real clients, pinned and unmodified.
    ///
    /// These are python-genai (two generations), js-genai, the legacy JS SDK, the Gemini CLI, the SDKs of
    /// OpenAI and Anthropic, LangChain, Pydantic AI, LiteLLM and Vercel's AI SDK.
    Clients,
    /// Drives both builds with agents for programming, pinned and unmodified, on the emulator.
    ///
    /// These are Claude Code, Codex, opencode and aider; their native programs are downloads of about
    /// 400 MB. Each answers, streams, does a task with tools, and meets errors.
    Agents,
    /// Runs the cases that hold for both builds, against the native one and against the Worker.
    ///
    /// The Worker has to have been built (`worker build`).
    Conformance,
    /// Checks metrics, alert rules and dashboard with promtool, and the status page in Chromium.
    ///
    /// SHOTS=FOLDER in the environment keeps screenshots, SECONDS=N sends load for N seconds before
    /// they are taken.
    Monitoring,
    /// Checks Dockerfile, Compose file, Kubernetes manifests, and HAProxy's and Prometheus's settings.
    Packaging,
    /// Builds, runs, measures or tests the Cloudflare Worker.
    #[command(subcommand)]
    Worker(worker::Task),
    /// Runs the README's first command, and sends a few requests through the proxy.
    Smoke,
    /// Checks formatting, clippy for each crate alone, links, spelling, words, and rustdoc.
    Lint,
    /// Counts what the hot paths and whole requests cost, under valgrind, and compares it with the
    /// budgets.
    ///
    /// A count may differ by 3 % from crates/costs/budgets.txt and crates/costs/binary.txt.
    /// COSTS_WRITE=1 in the environment writes new budgets, and docs/COSTS.md.
    Costs,
    /// Checks licences, banned and duplicate crates, sources and security advisories.
    ///
    /// Builds a pinned cargo-deny into target/tools the first time, about 80 s on 2 cores.
    Deny,
    /// Fuzzes each target of fuzz/ with libFuzzer, on stable Rust.
    ///
    /// An input that breaks a target is kept in fuzz/artifacts.
    Fuzz(fuzz::Options),
    /// Sends a mixed load with random faults through the real binary.
    ///
    /// No event may be corrupted, lost, repeated or out of order, and memory and file descriptors
    /// have to stay flat. Prints the seed of the run.
    Soak(soak::Options),
    /// Measures the release binary next to nginx, HAProxy, Envoy and an LLM gateway.
    ///
    /// Writes docs/BENCHMARKS.md. A reference that cannot be installed is left out. On a busy machine
    /// the figures mean nothing. `--beside FILE` measures another build of the proxy in the same
    /// rounds: whether a change makes it faster.
    Bench(bench::Options),
    /// Builds the release binary with profile-guided optimisation, about 10 minutes on 2 cores.
    ///
    /// Builds a binary with counters, runs it for a minute, and builds
    /// target/release-pgo/code-assist-proxy with the counts. Needs Linux and llvm-profdata, which
    /// rustup can download.
    Pgo,
    /// Makes what people install in target/dist, and tries every package.
    ///
    /// Builds as `pgo` does on Linux. Each package is installed into an empty folder and started on the
    /// emulator; conformance and a minute of soak run on the packed program.
    Dist(dist::Options),
    /// Writes docs/CONFIG.md and docs/FAULTS.md anew, and builds the documentation of all crates.
    Docs,
    /// Runs smoke, dist's packages, test, agents, lint, costs, deny, fuzz and soak, as .ci/run does.
    Ci,
}

impl Command {
    /// What the system has to have.
    fn needs(&self) -> Vec<Need> {
        match self {
            Self::Agents => [agents::NEEDS, worker::NEEDS].concat(),
            Self::Bench(_) => bench::NEEDS.to_vec(),
            Self::Ci => ci::needs(),
            Self::Clients => [clients::NEEDS, worker::NEEDS].concat(),
            Self::Conformance => conformance::NEEDS.to_vec(),
            Self::Costs => costs::NEEDS.to_vec(),
            Self::Dist(_) => dist::needs(),
            Self::Fuzz(_) => fuzz::NEEDS.to_vec(),
            Self::Lint => lint::NEEDS.to_vec(),
            Self::Monitoring => monitoring::NEEDS.to_vec(),
            Self::Packaging => packaging::NEEDS.to_vec(),
            Self::Test => test::NEEDS.to_vec(),
            Self::Worker(_) => worker::NEEDS.to_vec(),
            // `setup` installs all there is, and the rest needs only Rust.
            Self::Deny | Self::Docs | Self::Pgo | Self::Setup | Self::Smoke | Self::Soak(_) => {
                Vec::new()
            }
        }
    }
}

fn run(command: &Command, is_install_asked: bool) -> ExitCode {
    let install = Install::decide(is_install_asked || matches!(command, Command::Test));
    let mut report = Report::default();
    let needs = command.needs();
    if !needs.is_empty()
        && report.step("system packages", || setup::ensure(&needs, install)).is_none()
    {
        return report.close();
    }
    match command {
        Command::Agents => {
            worker::build(&mut report);
            if let Some(agents) = agents::install(&mut report) {
                agents.run(&mut report);
            }
        }
        Command::Bench(options) => bench::run(&mut report, options, install),
        Command::Ci => ci::run(&mut report),
        Command::Clients => {
            worker::build(&mut report);
            if let Some(clients) = clients::install(&mut report) {
                clients.run(&mut report);
            }
        }
        Command::Conformance => conformance::run(&mut report, Subject::ALL),
        Command::Costs => costs::run(&mut report),
        Command::Deny => deny::run(&mut report),
        Command::Dist(options) => dist::run(&mut report, options),
        Command::Docs => docs::run(&mut report),
        Command::Fuzz(options) => fuzz::run(&mut report, options),
        Command::Lint => lint::run(&mut report),
        Command::Monitoring => monitoring::run(&mut report),
        Command::Packaging => packaging::run(&mut report),
        Command::Pgo => pgo::run(&mut report),
        Command::Setup => setup::run(&mut report),
        Command::Smoke => smoke::run(&mut report),
        Command::Soak(options) => soak::run(&mut report, options),
        Command::Test => test::run(&mut report),
        Command::Worker(task) => worker::run(&mut report, task),
    }
    report.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("xtask").chain(line.split_whitespace()))
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_documented_command_line_is_accepted() {
        for line in [
            "",
            "setup",
            "test",
            "clients",
            "agents",
            "conformance",
            "monitoring",
            "packaging",
            "smoke",
            "lint",
            "costs",
            "deny",
            "docs",
            "pgo",
            "dist",
            "dist --binary x --packages-only",
            "ci",
            "fuzz",
            "fuzz --seconds 60 sse",
            "soak",
            "fuzz sse route --seconds 1",
            "soak --minutes 0.2 --seed 7",
            "bench",
            "bench --quick",
            "bench --rounds 5 --proxy x",
            "worker build",
            "worker test",
            "worker measure",
            "worker measure --json x",
            "worker dev",
            "worker dev --port 0 --host ::1 --state x",
            "lint --install",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn wrong_arguments_are_rejected() {
        for line in [
            "tset",
            "lint core",
            "fuzz --seconds 0",
            "fuzz --second 5",
            "soak --minutes soon",
            "soak --minutes 0",
            "soak --minutes",
            "soak --hours 1",
            "bench --rounds 0",
            "bench --rounds 101",
            "bench --proxy",
            "dist --binary",
            "worker",
            "worker run",
            "worker dev --port many",
            "worker dev --loud 1",
            "worker measure --json",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
