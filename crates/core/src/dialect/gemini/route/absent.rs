//! Methods and collections of Google's APIs that Code Assist has not.

/// The collection of the public API that a segment names, such as `files` or `files:register`.
pub(super) fn absent_collection(segment: &str) -> Option<&'static str> {
    match segment.split(':').next() {
        // `ws/google.ai….BidiGenerateContent`: the Live API's socket.
        Some("ws") => Some("bidiGenerateContent"),
        name => ABSENT_COLLECTIONS.into_iter().find(|&collection| Some(collection) == name),
    }
}

/// Methods on models that the public APIs (Gemini, the older PaLM, Vertex) have and Code Assist has
/// not. They are not offered with any HTTP method.
pub(super) const ABSENT_METHODS: [&str; 17] = [
    "asyncBatchEmbedContent",
    "batchEmbedContents",
    "batchEmbedText",
    "batchGenerateContent",
    "bidiGenerateContent",
    "computeTokens",
    "countMessageTokens",
    "countTextTokens",
    "embedContent",
    "embedText",
    "generateAnswer",
    "generateMessage",
    "generateText",
    "predict",
    "predictLongRunning",
    "rawPredict",
    "streamRawPredict",
];

/// Collections of the public API that Code Assist has not (`docs/API.md`).
pub(super) const ABSENT_COLLECTIONS: [&str; 16] = [
    "agents",
    "auth_tokens",
    "batches",
    "cachedContents",
    "corpora",
    "download",
    "dynamic",
    "fileSearchStores",
    "files",
    "generatedFiles",
    "interactions",
    "media",
    "openai",
    "ragStores",
    "tunedModels",
    "upload",
];
