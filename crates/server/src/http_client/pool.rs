//! The pool: origins by scheme and authority, and the lease of a connection for one request.
//!
//! Its own, and not hyper-util's: that one shares an HTTP/2 connection without regard to the peer's
//! stream limit, so that requests past the limit wait behind others' streams.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use code_assist_core::Payload;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use tokio::sync::watch;

use super::connector::{Connected, Connector, ForwardProxy, IoStream};
use super::error::{ConnectError, RequestError};
use super::origin::Origin;
use super::{PooledBody, http1, http2};

/// All connections, by origin.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    options: PoolOptions,
    /// A list, since there are few: endpoints and token URLs. Every request reads it, without a lock.
    origins: ArcSwap<Vec<Arc<Origin>>>,
    /// Turns true when a shutdown ends what is in flight.
    abort: watch::Receiver<bool>,
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
    pub(super) fn new(
        connector: Connector,
        options: PoolOptions,
        abort: watch::Receiver<bool>,
    ) -> Self {
        Self { connector, options, origins: ArcSwap::default(), abort }
    }

    /// Leases a connection to the origin of `uri` for one request.
    pub(super) async fn lease(&self, uri: &Uri) -> Result<ConnectionLease, ConnectError> {
        let (scheme, authority) = parts(uri)?;
        if self.options.pooling
            && let Some(origin) = find(&self.origins.load(), scheme, authority)
            && let Some(lease) = origin.lease_open()
        {
            return Ok(lease);
        }
        // Boxed: the future of a request that finds a connection stays small.
        Box::pin(self.open(scheme, authority)).await
    }

    /// Dials a connection, or waits for one.
    async fn open(
        &self,
        scheme: &Scheme,
        authority: &Authority,
    ) -> Result<ConnectionLease, ConnectError> {
        let origin = self.origin(scheme, authority)?;
        let opening = async {
            if self.options.pooling { origin.lease().await } else { origin.dial_unpooled().await }
        };
        let mut abort = self.abort.clone();
        tokio::select! {
            biased;
            lease = opening => lease,
            _ = abort.wait_for(|abort| *abort) => Err(ConnectError::ShuttingDown),
        }
    }

    /// Leases a connection that is fresh, or was found alive, for a request that is sent once.
    pub(super) async fn lease_for_one_try(&self, uri: &Uri) -> Result<OneTryLease, ConnectError> {
        let (scheme, authority) = parts(uri)?;
        self.origin(scheme, authority)?.lease_for_one_try().await
    }

    /// Opens an HTTP/1.1 connection that the pool does not keep.
    pub(super) async fn open_http1(&self, uri: &Uri) -> Result<Connected, ConnectError> {
        parts(uri)?;
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
        self.origins.load().iter().any(|origin| origin.is_silent())
    }

    fn origin(&self, scheme: &Scheme, authority: &Authority) -> Result<Arc<Origin>, ConnectError> {
        if let Some(known) = find(&self.origins.load(), scheme, authority) {
            return Ok(Arc::clone(known));
        }
        let (connector, abort) = (self.connector.clone(), self.abort.clone());
        let new = Arc::new(Origin::new(scheme, authority, connector, self.options, abort)?);
        // Another request may have added the origin meanwhile.
        self.origins.rcu(|origins| {
            let mut origins = Vec::clone(origins);
            if find(&origins, scheme, authority).is_none() {
                origins.push(Arc::clone(&new));
            }
            origins
        });
        let origins = self.origins.load();
        Ok(Arc::clone(find(&origins, scheme, authority).unwrap_or(&new)))
    }
}

fn find<'a>(
    origins: &'a [Arc<Origin>],
    scheme: &Scheme,
    authority: &Authority,
) -> Option<&'a Arc<Origin>> {
    origins.iter().find(|known| known.matches(scheme, authority))
}

fn parts(uri: &Uri) -> Result<(&Scheme, &Authority), ConnectError> {
    uri.scheme().zip(uri.authority()).ok_or(ConnectError::IncompleteAddress)
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

    /// Sends a request, which is taken out of its place.
    pub(super) async fn send(
        self,
        request: &mut Request<Payload>,
    ) -> Result<Response<PooledBody>, RequestError> {
        match self {
            Self::Http1 { connection, origin } => {
                let response = connection.send(request, origin).await?;
                Ok(response.map(PooledBody::Http1))
            }
            Self::Http2(permit) => Ok(permit.send(request).await?.map(PooledBody::Http2)),
        }
    }
}
