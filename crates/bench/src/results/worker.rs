//! The Worker next to trivial ones under workerd, as `crates/worker/measure.mjs` has measured them.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::BenchError;
use crate::results::samples::Samples;

/// One of the Workers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerVariant {
    Forward,
    Log,
    Seed,
    Ours,
    Silent,
}

impl WorkerVariant {
    pub(crate) const ALL: [Self; 5] =
        [Self::Forward, Self::Log, Self::Seed, Self::Ours, Self::Silent];

    /// Its key in the figures.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Forward => "edge-forward",
            Self::Log => "edge-log",
            Self::Seed => "edge-seed",
            Self::Ours => "edge-ours",
            Self::Silent => "edge-silent",
        }
    }

    /// Its name in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Forward => "forwards only (JavaScript)",
            Self::Log => "forwards and logs a line (JavaScript)",
            Self::Seed => "parses, wraps, forwards, parses, unwraps (JavaScript)",
            Self::Ours => "**code-assist-proxy**",
            Self::Silent => "code-assist-proxy, `LOG_LEVEL=error`",
        }
    }
}

/// Puts what `measure.mjs --json` has written among the figures.
pub(crate) fn read(file: &Path, samples: &mut Samples) -> Result<(), BenchError> {
    let measured: Measured = serde_json::from_slice(&fs::read(file)?)?;
    let ours = WorkerVariant::Ours.key();
    samples.put(0, ours, "wasm_bytes", measured.wasm_bytes);
    samples.put(0, ours, "wasm_gzip_bytes", measured.wasm_gzip_bytes);
    for (round, costs) in measured.rounds.into_iter().enumerate() {
        let Round { forward, log, seed, ours, ours_silent } = costs;
        let all = [forward, log, seed, ours, ours_silent];
        for (edge, costs) in WorkerVariant::ALL.into_iter().zip(all) {
            samples.put(round, edge.key(), "first_ms", costs.first_ms);
            samples.put(round, edge.key(), "unary_us", costs.unary_us);
            samples.put(round, edge.key(), "stream_us", costs.stream_us);
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Measured {
    rounds: Vec<Round>,
    wasm_bytes: f64,
    wasm_gzip_bytes: f64,
}

#[derive(Debug, Deserialize)]
struct Round {
    forward: Costs,
    log: Costs,
    seed: Costs,
    ours: Costs,
    ours_silent: Costs,
}

/// Start to first answer, and processor time of a request and of a stream of twenty events.
#[derive(Debug, Deserialize)]
struct Costs {
    first_ms: f64,
    unary_us: f64,
    stream_us: f64,
}
