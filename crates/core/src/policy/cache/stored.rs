//! An answer as the processes that share a store keep it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::{CacheKey, CachedAnswer};
use crate::time::Timestamp;

impl CachedAnswer {
    /// The answer to `question` as other processes find it: what it is about and when it was given
    /// on one line of JSON, and then its body.
    pub fn to_stored(&self, question: &CacheKey, clock: Timestamp) -> Option<Bytes> {
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers = self.headers.iter().map(header).collect::<Option<Vec<_>>>()?;
        let head = Head {
            content: question.content.hex(),
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

/// An answer that another process has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// What it was.
    pub answer: CachedAnswer,
    /// When it was given.
    pub at: Timestamp,
    /// False when the `Idempotency-Key` stood for another question there.
    pub is_about_this: bool,
}

impl StoredAnswer {
    /// Reads what [`CachedAnswer::to_stored`] has written.
    pub fn from_stored(stored: &Bytes, question: &CacheKey) -> Option<Self> {
        let end = memchr::memchr(b'\n', stored)?;
        let head: Head = serde_json::from_slice(&stored[..end]).ok()?;
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
            is_about_this: head.content == question.content.hex(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    content: String,
    at: u64,
    status: u16,
    headers: Vec<(String, String)>,
}
