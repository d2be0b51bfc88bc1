//! The listening side: accept, speak HTTP/1.1 or cleartext HTTP/2, drain on shutdown.
//!
//! Nobody can hold a connection for nothing: not by sending a head slowly, not by being idle, not by
//! taking an answer so slowly that nothing of it moves.

mod client_stream;
mod response;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::platform::Peer;
use code_assist_core::proxy::Proxy;
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

use crate::platform::TokioPlatform;
use client_stream::{ClientStream, HttpVersion};
use response::{ResponseTracker, TrackedBody};

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// `SHUTDOWN_GRACE_MS`.
    pub(crate) grace: Duration,
    /// `STREAM_IDLE_TIMEOUT_MS`: a client that takes nothing of its answer for so long is given up.
    pub(crate) stall: Duration,
}

/// Serves until `shutdown` turns true, then lets answers finish for the grace, then ends them.
///
/// While it drains it still accepts, so that a load balancer's look at `/health` gets its 503;
/// everything else is refused with `SHUTTING_DOWN`.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    platform: TokioPlatform,
    mut shutdown: watch::Receiver<bool>,
    ending: watch::Sender<bool>,
    timeouts: Timeouts,
) {
    let (phase, _) = watch::channel(Phase::Serving);
    let server = Arc::new(Server {
        proxy: Arc::clone(&proxy),
        platform,
        http1: http1_server(),
        http2: http2_server(),
        phase,
        stall: timeouts.stall,
    });
    let permits = Arc::new(Semaphore::new(most_connections()));
    loop {
        tokio::select! {
            () = accept(&listener, &permits, &server) => {}
            _ = shutdown.wait_for(|shutdown| *shutdown) => break,
        }
    }
    proxy.report().shut_down();
    server.phase.send_replace(Phase::Draining);
    let in_flight = proxy.report().in_flight();
    let grace_ms = timeouts.grace.as_secs_f64() * 1000.0;
    tracing::info!(in_flight, grace_ms, "shutting down");
    let mut end = Instant::now() + timeouts.grace;
    let mut ended = false;
    while proxy.report().in_flight() > 0 {
        if Instant::now() >= end {
            if ended {
                break;
            }
            // Streams get an error as their last event, and a moment to get it out.
            ended = true;
            let _ = ending.send(true);
            end = Instant::now() + DRAIN_FLUSH;
        }
        tokio::select! {
            () = accept(&listener, &permits, &server) => {}
            () = sleep(LOOK) => {}
        }
    }
    server.phase.send_replace(Phase::Finishing);
    // Answers have ended when they were handed over; their bytes may still be on their way.
    let left = end.saturating_duration_since(Instant::now());
    let _ = timeout(left.max(DRAIN_FLUSH), server.phase.closed()).await;
}

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// HTTP/2 clients are told by GOAWAY, HTTP/1.1 clients with their next answer.
    Draining,
    Finishing,
}

/// What every connection needs.
struct Server {
    proxy: Arc<Proxy>,
    platform: TokioPlatform,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// Each connection keeps a receiver for as long as it lives.
    phase: watch::Sender<Phase>,
    stall: Duration,
}

