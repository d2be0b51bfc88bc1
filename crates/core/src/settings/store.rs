//! Where tokens and the project are kept, and what seals them.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox, SecretString};

/// The location of the key-value store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvUrl {
    /// `file:PATH`: an embedded file database, with `~` expanded.
    File(String),
    /// `memory:`: lost when the process ends.
    Memory,
    /// `redis://…` or `rediss://…`: a server that several processes share.
    Redis(Box<RedisUrl>),
}

impl fmt::Display for KvUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Memory => f.write_str("memory:"),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// The address of a Redis-compatible server, and the part of it that the proxy uses. `Display` and
/// `Debug` show no password.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// `rediss`: TLS.
    pub tls: bool,
    /// Name or address (IPv6 without brackets) and port of the server, or of its Sentinels.
    pub hosts: Vec<(String, u16)>,
    /// The name under which Sentinels know the server.
    pub sentinel: Option<String>,
    /// The ACL user; `None` is the server's default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The number of the database.
    pub database: u32,
    /// The prefix of every key that the proxy writes.
    pub prefix: String,
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://")?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        write!(f, "/{}", self.database)?;
        match &self.sentinel {
            Some(name) => write!(f, "?sentinel={name}"),
            None => Ok(()),
        }
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        let password = |url: &Self| url.password.as_ref().map(|it| it.expose_secret().to_owned());
        self.to_string() == other.to_string()
            && (&self.user, &self.prefix) == (&other.user, &other.prefix)
            && password(self) == password(other)
    }
}

impl Eq for RedisUrl {}

/// The keys with which stored secrets are sealed.
#[derive(Clone)]
pub struct SealKeys {
    /// Seals and opens entries.
    pub first: Arc<SecretBox<[u8; 32]>>,
    /// Only opens entries: the previous key.
    pub second: Option<Arc<SecretBox<[u8; 32]>>>,
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys").field("second", &self.second.is_some()).finish_non_exhaustive()
    }
}
