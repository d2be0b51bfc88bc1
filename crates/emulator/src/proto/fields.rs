//! The messages of the services and their fields, which the check of a body uses.
//!
//! Names are proto names. JSON names follow from them. Sources: docs/reference/protocol.md 2.4 to
//! 2.9 and 3.2, and the Vertex AI message of the same name for what is inside `request`.

use FieldKind::{
    Bytes, Choice, Choices, Flag, Free, Map, Message as One, Messages as Many, Number, Struct,
    Text, Texts,
};

/// A proto message: its name as errors print it, its fields, and the fields of which only one may
/// be set.
#[derive(Debug)]
pub(crate) struct MessageSpec {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [(&'static str, FieldKind)],
    pub(crate) oneof: Option<(&'static str, &'static [&'static str])>,
}

/// The type of a field.
#[derive(Debug)]
pub(crate) enum FieldKind {
    /// base64 text of either alphabet.
    Bytes,
    Choice(&'static EnumSpec),
    Choices(&'static EnumSpec),
    Flag,
    /// Any JSON value, unchecked.
    Free,
    /// A map from any key to a message.
    Map(&'static MessageSpec),
    Message(&'static MessageSpec),
    Messages(&'static MessageSpec),
    Number,
    /// Any JSON object, unchecked.
    Struct,
    Text,
    Texts,
}

/// A proto enum. The number of a value is its index in the list.
#[derive(Debug)]
pub(crate) struct EnumSpec {
    pub(crate) name: &'static str,
    pub(crate) values: &'static [&'static str],
    /// Whether lower case is accepted too (docs/reference/protocol.md 6.4; clients often write
    /// schema types so).
    pub(crate) any_case: bool,
}

pub(crate) static GENERATE: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.GenerateContentRequest",
    fields: &[
        ("model", Text),
        ("project", Text),
        ("user_prompt_id", Text),
        ("request", One(&REQUEST)),
        ("enabled_credit_types", Choices(&CREDIT_TYPE)),
    ],
    oneof: None,
};

pub(crate) static COUNT: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.CountTokensRequest",
    fields: &[("request", One(&COUNT_REQUEST))],
    oneof: None,
};

pub(crate) static LOAD: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.LoadCodeAssistRequest",
    fields: &[
        ("cloudaicompanion_project", Text),
        ("metadata", One(&CLIENT_METADATA)),
        ("mode", Choice(&LOAD_MODE)),
    ],
    oneof: None,
};

pub(crate) static ONBOARD: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.OnboardUserRequest",
    fields: &[
        ("tier_id", Text),
        ("cloudaicompanion_project", Text),
        ("metadata", One(&CLIENT_METADATA)),
    ],
    oneof: None,
};

pub(crate) static QUOTA: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.RetrieveUserQuotaRequest",
    fields: &[("project", Text), ("user_agent", Text)],
    oneof: None,
};

pub(crate) static EXPERIMENTS: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.ListExperimentsRequest",
    fields: &[("project", Text), ("metadata", One(&CLIENT_METADATA))],
    oneof: None,
};

pub(crate) static ADMIN_CONTROLS: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.FetchAdminControlsRequest",
    fields: &[("project", Text)],
    oneof: None,
};

pub(crate) static METRICS: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.RecordCodeAssistMetricsRequest",
    fields: &[
        ("project", Text),
        ("request_id", Text),
        ("metadata", One(&CLIENT_METADATA)),
        ("metrics", Many(&METRIC)),
    ],
    oneof: None,
};

pub(crate) static USER_SETTING: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.SetCodeAssistGlobalUserSettingRequest",
    fields: &[("cloudaicompanion_project", Text), ("free_tier_data_collection_optin", Flag)],
    oneof: None,
};

static CLIENT_METADATA: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.ClientMetadata",
    fields: &[
        ("ide_type", Choice(&IDE_TYPE)),
        ("ide_name", Text),
        ("ide_version", Text),
        ("plugin_version", Text),
        ("platform", Choice(&PLATFORM)),
        ("update_channel", Text),
        ("duet_project", Text),
        ("plugin_type", Choice(&PLUGIN_TYPE)),
    ],
    oneof: None,
};

static METRIC: MessageSpec = MessageSpec {
    name: "google.internal.cloud.code.v1internal.CodeAssistMetric",
    fields: &[
        ("timestamp", Text),
        ("metric_metadata", Struct),
        ("conversation_offered", Struct),
        ("conversation_interaction", Struct),
    ],
    oneof: None,
};

