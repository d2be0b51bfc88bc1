//! Ids that the proxy makes or takes over.

use http::{HeaderMap, HeaderValue};

use crate::access;
use crate::platform::Platform;

/// The client's own `x-request-id` if it is sane, else a new one. Visible ASCII in any case.
pub(super) fn request_id<P: Platform>(platform: &P, headers: &HeaderMap) -> HeaderValue {
    if let Some(id) = access::forwardable_request_id(headers) {
        return id.clone();
    }
    let mut id = *b"req_0000000000000000";
    id[4..].copy_from_slice(&hex(platform.random()));
    HeaderValue::from_bytes(&id).expect("hex digits are visible ASCII")
}

/// A new `user_prompt_id`: a random UUID, as the CLI sends it (RFC 9562, version 4).
pub(super) struct PromptId([u8; 36]);

impl PromptId {
    pub(super) fn new<P: Platform>(platform: &P) -> Self {
        let high = hex(platform.random() & !0xf000 | 0x4000);
        let low = hex(platform.random() & (u64::MAX >> 2) | 1 << 63);
        let mut id = [b'-'; 36];
        id[..8].copy_from_slice(&high[..8]);
        id[9..13].copy_from_slice(&high[8..12]);
        id[14..18].copy_from_slice(&high[12..]);
        id[19..23].copy_from_slice(&low[..4]);
        id[24..].copy_from_slice(&low[4..]);
        Self(id)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

/// The hex digits of a number.
fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - place * 4)) as usize & 0xf])
}
