//! The way upstream: pooled connections, TLS, and the corporate proxy where there is one.

mod connector;
mod http1;
mod http2;
mod pool;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::payload::Payload;
use code_assist_core::platform::{BodyError, SendError};
use code_assist_core::settings::Settings;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

use connector::Way;
use pool::{Pool, Rules};

/// Sends requests upstream over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pool: Arc<Pool>,
    ending: watch::Receiver<bool>,
}

impl Upstream {
    /// Connections as the settings want them. `ending` turns true when the shell gives up on what
    /// is still in flight.
    pub(crate) fn new(settings: &Settings, ending: watch::Receiver<bool>) -> io::Result<Self> {
        let rules = Rules {
            pooling: settings.connection_pooling,
            keep_alive: settings.keep_alive_timeout,
            ping_every: PING_EVERY,
            ping_timeout: PING_TIMEOUT,
            settings_timeout: SETTINGS_TIMEOUT,
        };
        Ok(Self { pool: Arc::new(Pool::new(Way::new(settings)?, rules)), ending })
    }

    /// Sends one request; redirects are answers like any other.
    pub(crate) async fn send(
        &self,
        request: Request<Payload>,
    ) -> Result<Response<Body>, SendError> {
        let mut ending = self.ending.clone();
        // On the heap: it goes through many hands, and each would keep room for it.
        let request = Box::new(request);
        let response = tokio::select! {
            biased;
            response = self.send_somewhere(request) => response?,
            _ = ending.wait_for(|ending| *ending) => return Err(SendError::ShuttingDown),
        };
        Ok(response.map(|source| Body { source, ending: Ending::Quiet(self.ending.clone()) }))
    }

    /// Opens a connection to an endpoint with TLS, whose handshake the first request would wait for.
    /// Nobody has to know of a failure: that request will meet it again, and tell.
    pub(crate) async fn warm(&self, endpoint: &str) {
        let Ok(endpoint) = endpoint.parse::<Uri>() else { return };
        if endpoint.scheme() == Some(&Scheme::HTTPS)
            && let Err(why) = self.pool.warm(&endpoint).await
        {
            tracing::debug!("no connection ahead of the first request: {why}");
        }
    }

    /// A connection that turns out to be dead before it took the request does not count: the
    /// request goes to another one. Whatever may have reached upstream is for the core to decide.
    async fn send_somewhere(
        &self,
        mut request: Box<Request<Payload>>,
    ) -> Result<Response<Source>, SendError> {
        let mut tries = 1;
        loop {
            let lease = self.pool.lease(request.uri()).await.map_err(SendError::Connect)?;
            let spare = (tries < MOST_TRIES && lease.is_reused()).then(|| request.clone());
            match (lease.send(request).await, spare) {
                (Ok(response), _) => return Ok(response),
                (Err(Failed::Unsent(_)), Some(again)) => request = again,
                (Err(Failed::BodyError(why) | Failed::Unsent(why)), _) => {
                    return Err(SendError::Disconnected(why));
                }
            }
            tries += 1;
        }
    }
}

/// Why a connection gave no response. The texts hold no secrets.
#[derive(Debug)]
enum Failed {
    /// It broke after the request may have reached upstream.
    BodyError(String),
    /// Upstream has done nothing about the request, and never will.
    Unsent(String),
}

/// An upstream response body. Dropping it resets the stream, or closes the HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    ending: Ending,
}

#[derive(Debug)]
enum Source {
    Http1(http1::Incoming),
    Http2(http2::Incoming),
}

/// Watches for the end of the shell's patience; the future is made only by a body that waits.
enum Ending {
    Quiet(watch::Receiver<bool>),
    Watched(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ending")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.source {
            Source::Http1(incoming) => Pin::new(incoming).poll_frame(cx),
            Source::Http2(incoming) => Pin::new(incoming).poll_frame(cx),
        };
        if let Poll::Ready(frame) = polled {
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Disconnected)));
        }
        loop {
            match &mut self.ending {
                Ending::Quiet(ending) => {
                    let mut ending = ending.clone();
                    self.ending = Ending::Watched(Box::pin(async move {
                        // An error means that the sender is gone, and with it the process.
                        let _ = ending.wait_for(|ending| *ending).await;
                    }));
                }
                Ending::Watched(watched) => {
                    return watched.as_mut().poll(cx).map(|()| Some(Err(BodyError::ShuttingDown)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(incoming) => incoming.is_end_stream(),
            Source::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(incoming) => incoming.size_hint(),
            Source::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// An error with its causes: the first one alone says "client error (Connect)".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

/// How long a connection with open streams may be silent before it is asked for a sign of life,
/// and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);

/// A pool may hold several connections that have died, but a peer that refuses one stream after
/// the other means it.
const MOST_TRIES: u32 = 3;
