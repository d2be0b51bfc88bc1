//! What is known of an upstream's inability, for the choice among several.

use super::Upstream;
use crate::dialect::{ModelCall, WholeCall};
use crate::error::Error;
use crate::failure::FailoverReason;
use crate::metrics::InabilityStatus;
use crate::policy::routing::{InabilityMemory, RoutingVerdict};
use crate::provider::method;
use crate::time::Monotonic;

impl Upstream {
    /// True if anything is known.
    pub(crate) fn has_inability(&self) -> bool {
        !self.data.unable.is_empty()
    }

    /// What is known, for health.
    pub(crate) fn inabilities(&self, now: Monotonic) -> Vec<InabilityStatus> {
        self.data.unable.with(|unable| {
            let known = unable.known(now).map(|(reason, error, model, lasts)| InabilityStatus {
                reason: reason.word(),
                error: error.label(),
                model: model.map(|(model, method)| (model.to_owned(), method)),
                lasts,
            });
            known.collect()
        })
    }

    /// Whether a request for a model goes to this upstream. `model` gives the name of the model here; it
    /// is called only if something is known.
    pub(crate) fn ability<'a>(
        &self,
        call: ModelCall,
        model: impl FnOnce() -> &'a str,
        now: Monotonic,
    ) -> RoutingVerdict<Error> {
        if self.data.unable.is_empty() {
            return RoutingVerdict::Ask;
        }
        self.data.unable.with(|unable| unable.ask(ability_of(call), model(), now))
    }

    /// Remembers a failure that other requests would have too.
    pub(crate) fn note_inability(
        &self,
        reason: FailoverReason,
        call: ModelCall,
        model: &str,
        error: &Error,
        now: Monotonic,
    ) {
        if matches!(error, Error::Upstream(error) if error.body.len() > LONGEST_ERROR) {
            return;
        }
        let error = error.clone();
        let note = |unable: &mut InabilityMemory<Error>| {
            unable.note(reason, ability_of(call), model, error, now)
        };
        let is_news = self.data.unable.with(note);
        if is_news {
            tracing::warn!(
                upstream = &*self.name,
                model,
                reason = reason.word(),
                "the upstream cannot serve such requests: others do for now, if they can"
            );
        }
    }

    /// Ends the memory of failures that a good answer disproves.
    pub(crate) fn note_served(&self, call: ModelCall, model: &str) {
        let unable = &self.data.unable;
        if !unable.is_empty() && unable.with(|unable| unable.served(ability_of(call), model)) {
            tracing::info!(
                upstream = &*self.name,
                model,
                "the upstream serves such requests again"
            );
        }
    }

    /// Forgets all of it, so that the upstream is asked again.
    pub(crate) fn forget_inability(&self) {
        self.data.unable.with(InabilityMemory::clear);
    }
}

/// The method that a model has or lacks. Whether an answer is streamed makes no difference.
fn ability_of(call: ModelCall) -> &'static str {
    match call {
        ModelCall::Stream => method(ModelCall::Whole(WholeCall::Generate)),
        ModelCall::Whole(_) => method(call),
    }
}

/// The longest error in bytes that is remembered: it is an answer to any number of requests.
const LONGEST_ERROR: usize = 16 << 10;
