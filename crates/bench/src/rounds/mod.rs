//! The rounds: every subject with every load, one after the other, and again.

pub(crate) mod growth;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;
use crate::load::Outcome;
use crate::machine::{Machine, said};
use crate::process::{Running, on_core};
use crate::request::KEY;
use crate::results::samples::{Figures, Middle};
use crate::rounds::growth::Growth;
use crate::testbed::{Rig, Site, Subject};
use crate::upstream::Count;

/// All that a run has found, as it is kept between `run` and `render`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) scale: Scale,
    pub(crate) figures: Figures,
    pub(crate) growth: Growth,
    /// What went wrong, in words.
    pub(crate) troubles: Vec<String>,
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
    pub(crate) rig: &'a Rig,
    pub(crate) scale: Scale,
    pub(crate) figures: Figures,
    pub(crate) troubles: Vec<String>,
}

impl Rounds<'_> {
    pub(crate) fn run(&mut self) {
        for round in 0..self.scale.rounds {
            println!("\nround {} of {}", round + 1, self.scale.rounds);
            let (alone, together): (Vec<_>, Vec<_>) =
                self.rig.subjects().into_iter().partition(|subject| subject.wants_to_be_alone());
            self.side_by_side(round, &together);
            for subject in alone {
                self.side_by_side(round, &[subject]);
            }
            for subject in self.rig.subjects() {
                if !subject.is_nobody() {
                    self.attempt(subject, |rounds| rounds.memory(round, subject));
                    self.attempt(subject, |rounds| rounds.large_body(round, subject));
                }
            }
            self.attempt(Subject::Secure, |rounds| rounds.starts(round));
            self.attempt(Subject::Secure, |rounds| rounds.cold_refresh(round));
            self.attempt(Subject::Secure, |rounds| rounds.living_refresh(round));
        }
        let size = fs::metadata(&self.rig.proxy).map(|binary| binary.len() as f64);
        self.figures.put(0, Subject::Secure.key(), "binary_mib", size.unwrap_or(f64::NAN) / MIB);
        // binutils, which come with the linker: a heading, then code, data, zeroes.
        let sizes = said("size", &[&self.rig.proxy.to_string_lossy()]);
        let mut fields = sizes.lines().nth(1).unwrap_or_default().split_ascii_whitespace();
        let mut next = || fields.next().and_then(|bytes| bytes.parse::<f64>().ok());
        if let (Some(code), Some(data)) = (next(), next()) {
            self.figures.put(0, Subject::Secure.key(), "loaded_mib", (code + data) / MIB);
        }
    }

    /// The subjects are all up, and each load goes to one after the other.
    fn side_by_side(&mut self, round: usize, subjects: &[Subject]) {
        let mut sites = Vec::new();
        for subject in subjects {
            if let Some(site) = self.attempt(*subject, |rounds| rounds.rig.start(*subject)) {
                sites.push(site);
            }
        }
        for site in &sites {
            // Pools and caches fill, code is compiled just in time.
            let warm = ["closed", "--connections", "64", "--seconds", "1"];
            self.attempt(site.subject, |rounds| drive(rounds.rig, site, &warm));
        }
        // Short turns: a machine's speed changes from one minute to the next.
        self.turns(round, &sites, Self::saturation);
        for rate in RATES {
            self.turns(round, &sites, |rounds, turn, site| rounds.open(turn, site, rate));
        }
        self.turns(round, &sites, Self::streams);
        for site in sites {
            site.stop();
        }
    }

    /// One kind of load goes to each subject, and again.
    fn turns(
        &mut self,
        round: usize,
        sites: &[Site],
        load: impl Fn(&mut Self, usize, &Site) -> Result<(), Failure>,
    ) {
        for turn in round * TURNS..(round + 1) * TURNS {
            for site in sites {
                self.attempt(site.subject, |rounds| load(rounds, turn, site));
            }
        }
    }

    fn saturation(&mut self, turn: usize, site: &Site) -> Result<(), Failure> {
        let seconds = self.scale.closed_s.to_string();
        let before = count(self.rig)?;
        let cpu = cpu_nanos(site);
        let outcome =
            drive(self.rig, site, &["closed", "--connections", "64", "--seconds", &seconds])?;
        let cpu = cpu_nanos(site) - cpu;
        let asked = count(self.rig)?.answers - before.answers;
        if asked != outcome.done + outcome.errors {
            // An answer that was not upstream's has not cost what the others have.
            let key = site.subject.key();
            let told = format!("{key}: {} answers, {asked} of them upstream's", outcome.done);
            self.troubles.push(told);
        }
        self.errors(turn, site, "saturation", &outcome);
        let done = outcome.done as f64;
        self.put(turn, site, "rps", done / outcome.seconds);
        if site.family.is_some() {
            let used = cpu / 1e9 / outcome.seconds;
            self.put(turn, site, "cpu_us", cpu / 1000.0 / done);
            self.put(turn, site, "core_used", used);
            let idle_left = used < SATURATED;
            self.put(
                turn,
                site,
                "rps_core",
                done / outcome.seconds / if idle_left { used } else { 1.0 },
            );
        }
        Ok(())
    }

    fn open(&mut self, turn: usize, site: &Site, rate: u32) -> Result<(), Failure> {
        let most = self.figures.rounds(site.subject.key(), "rps").get(turn).copied().flatten();
        if most.is_none_or(|most| f64::from(rate) > 0.8 * most) {
            println!("    {}: {rate} a second is beyond it", site.subject.key());
            return Ok(());
        }
        let (rate_text, seconds) = (rate.to_string(), self.scale.open_s.to_string());
        let outcome =
            drive(self.rig, site, &["open", "--rate", &rate_text, "--seconds", &seconds])?;
        self.errors(turn, site, &format!("open_{rate}"), &outcome);
        self.put(turn, site, &format!("open_{rate}_p50"), outcome.latency.p50);
        self.put(turn, site, &format!("open_{rate}_p99"), outcome.latency.p99);
        self.put(turn, site, &format!("open_{rate}_p999"), outcome.latency.p999);
        Ok(())
    }

    /// Few enough streams for nobody to be busy: what is measured is the way of one event.
    fn streams(&mut self, turn: usize, site: &Site) -> Result<(), Failure> {
        let streams = (self.scale.open_s * 30.0).to_string();
        let outcome = drive(
            self.rig,
            site,
            &[
                ["streams", "--streams", &streams],
                ["--events", "20", "--interval-ms"],
                ["50", "--rate", "30"],
            ]
            .concat(),
        )?;
        self.errors(turn, site, "sse", &outcome);
        let Some(events) = outcome.events else { return Ok(()) };
        self.put(turn, site, "first_p50", outcome.latency.p50);
        self.put(turn, site, "first_p99", outcome.latency.p99);
        self.put(turn, site, "event_p50", events.p50);
        self.put(turn, site, "event_p99", events.p99);
        Ok(())
    }

    /// A fresh process: idle, then more and more open streams, then none.
    fn memory(&mut self, round: usize, subject: Subject) -> Result<(), Failure> {
        let site = self.rig.start_with(subject, MANY_STREAMS)?;
        let Some(family) = &site.family else { return Ok(()) };
        let idle = family.resident();
        self.put(round, &site, "idle_mib", idle / 1024.0);
        let mut errors = 0.0;
        let most = match self.scale.quick && subject != Subject::Secure {
            true => subject.most_streams().min(1000),
            false => subject.most_streams(),
        };
        for streams in OPEN_STREAMS.into_iter().filter(|&streams| streams <= most) {
            let (held, outcome) =
                hold(self.rig, &site, streams, self.scale.held_s, || family.resident())?;
            let name = format!("open_{streams}");
            self.put(round, &site, &format!("{name}_kib"), (held - idle) / f64::from(streams));
            let p99 = outcome.events.map_or(f64::NAN, |events| events.p99);
            self.put(round, &site, &format!("{name}_event_p99"), p99);
            self.errors(round, &site, &name, &outcome);
            errors += outcome.errors as f64;
        }
        self.put(round, &site, "open_errors", errors);
        // The proxy gives memory back a few seconds after a peak.
        std::thread::sleep(if self.scale.quick { SHORT_REST } else { REST });
        self.put(round, &site, "after_mib", family.resident() / 1024.0);
        site.stop();
        Ok(())
    }

    /// 20 MB in a fresh process, three times.
    fn large_body(&mut self, round: usize, subject: Subject) -> Result<(), Failure> {
        let site = self.rig.start(subject)?;
        let Some(family) = &site.family else { return Ok(()) };
        let idle = family.resident();
        family.forget_peak()?;
        let mut times = Vec::new();
        for _ in 0..3 {
            let outcome =
                drive_sized(self.rig, &site, LARGE_BODY, &["burst", "--connections", "1"])?;
            self.errors(round, &site, "large_body", &outcome);
            times.push(if outcome.errors == 0 { outcome.latency.max / 1000.0 } else { f64::NAN });
        }
        let middle = Middle::of(times.into_iter()).map_or(f64::NAN, |middle| middle.median);
        self.put(round, &site, "large_body_ms", middle);
        let above = (family.peak() - idle) * 1024.0;
        self.put(round, &site, "large_body_peak", above / LARGE_BODY as f64);
        site.stop();
        Ok(())
    }

    /// From exec to the first answer, with a token in the store.
    fn starts(&mut self, round: usize) -> Result<(), Failure> {
        self.rig.forget_store();
        self.rig.start(Subject::Secure)?.stop();
        let tokens = count(self.rig)?.tokens;
        let mut times = Vec::new();
        for _ in 0..self.scale.starts {
            let began = Instant::now();
            let mut site = self.rig.launch(Subject::Secure, &[])?;
            site.wait_for_an_answer()?;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            site.stop();
        }
        if count(self.rig)?.tokens != tokens {
            self.troubles.push("ours: a start with a stored token refreshed it".to_owned());
        }
        let middle = Middle::of(times.into_iter()).map_or(f64::NAN, |middle| middle.median);
        self.figures.put(round, Subject::Secure.key(), "start_ms", middle);
        println!("    ours: start_ms {middle:.1}");
        Ok(())
    }

    /// A thousand callers, no token, and a token endpoint that answers a second after they asked.
    fn cold_refresh(&mut self, round: usize) -> Result<(), Failure> {
        self.rig.forget_store();
        set(self.rig, "hold_tokens=1")?;
        let before = count(self.rig)?.tokens;
        let site = self.rig.launch(Subject::Secure, &[])?;
        wait_for_port(&site.address)?;
        let asked = driver(self.rig, &site, 1024, &["burst", "--connections", "1000"]);
        let asked = asked.and_then(when_open);
        std::thread::sleep(Duration::from_secs(1));
        set(self.rig, "hold_tokens=0")?;
        let outcome = outcome(asked?)?;
        self.errors(round, &site, "cold_refresh", &outcome);
        self.put(round, &site, "cold_refresh_s", outcome.latency.max / 1e6);
        self.put(round, &site, "cold_refresh_tokens", (count(self.rig)?.tokens - before) as f64);
        site.stop();
        Ok(())
    }

    /// Tokens that live for eight seconds, of which the last quarter is for renewal, and an
    /// endpoint that takes one.
    fn living_refresh(&mut self, round: usize) -> Result<(), Failure> {
        self.rig.forget_store();
        set(self.rig, "token_lifetime_s=8")?;
        let site = self.rig.start(Subject::Secure)?;
        set(self.rig, "token_delay_ms=1000")?;
        let before = count(self.rig)?.tokens;
        let outcome = drive(self.rig, &site, &["open", "--rate", "500", "--seconds", "9"]);
        let tokens = count(self.rig)?.tokens - before;
        set(self.rig, "token_delay_ms=0&token_lifetime_s=3599")?;
        self.rig.forget_store();
        let outcome = outcome?;
        self.errors(round, &site, "living_refresh", &outcome);
        self.put(round, &site, "living_refresh_tokens", tokens as f64);
        if tokens == 0 {
            return Err(Failure("no token was renewed under load".to_owned()));
        }
        self.put(round, &site, "living_refresh_ms", outcome.latency.max / 1000.0);
        site.stop();
        Ok(())
    }

    /// Does a piece of work; its failing ends nothing else.
    fn attempt<T>(
        &mut self,
        subject: Subject,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Option<T> {
        match work(self) {
            Ok(done) => Some(done),
            Err(why) => {
                println!("    {}: {why}", subject.key());
                self.troubles.push(format!("{}: {why}", subject.key()));
                None
            }
        }
    }

    fn errors(&mut self, round: usize, site: &Site, what: &str, outcome: &Outcome) {
        let key = site.subject.key();
        self.figures.put(round, key, &format!("{what}_errors"), outcome.errors as f64);
        if let Some(why) = &outcome.first_error {
            let all = outcome.done + outcome.errors;
            println!("    {key}: {what}: {} of {all} failed: {why}", outcome.errors);
            self.troubles.push(format!("{key}: {what}: {} of {all} failed: {why}", outcome.errors));
        }
    }

    fn put(&mut self, round: usize, site: &Site, measure: &str, value: f64) {
        println!("    {}: {measure} {value:.1}", site.subject.key());
        self.figures.put(round, site.subject.key(), measure, value);
    }
}

