//! The pool: origins by scheme and authority, and the lease of a connection for one request.
//!
//! Its own, and not hyper-util's: that one shares an HTTP/2 connection without regard to the peer's
//! stream limit, so that requests past the limit wait behind others' streams.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use code_assist_core::Payload;
use http::{Request, Response, Uri};

use super::connector::{Connected, Connector, ForwardProxy, IoStream};
use super::error::{ConnectError, RequestError};
use super::origin::Origin;
use super::{BodySource, http1, http2, lock};

/// All connections, by origin.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    options: PoolOptions,
    /// A list, since there are few: endpoints and token URLs.
    origins: Mutex<Vec<Arc<Origin>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PoolOptions {
    /// False: each request gets a connection of its own.
    pub(super) pooling: bool,
    /// An idle connection is closed after this.
    pub(super) keep_alive: Duration,
    /// Silence after which a connection with open streams gets a PING.
    pub(super) ping_interval: Duration,
    /// How long the peer may take to answer a PING.
    pub(super) ping_timeout: Duration,
    /// How long an HTTP/2 peer may take to send its SETTINGS, with the stream limit in them.
    pub(super) settings_timeout: Duration,
    /// Silence after which an HTTP/2 connection gets a PING before it takes a request.
    pub(super) idle_before_check: Duration,
    /// How long a request waits for the answer to that PING before it uses another connection.
    pub(super) check_timeout: Duration,
    /// An idle HTTP/2 connection that was used this recently needs no PING before a request that is never
    /// repeated.
    pub(super) recent_use: Duration,
    /// Shows that the machine has slept, which the monotonic clock does not.
    pub(super) wall_clock: fn() -> SystemTime,
}

impl Pool {
    pub(super) fn new(connector: Connector, options: PoolOptions) -> Self {
        Self { connector, options, origins: Mutex::default() }
    }

    /// Leases a connection to the origin of `uri` for one request.
    pub(super) async fn lease(&self, uri: &Uri) -> Result<ConnectionLease, ConnectError> {
        let origin = self.origin(uri)?;
        if self.options.pooling {
            origin.lease().await
        } else {
            // Boxed, like every dial: the future of a request that finds a connection stays small.
            Box::pin(origin.dial_unpooled()).await
        }
    }

    /// Leases a connection that is fresh, or was found alive, for a request that is sent once.
    pub(super) async fn lease_for_one_try(&self, uri: &Uri) -> Result<OneTryLease, ConnectError> {
        self.origin(uri)?.lease_for_one_try().await
    }

    /// Opens an HTTP/1.1 connection that the pool does not keep.
    pub(super) async fn open_http1(&self, uri: &Uri) -> Result<Connected, ConnectError> {
        if uri.scheme().is_none() || uri.authority().is_none() {
            return Err(ConnectError::IncompleteAddress);
        }
        self.connector.open_http1(uri).await
    }

    /// Opens a connection to the origin of `uri` ahead of the first request.
    pub(super) async fn warm(&self, uri: &Uri) -> Result<(), ConnectError> {
        if !self.options.pooling {
            return Ok(());
        }
        let lease = self.lease(uri).await?;
        if let ConnectionLease::Http1 { connection, origin: Some(origin) } = lease {
            origin.keep(connection);
        }
        Ok(())
    }

    /// True if a connection is silent.
    #[cfg(test)]
    pub(super) fn is_silent(&self) -> bool {
        lock(&self.origins).iter().any(|origin| origin.is_silent())
    }

    fn origin(&self, uri: &Uri) -> Result<Arc<Origin>, ConnectError> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(ConnectError::IncompleteAddress);
        };
        let mut origins = lock(&self.origins);
        let known = origins.iter().find(|known| known.matches(scheme, authority));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let origin = Origin::new(scheme, authority, self.connector.clone(), self.options)?;
        let origin = Arc::new(origin);
        origins.push(Arc::clone(&origin));
        Ok(origin)
    }
}

/// A connection for a request that is never repeated.
#[derive(Debug)]
#[must_use]
pub(super) enum OneTryLease {
    /// A fresh connection, which the request closes.
    Http1 {
        stream: IoStream,
        proxy: Option<ForwardProxy>,
    },
    Http2(http2::StreamPermit),
}

/// The right to send one request on one connection.
#[derive(Debug)]
#[must_use]
pub(super) enum ConnectionLease {
    Http1 {
        connection: http1::Connection,
        /// Where the connection returns to. None closes it.
        origin: Option<Arc<Origin>>,
    },
    Http2(http2::StreamPermit),
}

impl ConnectionLease {
    /// True if the connection may take no request any more: it was idle, or others share it.
    pub(super) fn is_pooled(&self) -> bool {
        match self {
            Self::Http1 { connection, .. } => connection.was_idle(),
            Self::Http2(_) => true,
        }
    }

    pub(super) async fn send(
        self,
        request: Box<Request<Payload>>,
    ) -> Result<Response<BodySource>, RequestError> {
        match self {
            Self::Http1 { connection, origin } => {
                let response = connection.send(request, origin).await?;
                Ok(response.map(BodySource::Http1))
            }
            Self::Http2(permit) => Ok(permit.send(request).await?.map(BodySource::Http2)),
        }
    }
}
