//! `Content` and its parts.

use crate::gemini_api::fields::{enums, message};
use crate::proto::fields::FieldKind::{
    Bytes, Choice, Flag, Message as One, Messages as Many, Number, Struct, Text,
};
use crate::proto::fields::MessageSpec;

message!(CONTENT, "Content",
    "parts": Many(&PART),
    "role": Text,
);

static PART: MessageSpec = MessageSpec {
    name: "google.ai.generativelanguage.v1beta.Part",
    fields: &[
        ("text", Text),
        ("inline_data", One(&BLOB)),
        ("file_data", One(&FILE_DATA)),
        ("function_call", One(&FUNCTION_CALL)),
        ("function_response", One(&FUNCTION_RESPONSE)),
        ("executable_code", One(&EXECUTABLE_CODE)),
        ("code_execution_result", One(&CODE_EXECUTION_RESULT)),
        ("tool_call", Struct),
        ("tool_response", Struct),
        ("video_metadata", One(&VIDEO_METADATA)),
        ("media_resolution", One(&MEDIA_RESOLUTION)),
        ("thought", Flag),
        ("thought_signature", Bytes),
        ("part_metadata", Struct),
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
            "tool_call",
            "tool_response",
        ],
    )),
};

message!(BLOB, "Blob",
    "mime_type": Text,
    "data": Bytes,
);

message!(FILE_DATA, "FileData",
    "mime_type": Text,
    "file_uri": Text,
);

message!(FUNCTION_CALL, "FunctionCall",
    "id": Text,
    "name": Text,
    "args": Struct,
);

message!(FUNCTION_RESPONSE, "FunctionResponse",
    "id": Text,
    "name": Text,
    "response": Struct,
    "parts": Many(&FUNCTION_RESPONSE_PART),
    "will_continue": Flag,
    "scheduling": Choice(&enums::SCHEDULING),
);

message!(FUNCTION_RESPONSE_PART, "FunctionResponsePart",
    "inline_data": One(&BLOB),
);

message!(EXECUTABLE_CODE, "ExecutableCode",
    "id": Text,
    "language": Choice(&enums::LANGUAGE),
    "code": Text,
);

message!(CODE_EXECUTION_RESULT, "CodeExecutionResult",
    "id": Text,
    "outcome": Choice(&enums::OUTCOME),
    "output": Text,
);

message!(VIDEO_METADATA, "VideoMetadata",
    "start_offset": Text,
    "end_offset": Text,
    "fps": Number,
);

message!(MEDIA_RESOLUTION, "Part.MediaResolution",
    "level": Choice(&enums::MEDIA_RESOLUTION),
    "num_tokens": Number,
);
