//! The rounds of a run: every contender gets every load, and all of it again in the next round.

mod driver;
pub(crate) mod growth;
mod memory;
mod tokens;

use std::fs;
use std::time::Instant;

use crate::BenchError;
use crate::load::LoadResult;
use crate::machine::output_of;
use crate::results::samples::{Samples, Summary};
use crate::testbed::{Contender, Extent, Instance, TestBed};
pub(crate) use driver::drive_sized;
use driver::{cpu_nanos, drive, upstream_counts};

/// How long and how often each load runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// Seconds of one pass of an open loop.
    open_s: f64,
    /// Seconds of one pass of a closed loop.
    closed_s: f64,
    /// Seconds for which streams are held open.
    held_s: u32,
    /// Starts of the proxy in a round.
    starts: usize,
}

impl Scale {
    /// A run whose values are published.
    pub(crate) fn full(rounds: usize) -> Self {
        Self { rounds, quick: false, open_s: 3.0, closed_s: 2.0, held_s: 5, starts: 10 }
    }

    /// A smoke test.
    pub(crate) fn quick(rounds: usize) -> Self {
        Self { rounds, quick: true, open_s: 1.0, closed_s: 0.5, held_s: 2, starts: 3 }
    }
}

/// Runs all rounds. A measurement that fails is left out and reported as a problem.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) bed: &'a TestBed,
    pub(crate) scale: Scale,
    pub(crate) samples: Samples,
    pub(crate) problems: Vec<String>,
}

