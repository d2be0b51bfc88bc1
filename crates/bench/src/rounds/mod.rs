//! The rounds: every subject with every load, one after the other, and again.

pub(crate) mod growth;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BenchError;
use crate::load::LoadResult;
use crate::machine::{Machine, said};
use crate::process::{ChildProcess, on_core};
use crate::request::KEY;
use crate::results::samples::{Samples, Summary};
use crate::rounds::growth::Growth;
use crate::testbed::{Contender, Instance, TestBed};
use crate::upstream::UpstreamCounts;

/// All that a run has found, as it is kept between `run` and `render`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) scale: Scale,
    pub(crate) samples: Samples,
    pub(crate) growth: Growth,
    /// What went wrong, in words.
    pub(crate) problems: Vec<String>,
    pub(crate) minutes: f64,
}

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// Of one turn of an open loop.
    pub(crate) open_s: f64,
    /// Of one turn of a closed loop.
    pub(crate) closed_s: f64,
    /// Of holding streams open.
    pub(crate) held_s: u32,
    /// Starts.
    pub(crate) starts: usize,
}

impl Scale {
    /// The real thing.
    pub(crate) fn full(rounds: usize) -> Self {
        Self { rounds, quick: false, open_s: 3.0, closed_s: 2.0, held_s: 10, starts: 10 }
    }

    /// Enough to see that everything works.
    pub(crate) fn quick(rounds: usize) -> Self {
        Self { rounds, quick: true, open_s: 1.0, closed_s: 0.5, held_s: 2, starts: 3 }
    }
}

