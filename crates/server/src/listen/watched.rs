//! A connection while it is served, and the reasons to end it.

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::ConnectionEnd;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client_stream::{ClientStream, StallDetector};
use super::connection::ClientConnection;
use super::response::{StallTimeouts, TrackedBody};
use super::{HEAD_TIMEOUT, Phase, StreamTasks};
use crate::clock::Timer;
use crate::http_version::HttpVersion;

/// A connection with its stall detectors.
pub(super) struct WatchedConnection {
    pub(super) connection: Arc<ClientConnection>,
    pub(super) stall_timeouts: StallTimeouts,
}

impl WatchedConnection {
    /// Runs a connection until it ends, stalls, stays idle for too long, or is closed for another one.
    pub(super) async fn run<C>(self, serving: C, mut phase: watch::Receiver<Phase>)
    where
        C: ServedConnection,
    {
        let Self { connection, stall_timeouts } = self;
        let mut serving = pin!(serving);
        let mut writes = StallDetector::default();
        let mut idle = Duration::ZERO;
        let mut closing = *phase.borrow() == Phase::Finishing;
        loop {
            let interval = check_interval(stall_timeouts.of(connection.is_admitted()));
            tokio::select! {
                biased;
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended early: {error}");
                    }
                    return;
                }
                () = connection.place.place.woken() => {
                    if !connection.place.place.is_closing() {
                        let has_changed = phase.has_changed().is_ok_and(|it| it);
                        let phase = *phase.borrow_and_update();
                        let is_http2 = connection.version == HttpVersion::Http2;
                        let close = is_http2 || phase == Phase::Finishing;
                        if has_changed && close && !closing {
                            closing = true;
                            serving.as_mut().graceful_shutdown();
                        }
                        continue;
                    }
                    if connection.place.place.is_out_of_memory() {
                        connection.place.ended(ConnectionEnd::MemoryLimit);
                        return;
                    }
                    if connection.version == HttpVersion::Http2 {
                        serving.as_mut().graceful_shutdown();
                        let _ = timeout(EVICTION_FLUSH, serving).await;
                    }
                    return;
                }
                () = Timer::after(interval) => {
                    let blocked = writes.check(&connection.place.place.writes, interval);
                    let takes_nothing = blocked >= stall_timeouts.of(connection.is_admitted());
                    if takes_nothing || connection.end_stalled(interval, stall_timeouts) {
                        connection.place.ended(ConnectionEnd::Stalled);
                        tracing::debug!("a client does not read its answer: connection closed");
                        return;
                    }
                    let is_idle = connection.responses().is_empty();
                    idle = if is_idle { idle + interval } else { Duration::ZERO };
                    // hyper's header timeout closes idle HTTP/1.1 connections.
                    if idle >= HEAD_TIMEOUT && connection.version == HttpVersion::Http2 {
                        if closing {
                            return;
                        }
                        closing = true;
                        serving.as_mut().graceful_shutdown();
                        idle = Duration::ZERO;
                    }
                }
            }
        }
    }
}

/// A connection that hyper serves. hyper-util's trait of this kind leaves out connections with upgrades.
pub(super) trait ServedConnection: Future<Output = hyper::Result<()>> {
    /// Ends the connection as soon as it is idle.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<S> ServedConnection for http1::UpgradeableConnection<TokioIo<ClientStream>, S>
where
    S: HttpService<Incoming, ResBody = TrackedBody>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

impl<S> ServedConnection for http2::Connection<TokioIo<ClientStream>, S, StreamTasks>
where
    S: HttpService<Incoming, ResBody = TrackedBody>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    StreamTasks: Http2ServerConnExec<S::Future, TrackedBody>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

/// How often a stall is checked for.
fn check_interval(stall_timeout: Duration) -> Duration {
    (stall_timeout / STALL_CHECKS).clamp(MIN_STALL_CHECK, MAX_STALL_CHECK)
}

/// How long an idle HTTP/2 connection has to send its GOAWAY when its place is needed.
const EVICTION_FLUSH: Duration = Duration::from_millis(200);

/// A stall is checked for this many times within its timeout, at intervals between these bounds.
const STALL_CHECKS: u32 = 8;
const MIN_STALL_CHECK: Duration = Duration::from_millis(50);
const MAX_STALL_CHECK: Duration = Duration::from_secs(15);