/// One run of the driver against a subject.
pub(crate) fn drive(rig: &Rig, site: &Site, kind: &[&str]) -> Result<Outcome, Failure> {
    drive_sized(rig, site, 1024, kind)
}

/// The same, with another size of request bodies.
pub(crate) fn drive_sized(
    rig: &Rig,
    site: &Site,
    bytes: usize,
    kind: &[&str],
) -> Result<Outcome, Failure> {
    outcome(driver(rig, site, bytes, kind)?)
}

/// Opens streams with one event a second, looks while all are open, which they are for so many
/// `seconds`, and waits for their end.
pub(crate) fn hold<T>(
    rig: &Rig,
    site: &Site,
    streams: u32,
    seconds: u32,
    look: impl FnOnce() -> T,
) -> Result<(T, Outcome), Failure> {
    // The first one lives until the last one is open, and then for so many seconds.
    let events = (streams / 1250 + seconds + 1).to_string();
    let (streams, rate) = (streams.to_string(), ["--rate", "1250"]);
    let kind = ["streams", "--streams", &streams, "--events", &events, "--interval-ms", "1000"];
    let driver = when_open(driver(rig, site, 1024, &[&kind[..], &rate[..]].concat())?)?;
    std::thread::sleep(Duration::from_millis(500));
    let seen = look();
    Ok((seen, outcome(driver)?))
}

