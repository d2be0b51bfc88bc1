//! Writing errors for clients that speak the Gemini API, as `google.rpc.Status` in JSON.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::google::status::{Detail, Status};

/// Writes the body, `{"error":{…}}`. The proxy's own errors have one line; upstream's errors are
/// upstream's bytes.
pub fn body(error: &Error) -> Bytes {
    if let Error::Upstream(upstream) = error {
        return upstream.body.clone();
    }
    status(error).to_json()
}

/// The details, a JSON array; empty if there are none. Those of upstream's errors are upstream's bytes.
pub(crate) fn details(error: &Error) -> Bytes {
    if let Error::Upstream(upstream) = error {
        return upstream.details.clone();
    }
    let details = status(error).details;
    if details.is_empty() {
        return Bytes::new();
    }
    // Strings, numbers and valid raw JSON only: this cannot fail.
    Bytes::from(serde_json::to_vec(&details).unwrap_or_default())
}

/// An error of the proxy's.
fn status(error: &Error) -> Status {
    let mut status = Status::new(error.status(), error.message());
    if let Some(reason) = error.reason() {
        status = status.with(Detail::ErrorInfo {
            reason: Cow::Borrowed(reason),
            domain: Cow::Borrowed(DOMAIN),
            metadata: error.metadata(),
        });
    }
    if let Some(after) = error.retry_after() {
        status = status.with(Detail::RetryInfo(after));
    }
    let links = error.links();
    if !links.is_empty() {
        status = status.with(Detail::Help { links });
    }
    if let Ok(details) = serde_json::from_slice::<Vec<Box<RawValue>>>(error.google_details()) {
        status.details.extend(details.into_iter().map(Detail::Google));
    }
    status
}

/// The domain of the proxy's `ErrorInfo` details.
const DOMAIN: &str = "code-assist-proxy";
