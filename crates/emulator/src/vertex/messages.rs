//! The messages of Vertex AI. What Code Assist has in the same form comes from the common tables,
//! whose names are those of `v1beta1`.
//!
//! Source: docs/reference/upstreams.md 3.1. A field that only the Gemini API has is not here, so
//! that it is refused.

use crate::proto::fields::FieldKind::{
    Bytes, Choice, Choices, Flag, Free, Message as One, Messages as Many, Number, Struct, Text,
    Texts,
};
use crate::proto::fields::{
    BLOB, CALLING_MODE, CODE_EXECUTION_RESULT, COMPUTER_USE, EXECUTABLE_CODE, EnumSpec, FILE_DATA,
    FUNCTION_DECLARATION, FUNCTION_RESPONSE_PART, GOOGLE_MAPS, GOOGLE_SEARCH_RETRIEVAL, IMAGE,
    MEDIA_RESOLUTION, METHOD, MODALITY, MODEL_SELECTION, MessageSpec, NOTHING,
    PART_MEDIA_RESOLUTION, RETRIEVAL, ROUTING, SCHEMA, SPEECH, THINKING, THRESHOLD, VIDEO_METADATA,
};
use crate::vertex::call::{ApiVersion, ModelMethod};

/// The message of a model's method; none for bodies of any form.
pub(super) fn of(method: ModelMethod, version: ApiVersion) -> &'static MessageSpec {
    let v1 = version == ApiVersion::V1;
    match method {
        ModelMethod::CountTokens if v1 => &V1_COUNT,
        ModelMethod::CountTokens => &COUNT,
        ModelMethod::EmbedContent => &EMBED,
        ModelMethod::FetchPredictOperation => &FETCH_OPERATION,
        ModelMethod::GenerateContent | ModelMethod::StreamGenerateContent if v1 => &V1_GENERATE,
        ModelMethod::GenerateContent | ModelMethod::StreamGenerateContent => &GENERATE,
        ModelMethod::Predict | ModelMethod::PredictLongRunning => &PREDICT,
    }
}

static GENERATE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerateContentRequest",
    fields: &[
        ("model", Text),
        ("contents", Many(&CONTENT)),
        ("system_instruction", One(&CONTENT)),
        ("tools", Many(&TOOL)),
        ("tool_config", One(&TOOL_CONFIG)),
        ("safety_settings", Many(&SAFETY_SETTING)),
        ("generation_config", One(&GENERATION_CONFIG)),
        ("cached_content", Text),
        ("labels", Struct),
        ("model_armor_config", One(&MODEL_ARMOR)),
        ("service_tier", Choice(&SERVICE_TIER)),
        ("continuation_token", Text),
        ("output_config", Struct),
    ],
    oneof: None,
};

static V1_GENERATE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.GenerateContentRequest",
    fields: &[
        ("model", Text),
        ("contents", Many(&V1_CONTENT)),
        ("system_instruction", One(&V1_CONTENT)),
        ("tools", Many(&TOOL)),
        ("tool_config", One(&TOOL_CONFIG)),
        ("safety_settings", Many(&SAFETY_SETTING)),
        ("generation_config", One(&GENERATION_CONFIG)),
        ("cached_content", Text),
        ("labels", Struct),
        ("model_armor_config", One(&MODEL_ARMOR)),
        ("service_tier", Choice(&SERVICE_TIER)),
    ],
    oneof: None,
};

static COUNT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.CountTokensRequest",
    fields: &[
        ("endpoint", Text),
        ("model", Text),
        ("instances", Free),
        ("contents", Many(&CONTENT)),
        ("system_instruction", One(&CONTENT)),
        ("tools", Many(&TOOL)),
        ("generation_config", One(&GENERATION_CONFIG)),
    ],
    oneof: None,
};

static V1_COUNT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.CountTokensRequest",
    fields: &[
        ("endpoint", Text),
        ("model", Text),
        ("instances", Free),
        ("contents", Many(&V1_CONTENT)),
        ("system_instruction", One(&V1_CONTENT)),
        ("tools", Many(&TOOL)),
        ("generation_config", One(&GENERATION_CONFIG)),
    ],
    oneof: None,
};

