//! One HTTP/1.1 connection: one request at a time, then back into the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::payload::Payload;
use http::header::{CONNECTION, HOST, PROXY_AUTHORIZATION};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::connector::{Via, Wire};
use super::pool::Origin;
use super::{Failed, chain};

/// An open connection that nobody else uses. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Payload>,
    task: AbortHandle,
    via: Option<Via>,
}

impl Connection {
    /// Starts to speak on a wire.
    pub(super) async fn start(wire: Wire, via: Option<Via>) -> Result<Self, String> {
        let (requests, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(|error| chain(&error))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("an upstream connection ended: {}", chain(&error));
            }
        });
        Ok(Self { requests, task: task.abort_handle(), via })
    }

    /// True when it can take a request right now.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// True when it will never take a request again.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request. `origin` is where the connection goes when the answer has been read to its
    /// end; without one it is closed then.
    pub(super) async fn send(
        mut self,
        mut request: Box<Request<Payload>>,
        origin: Option<Arc<Origin>>,
    ) -> Result<Response<Incoming>, Failed> {
        self.address(&mut request);
        if origin.is_none() {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self.requests.try_send_request(*request).await {
            Ok(response) => Ok(response.map(|body| Incoming::new(body, self, origin))),
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                let why = chain(error.error());
                Err(if unsent { Failed::Unsent(why) } else { Failed::BodyError(why) })
            }
        }
    }

    /// The request line and `Host` as RFC 9112 3.2 wants them, and what a proxy wants on top.
    fn address(&self, request: &mut Request<Payload>) {
        if let Some(host) = host(request.uri()) {
            request.headers_mut().insert(HOST, host);
        }
        match &self.via {
            Some(via) => {
                if let Some(login) = &via.login {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, login.clone());
                }
            }
            None => {
                let path = request.uri().path_and_query().cloned();
                let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
                *request.uri_mut() = Uri::from(path);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response body. Dropped before its end, it takes the connection with it.
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
            incoming.give_back();
        }
        incoming
    }

    fn give_back(&mut self) {
        if let Some((connection, Some(origin))) = self.connection.take() {
            origin.keep(connection);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => self.connection = None,
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            None | Some(Ok(_)) => self.give_back(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| chain(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The `Host` of an address: a default port is not named.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != default) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}