/// Takes one connection as soon as there is a permit for it; until then clients wait in the
/// kernel's line.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>, server: &Arc<Server>) {
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
    match listener.accept().await {
        Ok((stream, address)) => {
            let phase = server.phase.subscribe();
            let peer = Peer(address.ip());
            tokio::spawn(Arc::clone(server).converse(stream, peer, phase, permit));
        }
        Err(error) => {
            // Out of file descriptors, as a rule: turning at full speed would not bring any back.
            tracing::warn!("a connection could not be accepted: {error}");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

impl Server {
    /// One connection from its first byte to its end.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: Peer,
        mut phase: watch::Receiver<Phase>,
        _place: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let sniffed = tokio::select! {
            sniffed = timeout(HEAD_TIMEOUT, ClientStream::sniff(stream)) => sniffed,
            _ = phase.wait_for(|phase| *phase == Phase::Finishing) => return,
        };
        let Ok(Some((wire, version))) = sniffed else { return };
        let responses = Arc::new(ResponseTracker::default());
        let blocked = wire.blocked();
        let service = service_fn(|request| self.answer(request, peer, &responses));
        let wire = TokioIo::new(wire);
        let watched =
            WatchedConnection { responses: &responses, blocked, stall: self.stall, version };
        match version {
            HttpVersion::Http1 => {
                let connection = self.http1.serve_connection(wire, service);
                watched.run(connection, phase).await;
            }
            HttpVersion::Http2 => {
                // Requests run in tasks of their own here, and cannot borrow.
                let (server, responses) = (Arc::clone(&self), Arc::clone(&responses));
                let service = service_fn(move |request| {
                    let (server, responses) = (Arc::clone(&server), Arc::clone(&responses));
                    async move { server.answer(request, peer, &responses).await }
                });
                let connection = self.http2.serve_connection(wire, service);
                watched.run(connection, phase).await;
            }
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        responses: &Arc<ResponseTracker>,
    ) -> Result<http::Response<TrackedBody>, Infallible> {
        let reply = responses.open();
        request.extensions_mut().insert(peer);
        let version = request.version();
        // On the heap, so that the connection stays small while it waits for a request.
        let mut response = Box::pin(self.proxy.handle(&self.platform, request)).await;
        if version < Version::HTTP_2 && self.proxy.report().shutting_down() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| reply.with(body)))
    }
}

/// A connection, and what tells that it has come to a standstill.
struct WatchedConnection<'a> {
    responses: &'a ResponseTracker,
    blocked: client_stream::StallDetector,
    stall: Duration,
    version: HttpVersion,
}

impl WatchedConnection<'_> {
    /// Runs a connection to its end, which may be ours to decide.
    async fn run<C>(mut self, connection: C, mut phase: watch::Receiver<Phase>)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let every = (self.stall / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        let mut idle = Duration::ZERO;
        let mut told = *phase.borrow() == Phase::Finishing;
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
                    let at_once = self.version == HttpVersion::Http2 || phase == Phase::Finishing;
                    if changed.is_err() || (at_once && !told) {
                        told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = sleep(every) => {
                    if self.blocked.look(every).max(self.responses.look(every)) >= self.stall {
                        tracing::debug!("a client takes nothing of its answer: given up");
                        return;
                    }
                    idle = if self.responses.are_none() { idle + every } else { Duration::ZERO };
                    // hyper's own timer sees to HTTP/1.1.
                    if idle >= HEAD_TIMEOUT && self.version == HttpVersion::Http2 {
                        if told {
                            return;
                        }
                        told = true;
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
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(LARGEST_HEAD);
    server
}

fn http2_server() -> http2::Builder<TokioExecutor> {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_header_list_size(LARGEST_HEAD as u32)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(UNSENT);
    server
}

/// Half of the files that this process may open: the other half is for upstream, the store and
/// whatever else. The limit that a shell starts with is raised to what the system allows.
fn most_connections() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(16, MOST_CONNECTIONS)
    }
    #[cfg(not(unix))]
    MOST_CONNECTIONS
}

/// A client that has not sent its headers by then is not going to; the same bound holds for an idle
/// connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const LARGEST_HEAD: usize = 256 * 1024;
const STREAMS: u32 = 1024;

/// What one stream may have waiting for a client that reads slowly.
const UNSENT: usize = 128 * 1024;
const PING_EVERY: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An idle connection costs some ten kilobytes.
const MOST_CONNECTIONS: usize = 100_000;

/// A standstill is noticed with this precision: a share of the timeouts, between these bounds.
const LOOKS: u32 = 8;
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(15);

/// How often the drain looks whether everything has ended.
const LOOK: Duration = Duration::from_millis(20);
const DRAIN_FLUSH: Duration = Duration::from_secs(1);