static EMBED: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.EmbedContentRequest",
    fields: &[
        ("model", Text),
        ("content", One(&CONTENT)),
        ("title", Text),
        ("task_type", Text),
        ("output_dimensionality", Number),
        ("auto_truncate", Flag),
        ("embed_content_config", Struct),
    ],
    oneof: None,
};

static PREDICT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.PredictRequest",
    fields: &[("instances", Free), ("parameters", Free), ("labels", Struct)],
    oneof: None,
};

static FETCH_OPERATION: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FetchPredictOperationRequest",
    fields: &[("operation_name", Text)],
    oneof: None,
};

pub(super) static CACHED_CONTENT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.CachedContent",
    fields: &[
        ("name", Text),
        ("display_name", Text),
        ("model", Text),
        ("system_instruction", One(&CONTENT)),
        ("contents", Many(&CONTENT)),
        ("tools", Many(&TOOL)),
        ("tool_config", One(&TOOL_CONFIG)),
        ("expire_time", Text),
        ("ttl", Text),
        ("encryption_spec", Struct),
    ],
    oneof: Some(("expiration", &["expire_time", "ttl"])),
};

static CONTENT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Content",
    fields: &[("role", Text), ("parts", Many(&PART))],
    oneof: None,
};

static V1_CONTENT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.Content",
    fields: &[("role", Text), ("parts", Many(&V1_PART))],
    oneof: None,
};

static PART: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Part",
    fields: &[
        ("text", Text),
        ("inline_data", One(&BLOB)),
        ("file_data", One(&FILE_DATA)),
        ("function_call", One(&FUNCTION_CALL)),
        ("function_response", One(&FUNCTION_RESPONSE)),
        ("executable_code", One(&EXECUTABLE_CODE)),
        ("code_execution_result", One(&CODE_EXECUTION_RESULT)),
        ("video_metadata", One(&VIDEO_METADATA)),
        ("media_resolution", One(&PART_MEDIA_RESOLUTION)),
        ("thought", Flag),
        ("thought_signature", Bytes),
    ],
    oneof: PART_DATA,
};

static V1_PART: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.Part",
    fields: &[
        ("text", Text),
        ("inline_data", One(&BLOB)),
        ("file_data", One(&FILE_DATA)),
        ("function_call", One(&V1_FUNCTION_CALL)),
        ("function_response", One(&V1_FUNCTION_RESPONSE)),
        ("executable_code", One(&EXECUTABLE_CODE)),
        ("code_execution_result", One(&CODE_EXECUTION_RESULT)),
        ("video_metadata", One(&VIDEO_METADATA)),
        ("thought", Flag),
        ("thought_signature", Bytes),
    ],
    oneof: PART_DATA,
};

const PART_DATA: Option<(&str, &[&str])> = Some((
    "data",
    &[
        "text",
        "inline_data",
        "file_data",
        "function_call",
        "function_response",
        "executable_code",
        "code_execution_result",
    ],
));

static FUNCTION_CALL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionCall",
    fields: &[
        ("id", Text),
        ("name", Text),
        ("args", Struct),
        ("partial_args", Free),
        ("will_continue", Flag),
    ],
    oneof: None,
};

/// It has no id (docs/reference/upstreams.md 3.1).
static V1_FUNCTION_CALL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.FunctionCall",
    fields: &[("name", Text), ("args", Struct)],
    oneof: None,
};

static FUNCTION_RESPONSE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionResponse",
    fields: &[
        ("id", Text),
        ("name", Text),
        ("response", Struct),
        ("parts", Many(&FUNCTION_RESPONSE_PART)),
        ("scheduling", Text),
    ],
    oneof: None,
};

static V1_FUNCTION_RESPONSE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1.FunctionResponse",
    fields: &[("name", Text), ("response", Struct), ("parts", Many(&FUNCTION_RESPONSE_PART))],
    oneof: None,
};

