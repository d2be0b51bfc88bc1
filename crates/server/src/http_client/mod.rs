//! The HTTP client for calls to Google: pooled connections, TLS, and the corporate proxy if one is
//! set.

mod buffered;
mod client_body;
mod connector;
mod error;
mod http1;
mod http2;
mod idle;
mod origin;
mod pool;
mod resources;
mod single;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use code_assist_core::settings::Settings;
use code_assist_core::{BodyError, Payload, RequestBodyError, SendError};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

use client_body::ClientBody;
use connector::Connector;
use error::{RequestError, with_causes};
use pool::{OneTryLease, Pool, PoolOptions};
pub(crate) use single::UpgradedUpstream;

/// Sends requests over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    pool: Arc<Pool>,
    abort: watch::Receiver<bool>,
}

impl HttpClient {
    /// Creates a client as the settings want it. `abort` turns true when a shutdown ends what is
    /// still in flight.
    pub(crate) fn new(settings: &Settings, abort: watch::Receiver<bool>) -> io::Result<Self> {
        let options = PoolOptions {
            pooling: settings.connection_pooling,
            keep_alive: settings.keep_alive_timeout,
            ping_interval: PING_INTERVAL,
            ping_timeout: PING_TIMEOUT,
            settings_timeout: SETTINGS_TIMEOUT,
            idle_before_check: IDLE_BEFORE_CHECK,
            check_timeout: CHECK_TIMEOUT,
            recent_use: RECENT_USE,
            wall_clock: SystemTime::now,
        };
        Ok(Self::over(Connector::new(settings)?, options, abort))
    }

    fn over(connector: Connector, options: PoolOptions, abort: watch::Receiver<bool>) -> Self {
        Self { pool: Arc::new(Pool::new(connector, options, abort.clone())), abort }
    }

    /// Sends one request. Redirects are not followed.
    ///
    /// A request that was certainly not processed on a pooled connection goes to another one: `again` makes
    /// it once more, since sending consumes it. A request that may have been carried out is never repeated.
    pub(crate) async fn send(
        &self,
        mut request: Request<Payload>,
        again: impl Fn() -> Option<Request<Payload>>,
    ) -> Result<Response<Body>, SendError> {
        let mut tries = 1;
        loop {
            let lease = self.pool.lease(request.uri()).await?;
            let may_repeat = tries < MAX_TRIES && lease.is_pooled();
            // By reference: every future below would have space for the request.
            match lease.send(&mut request).await {
                Ok(response) => return Ok(response.map(Body::of_pool)),
                Err(RequestError::Unprocessed(error)) if may_repeat => {
                    request = again().ok_or(RequestError::Unprocessed(error))?;
                }
                Err(error) => return Err(error.into()),
            }
            tries += 1;
        }
    }

    /// Sends one of few requests, which is cloned for its repetition.
    #[cfg(any(feature = "otel", test))]
    pub(crate) async fn send_cloned(
        &self,
        request: Request<Payload>,
    ) -> Result<Response<Body>, SendError> {
        let spare = request.clone();
        self.send(request, || Some(spare.clone())).await
    }

