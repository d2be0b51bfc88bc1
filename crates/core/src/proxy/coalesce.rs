//! Coalescing: equal requests share one answer (`docs/RESILIENCE.md`). A request looks for an answer in
//! this process, then in the store that processes share. Without one it calls upstream, and publishes
//! the answer to the requests that wait, and to later ones if it may be kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::context::{CacheUse, RequestContext};
use crate::dialect::WholeCall;
use crate::error::Error;
use crate::job::{BackgroundJob, Job, UpstreamId};
use crate::metrics::{CacheResult, Metrics};
use crate::platform::Platform;
use crate::policy::cache::{
    self, Abandoned, CacheDirective, CacheKey, CacheVerdict, CachedAnswer, FlightLease, KeepRule,
    ResponseCache, StoredAnswer,
};
use crate::policy::lock::FencingToken;
use crate::settings::Settings;
use crate::sync::lock;
use crate::upstream::{AccountAuth, Upstream, store};
use crate::wait::{Flight, poll_until, single_flight, while_renewing};

/// How a request uses the response cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheRequest {
    /// `None` for a request that is not repeatable.
    pub(super) key: Option<CacheKey>,
    pub(super) directive: CacheDirective,
    pub(super) keep: KeepRule,
}

impl CacheRequest {
    pub(super) const NONE: Self =
        Self { key: None, directive: CacheDirective::Any, keep: KeepRule::Never };
}

/// The result of looking for an answer.
#[must_use = "a leader must complete"]
pub(super) enum Lookup<'c, P: Platform> {
    /// There is an answer.
    Found(CachedAnswer),
    /// There is no answer: call upstream, then [`Leader::complete`].
    Lead(Leader<'c, P>),
}

/// Leader guard. It publishes the result to the waiters; if it is dropped without one, a waiter takes
/// over.
#[must_use = "a waiter takes over when the guard is dropped"]
pub(super) struct Leader<'c, P: Platform> {
    platform: P,
    cache: &'c Mutex<ResponseCache>,
    lease: Option<FlightLease>,
    keep: KeepRule,
    /// What to publish to the processes that share the store, if there are any.
    remote: Option<RemoteFlight>,
}

/// The flight as the processes that share the store see it.
#[derive(Debug)]
struct RemoteFlight {
    upstream: UpstreamId,
    key: CacheKey,
    lock: Option<HeldLock>,
}

/// A distributed lock of this process, for as long as the call upstream takes.
#[derive(Debug)]
struct HeldLock {
    store_key: String,
    token: FencingToken,
}

impl<P: Platform> Leader<'_, P> {
    /// Polls the call upstream, and renews the distributed lock, if there is one, until the call ends.
    pub(super) async fn while_leading<F: Future>(&self, call: Pin<&mut F>) -> F::Output {
        let lock = self.remote.as_ref().and_then(|remote| remote.lock.as_ref());
        let (key, token) = match lock {
            Some(HeldLock { store_key, token }) => (&**store_key, Some(*token)),
            None => ("", None),
        };
        while_renewing(&self.platform, key, token, call).await
    }

    /// Makes the answer one for the requests that wait now, and for none after them.
    pub(super) fn keep_nothing(&mut self) {
        self.keep = KeepRule::Never;
    }

    /// Publishes the result to the waiters.
    pub(super) fn complete(mut self, answer: Result<&CachedAnswer, &Error>) {
        let Some(lease) = self.lease.take() else { return };
        let now = self.platform.now();
        // Copied before the cache is locked.
        match answer.map(CachedAnswer::copied) {
            // Other processes get nothing: `Drop` releases the lock for them.
            Ok(answer) if !self.keep.allows(&answer.body) => {
                lock(self.cache).share_in_flight(lease, answer, now);
            }
            Ok(answer) => {
                if let Some(RemoteFlight { upstream, key, lock }) = self.remote.take() {
                    let lock = lock.map(|lock| lock.token);
                    let answer = Some(Box::new(answer.clone()));
                    self.platform.spawn_job(BackgroundJob::new(Job::PublishAnswer {
                        upstream,
                        key,
                        answer,
                        lock,
                    }));
                }
                lock(self.cache).settle(lease, answer, now);
            }
            Err(_) => lock(self.cache).give_up(lease, Abandoned::Failed, now),
        }
    }
}