static TOOL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Tool",
    fields: &[
        ("function_declarations", Many(&FUNCTION_DECLARATION)),
        ("google_search", One(&GOOGLE_SEARCH)),
        ("google_search_retrieval", One(&GOOGLE_SEARCH_RETRIEVAL)),
        ("enterprise_web_search", One(&GOOGLE_SEARCH)),
        ("parallel_ai_search", Struct),
        ("exa_ai_search", Struct),
        ("google_maps", One(&GOOGLE_MAPS)),
        ("url_context", One(&NOTHING)),
        ("code_execution", One(&NOTHING)),
        ("retrieval", Struct),
        ("computer_use", One(&COMPUTER_USE)),
    ],
    oneof: None,
};

static GOOGLE_SEARCH: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Tool.GoogleSearch",
    fields: &[
        ("search_types", Struct),
        ("time_range_filter", Struct),
        ("exclude_domains", Texts),
        ("blocking_confidence", Text),
    ],
    oneof: None,
};

static TOOL_CONFIG: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ToolConfig",
    fields: &[
        ("function_calling_config", One(&FUNCTION_CALLING)),
        ("retrieval_config", One(&RETRIEVAL)),
    ],
    oneof: None,
};

static FUNCTION_CALLING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionCallingConfig",
    fields: &[
        ("mode", Choice(&CALLING_MODE)),
        ("allowed_function_names", Texts),
        ("stream_function_call_arguments", Flag),
    ],
    oneof: None,
};

static SAFETY_SETTING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.SafetySetting",
    fields: &[
        ("category", Choice(&HARM_CATEGORY)),
        ("threshold", Choice(&THRESHOLD)),
        ("method", Choice(&METHOD)),
    ],
    oneof: None,
};

static GENERATION_CONFIG: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig",
    fields: &[
        ("temperature", Number),
        ("top_p", Number),
        ("top_k", Number),
        ("candidate_count", Number),
        ("max_output_tokens", Number),
        ("stop_sequences", Texts),
        ("response_logprobs", Flag),
        ("logprobs", Number),
        ("presence_penalty", Number),
        ("frequency_penalty", Number),
        ("seed", Number),
        ("response_mime_type", Text),
        ("response_schema", One(&SCHEMA)),
        ("response_json_schema", Free),
        ("routing_config", One(&ROUTING)),
        ("model_config", One(&MODEL_SELECTION)),
        ("model_selection_config", One(&MODEL_SELECTION)),
        ("response_modalities", Choices(&MODALITY)),
        ("media_resolution", Choice(&MEDIA_RESOLUTION)),
        ("speech_config", One(&SPEECH)),
        ("audio_timestamp", Flag),
        ("audio_transcription_config", Struct),
        ("enable_affective_dialog", Flag),
        ("thinking_config", One(&THINKING)),
        ("image_config", One(&IMAGE)),
    ],
    oneof: None,
};

static MODEL_ARMOR: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ModelArmorConfig",
    fields: &[("prompt_template_name", Text), ("response_template_name", Text)],
    oneof: None,
};

/// The values that the body takes and the service ignores. Lower case is refused.
static SERVICE_TIER: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerateContentRequest.ServiceTier",
    values: &[
        "SERVICE_TIER_UNSPECIFIED",
        "SERVICE_TIER_FLEX",
        "SERVICE_TIER_STANDARD",
        "SERVICE_TIER_PRIORITY",
    ],
    any_case: false,
};

/// The first seven have numbers; the rest are known by name only, and
/// [`LAST_CATEGORY_NUMBER`] bounds the numbers.
static HARM_CATEGORY: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.HarmCategory",
    values: &[
        "HARM_CATEGORY_UNSPECIFIED",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_CIVIC_INTEGRITY",
        "HARM_CATEGORY_JAILBREAK",
        "HARM_CATEGORY_IMAGE_HATE",
        "HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT",
        "HARM_CATEGORY_IMAGE_HARASSMENT",
        "HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT",
    ],
    any_case: false,
};

/// The Gemini API's numbers go on to 11 and mean other categories.
pub(super) const LAST_CATEGORY_NUMBER: u64 = 6;
