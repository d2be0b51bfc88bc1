//! Spans of requests, for a collector that speaks OTLP (`docs/LOGGING.md`).
//!
//! A request whose trace is recorded puts what is known of it into a bounded queue when it ends, and never
//! waits. A task makes spans of it and sends them, some at a time. Spans that cannot be sent are counted, and
//! a log line says so once a minute.

mod collector;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use code_assist_core::settings::{Problem, Sampler, Settings};
use code_assist_core::{RequestRecord, TraceId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use collector::Collector;

/// The end of the queue into which requests put their spans. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    sampler: Sampler,
    queue: mpsc::Sender<(SystemTime, RequestRecord)>,
    lost: Arc<AtomicU64>,
}

/// The task that sends spans.
#[derive(Debug)]
pub(crate) struct TracesTask {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts the task that sends spans, if the settings name a collector.
    pub(crate) fn start(settings: &Settings) -> Result<Option<(Self, TracesTask)>, Problem> {
        let Some(tracing) = &settings.tracing else { return Ok(None) };
        let (queue, ended) = mpsc::channel(LONGEST_QUEUE);
        let (closing, closed) = watch::channel(false);
        let lost = Arc::<AtomicU64>::default();
        let collector = Collector::new(settings, tracing, Arc::clone(&lost))
            .map_err(|text| Problem { name: tracing.endpoint_from.to_owned(), text })?;
        let task = tokio::spawn(collector.run(ended, closed));
        let traces = Self { sampler: tracing.sampler, queue, lost };
        Ok(Some((traces, TracesTask { closing, task })))
    }

    /// Whether a trace is recorded.
    pub(crate) fn samples(&self, trace: TraceId, client: Option<bool>) -> bool {
        match client.filter(|_| self.sampler.follows_client) {
            Some(client) => client,
            None => is_in_share(trace, self.sampler.ratio),
        }
    }

    /// Puts the spans of a request into the queue. Those that do not fit are lost.
    pub(crate) fn write(&self, ended: SystemTime, record: RequestRecord) {
        let spans = span::count(&record);
        if self.queue.try_send((ended, record)).is_err() {
            self.lost.fetch_add(spans, Relaxed);
        }
    }

    /// Spans that were lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl TracesTask {
    /// Sends what is in the queue, and waits for that, but not for ever.
    pub(crate) async fn close(self) {
        self.closing.send_replace(true);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.task).await;
    }
}

/// Decides by the random part of the id, as `TraceIdRatioBased` of OpenTelemetry's SDKs does, so that all
/// processes with the same share record the same traces.
fn is_in_share(trace: TraceId, share: f64) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the lower half of the id, and a share from 0 to 1"
    )]
    let (random, bound) = (trace.0 as u64 >> 1, (share * (1_u64 << 63) as f64) as u64);
    share >= 1.0 || random < bound
}

/// Some megabytes.
const LONGEST_QUEUE: usize = 2048;

/// How long a slow collector may delay the end of the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_follows_the_client_or_takes_a_share() {
        let (queue, _ended) = mpsc::channel(1);
        let samples = |follows_client, ratio, client| {
            let sampler = Sampler { follows_client, ratio };
            let traces = Traces { sampler, queue: queue.clone(), lost: Arc::default() };
            [1, 1 << 63, u128::from(u64::MAX)]
                .map(|low: u128| traces.samples(TraceId(1 << 100 | low), client))
        };
        assert_eq!(samples(true, 1.0, None), [true; 3]);
        assert_eq!(samples(true, 1.0, Some(false)), [false; 3]);
        assert_eq!(samples(true, 0.0, Some(true)), [true; 3]);
        assert_eq!(samples(false, 0.0, Some(true)), [false; 3]);
        assert_eq!(samples(false, 1.0, Some(false)), [true; 3]);
        assert_eq!(samples(true, 0.25, None), [true, false, false]);
        assert_eq!(samples(true, 0.75, None), [true, true, false]);
    }
}
