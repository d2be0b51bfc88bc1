//! The fields of a request that are not just passed on, by name.

/// A member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Contents,
    SystemInstruction,
    Tools,
    SafetySettings,
    GenerationConfig,
    GenerateContentRequest,
    /// Known to the public API only (`protocol.md` 3.2).
    NotTaken,
    Other,
}

impl Root {
    pub(super) fn named(key: &str) -> Self {
        match key {
            "contents" => Self::Contents,
            "systemInstruction" | "system_instruction" => Self::SystemInstruction,
            "tools" => Self::Tools,
            "safetySettings" | "safety_settings" => Self::SafetySettings,
            "generationConfig" | "generation_config" => Self::GenerationConfig,
            "generateContentRequest" | "generate_content_request" => Self::GenerateContentRequest,
            "model" | "serviceTier" | "service_tier" | "store" => Self::NotTaken,
            _ => Self::Other,
        }
    }
}

/// A member of `generationConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Config {
    Temperature,
    /// An older SDK's name of `responseJsonSchema`.
    PrivateJsonSchema,
    /// Not forwarded by the official client (`protocol.md` 3.2).
    NotTaken,
    Other,
}

impl Config {
    pub(super) fn named(key: &str) -> Self {
        match key {
            "temperature" => Self::Temperature,
            "_responseJsonSchema" | "_response_json_schema" => Self::PrivateJsonSchema,
            // `imageConfig`: one peer forwarded it for image models, so the backend may know it.
            // Unproven, and an unknown name fails the whole request: strict on the way out.
            "imageConfig" | "image_config" => Self::NotTaken,
            "enableEnhancedCivicAnswers" | "enable_enhanced_civic_answers" => Self::NotTaken,
            "responseFormat" | "response_format" => Self::NotTaken,
            "translationConfig" | "translation_config" => Self::NotTaken,
            "enableAffectiveDialog" | "enable_affective_dialog" => Self::NotTaken,
            "audioTranscriptionConfig" | "audio_transcription_config" => Self::NotTaken,
            // Settings of SDKs that some let slip onto the wire.
            "httpOptions" | "http_options" => Self::NotTaken,
            "abortSignal" | "abort_signal" => Self::NotTaken,
            "automaticFunctionCalling" | "automatic_function_calling" => Self::NotTaken,
            "modelArmorConfig" | "model_armor_config" => Self::NotTaken,
            "serviceTier" | "service_tier" => Self::NotTaken,
            _ => Self::Other,
        }
    }
}

/// Whether a member of a part is what the part holds, rather than a remark on it. A kind of part
/// that is not known yet holds something.
pub(super) fn is_data(key: &str) -> bool {
    !matches!(
        key,
        "thoughtSignature"
            | "thought_signature"
            | "partMetadata"
            | "part_metadata"
            | "videoMetadata"
            | "video_metadata"
            | "mediaResolution"
            | "media_resolution"
    )
}

/// The JSON string that names a `HarmCategory` which the client wrote as a number of the public
/// API (`google.ai.generativelanguage.v1beta.HarmCategory`).
pub(super) fn harm_category(number: &str) -> Option<&'static str> {
    Some(match number {
        "0" => r#""HARM_CATEGORY_UNSPECIFIED""#,
        "1" => r#""HARM_CATEGORY_DEROGATORY""#,
        "2" => r#""HARM_CATEGORY_TOXICITY""#,
        "3" => r#""HARM_CATEGORY_VIOLENCE""#,
        "4" => r#""HARM_CATEGORY_SEXUAL""#,
        "5" => r#""HARM_CATEGORY_MEDICAL""#,
        "6" => r#""HARM_CATEGORY_DANGEROUS""#,
        "7" => r#""HARM_CATEGORY_HARASSMENT""#,
        "8" => r#""HARM_CATEGORY_HATE_SPEECH""#,
        "9" => r#""HARM_CATEGORY_SEXUALLY_EXPLICIT""#,
        "10" => r#""HARM_CATEGORY_DANGEROUS_CONTENT""#,
        "11" => r#""HARM_CATEGORY_CIVIC_INTEGRITY""#,
        _ => return None,
    })
}
