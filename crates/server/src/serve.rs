//! `serve`: starts the proxy, prints the start-up lines and handles signals.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::{AccountSettings, CredentialsJson, Settings};
use code_assist_core::{CredentialFile, Platform, credential_problem};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::emulator::Emulator;
use crate::listen::{Listeners, Timeouts};
use crate::platform::TokioPlatform;
use crate::signals::Reload;
use crate::sources::Sources;
use crate::store::Store;
use crate::{CommandError, core_dumps, emulator, listen, notify, print, signals, telemetry, trim};

/// Runs the proxy until a signal stops it.
pub(crate) async fn run(
    settings: Settings,
    sources: Sources,
    emulated: bool,
) -> Result<(), CommandError> {
    let served = serve(settings, sources, emulated).await;
    served.map_err(CommandError::runtime)
}

async fn serve(mut settings: Settings, sources: Sources, emulated: bool) -> io::Result<()> {
    trim::hold_threshold();
    let (log, _log_guard) = telemetry::start(&settings.log_level, settings.log_format)?;
    core_dumps::forbid();
    let emulator = if emulated { Some(emulator::start(&mut settings).await?) } else { None };
    let main = bind(&settings, settings.port, "PORT").await?;
    let admin = match settings.admin_port {
        Some(port) => Some(bind(&settings, port, "ADMIN_PORT").await?),
        None => None,
    };
    let addresses = Addresses {
        main: main.local_addr()?,
        admin: admin.as_ref().map(TcpListener::local_addr).transpose()?,
    };
    let (abort, aborted) = watch::channel(false);
    let (store, notice) = Store::open(&settings).await;
    if let Some(notice) = notice {
        tracing::warn!("{notice}");
    }
    let timeouts = Timeouts::of(&settings);
    let initial = settings.clone();
    let App { proxy, platform } = App::assemble(settings, store, aborted)?;
    let (client, endpoint) = (platform.http_client().clone(), initial.endpoints.first().cloned());
    tokio::spawn(async move { client.warm(&endpoint.unwrap_or_default()).await });
    introduce(&initial, &platform, addresses, emulator.as_ref()).await;

    let (tick_proxy, tick_platform) = (Arc::clone(&proxy), platform.clone());
    let ticking = tokio::spawn(async move {
        loop {
            Box::pin(tick_proxy.tick(&tick_platform)).await;
            tokio::time::sleep(TICK).await;
        }
    });

    let lost_lines = tokio::spawn(telemetry::warn_of_lost_lines());
    let trim_proxy = Arc::clone(&proxy);
    let trimming = tokio::spawn(async move { trim::after_peaks(&trim_proxy).await });

    let reload = Reload {
        sources,
        host: initial.host,
        proxy: Arc::clone(&proxy),
        platform: platform.clone(),
        log,
    };
    let (stopped_proxy, stopped_platform) = (Arc::clone(&proxy), platform.clone());
    let mut stop = signals::listen(reload)?;
    let shutdown = stop.clone();
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            notify::stopping();
        }
    });
    let watchdog = tokio::spawn(notify::feed_watchdog());
    notify::ready();
    let listeners = Listeners { main, admin };
    listen::serve(listeners, proxy, platform, shutdown, abort, timeouts).await;
    ticking.abort();
    trimming.abort();
    watchdog.abort();
    lost_lines.abort();
    stopped_proxy.finish(&stopped_platform);
    tracing::info!("stopped");
    Ok(())
}

/// Where the proxy listens.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    main: SocketAddr,
    admin: Option<SocketAddr>,
}

/// Listens on a port. `name` is the setting that the port is from.
async fn bind(settings: &Settings, port: u16, name: &str) -> io::Result<TcpListener> {
    let host = settings.host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((host, port)).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "; another program listens there: stop it, or choose another {name} (0 picks a \
                     free one)"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("; ports below 1024 need privileges: choose another {name}")
            }
            io::ErrorKind::AddrNotAvailable => {
                "; this machine has no such address: change HOST".to_owned()
            }
            _ => String::new(),
        };
        let text = format!("cannot listen on {}:{port}: {error}{hint}", settings.host);
        io::Error::new(error.kind(), text)
    })
}

