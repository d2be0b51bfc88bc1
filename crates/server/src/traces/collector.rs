//! The task that sends spans to the collector.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use code_assist_core::settings::{Settings, TracingSettings};
use code_assist_core::{Payload, RequestRecord};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use opentelemetry::KeyValue;
use opentelemetry_http::HttpError;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use secrecy::ExposeSecret;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::span;
use crate::http_client::HttpClient;

/// The exporter, and what has failed.
pub(super) struct Collector {
    exporter: SpanExporter,
    endpoint: String,
    /// The HTTP status of the last answer, 0 without one.
    status: Arc<AtomicU16>,
    lost: Arc<AtomicU64>,
    reported: u64,
    report_at: Option<Instant>,
}

impl Collector {
    /// The error says what is wrong with the settings.
    pub(super) fn new(
        settings: &Settings,
        tracing: &TracingSettings,
        lost: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let status = Arc::<AtomicU16>::default();
        let (keep_open, abort) = watch::channel(false);
        let client = HttpClient::new(settings, abort).map_err(|error| error.to_string())?;
        let client = CollectorClient {
            client,
            timeout: tracing.timeout,
            status: Arc::clone(&status),
            _keep_open: keep_open,
        };
        let headers = tracing.headers.iter();
        let headers: HashMap<String, String> =
            headers.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(&tracing.endpoint)
            .with_timeout(tracing.timeout)
            .with_headers(headers)
            .build()
            .map_err(|error| error.to_string())?;
        let resource = tracing.resource.iter();
        let resource = resource
            .map(|(name, value)| KeyValue::new(name.clone(), value.clone()))
            .chain([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))]);
        exporter.set_resource(&Resource::builder_empty().with_attributes(resource).build());
        let endpoint = tracing.endpoint.clone();
        Ok(Self { exporter, endpoint, status, lost, reported: 0, report_at: None })
    }

    /// Sends spans until the queue is closed.
    pub(super) async fn run(
        mut self,
        mut ended: mpsc::Receiver<(SystemTime, RequestRecord)>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut requests = Vec::new();
        loop {
            let closed = tokio::select! {
                biased;
                _ = ended.recv_many(&mut requests, MOST_REQUESTS) => false,
                _ = closing.wait_for(|closing| *closing) => true,
            };
            if !closed {
                self.gather(&mut ended, &mut requests, &mut closing).await;
            }
            if requests.is_empty() {
                self.report("", true);
                return;
            }
            let spans: Vec<SpanData> =
                requests.drain(..).flat_map(|(ended, record)| span::of(ended, &record)).collect();
            self.export(spans, &mut closing).await;
        }
    }

    /// Waits for more requests, so that few batches are sent.
    async fn gather(
        &self,
        ended: &mut mpsc::Receiver<(SystemTime, RequestRecord)>,
        requests: &mut Vec<(SystemTime, RequestRecord)>,
        closing: &mut watch::Receiver<bool>,
    ) {
        let until = Instant::now() + BATCH_DELAY;
        while requests.len() < MOST_REQUESTS {
            let free = MOST_REQUESTS - requests.len();
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => {
                    while requests.len() < MOST_REQUESTS
                        && let Ok(more) = ended.try_recv()
                    {
                        requests.push(more);
                    }
                    return;
                }
                () = sleep_until(until) => return,
                count = ended.recv_many(requests, free) => if count == 0 { return },
            }
        }
    }

    /// Sends a batch, again after a pause where that may help.
    async fn export(&mut self, spans: Vec<SpanData>, closing: &mut watch::Receiver<bool>) {
        let count = spans.len() as u64;
        let mut pause = FIRST_PAUSE;
        loop {
            self.status.store(0, Relaxed);
            let Err(error) = self.exporter.export(spans.clone()).await else { return };
            // As the specification of OTLP has it.
            let may_help = matches!(self.status.load(Relaxed), 0 | 429 | 502..=504);
            if !may_help || pause > LONGEST_PAUSE || *closing.borrow() {
                self.lost.fetch_add(count, Relaxed);
                self.report(&error.to_string(), false);
                return;
            }
            tokio::select! {
                () = sleep_until(Instant::now() + pause) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
            pause *= 2;
        }
    }

    /// Logs how many spans were lost, once a minute.
    fn report(&mut self, why: &str, closing: bool) {
        let (lost, now) = (self.lost.load(Relaxed), Instant::now());
        if lost > self.reported && (closing || self.report_at.is_none_or(|at| at <= now)) {
            tracing::warn!(
                lost = lost - self.reported,
                "spans did not reach the collector at {}: {why}",
                self.endpoint
            );
            self.reported = lost;
            self.report_at = Some(now + BETWEEN_REPORTS);
        }
    }
}

/// Sends the exporter's requests over a pool of connections of its own: the corporate proxy and the
/// certificate authorities of the settings hold for it too.
#[derive(Debug)]
struct CollectorClient {
    client: HttpClient,
    timeout: Duration,
    status: Arc<AtomicU16>,
    /// Without it the client would take the process for one that stops.
    _keep_open: watch::Sender<bool>,
}

#[async_trait]
impl opentelemetry_http::HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let response = self.client.send_cloned(request.map(Payload::from)).await;
            let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
            self.status.store(head.status.as_u16(), Relaxed);
            let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| format!("no answer within {:?}", self.timeout))?
    }
}

/// How long a span may wait for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Requests whose spans are sent at once.
const MOST_REQUESTS: usize = 512;

/// The pauses before a batch is sent again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// Bytes of a collector's answer.
const LONGEST_ANSWER: usize = 1 << 20;
