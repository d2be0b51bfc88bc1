//! The one connection to the server: kept, watched, and made anew when it is lost.
//!
//! Commands of all tasks go over it without waiting for one another's answers. The first that goes
//! unanswered, or that the server refuses because it may not or cannot write, costs the connection;
//! from then on nobody waits until a new one has been made and has written.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::platform::StoreError;
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

use super::scripts::{self, Names, Scripts};
use super::write_back::{CachedEntry, WriteBackCache};

/// A connection, or why there is none. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Servers,
    shown: String,
    ready: Ready,
    line: Mutex<LinkState>,
    lost: Notify,
}

/// What a new connection is made ready with.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) names: Arc<Names>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) near: Arc<WriteBackCache>,
}

enum LinkState {
    Up {
        connection: MultiplexedConnection,
        /// Tells connections apart: an old one's failure is nothing to the new one.
        serial: u64,
    },
    Down {
        why: String,
        serial: u64,
    },
}

impl Link {
    /// A link that is not connected yet.
    pub(super) fn new(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        ready: Ready,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            servers: Servers::new(url, authorities).map_err(|error| {
                StoreError(format!("the key-value store {url} cannot be used: {error}"))
            })?,
            shown: url.to_string(),
            ready,
            line: Mutex::new(LinkState::Down { why: "not connected yet".into(), serial: 0 }),
            lost: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connects, and leaves a task behind that keeps it connected for as long as anybody has it.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let begun = self.connect_once().await;
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Some(shared) = shared.upgrade() {
                if shared.is_up() {
                    shared.watch().await;
                    pause = FIRST_PAUSE;
                    continue;
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(LAST_PAUSE);
                if shared.connect().await.is_ok() {
                    tracing::info!("the key-value store {} is back", shared.shown);
                }
            }
        });
        begun
    }

    /// Connects now, or says why not.
    pub(super) async fn connect_once(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.connect().await.map_err(|why| {
            StoreError(format!("the key-value store {} cannot be used: {why}", shared.shown))
        })
    }

    /// Why there is no connection, if there is none.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*self.shared.line() {
            LinkState::Up { .. } => None,
            LinkState::Down { why, .. } => Some(why.clone()),
        }
    }

    /// Does something over the connection, within `limit`. Without one it fails at once.
    pub(super) async fn run<T, F: Future<Output = RedisResult<T>>>(
        &self,
        limit: Duration,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        let failed = |why: String| {
            StoreError(format!("the key-value store {} does not work: {why}", shared.shown))
        };
        let (mut connection, serial) = match &*shared.line() {
            LinkState::Up { connection, serial } => (connection.clone(), *serial),
            LinkState::Down { why, .. } => return Err(failed(why.clone())),
        };
        connection.set_response_timeout(limit);
        let why = match timeout(limit, work(connection)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if is_about_the_key(&error) => return Err(failed(error.to_string())),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {limit:?}"),
        };
        shared.lose(serial, &why);
        Err(failed(why))
    }
}

impl fmt::Debug for Link {
    // The client's own shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.shared.shown).finish()
    }
}

impl Shared {
    /// A new connection that has written: its server is neither a replica nor full.
    async fn connect(&self) -> Result<(), String> {
        let made = timeout(CONNECT_PATIENCE, self.made()).await;
        match made.map_err(|_| format!("no answer in {CONNECT_PATIENCE:?}")) {
            Ok(Ok(mut connection)) => {
                let serial = {
                    let mut line = self.line();
                    let serial = line.serial() + 1;
                    *line = LinkState::Up { connection: connection.clone(), serial };
                    serial
                };
                // What was written while the connection was being made.
                if let Err(error) = self.pay(true, &mut connection).await {
                    self.lose(serial, &error.to_string());
                }
                Ok(())
            }
            Ok(Err(error)) => Err(self.stays_down(error.to_string())),
            Err(why) => Err(self.stays_down(why)),
        }
    }

