//! `GenerateContentRequest`, its configuration and schemas.

use crate::gemini_api::fields::content::CONTENT;
use crate::gemini_api::fields::tools::{
    AUDIO_TRANSCRIPTION, IMAGE, SAFETY_SETTING, SPEECH, THINKING, TOOL, TOOL_CONFIG,
};
use crate::gemini_api::fields::{enums, message};
use crate::proto::fields::FieldKind::{
    Choice, Choices, Flag, Free, Map, Message as One, Messages as Many, Number, Struct, Text, Texts,
};
use crate::proto::fields::MessageSpec;

message!(GENERATE, "GenerateContentRequest",
    // Whether a body that names a model is accepted is uncertain; the path wins.
    "model": Text,
    "system_instruction": One(&CONTENT),
    "contents": Many(&CONTENT),
    "tools": Many(&TOOL),
    "tool_config": One(&TOOL_CONFIG),
    "safety_settings": Many(&SAFETY_SETTING),
    "generation_config": One(&GENERATION_CONFIG),
    "cached_content": Text,
    // Uncertain for v1beta; current SDKs send it.
    "labels": Struct,
    "service_tier": Choice(&enums::SERVICE_TIER),
    "store": Flag,
    "continuation_token": Text,
);

message!(GENERATION_CONFIG, "GenerationConfig",
    "candidate_count": Number,
    "stop_sequences": Texts,
    "max_output_tokens": Number,
    "temperature": Number,
    "top_p": Number,
    "top_k": Number,
    "seed": Number,
    "response_mime_type": Text,
    "response_schema": One(&SCHEMA),
    "response_json_schema": Free,
    "_responseJsonSchema": Free,
    "response_json_schema_ordered": Free,
    "presence_penalty": Number,
    "frequency_penalty": Number,
    "response_logprobs": Flag,
    "logprobs": Number,
    "enable_enhanced_civic_answers": Flag,
    "response_modalities": Choices(&enums::MODALITY),
    "speech_config": One(&SPEECH),
    "thinking_config": One(&THINKING),
    "image_config": One(&IMAGE),
    "media_resolution": Choice(&enums::MEDIA_RESOLUTION),
    "audio_transcription_config": One(&AUDIO_TRANSCRIPTION),
);

message!(SCHEMA, "Schema",
    "type": Choice(&enums::TYPE),
    "format": Text,
    "title": Text,
    "description": Text,
    "nullable": Flag,
    "enum": Texts,
    "items": One(&SCHEMA),
    "max_items": Number,
    "min_items": Number,
    "properties": Map(&SCHEMA),
    "required": Texts,
    "min_properties": Number,
    "max_properties": Number,
    "minimum": Number,
    "maximum": Number,
    "min_length": Number,
    "max_length": Number,
    "pattern": Text,
    "example": Free,
    "any_of": Many(&SCHEMA),
    "property_ordering": Texts,
    "default": Free,
    "additional_properties": Free,
);
