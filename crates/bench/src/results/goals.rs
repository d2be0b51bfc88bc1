//! What the proxy should reach: for each measure a goal and a limit, most of them compared with what
//! another program did in the same pass.

use serde::{Deserialize, Serialize};

use super::reasons;
use super::samples::{Samples, Summary};
use super::worker::WorkerVariant;
use crate::rounds::RATES;
use crate::testbed::Contender;

/// A goal and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoalResult {
    pub(crate) what: String,
    /// What follows the number: `× nginx`, or a unit.
    pub(crate) unit: String,
    direction: Direction,
    goal: f64,
    /// A value beyond it is a missed goal; a value between goal and limit is near.
    limit: Option<f64>,
    /// The build of `cargo build --release`.
    pub(crate) found: Option<Summary>,
    /// The build with a profile, as it is installed, where it was measured.
    pub(crate) found_pgo: Option<Summary>,
}

/// On which side of a bound the good values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    AtLeast,
    AtMost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoalStatus {
    Met,
    /// The goal is missed, the limit is kept.
    Near,
    Missed,
}

impl GoalResult {
    /// Judges a value that was found. The median decides.
    pub(crate) fn status(&self, found: Summary) -> GoalStatus {
        let holds = |bound: f64| match self.direction {
            Direction::AtLeast => found.median >= bound,
            Direction::AtMost => found.median <= bound,
        };
        match (holds(self.goal), self.limit.is_none_or(holds)) {
            (true, _) => GoalStatus::Met,
            (false, true) => GoalStatus::Near,
            (false, false) => GoalStatus::Missed,
        }
    }

    /// Whether a build misses the goal.
    pub(crate) fn is_missed(&self) -> bool {
        let found = self.found.into_iter().chain(self.found_pgo);
        found.into_iter().any(|found| self.status(found) != GoalStatus::Met)
    }

    pub(crate) fn goal_text(&self) -> String {
        format!("{}{}", self.bound_text(self.goal), self.unit)
    }

    pub(crate) fn limit_text(&self) -> String {
        self.limit.map_or_else(|| "-".to_owned(), |limit| self.bound_text(limit))
    }

    /// The unit, if it names another program.
    pub(crate) fn compared_with(&self) -> String {
        match self.unit.strip_prefix('×') {
            Some(_) => format!(" {}", self.unit),
            None => String::new(),
        }
    }

    fn bound_text(&self, bound: f64) -> String {
        let sign = if self.direction == Direction::AtLeast { "≥" } else { "≤" };
        format!("{sign} {bound}")
    }
}

/// Why a goal is missed that may be missed, for the document.
pub(crate) fn reason(of: &GoalResult) -> Option<&'static str> {
    goals().into_iter().find(|goal| (&goal.what, goal.unit) == (&of.what, &of.unit))?.reason
}

/// Compares the samples with every goal.
pub(crate) fn judge(samples: &Samples) -> Vec<GoalResult> {
    let judged = goals().into_iter().map(|goal| {
        let found = |build| goal.source.find(samples, build).map(Summary::rounded);
        GoalResult {
            what: goal.what,
            unit: goal.unit.to_owned(),
            direction: goal.direction,
            goal: goal.goal,
            limit: goal.limit,
            found: found(Contender::Proxy),
            found_pgo: found(Contender::ProxyPgo),
        }
    });
    judged.collect()
}

struct Goal {
    what: String,
    unit: &'static str,
    source: Source,
    direction: Direction,
    goal: f64,
    limit: Option<f64>,
    reason: Option<&'static str>,
}