/// Prints the start-up lines: addresses, credentials, store and a command to try.
async fn introduce(
    settings: &Settings,
    platform: &TokioPlatform,
    addresses: Addresses,
    emulator: Option<&Emulator>,
) {
    let mut out = String::new();
    let key = match settings.api_keys.is_empty() {
        true => String::new(),
        false => " -H \"x-goog-api-key: $YOUR_PROXY_KEY\"".to_owned(),
    };
    let _ = writeln!(out, "code-assist-proxy {}", env!("CARGO_PKG_VERSION"));
    let address = addresses.main;
    let _ = writeln!(out, "  listening on http://{address}");
    if let Some(admin) = addresses.admin {
        let _ = writeln!(out, "  admin port   http://{admin} (metrics, details, status page)");
    }
    if let Some(emulator) = emulator {
        let _ = writeln!(out, "  emulator on {} (nothing goes to Google)", emulator.url());
    } else {
        for upstream in &settings.upstreams {
            let _ = writeln!(out, "  upstream     {}", upstream.endpoints.join(", "));
        }
    }
    let _ = writeln!(out, "  credentials  {}", credentials(settings, platform, emulator).await);
    let _ = writeln!(out, "  access       {}", access(settings));
    let _ = writeln!(out, "  store        {}", platform.store().describe());
    let _ = writeln!(
        out,
        "  try          curl -s http://{address}/v1beta/models/gemini-2.5-flash:generateContent \
         -H 'content-type: application/json'{key} -d '{{\"contents\":[{{\"parts\":[{{\"text\":\"Hello\"}}]}}]}}'"
    );
    if emulator.is_none() && first_start(platform).await {
        let _ = writeln!(out, "\n{TERMS}");
    }
    print(&out);
}

/// Who may use the proxy.
fn access(settings: &Settings) -> String {
    match settings.api_keys.len() {
        0 if settings.is_loopback() => "no keys: local programs only".to_owned(),
        0 => "no keys: everyone who reaches the port".to_owned(),
        count => format!("keys: {count}"),
    }
}

async fn credentials(
    settings: &Settings,
    platform: &TokioPlatform,
    emulator: Option<&Emulator>,
) -> String {
    if emulator.is_some() {
        return "thrown away when the emulator stops".to_owned();
    }
    let Some(AccountSettings::CodeAssist(account)) =
        settings.upstreams.first().map(|upstream| &upstream.account)
    else {
        return "a key".to_owned();
    };
    if account.access_token.is_some() {
        return "GOOGLE_CLOUD_ACCESS_TOKEN, used as it is and never refreshed".to_owned();
    }
    let described = |place: &str, content: &[u8]| match credential_problem(content) {
        Some(why) => format!("UNREADABLE: {place} {why}"),
        None => place.to_owned(),
    };
    if let Some(CredentialsJson { name, text }) = &account.credentials_json {
        return described(name, text.expose_secret().as_bytes());
    }
    let Some(path) = &account.credentials_file else {
        return "MISSING: there is no home folder; set GCP_SERVICE_ACCOUNT".to_owned();
    };
    match platform.credential_file(path, None).await {
        CredentialFile::Read { content, .. } => described(path, &content),
        CredentialFile::Unchanged => path.clone(),
        CredentialFile::Absent { path, encrypted_store: true } => format!(
            "MISSING: {path} is not there, only the CLI's encrypted store is; unset \
             GEMINI_FORCE_ENCRYPTED_FILE_STORAGE and sign in again with `gemini`"
        ),
        CredentialFile::Absent { path, .. } => format!(
            "MISSING: {path} is not there; sign in with `gemini`, or set GCP_SERVICE_ACCOUNT \
             (no restart is needed once the file is there)"
        ),
        CredentialFile::Unreadable(why) => format!("UNREADABLE: {why}"),
        CredentialFile::Unsupported => "none".to_owned(),
    }
}

/// Returns true once for each store, since the terms notice is for the first start.
async fn first_start(platform: &TokioPlatform) -> bool {
    if matches!(platform.load(NOTICE_KEY).await, Ok(Some(_))) {
        return false;
    }
    let _ = platform.save(NOTICE_KEY, Bytes::from_static(b"true"), NOTICE_TTL, None).await;
    true
}

/// How often the core does its regular work.
const TICK: Duration = Duration::from_secs(1);

const NOTICE_KEY: &str = "terms_notice_shown";
const NOTICE_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `README.md`.
const TERMS: &str = "\
Please note: Google's terms restrict using the Gemini CLI's OAuth sign-in from third-party software,
and accounts have been suspended for it. Individual accounts (free, Pro, Ultra) no longer work
through this client since 2026-06-18. This proxy is meant for accounts whose owner has the right to
use them so: organisations with a Code Assist Standard or Enterprise licence.";
