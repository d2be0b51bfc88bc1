//! The listening side: accepts connections, speaks HTTP/1.1 or cleartext HTTP/2, drains on shutdown.
//!
//! No client can hold a connection without using it: a slow head, an idle connection and a response
//! that is not read are all limited in time.

mod client_stream;
mod response;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{Peer, Proxy};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::http_version::HttpVersion;
use crate::platform::TokioPlatform;
use client_stream::{ClientStream, StallDetector};
use response::{ResponseTracker, TrackedBody};

/// Limits on how long clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// `SHUTDOWN_DELAY_MS`: how long new requests are served after a shutdown has been announced.
    pub(crate) delay: Duration,
    /// `SHUTDOWN_GRACE_MS`: how long responses may go on after a shutdown has begun.
    pub(crate) grace: Duration,
    /// `STREAM_IDLE_TIMEOUT_MS`: how long a client may read nothing of its response.
    pub(crate) stall: Duration,
}

/// Serves until `shutdown` turns true and the delay after it has passed, lets responses finish within the
/// grace period, then ends them through `abort`.
///
/// New connections are still accepted while the server drains, so that a load balancer's check of
/// `/health` gets its 503. After the delay every other request is refused with `SHUTTING_DOWN`.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    platform: TokioPlatform,
    mut shutdown: watch::Receiver<bool>,
    abort: watch::Sender<bool>,
    timeouts: Timeouts,
) {
    let (phase, _) = watch::channel(Phase::Serving);
    let server = Arc::new(Server {
        proxy: Arc::clone(&proxy),
        platform,
        http1: http1_server(),
        http2: http2_server(),
        phase,
        stall_timeout: timeouts.stall,
    });
    let permits = Arc::new(Semaphore::new(max_connections()));
    loop {
        tokio::select! {
            () = accept(&listener, &permits, &server) => {}
            _ = shutdown.wait_for(|shutdown| *shutdown) => break,
        }
    }
    proxy.metrics().announce_shutdown();
    server.phase.send_replace(Phase::Draining);
    if !timeouts.delay.is_zero() {
        let delay_ms = timeouts.delay.as_secs_f64() * 1000.0;
        tracing::info!(
            delay_ms,
            "shutdown announced: health checks fail, requests are still served"
        );
        let mut delay = pin!(sleep(timeouts.delay));
        loop {
            tokio::select! {
                () = accept(&listener, &permits, &server) => {}
                () = &mut delay => break,
            }
        }
    }
    proxy.metrics().shut_down();
    let in_flight = proxy.metrics().in_flight();
    let grace_ms = timeouts.grace.as_secs_f64() * 1000.0;
    tracing::info!(in_flight, grace_ms, "shutting down");
    let mut deadline = Instant::now() + timeouts.grace;
    let mut aborted = false;
    while proxy.metrics().in_flight() > 0 {
        if Instant::now() >= deadline {
            if aborted {
                break;
            }
            // Streams get an error as their last event, and time to send it.
            aborted = true;
            let _ = abort.send(true);
            deadline = Instant::now() + DRAIN_FLUSH;
        }
        tokio::select! {
            () = accept(&listener, &permits, &server) => {}
            () = sleep(DRAIN_CHECK) => {}
        }
    }
    server.phase.send_replace(Phase::Finishing);
    // A response counts as ended when hyper has its last frame. The client may not have it yet.
    let left = deadline.saturating_duration_since(Instant::now());
    let _ = timeout(left.max(DRAIN_FLUSH), server.phase.closed()).await;
}

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// HTTP/2 clients get a GOAWAY, HTTP/1.1 clients `connection: close` with their next response.
    Draining,
    /// Every connection closes as soon as it is idle.
    Finishing,
}

/// What all connections share.
struct Server {
    proxy: Arc<Proxy>,
    platform: TokioPlatform,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// Each connection holds a receiver, so that the channel closes after the last connection.
    phase: watch::Sender<Phase>,
    stall_timeout: Duration,
}

