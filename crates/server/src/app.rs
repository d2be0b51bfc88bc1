//! The application: proxy, platform and the task that runs the proxy's background jobs.

use std::io;
use std::sync::Arc;

use code_assist_core::settings::Settings;
use code_assist_core::{KeyDigest, Proxy};
use tokio::sync::watch;

use crate::clock;
use crate::http_client::HttpClient;
use crate::permits::Permits;
use crate::platform::{Recorders, TokioPlatform};
use crate::store::Store;

/// The proxy and its platform.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) platform: TokioPlatform,
}

/// What only `serve` has.
#[derive(Debug, Default)]
pub(crate) struct ServeParts {
    /// The digest of the key by which commands may ask the running proxy.
    pub(crate) operator: Option<KeyDigest>,
    pub(crate) recorders: Recorders,
}

impl App {
    /// Connects the parts and starts the task that runs background jobs. `abort` turns true when a
    /// shutdown ends what is still in flight.
    pub(crate) fn assemble(
        settings: Settings,
        store: Store,
        abort: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        Self::assemble_with(settings, store, abort, ServeParts::default())
    }

    /// As [`App::assemble`], with what only `serve` has.
    pub(crate) fn assemble_with(
        settings: Settings,
        store: Store,
        abort: watch::Receiver<bool>,
        parts: ServeParts,
    ) -> io::Result<Self> {
        let http_client = HttpClient::new(&settings, abort)?;
        let share = settings.permits_per_caller(settings.number_of_keys());
        let permits = Permits::new(settings.max_concurrent_requests, share);
        let ServeParts { operator, recorders } = parts;
        let (platform, mut jobs) = TokioPlatform::new(http_client, store, permits, recorders);
        let proxy = Proxy::new(settings, &platform);
        let proxy = Arc::new(match operator {
            Some(digest) => proxy.with_operator_key(digest),
            None => proxy,
        });
        let app = Self { proxy, platform };
        let Self { proxy, platform } = app.clone();
        // Ends with the runtime: the platform that it holds keeps the channel open.
        tokio::spawn(async move {
            while let Some(job) = jobs.recv().await {
                let (proxy, platform) = (Arc::clone(&proxy), platform.clone());
                clock::spawn(async move { Box::pin(proxy.run_job(&platform, job)).await });
            }
        });
        Ok(app)
    }
}
