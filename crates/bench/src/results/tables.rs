//! The tables of `docs/BENCHMARKS.md`, in Markdown.

use std::fmt::Write as _;

use super::goals::GoalStatus;
use super::samples::{Summaries, Summary};
use super::worker::WorkerVariant;
use super::{GrowthResult, Results};
use crate::rounds::{OPEN_STREAMS, RATES};
use crate::testbed::Contender;

/// All tables of a run, each below its heading.
pub(crate) fn tables(results: &Results) -> String {
    let sections = [
        run(results),
        goals(results),
        speed(results),
        over_tls(results),
        workers(results),
        memory(results),
        growth(&results.growth),
        problems(&results.problems),
    ];
    let written: Vec<String> = sections.into_iter().filter(|text| !text.is_empty()).collect();
    written.join("\n")
}

fn run(results: &Results) -> String {
    let super::RunInfo { machine, rounds, quick, minutes } = &results.run;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Run of {}, commit {}: {rounds} round{} in {minutes:.0} minutes{}, on {} with {} core{}, \
         {:.0} GiB of memory, Linux {}. Programs: {}.",
        machine.date,
        machine.commit,
        plural(*rounds),
        if *quick { " (`--quick`: a smoke test, its values mean nothing)" } else { "" },
        machine.processor,
        machine.cores,
        plural(machine.cores),
        machine.memory_gib,
        machine.kernel,
        machine.programs.join("; "),
    );
    if let Some(busy) = machine.busy.filter(|busy| *busy > BUSY) {
        let _ = writeln!(
            out,
            "\n> **These values are noise**: before or after the run, other processes used {:.0} % \
             of the machine.",
            busy * 100.0
        );
    }
    out
}

fn goals(results: &Results) -> String {
    let mut out = "### Goals\n\n\
                   | | found | goal | limit | | with PGO |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for goal in &results.goals {
        let status = match goal.status() {
            GoalStatus::Met => "met",
            GoalStatus::Missed => "**missed**",
            GoalStatus::Near => "near",
            GoalStatus::Unknown => "not measured",
        };
        let found = |summary: Option<Summary>| {
            summary.map_or_else(nothing, |summary| ranged(summary) + &goal.unit)
        };
        let (what, found, pgo) = (&goal.what, found(goal.found), found(goal.found_pgo));
        let (wanted, limit) = (goal.goal_text(), goal.limit_text());
        let _ = writeln!(out, "| {what} | {found} | {wanted} | {limit} | {status} | {pgo} |");
    }
    out
}

fn speed(results: &Results) -> String {
    let mut out = "### Speed\n\n| |".to_owned();
    for rate in RATES {
        let _ = write!(out, " added at {rate}/s: p50 | p99 | p99.9 |");
    }
    out += " requests/s | core used | requests/s of a whole core | CPU µs a request | first byte added: p50 | event added: p50 | p99 |\n";
    out += &separator(RATES.len() * 3 + 7);
    for contender in Contender::ALL {
        let own = |measure: &str| results.measured(contender.key(), measure);
        // Nothing is added to a direct client: the table shows its whole latency.
        let added = |measure: &str| match contender.is_direct() {
            true => own(measure),
            false => cell(&results.added_to_direct, contender, measure),
        };
        let mut cells = Vec::new();
        for rate in RATES {
            cells.extend(["p50", "p99", "p999"].map(|at| added(&format!("open_{rate}_{at}"))));
        }
        cells.extend(["rps", "core_used", "rps_core", "cpu_us"].map(own));
        cells.extend(["first_p50", "event_p50", "event_p99"].map(added));
        row(&mut out, contender.title(), &cells);
    }
    out
}

fn over_tls(results: &Results) -> String {
    let mut out =
        "### Latency added to a client that speaks HTTP/2 and TLS itself\n\n| |".to_owned();
    for rate in RATES {
        let _ = write!(out, " {rate}/s: p50 | p99 |");
    }
    out += " first byte: p50 | event: p50 | p99 |\n";
    out += &separator(RATES.len() * 2 + 3);
    let measures =
        RATES.iter().flat_map(|rate| ["p50", "p99"].map(|at| format!("open_{rate}_{at}")));
    let measures: Vec<_> =
        measures.chain(["first_p50", "event_p50", "event_p99"].map(str::to_owned)).collect();
    for contender in [Contender::Proxy, Contender::ProxyPgo, Contender::Haproxy] {
        let cells: Vec<_> = measures
            .iter()
            .map(|measure| cell(&results.added_to_direct_tls, contender, measure))
            .collect();
        row(&mut out, contender.title(), &cells);
    }
    out
}

