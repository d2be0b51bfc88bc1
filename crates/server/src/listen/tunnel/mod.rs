//! WebSockets: joins a client's connection to upstream's, when the core has answered 101.
//!
//! What both sides send is copied unread. HTTP/2 clients are not offered WebSockets (RFC 8441): no client of
//! Google's Live API asks for them that way.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use code_assist_core::{ProxyBody, WebSocketRequest};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::watch;
use tokio::time::sleep;

use super::response::{OpenResponse, TrackedBody};
use crate::http_client::UpgradedUpstream;
use crate::platform::TokioPlatform;

/// Takes the client's side of the connection out of a request that asks for a WebSocket (RFC 6455 4.1), and
/// marks the request for the core. `None` for every other request, which is answered as if it asked for no
/// upgrade.
pub(super) fn requested(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let may_ask = request.method() == Method::GET && request.version() == Version::HTTP_11;
    if !may_ask || !request.headers().contains_key(UPGRADE) {
        return None;
    }
    let headers = request.headers();
    let asks =
        has_token(headers, UPGRADE, "websocket") && has_token(headers, CONNECTION, "upgrade");
    if !asks || !request.body().is_end_stream() {
        return None;
    }
    let client = request.extensions_mut().remove()?;
    request.extensions_mut().insert(WebSocketRequest);
    Some(client)
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let mut tokens = values.flat_map(|value| value.split(','));
    tokens.any(|known| known.trim().eq_ignore_ascii_case(token))
}

/// Answers 101, and joins both connections as soon as the answer is written.
pub(super) fn begin(
    response: Response<ProxyBody<TokioPlatform>>,
    client: Option<OnUpgrade>,
    open: Arc<OpenResponse>,
) -> Response<TrackedBody> {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    let upstream = head.extensions.remove::<UpgradedUpstream>();
    if let (Some(client), Some((upstream, abort))) = (client, upstream.and_then(|it| it.take())) {
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let tunnel = Tunnel { client, upstream, abort, body, open: Arc::clone(&open) };
        tokio::spawn(tunnel.run());
    } else {
        // The core must not answer 101 to a request without the mark.
        head.status = StatusCode::BAD_GATEWAY;
    }
    Response::from_parts(head, open.without_body())
}

/// A client's connection and upstream's.
struct Tunnel {
    client: OnUpgrade,
    upstream: Upgraded,
    abort: watch::Receiver<bool>,
    /// Holds the request: its permit, its memory and its line in the log.
    body: ProxyBody<TokioPlatform>,
    /// Keeps the client's connection from being idle.
    open: Arc<OpenResponse>,
}

impl Tunnel {
    async fn run(self) {
        let Self { client, upstream, abort, mut body, open } = self;
        // It fails if the client has left before it had its 101.
        let Ok(client) = client.await else { return };
        let (from_client, from_upstream) = (Flow::default(), Flow::default());
        let end = {
            let client = Side { io: TokioIo::new(client), flow: &from_client };
            let upstream = Side { io: TokioIo::new(upstream), flow: &from_upstream };
            tokio::select! {
                end = join(client, upstream, abort) => end,
                () = open.evicted() => TunnelEnd::Cut,
            }
        };
        tracing::debug!("a WebSocket ended: {end:?}");
        body.upgrade_ended(from_client.bytes(), from_upstream.bytes(), end == TunnelEnd::Cut);
    }
}

/// Why a tunnel has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TunnelEnd {
    /// Both sides have closed, or one of them has broken.
    Closed,
    /// Neither side has sent anything within [`IDLE_LIMIT`], or within [`CLOSE_LIMIT`] since the other one
    /// closed.
    Idle,
    /// The proxy has ended it.
    Cut,
}

/// Copies in both directions until both sides have closed, one breaks, both are silent, or `abort` turns
/// true. Both connections close when they are dropped.
///
/// Neither side gets a close frame for an end that the other one did not send: the proxy does not know where
/// frames begin.
async fn join<C, U>(
    mut client: Side<'_, C>,
    mut upstream: Side<'_, U>,
    mut abort: watch::Receiver<bool>,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (from_client, from_upstream) = (client.flow, upstream.flow);
    let silence = async {
        let (mut seen, mut silent) = (0, Duration::ZERO);
        loop {
            sleep(CHECK_INTERVAL).await;
            let bytes = from_client.bytes() + from_upstream.bytes();
            silent = if bytes == seen { silent + CHECK_INTERVAL } else { Duration::ZERO };
            seen = bytes;
            let is_closing = from_client.has_ended() || from_upstream.has_ended();
            if silent >= if is_closing { CLOSE_LIMIT } else { IDLE_LIMIT } {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => {
            TunnelEnd::Closed
        }
        () = silence => TunnelEnd::Idle,
        // An error means that the process is ending.
        _ = abort.wait_for(|abort| *abort) => TunnelEnd::Cut,
    }
}

/// What one side has sent.
#[derive(Debug, Default)]
struct Flow {
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl Flow {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// One side's connection, which counts what is read from it.
struct Side<'a, T> {
    io: T,
    flow: &'a Flow,
}

impl<T: AsyncRead + Unpin> AsyncRead for Side<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read == 0 && buf.remaining() > 0 {
            self.flow.ended.store(true, Ordering::Relaxed);
        }
        self.flow.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Side<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What is read from one side before the other one has taken it.
const BUFFER: usize = 16 * 1024;

/// How long both sides may send nothing. A microphone that is on sends every few hundred milliseconds, and
/// a session of the Live API lasts 10 to 15 minutes.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// How long one side may send nothing after the other one has closed (RFC 6455 7.1.1: the server closes
/// first, and the client follows).
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

const CHECK_INTERVAL: Duration = Duration::from_secs(10);