/// Waits until the driver says that all its connections or streams are open.
fn when_open(mut driver: Running) -> Result<Running, Failure> {
    let line = driver.line(RUN_LIMIT)?;
    let says_open = serde_json::from_str(&line).is_ok_and(|said: Value| said.get("open").is_some());
    if says_open { Ok(driver) } else { Err(Failure(format!("the driver said {line}"))) }
}

/// What came of the driver's run, whatever it has said before.
fn outcome(mut driver: Running) -> Result<Outcome, Failure> {
    loop {
        let line = driver.line(RUN_LIMIT)?;
        let said: Value = serde_json::from_str(&line).map_err(|_| Failure(line))?;
        if said.get("open").is_none() {
            return Ok(serde_json::from_value(said)?);
        }
    }
}

/// Nanoseconds that a subject has spent on its core.
pub(crate) fn cpu_nanos(site: &Site) -> f64 {
    site.family.as_ref().map_or(0.0, |family| family.cpu_nanos() as f64)
}

fn driver(rig: &Rig, site: &Site, bytes: usize, kind: &[&str]) -> Result<Running, Failure> {
    let shape = match site.subject.shape() {
        crate::request::Shape::Assist => "assist",
        crate::request::Shape::Gemini => "gemini",
        crate::request::Shape::Litellm => "litellm",
    };
    let mut driver = on_core(rig.load_core, &std::env::current_exe()?);
    driver.args(["drive", "--to", &site.address, "--shape", shape]);
    driver.args(["--bytes", &bytes.to_string()]);
    if site.subject == Subject::DirectSecure {
        driver.arg("--authority").arg(rig.authority());
    }
    Running::speaker(driver.args(kind))
}

