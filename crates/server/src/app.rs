//! The parts of a proxy put together: upstream, store, platform, memory, and the task that runs
//! what requests leave behind.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use code_assist_core::proxy::Proxy;
use code_assist_core::settings::Settings;
use tokio::sync::watch;

use crate::http_client::Upstream;
use crate::platform::Native;
use crate::store::Store;

/// A proxy with hands, ready to answer.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// What it remembers.
    pub(crate) proxy: Arc<Proxy>,
    /// What it does it with.
    pub(crate) native: Native,
}

impl Parts {
    /// Puts them together. `ending` turns true when what is still in flight is given up.
    pub(crate) fn assemble(
        settings: Settings,
        store: Store,
        ending: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let upstream = Upstream::new(&settings, ending)?;
        let credential_file = settings.credentials_file.clone().map(PathBuf::from);
        let (native, mut left_behind) =
            Native::new(upstream, store, credential_file, settings.max_concurrent_requests);
        let proxy = Arc::new(Proxy::new(settings, &native));
        let parts = Self { proxy, native };
        let (proxy, native) = (Arc::clone(&parts.proxy), parts.native.clone());
        // Ends with the runtime: the platform in it keeps its own channel open.
        tokio::spawn(async move {
            while let Some(chore) = left_behind.recv().await {
                let (proxy, native) = (Arc::clone(&proxy), native.clone());
                tokio::spawn(async move { Box::pin(proxy.run_job(&native, chore)).await });
            }
        });
        Ok(parts)
    }
}