    /// Sends one request whose body is read while it is sent. It is never repeated.
    ///
    /// Of such a body at most 256 KiB are held: the piece that was read last, and what HTTP/2 or hyper has
    /// taken and the connection has not. Of the answer as much is held as of any other.
    pub(crate) async fn send_streamed<B>(
        &self,
        request: Request<()>,
        body: Pin<&mut B>,
    ) -> Result<Response<Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let mut abort = self.abort.clone();
        let sending = Box::pin(async {
            let body = ClientBody::new(body);
            match self.pool.lease_for_one_try(request.uri()).await? {
                OneTryLease::Http1 { stream, proxy } => {
                    let proxy = proxy.as_ref();
                    let response = single::send_streamed(stream, proxy, request, body).await?;
                    Ok(response.map(|body| self.single(body)))
                }
                OneTryLease::Http2(permit) => {
                    let response = permit.send_streamed(request, body).await?;
                    Ok(response.map(|body| Body::of_pool(PooledBody::Http2(body))))
                }
            }
        });
        tokio::select! {
            biased;
            response = sending => response,
            _ = abort.wait_for(|abort| *abort) => Err(SendError::ShuttingDown),
        }
    }

    /// Sends one request that asks for a WebSocket, over a connection of its own. With the status 101, the
    /// response's extensions hold an [`UpgradedUpstream`].
    pub(crate) async fn upgrade(&self, request: Request<()>) -> Result<Response<Body>, SendError> {
        let mut abort = self.abort.clone();
        let upgrading = Box::pin(async {
            let connected = self.pool.open_http1(request.uri()).await?;
            let (stream, proxy) = (connected.stream, connected.proxy.as_ref());
            single::upgrade(stream, proxy, request, self.abort.clone()).await
        });
        let response: Result<_, SendError> = tokio::select! {
            biased;
            response = upgrading => response,
            _ = abort.wait_for(|abort| *abort) => Err(SendError::ShuttingDown),
        };
        Ok(response?.map(|body| self.single(body)))
    }

    /// Wraps a body whose connection ends with it.
    fn single(&self, incoming: single::Incoming) -> Body {
        let mut abort = self.abort.clone();
        let aborted = Box::pin(async move {
            // An error means that the sender was dropped: the process is ending.
            let _ = abort.wait_for(|abort| *abort).await;
        });
        Body(BodySource::Single { incoming, aborted })
    }

    /// Opens a connection to an endpoint with TLS ahead of the first request, which would otherwise
    /// wait for the handshake. A failure is only logged: the first request meets it again and
    /// reports it.
    pub(crate) async fn warm(&self, endpoint: &str) {
        let Ok(endpoint) = endpoint.parse::<Uri>() else { return };
        if endpoint.scheme() == Some(&Scheme::HTTPS)
            && let Err(error) = self.pool.warm(&endpoint).await
        {
            tracing::debug!("no connection ahead of the first request: {}", with_causes(&error));
        }
    }
}

/// A response body. Dropping it resets the stream, or closes the HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Body(BodySource);

enum BodySource {
    /// A shutdown ends the connection, and the body with it.
    Pooled(PooledBody),
    /// Of a connection for one request.
    Single { incoming: single::Incoming, aborted: Pin<Box<dyn Future<Output = ()> + Send>> },
}

#[derive(Debug)]
enum PooledBody {
    Http1(http1::Incoming),
    Http2(http2::Incoming),
}

impl Body {
    fn of_pool(body: PooledBody) -> Self {
        Self(BodySource::Pooled(body))
    }
}

impl std::fmt::Debug for BodySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodySource")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            BodySource::Pooled(PooledBody::Http1(incoming)) => Pin::new(incoming).poll_frame(cx),
            BodySource::Pooled(PooledBody::Http2(incoming)) => Pin::new(incoming).poll_frame(cx),
            BodySource::Single { incoming, aborted } => {
                let frame = Pin::new(incoming).poll_frame(cx);
                if frame.is_pending() {
                    return aborted.as_mut().poll(cx).map(|()| Some(Err(BodyError::ShuttingDown)));
                }
                frame
            }
        };
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodySource::Pooled(PooledBody::Http1(incoming)) => incoming.is_end_stream(),
            BodySource::Pooled(PooledBody::Http2(incoming)) => incoming.is_end_stream(),
            BodySource::Single { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodySource::Pooled(PooledBody::Http1(incoming)) => incoming.size_hint(),
            BodySource::Pooled(PooledBody::Http2(incoming)) => incoming.size_hint(),
            BodySource::Single { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// True if a shutdown ends what is in flight. A sender that was dropped means that the process is ending.
fn is_aborted(abort: &watch::Receiver<bool>) -> bool {
    *abort.borrow() || abort.has_changed().is_err()
}

/// Locks a mutex, ignoring poison: the pool's data stays valid when a task panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Silence after which a connection with open streams gets a PING.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);

/// Hardly any firewall or NAT drops a connection that has been silent for less than 30 s. A check costs
/// the first request after a pause one round trip, and ten seconds make that rare.
const IDLE_BEFORE_CHECK: Duration = Duration::from_secs(10);

/// An answer takes one round trip, which is less than 0.7 s even over a satellite. The rest is for a
/// packet that was lost and is sent again. A wrong verdict costs a handshake and no request.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Peers close connections that have been idle for minutes. A client that uploads a file in parts sends the
/// next part within this time.
const RECENT_USE: Duration = Duration::from_secs(1);

/// Several pooled connections may be dead at once, but a peer that refuses stream after stream does
/// so on purpose.
const MAX_TRIES: u32 = 3;