/// Accepts one connection when a permit is free. Until then clients wait in the kernel's backlog.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>, server: &Arc<Server>) {
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
    match listener.accept().await {
        Ok((stream, address)) => {
            let phase = server.phase.subscribe();
            let peer = Peer(address.ip());
            tokio::spawn(Arc::clone(server).serve_connection(stream, peer, phase, permit));
        }
        Err(error) => {
            // Usually the process is out of file descriptors, and an immediate retry fails too.
            tracing::warn!("a connection could not be accepted: {error}");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

impl Server {
    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: Peer,
        mut phase: watch::Receiver<Phase>,
        _permit: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let detected = tokio::select! {
            detected = timeout(HEAD_TIMEOUT, ClientStream::detect(stream)) => detected,
            _ = phase.wait_for(|phase| *phase == Phase::Finishing) => return,
        };
        let Ok(Some((stream, version))) = detected else { return };
        let responses = Arc::new(ResponseTracker::default());
        let writes = stream.stall_detector();
        let service = service_fn(|request| self.respond(request, peer, &responses));
        let stream = TokioIo::new(stream);
        let stall_timeout = self.stall_timeout;
        let watched = WatchedConnection { responses: &responses, writes, stall_timeout, version };
        match version {
            HttpVersion::Http1 => {
                let connection = self.http1.serve_connection(stream, service);
                watched.run(connection, phase).await;
            }
            HttpVersion::Http2 => {
                // hyper spawns a task for each HTTP/2 request, so that the service cannot borrow.
                let (server, responses) = (Arc::clone(&self), Arc::clone(&responses));
                let service = service_fn(move |request| {
                    let (server, responses) = (Arc::clone(&server), Arc::clone(&responses));
                    async move { server.respond(request, peer, &responses).await }
                });
                let connection = self.http2.serve_connection(stream, service);
                watched.run(connection, phase).await;
            }
        }
    }

    async fn respond(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        responses: &Arc<ResponseTracker>,
    ) -> Result<http::Response<TrackedBody>, Infallible> {
        let pending = responses.register();
        request.extensions_mut().insert(peer);
        let version = request.version();
        // Boxed, so that an idle connection does not reserve space for a request.
        let mut response = Box::pin(self.proxy.handle(&self.platform, request)).await;
        if version < Version::HTTP_2 && self.proxy.metrics().shutting_down() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| pending.with_body(body)))
    }
}

/// A connection and its stall detectors.
struct WatchedConnection<'a> {
    responses: &'a ResponseTracker,
    writes: StallDetector,
    stall_timeout: Duration,
    version: HttpVersion,
}

impl WatchedConnection<'_> {
    /// Runs a connection until it ends, stalls, or stays idle for too long.
    async fn run<C>(mut self, connection: C, mut phase: watch::Receiver<Phase>)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let interval = (self.stall_timeout / STALL_CHECKS).clamp(MIN_STALL_CHECK, MAX_STALL_CHECK);
        let mut idle = Duration::ZERO;
        let mut closing = *phase.borrow() == Phase::Finishing;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended early: {error}");
                    }
                    return;
                }
                changed = phase.changed() => {
                    let phase = *phase.borrow_and_update();
                    let close = self.version == HttpVersion::Http2 || phase == Phase::Finishing;
                    if changed.is_err() || (close && !closing) {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = sleep(interval) => {
                    let stalled = self.writes.check(interval).max(self.responses.check(interval));
                    if stalled >= self.stall_timeout {
                        tracing::debug!("a client does not read its answer: connection closed");
                        return;
                    }
                    idle = if self.responses.is_idle() { idle + interval } else { Duration::ZERO };
                    // hyper's header timeout closes idle HTTP/1.1 connections.
                    if idle >= HEAD_TIMEOUT && self.version == HttpVersion::Http2 {
                        if closing {
                            return;
                        }
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                        idle = Duration::ZERO;
                    }
                }
            }
        }
    }
}

fn http1_server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    server
}

fn http2_server() -> http2::Builder<TokioExecutor> {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER);
    server
}

/// Returns half of the number of files that this process may open, since calls to Google, the store
/// and logs need descriptors too. Raises the soft limit to the hard limit first.
fn max_connections() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(16, MAX_CONNECTIONS)
    }
    #[cfg(not(unix))]
    MAX_CONNECTIONS
}

/// Limits the time for a request's head, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 256 * 1024;
const MAX_STREAMS: u32 = 1024;

/// Bytes of one stream that may wait for a client that reads slowly.
const SEND_BUFFER: usize = 128 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound on memory: an idle connection costs some ten kilobytes.
const MAX_CONNECTIONS: usize = 100_000;

/// A stall is checked for this many times within its timeout, at intervals between these bounds.
const STALL_CHECKS: u32 = 8;
const MIN_STALL_CHECK: Duration = Duration::from_millis(50);
const MAX_STALL_CHECK: Duration = Duration::from_secs(15);

/// How often the drain checks whether all requests have ended.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// How long clients have to read the last bytes of their responses.
const DRAIN_FLUSH: Duration = Duration::from_secs(1);
