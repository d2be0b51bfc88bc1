//! The messages of the Gemini API and their fields (docs/reference/upstreams.md 3.1): what the public
//! API knows, and no more.

mod content;
mod enums;
mod generate;
mod tools;

use crate::gemini_api::fields::content::CONTENT;
use crate::gemini_api::fields::generate::GENERATE as GENERATE_REQUEST;
use crate::gemini_api::fields::tools::{TOOL, TOOL_CONFIG};
use crate::proto::fields::FieldKind::{
    Choice, Free, Message as One, Messages as Many, Number, Struct, Text, Texts,
};
use crate::proto::fields::MessageSpec;

pub(super) use self::generate::GENERATE;

/// A message without oneof.
macro_rules! message {
    ($id:ident, $name:literal, $($field:literal: $kind:expr),* $(,)?) => {
        pub(in crate::gemini_api) static $id: MessageSpec = MessageSpec {
            name: concat!("google.ai.generativelanguage.v1beta.", $name),
            fields: &[$(($field, $kind)),*],
            oneof: None,
        };
    };
}
use message;

message!(COUNT_TOKENS, "CountTokensRequest",
    "model": Text,
    "contents": Many(&CONTENT),
    "generate_content_request": One(&GENERATE_REQUEST),
);

message!(EMBED, "EmbedContentRequest",
    "model": Text,
    "content": One(&CONTENT),
    "task_type": Choice(&enums::TASK_TYPE),
    "title": Text,
    "output_dimensionality": Number,
);

message!(BATCH_EMBED, "BatchEmbedContentsRequest",
    "model": Text,
    "requests": Many(&EMBED),
);

message!(PREDICT, "PredictRequest",
    "model": Text,
    "instances": Free,
    "parameters": Struct,
);

message!(CACHED_CONTENT, "CachedContent",
    "name": Text,
    "model": Text,
    "display_name": Text,
    "contents": Many(&CONTENT),
    "system_instruction": One(&CONTENT),
    "tools": Many(&TOOL),
    "tool_config": One(&TOOL_CONFIG),
    "ttl": Text,
    "expire_time": Text,
);

message!(BATCH_GENERATE, "BatchGenerateContentRequest",
    "model": Text,
    "batch": One(&GENERATE_BATCH),
);

message!(GENERATE_BATCH, "GenerateContentBatch",
    "model": Text,
    "display_name": Text,
    "input_config": One(&GENERATE_INPUT),
    "priority": Number,
    "webhook_config": Struct,
);

message!(GENERATE_INPUT, "InputConfig",
    "requests": One(&GENERATE_ITEMS),
    "file_name": Text,
);

message!(GENERATE_ITEMS, "InlinedRequests",
    "requests": Many(&GENERATE_ITEM),
);

message!(GENERATE_ITEM, "InlinedRequest",
    "request": One(&GENERATE_REQUEST),
    "metadata": Struct,
);

message!(BATCH_EMBED_ASYNC, "AsyncBatchEmbedContentRequest",
    "model": Text,
    "batch": One(&EMBED_BATCH),
);

message!(EMBED_BATCH, "EmbedContentBatch",
    "model": Text,
    "display_name": Text,
    "input_config": One(&EMBED_INPUT),
    "priority": Number,
);

message!(EMBED_INPUT, "InputEmbedContentConfig",
    "requests": One(&EMBED_ITEMS),
    "file_name": Text,
);

message!(EMBED_ITEMS, "InlinedEmbedContentRequests",
    "requests": Many(&EMBED_ITEM),
);

message!(EMBED_ITEM, "InlinedEmbedContentRequest",
    "request": One(&EMBED),
    "metadata": Struct,
);

message!(CREATE_FILE, "CreateFileRequest",
    "file": One(&FILE),
);

message!(FILE, "File",
    "name": Text,
    "display_name": Text,
    "mime_type": Text,
    "size_bytes": Number,
);

message!(REGISTER_FILES, "RegisterFilesRequest",
    "uris": Texts,
);

message!(FILE_SEARCH_STORE, "FileSearchStore",
    "name": Text,
    "display_name": Text,
    "embedding_model": Text,
);
