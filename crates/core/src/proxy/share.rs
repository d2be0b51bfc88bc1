//! One answer for equal questions (`spec.md` 11): looked for before upstream is asked, told when
//! upstream has answered. First in this process, then among all that share the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask::Asked;
use super::turn::{Queue, Turn};
use super::{Answer, BackgroundJob, Content, Proxy, lock};
use crate::error::Error;
use crate::metrics::{CacheResult, Ledger};
use crate::platform::Platform;
use crate::policy::cache::{
    self, Abandoned, CacheKey, Lease, ResponseCache, StoredAnswer, Verdict,
};
use crate::policy::lock::FencingToken;

/// What a repeatable request finds.
pub(super) enum Found<P: Platform> {
    /// An answer.
    Answer(Answer<P>),
    /// Nobody has it: ask upstream, and tell the others.
    Nothing(Leading<P>),
}

/// The duty to tell those who wait. A client that goes away leaves it to the next of them.
pub(super) struct Leading<P: Platform> {
    platform: P,
    repeats: Arc<Mutex<ResponseCache>>,
    lease: Option<Lease>,
    /// There is one when the store is shared.
    abroad: Option<Abroad>,
}

/// What there is to tell those who share the store.
#[derive(Debug)]
struct Abroad {
    question: CacheKey,
    /// Whose turn it is to ask.
    turn: Option<FencingToken>,
}

impl<P: Platform> Leading<P> {
    /// Tells how it went.
    pub(super) fn tell(mut self, answer: Result<&Answer<P>, &Error>) {
        let Some(lease) = self.lease.take() else { return };
        let now = self.platform.now();
        let mut repeats = lock(&self.repeats);
        match answer {
            Ok(Answer { status, headers, body: Content::Whole(body) }) => {
                let answer =
                    cache::Answer { status: *status, headers: headers.clone(), body: body.clone() };
                if let Some(Abroad { question, turn }) = self.abroad.take() {
                    let answer = Some(Box::new(answer.clone()));
                    self.platform.spawn_job(BackgroundJob::PublishAnswer {
                        question,
                        answer,
                        turn,
                    });
                }
                repeats.settle(lease, answer, now);
            }
            Ok(_) | Err(_) => repeats.give_up(lease, Abandoned::Failed, now),
        }
    }
}

impl<P: Platform> Drop for Leading<P> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lock(&self.repeats).give_up(lease, Abandoned::Gone, self.platform.now());
        }
        // There is no answer; somebody else may ask.
        if let Some(Abroad { question, turn: turn @ Some(_) }) = self.abroad.take() {
            self.platform.spawn_job(BackgroundJob::PublishAnswer { question, answer: None, turn });
        }
    }
}

impl Proxy {
    /// Looks for the answer of an equal question, and waits for one that is being asked.
    pub(super) async fn find<P: Platform>(
        &self,
        platform: &P,
        asked: &Asked,
        ledger: &mut Ledger<P>,
    ) -> Result<Found<P>, Error> {
        let nobody = |lease| Leading {
            platform: platform.clone(),
            repeats: Arc::clone(&self.repeats),
            lease,
            abroad: None,
        };
        let Some(question) = &asked.question else {
            ledger.x_cache = Some(CacheResult::Bypass.header());
            return Ok(Found::Nothing(nobody(None)));
        };
        let arrived = platform.now();
        let mut pause = FIRST_LOOK;
        let mut looked = Duration::ZERO;
        let (result, found) = loop {
            let now = platform.now();
            let verdict = lock(&self.repeats).ask(question, asked.freshness, arrived, now);
            match verdict {
                Verdict::Bypass => break (CacheResult::Bypass, Found::Nothing(nobody(None))),
                Verdict::Refresh(lease) => {
                    let mut leading = nobody(Some(lease));
                    if platform.shares() {
                        leading.abroad = Some(Abroad { question: *question, turn: None });
                    }
                    break (CacheResult::Bypass, Found::Nothing(leading));
                }
                Verdict::Lead(lease) => {
                    let mut leading = nobody(Some(lease));
                    if platform.shares() {
                        let begun = platform.now();
                        // Boxed, so that it takes no room in the requests of a process alone.
                        let elsewhere = Box::pin(self.elsewhere(question, &mut leading)).await?;
                        if let Some(found) = elsewhere {
                            break found;
                        }
                        looked = platform.now().since(begun);
                    }
                    break (CacheResult::Miss, Found::Nothing(leading));
                }
                Verdict::Coalesced(answer) => break (CacheResult::Coalesced, kept(answer)),
                Verdict::Hit(answer) => break (CacheResult::Hit, kept(answer)),
                Verdict::Conflict => return Err(Error::Conflict),
                Verdict::Wait => {}
            }
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        };
        // Another request's upstream was what this one waited for.
        ledger.entry.upstream += platform.now().since(arrived).saturating_sub(looked);
        ledger.entry.x_cache = Some(result);
        ledger.x_cache = Some(result.header());
        Ok(found)
    }
}

impl Proxy {
    /// The answer that another process has given, or gives while we wait for it. `None` when it is
    /// ours to ask.
    async fn elsewhere<P: Platform>(
        &self,
        question: &CacheKey,
        leading: &mut Leading<P>,
    ) -> Result<Option<(CacheResult, Found<P>)>, Error> {
        let platform = leading.platform.clone();
        let key = question.key(&self.marker(&platform).await);
        let mut queue = Queue::join(&platform);
        let mut result = CacheResult::Hit;
        loop {
            let stored = self.recall(&platform, &key).await;
            if let Some(it) = stored.and_then(|it| StoredAnswer::from_stored(&it, question)) {
                if !it.is_about_this {
                    return Err(Error::Conflict);
                }
                let age = it.at.until(platform.wall_clock());
                if let Some(lease) = leading.lease.take() {
                    let now = platform.now();
                    lock(&self.repeats).settle_aged(lease, it.answer.clone(), age, now);
                }
                return Ok(Some((result, kept(it.answer))));
            }
            let turn = match queue.turn(&platform, &key, TURN).await {
                Turn::Alone => None,
                Turn::Later => {
                    result = CacheResult::Coalesced;
                    continue;
                }
                Turn::Now(fence) => Some(fence),
            };
            leading.abroad = Some(Abroad { question: *question, turn });
            return Ok(None);
        }
    }

    /// Tells those who share the store what came of a question; the chore's work.
    pub(super) async fn share<P: Platform>(
        &self,
        platform: &P,
        question: &CacheKey,
        answer: Option<Box<cache::Answer>>,
        turn: Option<FencingToken>,
    ) {
        let key = question.key(&self.marker(platform).await);
        let stored = answer.and_then(|answer| answer.to_stored(question, platform.wall_clock()));
        if let Some(stored) = stored {
            let ttl = lock(&self.repeats).lifetime();
            self.remember(platform, &key, stored, ttl, None).await;
        }
        if let Some(fence) = turn {
            platform.release(&key, fence).await;
        }
    }

    /// [`Proxy::account`], without a look at the file for every question.
    async fn marker<P: Platform>(&self, platform: &P) -> String {
        let known = self.known_marker();
        if known.is_empty() { self.account(platform).await } else { known }
    }
}

fn kept<P: Platform>(answer: cache::Answer) -> Found<P> {
    let cache::Answer { status, headers, body } = answer;
    Found::Answer(Answer { status, headers, body: Content::Whole(body) })
}

const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How long others wait for an answer that one process is getting. It may take longer; then the
/// next one asks too, which costs a call and no more.
const TURN: Duration = Duration::from_secs(10);
