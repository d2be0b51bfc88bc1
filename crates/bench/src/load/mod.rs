//! Load: one kind of load against one address, its result as one line of JSON.

mod closed;
mod open;
mod streams;
mod target;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::clock::{self, MICRO};
use crate::request::{self, RequestFormat, ResponsePlan};
use target::LoadTarget;
pub(crate) use target::connect_tls;

/// A load, as the command line gives it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// `127.0.0.1:PORT`
    #[arg(long)]
    pub(crate) to: String,
    /// The API in which requests are written
    #[arg(long, value_enum)]
    pub(crate) format: RequestFormat,
    /// Speaks HTTP/2 with TLS and trusts this certificate
    #[arg(long)]
    pub(crate) authority: Option<PathBuf>,
    /// Size of request bodies
    #[arg(long, default_value_t = 1024)]
    pub(crate) bytes: usize,
    /// The kind of load
    #[command(subcommand)]
    pub(crate) kind: LoadKind,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum LoadKind {
    /// Each of N connections sends one request, all at the same moment
    Burst {
        #[arg(long)]
        connections: u32,
    },
    /// Each of N connections sends its next request as soon as it has the answer
    Closed {
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        seconds: f64,
        /// Events of a stream; 0 requests whole answers
        #[arg(long, default_value_t = 0)]
        events: u32,
    },
    /// A fixed rate of requests a second, however long the answers take
    Open {
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        seconds: f64,
    },
    /// N streams at once, opened at a rate; reports when all are open
    Streams {
        #[arg(long)]
        streams: u32,
        #[arg(long)]
        events: u32,
        #[arg(long)]
        interval_ms: u32,
        /// New streams a second
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
    },
}

/// The result of a load. Times are in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LoadResult {
    /// Requests or streams that succeeded.
    pub(crate) done: u64,
    /// Requests or streams that failed.
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    /// Duration of the load.
    pub(crate) seconds: f64,
    /// Until the answer is complete; of a stream, until its first byte.
    pub(crate) latency: Percentiles,
    /// From an event's timestamp to its receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Percentiles>,
}

/// A distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Sends the load and prints its result.
pub(crate) async fn run(load: &Load) -> Result<(), BenchError> {
    let target = LoadTarget::connect(&load.to, load.authority.as_deref()).await?;
    let result = match load.kind {
        LoadKind::Burst { connections } => closed::burst(load, &target, connections).await,
        LoadKind::Closed { connections, seconds, events } => {
            closed::run(load, &target, connections, Duration::from_secs_f64(seconds), events).await
        }
        LoadKind::Open { rate, seconds } => {
            open::run(load, &target, rate, Duration::from_secs_f64(seconds)).await?
        }
        LoadKind::Streams { streams, events, interval_ms, rate } => {
            streams::run(load, &target, streams, ResponsePlan { events, interval_ms }, rate).await
        }
    };
    print_line(&result)
}

/// Sends one request and returns the body of its answer. For callers outside a runtime.
pub(crate) fn send_once(to: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let sent = crate::block_on(async {
        let see = |piece: &[u8]| body.extend_from_slice(piece);
        LoadTarget::Http1(to.into()).exchange(&mut None, request, see).await.map_err(BenchError)
    });
    sent.map(|()| body).map_err(|error| error.0)
}

/// Prints one line of JSON.
fn print_line(what: &impl Serialize) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    out.flush()?;
    Ok(())
}

impl Load {
    fn request(&self, plan: ResponsePlan) -> Bytes {
        request::request(self.format, plan, self.bytes, &self.to)
    }
}

/// Records what has ended.
#[derive(Debug)]
struct Recorder {
    done: u64,
    errors: u64,
    first_error: Option<String>,
    latency: Histogram<u64>,
    started: u64,
}

impl Recorder {
    fn new() -> Self {
        Self { done: 0, errors: 0, first_error: None, latency: histogram(), started: clock::now() }
    }

    fn count(&mut self, ended: Result<(), String>, nanos: u64) {
        match ended {
            Ok(()) => {
                self.done += 1;
                self.latency.saturating_record(nanos);
            }
            Err(why) => {
                self.errors += 1;
                self.first_error.get_or_insert(why);
            }
        }
    }

    fn result(self, events: Option<&Histogram<u64>>) -> LoadResult {
        LoadResult {
            done: self.done,
            errors: self.errors,
            first_error: self.first_error,
            seconds: (clock::now() - self.started) as f64 / clock::SECOND as f64,
            latency: Percentiles::of(&self.latency),
            events: events.map(Percentiles::of),
        }
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / MICRO;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / MICRO,
        }
    }
}

/// From a microsecond to two minutes, in nanoseconds, with three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1000, 120 * clock::SECOND, 3).expect("bounds in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let mut recorder = Recorder::new();
        for micros in 1..=1000 {
            recorder.count(Ok(()), micros * 1000);
        }
        recorder.count(Err("lost".to_owned()), 0);
        let result = recorder.result(None);
        assert_eq!((result.done, result.errors), (1000, 1));
        let Percentiles { p50, p99, p999, max, .. } = result.latency;
        for (found, expected) in [(p50, 500.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)] {
            assert!((found - expected).abs() < expected / 100.0, "{found}, not {expected}");
        }
    }
}
