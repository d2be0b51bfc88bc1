//! How cost grows: with the body, the events of a stream, the requests served before, and the
//! streams that are open.

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::load::LoadResult;
use crate::rounds::{MANY_STREAMS, Scale, cpu_nanos, drive, drive_sized, hold};
use crate::testbed::{Contender, Instance, TestBed};

/// Curves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// CPU microseconds a request, by bytes of its body.
    pub(crate) body: Vec<Curve>,
    /// CPU microseconds a stream, by its events.
    pub(crate) events: Vec<Curve>,
    /// CPU microseconds a request, by thousands of requests served before.
    pub(crate) uptime: Vec<Curve>,
    /// MiB resident, by thousands of requests served before.
    pub(crate) resident: Vec<Curve>,
    /// CPU microseconds an event, by open streams.
    pub(crate) streams: Vec<Curve>,
}

/// One subject's points.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) contender: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// From the first point at or beyond `from` to the last one: both causes, and how many times the
    /// cost has become.
    pub(crate) fn times(&self, from: f64) -> Option<((f64, f64), f64)> {
        let first = self.points.iter().find(|(cause, _)| *cause >= from)?;
        let last = self.points.last()?;
        (last.0 > first.0).then_some(((first.0, last.0), last.1 / first.1))
    }
}

impl Growth {
    /// Measures ours and nginx. What cannot be measured is left out and told.
    pub(crate) fn measure(bed: &TestBed, scale: Scale, problems: &mut Vec<String>) -> Self {
        println!("\nhow cost grows");
        let mut growth = Self::default();
        for contender in [Contender::Proxy, Contender::Nginx] {
            if !bed.contenders().contains(&contender) {
                continue;
            }
            if let Err(why) = growth.add(bed, scale, contender) {
                problems.push(format!("{}, how cost grows: {why}", contender.key()));
            }
        }
        growth
    }

    fn add(&mut self, bed: &TestBed, scale: Scale, contender: Contender) -> Result<(), BenchError> {
        let curve = |points| Curve { contender: contender.key().to_owned(), points };
        let seconds = if scale.quick { "0.4" } else { "2" };

        let instance = bed.start(contender)?;
        let mut points = Vec::new();
        for bytes in BODIES {
            let kind = ["closed", "--connections", "2", "--seconds", seconds];
            let each = cost(&instance, || drive_sized(bed, &instance, bytes, &kind))?;
            points.push((bytes as f64, each));
        }
        told(&instance, "by body", &points);
        self.body.push(curve(points));
        instance.stop();

        let instance = bed.start(contender)?;
        let mut points = Vec::new();
        for events in EVENTS {
            let count = events.to_string();
            let kind =
                ["closed", "--connections", "4", "--seconds", seconds, "--events", count.as_str()];
            points.push((f64::from(events), cost(&instance, || drive(bed, &instance, &kind))?));
        }
        told(&instance, "by events", &points);
        self.events.push(curve(points));
        instance.stop();

        let instance = bed.start(contender)?;
        let (mut points, mut resident, mut served) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..WINDOWS {
            let kind = ["closed", "--connections", "64", "--seconds", seconds];
            let mut done = 0.0;
            let each = cost(&instance, || {
                let outcome = drive(bed, &instance, &kind)?;
                done = outcome.done as f64;
                Ok(outcome)
            })?;
            points.push((served / 1000.0, each));
            served += done;
            let kib =
                instance.processes.as_ref().map_or(f64::NAN, |processes| processes.resident());
            resident.push((served / 1000.0, kib / 1024.0));
        }
        told(&instance, "by thousands served", &points);
        self.uptime.push(curve(points));
        self.resident.push(curve(resident));
        instance.stop();

        let instance = bed.start_with(contender, MANY_STREAMS)?;
        let mut points = Vec::new();
        let counts: &[u32] = if scale.quick { &STREAMS[..3] } else { &STREAMS };
        for &streams in counts {
            let window = std::time::Duration::from_secs(if scale.quick { 1 } else { 4 });
            let (spent, _) = hold(bed, &instance, streams, scale.held_s, || {
                let before = cpu_nanos(&instance);
                std::thread::sleep(window);
                cpu_nanos(&instance) - before
            })?;
            let events = f64::from(streams) * window.as_secs_f64();
            points.push((f64::from(streams), spent / 1000.0 / events));
        }
        told(&instance, "by open streams", &points);
        self.streams.push(curve(points));
        instance.stop();
        Ok(())
    }
}

fn told(instance: &Instance, what: &str, points: &[(f64, f64)]) {
    let points: Vec<String> =
        points.iter().map(|(at, cost)| format!("{at:.0}: {cost:.1}")).collect();
    println!("    {}: CPU µs {what}: {}", instance.contender.key(), points.join(", "));
}

/// CPU microseconds for each that came to a good end.
fn cost(
    instance: &Instance,
    load: impl FnOnce() -> Result<LoadResult, BenchError>,
) -> Result<f64, BenchError> {
    let before = cpu_nanos(instance);
    let outcome = load()?;
    let each = (cpu_nanos(instance) - before) / 1000.0 / outcome.done as f64;
    match (outcome.first_error, each.is_finite()) {
        (None, true) => Ok(each),
        (why, _) => Err(BenchError(why.unwrap_or_else(|| "nothing came to a good end".to_owned()))),
    }
}

const BODIES: [usize; 6] = [1_000, 10_000, 100_000, 1_000_000, 5_000_000, 20_000_000];

const EVENTS: [u32; 5] = [1, 10, 100, 1_000, 10_000];

const STREAMS: [u32; 5] = [100, 300, 1_000, 2_500, 5_000];

/// Stretches of uptime.
const WINDOWS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_where_fixed_costs_no_longer_count() {
        let points = vec![(1.0, 50.0), (100.0, 60.0), (1000.0, 600.0)];
        let curve = Curve { contender: "ours".to_owned(), points };
        assert_eq!(curve.times(100.0), Some(((100.0, 1000.0), 10.0)));
        assert_eq!(curve.times(1000.0), None);
        assert_eq!(curve.times(5000.0), None);
    }
}
