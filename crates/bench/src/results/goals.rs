//! What the proxy should reach: for each measure a goal and a limit, most of them compared with what
//! another program did in the same pass.

use serde::{Deserialize, Serialize};

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
    /// The release build.
    pub(crate) found: Option<Summary>,
    /// The build of `cargo xtask pgo`, where it was measured.
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
    Unknown,
}

impl GoalResult {
    /// The median decides.
    pub(crate) fn status(&self) -> GoalStatus {
        let Some(found) = self.found else { return GoalStatus::Unknown };
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

    pub(crate) fn goal_text(&self) -> String {
        self.bound_text(self.goal)
    }

    pub(crate) fn limit_text(&self) -> String {
        self.limit.map_or_else(|| "-".to_owned(), |limit| self.bound_text(limit))
    }

    fn bound_text(&self, bound: f64) -> String {
        let sign = if self.direction == Direction::AtLeast { "≥" } else { "≤" };
        format!("{sign} {bound}{}", self.unit)
    }
}

/// Compares the samples with every goal.
pub(crate) fn judge(samples: &Samples) -> Vec<GoalResult> {
    let judged = goals().into_iter().map(|goal| {
        let found = |build| goal.source.find(samples, build).map(Summary::rounded);
        // The Worker is neither build of the binary, and the other ratio is of one build.
        let is_binary = !matches!(goal.source, Source::WorkerRatio(_) | Source::GeminiApiRatio(_));
        GoalResult {
            what: goal.what,
            unit: goal.unit.to_owned(),
            direction: goal.direction,
            goal: goal.goal,
            limit: goal.limit,
            found: found(Contender::Proxy),
            found_pgo: is_binary.then(|| found(Contender::ProxyPgo)).flatten(),
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
}

/// Where the value of a goal is from.
enum Source {
    /// The measure itself.
    Own(&'static str),
    /// The measure as a multiple of another contender's.
    Ratio(&'static str, Contender),
    /// The measure with the Gemini API as upstream, as a multiple of that with Code Assist.
    GeminiApiRatio(&'static str),
    /// What is added to a direct client's latency, as a multiple of what nginx adds.
    AddedRatio(String),
    /// The Worker's cost as a multiple of the cost of the Worker that only forwards.
    WorkerRatio(&'static str),
}

impl Source {
    fn find(&self, samples: &Samples, build: Contender) -> Option<Summary> {
        let passes = |contender: Contender, measure| samples.passes(contender.key(), measure);
        match self {
            Self::Own(measure) => samples.summary(build.key(), measure),
            Self::Ratio(measure, other) => {
                Summary::ratio(passes(build, measure), passes(*other, measure))
            }
            Self::GeminiApiRatio(measure) => Summary::ratio(
                passes(Contender::ProxyGeminiApi, measure),
                passes(Contender::Proxy, measure),
            ),
            Self::AddedRatio(measure) => {
                let added = |contender: Contender| {
                    samples.added(contender.key(), Contender::Direct.key(), measure)
                };
                Summary::ratio(&added(build), &added(Contender::Nginx))
            }
            Self::WorkerRatio(measure) => {
                let passes = |worker: WorkerVariant| samples.passes(worker.key(), measure);
                Summary::ratio(passes(WorkerVariant::Proxy), passes(WorkerVariant::Forward))
            }
        }
    }
}

fn goals() -> Vec<Goal> {
    use Contender::{Haproxy, Nginx};
    use Source::{Own, Ratio, WorkerRatio};

    let at_most = |what: &str, unit, source, goal, limit| Goal {
        what: what.to_owned(),
        unit,
        source,
        direction: Direction::AtMost,
        goal,
        limit: Some(limit),
    };
    let at_least = |what: &str, unit, source, goal, limit| Goal {
        direction: Direction::AtLeast,
        ..at_most(what, unit, source, goal, limit)
    };
    let added = |what: &str, measure: &str, goal, limit| {
        at_most(what, "× nginx", Source::AddedRatio(measure.to_owned()), goal, limit)
    };
    let rate = "requests a second on one core";
    let mut goals = vec![
        at_least(rate, "× nginx", Ratio("rps_core", Nginx), 0.9, 0.6),
        at_least(rate, "× HAProxy", Ratio("rps_core", Haproxy), 1.25, 1.0),
        at_most("CPU a request", "× nginx", Ratio("cpu_us", Nginx), 1.3, 1.8),
        at_most(
            "CPU a request, Gemini API",
            "× Code Assist",
            Source::GeminiApiRatio("cpu_us"),
            1.0,
            1.05,
        ),
    ];
    for rate in RATES {
        for quantile in ["p50", "p99"] {
            let what = format!("added {quantile} at {rate} a second");
            goals.push(added(&what, &format!("open_{rate}_{quantile}"), 1.0, 1.6));
        }
    }
    let stream = "memory an open stream, at";
    let cold = "1,000 callers without a token, longest wait (for its endpoint alone 1 s)";
    let renewal = "renewal under load, longest answer (its endpoint takes 1,000 ms)";
    goals.extend([
        added("first byte of a stream, added p50", "first_p50", 1.1, 1.8),
        added("one event, added p50", "event_p50", 1.5, 4.0),
        added("one event, added p99", "event_p99", 1.5, 4.0),
        at_most("memory, idle", " MiB", Own("idle_mib"), 12.0, 20.0),
        at_most(&format!("{stream} 1,000"), " KiB", Own("open_1000_kib"), 36.0, 56.0),
        at_most(&format!("{stream} 5,000"), " KiB", Own("open_5000_kib"), 36.0, 56.0),
        at_most("errors with 5,000 open streams", "", Own("open_5000_errors"), 0.0, 0.0),
        Goal {
            limit: None,
            ..at_most(
                "one event, p99, with 5,000 open streams",
                "× nginx",
                Ratio("open_5000_event_p99", Nginx),
                2.0,
                2.0,
            )
        },
        at_most("a body of 20 MB, peak above idle", "× the body", Own("large_body_peak"), 2.2, 3.0),
        at_most("a body of 20 MB, time", "× nginx", Ratio("large_body_ms", Nginx), 2.0, 3.0),
        at_most(cold, " s", Own("cold_refresh_s"), 2.0, 2.0),
        at_most(renewal, " ms", Own("renewal_ms"), 500.0, 999.0),
        at_most("exec to first answer, stored token", " ms", Own("start_ms"), 50.0, 200.0),
        at_most(
            "the Worker, CPU a request in workerd",
            "× one that only forwards",
            WorkerRatio("unary_us"),
            1.5,
            2.5,
        ),
    ]);
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(direction: Direction, median: f64) -> GoalStatus {
        let (goal, limit) =
            if direction == Direction::AtLeast { (0.9, Some(0.6)) } else { (1.3, Some(1.8)) };
        let found = Some(Summary { median, min: median, max: median });
        let (what, unit) = Default::default();
        GoalResult { what, unit, direction, goal, limit, found, found_pgo: None }.status()
    }

    #[test]
    fn goals_are_judged_from_their_good_side() {
        assert_eq!(status(Direction::AtLeast, 0.9), GoalStatus::Met);
        assert_eq!(status(Direction::AtLeast, 0.7), GoalStatus::Near);
        assert_eq!(status(Direction::AtLeast, 0.5), GoalStatus::Missed);
        assert_eq!(status(Direction::AtMost, 1.0), GoalStatus::Met);
        assert_eq!(status(Direction::AtMost, 1.5), GoalStatus::Near);
        assert_eq!(status(Direction::AtMost, 2.0), GoalStatus::Missed);
    }

    #[test]
    fn a_goal_without_samples_is_not_called_met() {
        let judged = judge(&Samples::default());
        assert!(judged.iter().all(|goal| goal.status() == GoalStatus::Unknown));
    }
}
