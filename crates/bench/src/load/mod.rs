//! The load: one run of one kind against one address, its result as one line of JSON.

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

/// Where to, and what is sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// `127.0.0.1:PORT`
    #[arg(long)]
    pub(crate) to: String,
    /// Whose protocol
    #[arg(long, value_enum)]
    pub(crate) shape: RequestFormat,
    /// Goes to upstream itself over HTTP/2 with TLS, which this certificate proves
    #[arg(long)]
    pub(crate) authority: Option<PathBuf>,
    /// How large request bodies are
    #[arg(long, default_value_t = 1024)]
    pub(crate) bytes: usize,
    /// How requests come
    #[command(subcommand)]
    pub(crate) kind: LoadKind,
}

/// How requests come.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum LoadKind {
    /// Each of N connections asks once, all at the same moment
    Burst {
        #[arg(long)]
        connections: u32,
    },
    /// Each of N connections asks again as soon as it has been answered
    Closed {
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        seconds: f64,
        /// Events of a stream; 0 asks for whole answers
        #[arg(long, default_value_t = 0)]
        events: u32,
    },
    /// So many requests a second, whether or not the ones before have been answered
    Open {
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        seconds: f64,
    },
    /// N streams at once, opened at a rate; says when all are open
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

/// What came of a run. Times are microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LoadResult {
    /// Requests or streams that came to a good end.
    pub(crate) done: u64,
    /// Those that did not.
    pub(crate) errors: u64,
    /// The first error in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    /// How long the run took.
    pub(crate) seconds: f64,
    /// Until an answer was complete, or a stream had begun.
    pub(crate) latency: Percentiles,
    /// From an event's stamp to its receipt.
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

/// Runs the load and prints its outcome.
pub(crate) async fn run(load: &Load) -> Result<(), BenchError> {
    let target = LoadTarget::to(&load.to, load.authority.as_deref()).await?;
    let outcome = match load.kind {
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
    say(&outcome)
}

/// One request and its answer, for those who are not in a runtime.
pub(crate) fn once(to: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let asked = crate::block_on(async {
        let see = |piece: &[u8]| body.extend_from_slice(piece);
        LoadTarget::Plain(to.into()).exchange(&mut None, request, see).await.map_err(BenchError)
    });
    asked.map(|()| body).map_err(|failure| failure.0)
}

/// One line of JSON.
fn say(what: &impl Serialize) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    out.flush()?;
    Ok(())
}

impl Load {
    fn request(&self, plan: ResponsePlan) -> Bytes {
        request::request(self.shape, plan, self.bytes, &self.to)
    }
}

/// Counts what has come to an end.
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

    fn outcome(self, events: Option<&Histogram<u64>>) -> LoadResult {
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

/// A microsecond to two minutes in nanoseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1000, 120 * clock::SECOND, 3).expect("bounds in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut recorder = Recorder::new();
        for micros in 1..=1000 {
            recorder.count(Ok(()), micros * 1000);
        }
        recorder.count(Err("lost".to_owned()), 0);
        let outcome = recorder.outcome(None);
        assert_eq!((outcome.done, outcome.errors), (1000, 1));
        let Percentiles { p50, p99, p999, max, .. } = outcome.latency;
        for (found, expected) in [(p50, 500.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)] {
            assert!((found - expected).abs() < expected / 100.0, "{found}, not {expected}");
        }
    }
}