impl<P: Platform> Drop for Leader<'_, P> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lock(self.cache).give_up(lease, Abandoned::Gone, self.platform.now());
        }
        // There is no answer, so release the lock for another process.
        if let Some(RemoteFlight { upstream, key, lock: Some(lock) }) = self.remote.take() {
            self.platform.spawn_job(BackgroundJob::new(Job::PublishAnswer {
                upstream,
                key,
                answer: None,
                lock: Some(lock.token),
            }));
        }
    }
}

/// Finds answers to repeatable requests.
#[derive(Debug)]
pub(super) struct Coalescer {
    metrics: Arc<Metrics>,
    cache: Mutex<ResponseCache>,
    is_on: bool,
}

impl Coalescer {
    pub(super) fn new(settings: &Settings, metrics: &Arc<Metrics>) -> Self {
        let cache = ResponseCache::new(cache::CacheLimits {
            window: settings.dedup_window,
            ttl: settings.response_cache_ttl,
            bytes: settings.response_cache_max_bytes,
            lease: LONGEST_FLIGHT,
        });
        let is_on = cache.is_on();
        Self { metrics: Arc::clone(metrics), cache: Mutex::new(cache), is_on }
    }

    /// False when no answer is ever shared or kept, so that no key is needed.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Looks for the answer to an equal request, and waits for one in flight.
    pub(super) async fn find<'c, P: Platform>(
        &'c self,
        upstream: &Upstream,
        request: &CacheRequest,
        call: WholeCall,
        context: &mut RequestContext<P>,
    ) -> Result<Lookup<'c, P>, Error> {
        let Some(key) = &request.key else {
            context.cache = CacheUse::NotRepeatable;
            return Ok(Lookup::Lead(self.leader(context.platform(), request, None)));
        };
        let platform = context.platform().clone();
        let arrived = platform.now();
        let (verdict, now) = poll_until(&platform, context.deadline, arrived, |now| {
            let verdict = lock(&self.cache).ask(key, request.directive, arrived, now);
            if matches!(verdict, None | Some(CacheVerdict::Hit(_) | CacheVerdict::Coalesced(_))) {
                // The request may have a permit already, and the answer for which it waits needs one.
                context.release_permit();
            }
            verdict.map(Ok)
        })
        .await;
        // The wait was for upstream's answer to another request.
        context.timings.upstream += now.since(arrived);
        let (result, lookup) = match verdict? {
            CacheVerdict::Bypass => {
                (CacheResult::Bypass, Lookup::Lead(self.leader(&platform, request, None)))
            }
            CacheVerdict::Coalesced(answer) => (CacheResult::Coalesced, Lookup::Found(answer)),
            CacheVerdict::Conflict => return Err(Error::Conflict),
            CacheVerdict::Hit(answer) => (CacheResult::Hit, Lookup::Found(answer)),
            CacheVerdict::Lead(lease) => {
                let leader = self.leader(&platform, request, Some(lease));
                // An answer that is never kept is not in the store either.
                let is_stored = request.keep != KeepRule::Never || key.is_named();
                if platform.has_shared_store() && is_stored {
                    // Boxed to keep the future small when there is no shared store.
                    Box::pin(self.find_remote(upstream, key, call, leader, context)).await?
                } else {
                    (CacheResult::Miss, Lookup::Lead(leader))
                }
            }
            CacheVerdict::Refresh(lease) => {
                let mut leader = self.leader(&platform, request, Some(lease));
                if platform.has_shared_store() {
                    leader.remote =
                        Some(RemoteFlight { upstream: upstream.id, key: *key, lock: None });
                }
                (CacheResult::Bypass, Lookup::Lead(leader))
            }
        };
        context.cache = CacheUse::Asked(result);
        Ok(lookup)
    }

    /// Looks for the answer of another process, and waits for one that is in flight there.
    async fn find_remote<'c, P: Platform>(
        &'c self,
        upstream: &Upstream,
        key: &CacheKey,
        call: WholeCall,
        mut leader: Leader<'c, P>,
        context: &mut RequestContext<P>,
    ) -> Result<(CacheResult, Lookup<'c, P>), Error> {
        let platform = context.platform().clone();
        // Another process may have the answer, or make it.
        context.release_permit();
        let mut began = platform.now();
        let account = account(&platform, &upstream.calls.auth).await;
        let store_key = key.key(&account);
        let keep = leader.keep;
        let recall = async || {
            let stored = store::recall(&platform, &self.metrics, &store_key).await?;
            let stored = StoredAnswer::from_stored(&stored, key, &account)?;
            // A process of an earlier version stores any answer.
            (!stored.is_about_this || keep.allows(&stored.answer.body)).then_some(stored)
        };
        if keep == KeepRule::Never {
            // The processes would wait for an answer that none of them shares. Only the
            // `Idempotency-Key` of another request matters.
            return match recall().await {
                Some(_) => Err(Error::Conflict),
                None => Ok((CacheResult::Miss, Lookup::Lead(leader))),
            };
        }
        let mut flight = None;
        if !upstream.has_account(call, &platform) {
            // The lock is taken when the call can begin: otherwise a process that dies while it waits
            // for a token or project would delay the others by several locks, one after the other.
            match recall().await {
                Some(result) => flight = Some(Flight::Done { result, waited: false }),
                None => upstream.await_account(call, context).await,
            }
            began = platform.now();
        }
        let deadline = context.deadline;
        let flight = match flight {
            Some(flight) => flight,
            None => single_flight(&platform, deadline, &store_key, LONGEST_FLIGHT, recall).await?,
        };
        match flight {
            Flight::Done { result: stored, waited } => {
                if !stored.is_about_this {
                    return Err(Error::Conflict);
                }
                let age = stored.at.until(platform.wall_clock());
                let now = platform.now();
                if let Some(lease) = leader.lease.take() {
                    let answer = stored.answer.copied();
                    lock(&self.cache).settle_aged(lease, answer, age, now);
                }
                context.timings.upstream += now.since(began);
                let result = if waited { CacheResult::Coalesced } else { CacheResult::Hit };
                Ok((result, Lookup::Found(stored.answer)))
            }
            Flight::Lead { lock, .. } => {
                let lock = lock.map(|token| HeldLock { store_key, token });
                leader.remote = Some(RemoteFlight { upstream: upstream.id, key: *key, lock });
                Ok((CacheResult::Miss, Lookup::Lead(leader)))
            }
        }
    }

    /// Writes an answer to the store, and releases the lock; the background job's work.
    pub(super) async fn publish<P: Platform>(
        &self,
        platform: &P,
        auth: &AccountAuth,
        key: &CacheKey,
        answer: Option<Box<CachedAnswer>>,
        lock_token: Option<FencingToken>,
    ) {
        let account = account(platform, auth).await;
        let store_key = key.key(&account);
        let stored = answer.and_then(|it| it.to_stored(key, &account, platform.wall_clock()));
        if let Some(stored) = stored {
            let ttl = lock(&self.cache).lifetime();
            store::remember(platform, &self.metrics, &store_key, stored, ttl, None).await;
        }
        if let Some(token) = lock_token {
            platform.unlock(&store_key, token).await;
        }
    }

    fn leader<P: Platform>(
        &self,
        platform: &P,
        request: &CacheRequest,
        lease: Option<FlightLease>,
    ) -> Leader<'_, P> {
        let platform = platform.clone();
        Leader { platform, cache: &self.cache, lease, keep: request.keep, remote: None }
    }
}

/// Returns the fingerprint of the account in use. It reads the credential file only while none is known.
async fn account<P: Platform>(platform: &P, auth: &AccountAuth) -> String {
    let known = auth.fingerprint();
    if known.is_empty() { auth.read_fingerprint(platform).await } else { known }
}

/// The lease of a leader, and how long other processes wait for a leader that renews its lock. It is
/// longer than an answer may take with all retries. After that the next waiter calls upstream.
const LONGEST_FLIGHT: Duration = Duration::from_secs(900);