impl Rounds<'_> {
    pub(crate) fn run(&mut self) {
        for round in 0..self.scale.rounds {
            println!("\nround {} of {}", round + 1, self.scale.rounds);
            let contenders = self.bed.contenders();
            self.side_by_side(round, &contenders);
            let whole = |contender: &Contender| {
                !contender.is_direct() && contender.extent() == Extent::Everything
            };
            for contender in contenders.into_iter().filter(whole) {
                self.attempt(contender, |rounds| rounds.memory(round, contender));
                self.attempt(contender, |rounds| rounds.large_body(round, contender));
            }
            self.attempt(Contender::Proxy, |rounds| rounds.starts(round));
            self.attempt(Contender::Proxy, |rounds| rounds.cold_refresh(round));
            self.attempt(Contender::Proxy, |rounds| rounds.renewal(round));
        }
        self.binary_size();
    }

    fn binary_size(&mut self) {
        let proxy = Contender::Proxy.key();
        let size = fs::metadata(&self.bed.proxy).map(|binary| binary.len() as f64);
        self.samples.put(0, proxy, "binary_mib", size.unwrap_or(f64::NAN) / MIB);
        // `size` of the binutils, which come with the linker: a heading, then code, data, zeroes.
        let sizes = output_of("size", &[&self.bed.proxy.to_string_lossy()]);
        let mut fields = sizes.lines().nth(1).unwrap_or_default().split_ascii_whitespace();
        let mut next = || fields.next().and_then(|bytes| bytes.parse::<f64>().ok());
        if let (Some(code), Some(data)) = (next(), next()) {
            self.samples.put(0, proxy, "loaded_mib", (code + data) / MIB);
        }
    }

    /// Starts all of these contenders, and sends each load to one after the other.
    fn side_by_side(&mut self, round: usize, contenders: &[Contender]) {
        let mut instances = Vec::new();
        for contender in contenders {
            let started = self.attempt(*contender, |rounds| rounds.bed.start(*contender));
            instances.extend(started);
        }
        for instance in &instances {
            // Pools and caches fill, and code is compiled just in time.
            let warm = ["closed", "--connections", "64", "--seconds", "1"];
            self.attempt(instance.contender, |rounds| drive(rounds.bed, instance, &warm));
        }
        self.passes(round, &instances, Self::saturation);
        instances.retain(|instance| instance.contender.extent() == Extent::Everything);
        for rate in RATES {
            self.passes(round, &instances, |rounds, pass, instance| {
                rounds.open_loop(pass, instance, rate)
            });
        }
        self.passes(round, &instances, Self::streams);
        for instance in instances {
            instance.stop();
        }
    }

    /// Sends one kind of load to each instance, [`PASSES`] times. The passes are short: a machine's
    /// speed changes from one minute to the next.
    fn passes(
        &mut self,
        round: usize,
        instances: &[Instance],
        load: impl Fn(&mut Self, usize, &Instance) -> Result<(), BenchError>,
    ) {
        for pass in round * PASSES..(round + 1) * PASSES {
            for instance in instances {
                self.attempt(instance.contender, |rounds| load(rounds, pass, instance));
            }
        }
    }

    /// As many requests as 64 connections can carry.
    fn saturation(&mut self, pass: usize, instance: &Instance) -> Result<(), BenchError> {
        let seconds = self.scale.closed_s.to_string();
        let before = upstream_counts(self.bed)?;
        let cpu = cpu_nanos(instance);
        let result =
            drive(self.bed, instance, &["closed", "--connections", "64", "--seconds", &seconds])?;
        let cpu = cpu_nanos(instance) - cpu;
        let received = upstream_counts(self.bed)?.answers - before.answers;
        if received != result.done + result.errors {
            // An answer that upstream did not give has not cost what the others have.
            let key = instance.contender.key();
            self.problems.push(format!("{key}: {} answers, {received} from upstream", result.done));
        }
        self.errors(pass, instance, "saturation", &result);
        let rps = result.done as f64 / result.seconds;
        self.put(pass, instance, "rps", rps);
        if instance.processes.is_some() {
            let used = cpu / 1e9 / result.seconds;
            self.put(pass, instance, "cpu_us", cpu / 1000.0 / result.done as f64);
            self.put(pass, instance, "core_used", used);
            let whole_core = if used < SATURATED { rps / used } else { rps };
            self.put(pass, instance, "rps_core", whole_core);
        }
        Ok(())
    }

    /// A fixed rate, whatever the latency.
    fn open_loop(&mut self, pass: usize, instance: &Instance, rate: u32) -> Result<(), BenchError> {
        let key = instance.contender.key();
        let most = self.samples.passes(key, "rps").get(pass).copied().flatten();
        if most.is_none_or(|most| f64::from(rate) > 0.8 * most) {
            println!("    {key}: {rate} a second is more than it can serve");
            return Ok(());
        }
        let (rate_text, seconds) = (rate.to_string(), self.scale.open_s.to_string());
        let result =
            drive(self.bed, instance, &["open", "--rate", &rate_text, "--seconds", &seconds])?;
        self.errors(pass, instance, &format!("open_{rate}"), &result);
        self.put(pass, instance, &format!("open_{rate}_p50"), result.latency.p50);
        self.put(pass, instance, &format!("open_{rate}_p99"), result.latency.p99);
        self.put(pass, instance, &format!("open_{rate}_p999"), result.latency.p999);
        Ok(())
    }

    /// So few streams that no process is busy: this measures the latency of one event.
    fn streams(&mut self, pass: usize, instance: &Instance) -> Result<(), BenchError> {
        let streams = (self.scale.open_s * 30.0).to_string();
        let load = ["streams", "--streams", &streams, "--events", "20", "--interval-ms", "50"];
        let result = drive(self.bed, instance, &[&load[..], &["--rate", "30"]].concat())?;
        self.errors(pass, instance, "sse", &result);
        let Some(events) = result.events else { return Ok(()) };
        self.put(pass, instance, "first_p50", result.latency.p50);
        self.put(pass, instance, "first_p99", result.latency.p99);
        self.put(pass, instance, "event_p50", events.p50);
        self.put(pass, instance, "event_p99", events.p99);
        Ok(())
    }

    /// From exec to the first answer, with a token in the store.
    fn starts(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        self.bed.start(Contender::Proxy)?.stop();
        let tokens = upstream_counts(self.bed)?.tokens;
        let mut times = Vec::new();
        for _ in 0..self.scale.starts {
            let started = Instant::now();
            let mut instance = self.bed.launch(Contender::Proxy, &[])?;
            instance.await_answer()?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            instance.stop();
        }
        if upstream_counts(self.bed)?.tokens != tokens {
            self.problems.push("proxy: a start with a stored token refreshed it".to_owned());
        }
        let median = Summary::of(times.into_iter()).map_or(f64::NAN, |times| times.median);
        self.samples.put(round, Contender::Proxy.key(), "start_ms", median);
        println!("    proxy: start_ms {median:.1}");
        Ok(())
    }

    /// Does one measurement. If it fails, the others go on.
    fn attempt<T>(
        &mut self,
        contender: Contender,
        measure: impl FnOnce(&mut Self) -> Result<T, BenchError>,
    ) -> Option<T> {
        match measure(self) {
            Ok(done) => Some(done),
            Err(why) => {
                println!("    {}: {why}", contender.key());
                self.problems.push(format!("{}: {why}", contender.key()));
                None
            }
        }
    }

    fn errors(&mut self, pass: usize, instance: &Instance, what: &str, result: &LoadResult) {
        let key = instance.contender.key();
        self.samples.put(pass, key, &format!("{what}_errors"), result.errors as f64);
        if let Some(why) = &result.first_error {
            let all = result.done + result.errors;
            let problem = format!("{key}: {what}: {} of {all} failed: {why}", result.errors);
            println!("    {problem}");
            self.problems.push(problem);
        }
    }

    fn put(&mut self, pass: usize, instance: &Instance, measure: &str, value: f64) {
        println!("    {}: {measure} {value:.1}", instance.contender.key());
        self.samples.put(pass, instance.contender.key(), measure, value);
    }
}

/// How often each load comes back to each contender in a round.
const PASSES: usize = 3;

/// Requests a second of the open loops.
pub(crate) const RATES: [u32; 2] = [200, 2000];

/// Streams that are open at once.
pub(crate) const OPEN_STREAMS: [u32; 3] = [100, 1000, 5000];

/// The proxy allows a hundred requests in flight by default. Others do not read the variable.
const MANY_STREAMS: &[(&str, &str)] = &[("MAX_CONCURRENT_REQUESTS", "10000")];

/// A contender that used less of its core had to wait for its load.
const SATURATED: f64 = 0.95;

pub(crate) const LARGE_BODY: usize = 20_000_000;

const MIB: f64 = (1 << 20) as f64;
