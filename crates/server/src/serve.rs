//! `serve`: starts the proxy, prints the start-up lines and handles signals.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::settings::{Problem, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::{App, ServeParts};
use crate::audit::{AuditGuard, AuditLog};
use crate::cli::EmulatedProvider;
use crate::introduce::{Addresses, introduction};
use crate::listen::{Listeners, Timeouts};
use crate::operator_file::OperatorFile;
use crate::platform::Recorders;
use crate::signals::Reload;
use crate::sources::Sources;
use crate::store::Store;
use crate::traces::{Traces, TracesTask};
use crate::{CommandError, core_dumps, emulator, listen, notify, print, signals, telemetry, trim};

/// Runs the proxy until a signal stops it.
pub(crate) async fn run(
    settings: Settings,
    sources: Sources,
    emulated: Option<EmulatedProvider>,
) -> Result<(), CommandError> {
    let (recorders, keepers) =
        recorders(&settings).map_err(|it| CommandError::Settings(vec![it]))?;
    let served = serve(settings, sources, emulated, (recorders, keepers)).await;
    served.map_err(CommandError::runtime)
}

/// What writes the records of requests to their end.
struct Keepers {
    audit: Option<AuditGuard>,
    traces: Option<TracesTask>,
}

impl Keepers {
    /// Ends both, when the last request has ended.
    async fn finish(self) {
        if let Some(traces) = self.traces {
            traces.close().await;
        }
        // Waits for the disk.
        let _ = tokio::task::spawn_blocking(move || drop(self.audit)).await;
    }
}

/// Opens the audit log, and starts the export of spans.
fn recorders(settings: &Settings) -> Result<(Recorders, Keepers), Problem> {
    let cannot_open = |path: &str, error: &io::Error| Problem {
        name: "AUDIT_LOG".to_owned(),
        text: format!(
            "{path} cannot be written: {error}; name a file in a folder that this user may write to, or \
             unset AUDIT_LOG"
        ),
    };
    let open = |it| AuditLog::open(it).map_err(|error| cannot_open(&it.path, &error));
    let (audit, audit_guard) = settings.audit.as_ref().map(open).transpose()?.unzip();
    let (traces, traces_task) = Traces::start(settings)?.unzip();
    Ok((Recorders { audit, traces }, Keepers { audit: audit_guard, traces: traces_task }))
}

async fn serve(
    mut settings: Settings,
    sources: Sources,
    emulated: Option<EmulatedProvider>,
    (recorders, keepers): (Recorders, Keepers),
) -> io::Result<()> {
    trim::hold_threshold();
    let (log, _log_guard) = telemetry::start(&settings.log_level, settings.log_format)?;
    core_dumps::forbid();
    let emulator = match emulated {
        Some(provider) => Some(emulator::start(provider, &mut settings).await?),
        None => None,
    };
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
    let operator = OperatorFile::write(&store, addresses.main);
    let parts = ServeParts {
        operator: operator.as_ref().map(OperatorFile::digest),
        recorders: recorders.clone(),
    };
    let App { proxy, platform } = App::assemble_with(settings, store, aborted, parts)?;
    let (client, endpoint) = (platform.http_client().clone(), first_endpoint(&initial));
    tokio::spawn(async move { client.warm(&endpoint).await });
    let reload = Reload {
        sources,
        host: initial.host.clone(),
        proxy: Arc::clone(&proxy),
        platform: platform.clone(),
        log,
        audit: recorders.audit,
    };
    // Before the first line is written, since its reader may send a signal.
    let mut stop = signals::listen(reload)?;
    print(&introduction(&initial, &platform, addresses, emulator.as_ref()).await);

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

    let (stopped_proxy, stopped_platform) = (Arc::clone(&proxy), platform.clone());
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
    // Until the task is gone, it may be storing usage.
    let _ = ticking.await;
    trimming.abort();
    watchdog.abort();
    lost_lines.abort();
    let flushing = stopped_proxy.flush_usage(&stopped_platform);
    if tokio::time::timeout(LONGEST_FLUSH, flushing).await.is_err() {
        tracing::error!(
            "the store has not answered: the usage of keys since the last second is lost"
        );
    }
    stopped_proxy.finish(&stopped_platform);
    keepers.finish().await;
    drop(operator);
    tracing::info!("stopped");
    Ok(())
}

/// The endpoint that the first request will probably go to.
fn first_endpoint(settings: &Settings) -> String {
    let first = settings.upstreams.first();
    first.and_then(|upstream| upstream.endpoints.first()).cloned().unwrap_or_default()
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

/// How long the store may take when the proxy stops.
const LONGEST_FLUSH: Duration = Duration::from_secs(5);

/// How often the core does its regular work.
const TICK: Duration = Duration::from_secs(1);
