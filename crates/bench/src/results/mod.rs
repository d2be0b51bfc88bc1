//! `docs/BENCHMARKS.md` and its pictures, written from what a run has found.

pub(crate) mod goals;
pub(crate) mod samples;
pub(crate) mod worker;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::BenchError;
use crate::results::goals::{Goal, GoalStatus, goals};
use crate::results::samples::Summary;
use crate::results::worker::WorkerVariant;
use crate::rounds::growth::Curve;
use crate::rounds::{Findings, OPEN_STREAMS, RATES};
use crate::svg::{Axis, Bars, Plot, short};
use crate::testbed::Contender;

/// Writes the document and the pictures into `docs`.
pub(crate) fn write(findings: &Findings, docs: &Path, notes: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(docs)?;
    for (name, picture) in pictures(findings) {
        fs::write(docs.join(name), picture)?;
    }
    let notes = fs::read_to_string(notes)?;
    Ok(fs::write(docs.join("BENCHMARKS.md"), text(findings, &notes))?)
}

/// Puts the few figures that a reader of the README wants between its two marks.
pub(crate) fn write_brief(findings: &Findings, readme: &Path) -> Result<(), BenchError> {
    let text = fs::read_to_string(readme)?;
    let marked = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{}{END}{after}", brief(findings)))
    });
    let marked = marked.ok_or_else(|| {
        BenchError(format!("{}: there is no {BEGIN} with its {END}", readme.display()))
    })?;
    Ok(fs::write(readme, marked)?)
}

/// The tables as text, for the terminal too.
pub(crate) fn tables(findings: &Findings) -> String {
    let busy = findings.machine.busy * 100.0;
    let (goals, speed, memory) = (against_goals(findings), speed(findings), memory(findings));
    format!("{goals}\n{speed}\n{memory}\nUsed by others before or after the run: {busy:.0} %")
}

