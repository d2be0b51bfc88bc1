//! The calls of the Gemini API: their paths, and their names in the log and in errors.

use http::Method;
use percent_encoding::percent_decode_str;

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
    /// The call of a path, if the HTTP method fits.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let path = percent_decode_str(path).decode_utf8().ok()?;
        if let Some(rest) = path.trim_start_matches('/').strip_prefix("ws/") {
            return (method == Method::GET).then(|| live(rest)).flatten();
        }
        if let Some(rest) = path.strip_prefix("/upload/") {
            let (version, rest) = versioned(rest)?;
            return is_write(method)
                .then(|| upload(rest))
                .flatten()
                .map(|target| Self { version, kind: CallKind::Upload(target) });
        }
        let (version, rest) = versioned(path.strip_prefix('/')?)?;
        if let Some(rest) = rest.strip_prefix("openai/") {
            let kind = CallKind::OpenAi(openai(method, rest)?);
            return (version == "v1beta").then_some(Self { version, kind });
        }
        Some(Self { version, kind: native(method, rest)? })
    }

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
                let (service, noun) = collection.service();
                let plural = if *call == ResourceCall::List { "s" } else { "" };
                format!("{service}.{}{noun}{plural}", capitalized(call.name()))
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
    fn of(name: &str) -> Option<Self> {
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

    fn service(self) -> (&'static str, &'static str) {
        match self {
            Self::Batches => ("BatchService", "Batche"),
            Self::CachedContents => ("CacheService", "CachedContent"),
            Self::FileSearchStores => ("FileSearchService", "FileSearchStore"),
            Self::Files => ("FileService", "File"),
            Self::Models => ("ModelService", "Model"),
            Self::TunedModels => ("ModelService", "TunedModel"),
            Self::Webhooks => ("WebhookService", "Webhook"),
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

fn native(method: &Method, rest: &str) -> Option<CallKind> {
    let is_post = method == Method::POST;
    let is_get = method == Method::GET;
    if rest == "auth_tokens" {
        return is_post.then_some(CallKind::CreateAuthToken);
    }
    if rest == "files:register" {
        return is_post.then_some(CallKind::RegisterFiles);
    }
    if rest == "interactions/live" {
        return is_get.then_some(CallKind::Live { constrained: false });
    }
    if let Some(rest) = rest.strip_prefix("interactions") {
        return interaction(method, rest).map(CallKind::Interaction);
    }
    if is_get && (rest.starts_with("operations/") || rest.contains("/operations/")) {
        return Some(CallKind::Operation(rest.to_owned()));
    }
    if let Some(id) = rest.strip_prefix("files/").and_then(|rest| rest.strip_suffix(":download")) {
        return is_get.then(|| CallKind::DownloadFile(format!("files/{id}")));
    }
    if let Some((name, verb)) = rest.split_once(':')
        && let Some(model) = name
            .strip_prefix("models/")
            .or_else(|| name.starts_with("tunedModels/").then_some(name))
    {
        let model_method = ModelMethod::of(verb)?;
        return is_post.then(|| CallKind::Model(model.to_owned(), model_method));
    }
    let name = rest.split('/').next()?;
    let collection = Collection::ALL.into_iter().find(|collection| collection.name() == name)?;
    let call = match (method.as_str(), rest.strip_prefix(name)?) {
        ("GET", "") => ResourceCall::List,
        ("POST", "") => ResourceCall::Create,
        ("POST", id) => ResourceCall::Cancel(format!("{name}{}", id.strip_suffix(":cancel")?)),
        ("GET", _) => ResourceCall::Get(rest.to_owned()),
        ("DELETE", id) if !id.is_empty() => ResourceCall::Delete(rest.to_owned()),
        ("PATCH", id) if !id.is_empty() => ResourceCall::Update(rest.to_owned()),
        _ => return None,
    };
    collection.offers(&call).then_some(CallKind::Resource(collection, call))
}

fn interaction(method: &Method, rest: &str) -> Option<InteractionCall> {
    if rest.is_empty() {
        return (method == Method::POST).then_some(InteractionCall::Create);
    }
    let id = rest.strip_prefix('/')?;
    match (method.as_str(), id.strip_suffix("/cancel")) {
        ("POST", Some(id)) => Some(InteractionCall::Cancel(id.to_owned())),
        ("GET", None) => Some(InteractionCall::Get(id.to_owned())),
        ("DELETE", None) => Some(InteractionCall::Delete(id.to_owned())),
        _ => None,
    }
}

fn openai(method: &Method, rest: &str) -> Option<OpenAiCall> {
    match (method.as_str(), rest) {
        ("POST", "chat/completions") => Some(OpenAiCall::Chat),
        ("POST", "embeddings") => Some(OpenAiCall::Embeddings),
        ("GET", "models") => Some(OpenAiCall::Models),
        ("GET", model) => {
            // The ids of the list begin with `models/`; short ones are taken too.
            let id = model.strip_prefix("models/")?;
            Some(OpenAiCall::Model(id.strip_prefix("models/").unwrap_or(id).to_owned()))
        }
        _ => None,
    }
}

fn upload(rest: &str) -> Option<UploadTarget> {
    if rest == "files" {
        return Some(UploadTarget::Files);
    }
    let store = rest.strip_suffix(":uploadToFileSearchStore")?;
    store.starts_with("fileSearchStores/").then(|| UploadTarget::Store(store.to_owned()))
}

/// The Live call of `google.ai.generativelanguage.{version}.GenerativeService.{method}`.
fn live(rest: &str) -> Option<GeminiCall> {
    let rest = rest.strip_prefix("google.ai.generativelanguage.")?;
    let (version, method) = rest.split_once(".GenerativeService.")?;
    let constrained = match method {
        "BidiGenerateContent" => false,
        "BidiGenerateContentConstrained" => true,
        _ => return None,
    };
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    Some(GeminiCall { version, kind: CallKind::Live { constrained } })
}

fn versioned(path: &str) -> Option<(&'static str, &str)> {
    let (version, rest) = path.split_once('/')?;
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    Some((version, rest))
}

fn is_write(method: &Method) -> bool {
    method == Method::POST || method == Method::PUT
}

fn capitalized(name: &str) -> String {
    let mut name = name.to_owned();
    name[..1].make_ascii_uppercase();
    name
}

const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, path: &str) -> Option<String> {
        GeminiCall::of(&method.parse().unwrap(), path).map(|call| call.name())
    }

    #[test]
    fn a_path_names_a_call() {
        for (method, path, wanted) in [
            ("POST", "/v1/models/gemini-2.5-flash:generateContent", "generateContent"),
            ("POST", "/v1beta/models/x%3AcountTokens", "countTokens"),
            ("GET", "/v1alpha/models", "models.list"),
            ("GET", "/v1beta/models/x/operations/1", "operations.get"),
            ("GET", "/v1beta/files/x:download", "files.download"),
            ("POST", "/upload/v1/files", "upload"),
            ("POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", "upload"),
            ("PATCH", "/v1beta/cachedContents/x", "cachedContents.update"),
            ("POST", "/v1beta/batches/x:cancel", "batches.cancel"),
            ("POST", "/v1/interactions/x/cancel", "interactions.cancel"),
            ("POST", "/v1beta/openai/chat/completions", "openai.chat"),
            (
                "GET",
                "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
                "live",
            ),
        ] {
            assert_eq!(name(method, path).as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn unknown_versions_methods_and_paths_are_no_call() {
        for (method, path) in [
            ("POST", "/v2/models/x:generateContent"),
            ("POST", "/models/x:generateContent"),
            ("GET", "/v1beta/models/x:generateContent"),
            ("POST", "/v1beta/models/x:generateAnything"),
            ("POST", "/v1beta/models"),
            ("DELETE", "/v1beta/files"),
            ("POST", "/v1/openai/chat/completions"),
        ] {
            assert_eq!(name(method, path), None, "{path}");
        }
    }

    #[test]
    fn an_error_names_the_method_of_the_path_version() {
        let call = GeminiCall::of(&Method::POST, "/v1/models/x:generateContent").unwrap();
        assert_eq!(
            call.method(),
            "google.ai.generativelanguage.v1.GenerativeService.GenerateContent"
        );
    }
}
