//! The enums of the Gemini API. The numbers of some differ from those of Vertex AI.

use crate::proto::fields::EnumSpec;

macro_rules! choices {
    ($id:ident, $name:literal, $any_case:literal, $($value:literal),* $(,)?) => {
        pub(super) static $id: EnumSpec = EnumSpec {
            name: concat!("google.ai.generativelanguage.v1beta.", $name),
            values: &[$($value),*],
            any_case: $any_case,
        };
    };
}

// 1 to 6 are those of PaLM models.
choices!(
    HARM_CATEGORY,
    "HarmCategory",
    false,
    "HARM_CATEGORY_UNSPECIFIED",
    "HARM_CATEGORY_DEROGATORY",
    "HARM_CATEGORY_TOXICITY",
    "HARM_CATEGORY_VIOLENCE",
    "HARM_CATEGORY_SEXUAL",
    "HARM_CATEGORY_MEDICAL",
    "HARM_CATEGORY_DANGEROUS",
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
);

choices!(
    THRESHOLD,
    "SafetySetting.HarmBlockThreshold",
    false,
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
);

choices!(SERVICE_TIER, "ServiceTier", false, "unspecified", "standard", "flex", "priority");

choices!(
    MODALITY,
    "GenerationConfig.Modality",
    true,
    "MODALITY_UNSPECIFIED",
    "TEXT",
    "IMAGE",
    "AUDIO",
);

choices!(
    MEDIA_RESOLUTION,
    "GenerationConfig.MediaResolution",
    false,
    "MEDIA_RESOLUTION_UNSPECIFIED",
    "MEDIA_RESOLUTION_LOW",
    "MEDIA_RESOLUTION_MEDIUM",
    "MEDIA_RESOLUTION_HIGH",
    "MEDIA_RESOLUTION_ULTRA_HIGH",
);

choices!(
    THINKING_LEVEL,
    "ThinkingConfig.ThinkingLevel",
    true,
    "THINKING_LEVEL_UNSPECIFIED",
    "LOW",
    "HIGH",
    "MEDIUM",
    "MINIMAL",
);

choices!(
    CALLING_MODE,
    "FunctionCallingConfig.Mode",
    true,
    "MODE_UNSPECIFIED",
    "AUTO",
    "ANY",
    "NONE",
    "VALIDATED",
);

choices!(
    BEHAVIOR,
    "FunctionDeclaration.Behavior",
    false,
    "UNSPECIFIED",
    "BLOCKING",
    "NON_BLOCKING",
);

choices!(
    SCHEDULING,
    "FunctionResponse.Scheduling",
    false,
    "SCHEDULING_UNSPECIFIED",
    "SILENT",
    "WHEN_IDLE",
    "INTERRUPT",
);

choices!(LANGUAGE, "ExecutableCode.Language", true, "LANGUAGE_UNSPECIFIED", "PYTHON");

choices!(
    OUTCOME,
    "CodeExecutionResult.Outcome",
    false,
    "OUTCOME_UNSPECIFIED",
    "OUTCOME_OK",
    "OUTCOME_FAILED",
    "OUTCOME_DEADLINE_EXCEEDED",
);

choices!(
    TASK_TYPE,
    "TaskType",
    false,
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
);

choices!(
    TYPE,
    "Type",
    true,
    "TYPE_UNSPECIFIED",
    "STRING",
    "NUMBER",
    "INTEGER",
    "BOOLEAN",
    "ARRAY",
    "OBJECT",
    "NULL",
);