/// Where the value of a goal is from.
enum Source {
    /// The measure itself.
    Own(&'static str),
    /// The measure as a multiple of another contender's.
    Ratio(&'static str, Contender),
    /// The measure of one configuration of the release build, as a multiple of another contender's.
    RatioOf(Contender, &'static str, Contender),
    /// What is added to a direct client's latency, as a multiple of what HAProxy adds.
    AddedRatio(String),
    /// The Worker's cost as a multiple of the cost of the Worker that only forwards.
    WorkerRatio(&'static str),
}

impl Source {
    /// The value of one build. What is no build of the binary is found once, with the release build.
    fn find(&self, samples: &Samples, build: Contender) -> Option<Summary> {
        let passes = |contender: Contender, measure| samples.passes(contender.key(), measure);
        match self {
            Self::Own(measure) => samples.summary(build.key(), measure),
            Self::Ratio(measure, other) => {
                Summary::ratio(passes(build, measure), passes(*other, measure))
            }
            Self::AddedRatio(measure) => {
                let added = |contender: Contender| {
                    samples.added(contender.key(), Contender::Direct.key(), measure)
                };
                Summary::ratio(&added(build), &added(Contender::Haproxy))
            }
            Self::RatioOf(..) | Self::WorkerRatio(_) if build != Contender::Proxy => None,
            Self::RatioOf(contender, measure, other) => {
                Summary::ratio(passes(*contender, measure), passes(*other, measure))
            }
            Self::WorkerRatio(measure) => {
                let passes = |worker: WorkerVariant| samples.passes(worker.key(), measure);
                Summary::ratio(passes(WorkerVariant::Proxy), passes(WorkerVariant::Forward))
            }
        }
    }
}

fn goals() -> Vec<Goal> {
    [speed(), latency(), memory(), tokens_and_start(), dialects_and_worker()]
        .into_iter()
        .flatten()
        .collect()
}

fn speed() -> Vec<Goal> {
    use Contender::{Envoy, Forwarder, Haproxy, Nginx, VllmRouter};
    use Source::{Own, Ratio};

    let rate = "requests a second on one core";
    let cpu = "CPU a request";
    vec![
        at_least(rate, "× nginx", Ratio("rps_core", Nginx), 0.9).limit(0.65).reason(reasons::NGINX),
        at_least(rate, "× HAProxy", Ratio("rps_core", Haproxy), 1.0)
            .limit(0.85)
            .reason(reasons::HAPROXY),
        at_least(rate, "× Envoy", Ratio("rps_core", Envoy), 1.6).limit(1.3),
        at_least(rate, "× an LLM gateway", Ratio("rps_core", VllmRouter), 2.0),
        at_most(cpu, "× nginx", Ratio("cpu_us", Nginx), 1.3).limit(1.6).reason(reasons::NGINX),
        at_most(cpu, "× hyper and h2 alone", Ratio("cpu_us", Forwarder), 1.15)
            .reason(reasons::PRODUCT),
        at_most("clock reads a request, counted", "", Own("clock_reads"), 6.0).limit(10.0),
        at_most("allocations a request, counted", "", Own("allocations"), 25.0).limit(35.0),
    ]
}

fn latency() -> Vec<Goal> {
    let added = |what: &str, measure: &str, limit| {
        at_most(what, "× HAProxy", Source::AddedRatio(measure.to_owned()), 1.0)
            .limit(limit)
            .reason(reasons::ADDED)
    };
    let mut goals = Vec::new();
    for rate in RATES {
        for quantile in ["p50", "p99"] {
            let what = format!("added {quantile} at {rate} a second");
            goals.push(added(&what, &format!("open_{rate}_{quantile}"), 1.3));
        }
    }
    goals.extend([
        added("first byte of a stream, added p50", "first_p50", 1.3).reason(reasons::FIRST_BYTE),
        added("one event, added p50", "event_p50", 1.5),
        added("one event, added p99", "event_p99", 1.5),
    ]);
    goals
}

fn memory() -> Vec<Goal> {
    use Contender::Nginx;
    use Source::{Own, Ratio};

    let stream = |streams| format!("memory an open stream, at {streams}");
    let many = "one event, p99, with 5,000 open streams";
    let peak = "a body of 20 MB, peak above idle";
    vec![
        at_most("memory, idle", " MiB", Own("idle_mib"), 10.0).limit(14.0).reason(reasons::IDLE),
        at_most(&stream("1,000"), " KiB", Own("open_1000_kib"), 20.0)
            .limit(28.0)
            .reason(reasons::STREAM),
        at_most(&stream("5,000"), " KiB", Own("open_5000_kib"), 20.0)
            .limit(28.0)
            .reason(reasons::STREAM),
        at_most("errors with 5,000 open streams", "", Own("open_5000_errors"), 0.0).limit(0.0),
        at_most(many, "× nginx", Ratio("open_5000_event_p99", Nginx), 2.0).reason(reasons::MANY),
        at_most(peak, "× the body", Own("large_body_peak"), 1.1).limit(1.5),
        at_most("a body of 20 MB, time", "× nginx", Ratio("large_body_ms", Nginx), 1.5)
            .limit(1.5)
            .reason(reasons::LARGE_BODY),
    ]
}

fn tokens_and_start() -> Vec<Goal> {
    use Source::Own;

    let cold = "1,000 callers without a token, longest wait (for its endpoint alone 1 s)";
    let renewal = "renewal under load, longest answer (its endpoint takes 1,000 ms)";
    vec![
        at_most(cold, " s", Own("cold_refresh_s"), 2.0).limit(2.0),
        at_most(renewal, " ms", Own("renewal_ms"), 500.0).limit(999.0),
        at_most("exec to first answer, stored token", " ms", Own("start_ms"), 20.0).limit(50.0),
    ]
}

fn dialects_and_worker() -> Vec<Goal> {
    use Contender::{Proxy, ProxyAnthropic, ProxyOpenaiChat, ProxyOpenaiResponses, VllmRouter};
    use Source::{RatioOf, WorkerRatio};

    let dialect = |name: &str, contender| {
        let what = format!("CPU a request, {name}");
        at_most(&what, "× Gemini", RatioOf(contender, "cpu_us", Proxy), 1.5)
            .limit(2.0)
            .reason(reasons::DIALECT)
    };
    vec![
        dialect("OpenAI Chat Completions", ProxyOpenaiChat),
        dialect("OpenAI Responses", ProxyOpenaiResponses),
        dialect("Anthropic Messages", ProxyAnthropic),
        at_most(
            "CPU a request, OpenAI Chat Completions",
            "× an LLM gateway",
            RatioOf(ProxyOpenaiChat, "cpu_us", VllmRouter),
            0.5,
        )
        .reason(reasons::GATEWAY),
        at_most(
            "the Worker, CPU a request in workerd",
            "× one that only forwards",
            WorkerRatio("unary_us"),
            1.5,
        )
        .limit(2.3)
        .reason(reasons::WORKER),
    ]
}

fn at_most(what: &str, unit: &'static str, source: Source, goal: f64) -> Goal {
    let what = what.to_owned();
    Goal { what, unit, source, direction: Direction::AtMost, goal, limit: None, reason: None }
}

fn at_least(what: &str, unit: &'static str, source: Source, goal: f64) -> Goal {
    Goal { direction: Direction::AtLeast, ..at_most(what, unit, source, goal) }
}

impl Goal {
    /// The value that must not be missed.
    fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// What the document says, should the goal be missed.
    fn reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn goal(direction: Direction) -> GoalResult {
        let (goal, limit) =
            if direction == Direction::AtLeast { (0.9, Some(0.6)) } else { (1.3, Some(1.8)) };
        let (what, unit) = Default::default();
        GoalResult { what, unit, direction, goal, limit, found: None, found_pgo: None }
    }

    fn value(median: f64) -> Summary {
        Summary { median, min: median, max: median }
    }

    #[test]
    fn goals_are_judged_from_their_good_side() {
        let status = |direction, median| goal(direction).status(value(median));
        assert_eq!(status(Direction::AtLeast, 0.9), GoalStatus::Met);
        assert_eq!(status(Direction::AtLeast, 0.7), GoalStatus::Near);
        assert_eq!(status(Direction::AtLeast, 0.5), GoalStatus::Missed);
        assert_eq!(status(Direction::AtMost, 1.0), GoalStatus::Met);
        assert_eq!(status(Direction::AtMost, 1.5), GoalStatus::Near);
        assert_eq!(status(Direction::AtMost, 2.0), GoalStatus::Missed);
    }

    #[test]
    fn a_goal_is_missed_if_either_build_misses_it() {
        let missed = |found, found_pgo| {
            GoalResult { found, found_pgo, ..goal(Direction::AtMost) }.is_missed()
        };
        assert!(!missed(None, None) && !missed(Some(value(1.0)), Some(value(1.3))));
        assert!(missed(Some(value(1.4)), Some(value(1.0))));
        assert!(missed(Some(value(1.0)), Some(value(9.0))));
    }

    #[test]
    fn a_goal_without_samples_has_no_value() {
        let judged = judge(&Samples::default());
        assert!(judged.iter().all(|goal| goal.found.is_none() && goal.found_pgo.is_none()));
    }

    #[test]
    fn no_two_goals_have_the_same_name_and_unit() {
        let mut names: Vec<_> = goals().into_iter().map(|goal| (goal.what, goal.unit)).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_dialect_and_the_worker_are_judged_once() {
        let mut samples = Samples::default();
        for (contender, cpu) in [("proxy", 20.0), ("proxy-pgo", 16.0), ("proxy-anthropic", 30.0)] {
            samples.put(0, contender, "cpu_us", cpu);
        }
        let judged = judge(&samples);
        let anthropic = judged.iter().find(|goal| goal.what.ends_with("Anthropic Messages"));
        let anthropic = anthropic.unwrap();
        assert_eq!((anthropic.found, anthropic.found_pgo), (Some(value(1.5)), None));
    }
}
