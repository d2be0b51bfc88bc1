//! The proxy's own rate limit (`docs/ACCESS.md`).

use std::sync::Mutex;

use crate::context::RequestContext;
use crate::error::{Error, RateLimitName};
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

    /// Counts the request, and fails if its caller has reached the limit. With a shared store both the
    /// process's own count and the one of all processes hold: the own one is never greater, unless the
    /// store has lost counts.
    pub(super) async fn admit<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let Some(limiter) = &self.rate else { return Ok(()) };
        let platform = context.platform();
        let caller = context.caller;
        // The own count comes first: what it refuses is not counted for all, and its entries leave the
        // window no later than those of the store.
        let own = lock(limiter).ask(&caller, platform.now());
        let standing = if own.refused.is_none() && platform.has_shared_store() {
            let rate = lock(limiter).rate();
            // Boxed to keep the future small when there is no shared store.
            match Box::pin(platform.count_request(&caller, rate)).await {
                Some(of_all) if of_all.refused.is_some() => {
                    lock(limiter).take_back(&caller, platform.now());
                    of_all
                }
                Some(of_all) => of_all.and(own),
                None => own,
            }
        } else {
            own
        };
        context.headers.extend(standing.headers());
        match standing.refused {
            Some(after) => Err(Error::RateLimited { limit: RateLimitName::AllCallers, after }),
            None => Ok(()),
        }
    }
}
