//! The upstream and model that a request is translated for.

use std::sync::Arc;

use bytes::Bytes;

use super::family::ModelFamily;
use crate::caller::Caller;
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;

/// The upstream and model that a request is translated for.
#[derive(Debug, Clone)]
pub struct Target {
    /// The model, as it is sent upstream.
    pub model: Arc<str>,
    /// The API that serves it.
    pub provider: ProviderKind,
    /// What the model's name says.
    pub family: ModelFamily,
    /// The most tokens that the model writes.
    pub output_limit: u32,
    /// The signatures that the client has not brought back.
    pub signatures: SignatureRecall,
    /// All signatures are left out: upstream has refused them.
    pub without_signatures: bool,
}

impl Target {
    /// A target for which no signature is remembered.
    pub fn new(model: &str, provider: ProviderKind) -> Self {
        let family = ModelFamily::of(model);
        let output_limit = match family.generation {
            Some((major, minor)) if (major, minor) < (2, 5) => EARLIER_OUTPUT_LIMIT,
            _ if model.contains("-image") => IMAGE_OUTPUT_LIMIT,
            _ => USUAL_OUTPUT_LIMIT,
        };
        Self {
            model: model.into(),
            provider,
            family,
            output_limit,
            signatures: SignatureRecall::default(),
            without_signatures: false,
        }
    }
}

/// The memory of signatures, as one caller sees it.
#[derive(Debug, Clone, Default)]
pub struct SignatureRecall {
    memory: Option<Arc<CallSignatures>>,
    caller: Caller,
}

impl SignatureRecall {
    /// The part of `memory` that belongs to a caller.
    pub fn new(memory: Arc<CallSignatures>, caller: Caller) -> Self {
        Self { memory: Some(memory), caller }
    }

    /// Remembers the signature of a call that the client gets.
    pub fn remember(&self, call_id: &str, signature: &str) {
        if let Some(memory) = &self.memory {
            memory.remember(&self.caller, call_id, signature);
        }
    }

    /// The signature of a call, if it is remembered.
    pub fn recall(&self, call_id: &str) -> Option<Bytes> {
        self.memory.as_ref()?.recall(&self.caller, call_id)
    }
}

/// The most tokens that current models write. A model that is not known is assumed to write as many.
const USUAL_OUTPUT_LIMIT: u32 = 65_536;
/// The most tokens that models before 2.5 write.
const EARLIER_OUTPUT_LIMIT: u32 = 8_192;
/// The most tokens that models write that draw images.
const IMAGE_OUTPUT_LIMIT: u32 = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_shows_how_much_it_writes_at_most() {
        for (model, limit) in [
            ("gemini-2.5-pro", 65_536),
            ("gemini-2.5-flash-lite", 65_536),
            ("gemini-3.6-flash", 65_536),
            ("gemini-2.5-flash-image", 32_768),
            ("gemini-3-pro-image-preview", 32_768),
            ("gemini-2.0-flash", 8192),
            ("gemini-2.0-flash-preview-image-generation", 8192),
            ("gemini-1.5-pro", 8192),
            ("gemini-pro-latest", 65_536),
            ("something", 65_536),
        ] {
            assert_eq!(Target::new(model, ProviderKind::Vertex).output_limit, limit, "{model}");
        }
    }

    #[test]
    fn a_caller_recalls_only_what_was_remembered_for_it() {
        assert_eq!(SignatureRecall::default().recall("call_1"), None);
        let memory = Arc::new(CallSignatures::new(1 << 16));
        let ours = SignatureRecall::new(Arc::clone(&memory), Caller::default());
        ours.remember("call_1", "c2ln");
        assert_eq!(ours.recall("call_1"), Some(Bytes::from_static(b"c2ln")));
        assert_eq!(ours.recall("call_2"), None);
    }
}
