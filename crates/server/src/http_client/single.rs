//! An HTTP/1.1 connection for one request: a streamed one, or one that upgrades the connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use code_assist_core::{RequestBodyError, SendError};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::client_body::ClientBody;
use super::connector::{ForwardProxy, IoStream};
use super::error::{ConnectionError, RequestError, with_causes};
use super::http1::{READ_BUFFER, set_target};
use super::lock;

/// Sends a request whose body is read while it is sent.
///
/// The connection is closed afterwards. A client that was refused early has not ended its request, so
/// that the connection could not be used again.
pub(super) async fn send_streamed<B>(
    stream: IoStream,
    proxy: Option<&ForwardProxy>,
    request: Request<()>,
    mut body: ClientBody<'_, B>,
) -> Result<Response<Incoming>, SendError>
where
    B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
{
    let (pieces, receiver) = mpsc::channel(1);
    let mut request = request.map(|()| SentBody { pieces: receiver, length: body.length() });
    set_target(&mut request, proxy);
    let length = body.content_length(request.method());
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // hyper adds `transfer-encoding` to a body without a length.
    headers.remove(TRANSFER_ENCODING);
    match length {
        Some(length) => headers.insert(CONTENT_LENGTH, length),
        None => headers.remove(CONTENT_LENGTH),
    };
    let (mut requests, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(interrupted)?;
    let task = ConnectionTask::new(tokio::spawn(connection));
    let answer = requests.send_request(request);
    let sending = async {
        loop {
            // Without a receiver the connection has ended. The answer tells why.
            let Ok(free) = pieces.reserve().await else { return std::future::pending().await };
            match body.next().await {
                Ok(Some(piece)) => free.send(Piece::Data(piece)),
                Ok(None) => {
                    free.send(Piece::End);
                    return std::future::pending().await;
                }
                Err(error) => return error,
            }
        }
    };
    let answer = tokio::select! {
        biased;
        answer = answer => answer.map_err(interrupted)?,
        error = sending => return Err(SendError::Client(error)),
    };
    Ok(answer.map(|body| Incoming { body, _task: task, _pieces: Some(pieces) }))
}

/// Sends a request that asks for a WebSocket. `abort` ends the upgraded connection.
pub(super) async fn upgrade(
    stream: IoStream,
    proxy: Option<&ForwardProxy>,
    request: Request<()>,
    abort: watch::Receiver<bool>,
) -> Result<Response<Incoming>, SendError> {
    let mut request = request.map(|()| Empty::<Bytes>::new());
    set_target(&mut request, proxy);
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let (mut requests, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(interrupted)?;
    let task = ConnectionTask::new(tokio::spawn(connection.with_upgrades()));
    let mut response = requests.send_request(request).await.map_err(interrupted)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let io = hyper::upgrade::on(&mut response).await.map_err(interrupted)?;
        response.extensions_mut().insert(UpgradedUpstream::new(io, abort));
    }
    Ok(response.map(|body| Incoming { body, _task: task, _pieces: None }))
}

fn interrupted(error: hyper::Error) -> SendError {
    RequestError::Interrupted(error.into()).into()
}

/// An upgraded connection to upstream. It travels in the extensions of responses, which have to be clones of
/// each other, so that the first one to take it has it.
#[derive(Debug, Clone)]
pub(crate) struct UpgradedUpstream {
    io: Arc<Mutex<Option<Upgraded>>>,
    abort: watch::Receiver<bool>,
}

impl UpgradedUpstream {
    pub(crate) fn new(io: Upgraded, abort: watch::Receiver<bool>) -> Self {
        Self { io: Arc::new(Mutex::new(Some(io))), abort }
    }

    /// The connection, and what turns true when a shutdown ends it.
    pub(crate) fn take(&self) -> Option<(Upgraded, watch::Receiver<bool>)> {
        lock(&self.io).take().map(|io| (io, self.abort.clone()))
    }
}

/// The task that drives a connection. Dropping it closes the connection.
#[derive(Debug)]
struct ConnectionTask(AbortHandle);

impl ConnectionTask {
    fn new(task: JoinHandle<Result<(), hyper::Error>>) -> Self {
        let abort = task.abort_handle();
        tokio::spawn(async move {
            if let Ok(Err(error)) = task.await {
                tracing::debug!("an upstream connection ended: {}", with_causes(&error));
            }
        });
        Self(abort)
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is sent to the task of the connection.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    /// The client's body has ended as it should.
    End,
}

/// The body that hyper sends. Without [`Piece::End`] it breaks, so that a client that leaves does not end
/// the upstream request.
#[derive(Debug)]
struct SentBody {
    pieces: mpsc::Receiver<Piece>,
    length: Option<u64>,
}

/// The client's body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
struct BrokenOffError;

impl Body for SentBody {
    type Data = Bytes;
    type Error = BrokenOffError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOffError>>> {
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Data(piece)) => Some(Ok(Frame::data(piece))),
            Some(Piece::End) => None,
            None => Some(Err(BrokenOffError)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A response body, which closes the connection at its end.
#[derive(Debug)]
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    _task: ConnectionTask,
    /// Keeps the request's body unended, since an answer may come before its end.
    _pieces: Option<mpsc::Sender<Piece>>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(ConnectionError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_whose_client_has_left_has_no_end() {
        let (pieces, receiver) = mpsc::channel(1);
        let mut body = SentBody { pieces: receiver, length: None };
        pieces.send(Piece::Data(Bytes::from_static(b"half"))).await.unwrap();
        drop(pieces);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());

        let (pieces, receiver) = mpsc::channel(1);
        let mut body = SentBody { pieces: receiver, length: None };
        pieces.send(Piece::End).await.unwrap();
        assert!(body.frame().await.is_none());
    }
}
