//! Loads are sent by a child process of this same program (`drive`) on the other core, and upstream
//! is controlled over HTTP.

use std::thread;
use std::time::Duration;

use clap::ValueEnum as _;
use serde_json::Value;

use crate::BenchError;
use crate::load::{self, LoadResult};
use crate::process::{ChildProcess, on_core};
use crate::request::KEY;
use crate::testbed::{Contender, Instance, TestBed};
use crate::upstream::UpstreamCounts;

/// Sends one load to a contender, with bodies of 1 KiB.
pub(super) fn drive(
    bed: &TestBed,
    instance: &Instance,
    load: &[&str],
) -> Result<LoadResult, BenchError> {
    drive_sized(bed, instance, 1024, load)
}

/// Sends one load to a contender, with request bodies of this size.
pub(crate) fn drive_sized(
    bed: &TestBed,
    instance: &Instance,
    bytes: usize,
    load: &[&str],
) -> Result<LoadResult, BenchError> {
    result_of(start_driver(bed, instance, bytes, load)?)
}

/// Opens streams with one event a second, calls `observe` while all of them are open, which is for
/// `seconds`, and waits for their end.
pub(super) fn hold_streams<T>(
    bed: &TestBed,
    instance: &Instance,
    streams: u32,
    seconds: u32,
    observe: impl FnOnce() -> T,
) -> Result<(T, LoadResult), BenchError> {
    // The first stream lives until the last one is open, and then for `seconds`.
    let events = (streams / STREAMS_A_SECOND + seconds + 1).to_string();
    let (streams, rate) = (streams.to_string(), STREAMS_A_SECOND.to_string());
    let load = ["streams", "--streams", &streams, "--events", &events];
    let load = [&load[..], &["--interval-ms", "1000", "--rate", &rate]].concat();
    let driver = await_open(start_driver(bed, instance, 1024, &load)?)?;
    thread::sleep(Duration::from_millis(500));
    let observed = observe();
    Ok((observed, result_of(driver)?))
}

/// Starts the process that sends the load.
pub(super) fn start_driver(
    bed: &TestBed,
    instance: &Instance,
    bytes: usize,
    load: &[&str],
) -> Result<ChildProcess, BenchError> {
    let format = instance.contender.request_format().to_possible_value();
    let format =
        format.ok_or_else(|| BenchError("a format that the driver does not have".to_owned()))?;
    let mut driver = on_core(bed.load_core, &std::env::current_exe()?);
    driver.args(["drive", "--to", &instance.address, "--format", format.get_name()]);
    driver.args(["--bytes", &bytes.to_string()]);
    if instance.contender == Contender::DirectTls {
        driver.arg("--authority").arg(bed.authority());
    }
    ChildProcess::with_output(driver.args(load))
}

/// Waits until the driver reports that all its connections or streams are open.
pub(super) fn await_open(mut driver: ChildProcess) -> Result<ChildProcess, BenchError> {
    let line = driver.line(LOAD_LIMIT)?;
    let is_open =
        serde_json::from_str(&line).is_ok_and(|report: Value| report.get("open").is_some());
    if is_open { Ok(driver) } else { Err(BenchError(format!("the driver printed {line}"))) }
}

/// The driver's result, after whatever it has reported before.
pub(super) fn result_of(mut driver: ChildProcess) -> Result<LoadResult, BenchError> {
    loop {
        let line = driver.line(LOAD_LIMIT)?;
        let report: Value = serde_json::from_str(&line).map_err(|_| BenchError(line))?;
        if report.get("open").is_none() {
            return Ok(serde_json::from_value(report)?);
        }
    }
}

/// Nanoseconds that a contender has spent on its core; none for a direct client.
pub(super) fn cpu_nanos(instance: &Instance) -> f64 {
    instance.processes.as_ref().map_or(0.0, |processes| processes.cpu_nanos() as f64)
}

pub(super) fn upstream_counts(bed: &TestBed) -> Result<UpstreamCounts, BenchError> {
    Ok(serde_json::from_slice(&control(bed, "/bench/count")?)?)
}

/// Changes upstream's settings: `token_delay_ms=1000&token_lifetime_s=8`.
pub(super) fn set_upstream(bed: &TestBed, settings: &str) -> Result<(), BenchError> {
    control(bed, &format!("/bench/set?{settings}")).map(drop)
}

fn control(bed: &TestBed, target: &str) -> Result<Vec<u8>, BenchError> {
    let to = format!("127.0.0.1:{}", bed.ports.plain);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nAuthorization: {KEY}\r\n\r\n");
    load::send_once(&to, request.as_bytes()).map_err(BenchError)
}

/// How fast streams are opened that are then held.
const STREAMS_A_SECOND: u32 = 1250;

/// Longer than the longest load.
const LOAD_LIMIT: Duration = Duration::from_secs(150);
