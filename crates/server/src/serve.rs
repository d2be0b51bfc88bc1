//! `serve`: the parts put together, the start-up lines, signals.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::platform::{LoginFile, Platform};
use code_assist_core::settings::Settings;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::emulator::Emulator;
use crate::listen::Patience;
use crate::native::Native;
use crate::parts::Parts;
use crate::signals::Reload;
use crate::sources::Sources;
use crate::store::Store;
use crate::{Failure, emulator, listen, notify, print, signals, telemetry, trim};

/// Runs the proxy until it is told to stop.
pub(crate) async fn run(
    settings: Settings,
    sources: Sources,
    emulated: bool,
) -> Result<(), Failure> {
    let served = serve(settings, sources, emulated).await;
    served.map_err(|error| Failure::Runtime(error.to_string()))
}

async fn serve(mut settings: Settings, sources: Sources, emulated: bool) -> io::Result<()> {
    trim::hold_threshold();
    let (log, _last_lines) = telemetry::start(&settings.log_level, settings.log_format)?;
    let emulator = if emulated { Some(emulator::start(&mut settings).await?) } else { None };
    let listener = bind(&settings).await?;
    let address = listener.local_addr()?;
    let (ending, ended) = watch::channel(false);
    let (store, notice) = Store::open(&settings).await;
    if let Some(notice) = notice {
        tracing::warn!("{notice}");
    }
    let patience = Patience { grace: settings.shutdown_grace, stall: settings.stream_idle_timeout };
    let told = settings.clone();
    let Parts { proxy, native } = Parts::assemble(settings, store, ended)?;
    let (upstream, endpoint) = (native.upstream().clone(), told.endpoints.first().cloned());
    tokio::spawn(async move { upstream.warm(&endpoint.unwrap_or_default()).await });
    introduce(&told, &native, address, emulator.as_ref()).await;

    let (tended_proxy, tended_native) = (Arc::clone(&proxy), native.clone());
    let tending = tokio::spawn(async move {
        loop {
            Box::pin(tended_proxy.tend(&tended_native)).await;
            tokio::time::sleep(TEND_EVERY).await;
        }
    });

    let trimmed = Arc::clone(&proxy);
    let trimming = tokio::spawn(async move { trim::after_peaks(&trimmed).await });

    let reload = Reload { sources, host: told.host, proxy: Arc::clone(&proxy), log };
    let mut stop = signals::heed(reload)?;
    let shutdown = stop.clone();
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            notify::stopping();
        }
    });
    let alive = tokio::spawn(notify::stay_alive());
    notify::ready();
    listen::serve(listener, proxy, native, shutdown, ending, patience).await;
    tending.abort();
    trimming.abort();
    alive.abort();
    tracing::info!("stopped");
    Ok(())
}

async fn bind(settings: &Settings) -> io::Result<TcpListener> {
    let host = settings.host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((host, settings.port)).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: stop it, or choose another PORT (0 picks a free one)"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose another PORT",
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address: mend HOST",
            _ => "",
        };
        let text = format!("cannot listen on {}:{}: {error}{hint}", settings.host, settings.port);
        io::Error::new(error.kind(), text)
    })
}

/// What a person wants to know at the start.
async fn introduce(
    settings: &Settings,
    native: &Native,
    address: SocketAddr,
    emulator: Option<&Emulator>,
) {
    let mut out = String::new();
    let key = match settings.api_keys.is_empty() {
        true => String::new(),
        false => " -H \"x-goog-api-key: $YOUR_PROXY_KEY\"".to_owned(),
    };
    let _ = writeln!(out, "code-assist-proxy {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "  listening on http://{address}");
    if let Some(emulator) = emulator {
        let _ = writeln!(out, "  emulator on {} (nothing goes to Google)", emulator.url());
    } else {
        let _ = writeln!(out, "  upstream     {}", settings.endpoints.join(", "));
    }
    let _ = writeln!(out, "  credentials  {}", credentials(settings, native, emulator).await);
    let _ = writeln!(out, "  store        {}", native.store().describe());
    let _ = writeln!(
        out,
        "  try          curl -s http://{address}/v1beta/models/gemini-2.5-flash:generateContent \
         -H 'content-type: application/json'{key} -d '{{\"contents\":[{{\"parts\":[{{\"text\":\"Hello\"}}]}}]}}'"
    );
    if emulator.is_none() && first_start(native).await {
        let _ = writeln!(out, "\n{TERMS}");
    }
    print(&out);
}

async fn credentials(settings: &Settings, native: &Native, emulator: Option<&Emulator>) -> String {
    if emulator.is_some() {
        return "thrown away when the emulator stops".to_owned();
    }
    if settings.access_token.is_some() {
        return "GOOGLE_CLOUD_ACCESS_TOKEN, used as it is and never refreshed".to_owned();
    }
    if settings.credentials_json.is_some() {
        return "GCP_SERVICE_ACCOUNT".to_owned();
    }
    match native.login_file(None).await {
        LoginFile::Read { .. } | LoginFile::Unchanged => {
            settings.credentials_file.clone().unwrap_or_default()
        }
        LoginFile::Absent { path, encrypted_store: true } => format!(
            "MISSING: {path} is not there, only the CLI's encrypted store is; unset \
             GEMINI_FORCE_ENCRYPTED_FILE_STORAGE and sign in again with `gemini`"
        ),
        LoginFile::Absent { path, .. } => format!(
            "MISSING: {path} is not there; sign in with `gemini`, or set GCP_SERVICE_ACCOUNT \
             (no restart is needed once the file is there)"
        ),
        LoginFile::Unreadable(why) => format!("UNREADABLE: {why}"),
        LoginFile::Unsupported => "none".to_owned(),
    }
}

/// True once for a store: the terms notice is for the first start.
async fn first_start(native: &Native) -> bool {
    if matches!(native.load(NOTICE_KEY).await, Ok(Some(_))) {
        return false;
    }
    let _ = native.save(NOTICE_KEY, Bytes::from_static(b"true"), NOTICE_TTL, None).await;
    true
}

const TEND_EVERY: Duration = Duration::from_secs(1);

const NOTICE_KEY: &str = "terms_notice_shown";
const NOTICE_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `spec.md` 18.
const TERMS: &str = "\
Please note: Google's terms restrict using the Gemini CLI's OAuth sign-in from third-party software,
and accounts have been suspended for it. Individual accounts (free, Pro, Ultra) no longer work
through this client since 2026-06-18. This proxy is meant for accounts whose owner has the right to
use them so: organisations with a Code Assist Standard or Enterprise licence.";
