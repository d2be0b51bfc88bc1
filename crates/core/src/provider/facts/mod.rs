//! What a request's body says about caching and about other upstreams, found without changing the body
//! (`docs/reference/upstreams.md` 7.3).

mod signature;
#[cfg(test)]
mod tests;
mod walk;

use bytes::Bytes;

use crate::json::Splice;
use crate::payload::Payload;
use crate::provider::edits::MOST_EDITS;
pub use signature::SignatureHash;
use walk::Walk;

/// What a body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyFacts {
    /// The body is not exactly one JSON object, so that nothing else is known: no answer may be shared,
    /// and no other upstream asked.
    pub unknown: bool,
    /// True when `generationConfig.temperature` is there and exactly zero.
    pub temperature_zero: bool,
    /// True when `tools` has anything but function declarations, which may look at the outside world.
    pub looks_outside: bool,
    /// The last thought signature. `None` without any: placeholders are none.
    pub last_signature: Option<SignatureHash>,
    /// What ties the request to one upstream, or to one provider.
    pub bound: Option<&'static str>,
}

impl BodyFacts {
    /// Nothing is known.
    const UNKNOWN: Self = Self {
        unknown: true,
        temperature_zero: false,
        looks_outside: true,
        last_signature: None,
        bound: None,
    };

    /// Scans a body once. What is no JSON is no error.
    pub fn of(body: &[u8]) -> Self {
        let mut last = None;
        let Ok(found) = Walk::over(body, |signature| last = Some(signature)) else {
            return Self::UNKNOWN;
        };
        Self {
            unknown: false,
            temperature_zero: found.temperature_zero == Some(true),
            looks_outside: found.looks_outside,
            last_signature: last.map(|signature| SignatureHash::of(&signature.value)),
            bound: found.bound,
        }
    }

    /// True when nothing but a thought signature can keep another upstream from taking the request.
    pub fn may_move(&self) -> bool {
        !self.unknown && self.bound.is_none()
    }
}

/// The body with a placeholder in place of each thought signature, for an upstream that has not given
/// them. A body that is no JSON stays as it is, and so does one with more signatures than any conversation
/// has: upstream refuses either.
pub fn replace_signatures(body: &Bytes) -> Payload {
    let mut splice = Splice::default();
    let walked = Walk::over(body, |signature| {
        if splice.len() <= MOST_EDITS {
            splice.replace(signature.span, PLACEHOLDER_JSON);
        }
    });
    if walked.is_err() || splice.len() > MOST_EDITS {
        return body.clone().into();
    }
    splice.pieces(body, 0..body.len())
}

/// The placeholder that both APIs document. It is sent literally.
const PLACEHOLDER_JSON: &str = r#""skip_thought_signature_validator""#;