fn count(rig: &Rig) -> Result<Count, Failure> {
    Ok(serde_json::from_slice(&control(rig, "/bench/count")?)?)
}

fn set(rig: &Rig, what: &str) -> Result<(), Failure> {
    control(rig, &format!("/bench/set?{what}")).map(drop)
}

fn control(rig: &Rig, target: &str) -> Result<Vec<u8>, Failure> {
    let to = format!("127.0.0.1:{}", rig.ports.plain);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nAuthorization: {KEY}\r\n\r\n");
    crate::load::once(&to, request.as_bytes()).map_err(Failure)
}

fn wait_for_port(address: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(Failure(format!("nobody listens on {address}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Writes what a run has found.
pub(crate) fn keep(findings: &Findings, work: &Path) -> Result<(), Failure> {
    Ok(fs::write(work.join(KEPT), serde_json::to_vec_pretty(findings)?)?)
}

/// Reads what the last run has found.
pub(crate) fn kept(work: &Path) -> Result<Findings, Failure> {
    let path = work.join(KEPT);
    let text = fs::read(&path)
        .map_err(|why| Failure(format!("there is no run to render ({}): {why}", path.display())))?;
    Ok(serde_json::from_slice(&text)?)
}

/// How often each load comes back to each subject in a round.
pub(crate) const TURNS: usize = 3;

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
