//! The identity of a caller, and a caller's rate limit.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

/// The identity of a caller, by which limits, shares and the response cache tell callers apart.
///
/// A key's name is no identity: another key may get the name later, and two processes that share a
/// store may use it for different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Caller {
    /// All callers without a key whose address the shell does not know.
    #[default]
    Unknown,
    /// An address without a key. For IPv6 it is the /64 network, since a host owns all of it.
    Address(IpAddr),
    /// A valid key.
    Key(KeyDigest),
}

/// The SHA-256 of a client's key: the identity of its holder, in this process and in a store that
/// several share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    /// The digest of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The identity of the person or program whose `[[key]]` tables have this `id`. It differs from the
    /// digest of every key, since a key has no control characters.
    pub fn of_id(id: &str) -> Self {
        Self(Sha256::new().chain_update(b"id\0").chain_update(id.as_bytes()).finalize().into())
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Logs must not hold what a guessed key can be compared with.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

impl Caller {
    /// The key if there is one, else the address.
    pub fn new(key: Option<KeyDigest>, address: Option<IpAddr>) -> Self {
        match (key, address.map(|address| address.to_canonical())) {
            (Some(key), _) => Self::Key(key),
            (None, Some(IpAddr::V6(address))) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Unknown,
        }
    }

    /// The caller's key, if it has one.
    pub fn key(&self) -> Option<KeyDigest> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Address(_) | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("anybody"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Key(key) => write!(f, "key {key}"),
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
    /// The state within two counts that have both let a request through.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            remaining: self.remaining.min(other.remaining),
            reset: self.reset.max(other.reset),
            ..self
        }
    }

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

pub(crate) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
