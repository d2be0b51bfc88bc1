//! The connection to the server: checked at intervals and reopened when it is lost.
//!
//! Commands of all tasks share the connection without waiting for each other's replies. The first
//! command that times out, or that the server refuses because it cannot write, closes the connection.
//! From then on commands fail at once, until a new connection has been opened and has written.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::StoreError;
use code_assist_core::settings::RedisUrl;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::budget_scripts::BudgetScripts;
use super::scripts::{self, KeyNames, Scripts};
use super::stats::ServerStats;
use super::write_back::{CachedEntry, WriteBackCache};

/// A connection that is reopened when it is lost. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    inner: Arc<LinkInner>,
}

struct LinkInner {
    servers: Servers,
    shown: String,
    setup: Setup,
    state: Mutex<LinkState>,
    lost: Notify,
    stats: ServerStats,
    /// True once the log has the warning of evicted entries.
    eviction_reported: AtomicBool,
}

/// What a new connection needs before it can be used.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) names: Arc<KeyNames>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) cache: Arc<WriteBackCache>,
}

enum LinkState {
    Up {
        connection: MultiplexedConnection,
        /// Numbers connections, so that a late failure of an old one does not close the new one.
        serial: u64,
    },
    Down {
        error: LinkError,
        serial: u64,
    },
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum LinkError {
    #[error("not connected yet")]
    NotConnected,
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl Link {
    /// Creates a link without connecting.
    pub(super) fn new(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        setup: Setup,
    ) -> Result<Self, StoreError> {
        let inner = LinkInner {
            servers: Servers::new(url, authorities).map_err(|error| {
                StoreError(format!("the key-value store {url} cannot be used: {error}"))
            })?,
            shown: url.to_string(),
            setup,
            state: Mutex::new(LinkState::Down { error: LinkError::NotConnected, serial: 0 }),
            lost: Notify::new(),
            stats: ServerStats::default(),
            eviction_reported: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Connects, and spawns a task that reconnects until the last clone of the link is dropped.
    pub(super) async fn keep_connected(&self) -> Result<(), StoreError> {
        let connected = self.connect_once().await;
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut backoff = MIN_BACKOFF;
            while let Some(inner) = inner.upgrade() {
                if inner.is_up() {
                    inner.watch().await;
                    backoff = MIN_BACKOFF;
                    continue;
                }
                tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
                if inner.connect().await.is_ok() {
                    tracing::info!("the key-value store {} is back", inner.shown);
                }
            }
        });
        connected
    }

    pub(super) async fn connect_once(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.connect().await.map_err(|error| {
            StoreError(format!("the key-value store {} cannot be used: {error}", inner.shown))
        })
    }

    /// Returns why there is no connection, or None if there is one.
    pub(super) fn error(&self) -> Option<LinkError> {
        match &*self.inner.state() {
            LinkState::Up { .. } => None,
            LinkState::Down { error, .. } => Some(error.clone()),
        }
    }

    /// The state of the server's memory, which is asked for at intervals.
    pub(super) fn stats(&self) -> &ServerStats {
        &self.inner.stats
    }

    #[cfg(test)]
    pub(super) async fn refresh_stats(&self) {
        let connection = match &*self.inner.state() {
            LinkState::Up { connection, .. } => connection.clone(),
            LinkState::Down { .. } => return,
        };
        self.inner.refresh_stats(connection).await;
    }

    /// Runs commands within `limit`. Fails at once if there is no connection.
    pub(super) async fn run<T, F: Future<Output = RedisResult<T>>>(
        &self,
        limit: Duration,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError> {
        let inner = &self.inner;
        let failed = |error: &LinkError| {
            StoreError(format!("the key-value store {} does not work: {error}", inner.shown))
        };
        let (mut connection, serial) = match &*inner.state() {
            LinkState::Up { connection, serial } => (connection.clone(), *serial),
            LinkState::Down { error, .. } => return Err(failed(error)),
        };
        connection.set_response_timeout(limit);
        let error = match timeout(limit, work(connection)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if is_about_the_key(&error) => return Err(failed(&error.into())),
            Ok(Err(error)) => error.into(),
            Err(_) => LinkError::Timeout(limit),
        };
        let failure = failed(&error);
        inner.lose(serial, &error);
        Err(failure)
    }
}

impl fmt::Debug for Link {
    // The `Debug` of redis' client shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.inner.shown).finish()
    }
}

impl LinkInner {
    /// Opens a connection and writes over it, which fails if the server is a replica or full.
    async fn connect(&self) -> Result<(), LinkError> {
        let opened = timeout(CONNECT_TIMEOUT, self.open()).await;
        match opened {
            Ok(Ok(mut connection)) => {
                let serial = {
                    let mut state = self.state();
                    let serial = state.serial() + 1;
                    *state = LinkState::Up { connection: connection.clone(), serial };
                    serial
                };
                // Flushes what was written while the connection was being opened.
                if let Err(error) = self.flush(true, &mut connection).await {
                    self.lose(serial, &error.into());
                }
                Ok(())
            }
            Ok(Err(error)) => Err(self.stay_down(error.into())),
            Err(_) => Err(self.stay_down(LinkError::Timeout(CONNECT_TIMEOUT))),
        }
    }

    async fn open(&self) -> RedisResult<MultiplexedConnection> {
        let Setup { names, scripts, .. } = &self.setup;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let mut connection = self.servers.connect(&config).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(names.probe()).arg("1").arg("PX").arg(60_000).ignore();
        scripts.load(&mut pipeline);
        BudgetScripts::load(&mut pipeline);
        pipeline.exec_async(&mut connection).await?;
        self.flush(false, &mut connection).await?;
        self.refresh_stats(connection.clone()).await;
        Ok(connection)
    }

    /// Asks for the state of the server's memory. A login may lack the right to ask.
    async fn refresh_stats(&self, mut connection: MultiplexedConnection) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("memory").cmd("INFO").arg("stats");
        let asked = pipeline.query_async::<(String, String)>(&mut connection);
        let Ok(Ok((memory, stats))) = timeout(COMMAND_TIMEOUT, asked).await else { return };
        let evicts = self.stats.update(&(memory + &stats));
        if evicts && !self.eviction_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the key-value store {} is full and drops entries: rate limits of several processes \
                 may let more through, and tokens are fetched anew; give it more memory, or lower \
                 RESPONSE_CACHE_MAX_BYTES",
                self.shown
            );
        }
    }

    /// Writes back the dirty entries, and unless `only_dirty` also those that the server may have lost.
    async fn flush(
        &self,
        only_dirty: bool,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let Setup { names, scripts, cache } = &self.setup;
        for (key, cached) in cache.entries() {
            let (lock, entry) = (names.lock(&key), names.entry(&key));
            let CachedEntry { value, expires_at, dirty_since } = &cached;
            let ttl = expires_at.map(|at| cache.now().until(at));
            match (dirty_since, ttl) {
                (Some(fence), ttl) => {
                    let ttl = ttl.unwrap_or(Duration::MAX);
                    scripts.save(&lock, &entry, *fence, value, ttl, connection).await?;
                    cache.mark_flushed(&key, &cached);
                }
                (None, Some(Duration::ZERO)) => {}
                (None, _) if only_dirty => {}
                (None, ttl) => {
                    let mut set = scripts::set(&entry, value, ttl);
                    set.arg("NX").exec_async(connection).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends a PING at intervals, and returns when the connection is lost.
    async fn watch(&self) {
        for count in 1_u64.. {
            let pause = PING_INTERVAL.mul_f64(0.75 + 0.5 * fastrand::f64());
            let _ = timeout(pause, self.lost.notified()).await;
            let (mut connection, serial) = match &*self.state() {
                LinkState::Up { connection, serial } => (connection.clone(), *serial),
                LinkState::Down { .. } => return,
            };
            let ping = redis::cmd("PING");
            match timeout(COMMAND_TIMEOUT, ping.exec_async(&mut connection)).await {
                Ok(Ok(())) if count.is_multiple_of(PINGS_PER_INFO) => {
                    self.refresh_stats(connection).await;
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.lose(serial, &error.into()),
                Err(_) => return self.lose(serial, &LinkError::Timeout(COMMAND_TIMEOUT)),
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.state(), LinkState::Up { .. })
    }

    /// Closes the connection with this number.
    fn lose(&self, serial: u64, error: &LinkError) {
        let mut state = self.state();
        if !matches!(*state, LinkState::Up { serial: current, .. } if current == serial) {
            return;
        }
        *state = LinkState::Down { error: error.clone(), serial };
        drop(state);
        tracing::warn!(
            "the key-value store {} is lost: {error}; this process goes on from its memory",
            self.shown
        );
        self.lost.notify_one();
    }

    fn stay_down(&self, reason: LinkError) -> LinkError {
        if let LinkState::Down { error, .. } = &mut *self.state() {
            error.clone_from(&reason);
        }
        reason
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        // No code under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    fn serial(&self) -> u64 {
        match self {
            Self::Up { serial, .. } | Self::Down { serial, .. } => *serial,
        }
    }
}

/// The address of the server, or of the Sentinels that know it.
struct Servers {
    url: RedisUrl,
    authorities: Option<Vec<u8>>,
    /// One client for each host of the URL: servers or Sentinels.
    clients: Vec<Client>,
}

impl Servers {
    fn new(url: &RedisUrl, authorities: Option<Vec<u8>>) -> RedisResult<Self> {
        let mut servers = Self { url: url.clone(), authorities, clients: Vec::new() };
        for (host, port) in &url.hosts {
            // The credentials are for the server. Sentinels are asked without any.
            let login = match url.sentinel {
                Some(_) => RedisConnectionInfo::default(),
                None => servers.login(),
            };
            let client = servers.client(host, *port, login)?;
            servers.clients.push(client);
        }
        Ok(servers)
    }

    async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let mut failed = None;
        for client in &self.clients {
            let connected = match &self.url.sentinel {
                None => client.get_multiplexed_async_connection_with_config(config).await,
                Some(name) => self.primary(client, name, config).await,
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no host").into()))
    }

    /// Connects to the primary that a Sentinel names.
    async fn primary(
        &self,
        sentinel: &Client,
        name: &str,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        // A short timeout leaves time to ask the next Sentinel.
        let config = config.clone().set_connection_timeout(Some(SENTINEL_TIMEOUT));
        let mut sentinel = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(name);
        let found: Option<(String, u16)> = ask.query_async(&mut sentinel).await?;
        let Some((host, port)) = found else {
            return Err((ErrorKind::MasterNameNotFoundBySentinel, "no such name").into());
        };
        let client = self.client(&host, port, self.login())?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn login(&self) -> RedisConnectionInfo {
        let login = RedisConnectionInfo::default()
            .set_db(i64::from(self.url.database))
            .set_lib_name("code-assist-proxy", env!("CARGO_PKG_VERSION"));
        let login = match &self.url.user {
            Some(user) => login.set_username(user),
            None => login,
        };
        match &self.url.password {
            Some(password) => login.set_password(password.expose_secret()),
            None => login,
        }
    }

    fn client(&self, host: &str, port: u16, login: RedisConnectionInfo) -> RedisResult<Client> {
        let host = host.to_owned();
        let address = if self.url.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address
            .into_connection_info()?
            .set_redis_settings(login)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match self.authorities.clone().filter(|_| self.url.tls) {
            Some(root_cert) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        }
    }
}

/// True for an error that concerns one key and not the server, such as a list of another program
/// under the key.
fn is_about_the_key(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
}

/// How long a command of a request may take.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a command of an operator may take.
pub(super) const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Short enough to pass over three silent Sentinels within `CONNECT_TIMEOUT`.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(250);

const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the server's memory is asked for with every such ping.
const PINGS_PER_INFO: u64 = 15;

/// The pause between two tries to connect. It varies by half, so that a fleet does not reconnect at
/// once.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
