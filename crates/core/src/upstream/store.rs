//! Reading and writing the key-value store. A failure of the store never fails a request.

use std::time::Duration;

use bytes::Bytes;

use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lock::FencingToken;

/// Reads an entry. A failure is logged and counts as no entry.
pub(crate) async fn recall<P: Platform>(
    platform: &P,
    metrics: &Metrics,
    key: &str,
) -> Option<Bytes> {
    let loaded = platform.load(key).await;
    metrics.store(loaded.is_ok());
    loaded
        .inspect_err(|why| tracing::warn!(key, "the key-value store cannot be read: {why}"))
        .ok()
        .flatten()
}

/// Writes an entry. A failure is logged, and nothing is written with a `ttl` of zero.
pub(crate) async fn remember<P: Platform>(
    platform: &P,
    metrics: &Metrics,
    key: &str,
    value: Bytes,
    ttl: Duration,
    token: Option<FencingToken>,
) {
    if ttl.is_zero() {
        return;
    }
    let saved = platform.save(key, value, ttl, token).await;
    metrics.store(saved.is_ok());
    if let Err(why) = saved {
        tracing::warn!(key, "the key-value store cannot be written: {why}");
    }
}
