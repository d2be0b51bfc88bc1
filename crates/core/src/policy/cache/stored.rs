//! The stored form of an answer, for the processes that share a store.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::{CacheKey, CachedAnswer};
use crate::time::Timestamp;

impl CachedAnswer {
    /// Writes the answer to the request with this key: one line of JSON with everything but the
    /// body, then the body. The line has the store's key too, which a digest of the client's API key is
    /// part of. `None` for a header value that is not visible ASCII.
    pub fn to_stored(&self, key: &CacheKey, account: &str, clock: Timestamp) -> Option<Bytes> {
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers = self.headers.iter().map(header).collect::<Option<Vec<_>>>()?;
        let head = StoredHead {
            key: key.key(account),
            content: key.content.hex(),
            at: clock.0,
            status: self.status.as_u16(),
            headers,
        };
        let mut stored = serde_json::to_vec(&head).ok()?;
        stored.push(b'\n');
        stored.extend_from_slice(&self.body);
        Some(Bytes::from(stored))
    }
}

/// An answer that another process got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The answer.
    pub answer: CachedAnswer,
    /// When the other process got it.
    pub at: Timestamp,
    /// False when the other process used the same `Idempotency-Key` for another request.
    pub is_about_this: bool,
}

impl StoredAnswer {
    /// Reads what [`CachedAnswer::to_stored`] has written for this key and account. `None` for anything
    /// else, such as an answer that was copied from another key.
    pub fn from_stored(stored: &Bytes, key: &CacheKey, account: &str) -> Option<Self> {
        let end = memchr::memchr(b'\n', stored)?;
        let head: StoredHead = serde_json::from_slice(&stored[..end]).ok()?;
        let is_about_this = head.content == key.content.hex();
        if head.key != key.key(account) || !(is_about_this || key.is_named()) {
            return None;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in head.headers {
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(Self {
            answer: CachedAnswer {
                status: StatusCode::from_u16(head.status).ok()?,
                headers,
                body: stored.slice(end + 1..),
            },
            at: Timestamp(head.at),
            is_about_this,
        })
    }
}

/// The first line of a stored answer.
#[derive(Serialize, Deserialize)]
struct StoredHead {
    /// The key in the store. Answers of versions that did not write it are not used.
    key: String,
    content: String,
    at: u64,
    status: u16,
    headers: Vec<(String, String)>,
}