fn workers(results: &Results) -> String {
    let mut out = "### The Worker\n\n\
                   | | start to first answer, ms | CPU µs a request | ratio | CPU µs a stream of 20 \
                   events | ratio |\n"
        .to_owned();
    out += &separator(5);
    for worker in WorkerVariant::ALL {
        let own = |measure: &str| results.measured(worker.key(), measure);
        let ratio = |measure: &str| results.worker_ratio.get(worker.key())?.get(measure).copied();
        let cells = [
            own("first_ms"),
            own("unary_us"),
            ratio("unary_us"),
            own("stream_us"),
            ratio("stream_us"),
        ];
        row(&mut out, worker.title(), &cells);
    }
    let size = |measure: &str| results.measured(WorkerVariant::Proxy.key(), measure);
    if let (Some(wasm), Some(gzip)) = (size("wasm_kib"), size("wasm_gzip_kib")) {
        let (wasm, gzip) = (wasm.median, gzip.median);
        let _ = writeln!(out, "\nThe WebAssembly has {wasm:.0} KiB, {gzip:.0} KiB compressed.");
    }
    out
}

fn memory(results: &Results) -> String {
    let mut out = "### Streams and memory\n\n| | idle, MiB |".to_owned();
    for streams in OPEN_STREAMS {
        let _ = write!(out, " KiB a stream at {streams} |");
    }
    out += " event p99 at 5,000, ms | errors | MiB after | 20 MB body, ms | its peak, × body |\n";
    out += &separator(OPEN_STREAMS.len() + 6);
    for contender in Contender::ALL.into_iter().filter(|contender| !contender.is_direct()) {
        let own = |measure: &str| results.measured(contender.key(), measure);
        let mut cells = vec![own("idle_mib")];
        cells.extend(OPEN_STREAMS.map(|streams| own(&format!("open_{streams}_kib"))));
        cells.push(own("open_5000_event_p99").map(|micros| micros.times(1e-3)));
        cells.extend(["open_errors", "after_mib", "large_body_ms", "large_body_peak"].map(own));
        row(&mut out, contender.title(), &cells);
    }
    let own = |measure: &str| {
        results.measured(Contender::Proxy.key(), measure).map(|summary| summary.median)
    };
    if let (Some(binary), Some(loaded)) = (own("binary_mib"), own("loaded_mib")) {
        let _ = writeln!(
            out,
            "\nThe binary has {binary:.1} MiB with its lines for backtraces; {loaded:.1} MiB of it are \
             code and data."
        );
    }
    if let (Some(cold), Some(renewal)) = (own("cold_refresh_tokens"), own("renewal_tokens")) {
        let _ = writeln!(
            out,
            "\nToken refreshes for 1,000 callers without a token: {cold}. In nine seconds with tokens \
             that are due for renewal after six: {renewal}."
        );
    }
    out
}

fn growth(growth: &[GrowthResult]) -> String {
    let mut out = "### How cost grows\n\n\
                   | | from | to | cause | cost: code-assist-proxy | cost: nginx | should be |\n"
        .to_owned();
    out += &separator(6);
    for GrowthResult { what, from, to, cause, proxy, nginx, expected } in growth {
        let nginx = nginx.map_or_else(nothing, |times| format!("× {times:.2}"));
        let [from, to, cause] = [*from, *to, *cause].map(short);
        let _ = writeln!(
            out,
            "| {what} | {from} | {to} | × {cause} | × {proxy:.2} | {nginx} | {expected} |"
        );
    }
    out
}

fn problems(problems: &[String]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut out = "### Problems of this run\n\n".to_owned();
    for problem in problems {
        let _ = writeln!(out, "- {problem}");
    }
    out
}

fn cell(summaries: &Summaries, contender: Contender, measure: &str) -> Option<Summary> {
    summaries.get(contender.key())?.get(measure).copied()
}

fn row(out: &mut String, title: &str, cells: &[Option<Summary>]) {
    if cells.iter().all(Option::is_none) {
        let _ = writeln!(out, "| {title} |{}", " not measured |".repeat(cells.len()));
        return;
    }
    let _ = write!(out, "| {title} |");
    for cell in cells {
        let _ = write!(out, " {} |", cell.map_or_else(nothing, ranged));
    }
    out.push('\n');
}

/// The line below a header with this many columns besides the first.
fn separator(columns: usize) -> String {
    format!("|---{}|\n", "|---".repeat(columns))
}

fn nothing() -> String {
    "-".to_owned()
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn ranged(summary: Summary) -> String {
    let [median, min, max] = [summary.median, summary.min, summary.max].map(short);
    if min == max { median } else { format!("{median} ({min} to {max})") }
}

/// A number in three digits.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

/// The share of the cores that a quiet system uses.
const BUSY: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let pairs = [(0.0, "0"), (0.25, "0.25"), (12.34, "12.3"), (104.9, "105")];
        let large = [(9999.0, "9999"), (45_300.0, "45.3 k"), (20e6, "20 M"), (100.0, "100")];
        for (value, expected) in pairs.into_iter().chain(large) {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_range_is_shown_where_values_differ() {
        let summary = |median, min, max| ranged(Summary { median, min, max });
        assert_eq!(summary(2.0, 2.0, 2.0), "2");
        assert_eq!(summary(2.0, 1.5, 3000.0), "2 (1.5 to 3000)");
    }
}
