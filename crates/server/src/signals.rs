//! Signals: SIGTERM and SIGINT shut down, a second one exits at once, SIGHUP reloads the settings.

use std::io;
use std::sync::Arc;

use code_assist_core::{Platform, Proxy};
use tokio::sync::watch;

use crate::audit::AuditLog;
use crate::platform::TokioPlatform;
use crate::sources::Sources;
use crate::telemetry::Log;

/// What a reload of the settings reads and changes.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) sources: Sources,
    /// The address that the process listens on, which a reload cannot change.
    pub(crate) host: String,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) platform: TokioPlatform,
    pub(crate) log: Log,
    pub(crate) audit: Option<AuditLog>,
}

impl Reload {
    /// Reads the settings again and applies those that can change while the process runs. Invalid
    /// settings are logged, and none of them is applied. The memory of exhausted quotas ends in any
    /// case, and the audit log is opened again.
    fn run(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
        let succeeded = self.read_settings();
        self.proxy.metrics().settings_reloaded(succeeded, self.platform.wall_clock());
    }

    /// Returns whether the settings of the file are in force now.
    fn read_settings(&self) -> bool {
        self.proxy.retry_quotas(&self.platform);
        match self.sources.read_again(&self.host) {
            // Others may reach the port, and only the keys refuse them.
            Ok((settings, _)) if settings.number_of_keys() == 0 && self.proxy.needs_keys() => {
                tracing::error!(
                    "not reloaded, the old settings stay: PROXY_API_KEYS and [[key]] tables: there is no \
                     key left; a proxy with keys needs a restart to run without them"
                );
                false
            }
            Ok((settings, _)) if !self.proxy.reload_problems(&settings).is_empty() => {
                for problem in self.proxy.reload_problems(&settings) {
                    tracing::error!("not reloaded, the old settings stay: {problem}");
                }
                false
            }
            Ok((settings, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                self.log.set_level(&settings.log_level);
                self.proxy.reload(&settings);
                self.platform.permits().set_share(self.proxy.permits_per_caller());
                let keys = settings.api_keys.len() + settings.keys.len();
                let aliases = settings.model_aliases.len();
                tracing::info!(
                    keys,
                    aliases,
                    log_level = settings.log_level,
                    "settings read again"
                );
                true
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!("not reloaded, the old settings stay: {problem}");
                }
                false
            }
        }
    }
}

/// Handles signals from now on. The receiver turns true when the process has to shut down.
pub(crate) fn listen(reload: Reload) -> io::Result<watch::Receiver<bool>> {
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
                // A closed terminal window sends SIGHUP too, and means that the process shall end.
                let terminal_closed = at_terminal && !io::stdin().is_terminal();
                if hung_up && !terminal_closed {
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