/// Runs all rounds. A subject that fails is left out of what is left of its round.
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
            let (alone, together): (Vec<_>, Vec<_>) = self
                .bed
                .contenders()
                .into_iter()
                .partition(|contender| contender.needs_idle_core());
            self.side_by_side(round, &together);
            for contender in alone {
                self.side_by_side(round, &[contender]);
            }
            for contender in self.bed.contenders() {
                if !contender.is_direct() {
                    self.attempt(contender, |rounds| rounds.memory(round, contender));
                    self.attempt(contender, |rounds| rounds.large_body(round, contender));
                }
            }
            self.attempt(Contender::Proxy, |rounds| rounds.starts(round));
            self.attempt(Contender::Proxy, |rounds| rounds.cold_refresh(round));
            self.attempt(Contender::Proxy, |rounds| rounds.renewal(round));
        }
        let size = fs::metadata(&self.bed.proxy).map(|binary| binary.len() as f64);
        self.samples.put(0, Contender::Proxy.key(), "binary_mib", size.unwrap_or(f64::NAN) / MIB);
        // binutils, which come with the linker: a heading, then code, data, zeroes.
        let sizes = said("size", &[&self.bed.proxy.to_string_lossy()]);
        let mut fields = sizes.lines().nth(1).unwrap_or_default().split_ascii_whitespace();
        let mut next = || fields.next().and_then(|bytes| bytes.parse::<f64>().ok());
        if let (Some(code), Some(data)) = (next(), next()) {
            self.samples.put(0, Contender::Proxy.key(), "loaded_mib", (code + data) / MIB);
        }
    }

    /// The subjects are all up, and each load goes to one after the other.
    fn side_by_side(&mut self, round: usize, contenders: &[Contender]) {
        let mut instances = Vec::new();
        for contender in contenders {
            if let Some(instance) = self.attempt(*contender, |rounds| rounds.bed.start(*contender))
            {
                instances.push(instance);
            }
        }
        for instance in &instances {
            // Pools and caches fill, code is compiled just in time.
            let warm = ["closed", "--connections", "64", "--seconds", "1"];
            self.attempt(instance.contender, |rounds| drive(rounds.bed, instance, &warm));
        }
        // Short turns: a machine's speed changes from one minute to the next.
        self.passes(round, &instances, Self::saturation);
        for rate in RATES {
            self.passes(round, &instances, |rounds, turn, instance| {
                rounds.open(turn, instance, rate)
            });
        }
        self.passes(round, &instances, Self::streams);
        for instance in instances {
            instance.stop();
        }
    }

    /// One kind of load goes to each subject, and again.
    fn passes(
        &mut self,
        round: usize,
        instances: &[Instance],
        load: impl Fn(&mut Self, usize, &Instance) -> Result<(), BenchError>,
    ) {
        for turn in round * PASSES..(round + 1) * PASSES {
            for instance in instances {
                self.attempt(instance.contender, |rounds| load(rounds, turn, instance));
            }
        }
    }

    fn saturation(&mut self, turn: usize, instance: &Instance) -> Result<(), BenchError> {
        let seconds = self.scale.closed_s.to_string();
        let before = count(self.bed)?;
        let cpu = cpu_nanos(instance);
        let outcome =
            drive(self.bed, instance, &["closed", "--connections", "64", "--seconds", &seconds])?;
        let cpu = cpu_nanos(instance) - cpu;
        let asked = count(self.bed)?.answers - before.answers;
        if asked != outcome.done + outcome.errors {
            // An answer that was not upstream's has not cost what the others have.
            let key = instance.contender.key();
            let told = format!("{key}: {} answers, {asked} of them upstream's", outcome.done);
            self.problems.push(told);
        }
        self.errors(turn, instance, "saturation", &outcome);
        let done = outcome.done as f64;
        self.put(turn, instance, "rps", done / outcome.seconds);
        if instance.processes.is_some() {
            let used = cpu / 1e9 / outcome.seconds;
            self.put(turn, instance, "cpu_us", cpu / 1000.0 / done);
            self.put(turn, instance, "core_used", used);
            let idle_left = used < SATURATED;
            self.put(
                turn,
                instance,
                "rps_core",
                done / outcome.seconds / if idle_left { used } else { 1.0 },
            );
        }
        Ok(())
    }

    fn open(&mut self, turn: usize, instance: &Instance, rate: u32) -> Result<(), BenchError> {
        let most =
            self.samples.rounds(instance.contender.key(), "rps").get(turn).copied().flatten();
        if most.is_none_or(|most| f64::from(rate) > 0.8 * most) {
            println!("    {}: {rate} a second is beyond it", instance.contender.key());
            return Ok(());
        }
        let (rate_text, seconds) = (rate.to_string(), self.scale.open_s.to_string());
        let outcome =
            drive(self.bed, instance, &["open", "--rate", &rate_text, "--seconds", &seconds])?;
        self.errors(turn, instance, &format!("open_{rate}"), &outcome);
        self.put(turn, instance, &format!("open_{rate}_p50"), outcome.latency.p50);
        self.put(turn, instance, &format!("open_{rate}_p99"), outcome.latency.p99);
        self.put(turn, instance, &format!("open_{rate}_p999"), outcome.latency.p999);
        Ok(())
    }

    /// Few enough streams for nobody to be busy: what is measured is the way of one event.
    fn streams(&mut self, turn: usize, instance: &Instance) -> Result<(), BenchError> {
        let streams = (self.scale.open_s * 30.0).to_string();
        let outcome = drive(
            self.bed,
            instance,
            &[
                ["streams", "--streams", &streams],
                ["--events", "20", "--interval-ms"],
                ["50", "--rate", "30"],
            ]
            .concat(),
        )?;
        self.errors(turn, instance, "sse", &outcome);
        let Some(events) = outcome.events else { return Ok(()) };
        self.put(turn, instance, "first_p50", outcome.latency.p50);
        self.put(turn, instance, "first_p99", outcome.latency.p99);
        self.put(turn, instance, "event_p50", events.p50);
        self.put(turn, instance, "event_p99", events.p99);
        Ok(())
    }

    /// A fresh process: idle, then more and more open streams, then none.
    fn memory(&mut self, round: usize, contender: Contender) -> Result<(), BenchError> {
        let instance = self.bed.start_with(contender, MANY_STREAMS)?;
        let Some(processes) = &instance.processes else { return Ok(()) };
        let idle = processes.resident();
        self.put(round, &instance, "idle_mib", idle / 1024.0);
        let mut errors = 0.0;
        let most = match self.scale.quick && contender != Contender::Proxy {
            true => contender.max_streams().min(1000),
            false => contender.max_streams(),
        };
        for streams in OPEN_STREAMS.into_iter().filter(|&streams| streams <= most) {
            let (held, outcome) =
                hold(self.bed, &instance, streams, self.scale.held_s, || processes.resident())?;
            let name = format!("open_{streams}");
            self.put(round, &instance, &format!("{name}_kib"), (held - idle) / f64::from(streams));
            let p99 = outcome.events.map_or(f64::NAN, |events| events.p99);
            self.put(round, &instance, &format!("{name}_event_p99"), p99);
            self.errors(round, &instance, &name, &outcome);
            errors += outcome.errors as f64;
        }
        self.put(round, &instance, "open_errors", errors);
        // The proxy gives memory back a few seconds after a peak.
        std::thread::sleep(if self.scale.quick { SHORT_REST } else { REST });
        self.put(round, &instance, "after_mib", processes.resident() / 1024.0);
        instance.stop();
        Ok(())
    }

    /// 20 MB in a fresh process, three times.
    fn large_body(&mut self, round: usize, contender: Contender) -> Result<(), BenchError> {
        let instance = self.bed.start(contender)?;
        let Some(processes) = &instance.processes else { return Ok(()) };
        let idle = processes.resident();
        processes.reset_peak()?;
        let mut times = Vec::new();
        for _ in 0..3 {
            let outcome =
                drive_sized(self.bed, &instance, LARGE_BODY, &["burst", "--connections", "1"])?;
            self.errors(round, &instance, "large_body", &outcome);
            times.push(if outcome.errors == 0 { outcome.latency.max / 1000.0 } else { f64::NAN });
        }
        let middle = Summary::of(times.into_iter()).map_or(f64::NAN, |middle| middle.median);
        self.put(round, &instance, "large_body_ms", middle);
        let above = (processes.peak() - idle) * 1024.0;
        self.put(round, &instance, "large_body_peak", above / LARGE_BODY as f64);
        instance.stop();
        Ok(())
    }

    /// From exec to the first answer, with a token in the store.
    fn starts(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        self.bed.start(Contender::Proxy)?.stop();
        let tokens = count(self.bed)?.tokens;
        let mut times = Vec::new();
        for _ in 0..self.scale.starts {
            let started = Instant::now();
            let mut instance = self.bed.launch(Contender::Proxy, &[])?;
            instance.wait_for_an_answer()?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            instance.stop();
        }
        if count(self.bed)?.tokens != tokens {
            self.problems.push("ours: a start with a stored token refreshed it".to_owned());
        }
        let middle = Summary::of(times.into_iter()).map_or(f64::NAN, |middle| middle.median);
        self.samples.put(round, Contender::Proxy.key(), "start_ms", middle);
        println!("    ours: start_ms {middle:.1}");
        Ok(())
    }

    /// A thousand callers, no token, and a token endpoint that answers a second after they asked.
    fn cold_refresh(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        set(self.bed, "hold_tokens=1")?;
        let before = count(self.bed)?.tokens;
        let instance = self.bed.launch(Contender::Proxy, &[])?;
        wait_for_port(&instance.address)?;
        let asked = driver(self.bed, &instance, 1024, &["burst", "--connections", "1000"]);
        let asked = asked.and_then(when_open);
        std::thread::sleep(Duration::from_secs(1));
        set(self.bed, "hold_tokens=0")?;
        let outcome = outcome(asked?)?;
        self.errors(round, &instance, "cold_refresh", &outcome);
        self.put(round, &instance, "cold_refresh_s", outcome.latency.max / 1e6);
        self.put(
            round,
            &instance,
            "cold_refresh_tokens",
            (count(self.bed)?.tokens - before) as f64,
        );
        instance.stop();
        Ok(())
    }

    /// Tokens that live for eight seconds, of which the last quarter is for renewal, and an
    /// endpoint that takes one.
    fn renewal(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        set(self.bed, "token_lifetime_s=8")?;
        let instance = self.bed.start(Contender::Proxy)?;
        set(self.bed, "token_delay_ms=1000")?;
        let before = count(self.bed)?.tokens;
        let outcome = drive(self.bed, &instance, &["open", "--rate", "500", "--seconds", "9"]);
        let tokens = count(self.bed)?.tokens - before;
        set(self.bed, "token_delay_ms=0&token_lifetime_s=3599")?;
        self.bed.remove_store();
        let outcome = outcome?;
        self.errors(round, &instance, "living_refresh", &outcome);
        self.put(round, &instance, "living_refresh_tokens", tokens as f64);
        if tokens == 0 {
            return Err(BenchError("no token was renewed under load".to_owned()));
        }
        self.put(round, &instance, "living_refresh_ms", outcome.latency.max / 1000.0);
        instance.stop();
        Ok(())
    }

    /// Does a piece of work; its failing ends nothing else.
    fn attempt<T>(
        &mut self,
        contender: Contender,
        work: impl FnOnce(&mut Self) -> Result<T, BenchError>,
    ) -> Option<T> {
        match work(self) {
            Ok(done) => Some(done),
            Err(why) => {
                println!("    {}: {why}", contender.key());
                self.problems.push(format!("{}: {why}", contender.key()));
                None
            }
        }
    }

    fn errors(&mut self, round: usize, instance: &Instance, what: &str, outcome: &LoadResult) {
        let key = instance.contender.key();
        self.samples.put(round, key, &format!("{what}_errors"), outcome.errors as f64);
        if let Some(why) = &outcome.first_error {
            let all = outcome.done + outcome.errors;
            println!("    {key}: {what}: {} of {all} failed: {why}", outcome.errors);
            self.problems.push(format!("{key}: {what}: {} of {all} failed: {why}", outcome.errors));
        }
    }

    fn put(&mut self, round: usize, instance: &Instance, measure: &str, value: f64) {
        println!("    {}: {measure} {value:.1}", instance.contender.key());
        self.samples.put(round, instance.contender.key(), measure, value);
    }
}

