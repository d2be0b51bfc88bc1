//! The calls of the Gemini API: their paths, and their names in the log and in errors.

mod path;

/// A call of the Gemini API, and the version of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeminiCall {
    pub(crate) version: &'static str,
    pub(crate) kind: CallKind,
}

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    CreateAuthToken,
    DownloadFile(String),
    Interaction(InteractionCall),
    /// The Live WebSocket. Only the constrained one takes ephemeral tokens.
    Live {
        constrained: bool,
    },
    Model(String, ModelMethod),
    OpenAi(OpenAiCall),
    Operation(String),
    RegisterFiles,
    Resource(Collection, ResourceCall),
    Upload(UploadTarget),
}

/// A method of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelMethod {
    AsyncBatchEmbedContent,
    BatchEmbedContents,
    BatchGenerateContent,
    CountTokens,
    EmbedContent,
    GenerateContent,
    Predict,
    PredictLongRunning,
    StreamGenerateContent,
}

/// A call of the Interactions API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InteractionCall {
    Cancel(String),
    Create,
    Delete(String),
    Get(String),
}

/// A call of the endpoint that is compatible with OpenAI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenAiCall {
    Chat,
    Embeddings,
    Model(String),
    Models,
}

/// A collection of named resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    Batches,
    CachedContents,
    FileSearchStores,
    Files,
    Models,
    TunedModels,
    Webhooks,
}

/// A call on a collection or on one of its resources, whose full name it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResourceCall {
    Cancel(String),
    Create,
    Delete(String),
    Get(String),
    List,
    Update(String),
}

/// Where an uploaded file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UploadTarget {
    Files,
    /// The name of a file search store.
    Store(String),
}

impl GeminiCall {
    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> String {
        match &self.kind {
            CallKind::CreateAuthToken => "authTokens.create".to_owned(),
            CallKind::DownloadFile(_) => "files.download".to_owned(),
            CallKind::Interaction(call) => format!("interactions.{}", call.name()),
            CallKind::Live { .. } => "live".to_owned(),
            CallKind::Model(_, method) => method.name().to_owned(),
            CallKind::OpenAi(call) => format!("openai.{}", call.name()),
            CallKind::Operation(_) => "operations.get".to_owned(),
            CallKind::RegisterFiles => "files.register".to_owned(),
            CallKind::Resource(collection, call) => {
                format!("{}.{}", collection.name(), call.name())
            }
            CallKind::Upload(_) => "upload".to_owned(),
        }
    }

    /// The full name of the method, as errors have it.
    pub(crate) fn method(&self) -> String {
        let method = match &self.kind {
            CallKind::Model(_, ModelMethod::Predict | ModelMethod::PredictLongRunning) => {
                format!("PredictionService.{}", capitalized(&self.name()))
            }
            CallKind::Model(..) => format!("GenerativeService.{}", capitalized(&self.name())),
            CallKind::Live { .. } => "GenerativeService.BidiGenerateContent".to_owned(),
            CallKind::OpenAi(_) => "OpenAiService.Call".to_owned(),
            CallKind::Upload(_) => "FileService.CreateFile".to_owned(),
            CallKind::DownloadFile(_) => "FileService.DownloadFile".to_owned(),
            CallKind::RegisterFiles => "FileService.RegisterFiles".to_owned(),
            CallKind::CreateAuthToken => "AuthTokenService.CreateToken".to_owned(),
            CallKind::Operation(_) => "Operations.GetOperation".to_owned(),
            CallKind::Interaction(call) => {
                format!("InteractionsService.{}Interaction", capitalized(call.name()))
            }
            CallKind::Resource(collection, call) => {
                let (service, one, many) = collection.service();
                let noun = if *call == ResourceCall::List { many } else { one };
                format!("{service}.{}{noun}", capitalized(call.name()))
            }
        };
        format!("google.ai.generativelanguage.{}.{method}", self.version)
    }

    /// The model that the path names.
    pub(crate) fn model(&self) -> Option<&str> {
        match &self.kind {
            CallKind::Model(model, _) => Some(model),
            _ => None,
        }
    }

    pub(crate) fn streams(&self) -> bool {
        matches!(self.kind, CallKind::Model(_, ModelMethod::StreamGenerateContent))
    }

