//! One HTTP/1.1 connection: one request at a time, then back into the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use code_assist_core::Payload;
use http::header::{CONNECTION, HOST, PROXY_AUTHORIZATION};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::connector::{ForwardProxy, IoStream};
use super::error::{ConnectionError, RequestError, with_causes};
use super::idle::{IdleEnd, ReadCount};
use super::is_aborted;
use super::origin::Origin;
use crate::clock;

/// An open connection with a single owner. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Payload>,
    task: AbortHandle,
    proxy: Option<ForwardProxy>,
    reads: ReadCount,
    was_idle: bool,
    abort: watch::Receiver<bool>,
}

impl Connection {
    pub(super) async fn start(
        stream: IoStream,
        proxy: Option<ForwardProxy>,
        abort: watch::Receiver<bool>,
    ) -> Result<Self, ConnectionError> {
        let reads = stream.reads();
        let (requests, connection) =
            http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
        let mut aborted = abort.clone();
        let task = clock::spawn(async move {
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!("an upstream connection ended: {}", with_causes(&error));
                },
                _ = aborted.wait_for(|abort| *abort) => {}
            }
        });
        Ok(Self { requests, task: task.abort_handle(), proxy, reads, was_idle: false, abort })
    }

    /// Notes that the connection waits for its next request, and may end meanwhile.
    pub(super) fn set_idle(&mut self) {
        self.was_idle = true;
    }

    /// True if the connection may have ended since it was opened or last used.
    pub(super) fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// True if it can take a request right now.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// True if it will never take a request again.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// The reason why a request or its answer failed.
    fn error(&self, error: hyper::Error) -> ConnectionError {
        if is_aborted(&self.abort) { ConnectionError::ShuttingDown } else { error.into() }
    }

    /// Sends a request, which is taken out of its place. When the response has been read to its end, the connection returns to
    /// `origin`; without an origin it is closed.
    pub(super) async fn send(
        mut self,
        request: &mut Request<Payload>,
        origin: Option<Arc<Origin>>,
    ) -> Result<Response<Incoming>, RequestError> {
        set_target(request, self.proxy.as_ref());
        if origin.is_none() {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let idle_end = self.was_idle.then(|| IdleEnd::new(clock::now(), &self.reads));
        match self.requests.try_send_request(std::mem::take(request)).await {
            Ok(response) => Ok(response.map(|body| Incoming::new(body, self, origin))),
            Err(mut failed) => {
                // hyper gives back a message of which it has written nothing.
                let unwritten = failed.take_message().is_some();
                let was_dead = idle_end.is_some_and(|idle_end| idle_end.was_dead(&self.reads));
                let error = self.error(failed.into_error());
                Err(RequestError::of_break(error, unwritten || was_dead))
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response body. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    connection: Option<(Connection, Option<Arc<Origin>>)>,
}

impl Incoming {
    fn new(
        body: hyper::body::Incoming,
        connection: Connection,
        origin: Option<Arc<Origin>>,
    ) -> Self {
        let mut incoming = Self { body, connection: Some((connection, origin)) };
        if incoming.body.is_end_stream() {
            incoming.return_connection();
        }
        incoming
    }

    fn return_connection(&mut self) {
        if let Some((connection, Some(origin))) = self.connection.take() {
            origin.keep(connection);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose() {
            Err(error) => {
                let connection = self.connection.take();
                let error = match &connection {
                    Some((connection, _)) => connection.error(error),
                    None => error.into(),
                };
                return Poll::Ready(Some(Err(error)));
            }
            Ok(frame) => frame,
        };
        if frame.is_none() || self.body.is_end_stream() {
            self.return_connection();
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Sets the request target and `Host` as RFC 9112 3.2 wants them. A forward proxy gets the absolute form and
/// its credentials.
pub(super) fn set_target<B>(request: &mut Request<B>, proxy: Option<&ForwardProxy>) {
    if let Some(host) = host(request.uri()) {
        request.headers_mut().insert(HOST, host);
    }
    match proxy {
        Some(proxy) => {
            if let Some(authorization) = &proxy.authorization {
                request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        None => {
            let path = request.uri().path_and_query().cloned();
            let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from(path);
        }
    }
}

/// The `Host` of a URL, without a default port.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != default) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

/// The most bytes that are read ahead for a client that does not read its answer. The core reserves
/// memory for them with each request.
pub(super) const READ_BUFFER: usize = 64 * 1024;
