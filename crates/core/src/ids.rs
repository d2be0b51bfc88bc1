//! Ids that the proxy makes or takes over.

use http::HeaderValue;

use crate::access;
use crate::platform::Platform;
use crate::trace::hex;

/// The `x-request-id` of one request. It costs no allocation unless the client has sent its own.
#[derive(Debug, Clone)]
pub(crate) enum RequestId {
    /// The client's own: visible ASCII.
    Client(HeaderValue),
    /// `req_` and sixteen hex digits.
    New([u8; 20]),
}

impl RequestId {
    /// For work that is no client's.
    pub(crate) const NONE: Self = Self::New(*b"req_0000000000000000");

    /// The client's own id if it is well-formed, else a new one.
    pub(crate) fn of<P: Platform>(platform: &P, sent: Option<&HeaderValue>) -> Self {
        if let Some(id) = sent.filter(|id| access::is_forwardable_request_id(id)) {
            return Self::Client(id.clone());
        }
        let mut id = *b"req_0000000000000000";
        id[4..].copy_from_slice(&hex(platform.random()));
        Self::New(id)
    }

    /// As logs have it.
    pub(crate) fn as_str(&self) -> &str {
        let bytes = match self {
            Self::Client(id) => id.as_bytes(),
            Self::New(id) => id,
        };
        std::str::from_utf8(bytes).expect("both kinds are ASCII")
    }

    /// As the answer has it.
    pub(crate) fn to_header(&self) -> HeaderValue {
        match self {
            Self::Client(id) => id.clone(),
            Self::New(id) => HeaderValue::from_bytes(id).expect("hex digits are visible ASCII"),
        }
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
