//! What a request uses of the limits of its key.

use super::{CacheUse, RequestContext};
use crate::dialect::Operation;
use crate::google::usage::TokenUsage;
use crate::keys::{KeyHolder, Settlement, moment};
use crate::metrics::{CacheResult, RequestOutcome};
use crate::platform::Platform;
use crate::policy::budget::{Charge, ReservationTicket};
use crate::settings::price_of;

/// How a request is charged that has no count of upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChargeRule {
    /// It uses nothing.
    Nothing,
    /// By the bytes of its body: its answer has no text.
    Prompt,
    /// By the bytes of its body and of its answer.
    PromptAndAnswer,
}

impl<P: Platform> RequestContext<P> {
    /// The request is about to ask a model. What it uses counts for its key from now on.
    pub(crate) fn charge_by(&mut self, rule: ChargeRule) {
        self.charge_rule = rule;
    }

    /// Keeps what the request has reserved until its end.
    pub(crate) fn keep_reservation(&mut self, reservation: ReservationTicket) {
        self.reservation = Some(reservation);
    }

    /// True once the request has reserved what it may use.
    pub(crate) fn has_reservation(&self) -> bool {
        self.reservation.is_some()
    }

    /// The holder for whom the usage of this request is counted, if it is.
    pub(crate) fn charged_holder(&self) -> Option<&KeyHolder> {
        self.holder.as_deref().filter(|_| self.charge_rule != ChargeRule::Nothing)
    }

    /// A whole answer has broken off: upstream has not counted it, and the try is charged with an estimate.
    pub(crate) fn estimate_cut_answer(&mut self) {
        let cut_bytes = std::mem::take(&mut self.cut_bytes);
        if let Some(holder) = self.charged_holder()
            && cut_bytes > 0
        {
            self.usage = self.estimated(holder, cut_bytes);
        }
    }

    /// The usage of a request whose answer has so many bytes.
    fn estimated(&self, holder: &KeyHolder, answer_bytes: u64) -> TokenUsage {
        let prompt = holder.account.estimate(self.bytes_in).prompt_tokens;
        let output = match self.charge_rule {
            ChargeRule::PromptAndAnswer => answer_bytes / BYTES_PER_TOKEN,
            ChargeRule::Nothing | ChargeRule::Prompt => 0,
        };
        TokenUsage { prompt, output, ..TokenUsage::default() }
    }

    /// Charges what a try has used that has failed, or that is not the last one.
    pub(crate) fn charge_try(&mut self) {
        let Some(holder) = self.charged_holder() else { return };
        if self.usage == TokenUsage::default() {
            return;
        }
        let charge = priced(holder, &self.model, self.usage);
        let settlement =
            Settlement { reservation: None, model: &self.model, requests: 0, charge, learn: None };
        holder.account.settle(settlement, moment(&self.platform));
        self.usage = TokenUsage::default();
        self.cost = self.cost + charge.cost;
    }

    /// Counts what the request has used, and gives back what it had reserved. Nothing waits for the store.
    pub(super) fn settle_usage(&mut self) {
        let Some(holder) = self.holder.clone() else { return };
        let is_answered = (100..300).contains(&self.status);
        let is_charged = self.charge_rule != ChargeRule::Nothing;
        if !is_charged && !self.is_cached_answer() {
            return;
        }
        if self.model.is_empty() {
            // That of a WebSocket is in its messages.
            self.model = OTHER_MODEL.into();
        }
        let has_count = self.usage != TokenUsage::default();
        // Before an answer, a client that leaves has used its prompt.
        let is_used = is_answered || self.call.is_some();
        let charge = match self.charge_rule {
            ChargeRule::Nothing => Charge::default(),
            _ if has_count => priced(&holder, &self.model, self.usage),
            _ if !is_used => Charge::default(),
            _ => priced(&holder, &self.model, self.estimated(&holder, self.bytes_out)),
        };
        let is_whole = self.outcome == RequestOutcome::Ok && is_answered && has_count;
        let settlement = Settlement {
            reservation: self.reservation.take(),
            model: &self.model,
            requests: u64::from(is_answered),
            charge,
            learn: is_whole.then_some(self.bytes_in),
        };
        holder.account.settle(settlement, moment(&self.platform));
        self.cost = self.cost + charge.cost;
    }

    /// True if an answer of a model came from the cache, or from an equal request in flight.
    fn is_cached_answer(&self) -> bool {
        let is_of_model = matches!(
            self.operation,
            Some(Operation::BatchEmbed | Operation::Embed | Operation::Generate)
        );
        let found = CacheUse::Asked(CacheResult::Hit);
        is_of_model
            && (self.cache == found || self.cache == CacheUse::Asked(CacheResult::Coalesced))
    }
}

/// What these tokens are, with the price of the model.
fn priced(holder: &KeyHolder, model: &str, usage: TokenUsage) -> Charge {
    let charge = Charge {
        prompt_tokens: usage.prompt,
        cached_tokens: usage.cached,
        output_tokens: usage.output,
        thought_tokens: usage.thoughts,
        ..Charge::default()
    };
    charge.priced(price_of(&holder.prices, model))
}

/// Stands for a model that is not known.
const OTHER_MODEL: &str = "other";

/// For an answer that upstream has not counted.
const BYTES_PER_TOKEN: u64 = 4;
