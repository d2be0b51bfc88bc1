//! The fields of a request that are edited or removed, by name.

use crate::provider::edits::ServiceTier;

/// A member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestField {
    Contents,
    SystemInstruction,
    CachedContent,
    Model,
    Tools,
    ToolConfig,
    SafetySettings,
    GenerationConfig,
    GenerateContentRequest,
    ServiceTier,
    Store,
    Other,
}

impl RequestField {
    pub(super) fn named(key: &[u8]) -> Self {
        match key {
            b"contents" => Self::Contents,
            b"systemInstruction" | b"system_instruction" => Self::SystemInstruction,
            b"cachedContent" | b"cached_content" => Self::CachedContent,
            b"model" => Self::Model,
            b"tools" => Self::Tools,
            b"toolConfig" | b"tool_config" => Self::ToolConfig,
            b"safetySettings" | b"safety_settings" => Self::SafetySettings,
            b"generationConfig" | b"generation_config" => Self::GenerationConfig,
            b"generateContentRequest" | b"generate_content_request" => Self::GenerateContentRequest,
            b"serviceTier" | b"service_tier" => Self::ServiceTier,
            b"store" => Self::Store,
            _ => Self::Other,
        }
    }
}

/// What a `serviceTier` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TierValue {
    /// What is served without the header too.
    Standard,
    Shared(ServiceTier),
    Unknown,
}

impl TierValue {
    /// Reads a JSON value. The public API has lower-case names; SDKs also send those of the proto's
    /// enum, `SERVICE_TIER_FLEX`.
    pub(super) fn read(json: &[u8]) -> Self {
        let name = match json {
            b"null" => return Self::Standard,
            [b'"', name @ .., b'"'] => name,
            _ => return Self::Unknown,
        };
        let prefix = b"SERVICE_TIER_";
        let name = match name.split_at_checked(prefix.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest,
            _ => name,
        };
        let is = |tier: &str| name.eq_ignore_ascii_case(tier.as_bytes());
        match [ServiceTier::Flex, ServiceTier::Priority].into_iter().find(|t| is(t.as_str())) {
            Some(tier) => Self::Shared(tier),
            None if name.is_empty() || is("standard") || is("unspecified") => Self::Standard,
            None => Self::Unknown,
        }
    }
}
