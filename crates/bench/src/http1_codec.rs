//! The part of HTTP/1.1 that driver and upstream need.
//!
//! It is hand-written, on tokio's sockets: driver and upstream share one core, and with a library on
//! both ends they are slower than the fastest programs that they measure.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection of the driver or of upstream.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    unread: BytesMut,
}

impl Connection {
    /// Connects to a contender.
    pub(crate) async fn open(to: &str) -> io::Result<Self> {
        Self::on(TcpStream::connect(to).await?)
    }

    /// Wraps a connection that is open.
    pub(crate) fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: BytesMut::new() })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one message: its head, then its body, calling `see` with each piece. `None` when the
    /// peer closed between two messages.
    pub(crate) async fn read(
        &mut self,
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<Option<MessageHead>> {
        let head = loop {
            if let Some(head) = MessageHead::take(&mut self.unread)? {
                if head.status == Some(100) {
                    continue;
                }
                break head;
            }
            if self.fill().await? == 0 {
                let clean = self.unread.is_empty();
                return if clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let mut body = head.framing;
        loop {
            if body.take(&mut self.unread, &mut see)? {
                return Ok(Some(head));
            }
            if self.fill().await? == 0 {
                let ended = body == Framing::UntilClose;
                return if ended {
                    Ok(Some(head))
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.unread.reserve(READ);
        self.stream.read_buf(&mut self.unread).await
    }
}

/// The part of a message's head that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageHead {
    /// Of a response.
    pub(crate) status: Option<u16>,
    /// Of a request.
    pub(crate) target: String,
    /// How the body ends.
    framing: Framing,
    /// No other message follows on this connection.
    pub(crate) close: bool,
}

impl MessageHead {
    /// Takes a head from the front of `unread`, once it is complete.
    fn take(unread: &mut BytesMut) -> io::Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(unread, b"\r\n\r\n") else {
            return if unread.len() > LARGEST_HEAD { Err(malformed()) } else { Ok(None) };
        };
        let text = std::str::from_utf8(&unread[..end]).map_err(|_| malformed())?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let status = match first.starts_with("HTTP/") {
            true => Some(second.parse().map_err(|_| malformed())?),
            false => None,
        };
        let mut framing = match status {
            Some(100 | 204 | 304) | None => Framing::Length(0),
            Some(_) => Framing::UntilClose,
        };
        let mut close = false;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(value.parse().map_err(|_| malformed())?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked(ChunkState::Size);
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            }
        }
        let target = if status.is_none() { second.to_owned() } else { String::new() };
        let close = close || framing == Framing::UntilClose;
        unread.advance(end + 4);
        Ok(Some(Self { status, target, framing, close }))
    }
}

/// How far a body is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked(ChunkState),
    Length(u64),
    UntilClose,
}

/// What comes next in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    Data(u64),
    DataEnd,
    Size,
    Trailer,
}

impl Framing {
    /// Takes the part of the body that has arrived. True at its end.
    fn take(&mut self, unread: &mut BytesMut, see: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            match self {
                Self::Length(left) | Self::Chunked(ChunkState::Data(left)) if *left > 0 => {
                    let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                    let piece = wanted.min(unread.len());
                    if piece == 0 {
                        return Ok(false);
                    }
                    see(&unread[..piece]);
                    unread.advance(piece);
                    *left -= piece as u64;
                }
                Self::Length(_) => return Ok(true),
                Self::Chunked(ChunkState::Data(_)) => *self = Self::Chunked(ChunkState::DataEnd),
                Self::UntilClose => {
                    see(unread);
                    unread.clear();
                    return Ok(false);
                }
                Self::Chunked(chunk) => {
                    let Some(end) = memchr::memmem::find(unread, b"\r\n") else {
                        return Ok(false);
                    };
                    let line = &unread[..end];
                    let next = match chunk {
                        ChunkState::Trailer if line.is_empty() => None,
                        ChunkState::Trailer => Some(ChunkState::Trailer),
                        ChunkState::Size => match size(line)? {
                            0 => Some(ChunkState::Trailer),
                            size => Some(ChunkState::Data(size)),
                        },
                        ChunkState::Data(_) | ChunkState::DataEnd => Some(ChunkState::Size),
                    };
                    unread.advance(end + 2);
                    match next {
                        Some(next) => *chunk = next,
                        None => return Ok(true),
                    }
                }
            }
        }
    }
}

fn size(line: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| malformed())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not HTTP/1.1")
}

const READ: usize = 16 << 10;
const LARGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &str, step: usize) -> (MessageHead, String) {
        let (mut unread, mut seen) = (BytesMut::new(), Vec::new());
        let mut pieces = message.as_bytes().chunks(step);
        let head = loop {
            unread.extend_from_slice(pieces.next().unwrap());
            if let Some(head) = MessageHead::take(&mut unread).unwrap() {
                break head;
            }
        };
        let mut framing = head.framing;
        while !framing.take(&mut unread, &mut |piece| seen.extend_from_slice(piece)).unwrap() {
            unread.extend_from_slice(pieces.next().unwrap());
        }
        (head, String::from_utf8(seen).unwrap())
    }

    #[test]
    fn a_chunked_response_is_read_wherever_it_is_cut() {
        let message = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\nabc\r\nA\r\n0123\r\n6789\r\n0\r\nT: v\r\n\r\n";
        for step in 1..message.len() {
            let (head, seen) = body(message, step);
            assert_eq!((head.status, seen.as_str()), (Some(200), "abc0123\r\n6789"), "{step}");
        }
    }

    #[test]
    fn a_request_with_a_length_and_its_target_are_read() {
        let (head, seen) = body("POST /a?b HTTP/1.1\r\ncontent-length: 2\r\n\r\nok", 7);
        assert_eq!((head.target.as_str(), head.close, seen.as_str()), ("/a?b", false, "ok"));
    }
}
