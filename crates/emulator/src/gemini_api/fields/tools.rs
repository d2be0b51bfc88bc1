//! Tools and their configuration.

use crate::gemini_api::fields::generate::SCHEMA;
use crate::gemini_api::fields::{enums, message};
use crate::proto::fields::FieldKind::{
    Choice, Choices, Flag, Free, Message as One, Messages as Many, Number, Struct, Text, Texts,
};
use crate::proto::fields::MessageSpec;

message!(TOOL, "Tool",
    "function_declarations": Many(&FUNCTION_DECLARATION),
    "google_search_retrieval": One(&GOOGLE_SEARCH_RETRIEVAL),
    "code_execution": One(&NOTHING),
    "google_search": One(&GOOGLE_SEARCH),
    "url_context": One(&NOTHING),
    "computer_use": One(&COMPUTER_USE),
    "file_search": One(&FILE_SEARCH),
    "google_maps": One(&GOOGLE_MAPS),
    "mcp_servers": Many(&MCP_SERVER),
);

message!(FUNCTION_DECLARATION, "FunctionDeclaration",
    "name": Text,
    "description": Text,
    "behavior": Choice(&enums::BEHAVIOR),
    "parameters": One(&SCHEMA),
    "parameters_json_schema": Free,
    "response": One(&SCHEMA),
    "response_json_schema": Free,
);

message!(GOOGLE_SEARCH_RETRIEVAL, "GoogleSearchRetrieval",
    "dynamic_retrieval_config": One(&DYNAMIC_RETRIEVAL),
);

message!(DYNAMIC_RETRIEVAL, "DynamicRetrievalConfig",
    "mode": Text,
    "dynamic_threshold": Number,
);

message!(NOTHING, "Tool.Empty",);

message!(GOOGLE_SEARCH, "Tool.GoogleSearch",
    "time_range_filter": Struct,
    "search_types": Struct,
);

message!(COMPUTER_USE, "Tool.ComputerUse",
    "environment": Text,
    "excluded_predefined_functions": Texts,
);

message!(FILE_SEARCH, "FileSearch",
    "file_search_store_names": Texts,
    "metadata_filter": Text,
    "top_k": Number,
);

message!(GOOGLE_MAPS, "GoogleMaps",
    "enable_widget": Flag,
);

message!(MCP_SERVER, "McpServer",
    "name": Text,
    "streamable_http_transport": Struct,
);

message!(TOOL_CONFIG, "ToolConfig",
    "function_calling_config": One(&FUNCTION_CALLING),
    "retrieval_config": One(&RETRIEVAL),
    "include_server_side_tool_invocations": Flag,
);

message!(FUNCTION_CALLING, "FunctionCallingConfig",
    "mode": Choice(&enums::CALLING_MODE),
    "allowed_function_names": Texts,
);

message!(RETRIEVAL, "RetrievalConfig",
    "lat_lng": One(&LAT_LNG),
    "language_code": Text,
);

static LAT_LNG: MessageSpec = MessageSpec {
    name: "google.type.LatLng",
    fields: &[("latitude", Number), ("longitude", Number)],
    oneof: None,
};

message!(SAFETY_SETTING, "SafetySetting",
    "category": Choice(&enums::HARM_CATEGORY),
    "threshold": Choice(&enums::THRESHOLD),
);

message!(SPEECH, "SpeechConfig",
    "voice_config": One(&VOICE),
    "multi_speaker_voice_config": One(&MULTI_SPEAKER),
    "language_code": Text,
);

message!(VOICE, "VoiceConfig",
    "prebuilt_voice_config": One(&PREBUILT_VOICE),
);

message!(PREBUILT_VOICE, "PrebuiltVoiceConfig",
    "voice_name": Text,
);

message!(MULTI_SPEAKER, "MultiSpeakerVoiceConfig",
    "speaker_voice_configs": Many(&SPEAKER),
);

message!(SPEAKER, "SpeakerVoiceConfig",
    "speaker": Text,
    "voice_config": One(&VOICE),
);

message!(THINKING, "ThinkingConfig",
    "include_thoughts": Flag,
    "thinking_budget": Number,
    "thinking_level": Choice(&enums::THINKING_LEVEL),
);

message!(IMAGE, "ImageConfig",
    "aspect_ratio": Text,
    "image_size": Text,
);

message!(AUDIO_TRANSCRIPTION, "AudioTranscriptionConfig",
    "language_codes": Texts,
    "modalities": Choices(&enums::MODALITY),
);