static REQUEST: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerateContentRequest",
    fields: &[
        ("contents", Many(&CONTENT)),
        ("system_instruction", One(&CONTENT)),
        ("tools", Many(&TOOL)),
        ("tool_config", One(&TOOL_CONFIG)),
        ("safety_settings", Many(&SAFETY_SETTING)),
        ("generation_config", One(&GENERATION_CONFIG)),
        ("cached_content", Text),
        ("labels", Struct),
        ("session_id", Text),
    ],
    oneof: None,
};

static COUNT_REQUEST: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.CountTokensRequest",
    fields: &[
        ("model", Text),
        ("contents", Many(&CONTENT)),
        ("system_instruction", One(&CONTENT)),
        ("tools", Many(&TOOL)),
        ("generation_config", One(&GENERATION_CONFIG)),
    ],
    oneof: None,
};

static CONTENT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Content",
    fields: &[("role", Text), ("parts", Many(&PART))],
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
    oneof: Some((
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
    )),
};

pub(crate) static BLOB: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Blob",
    fields: &[("mime_type", Text), ("data", Bytes), ("display_name", Text)],
    oneof: None,
};

pub(crate) static FILE_DATA: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FileData",
    fields: &[("mime_type", Text), ("file_uri", Text), ("display_name", Text)],
    oneof: None,
};

static FUNCTION_CALL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionCall",
    fields: &[("id", Text), ("name", Text), ("args", Struct)],
    oneof: None,
};

static FUNCTION_RESPONSE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionResponse",
    fields: &[
        ("id", Text),
        ("name", Text),
        ("response", Struct),
        ("parts", Many(&FUNCTION_RESPONSE_PART)),
    ],
    oneof: None,
};

pub(crate) static FUNCTION_RESPONSE_PART: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionResponsePart",
    fields: &[("inline_data", One(&BLOB)), ("file_data", One(&FILE_DATA))],
    oneof: Some(("data", &["inline_data", "file_data"])),
};

pub(crate) static EXECUTABLE_CODE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ExecutableCode",
    fields: &[("language", Choice(&LANGUAGE)), ("code", Text)],
    oneof: None,
};

pub(crate) static CODE_EXECUTION_RESULT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.CodeExecutionResult",
    fields: &[("outcome", Choice(&OUTCOME)), ("output", Text)],
    oneof: None,
};

pub(crate) static VIDEO_METADATA: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.VideoMetadata",
    fields: &[("start_offset", Text), ("end_offset", Text), ("fps", Number)],
    oneof: None,
};

pub(crate) static PART_MEDIA_RESOLUTION: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.PartMediaResolution",
    fields: &[("level", Choice(&MEDIA_RESOLUTION)), ("num_tokens", Number)],
    oneof: None,
};

static TOOL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Tool",
    fields: &[
        ("function_declarations", Many(&FUNCTION_DECLARATION)),
        ("google_search", One(&GOOGLE_SEARCH)),
        ("google_search_retrieval", One(&GOOGLE_SEARCH_RETRIEVAL)),
        ("enterprise_web_search", One(&GOOGLE_SEARCH)),
        ("google_maps", One(&GOOGLE_MAPS)),
        ("url_context", One(&NOTHING)),
        ("code_execution", One(&NOTHING)),
        ("retrieval", Struct),
        ("computer_use", One(&COMPUTER_USE)),
    ],
    oneof: None,
};

pub(crate) static FUNCTION_DECLARATION: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionDeclaration",
    fields: &[
        ("name", Text),
        ("description", Text),
        ("parameters", One(&SCHEMA)),
        ("parameters_json_schema", Free),
        ("response", One(&SCHEMA)),
        ("response_json_schema", Free),
    ],
    oneof: None,
};

static GOOGLE_SEARCH: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Tool.GoogleSearch",
    fields: &[("exclude_domains", Texts), ("blocking_confidence", Text)],
    oneof: None,
};

pub(crate) static GOOGLE_SEARCH_RETRIEVAL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GoogleSearchRetrieval",
    fields: &[("dynamic_retrieval_config", One(&DYNAMIC_RETRIEVAL))],
    oneof: None,
};

static DYNAMIC_RETRIEVAL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.DynamicRetrievalConfig",
    fields: &[("mode", Text), ("dynamic_threshold", Number)],
    oneof: None,
};

pub(crate) static GOOGLE_MAPS: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GoogleMaps",
    fields: &[("enable_widget", Flag), ("auth_config", Struct)],
    oneof: None,
};

pub(crate) static NOTHING: MessageSpec =
    MessageSpec { name: "google.cloud.aiplatform.v1beta1.Tool.Empty", fields: &[], oneof: None };