/// One run of the driver against a subject.
pub(crate) fn drive(
    bed: &TestBed,
    instance: &Instance,
    kind: &[&str],
) -> Result<LoadResult, BenchError> {
    drive_sized(bed, instance, 1024, kind)
}

/// The same, with another size of request bodies.
pub(crate) fn drive_sized(
    bed: &TestBed,
    instance: &Instance,
    bytes: usize,
    kind: &[&str],
) -> Result<LoadResult, BenchError> {
    outcome(driver(bed, instance, bytes, kind)?)
}

/// Opens streams with one event a second, looks while all are open, which they are for so many
/// `seconds`, and waits for their end.
pub(crate) fn hold<T>(
    bed: &TestBed,
    instance: &Instance,
    streams: u32,
    seconds: u32,
    look: impl FnOnce() -> T,
) -> Result<(T, LoadResult), BenchError> {
    // The first one lives until the last one is open, and then for so many seconds.
    let events = (streams / 1250 + seconds + 1).to_string();
    let (streams, rate) = (streams.to_string(), ["--rate", "1250"]);
    let kind = ["streams", "--streams", &streams, "--events", &events, "--interval-ms", "1000"];
    let driver = when_open(driver(bed, instance, 1024, &[&kind[..], &rate[..]].concat())?)?;
    std::thread::sleep(Duration::from_millis(500));
    let seen = look();
    Ok((seen, outcome(driver)?))
}

