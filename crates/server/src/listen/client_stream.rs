//! A client's TCP connection: detects its HTTP version, and records whether the client reads.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::ClientConnection;
use super::places::WriteProgress;
use crate::http_version::HttpVersion;

/// A connection whose first bytes have been read to detect the HTTP version.
pub(super) struct DetectedStream {
    stream: TcpStream,
    prefix: Bytes,
    pub(super) version: HttpVersion,
}

impl DetectedStream {
    /// Waits for the first bytes. Returns `None` if the client has gone.
    pub(super) async fn first_bytes(stream: &TcpStream) -> Option<BytesMut> {
        loop {
            // The buffer is allocated only when the client has sent something.
            stream.readable().await.ok()?;
            let mut prefix = BytesMut::with_capacity(PREFIX);
            match stream.try_read_buf(&mut prefix) {
                Ok(0) => return None,
                Ok(_) => return Some(prefix),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Reads on until the HTTP version is clear. Returns `None` if the client has gone or speaks TLS:
    /// live API clients try TLS on any port, and cannot read an answer in plain text.
    pub(super) async fn detect(mut stream: TcpStream, mut prefix: BytesMut) -> Option<Self> {
        let version = loop {
            if prefix.first() == Some(&TLS_HANDSHAKE) {
                return None;
            }
            let seen = prefix.len().min(PREFACE.len());
            if prefix[..seen] != PREFACE[..seen] {
                break HttpVersion::Http1;
            }
            if seen == PREFACE.len() {
                break HttpVersion::Http2;
            }
            stream.read_buf(&mut prefix).await.ok().filter(|read| *read > 0)?;
        };
        Some(Self { stream, prefix: prefix.freeze(), version })
    }
}

/// A client's socket.
pub(super) struct ClientStream {
    /// The connection refers to it, and looks whether the client has left.
    stream: Arc<Mutex<TcpStream>>,
    /// Bytes that detection has read and hyper has not.
    prefix: Bytes,
    connection: Arc<ClientConnection>,
}

impl ClientStream {
    pub(super) fn new(detected: DetectedStream, connection: Arc<ClientConnection>) -> Self {
        let stream = Arc::new(Mutex::new(detected.stream));
        connection.set_socket(&stream);
        Self { stream, prefix: detected.prefix, connection }
    }

    fn socket(&self) -> MutexGuard<'_, TcpStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let writes = &self.connection.place.place.writes;
        writes.blocked.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            writes.done.fetch_add(1, Ordering::Relaxed);
        }
        written
    }
}

/// Measures how long writes have been blocked. It is polled at intervals, so that the write path reads
/// no clock.
#[derive(Debug, Default)]
pub(super) struct StallDetector {
    seen: u32,
    stalled: Duration,
}

impl StallDetector {
    /// Returns for how long nothing could be written. `interval` is the time since the last call.
    pub(super) fn check(&mut self, writes: &WriteProgress, interval: Duration) -> Duration {
        let done = writes.done.load(Ordering::Relaxed);
        let stalled = writes.blocked.load(Ordering::Relaxed) && done == self.seen;
        self.stalled = if stalled { self.stalled + interval } else { Duration::ZERO };
        self.seen = done;
        self.stalled
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let taken = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(taken));
            if self.prefix.is_empty() {
                // Frees the buffer, which an empty slice of it would keep.
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.socket()).poll_read(cx, buf);
        self.connection.note_read(&polled);
        ready!(polled)?;
        if !self.connection.may_read(buf.filled().len() - before) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket()).poll_write(cx, buf);
        self.record(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket()).poll_write_vectored(cx, bufs);
        self.record(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket()).poll_shutdown(cx)
    }
}

/// How every HTTP/2 connection begins (RFC 9113 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Enough for the head of most requests and the whole of a small one, so that one system call reads
/// it.
const PREFIX: usize = 2048;

/// The first byte of the TLS record that holds a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;
