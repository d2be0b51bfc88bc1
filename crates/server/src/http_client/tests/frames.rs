//! Frames of HTTP/2, for servers that do what no library does.

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

pub(super) struct RawFrame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

/// Reads what a client sends before its first frame.
pub(super) async fn read_preface(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    Ok(())
}

pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<RawFrame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [l0, l1, l2, kind, flags, id @ ..] = head;
    let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok(RawFrame { kind, flags, id: u32::from_be_bytes(id), payload })
}

pub(super) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> io::Result<()> {
    let length = u8::try_from(payload.len()).unwrap();
    let head = [&[0, 0, length, kind, flags][..], &id.to_be_bytes()].concat();
    stream.write_all(&[&head, payload].concat()).await?;
    stream.flush().await
}

// Types and flags of frames (RFC 9113 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