pub(crate) static COMPUTER_USE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Tool.ComputerUse",
    fields: &[("environment", Text), ("excluded_predefined_functions", Texts)],
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
    fields: &[("mode", Choice(&CALLING_MODE)), ("allowed_function_names", Texts)],
    oneof: None,
};

pub(crate) static RETRIEVAL: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.RetrievalConfig",
    fields: &[("lat_lng", One(&LAT_LNG)), ("language_code", Text)],
    oneof: None,
};

static LAT_LNG: MessageSpec = MessageSpec {
    name: "google.type.LatLng",
    fields: &[("latitude", Number), ("longitude", Number)],
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
        ("model_selection_config", One(&MODEL_SELECTION)),
        ("response_modalities", Choices(&MODALITY)),
        ("media_resolution", Choice(&MEDIA_RESOLUTION)),
        ("speech_config", One(&SPEECH)),
        ("audio_timestamp", Flag),
        ("thinking_config", One(&THINKING)),
        ("image_config", One(&IMAGE)),
    ],
    oneof: None,
};

pub(crate) static IMAGE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ImageConfig",
    fields: &[
        ("aspect_ratio", Text),
        ("image_size", Text),
        ("person_generation", Choice(&PERSON_GENERATION)),
        ("prominent_people", Choice(&PROMINENT_PEOPLE)),
        ("image_output_options", One(&IMAGE_OUTPUT)),
    ],
    oneof: None,
};

static IMAGE_OUTPUT: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ImageConfig.ImageOutputOptions",
    fields: &[("mime_type", Text), ("compression_quality", Number)],
    oneof: None,
};

pub(crate) static THINKING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.ThinkingConfig",
    fields: &[
        ("include_thoughts", Flag),
        ("thinking_budget", Number),
        ("thinking_level", Choice(&THINKING_LEVEL)),
    ],
    oneof: None,
};

pub(crate) static ROUTING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.RoutingConfig",
    fields: &[("auto_mode", One(&AUTO_ROUTING)), ("manual_mode", One(&MANUAL_ROUTING))],
    oneof: None,
};

static AUTO_ROUTING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.RoutingConfig.AutoRoutingMode",
    fields: &[("model_routing_preference", Text)],
    oneof: None,
};

static MANUAL_ROUTING: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.RoutingConfig.ManualRoutingMode",
    fields: &[("model_name", Text)],
    oneof: None,
};

pub(crate) static MODEL_SELECTION: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.ModelSelectionConfig",
    fields: &[("feature_selection_preference", Text)],
    oneof: None,
};

pub(crate) static SPEECH: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.SpeechConfig",
    fields: &[
        ("voice_config", One(&VOICE)),
        ("multi_speaker_voice_config", One(&MULTI_SPEAKER)),
        ("language_code", Text),
    ],
    oneof: None,
};

static VOICE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.VoiceConfig",
    fields: &[("prebuilt_voice_config", One(&PREBUILT_VOICE))],
    oneof: None,
};

static PREBUILT_VOICE: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.PrebuiltVoiceConfig",
    fields: &[("voice_name", Text)],
    oneof: None,
};

static MULTI_SPEAKER: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.MultiSpeakerVoiceConfig",
    fields: &[("speaker_voice_configs", Many(&SPEAKER))],
    oneof: None,
};

static SPEAKER: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.SpeakerVoiceConfig",
    fields: &[("speaker", Text), ("voice_config", One(&VOICE))],
    oneof: None,
};

pub(crate) static SCHEMA: MessageSpec = MessageSpec {
    name: "google.cloud.aiplatform.v1beta1.Schema",
    fields: &[
        ("type", Choice(&TYPE)),
        ("format", Text),
        ("title", Text),
        ("description", Text),
        ("nullable", Flag),
        ("default", Free),
        ("items", One(&SCHEMA)),
        ("min_items", Number),
        ("max_items", Number),
        ("enum", Texts),
        ("properties", Map(&SCHEMA)),
        ("property_ordering", Texts),
        ("required", Texts),
        ("min_properties", Number),
        ("max_properties", Number),
        ("minimum", Number),
        ("maximum", Number),
        ("min_length", Number),
        ("max_length", Number),
        ("pattern", Text),
        ("example", Free),
        ("any_of", Many(&SCHEMA)),
        ("additional_properties", Free),
        ("ref", Text),
        ("defs", Map(&SCHEMA)),
    ],
    oneof: None,
};

