//! One answer for equal questions (`spec.md` 11): looked for before upstream is asked, told when
//! upstream has answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask::Asked;
use super::{Answer, Content, Proxy, lock};
use crate::platform::Platform;
use crate::policy::repeat::{self, Lease, Loss, Repeats, Verdict};
use crate::refusal::Refusal;
use crate::report::{CacheResult, Ledger};

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
    repeats: Arc<Mutex<Repeats>>,
    lease: Option<Lease>,
}

impl<P: Platform> Leading<P> {
    /// Tells how it went.
    pub(super) fn tell(mut self, answer: Result<&Answer<P>, &Refusal>) {
        let Some(lease) = self.lease.take() else { return };
        let now = self.platform.now();
        let mut repeats = lock(&self.repeats);
        match answer {
            Ok(Answer { status, headers, body: Content::Whole(body) }) => {
                let answer = repeat::Answer {
                    status: *status,
                    headers: headers.clone(),
                    body: body.clone(),
                };
                repeats.settle(lease, answer, now);
            }
            Ok(_) | Err(_) => repeats.give_up(lease, Loss::Failed, now),
        }
    }
}

impl<P: Platform> Drop for Leading<P> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lock(&self.repeats).give_up(lease, Loss::Gone, self.platform.now());
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
    ) -> Result<Found<P>, Refusal> {
        let nobody = |lease| Leading {
            platform: platform.clone(),
            repeats: Arc::clone(&self.repeats),
            lease,
        };
        let Some(question) = &asked.question else {
            ledger.x_cache = Some(CacheResult::Bypass.header());
            return Ok(Found::Nothing(nobody(None)));
        };
        let arrived = platform.now();
        let mut pause = FIRST_LOOK;
        let (result, found) = loop {
            let now = platform.now();
            let verdict = lock(&self.repeats).ask(question, asked.freshness, arrived, now);
            match verdict {
                Verdict::Bypass => break (CacheResult::Bypass, Found::Nothing(nobody(None))),
                Verdict::Refresh(lease) => {
                    break (CacheResult::Bypass, Found::Nothing(nobody(Some(lease))));
                }
                Verdict::Lead(lease) => {
                    break (CacheResult::Miss, Found::Nothing(nobody(Some(lease))));
                }
                Verdict::Coalesced(answer) => break (CacheResult::Coalesced, kept(answer)),
                Verdict::Hit(answer) => break (CacheResult::Hit, kept(answer)),
                Verdict::Conflict => return Err(Refusal::Conflict),
                Verdict::Wait => {}
            }
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        };
        // Another request's upstream was what this one waited for.
        ledger.entry.upstream += platform.now().since(arrived);
        ledger.entry.x_cache = Some(result);
        ledger.x_cache = Some(result.header());
        Ok(found)
    }
}

fn kept<P: Platform>(answer: repeat::Answer) -> Found<P> {
    let repeat::Answer { status, headers, body } = answer;
    Found::Answer(Answer { status, headers, body: Content::Whole(body) })
}

const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);