    /// The query parameters that only this call has.
    pub(super) fn own_parameters(&self) -> &'static [&'static str] {
        match &self.kind {
            CallKind::Resource(_, ResourceCall::List) => &[
                "pageSize",
                "pageToken",
                "page_size",
                "page_token",
                "filter",
                "returnPartialSuccess",
            ],
            CallKind::Resource(_, ResourceCall::Update(_)) => &["updateMask", "update_mask"],
            CallKind::Resource(_, ResourceCall::Delete(_)) => &["force"],
            CallKind::Upload(_) => &["upload_id"],
            CallKind::Interaction(_) => &["stream", "last_event_id", "include_input"],
            _ => &[],
        }
    }
}

impl ModelMethod {
    pub(super) fn of(name: &str) -> Option<Self> {
        [
            Self::AsyncBatchEmbedContent,
            Self::BatchEmbedContents,
            Self::BatchGenerateContent,
            Self::CountTokens,
            Self::EmbedContent,
            Self::GenerateContent,
            Self::Predict,
            Self::PredictLongRunning,
            Self::StreamGenerateContent,
        ]
        .into_iter()
        .find(|method| method.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AsyncBatchEmbedContent => "asyncBatchEmbedContent",
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::BatchGenerateContent => "batchGenerateContent",
            Self::CountTokens => "countTokens",
            Self::EmbedContent => "embedContent",
            Self::GenerateContent => "generateContent",
            Self::Predict => "predict",
            Self::PredictLongRunning => "predictLongRunning",
            Self::StreamGenerateContent => "streamGenerateContent",
        }
    }
}

impl InteractionCall {
    fn name(&self) -> &'static str {
        match self {
            Self::Cancel(_) => "cancel",
            Self::Create => "create",
            Self::Delete(_) => "delete",
            Self::Get(_) => "get",
        }
    }
}

impl OpenAiCall {
    fn name(&self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Model(_) => "model",
            Self::Models => "models",
        }
    }
}

impl Collection {
    const ALL: [Self; 7] = [
        Self::Batches,
        Self::CachedContents,
        Self::FileSearchStores,
        Self::Files,
        Self::Models,
        Self::TunedModels,
        Self::Webhooks,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::CachedContents => "cachedContents",
            Self::FileSearchStores => "fileSearchStores",
            Self::Files => "files",
            Self::Models => "models",
            Self::TunedModels => "tunedModels",
            Self::Webhooks => "webhooks",
        }
    }

    /// The service, and the words for one and for many of its resources.
    fn service(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Batches => ("BatchService", "Batch", "Batches"),
            Self::CachedContents => ("CacheService", "CachedContent", "CachedContents"),
            Self::FileSearchStores => ("FileSearchService", "FileSearchStore", "FileSearchStores"),
            Self::Files => ("FileService", "File", "Files"),
            Self::Models => ("ModelService", "Model", "Models"),
            Self::TunedModels => ("ModelService", "TunedModel", "TunedModels"),
            Self::Webhooks => ("WebhookService", "Webhook", "Webhooks"),
        }
    }

    /// Whether the collection has such a call.
    fn offers(self, call: &ResourceCall) -> bool {
        match call {
            ResourceCall::List => true,
            ResourceCall::Get(_) => true,
            ResourceCall::Create => {
                matches!(self, Self::CachedContents | Self::FileSearchStores | Self::Webhooks)
            }
            ResourceCall::Delete(_) => !matches!(self, Self::Models | Self::TunedModels),
            ResourceCall::Cancel(_) => self == Self::Batches,
            ResourceCall::Update(_) => matches!(self, Self::CachedContents | Self::Webhooks),
        }
    }
}

impl ResourceCall {
    fn name(&self) -> &'static str {
        match self {
            Self::Cancel(_) => "cancel",
            Self::Create => "create",
            Self::Delete(_) => "delete",
            Self::Get(_) => "get",
            Self::List => "list",
            Self::Update(_) => "update",
        }
    }
}

fn capitalized(name: &str) -> String {
    let mut name = name.to_owned();
    name[..1].make_ascii_uppercase();
    name
}
