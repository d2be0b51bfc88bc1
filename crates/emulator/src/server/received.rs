//! The body of a request while it arrives.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use crate::backend::Backend;
use crate::gemini_api::UploadSink;
use crate::log::BODY_SHOWN;

/// A body that has arrived. Of a large upload only the length and the digest are known.
#[derive(Debug)]
pub(crate) struct ReceivedBody {
    /// The bytes; of a large upload the first ones.
    pub(crate) bytes: Bytes,
    pub(crate) length: u64,
    pub(crate) sha256: Option<[u8; 32]>,
}

/// What becomes of a body while it arrives.
#[derive(Debug)]
pub(super) enum Reading<'a> {
    /// It is not kept.
    Dropped,
    /// It goes into an upload and is not kept.
    Uploaded(&'a UploadSink),
    /// It is kept.
    Whole,
}

/// Reads a body to its end, or `most` bytes of it. The flag says whether the client sent it whole.
pub(super) async fn receive(
    mut body: Incoming,
    reading: Reading<'_>,
    most: Option<u64>,
    backend: &Backend,
) -> (ReceivedBody, bool) {
    let mut bytes = BytesMut::new();
    let mut hasher = Sha256::new();
    let mut length = 0;
    let is_whole = loop {
        let left = most.map_or(u64::MAX, |most| most.saturating_sub(length));
        if left == 0 {
            break true;
        }
        let data = match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => frame.into_data(),
        };
        let Ok(mut data) = data else { continue };
        data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        length += data.len() as u64;
        if matches!(reading, Reading::Whole) {
            bytes.extend_from_slice(&data);
            continue;
        }
        hasher.update(&data);
        let room = BODY_SHOWN.saturating_sub(bytes.len()).min(data.len());
        bytes.extend_from_slice(&data[..room]);
        if let Reading::Uploaded(sink) = &reading {
            sink.take(&data, &mut backend.state().gemini);
        }
    };
    let is_kept = bytes.len() as u64 == length;
    let sha256 = (!is_kept).then(|| hasher.finalize().into());
    (ReceivedBody { bytes: bytes.freeze(), length, sha256 }, is_whole)
}
