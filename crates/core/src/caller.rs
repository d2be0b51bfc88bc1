//! The identity of a caller, and a caller's rate limit.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The identity by which a rate limit counts requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// All callers without a key whose address the shell does not know.
    Unknown,
    /// An address without a key. For IPv6 it is the /64 network, since a host owns all of it.
    Address(IpAddr),
    /// The label of a valid key (`Client::label`).
    Key(Arc<str>),
}

impl Caller {
    /// The key if there is one, else the address.
    pub fn new(label: Option<Arc<str>>, address: Option<IpAddr>) -> Self {
        match (label, address.map(|address| address.to_canonical())) {
            (Some(label), _) => Self::Key(label),
            (None, Some(IpAddr::V6(address))) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("anybody"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Key(label) => write!(f, "key {label}"),
        }
    }
}

/// A rate limit, for the store that counts for several processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// `RATE_LIMIT_MAX_REQUESTS`.
    pub limit: u32,
    /// `RATE_LIMIT_WINDOW_MS`.
    pub window: Duration,
    /// Requests closer together than this may share an entry.
    pub grain: Duration,
}

/// A caller's state within its rate limit, for the `x-ratelimit-…` headers of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateStanding {
    /// `RATE_LIMIT_MAX_REQUESTS`.
    pub limit: u32,
    /// How many more requests would be allowed now.
    pub remaining: u32,
    /// How long until the whole limit is available again, if no request arrives before.
    pub reset: Duration,
    /// How long until the next request is allowed. `None` when this one is allowed.
    pub refused: Option<Duration>,
}

impl RateStanding {
    /// Makes `x-ratelimit-limit`, `-remaining` and `-reset`, the last in whole seconds rounded up. The
    /// error for a refused request adds `Retry-After`.
    pub fn headers(&self) -> HeaderMap {
        let reset = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        HeaderMap::from_iter([
            (LIMIT, HeaderValue::from(self.limit)),
            (REMAINING, HeaderValue::from(self.remaining)),
            (RESET, HeaderValue::from(reset)),
        ])
    }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