fn text(findings: &Findings, notes: &str) -> String {
    let machine = &findings.machine;
    let scale = &findings.scale;
    let mut out = String::new();
    let _ = write!(
        out,
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`; do not edit. This run: {}, commit {}, {} round{} in {:.0} \
         minutes{}, on {} with {} core{}, {:.0} GiB of memory, Linux {}. Programs: {}.\n\n",
        machine.date,
        machine.commit,
        scale.rounds,
        if scale.rounds == 1 { "" } else { "s" },
        findings.minutes,
        if scale.quick { " (`--quick`: a smoke test, its figures mean nothing)" } else { "" },
        machine.processor,
        machine.cores,
        if machine.cores == 1 { "" } else { "s" },
        machine.memory_gib,
        machine.kernel,
        machine.programs.join("; "),
    );
    if machine.busy > BUSY {
        let _ = write!(
            out,
            "> **These samples are noise**: before or after the run, somebody else was using {:.0} % of \
             the machine.\n\n",
            machine.busy * 100.0
        );
    }
    let _ = write!(
        out,
        "```sh\ncargo xtask bench              # all of this, three rounds, well over half an hour\n\
         cargo xtask bench --quick      # does everything work? about two minutes\n\
         cargo xtask bench --rounds 5\n```\n\n\
         **Absolute samples move by tens of percent from run to run and from machine to machine. Only \
         ratios of samples from the same run count**, above all against nginx as a plain reverse \
         proxy, which does none of our work. Every figure is the median of the rounds, with the \
         least and the most in brackets where there are several.\n\n\
         ![Requests a second and memory at rest, next to others](benchmark.svg)\n\n"
    );
    out += "## Against the goals\n\n";
    out += "The proxy with every feature at its default, HTTP/2 with TLS to upstream, on one core. \
            *near*: the goal is missed, the bound that must not be missed is not. Judged is the binary \
            of `cargo build --release`; the last column is that of `cargo xtask pgo`.\n\n";
    out += &against_goals(findings);
    out += "\n## Speed\n\nAdded is over talking to upstream directly, in the same round; \
            microseconds.\n\n";
    out += &speed(findings);
    out += "\nTLS and HTTP/2 cost upstream too, and a client that speaks them itself. Over that, \
            microseconds are added by:\n\n";
    out += &over_tls(findings);
    out += "\n## The Worker\n\nProcessor time of a whole workerd process, warm, in turns.\n\n";
    out += &at_the_edge(findings);
    out += "\n## Streams and memory\n\n";
    out += &memory(findings);
    let own = |measure: &str| findings.samples.middle(Contender::Proxy.key(), measure);
    if let Some(size) = own("binary_mib") {
        let _ =
            write!(out, "\nThe binary has {:.1} MiB, lines for backtraces included", size.median);
        if let Some(loaded) = own("loaded_mib") {
            let _ = write!(out, ", of which {:.1} MiB are code and data", loaded.median);
        }
        out.push('.');
    }
    if let (Some(cold), Some(living)) = (own("cold_refresh_tokens"), own("living_refresh_tokens")) {
        let _ = write!(
            out,
            " A thousand callers without a token led to {} refresh{}; nine seconds with tokens \
             that come of age after six to {}.",
            cold.median,
            if cold.median == 1.0 { "" } else { "es" },
            living.median,
        );
    }
    out += "\n\n## How cost grows\n\n";
    out += &growth(findings);
    out.push('\n');
    for (name, words) in GROWTH {
        let _ = writeln!(out, "![{words}]({name})\n");
    }
    out += METHOD;
    out += "\n## What was tried\n\n";
    out += notes;
    if !findings.problems.is_empty() {
        out += "\n## What went wrong in this run\n\n";
        for trouble in &findings.problems {
            let _ = writeln!(out, "- {trouble}");
        }
    }
    out
}

fn brief(findings: &Findings) -> String {
    let mut out = "| | requests/s on one core | CPU µs a request | added at 200/s, p50 µs | idle, MiB | KiB an open stream |\n\
                   |---|---|---|---|---|---|\n"
        .to_owned();
    let shown = [Contender::Proxy, Contender::ProxyPgo];
    let shown = shown.into_iter().chain([Contender::Nginx, Contender::Haproxy, Contender::Litellm]);
    for contender in shown {
        let own = |measure: &str| findings.samples.middle(contender.key(), measure);
        let added =
            findings.samples.added(contender.key(), Contender::Direct.key(), "open_200_p50");
        let fullest = OPEN_STREAMS.iter().rev();
        let cells = [
            own("rps_core"),
            own("cpu_us"),
            Summary::of(added.into_iter().flatten()),
            own("idle_mib"),
            fullest.filter_map(|streams| own(&format!("open_{streams}_kib"))).next(),
        ];
        let _ = write!(out, "| {} |", contender.title());
        for cell in cells {
            let _ = write!(out, " {} |", cell.map_or_else(nothing, |cell| short(cell.median)));
        }
        out.push('\n');
    }
    let machine = &findings.machine;
    let _ = write!(
        out,
        "\nMedians of the run of {} on {} ([all of it](docs/BENCHMARKS.md)).\n",
        machine.date, machine.processor
    );
    out
}

fn against_goals(findings: &Findings) -> String {
    let mut out =
        "| | found | goal | must not miss | | with a profile |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let [plain, profiled] =
        [Contender::Proxy, Contender::ProxyPgo].map(|build| goals(&findings.samples, build));
    let row = |(goal, profiled): (&Goal, &Goal)| {
        let verdict = match goal.verdict() {
            GoalStatus::Met => "met",
            GoalStatus::Missed => "**missed**",
            GoalStatus::Near => "near",
            GoalStatus::Unknown => "not measured",
        };
        let found = |goal: &Goal| goal.found.map_or_else(nothing, |it| spread(it) + goal.unit);
        // What is of the Worker is of neither build.
        let profiled = if profiled.found == goal.found { nothing() } else { found(profiled) };
        let (what, found) = (&goal.what, found(goal));
        let (wanted, must) = (goal.goal(), goal.must());
        format!("| {what} | {found} | {wanted} | {must} | {verdict} | {profiled} |\n")
    };
    out.extend(plain.iter().zip(&profiled).map(row));
    out
}

/// What is added to the way that a client without a proxy goes, TLS included.
fn over_tls(findings: &Findings) -> String {
    let mut out = "| |".to_owned();
    for rate in RATES {
        let _ = write!(out, " {rate}/s: p50 | p99 |");
    }
    out += " first byte: p50 | event: p50 | p99 |\n|---";
    out += &"|---".repeat(RATES.len() * 2 + 3);
    out += "|\n";
    let measures =
        RATES.iter().flat_map(|rate| ["p50", "p99"].map(|at| format!("open_{rate}_{at}")));
    let measures: Vec<_> =
        measures.chain(["first_p50", "event_p50", "event_p99"].map(str::to_owned)).collect();
    let base = Contender::DirectTls.key();
    for contender in [Contender::Proxy, Contender::ProxyPgo, Contender::Haproxy] {
        let cells: Vec<_> = measures
            .iter()
            .map(|measure| findings.samples.added(contender.key(), base, measure))
            .map(|added| Summary::of(added.into_iter().flatten()))
            .collect();
        row(&mut out, contender, &cells);
    }
    out
}

/// The Worker next to others of its kind.
fn at_the_edge(findings: &Findings) -> String {
    let mut out =
        "| | start to first answer, ms | CPU µs a request | ratio | CPU µs a stream of 20 \
                   events | ratio |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let rounds =
        |edge: WorkerVariant, measure: &str| findings.samples.rounds(edge.key(), measure).to_vec();
    for edge in WorkerVariant::ALL {
        let own = |measure: &str| findings.samples.middle(edge.key(), measure);
        let ratio = |measure: &str| {
            Summary::ratio(&rounds(edge, measure), &rounds(WorkerVariant::Forward, measure))
        };
        let cells = [
            own("first_ms"),
            own("unary_us"),
            ratio("unary_us"),
            own("stream_us"),
            ratio("stream_us"),
        ];
        let _ = write!(out, "| {} |", edge.title());
        for cell in cells {
            let _ = write!(out, " {} |", cell.map_or_else(nothing, spread));
        }
        out.push('\n');
    }
    let size = |measure: &str| findings.samples.middle(WorkerVariant::Ours.key(), measure);
    if let (Some(raw), Some(packed)) = (size("wasm_bytes"), size("wasm_gzip_bytes")) {
        let [raw, packed] = [raw, packed].map(|bytes| bytes.median / 1024.0);
        let _ = write!(out, "\nIts WebAssembly has {raw:.0} KiB, {packed:.0} KiB compressed.\n");
    }
    out
}

fn speed(findings: &Findings) -> String {
    let mut out = "| |".to_owned();
    for rate in RATES {
        let _ = write!(out, " added at {rate}/s: p50 | p99 | p99.9 |");
    }
    out += " requests/s | core used | requests/s of a whole core | CPU µs a request | first byte added: p50 | event added: p50 | p99 |\n|---";
    out += &"|---".repeat(RATES.len() * 3 + 7);
    out += "|\n";
    let direct = Contender::Direct.key();
    for contender in Contender::ALL {
        let mut cells = Vec::new();
        let added = |measure: &str| {
            let values = findings.samples.added(contender.key(), direct, measure);
            Summary::of(values.into_iter().flatten())
        };
        // Nobody adds nothing: there, the whole is shown.
        let over = |measure: &str| match contender {
            Contender::Direct | Contender::DirectTls => {
                findings.samples.middle(contender.key(), measure)
            }
            _ => added(measure),
        };
        for rate in RATES {
            cells.extend(["p50", "p99", "p999"].map(|at| over(&format!("open_{rate}_{at}"))));
        }
        let own = |measure: &str| findings.samples.middle(contender.key(), measure);
        cells.extend([own("rps"), own("core_used"), own("rps_core"), own("cpu_us")]);
        cells.extend([over("first_p50"), over("event_p50"), over("event_p99")]);
        row(&mut out, contender, &cells);
    }
    out += "\nThe first two rows are not added but all there is. Where less than 0.95 of the core was used, \
            the load was the limit (or somebody else was on the core), and the rate of a whole core is \
            what was measured, divided by the share that was used.\n";
    out
}

fn memory(findings: &Findings) -> String {
    let mut out = "| | idle, MiB |".to_owned();
    for streams in OPEN_STREAMS {
        let _ = write!(out, " KiB a stream at {streams} |");
    }
    out +=
        " event p99 at 5,000, ms | errors | MiB after | 20 MB body, ms | its peak, × body |\n|---";
    out += &"|---".repeat(OPEN_STREAMS.len() + 6);
    out += "|\n";
    for contender in Contender::ALL {
        if contender.is_direct() {
            continue;
        }
        let own = |measure: &str| findings.samples.middle(contender.key(), measure);
        let mut cells = vec![own("idle_mib")];
        cells.extend(OPEN_STREAMS.map(|streams| own(&format!("open_{streams}_kib"))));
        cells.push(own("open_5000_event_p99").map(|micros| micros.times(1e-3)));
        cells.extend(["open_errors", "after_mib", "large_body_ms", "large_body_peak"].map(own));
        row(&mut out, contender, &cells);
    }
    out
}

/// What the curves say in numbers: how many times the cost for how many times the cause.
fn growth(findings: &Findings) -> String {
    let growth = &findings.growth;
    let mut out = "| | from | to | cause | cost: code-assist-proxy | cost: nginx | should be |\n\
                   |---|---|---|---|---|---|---|\n"
        .to_owned();
    let rows = [
        ("CPU a request, by bytes of its body", &growth.body, 1e6, "as the cause"),
        ("CPU a stream, by its events", &growth.events, 1e2, "as the cause"),
        ("CPU a request, by thousands served before", &growth.uptime, 0.001, "× 1"),
        ("memory, by thousands served before", &growth.resident, 0.001, "× 1"),
        ("CPU an event, by open streams", &growth.streams, 0.0, "× 1, and less for batches"),
    ];
    for (what, curves, from, wanted) in rows {
        let times = |contender: Contender| {
            let curve = curves.iter().find(|curve| curve.contender == contender.key())?;
            curve.times(from)
        };
        let Some(((first, last), ours)) = times(Contender::Proxy) else {
            let _ = writeln!(out, "| {what} | - | - | - | not measured | - | {wanted} |");
            continue;
        };
        let nginx =
            times(Contender::Nginx).map_or_else(nothing, |(_, times)| format!("× {times:.2}"));
        let _ = writeln!(
            out,
            "| {what} | {} | {} | × {} | × {ours:.2} | {nginx} | {wanted} |",
            short(first),
            short(last),
            short(last / first),
        );
    }
    out
}

fn row(out: &mut String, contender: Contender, cells: &[Option<Summary>]) {
    if cells.iter().all(Option::is_none) {
        let _ = writeln!(out, "| {} |{}", contender.title(), " not there |".repeat(cells.len()));
        return;
    }
    let _ = write!(out, "| {} |", contender.title());
    for cell in cells {
        let _ = write!(out, " {} |", cell.map_or_else(nothing, spread));
    }
    out.push('\n');
}

fn nothing() -> String {
    "-".to_owned()
}

fn spread(middle: Summary) -> String {
    let [median, least, most] = [middle.median, middle.least, middle.most].map(short);
    if least == most { median } else { format!("{median} ({least} to {most})") }
}

fn pictures(findings: &Findings) -> Vec<(&'static str, String)> {
    let growth = &findings.growth;
    let [body, events, uptime, streams] = GROWTH.map(|(name, _)| name);
    let (log, even) = (true, false);
    let mut pictures = vec![
        plot(
            body,
            "CPU a request by size of its body",
            ("bytes of the body", log),
            ("CPU µs a request", log),
            &growth.body,
        ),
        plot(
            events,
            "CPU a stream by its events",
            ("events of the stream", log),
            ("CPU µs a stream", log),
            &growth.events,
        ),
        plot(
            uptime,
            "CPU a request by requests served before",
            ("thousands of requests served before", even),
            ("CPU µs a request", even),
            &growth.uptime,
        ),
        plot(
            streams,
            "CPU an event by open streams",
            ("open streams, one event a second each", log),
            ("CPU µs an event", even),
            &growth.streams,
        ),
    ];
    let shown = [
        (Contender::Proxy, "code-assist-proxy"),
        (Contender::ProxyPgo, "the same, with a profile"),
        (Contender::Nginx, "nginx, plain"),
        (Contender::Haproxy, "HAProxy, HTTP/2 + TLS"),
        (Contender::Worker, "a forwarding JS Worker"),
        (Contender::Litellm, "LiteLLM"),
    ];
    let values = |measure: &str| {
        let value = |contender: Contender| findings.samples.middle(contender.key(), measure);
        shown.map(|(contender, _)| value(contender).map(|middle| middle.median)).to_vec()
    };
    let bars = Bars {
        title: "One core, 2 KiB answers: more is better on the left, less on the right",
        ours: 2,
        names: shown.map(|(_, name)| name.to_owned()).to_vec(),
        groups: vec![
            ("requests a second", values("rps_core")),
            ("memory at rest, MiB", values("idle_mib")),
        ],
    };
    pictures.push(("benchmark.svg", bars.draw()));
    pictures
}

fn plot(
    name: &'static str,
    title: &str,
    across: (&str, bool),
    up: (&str, bool),
    curves: &[Curve],
) -> (&'static str, String) {
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let axis = |log: bool, values: Vec<f64>| match log {
        true => Axis::powers(values.into_iter()),
        false => Axis::even(values.into_iter()),
    };
    let across_axis = axis(across.1, points().map(|point| point.0).collect());
    let up_axis = axis(up.1, points().map(|point| point.1).collect());
    let name_of = |curve: &Curve| match curve.contender.as_str() {
        "ours" => "code-assist-proxy".to_owned(),
        other => other.to_owned(),
    };
    let lines = curves.iter().map(|curve| (name_of(curve), curve.points.clone())).collect();
    let plot = Plot { title, across: (across.0, across_axis), up: (up.0, up_axis), lines };
    (name, plot.draw())
}

/// The growth pictures and what they show.
const GROWTH: [(&str, &str); 4] = [
    ("growth-body.svg", "CPU a request by size of its body"),
    ("growth-events.svg", "CPU a stream by its events"),
    ("growth-uptime.svg", "CPU a request by requests served before"),
    ("growth-streams.svg", "CPU an event by open streams"),
];

/// Between these the README has its figures.
const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// As much of the machine as a quiet system uses.
const BUSY: f64 = 0.1;

const METHOD: &str = "\
## How it is measured

- **The bed.** Driver and upstream share the last core, each contender has the first one for itself
  (`taskset`), with as many threads as it chooses to start there. All is loopback. The contenders of a
  round are all up while each load goes to one after the other; the Worker and LiteLLM, whose
  runtimes are busy when idle, come by themselves. Memory, large bodies and starts have a fresh
  process each. Loads come in short passes, three a round, each contender after the other, and each
  turn has a value of its own: a machine's speed changes from one minute to the next.
- **Upstream** is a part of `crates/bench`. It answers 2 KiB at once, or events at an interval, over
  HTTP/1.1, and over HTTP/2 with TLS and 100 streams a connection. It checks nothing: the emulator,
  which does, would be the slowest part.
- **The proxy** runs as `serve` does: a store in a file, a refresh token, one log line a request
  (written to nowhere), all features at their defaults; only for open streams is
  `MAX_CONCURRENT_REQUESTS` raised. Clients speak the Gemini API to it over HTTP/1.1 without TLS.
- **nginx**: `access_log off`, connections to upstream kept, buffering off in both directions, one
  worker. **HAProxy**: one thread, `http-reuse always`, certificate verified. **The Worker**: one
  line of JavaScript on workerd. These translate nothing and are given Code Assist's own bodies and
  answers, so that the same bytes go to upstream. **LiteLLM**: its pass-through for Gemini, one
  worker process. The configurations are in `crates/bench/references`.
- **Added latency.** Open loop: each request has a moment at which it is due (a timer in
  nanoseconds), over 64 kept connections, and its latency counts from that moment, whenever it was
  sent: a stall is felt by all that were due meanwhile. Bodies of 1 KiB. From each percentile that of
  talking to upstream directly, in the same round, is taken away. A rate above 0.8 of what a contender
  can do is left out.
- **Requests a second.** Closed loop, 64 connections. That as many requests came out as went in is
  checked at upstream.
- **CPU** is what the kernel has charged to all threads of the contender (`schedstat`) during the
  closed loop, divided by requests. Work on the loopback device is charged to whoever sends.
- **Streams.** 30 new ones a second with 20 events each, 50 ms apart. First byte: from the last byte
  of the request to the first of the body. Upstream writes its clock into each event (monotonic, the
  same for all processes), the driver takes the difference when it has read it.
- **Memory** is `VmRSS` of all the contender's processes; pages that they share count for each. Open
  streams have an event a second; a stream's share is what they all have added to the idle process,
  its connections on both sides included. *After* is some seconds after the last stream has ended.
- **A body of 20 MB**: three requests, one after the other, on fresh connections; median of the
  times, highest `VmHWM` above idle.
- **Start**: from starting `taskset` with the proxy to the first whole answer, asked for every
  200 µs, with a token in the store; median of ten.
- **Refresh**: cold, 1,000 connections ask at once, and the token endpoint answers a second later.
  Under load, 500 requests a second while tokens come of age after six seconds and each renewal takes
  1 s: had a request waited for one, it would have taken up to that long.

## What is not comparable

- p99.9 of a few thousand requests is a handful of requests; on a shared machine it shows the
  neighbours.
- nginx and HAProxy do no work on bodies, know nothing of tokens, and log nothing here. Ours to
  HTTP/1.1 upstream is the fairer neighbour of nginx, ours to HTTP/2 + TLS of HAProxy; the goals ask
  more than that on purpose.
- The Worker and LiteLLM run on runtimes with a garbage collector: their memory after a load is not
  a leak, and their first seconds are slower than their hours.
- LiteLLM is tried with 100 open streams and the Worker with 1,000; more fails or takes minutes.
- Loopback has no loss and no distance. What is added here is added to tens of milliseconds there.
";
