//! What the figures shall be: a goal to reach and a bound that must not be missed, each compared
//! with what others did in the same round.

use crate::results::samples::{Samples, Summary};
use crate::results::worker::WorkerVariant;
use crate::rounds::RATES;
use crate::testbed::Contender;

/// One thing that was promised.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    /// How it is told: `×` nginx's, or a unit.
    pub(crate) unit: &'static str,
    pub(crate) found: Option<Summary>,
    bound: Direction,
    goal: f64,
    must: f64,
}

/// On which side of a bound the good values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    AtLeast,
    AtMost,
}

/// How a goal was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoalStatus {
    Met,
    /// Not the goal, but what must not be missed.
    Near,
    Missed,
    Unknown,
}

impl Goal {
    /// Judged by the median.
    pub(crate) fn verdict(&self) -> GoalStatus {
        let Some(found) = self.found else { return GoalStatus::Unknown };
        let holds = |bound: f64| match self.bound {
            Direction::AtLeast => found.median >= bound,
            Direction::AtMost => found.median <= bound,
        };
        match (holds(self.goal), holds(self.must)) {
            (true, _) => GoalStatus::Met,
            (false, true) => GoalStatus::Near,
            (false, false) => GoalStatus::Missed,
        }
    }

    pub(crate) fn goal(&self) -> String {
        self.side(self.goal)
    }

    pub(crate) fn must(&self) -> String {
        self.side(self.must)
    }

    fn side(&self, bound: f64) -> String {
        if bound.is_infinite() {
            return "-".to_owned();
        }
        let sign = if self.bound == Direction::AtLeast { "≥" } else { "≤" };
        format!("{sign} {bound}{}", self.unit)
    }
}

/// All goals, for one of the builds of the proxy as it speaks to Google.
pub(crate) fn goals(samples: &Samples, build: Contender) -> Vec<Goal> {
    let (ours, nginx) = (build.key(), Contender::Nginx.key());
    let (haproxy, direct) = (Contender::Haproxy.key(), Contender::Direct.key());
    let ratio = |measure: &str, other: &str| {
        Summary::ratio(samples.rounds(ours, measure), samples.rounds(other, measure))
    };
    let added = |measure: &str| {
        Summary::ratio(
            &samples.added(ours, direct, measure),
            &samples.added(nginx, direct, measure),
        )
    };
    let own = |measure: &str| samples.middle(ours, measure);
    let edge = |measure: &str| {
        let rounds = |edge: WorkerVariant| samples.rounds(edge.key(), measure);
        Summary::ratio(rounds(WorkerVariant::Ours), rounds(WorkerVariant::Forward))
    };
    let goal = |what: &str, unit, found, bound, goal, must| Goal {
        what: what.to_owned(),
        unit,
        found,
        bound,
        goal,
        must,
    };
    let mut goals = vec![
        goal(
            "requests a second on one core",
            "× nginx",
            ratio("rps_core", nginx),
            Direction::AtLeast,
            0.9,
            0.6,
        ),
        goal(
            "requests a second on one core",
            "× HAProxy",
            ratio("rps_core", haproxy),
            Direction::AtLeast,
            1.25,
            1.0,
        ),
        goal("CPU a request", "× nginx", ratio("cpu_us", nginx), Direction::AtMost, 1.3, 1.8),
    ];
    for rate in RATES {
        for quantile in ["p50", "p99"] {
            let found = added(&format!("open_{rate}_{quantile}"));
            let what = format!("added {quantile} at {rate} a second");
            goals.push(goal(&what, "× nginx", found, Direction::AtMost, 1.0, 1.6));
        }
    }
    goals.extend([
        goal(
            "first byte of a stream, added p50",
            "× nginx",
            added("first_p50"),
            Direction::AtMost,
            1.1,
            1.8,
        ),
        goal("one event, added p50", "× nginx", added("event_p50"), Direction::AtMost, 1.5, 4.0),
        goal("one event, added p99", "× nginx", added("event_p99"), Direction::AtMost, 1.5, 4.0),
        goal("memory, idle", " MiB", own("idle_mib"), Direction::AtMost, 12.0, 20.0),
        goal(
            "memory an open stream, at 1,000",
            " KiB",
            own("open_1000_kib"),
            Direction::AtMost,
            36.0,
            56.0,
        ),
        goal(
            "memory an open stream, at 5,000",
            " KiB",
            own("open_5000_kib"),
            Direction::AtMost,
            36.0,
            56.0,
        ),
        goal(
            "errors with 5,000 open streams",
            "",
            own("open_5000_errors"),
            Direction::AtMost,
            0.0,
            0.0,
        ),
        goal(
            "one event, p99, with 5,000 open streams",
            "× nginx",
            ratio("open_5000_event_p99", nginx),
            Direction::AtMost,
            2.0,
            f64::INFINITY,
        ),
        goal(
            "a body of 20 MB, peak above idle",
            "× the body",
            own("large_body_peak"),
            Direction::AtMost,
            2.2,
            3.0,
        ),
        goal(
            "a body of 20 MB, time",
            "× nginx",
            ratio("large_body_ms", nginx),
            Direction::AtMost,
            2.0,
            3.0,
        ),
        goal(
            "1,000 callers without a token, longest wait (for its endpoint alone 1 s)",
            " s",
            own("cold_refresh_s"),
            Direction::AtMost,
            2.0,
            2.0,
        ),
        goal(
            "renewal under load, longest answer (its endpoint takes 1,000 ms)",
            " ms",
            own("living_refresh_ms"),
            Direction::AtMost,
            500.0,
            999.0,
        ),
        goal(
            "exec to first answer, stored token",
            " ms",
            own("start_ms"),
            Direction::AtMost,
            50.0,
            200.0,
        ),
        goal(
            "the Worker, CPU a request in workerd",
            "× one that only forwards",
            edge("unary_us"),
            Direction::AtMost,
            1.5,
            2.5,
        ),
    ]);
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: Direction, median: f64) -> GoalStatus {
        let found = Some(Summary { median, least: median, most: median });
        let (goal, must) = if bound == Direction::AtLeast { (0.9, 0.6) } else { (1.3, 1.8) };
        Goal { what: String::new(), unit: "", found, bound, goal, must }.verdict()
    }

    #[test]
    fn goals_are_judged_from_their_good_side() {
        assert_eq!(verdict(Direction::AtLeast, 0.9), GoalStatus::Met);
        assert_eq!(verdict(Direction::AtLeast, 0.7), GoalStatus::Near);
        assert_eq!(verdict(Direction::AtLeast, 0.5), GoalStatus::Missed);
        assert_eq!(verdict(Direction::AtMost, 1.0), GoalStatus::Met);
        assert_eq!(verdict(Direction::AtMost, 1.5), GoalStatus::Near);
        assert_eq!(verdict(Direction::AtMost, 2.0), GoalStatus::Missed);
    }

    #[test]
    fn what_was_not_measured_is_not_called_met() {
        assert!(
            goals(&Samples::default(), Contender::Proxy)
                .iter()
                .all(|goal| goal.verdict() == GoalStatus::Unknown)
        );
    }
}
