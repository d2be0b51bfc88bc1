//! The results of a run: `docs/benchmarks.json`, and the tables of `docs/BENCHMARKS.md`.

pub(crate) mod counts;
pub(crate) mod goals;
mod reasons;
pub(crate) mod samples;
mod tables;
pub(crate) mod worker;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::machine::Machine;
use crate::rounds::Scale;
use crate::rounds::growth::Growth;
use crate::testbed::Contender;
use goals::GoalResult;
use samples::{Samples, Summaries, Summary};
pub(crate) use tables::{beside, tables};
use worker::WorkerVariant;

/// The schema of `docs/benchmarks.json`.
///
/// Keys of contenders are [`Contender::key`] and [`WorkerVariant::key`]. A measure's name ends in its
/// unit (`_us`, `_ms`, `_s`, `_kib`, `_mib`); measures of latency (`open_RATE_p50`, `first_p50`,
/// `event_p99`, …) are in microseconds; `rps` is requests a second, `rps_core` the same for a whole
/// core, `core_used` the share of a core, `large_body_peak` a multiple of the body. Each value is the
/// median of all passes of the run with its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Results {
    pub(crate) run: RunInfo,
    /// What was measured of each contender.
    pub(crate) measured: Summaries,
    /// Microseconds more than a client without a proxy needs, over HTTP/1.1, in the same pass.
    pub(crate) added_to_direct: Summaries,
    /// The same against a client that speaks HTTP/2 with TLS to upstream itself.
    pub(crate) added_to_direct_tls: Summaries,
    /// The Workers' cost as multiples of the cost of the Worker that only forwards, in the same round.
    pub(crate) worker_ratio: Summaries,
    /// The release build's values as multiples of those of the build beside it, in the same pass.
    #[serde(default, skip_serializing_if = "Summaries::is_empty")]
    pub(crate) beside_ratio: Summaries,
    pub(crate) goals: Vec<GoalResult>,
    pub(crate) growth: Vec<GrowthResult>,
    /// What failed in this run, in words.
    pub(crate) problems: Vec<String>,
}

/// When, where and how much was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunInfo {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// A smoke test, whose values mean nothing.
    pub(crate) quick: bool,
    pub(crate) minutes: f64,
}

/// How a cost grows from one value of its cause to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrowthResult {
    pub(crate) what: String,
    /// The cause at both ends.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// The cause at `to` as a multiple of the cause at `from`.
    pub(crate) cause: f64,
    /// The cost at `to` as a multiple of the cost at `from`.
    pub(crate) proxy: f64,
    pub(crate) nginx: Option<f64>,
    pub(crate) expected: String,
}

impl Results {
    pub(crate) fn new(
        machine: Machine,
        scale: Scale,
        minutes: f64,
        samples: &Samples,
        growth: &Growth,
        problems: Vec<String>,
    ) -> Self {
        let added = |base: Contender| {
            samples.summaries(|contender, measure| {
                let is_added = contender != base.key() && is_latency(measure);
                let added = samples.added(contender, base.key(), measure);
                is_added.then(|| Summary::of(added.into_iter().flatten()))?
            })
        };
        let forward = WorkerVariant::Forward.key();
        Self {
            run: RunInfo { machine, rounds: scale.rounds, quick: scale.quick, minutes },
            measured: samples.summaries(|contender, measure| samples.summary(contender, measure)),
            added_to_direct: added(Contender::Direct),
            added_to_direct_tls: added(Contender::DirectTls),
            worker_ratio: samples.summaries(|contender, measure| {
                let own = samples.passes(contender, measure);
                Summary::ratio(own, samples.passes(forward, measure))
                    .filter(|_| WorkerVariant::ALL.iter().any(|worker| worker.key() == contender))
            }),
            beside_ratio: samples.summaries(|contender, measure| {
                let beside = samples.passes(Contender::ProxyBeside.key(), measure);
                Summary::ratio(samples.passes(contender, measure), beside)
                    .filter(|_| contender == Contender::Proxy.key())
            }),
            goals: goals::judge(samples),
            growth: growth.results(),
            problems,
        }
    }

    /// Writes `benchmarks.json` into `docs`, and the tables into the `BENCHMARKS.md` that is there.
    pub(crate) fn write(&self, docs: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(docs)?;
        fs::write(docs.join("benchmarks.json"), serde_json::to_string_pretty(self)? + "\n")?;
        let document = docs.join("BENCHMARKS.md");
        if !document.is_file() {
            return Ok(());
        }
        let text = with_tables(&fs::read_to_string(&document)?, &tables(self))?;
        Ok(fs::write(document, text)?)
    }
}

/// Replaces what is between the two marks of a document.
fn with_tables(document: &str, tables: &str) -> Result<String, BenchError> {
    let marked = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
    });
    marked.ok_or_else(|| BenchError(format!("BENCHMARKS.md has no {BEGIN} with its {END}")))
}

/// Measures that begin when a request is due, and from which a direct client's can be subtracted.
fn is_latency(measure: &str) -> bool {
    measure.ends_with("_p50") || measure.ends_with("_p99") || measure.ends_with("_p999")
}

const BEGIN: &str = "<!-- tables of benchmarks.json, written by `cargo xtask bench` -->";
const END: &str = "<!-- end of tables -->";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The folder of the documents, and the results in it.
    fn committed() -> (PathBuf, Results) {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let results = fs::read(docs.join("benchmarks.json")).unwrap();
        (docs, serde_json::from_slice(&results).unwrap())
    }

    #[test]
    fn benchmarks_md_has_the_tables_of_benchmarks_json() {
        let (docs, results) = committed();
        let committed = fs::read_to_string(docs.join("BENCHMARKS.md")).unwrap();
        let expected = with_tables(&committed, &tables(&results)).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(docs.join("BENCHMARKS.md"), &expected).unwrap();
            return;
        }
        assert!(
            committed == expected,
            "docs/BENCHMARKS.md is stale: UPDATE_DOCS=1 cargo test -p code-assist-bench benchmarks_md"
        );
    }

    #[test]
    fn every_missed_goal_of_benchmarks_json_has_a_reason() {
        let (_, results) = committed();
        let missed = results.goals.iter().filter(|goal| goal.is_missed());
        let unexplained: Vec<_> = missed.filter(|goal| goals::reason(goal).is_none()).collect();
        assert!(unexplained.is_empty(), "to be explained in results/reasons.rs: {unexplained:#?}");
    }

    #[test]
    fn a_document_without_marks_is_an_error() {
        assert!(with_tables("# Benchmarks", "").is_err());
    }
}
