//! The Worker beside trivial ones under workerd, as `crates/worker/measure.mjs` measures them.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::samples::Samples;
use crate::BenchError;

/// One of the Workers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerVariant {
    /// Forwards requests and answers, in JavaScript.
    Forward,
    /// The same, with a log line for each request.
    Log,
    /// Parses and rebuilds every body, in JavaScript.
    Parse,
    /// The proxy's Worker.
    Proxy,
    /// The proxy's Worker without log lines.
    ProxyQuiet,
}

impl WorkerVariant {
    pub(crate) const ALL: [Self; 5] =
        [Self::Forward, Self::Log, Self::Parse, Self::Proxy, Self::ProxyQuiet];

    /// Its key in the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Forward => "worker-forward",
            Self::Log => "worker-log",
            Self::Parse => "worker-parse",
            Self::Proxy => "worker-proxy",
            Self::ProxyQuiet => "worker-proxy-quiet",
        }
    }
}

/// Adds what `measure.mjs --json` has written to the samples.
pub(crate) fn read(file: &Path, samples: &mut Samples) -> Result<(), BenchError> {
    let measured: Measurements = serde_json::from_slice(&fs::read(file)?)?;
    let proxy = WorkerVariant::Proxy.key();
    samples.put(0, proxy, "wasm_kib", measured.wasm_bytes / 1024.0);
    samples.put(0, proxy, "wasm_gzip_kib", measured.wasm_gzip_bytes / 1024.0);
    for (round, costs) in measured.rounds.into_iter().enumerate() {
        let RoundCosts { forward, log, parse, ours, ours_silent } = costs;
        let all = [forward, log, parse, ours, ours_silent];
        for (worker, costs) in WorkerVariant::ALL.into_iter().zip(all) {
            samples.put(round, worker.key(), "first_ms", costs.first_ms);
            samples.put(round, worker.key(), "unary_us", costs.unary_us);
            samples.put(round, worker.key(), "stream_us", costs.stream_us);
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Measurements {
    rounds: Vec<RoundCosts>,
    wasm_bytes: f64,
    wasm_gzip_bytes: f64,
}

/// The names are those of `measure.mjs`.
#[derive(Debug, Deserialize)]
struct RoundCosts {
    forward: WorkerCosts,
    log: WorkerCosts,
    parse: WorkerCosts,
    ours: WorkerCosts,
    ours_silent: WorkerCosts,
}

/// Start to first answer, and processor time of a request and of a stream of twenty events.
#[derive(Debug, Deserialize)]
struct WorkerCosts {
    first_ms: f64,
    unary_us: f64,
    stream_us: f64,
}
