//! The proxy's own rate limit (`docs/ACCESS.md`).

use std::sync::Mutex;

use crate::context::RequestContext;
use crate::error::Error;
use crate::platform::Platform;
use crate::policy::rate_limit::RateLimiter;
use crate::settings::Settings;
use crate::sync::lock;

/// The rate limit of callers.
#[derive(Debug)]
pub(super) struct CallerLimits {
    /// `None` when the limit is off.
    rate: Option<Mutex<RateLimiter>>,
}

impl CallerLimits {
    pub(super) fn new(settings: &Settings) -> Self {
        let rate = RateLimiter::new(settings.rate_limit, settings.rate_limit_window);
        Self { rate: rate.map(Mutex::new) }
    }

    /// Counts the request, and fails if its caller has reached the limit. With a shared store the common
    /// count decides; the process also keeps its own, for when the store cannot be reached.
    pub(super) async fn admit<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let Some(limiter) = &self.rate else { return Ok(()) };
        let platform = context.platform();
        let caller = context.caller;
        let common = if platform.has_shared_store() {
            let rate = lock(limiter).rate();
            // Boxed to keep the future small when there is no shared store.
            Box::pin(platform.count_request(&caller, rate)).await
        } else {
            None
        };
        let standing = match common {
            Some(standing) if standing.refused.is_some() => standing,
            common => {
                let own = lock(limiter).ask(&caller, platform.now());
                common.unwrap_or(own)
            }
        };
        context.headers.extend(standing.headers());
        match standing.refused {
            Some(after) => Err(Error::RateLimited { after }),
            None => Ok(()),
        }
    }
}
