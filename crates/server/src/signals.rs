//! Signals: SIGTERM and SIGINT stop, a second one at once; SIGHUP reads the settings again.

use std::io;
use std::sync::Arc;

use code_assist_core::proxy::Proxy;
use tokio::sync::watch;

use crate::sources::Sources;
use crate::telemetry::Log;

/// What SIGHUP changes.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Where settings are read.
    pub(crate) sources: Sources,
    /// Where we listen; that does not change.
    pub(crate) host: String,
    /// Takes keys and aliases.
    pub(crate) proxy: Arc<Proxy>,
    /// Takes the level.
    pub(crate) log: Log,
}

impl Reload {
    /// Reads the settings again and puts those in force that can change. Bad ones are told, and
    /// nothing changes.
    fn run(&self) {
        match self.sources.read_again(&self.host) {
            Ok((settings, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                self.log.set_level(&settings.log_level);
                self.proxy.reload(&settings);
                let keys = settings.api_keys.len();
                let aliases = settings.model_aliases.len();
                tracing::info!(
                    keys,
                    aliases,
                    log_level = settings.log_level,
                    "settings read again"
                );
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!("not reloaded, the old settings stay: {problem}");
                }
            }
        }
    }
}

/// Listens to signals from now on. The receiver turns true when it is time to stop.
pub(crate) fn heed(reload: Reload) -> io::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    #[cfg(unix)]
    {
        use std::io::IsTerminal;

        use tokio::signal::unix::{SignalKind, signal};

        use crate::notify;

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let at_terminal = io::stdin().is_terminal();
        tokio::spawn(async move {
            loop {
                let hung_up = tokio::select! {
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => false,
                    _ = hang_up.recv() => true,
                };
                // Somebody who closes the window wants no proxy left behind.
                let window_gone = at_terminal && !io::stdin().is_terminal();
                if hung_up && !window_gone {
                    notify::reloading();
                    reload.run();
                    notify::ready();
                } else if stop.send_replace(true) {
                    std::process::exit(1);
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        let _unused = reload;
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.send_replace(true) {
                std::process::exit(1);
            }
        }
    });
    Ok(stopped)
}
