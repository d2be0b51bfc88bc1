//! The listening side: accepts connections, speaks HTTP/1.1 or cleartext HTTP/2, drains on shutdown.
//!
//! No client can hold a connection without using it: a slow head, an idle connection and a response
//! that is not read are all limited in time.

mod answering;
mod client_stream;
mod connection;
mod early;
mod memory;
mod places;
mod request_body;
mod response;
#[cfg(test)]
mod tests;
mod tunnel;
mod watched;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::settings::Settings;
use code_assist_core::{Caller, ConnectionEnd, Proxy, Sharded};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::{self, HyperTimer};
use crate::http_version::HttpVersion;
use crate::platform::TokioPlatform;
use answering::respond;
use client_stream::{ClientStream, DetectedStream};
use connection::ClientConnection;
use memory::{ConnectionMemory, ListenerMemory};
use places::{PlaceGuard, Places};
use response::StallTimeouts;
use watched::WatchedConnection;

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

impl Timeouts {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            delay: settings.shutdown_delay,
            grace: settings.shutdown_grace,
            stall: settings.stream_idle_timeout,
        }
    }
}

/// The sockets to accept connections from.
pub(crate) struct Listeners {
    /// `PORT`.
    pub(crate) main: TcpListener,
    /// `ADMIN_PORT`, if it is set.
    pub(crate) admin: Option<TcpListener>,
}

/// Serves until `shutdown` turns true and the delay after it has passed, lets responses finish within the
/// grace period, then ends them through `abort`.
///
/// New connections are still accepted while the server drains, so that a load balancer's check of
/// `/health` gets its 503. After the delay every other request is refused with `SHUTTING_DOWN`.
pub(crate) async fn serve(
    listeners: Listeners,
    proxy: Arc<Proxy>,
    platform: TokioPlatform,
    mut shutdown: watch::Receiver<bool>,
    abort: watch::Sender<bool>,
    timeouts: Timeouts,
) {
    let (phase, _) = watch::channel(Phase::Serving);
    let memory = ListenerMemory::new(Arc::clone(proxy.memory()));
    let stranger = timeouts.stall.min(STRANGER_STALL);
    let (main_places, admin_places) =
        count_places(open_files(), memory.most_connections(), listeners.admin.is_some());
    let server = Arc::new(Server {
        proxy: Arc::clone(&proxy),
        platform: Sharded::new(|| platform.replica()),
        http1: http1_server(),
        memory,
        phase,
        stall_timeouts: StallTimeouts { admitted: timeouts.stall, stranger },
    });
    let main = Port { places: Places::new(main_places, Some(Arc::clone(&proxy))), is_admin: false };
    let admin = Port { places: Places::new(admin_places, None), is_admin: true };
    let mut accepting = pin!(async {
        let accept_admin = async {
            match &listeners.admin {
                Some(listener) => server.accept_all(listener, &admin).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(server.accept_all(&listeners.main, &main), accept_admin)
    });
    tokio::select! {
        _ = &mut accepting => {}
        _ = shutdown.wait_for(|shutdown| *shutdown) => {}
    }
    proxy.metrics().announce_shutdown();
    let enter = |phase| {
        server.phase.send_replace(phase);
        [&main, &admin].into_iter().for_each(|port| port.places.wake_all());
    };
    enter(Phase::Draining);
    if !timeouts.delay.is_zero() {
        let delay_ms = timeouts.delay.as_secs_f64() * 1000.0;
        tracing::info!(
            delay_ms,
            "shutdown announced: health checks fail, requests are still served"
        );
        tokio::select! {
            _ = &mut accepting => {}
            () = sleep(timeouts.delay) => {}
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
            _ = &mut accepting => {}
            () = sleep(DRAIN_CHECK) => {}
        }
    }
    enter(Phase::Finishing);
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

/// A port that is listened on.
struct Port {
    places: Arc<Places>,
    is_admin: bool,
}

/// What all connections share.
struct Server {
    proxy: Arc<Proxy>,
    platform: Sharded<TokioPlatform>,
    http1: http1::Builder,
    memory: Arc<ListenerMemory>,
    /// Each connection holds a receiver, so that the channel closes after the last connection.
    phase: watch::Sender<Phase>,
    stall_timeouts: StallTimeouts,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    address: IpAddr,
    is_admin: bool,
}

/// What the requests of a connection share. They count references to this, and not to the server: all
/// threads would write that count.
struct ConnectionContext {
    server: Arc<Server>,
    origin: Origin,
}

impl Server {
    /// Accepts connections for ever. While all places are taken, one accepted connection waits for the
    /// next place, and all further ones in the kernel's backlog.
    async fn accept_all(self: &Arc<Self>, listener: &TcpListener, port: &Port) -> Infallible {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Usually the process is out of file descriptors, and an immediate retry fails too.
                    tracing::warn!("a connection could not be accepted: {error}");
                    port.places.evict_one();
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let caller = Caller::new(None, Some(address.ip()));
            let place = port.places.wait_for(caller).await;
            let origin = Origin { address: address.ip(), is_admin: port.is_admin };
            let memory = ConnectionMemory::new(&self.memory, caller, Arc::clone(&place.place));
            let phase = self.phase.subscribe();
            let server = Arc::clone(self);
            clock::spawn_holding(server.serve_connection(stream, origin, phase, place, memory));
        }
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        origin: Origin,
        mut phase: watch::Receiver<Phase>,
        place: PlaceGuard,
        memory: ConnectionMemory,
    ) {
        let _ = stream.set_nodelay(true);
        let detecting = async {
            let first = timeout(FIRST_BYTE_TIMEOUT, DetectedStream::first_bytes(&stream)).await;
            let Ok(first) = first else {
                place.ended(ConnectionEnd::FirstByteTimeout);
                return None;
            };
            timeout(HEAD_TIMEOUT, DetectedStream::detect(stream, first?)).await.ok()?
        };
        let detected = tokio::select! {
            detected = detecting => detected,
            () = place.place.evicted() => return,
            _ = phase.wait_for(|phase| *phase == Phase::Finishing) => return,
        };
        let Some(detected) = detected else { return };
        let connection = Arc::new(ClientConnection::new(detected.version, place, memory));
        let watched = WatchedConnection {
            connection: Arc::clone(&connection),
            stall_timeouts: self.stall_timeouts,
        };
        let stream = TokioIo::new(ClientStream::new(detected, Arc::clone(&connection)));
        let context = Arc::new(ConnectionContext { server: self, origin });
        match connection.version {
            HttpVersion::Http1 => {
                let service = service_fn(|request| {
                    let response = connection.begin_request();
                    respond(&context, request, response)
                });
                let serving =
                    context.server.http1.serve_connection(stream, service).with_upgrades();
                watched.run(serving, phase).await;
            }
            HttpVersion::Http2 => {
                // hyper spawns a task for each HTTP/2 request, so that the service cannot borrow.
                let in_service = Arc::clone(&connection);
                let service = service_fn(move |request| {
                    let context = Arc::clone(&context);
                    let response = in_service.begin_request();
                    async move { respond(&context, request, response).await }
                });
                let http2 = http2_server(StreamTasks(connection));
                watched.run(http2.serve_connection(stream, service), phase).await;
            }
        }
    }
}

/// Spawns the tasks of a connection's HTTP/2 streams.
#[derive(Clone)]
struct StreamTasks(Arc<ClientConnection>);

impl<F> Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        // hyper calls the service, which registers the response, right before this.
        let mut responses = self.0.responses();
        let task = clock::spawn(stream);
        responses.set_task(|| task.abort_handle());
    }
}

