//! The listening side: accept, speak HTTP/1.1 or cleartext HTTP/2, drain on shutdown.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::platform::Peer;
use code_assist_core::proxy::Proxy;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::native::Native;

/// Serves until `shutdown` turns true, then lets answers finish for `grace`, then ends them.
///
/// While it drains it still accepts, so that a load balancer's look at `/health` gets its 503;
/// everything else is refused with `SHUTTING_DOWN`.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    native: Native,
    mut shutdown: watch::Receiver<bool>,
    ending: watch::Sender<bool>,
    grace: Duration,
) {
    let connections = GracefulShutdown::new();
    let server = server();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                take(accepted, &server, &connections, &proxy, &native).await;
            }
            _ = shutdown.wait_for(|shutdown| *shutdown) => break,
        }
    }
    proxy.report().shut_down();
    let in_flight = proxy.report().in_flight();
    tracing::info!(in_flight, grace_ms = grace.as_secs_f64() * 1000.0, "shutting down");
    let mut end = Instant::now() + grace;
    let mut ended = false;
    while proxy.report().in_flight() > 0 {
        if Instant::now() >= end {
            if ended {
                break;
            }
            // Streams get an error as their last event, and a moment to get it out.
            ended = true;
            let _ = ending.send(true);
            end = Instant::now() + LAST_WORDS;
        }
        tokio::select! {
            accepted = listener.accept() => {
                take(accepted, &server, &connections, &proxy, &native).await;
            }
            () = sleep(LOOK) => {}
        }
    }
    let _ = timeout(LAST_WORDS, connections.shutdown()).await;
}

/// Serves one connection in a task of its own.
async fn take(
    accepted: io::Result<(TcpStream, std::net::SocketAddr)>,
    server: &Arc<auto::Builder<TokioExecutor>>,
    connections: &GracefulShutdown,
    proxy: &Arc<Proxy>,
    native: &Native,
) {
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            // Out of file descriptors, as a rule: turning at full speed would not bring any back.
            tracing::warn!("a connection could not be accepted: {error}");
            sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    let (server, proxy, native) = (Arc::clone(server), Arc::clone(proxy), native.clone());
    let watcher = connections.watcher();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        // Live-API clients try TLS on any port: answering them in plain text helps nobody.
        let mut first = [0];
        match timeout(HEAD_TIMEOUT, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] != TLS_HANDSHAKE => {}
            _ => return,
        }
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            let (proxy, native) = (Arc::clone(&proxy), native.clone());
            async move { Ok::<_, Infallible>(proxy.handle(&native, request).await) }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!("a connection ended early: {error}");
        }
    });
}

fn server() -> Arc<auto::Builder<TokioExecutor>> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_header_list_size(LARGEST_HEAD as u32)
        .max_concurrent_streams(STREAMS);
    Arc::new(server)
}

/// The first byte of a TLS ClientHello's record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client that has not sent its headers by then is not going to; the same bound holds for an idle
/// connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const LARGEST_HEAD: usize = 256 * 1024;
const STREAMS: u32 = 1024;
const PING_EVERY: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the drain looks whether everything has ended.
const LOOK: Duration = Duration::from_millis(20);
const LAST_WORDS: Duration = Duration::from_secs(1);
