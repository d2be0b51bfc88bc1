//! The thought signatures in answers, noted with the provider that has given them.

use std::sync::{Arc, Mutex};

use super::RequestContext;
use crate::platform::Platform;
use crate::policy::routing::affinity::{MOST_SIGNATURES, SignatureMemory};
use crate::provider::ProviderKind;
use crate::provider::facts::SignatureHash;
use crate::sync::lock;

/// Which provider has given a signature.
#[derive(Debug)]
pub(crate) struct GivenSignatures(Mutex<SignatureMemory<ProviderKind>>);

/// Where a request notes the signatures in its answer.
#[derive(Debug, Clone)]
pub(crate) struct SignatureNotes {
    given: Arc<GivenSignatures>,
    by: ProviderKind,
}

impl Default for GivenSignatures {
    fn default() -> Self {
        Self(Mutex::new(SignatureMemory::new(MOST_SIGNATURES)))
    }
}

impl GivenSignatures {
    /// The notes for answers of one provider.
    pub(crate) fn notes(self: &Arc<Self>, by: ProviderKind) -> SignatureNotes {
        SignatureNotes { given: Arc::clone(self), by }
    }

    /// Who has given a signature, if it is known.
    pub(crate) fn giver(&self, signature: SignatureHash) -> Option<ProviderKind> {
        lock(&self.0).giver(signature.0)
    }

    /// True when no signature is known.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

impl SignatureNotes {
    /// Notes the signatures in an answer or an event, in any provider's form.
    pub(crate) fn note(&self, answer: &[u8]) {
        SignatureHash::in_answer(answer, |signature| {
            lock(&self.given.0).given(signature.0, self.by);
        });
    }
}

impl<P: Platform> RequestContext<P> {
    /// Notes the signatures in an answer or an event. It costs nothing where all upstreams are of one
    /// provider.
    pub(crate) fn note_signatures(&self, answer: &[u8]) {
        if let Some(notes) = self.signatures() {
            notes.note(answer);
        }
    }
}
