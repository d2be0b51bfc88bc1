//! The fields of a request that are edited or removed, by name.

/// A member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestField {
    Contents,
    SystemInstruction,
    Tools,
    SafetySettings,
    GenerationConfig,
    GenerateContentRequest,
    /// Fields that only the public API has (`docs/reference/protocol.md` 3.2).
    NotTaken,
    Other,
}

impl RequestField {
    pub(super) fn named(key: &[u8]) -> Self {
        match key {
            b"contents" => Self::Contents,
            b"systemInstruction" | b"system_instruction" => Self::SystemInstruction,
            b"tools" => Self::Tools,
            b"safetySettings" | b"safety_settings" => Self::SafetySettings,
            b"generationConfig" | b"generation_config" => Self::GenerationConfig,
            b"generateContentRequest" | b"generate_content_request" => Self::GenerateContentRequest,
            b"model" | b"serviceTier" | b"service_tier" | b"store" => Self::NotTaken,
            _ => Self::Other,
        }
    }
}

/// A member of `generationConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfigField {
    Temperature,
    /// The name of `responseJsonSchema` in an older SDK.
    PrivateJsonSchema,
    /// Fields that the official client does not forward (`docs/reference/protocol.md` 3.2), all
    /// but `imageConfig`, which Code Assist is known to obey.
    NotTaken,
    Other,
}

impl ConfigField {
    pub(super) fn named(key: &[u8]) -> Self {
        match key {
            b"temperature" => Self::Temperature,
            b"_responseJsonSchema" | b"_response_json_schema" => Self::PrivateJsonSchema,
            b"enableEnhancedCivicAnswers" | b"enable_enhanced_civic_answers" => Self::NotTaken,
            b"responseFormat" | b"response_format" => Self::NotTaken,
            b"translationConfig" | b"translation_config" => Self::NotTaken,
            b"enableAffectiveDialog" | b"enable_affective_dialog" => Self::NotTaken,
            b"audioTranscriptionConfig" | b"audio_transcription_config" => Self::NotTaken,
            // Settings of SDKs that some of them send by mistake.
            b"httpOptions" | b"http_options" => Self::NotTaken,
            b"abortSignal" | b"abort_signal" => Self::NotTaken,
            b"automaticFunctionCalling" | b"automatic_function_calling" => Self::NotTaken,
            b"modelArmorConfig" | b"model_armor_config" => Self::NotTaken,
            b"serviceTier" | b"service_tier" => Self::NotTaken,
            _ => Self::Other,
        }
    }
}

/// Whether a member of a part is data, rather than metadata about it. An unknown member is data.
pub(super) fn is_data(key: &[u8]) -> bool {
    !matches!(
        key,
        b"thoughtSignature"
            | b"thought_signature"
            | b"partMetadata"
            | b"part_metadata"
            | b"videoMetadata"
            | b"video_metadata"
            | b"mediaResolution"
            | b"media_resolution"
    )
}