/// Waits until the driver says that all its connections or streams are open.
fn when_open(mut driver: ChildProcess) -> Result<ChildProcess, BenchError> {
    let line = driver.line(RUN_LIMIT)?;
    let says_open = serde_json::from_str(&line).is_ok_and(|said: Value| said.get("open").is_some());
    if says_open { Ok(driver) } else { Err(BenchError(format!("the driver said {line}"))) }
}

/// What came of the driver's run, whatever it has said before.
fn outcome(mut driver: ChildProcess) -> Result<LoadResult, BenchError> {
    loop {
        let line = driver.line(RUN_LIMIT)?;
        let said: Value = serde_json::from_str(&line).map_err(|_| BenchError(line))?;
        if said.get("open").is_none() {
            return Ok(serde_json::from_value(said)?);
        }
    }
}

/// Nanoseconds that a subject has spent on its core.
pub(crate) fn cpu_nanos(instance: &Instance) -> f64 {
    instance.processes.as_ref().map_or(0.0, |processes| processes.cpu_nanos() as f64)
}

fn driver(
    bed: &TestBed,
    instance: &Instance,
    bytes: usize,
    kind: &[&str],
) -> Result<ChildProcess, BenchError> {
    let shape = match instance.contender.shape() {
        crate::request::RequestFormat::Assist => "assist",
        crate::request::RequestFormat::Gemini => "gemini",
        crate::request::RequestFormat::Litellm => "litellm",
    };
    let mut driver = on_core(bed.load_core, &std::env::current_exe()?);
    driver.args(["drive", "--to", &instance.address, "--shape", shape]);
    driver.args(["--bytes", &bytes.to_string()]);
    if instance.contender == Contender::DirectTls {
        driver.arg("--authority").arg(bed.authority());
    }
    ChildProcess::with_output(driver.args(kind))
}

