//! The client's TCP connection: which HTTP it speaks, and whether it takes what it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersion {
    Http1,
    Http2,
}

/// A connection whose first bytes have been looked at.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: TcpStream,
    /// What was looked at and not yet read.
    first: Bytes,
    writing: Arc<Writing>,
}

impl ClientStream {
    /// Reads until it is clear what the client speaks. None if it is TLS, or gone: live-API clients
    /// try TLS on any port, and answering them in plain text helps nobody.
    pub(super) async fn sniff(mut stream: TcpStream) -> Option<(Self, HttpVersion)> {
        // Nothing is kept for a connection that does not say anything.
        stream.readable().await.ok()?;
        let mut first = BytesMut::with_capacity(FIRST);
        let version = loop {
            stream.read_buf(&mut first).await.ok().filter(|read| *read > 0)?;
            if first.first() == Some(&TLS_HANDSHAKE) {
                return None;
            }
            let seen = first.len().min(PREFACE.len());
            if first[..seen] != PREFACE[..seen] {
                break HttpVersion::Http1;
            }
            if seen == PREFACE.len() {
                break HttpVersion::Http2;
            }
        };
        Some((Self { stream, first: first.freeze(), writing: Arc::default() }, version))
    }

    /// Tells for how long nothing could be written.
    pub(super) fn blocked(&self) -> StallDetector {
        StallDetector { writing: Arc::clone(&self.writing), seen: 0, since: Duration::ZERO }
    }

    /// Notes whether the client takes bytes.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.writing.blocked.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.writing.done.fetch_add(1, Ordering::Relaxed);
        }
        written
    }
}

#[derive(Debug, Default)]
struct Writing {
    blocked: AtomicBool,
    done: AtomicU32,
}

/// Looks now and then whether a wire is written to. No clock is read where bytes are moved.
#[derive(Debug)]
pub(super) struct StallDetector {
    writing: Arc<Writing>,
    seen: u32,
    since: Duration,
}

impl StallDetector {
    /// For how long nothing could be written, as seen every so often.
    pub(super) fn look(&mut self, every: Duration) -> Duration {
        let done = self.writing.done.load(Ordering::Relaxed);
        let still = self.writing.blocked.load(Ordering::Relaxed) && done == self.seen;
        self.since = if still { self.since + every } else { Duration::ZERO };
        self.seen = done;
        self.since
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let taken = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(taken));
            if self.first.is_empty() {
                // The memory goes with it.
                self.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How every HTTP/2 connection begins (RFC 9113 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is looked at: as a rule a request's head and, of a small one, all of its body, so that it is
/// read with one system call.
const FIRST: usize = 2048;

/// The first byte of a TLS ClientHello's record.
const TLS_HANDSHAKE: u8 = 0x16;
