//! Ids that the proxy makes or takes over.

use http::HeaderValue;

use crate::access;
use crate::platform::Platform;
use crate::request_ids::RequestId;
use crate::trace::hex;

/// The client's own `x-request-id` if it is well-formed, else a new one.
pub(crate) fn request_id<P: Platform>(platform: &P, sent: Option<&HeaderValue>) -> RequestId {
    match sent.filter(|id| access::is_forwardable_request_id(id)) {
        Some(id) => RequestId::Client(id.clone()),
        None => RequestId::new(platform.random()),
    }
}

/// A new `user_prompt_id`: a random UUID, as the CLI sends it (RFC 9562, version 4).
pub(crate) struct PromptId([u8; 36]);

impl PromptId {
    pub(crate) fn new<P: Platform>(platform: &P) -> Self {
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

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}