fn http1_server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(HyperTimer).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    // hyper looks for the end of a client with another buffer of 8 KiB for each request, since the request
    // holds the one before. The responses look for it themselves.
    server.half_close(true);
    server
}

fn http2_server(tasks: StreamTasks) -> http2::Builder<StreamTasks> {
    let mut server = http2::Builder::new(tasks);
    server
        .timer(HyperTimer)
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    server
}

/// Returns how many connections the main port and `ADMIN_PORT` may have. Together they get half of the
/// files that this process may open, since calls to Google, the store and logs need descriptors too.
fn count_places(files: usize, by_memory: usize, has_admin_port: bool) -> (usize, usize) {
    let admin = if has_admin_port { (files / 8).clamp(8, ADMIN_CONNECTIONS) } else { 0 };
    ((files / 2).saturating_sub(admin).min(by_memory).max(MIN_CONNECTIONS), admin)
}

/// Returns how many files this process may open. Raises the soft limit to the hard limit first.
fn open_files() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(files).unwrap_or(usize::MAX)
    }
    #[cfg(not(unix))]
    usize::MAX
}

/// Limits the time for a request's head, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A client connects when it has something to send.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer to a request that needs no key may be left unread.
const STRANGER_STALL: Duration = Duration::from_secs(10);

/// The largest usual heads, with a token and cookies, have some 16 KiB. hyper answers 414 to
/// a target of 64 KiB and more only if the head is complete, so the bound lies above that.
const MAX_HEAD: usize = 80 * 1024;

/// The same for HTTP/2, where fields are counted without their compression.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Clients open another connection for more streams. Memory is bounded by what streams hold, whatever
/// their number.
const MAX_STREAMS: u32 = 256;

/// How much of request bodies a client may send before the service reads it, for a stream and for a
/// connection. At a round trip of 20 ms that is 13 MB/s.
const WINDOW: u32 = 256 * 1024;

/// Bytes of one stream that may wait for a client that reads slowly.
const SEND_BUFFER: usize = 128 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The least number of connections, however little memory and however few files there are.
const MIN_CONNECTIONS: usize = 16;

/// The places of `ADMIN_PORT`: for probes, a scraper or two, and a few browsers.
const ADMIN_CONNECTIONS: usize = 64;

/// How often the drain checks whether all requests have ended.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// How long clients have to read the last bytes of their responses.
const DRAIN_FLUSH: Duration = Duration::from_secs(1);