    async fn made(&self) -> RedisResult<MultiplexedConnection> {
        let Ready { names, scripts, .. } = &self.ready;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = self.servers.connect(&config).await?;
        let mut begin = redis::pipe();
        begin.cmd("SET").arg(names.probe()).arg("1").arg("PX").arg(60_000).ignore();
        scripts.load(&mut begin);
        begin.exec_async(&mut connection).await?;
        self.pay(false, &mut connection).await?;
        Ok(connection)
    }

    /// Writes back what the server lacks: what it could not be told, and what it may have lost.
    async fn pay(
        &self,
        only_owed: bool,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let Ready { names, scripts, near } = &self.ready;
        for (key, fact) in near.facts() {
            let (turn, entry) = (names.turn(&key), names.entry(&key));
            let CachedEntry { value, expires_at, owed } = &fact;
            let ttl = expires_at.map(|at| near.now().until(at));
            match (owed, ttl) {
                (Some(fence), ttl) => {
                    let ttl = ttl.unwrap_or(Duration::MAX);
                    scripts.save(&turn, &entry, *fence, value, ttl, connection).await?;
                    near.paid(&key, &fact);
                }
                (None, Some(Duration::ZERO)) => {}
                (None, _) if only_owed => {}
                (None, ttl) => {
                    let mut set = scripts::set(&entry, value, ttl);
                    set.arg("NX").exec_async(connection).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns when the connection is lost.
    async fn watch(&self) {
        loop {
            let pause = LOOK_EVERY.mul_f64(0.75 + 0.5 * fastrand::f64());
            let _ = timeout(pause, self.lost.notified()).await;
            let (mut connection, serial) = match &*self.line() {
                LinkState::Up { connection, serial } => (connection.clone(), *serial),
                LinkState::Down { .. } => return,
            };
            let ping = redis::cmd("PING");
            match timeout(PATIENCE, ping.exec_async(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.lose(serial, &error.to_string()),
                Err(_) => return self.lose(serial, &format!("no answer in {PATIENCE:?}")),
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.line(), LinkState::Up { .. })
    }

    /// The connection of this number is of no use any more.
    fn lose(&self, serial: u64, why: &str) {
        let mut line = self.line();
        if !matches!(*line, LinkState::Up { serial: current, .. } if current == serial) {
            return;
        }
        *line = LinkState::Down { why: why.to_owned(), serial };
        drop(line);
        tracing::warn!(
            "the key-value store {} is lost: {why}; this process goes on from its memory",
            self.shown
        );
        self.lost.notify_one();
    }

    fn stays_down(&self, reason: String) -> String {
        if let LinkState::Down { why, .. } = &mut *self.line() {
            why.clone_from(&reason);
        }
        reason
    }

    fn line(&self) -> MutexGuard<'_, LinkState> {
        // No code that can panic runs under this lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    fn serial(&self) -> u64 {
        match self {
            Self::Up { serial, .. } | Self::Down { serial, .. } => *serial,
        }
    }
}

/// How to get to the server.
struct Servers {
    url: RedisUrl,
    authorities: Option<Vec<u8>>,
    /// The server itself, or those who know where it is.
    clients: Vec<Client>,
}

impl Servers {
    fn new(url: &RedisUrl, authorities: Option<Vec<u8>>) -> RedisResult<Self> {
        let mut servers = Self { url: url.clone(), authorities, clients: Vec::new() };
        for (host, port) in &url.hosts {
            // The login is the server's. Sentinels are asked without one.
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

    /// A connection to where a Sentinel says that the server is now.
    async fn primary(
        &self,
        sentinel: &Client,
        name: &str,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        // One that is silent must leave time to ask the next.
        let config = config.clone().set_connection_timeout(Some(SENTINEL_PATIENCE));
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

/// True for an error that says something of one key (another program's list in the place of our
/// entry) and nothing of the server.
fn is_about_the_key(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
}

/// How long one command of a request's may take.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// How long one of an operator's may.
pub(super) const ADMIN_PATIENCE: Duration = Duration::from_secs(10);

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Three silent ones may be passed over within that.
const SENTINEL_PATIENCE: Duration = Duration::from_millis(250);

/// How often an idle connection is asked whether it lives.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to connect, give or take a half, so that a fleet does not come back as one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
