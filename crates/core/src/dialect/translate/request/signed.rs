//! The signatures of the model's parts (`docs/reference/dialects.md` 6.1).

use std::borrow::Cow;
use std::collections::VecDeque;

use super::super::signatures::{Carried, CarriedKind};
use super::super::target::Target;
use crate::google::ProviderKind;

/// What Google takes in place of the signature of a call. Its check is then left out, which costs
/// quality and no request.
const SKIP: &str = "skip_thought_signature_validator";

/// Gives the model's parts their signatures.
#[derive(Debug)]
pub(super) struct Signer<'d> {
    target: &'d Target,
    /// Carried signatures for the next calls of the open content.
    for_calls: VecDeque<&'d str>,
    /// The same for its next texts.
    for_texts: VecDeque<&'d str>,
    /// The last provider whose signatures are left out.
    foreign: Option<ProviderKind>,
}

impl<'d> Signer<'d> {
    pub(super) fn new(target: &'d Target) -> Self {
        Self { target, for_calls: VecDeque::new(), for_texts: VecDeque::new(), foreign: None }
    }

    /// Notes a signature that the client carries before the part that it belongs to.
    pub(super) fn note(&mut self, text: &'d str) {
        let Some(carried) = Carried::read(text) else { return };
        if carried.provider != Some(self.target.provider) {
            self.foreign = carried.provider.or(self.foreign);
            return;
        }
        match carried.kind {
            CarriedKind::Call => self.for_calls.push_back(carried.raw),
            CarriedKind::Text => self.for_texts.push_back(carried.raw),
            CarriedKind::None => {}
        }
    }

    /// The signature of a text that has `own`, or none.
    pub(super) fn of_text(&mut self, own: Option<&'d str>) -> Option<&'d str> {
        let carried = self.for_texts.pop_front();
        self.usable(own, carried)
    }

    /// The signature of a call that has `own`, or none. Gemini 3 demands one for the first call of a
    /// content.
    pub(super) fn of_call(
        &mut self,
        id: &str,
        own: Option<&'d str>,
        is_first: bool,
    ) -> Option<Cow<'d, str>> {
        let carried = self.for_calls.pop_front();
        if let Some(signature) = self.usable(own, carried) {
            return Some(signature.into());
        }
        if !is_first || !self.target.family.is_gemini_3() {
            return None;
        }
        let remembered = (!self.target.without_signatures && !id.is_empty())
            .then(|| self.target.signatures.recall(id))
            .flatten()
            .and_then(|signature| String::from_utf8(signature.into()).ok());
        Some(remembered.map_or(Cow::Borrowed(SKIP), Cow::Owned))
    }

    /// Forgets what belongs to parts of the content that ends here.
    pub(super) fn end_of_content(&mut self) {
        self.for_calls.clear();
        self.for_texts.clear();
    }

    /// The last provider whose signatures are left out.
    pub(super) fn foreign(&self) -> Option<ProviderKind> {
        self.foreign
    }

    fn usable(&self, own: Option<&'d str>, carried: Option<&'d str>) -> Option<&'d str> {
        if self.target.without_signatures {
            return None;
        }
        own.filter(|own| !own.is_empty()).or_else(|| carried.filter(|raw| !raw.is_empty()))
    }
}
