//! TCP with buffers below TLS.
//!
//! rustls makes one system call for each record that it writes, and one for every 4 KiB that it
//! reads. Here, writes are gathered until a flush, and reads take what has arrived.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection that writes when it is flushed or its buffer is full.
#[derive(Debug)]
pub(super) struct BufferedTcp {
    stream: BufReader<TcpStream>,
    pending: Vec<u8>,
    /// How much of `pending` the kernel has taken.
    sent: usize,
}

impl BufferedTcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        let stream = BufReader::with_capacity(READ_BUFFER, stream);
        Self { stream, pending: Vec::new(), sent: 0 }
    }

    fn poll_write_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let rest = &self.pending[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.pending.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for BufferedTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BufferedTcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.pending.len() + buf.len() > WRITE_BUFFER {
            ready!(self.poll_write_pending(cx))?;
        }
        if buf.len() > WRITE_BUFFER {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.pending.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Holds a few responses of a busy connection.
const READ_BUFFER: usize = 32 * 1024;

/// A full TLS record is larger than this and bypasses the buffer.
const WRITE_BUFFER: usize = 16 * 1024;
