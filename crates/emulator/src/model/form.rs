//! What differs between the providers in the answers of one model: a few members, and the signatures.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::proto::{BASE64, BASE64_URL_SAFE, Node};

/// The provider whose form an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    CodeAssist,
    GeminiApi,
    Vertex,
}

impl AnswerForm {
    /// The thought signature of every answer. Clients send it back unread.
    pub(crate) fn signature(self) -> &'static str {
        match self {
            // base64 of "emulator thought signature"
            Self::CodeAssist => "ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=",
            // base64 of "gemini-api thought signature"
            Self::GeminiApi => "Z2VtaW5pLWFwaSB0aG91Z2h0IHNpZ25hdHVyZQ==",
            // base64 of "vertex thought signature"
            Self::Vertex => "dmVydGV4IHRob3VnaHQgc2lnbmF0dXJl",
        }
    }

    /// Whether the provider accepts a signature: its own in either alphabet of base64, or a
    /// placeholder that switches the check off (docs/reference/upstreams.md 7.3).
    fn accepts(self, signature: &str) -> bool {
        if signature == PLACEHOLDER || (self == Self::GeminiApi && signature == SECOND_PLACEHOLDER)
        {
            return true;
        }
        let decoded = |text: &str| BASE64.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text));
        let own = decoded(self.signature());
        decoded(signature).is_ok_and(|signature| own.is_ok_and(|own| own == signature))
    }

    /// The first signature of a request that another provider gave, or that is damaged.
    pub(crate) fn foreign_signature<'a>(self, request: &'a Node<'_>) -> Option<&'a str> {
        let parts = request.list("contents").iter().flat_map(|content| content.list("parts"));
        parts
            .filter_map(|part| part.text("thought_signature"))
            .find(|signature| !signature.is_empty() && !self.accepts(signature))
    }

    /// The citations of a text of so many characters (docs/reference/upstreams.md 4.1).
    pub(super) fn citations(self, chars: usize) -> Value {
        if self == Self::GeminiApi {
            return json!({"citationSources": [{
                "startIndex": 0,
                "endIndex": chars,
                "uri": "https://example.org/source",
                "license": "",
            }]});
        }
        json!({"citations": [{
            "startIndex": 0,
            "endIndex": chars,
            "uri": "https://example.org/source",
            "title": "A source",
            "license": "",
            "publicationDate": {"year": 2024, "month": 1, "day": 15},
        }]})
    }

    /// Names in a usage how the request was served.
    pub(super) fn mark_tier(self, usage: &mut Value) {
        match self {
            Self::CodeAssist | Self::Vertex => usage["trafficType"] = "ON_DEMAND".into(),
            Self::GeminiApi => usage["serviceTier"] = "standard".into(),
        }
    }
}

const PLACEHOLDER: &str = "skip_thought_signature_validator";
const SECOND_PLACEHOLDER: &str = "context_engineering_is_the_way_to_go";