fn count(bed: &TestBed) -> Result<UpstreamCounts, BenchError> {
    Ok(serde_json::from_slice(&control(bed, "/bench/count")?)?)
}

fn set(bed: &TestBed, what: &str) -> Result<(), BenchError> {
    control(bed, &format!("/bench/set?{what}")).map(drop)
}

fn control(bed: &TestBed, target: &str) -> Result<Vec<u8>, BenchError> {
    let to = format!("127.0.0.1:{}", bed.ports.plain);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nAuthorization: {KEY}\r\n\r\n");
    crate::load::once(&to, request.as_bytes()).map_err(BenchError)
}

fn wait_for_port(address: &str) -> Result<(), BenchError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(BenchError(format!("nobody listens on {address}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Writes what a run has found.
pub(crate) fn keep(findings: &Findings, work: &Path) -> Result<(), BenchError> {
    Ok(fs::write(work.join(KEPT), serde_json::to_vec_pretty(findings)?)?)
}

/// Reads what the last run has found.
pub(crate) fn kept(work: &Path) -> Result<Findings, BenchError> {
    let path = work.join(KEPT);
    let text = fs::read(&path).map_err(|why| {
        BenchError(format!("there is no run to render ({}): {why}", path.display()))
    })?;
    Ok(serde_json::from_slice(&text)?)
}

/// How often each load comes back to each subject in a round.
pub(crate) const PASSES: usize = 3;

/// Requests a second of the open loops.
pub(crate) const RATES: [u32; 2] = [200, 2000];

/// Streams that are open at once.
pub(crate) const OPEN_STREAMS: [u32; 3] = [100, 1000, 5000];

/// Ours allows a hundred requests in flight by default. Others do not know the name.
pub(crate) const MANY_STREAMS: &[(&str, &str)] = &[("MAX_CONCURRENT_REQUESTS", "10000")];

/// A subject that used less of its core had to wait for its load.
const SATURATED: f64 = 0.95;

const KEPT: &str = "findings.json";

pub(crate) const LARGE_BODY: usize = 20_000_000;

const MIB: f64 = (1 << 20) as f64;

const REST: Duration = Duration::from_secs(8);
const SHORT_REST: Duration = Duration::from_secs(1);

/// Longer than the longest load.
const RUN_LIMIT: Duration = Duration::from_secs(150);
