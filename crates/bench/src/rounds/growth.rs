//! How cost grows: with the size of the body, the events of a stream, the requests served before,
//! and the streams that are open.

use std::thread;
use std::time::Duration;

use super::driver::{cpu_nanos, drive, drive_sized, hold_streams};
use super::{MANY_STREAMS, Scale};
use crate::BenchError;
use crate::load::LoadResult;
use crate::results::GrowthResult;
use crate::testbed::{Contender, Instance, TestBed};

/// The curves of all contenders that were measured.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    curves: Vec<Curve>,
}

/// The costs of one contender by one cause.
#[derive(Debug)]
struct Curve {
    contender: Contender,
    relation: Relation,
    /// Cause and cost.
    points: Vec<(f64, f64)>,
}

/// Which cost, and its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    CpuByBody,
    CpuByEvents,
    CpuByUptime,
    MemoryByUptime,
    CpuByStreams,
}

impl Growth {
    /// Measures the proxy and nginx. A contender that fails is left out and reported as a problem.
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

    /// From the first point that counts to the last one, for each relation that the proxy has.
    pub(crate) fn results(&self) -> Vec<GrowthResult> {
        let results = Relation::ALL.into_iter().filter_map(|relation| {
            let growth = |contender| {
                let curve =
                    |curve: &&Curve| (curve.contender, curve.relation) == (contender, relation);
                growth_from(&self.curves.iter().find(curve)?.points, relation.counts_from())
            };
            let (from, to, proxy) = growth(Contender::Proxy)?;
            Some(GrowthResult {
                what: relation.title().to_owned(),
                from,
                to,
                cause: to / from,
                proxy,
                nginx: growth(Contender::Nginx).map(|(.., times)| times),
                expected: relation.expected().to_owned(),
            })
        });
        results.collect()
    }

    fn add(&mut self, bed: &TestBed, scale: Scale, contender: Contender) -> Result<(), BenchError> {
        let seconds = if scale.quick { "0.4" } else { "2" };
        let instance = bed.start(contender)?;
        self.by_body(&instance, bed, seconds)?;
        instance.stop();
        let instance = bed.start(contender)?;
        self.by_events(&instance, bed, seconds)?;
        instance.stop();
        let instance = bed.start(contender)?;
        self.by_uptime(&instance, bed, seconds)?;
        instance.stop();
        let instance = bed.start_with(contender, MANY_STREAMS)?;
        self.by_streams(&instance, bed, scale)?;
        instance.stop();
        Ok(())
    }

    fn by_body(
        &mut self,
        instance: &Instance,
        bed: &TestBed,
        seconds: &str,
    ) -> Result<(), BenchError> {
        let mut points = Vec::new();
        for bytes in BODIES {
            let load = ["closed", "--connections", "2", "--seconds", seconds];
            let cost = cpu_cost(instance, || drive_sized(bed, instance, bytes, &load))?;
            points.push((bytes as f64, cost));
        }
        self.keep(instance, Relation::CpuByBody, points);
        Ok(())
    }

    fn by_events(
        &mut self,
        instance: &Instance,
        bed: &TestBed,
        seconds: &str,
    ) -> Result<(), BenchError> {
        let mut points = Vec::new();
        for events in EVENTS {
            let count = events.to_string();
            let load = ["closed", "--connections", "4", "--seconds", seconds, "--events", &count];
            points.push((f64::from(events), cpu_cost(instance, || drive(bed, instance, &load))?));
        }
        self.keep(instance, Relation::CpuByEvents, points);
        Ok(())
    }

    fn by_uptime(
        &mut self,
        instance: &Instance,
        bed: &TestBed,
        seconds: &str,
    ) -> Result<(), BenchError> {
        let (mut cpu, mut memory, mut served) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..WINDOWS {
            let load = ["closed", "--connections", "64", "--seconds", seconds];
            let mut done = 0.0;
            let cost = cpu_cost(instance, || {
                let result = drive(bed, instance, &load)?;
                done = result.done as f64;
                Ok(result)
            })?;
            cpu.push((served / 1000.0, cost));
            served += done;
            let resident = instance.processes.as_ref().map_or(f64::NAN, |it| it.resident());
            memory.push((served / 1000.0, resident / 1024.0));
        }
        self.keep(instance, Relation::CpuByUptime, cpu);
        self.keep(instance, Relation::MemoryByUptime, memory);
        Ok(())
    }

