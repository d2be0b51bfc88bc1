//! The models of each upstream, for the command `models`.

use std::sync::Arc;

use crate::context::RequestContext;
use crate::error::Error;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::upstream::ListedModel;

/// What Google says about the models of one upstream.
#[derive(Debug)]
pub struct UpstreamModels {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The name of its provider.
    pub provider: &'static str,
    /// Its models, or why they are not known.
    pub models: Result<Vec<ListedModel>, Error>,
}

impl Proxy {
    /// Asks Google for the models of every upstream in use.
    pub async fn models<P: Platform>(&self, platform: &P) -> Vec<UpstreamModels> {
        let mut listed = Vec::new();
        for (upstream, configured) in self.upstreams.operators.iter().zip(&self.settings.upstreams)
        {
            let mut context = RequestContext::own(platform, &self.metrics, platform.now());
            listed.push(UpstreamModels {
                upstream: Arc::clone(&upstream.name),
                provider: configured.account.provider(),
                models: upstream.own_models(&mut context).await,
            });
        }
        listed
    }
}
