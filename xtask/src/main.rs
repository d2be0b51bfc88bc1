//! How people and CI run everything: nothing to install first but Rust and Node.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod bench;
mod clients;
mod conformance;
mod costs;
mod deny;
mod docs;
mod features;
mod fuzz;
mod http;
mod lint;
mod machine;
mod monitoring;
mod packaging;
mod pgo;
mod process;
mod proxy;
mod report;
mod smoke;
mod soak;
mod tally;
mod test;
mod worker;
mod workflows;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match Task::parse(&words) {
        Ok(Task::Help) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(task) => run(&task),
        Err(problem) => {
            println!("{problem}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// What was asked for on the command line.
#[derive(Debug, PartialEq)]
enum Task {
    Bench(bench::Plan),
    Ci,
    Clients,
    Conformance,
    Costs,
    Deny,
    Docs,
    Fuzz(fuzz::Plan),
    Help,
    Lint,
    Monitoring,
    Packaging,
    Pgo,
    Smoke,
    Soak(soak::Plan),
    Test,
    Worker(worker::Plan),
}

impl Task {
    fn parse(words: &[String]) -> Result<Self, String> {
        let Some((name, rest)) = words.split_first() else {
            return Ok(Self::Help);
        };
        if rest.iter().any(|word| word == "--help" || word == "-h") {
            return Ok(Self::Help);
        }
        let task = match name.as_str() {
            "bench" => return bench::Plan::parse(rest).map(Self::Bench),
            "ci" => Self::Ci,
            "clients" => Self::Clients,
            "conformance" => Self::Conformance,
            "costs" => Self::Costs,
            "deny" => Self::Deny,
            "docs" => Self::Docs,
            "fuzz" => return fuzz::Plan::parse(rest).map(Self::Fuzz),
            "help" | "--help" | "-h" => Self::Help,
            "lint" => Self::Lint,
            "monitoring" => Self::Monitoring,
            "packaging" => Self::Packaging,
            "pgo" => Self::Pgo,
            "smoke" => Self::Smoke,
            "soak" => return soak::Plan::parse(rest).map(Self::Soak),
            "test" => Self::Test,
            "worker" => return worker::Plan::parse(rest).map(Self::Worker),
            other => return Err(format!("there is no task `{other}`")),
        };
        match rest.first() {
            Some(extra) => Err(format!("`{name}` takes no `{extra}`")),
            None => Ok(task),
        }
    }
}

fn run(task: &Task) -> ExitCode {
    let mut report = Report::default();
    match task {
        Task::Bench(plan) => bench::run(&mut report, plan),
        Task::Ci => {
            smoke::run(&mut report);
            test::run(&mut report);
            lint::run(&mut report);
            costs::run(&mut report);
            deny::run(&mut report);
            fuzz::run(&mut report, &fuzz::Plan::default());
            soak::run(&mut report, &soak::Plan::default());
        }
        Task::Clients => {
            worker::build(&mut report);
            clients::run(&mut report);
        }
        Task::Conformance => conformance::run(&mut report),
        Task::Costs => costs::run(&mut report),
        Task::Deny => deny::run(&mut report),
        Task::Docs => docs::run(&mut report),
        Task::Fuzz(plan) => fuzz::run(&mut report, plan),
        Task::Help => {}
        Task::Lint => lint::run(&mut report),
        Task::Monitoring => monitoring::run(&mut report),
        Task::Packaging => packaging::run(&mut report),
        Task::Pgo => pgo::run(&mut report),
        Task::Smoke => smoke::run(&mut report),
        Task::Soak(plan) => soak::run(&mut report, plan),
        Task::Test => test::run(&mut report),
        Task::Worker(plan) => worker::run(&mut report, plan),
    }
    report.close()
}

/// The repository's top folder.
fn root() -> PathBuf {
    let mut here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.pop();
    here
}

/// Where cargo builds to.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

const HELP: &str = "\
How to run everything in this repository.

Usage: cargo xtask TASK

  test      Sets up and runs every test: the Rust tests of all crates, then the real
            proxy binary in front of the emulator, driven by Google's own clients:
            python-genai (two generations), js-genai, the legacy JS SDK, the Gemini CLI.
            Then what people watch it with: promtool on metrics, rules and dashboard, and
            the status page in headless Chromium; and what deploys it, held to its schemas.
            Needs Rust, Node, Python 3 with venv, redis-server, HAProxy, promtool and Chromium;
            on Debian and Ubuntu, as root, what is missing is installed with apt-get. Closes
            with `N passed, N failed`.
  clients   Only the clients' part of `test`.
  conformance
            The cases that hold for the native binary and for the Worker, run for each and put
            side by side. The Worker has to have been built.
  monitoring
            Only that part of `test`. SHOTS=FOLDER keeps screenshots, SECONDS=N loads the
            proxy for so long before they are taken.
  worker build
            Builds the Cloudflare Worker into crates/worker/build and says how large it is.
            Takes rustup's compiler if that has its source (rust-src) or can get it, else
            Debian's rustc-web; builds worker-build and wasm-bindgen into target/tools.
  worker dev [--port N] [--host ADDRESS] [--state DIR]
            Builds and runs it under workerd, on PORT or 8787, with the settings that the
            environment has, and KV kept in crates/worker/.state.
  worker measure [--json FILE]
            Size, start-up time, and processor time a request next to a trivial Worker's.
  worker test
            What only the Worker promises, under workerd; and what a request and an event cost
            it, counted: has one moved by more than 3 % from crates/worker/costs.json?
            COSTS_WRITE=1 writes that anew.
  packaging Only the last part of `test`: Dockerfile, Compose file, Kubernetes manifests,
            HAProxy's and Prometheus's settings.
  smoke     The README's first command, `cargo run --release -- serve --emulator`, and a
            few requests through it.
  lint      Formatting, clippy for each crate by itself with warnings as errors, what the
            core may depend on, and the documentation with warnings as errors.
  costs     What the hot paths cost, counted under valgrind (installed if it is missing): has
            one moved by more than 3 % from crates/costs/budgets.txt? COSTS_WRITE=1 writes the
            new budgets, and docs/COSTS.md.
  deny      Licences, banned and doubled crates, sources, security advisories. Builds a
            pinned cargo-deny into target/tools the first time (about 80 s on 2 cores).
  fuzz [--seconds N] [TARGET..]
            Fuzzes each target of fuzz/ for N seconds (default 10) with libFuzzer, on
            stable Rust. What it finds is kept in fuzz/artifacts, with how to repeat it.
  soak [--minutes N] [--seed S]
            Mixed traffic with faults at random against the real binary for N minutes
            (default 1): no event may be corrupted, lost, repeated or out of order, and
            memory and file descriptors have to stay flat. Prints the seed.
  bench [--rounds N] [--quick] [--proxy FILE]
            Measures the release binary next to nginx and HAProxy (on Debian and Ubuntu, as root,
            installed with apt-get), a JavaScript Worker under workerd (npm) and LiteLLM (PyPI),
            in N rounds (default 3, about 12 minutes each), and writes docs/BENCHMARKS.md with its
            pictures. A reference that cannot be had is left out. On a busy machine all figures
            are noise. --quick only tries everything (two minutes) and writes to target/bench.
            --proxy measures another binary instead of building one.
  pgo       Builds the release binary optimised for its work (profile-guided): one that counts,
            a minute's work for it, and one that knows the counts, in
            target/release-pgo/code-assist-proxy. Needs rustup, which gets llvm-tools, or the
            llvm-profdata of the compiler's LLVM; and Linux. On 2 cores about 10 minutes.
  docs      Writes docs/CONFIG.md and docs/FAULTS.md anew (`test` checks them), and builds the
            documentation of all crates into target/doc, warnings as errors.
  ci        smoke, test, lint, costs, deny, fuzz and soak: what .ci/run does.

Everything that is downloaded or built stays in target/ and clients/node_modules.
Exit code: 0 all well, 1 something failed, 2 bad usage.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Task::parse(&words)
    }

    #[test]
    fn no_task_is_a_question_for_help() {
        assert_eq!(parse(""), Ok(Task::Help));
        assert_eq!(parse("fuzz --help"), Ok(Task::Help));
    }

    #[test]
    fn an_unknown_task_or_a_stray_word_is_refused_by_name() {
        assert_eq!(parse("tset"), Err("there is no task `tset`".to_owned()));
        assert_eq!(parse("lint core"), Err("`lint` takes no `core`".to_owned()));
    }

    #[test]
    fn every_task_in_the_help_can_be_parsed() {
        let names = "test clients conformance monitoring packaging smoke lint costs deny fuzz soak \
                     docs bench pgo ci";
        for name in names.split_ascii_whitespace() {
            let listed = [' ', '\n'].map(|end| format!("\n  {name}{end}"));
            assert!(listed.iter().any(|line| HELP.contains(line)), "{name} is not in the help");
            assert!(parse(name).is_ok(), "{name}");
        }
    }
}
