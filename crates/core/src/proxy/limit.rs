//! The proxy's own rate limit (`docs/ACCESS.md`).

use std::sync::Mutex;
use std::time::Duration;

use crate::caller::{Caller, Rate, RateStanding};
use crate::context::RequestContext;
use crate::error::{Error, RateLimitName};
use crate::platform::Platform;
use crate::policy::rate_limit::{KeyRequests, RateLimiter};
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

    /// True if the requests of all callers are limited.
    pub(super) fn are_on(&self) -> bool {
        self.rate.is_some()
    }

    /// Counts the request, and fails if its caller has reached the limit, or its key `requests_per_minute`.
    pub(super) async fn admit<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let mut tightest = None;
        if let Some(limiter) = &self.rate {
            let standing = admit_caller(limiter, context).await;
            context.headers.extend(standing.headers());
            if let Some(after) = standing.refused {
                return Err(Error::RateLimited { limit: RateLimitName::AllCallers, after });
            }
            tightest = Some(standing);
        }
        let Some(limit) = context.holder.as_ref().and_then(|it| it.settings.requests_per_minute)
        else {
            return Ok(());
        };
        let standing = admit_key(limit, context).await;
        let is_tighter = |other: RateStanding| {
            let share = |left: u32, limit: u32| u64::from(left) * u64::from(limit);
            share(standing.remaining, other.limit) <= share(other.remaining, standing.limit)
        };
        if standing.refused.is_some() || tightest.is_none_or(is_tighter) {
            for (name, value) in &standing.headers() {
                context.headers.insert(name, value.clone());
            }
        }
        let Some(after) = standing.refused else { return Ok(()) };
        if let Some(limiter) = &self.rate {
            lock(limiter).take_back(&context.caller, context.platform().now());
        }
        Err(Error::RateLimited { limit: RateLimitName::RequestsPerMinute, after })
    }
}

/// Counts a request of any caller.
async fn admit_caller<P: Platform>(
    limiter: &Mutex<RateLimiter>,
    context: &RequestContext<P>,
) -> RateStanding {
    let platform = context.platform();
    let caller = context.caller;
    let own = lock(limiter).ask(&caller, platform.now());
    if own.refused.is_some() || !platform.has_shared_store() {
        return own;
    }
    let rate = lock(limiter).rate();
    let take_back = || lock(limiter).take_back(&caller, platform.now());
    // Boxed to keep the future small when there is no shared store.
    Box::pin(and_of_all(platform, own, (&caller, rate), take_back)).await
}

/// Counts a request of a key within `requests_per_minute`.
async fn admit_key<P: Platform>(limit: u32, context: &RequestContext<P>) -> RateStanding {
    let platform = context.platform();
    let rate = KeyRequests::per_minute(limit);
    let none = RateStanding { limit, remaining: limit, reset: Duration::ZERO, refused: None };
    let Some(holder) = &context.holder else { return none };
    let account = &holder.account;
    let own = account.ask_requests(rate, platform.now());
    if own.refused.is_some() || !platform.has_shared_store() {
        return own;
    }
    let take_back = || account.take_back_request();
    // Boxed for the same reason.
    Box::pin(and_of_all(platform, own, (&account.requests_identity, rate), take_back)).await
}

/// Asks the store that several processes share about a request that the process's own count allows. Both counts
/// hold: the own one is never greater, unless the store has lost counts. The own count comes first: what it refuses
/// is not counted for all, and its entries leave the window no later than those of the store.
async fn and_of_all<P: Platform>(
    platform: &P,
    own: RateStanding,
    (identity, rate): (&Caller, Rate),
    take_back: impl FnOnce(),
) -> RateStanding {
    match platform.count_request(identity, rate).await {
        Some(of_all) if of_all.refused.is_some() => {
            take_back();
            of_all
        }
        Some(of_all) => of_all.and(own),
        None => own,
    }
}