static CREDIT_TYPE: EnumSpec = EnumSpec {
    name: "google.internal.cloud.code.v1internal.Credits.CreditType",
    values: &["CREDIT_TYPE_UNSPECIFIED", "GOOGLE_ONE_AI"],
    any_case: false,
};

static LOAD_MODE: EnumSpec = EnumSpec {
    name: "google.internal.cloud.code.v1internal.LoadCodeAssistRequest.Mode",
    values: &["MODE_UNSPECIFIED", "FULL_ELIGIBILITY_CHECK", "HEALTH_CHECK"],
    any_case: false,
};

static IDE_TYPE: EnumSpec = EnumSpec {
    name: "google.internal.cloud.code.v1internal.ClientMetadata.IdeType",
    values: &[
        "IDE_UNSPECIFIED",
        "VSCODE",
        "INTELLIJ",
        "VSCODE_CLOUD_WORKSTATION",
        "INTELLIJ_CLOUD_WORKSTATION",
        "CLOUD_SHELL",
        "GEMINI_CLI",
    ],
    any_case: false,
};

static PLATFORM: EnumSpec = EnumSpec {
    name: "google.internal.cloud.code.v1internal.ClientMetadata.Platform",
    values: &[
        "PLATFORM_UNSPECIFIED",
        "DARWIN_AMD64",
        "DARWIN_ARM64",
        "LINUX_AMD64",
        "LINUX_ARM64",
        "WINDOWS_AMD64",
    ],
    any_case: false,
};

static PLUGIN_TYPE: EnumSpec = EnumSpec {
    name: "google.internal.cloud.code.v1internal.ClientMetadata.PluginType",
    values: &["PLUGIN_UNSPECIFIED", "CLOUD_CODE", "GEMINI", "AIPLUGIN_INTELLIJ", "AIPLUGIN_STUDIO"],
    any_case: false,
};

static LANGUAGE: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.ExecutableCode.Language",
    values: &["LANGUAGE_UNSPECIFIED", "PYTHON"],
    any_case: false,
};

static OUTCOME: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.CodeExecutionResult.Outcome",
    values: &["OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED"],
    any_case: false,
};

pub(crate) static MEDIA_RESOLUTION: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.MediaResolution",
    values: &[
        "MEDIA_RESOLUTION_UNSPECIFIED",
        "MEDIA_RESOLUTION_LOW",
        "MEDIA_RESOLUTION_MEDIUM",
        "MEDIA_RESOLUTION_HIGH",
    ],
    any_case: false,
};

pub(crate) static CALLING_MODE: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.FunctionCallingConfig.Mode",
    values: &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"],
    any_case: false,
};

static HARM_CATEGORY: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.HarmCategory",
    values: &[
        "HARM_CATEGORY_UNSPECIFIED",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_CIVIC_INTEGRITY",
    ],
    any_case: false,
};

pub(crate) static THRESHOLD: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.SafetySetting.HarmBlockThreshold",
    values: &[
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
        "BLOCK_LOW_AND_ABOVE",
        "BLOCK_MEDIUM_AND_ABOVE",
        "BLOCK_ONLY_HIGH",
        "BLOCK_NONE",
        "OFF",
    ],
    any_case: false,
};

pub(crate) static METHOD: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.SafetySetting.HarmBlockMethod",
    values: &["HARM_BLOCK_METHOD_UNSPECIFIED", "SEVERITY", "PROBABILITY"],
    any_case: false,
};

pub(crate) static MODALITY: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.Modality",
    values: &["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO"],
    any_case: false,
};

static PERSON_GENERATION: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.ImageConfig.PersonGeneration",
    values: &["PERSON_GENERATION_UNSPECIFIED", "ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"],
    any_case: false,
};

static PROMINENT_PEOPLE: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.ImageConfig.ProminentPeople",
    values: &["PROMINENT_PEOPLE_UNSPECIFIED", "ALLOW_PROMINENT_PEOPLE", "BLOCK_PROMINENT_PEOPLE"],
    any_case: false,
};

static THINKING_LEVEL: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.GenerationConfig.ThinkingConfig.ThinkingLevel",
    values: &["THINKING_LEVEL_UNSPECIFIED", "LOW", "HIGH", "MEDIUM", "MINIMAL"],
    any_case: true,
};

static TYPE: EnumSpec = EnumSpec {
    name: "google.cloud.aiplatform.v1beta1.Type",
    values: &[
        "TYPE_UNSPECIFIED",
        "STRING",
        "NUMBER",
        "INTEGER",
        "BOOLEAN",
        "ARRAY",
        "OBJECT",
        "NULL",
    ],
    any_case: true,
};