    fn by_streams(
        &mut self,
        instance: &Instance,
        bed: &TestBed,
        scale: Scale,
    ) -> Result<(), BenchError> {
        let mut points = Vec::new();
        let counts: &[u32] = if scale.quick { &STREAMS[..3] } else { &STREAMS };
        // The streams are open for longer (`held_s`), less up to a second in which the last ones open.
        let window = Duration::from_secs(if scale.quick { 1 } else { 3 });
        for &streams in counts {
            let (spent, _) = hold_streams(bed, instance, streams, scale.held_s, || {
                let before = cpu_nanos(instance);
                thread::sleep(window);
                cpu_nanos(instance) - before
            })?;
            let events = f64::from(streams) * window.as_secs_f64();
            points.push((f64::from(streams), spent / 1000.0 / events));
        }
        self.keep(instance, Relation::CpuByStreams, points);
        Ok(())
    }

    fn keep(&mut self, instance: &Instance, relation: Relation, points: Vec<(f64, f64)>) {
        let contender = instance.contender;
        let shown: Vec<String> =
            points.iter().map(|(cause, cost)| format!("{cause:.0}: {cost:.1}")).collect();
        println!("    {}: {}: {}", contender.key(), relation.title(), shown.join(", "));
        self.curves.push(Curve { contender, relation, points });
    }
}

impl Relation {
    const ALL: [Self; 5] = [
        Self::CpuByBody,
        Self::CpuByEvents,
        Self::CpuByUptime,
        Self::MemoryByUptime,
        Self::CpuByStreams,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::CpuByBody => "CPU a request, by bytes of its body",
            Self::CpuByEvents => "CPU a stream, by its events",
            Self::CpuByUptime => "CPU a request, by thousands served before",
            Self::MemoryByUptime => "memory, by thousands served before",
            Self::CpuByStreams => "CPU an event, by open streams",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::CpuByBody | Self::CpuByEvents => "as the cause",
            Self::CpuByUptime | Self::MemoryByUptime => "× 1",
            Self::CpuByStreams => "× 1, and less for batches",
        }
    }

    /// Below this cause, fixed costs are most of the cost.
    fn counts_from(self) -> f64 {
        match self {
            Self::CpuByBody => 1e6,
            Self::CpuByEvents => 100.0,
            // Without the first window, in which caches fill.
            Self::CpuByUptime | Self::MemoryByUptime => 0.001,
            Self::CpuByStreams => 0.0,
        }
    }
}

/// From the first point whose cause is at least `from` to the last point: both causes, and the last
/// cost as a multiple of the first.
fn growth_from(points: &[(f64, f64)], from: f64) -> Option<(f64, f64, f64)> {
    let first = points.iter().find(|(cause, _)| *cause >= from)?;
    let last = points.last()?;
    (last.0 > first.0).then_some((first.0, last.0, last.1 / first.1))
}

/// CPU microseconds for each request that succeeded.
fn cpu_cost(
    instance: &Instance,
    load: impl FnOnce() -> Result<LoadResult, BenchError>,
) -> Result<f64, BenchError> {
    let before = cpu_nanos(instance);
    let result = load()?;
    let each = (cpu_nanos(instance) - before) / 1000.0 / result.done as f64;
    match (result.first_error, each.is_finite()) {
        (None, true) => Ok(each),
        (why, _) => Err(BenchError(why.unwrap_or_else(|| "no request succeeded".to_owned()))),
    }
}

const BODIES: [usize; 6] = [1_000, 10_000, 100_000, 1_000_000, 5_000_000, 20_000_000];

const EVENTS: [u32; 5] = [1, 10, 100, 1_000, 10_000];

const STREAMS: [u32; 5] = [100, 300, 1_000, 2_500, 5_000];

/// Loads that follow one another on the same process.
const WINDOWS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_measured_from_where_fixed_costs_no_longer_count() {
        let points = [(1.0, 50.0), (100.0, 60.0), (1000.0, 600.0)];
        assert_eq!(growth_from(&points, 100.0), Some((100.0, 1000.0, 10.0)));
        assert_eq!(growth_from(&points, 1000.0), None);
        assert_eq!(growth_from(&points, 5000.0), None);
    }
}
