//! The calls of Vertex AI: their paths and names.

use http::Method;
use percent_encoding::percent_decode_str;

/// A call of Vertex AI, as its path has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VertexCall {
    pub(super) version: ApiVersion,
    pub(super) place: Place,
    pub(super) target: Target,
}

/// A version of the API. Their messages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    V1,
    V1Beta1,
}

/// What stands before the resource in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No project: the express form, and the catalogue.
    Express,
    Project {
        project: String,
        location: String,
    },
}

/// The resource and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Cache(CacheCall, String),
    Caches(CacheCall),
    Catalogue(Option<String>),
    ChatCompletions,
    Model(String, ModelMethod),
}

/// A method of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelMethod {
    CountTokens,
    EmbedContent,
    FetchPredictOperation,
    GenerateContent,
    Predict,
    PredictLongRunning,
    StreamGenerateContent,
}

/// What is done with cached content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheCall {
    Create,
    Delete,
    Get,
    List,
    Update,
}

impl VertexCall {
    /// The call of a path, if the HTTP method fits.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<String> = path
            .strip_prefix('/')?
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
            .collect::<Result<_, _>>()
            .ok()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (version, rest) = match segments.split_first()? {
            (&"v1", rest) => (ApiVersion::V1, rest),
            (&"v1beta1", rest) => (ApiVersion::V1Beta1, rest),
            _ => return None,
        };
        let (place, rest) = match rest {
            ["projects", project, "locations", location, rest @ ..]
                if !project.is_empty() && !location.is_empty() =>
            {
                let (project, location) = ((*project).to_owned(), (*location).to_owned());
                (Place::Project { project, location }, rest)
            }
            rest => (Place::Express, rest),
        };
        let is_express = place == Place::Express;
        let target = match (method.as_str(), rest) {
            ("POST", ["publishers", "google", "models", model]) => {
                let (model, name) = model.rsplit_once(':')?;
                Target::Model(model.to_owned(), ModelMethod::named(name)?)
            }
            // The catalogue is v1beta1 only (docs/reference/upstreams.md 5.2).
            ("GET", ["publishers", "google", "models", rest @ ..])
                if is_express && version == ApiVersion::V1Beta1 && rest.len() < 2 =>
            {
                Target::Catalogue(rest.first().map(|model| (*model).to_owned()))
            }
            ("POST", ["endpoints", "openapi", "chat", "completions"]) if !is_express => {
                Target::ChatCompletions
            }
            ("GET", ["cachedContents"]) if !is_express => Target::Caches(CacheCall::List),
            ("POST", ["cachedContents"]) if !is_express => Target::Caches(CacheCall::Create),
            (method, ["cachedContents", id]) if !is_express && !id.is_empty() => {
                let call = match method {
                    "DELETE" => CacheCall::Delete,
                    "GET" => CacheCall::Get,
                    "PATCH" => CacheCall::Update,
                    _ => return None,
                };
                Target::Cache(call, (*id).to_owned())
            }
            _ => return None,
        };
        Some(Self { version, place, target })
    }

    /// The name in the log, in counts and in rules.
    pub(crate) fn name(&self) -> &'static str {
        match &self.target {
            Target::Cache(call, _) | Target::Caches(call) => match call {
                CacheCall::Create => "createCachedContent",
                CacheCall::Delete => "deleteCachedContent",
                CacheCall::Get => "getCachedContent",
                CacheCall::List => "listCachedContents",
                CacheCall::Update => "updateCachedContent",
            },
            Target::Catalogue(None) => "listPublisherModels",
            Target::Catalogue(Some(_)) => "getPublisherModel",
            Target::ChatCompletions => "chatCompletions",
            Target::Model(_, method) => method.name(),
        }
    }

    /// Whether an error is an array of one.
    pub(crate) fn streams(&self) -> bool {
        matches!(
            self.target,
            Target::ChatCompletions | Target::Model(_, ModelMethod::StreamGenerateContent)
        )
    }

    /// The model of the path, without `models/`.
    pub(crate) fn model(&self) -> Option<&str> {
        match &self.target {
            Target::Catalogue(Some(model)) | Target::Model(model, _) => Some(model),
            Target::Cache(..) | Target::Caches(_) | Target::Catalogue(None) => None,
            Target::ChatCompletions => None,
        }
    }

    /// The name of the place, or of the model in it, as errors have it.
    pub(super) fn resource(&self) -> String {
        let place = match &self.place {
            Place::Express => String::new(),
            Place::Project { project, location } => {
                format!("projects/{project}/locations/{location}")
            }
        };
        match self.model() {
            Some(model) if place.is_empty() => format!("publishers/google/models/{model}"),
            Some(model) => format!("{place}/publishers/google/models/{model}"),
            None => place,
        }
    }

    /// A call of some model.
    pub(super) fn sample() -> Self {
        let model = "gemini-2.5-flash".to_owned();
        Self {
            version: ApiVersion::V1Beta1,
            place: Place::Express,
            target: Target::Model(model, ModelMethod::GenerateContent),
        }
    }

    /// The method as the details of an error name it.
    pub(super) fn method(&self) -> String {
        let (service, name) = match &self.target {
            Target::Cache(..) | Target::Caches(_) => ("GenAiCacheService", self.name()),
            Target::Catalogue(_) => ("ModelGardenService", self.name()),
            Target::ChatCompletions => ("PredictionService", "ChatCompletions"),
            Target::Model(..) => ("PredictionService", self.name()),
        };
        let mut name = name.to_owned();
        name[..1].make_ascii_uppercase();
        format!("google.cloud.aiplatform.{}.{service}.{name}", self.version.name())
    }
}

impl ModelMethod {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "countTokens" => Self::CountTokens,
            "embedContent" => Self::EmbedContent,
            "fetchPredictOperation" => Self::FetchPredictOperation,
            "generateContent" => Self::GenerateContent,
            "predict" => Self::Predict,
            "predictLongRunning" => Self::PredictLongRunning,
            "streamGenerateContent" => Self::StreamGenerateContent,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::CountTokens => "countTokens",
            Self::EmbedContent => "embedContent",
            Self::FetchPredictOperation => "fetchPredictOperation",
            Self::GenerateContent => "generateContent",
            Self::Predict => "predict",
            Self::PredictLongRunning => "predictLongRunning",
            Self::StreamGenerateContent => "streamGenerateContent",
        }
    }

    /// Whether the express form offers it (docs/reference/upstreams.md 1.3).
    pub(super) fn is_express(self) -> bool {
        matches!(self, Self::CountTokens | Self::GenerateContent | Self::StreamGenerateContent)
    }
}

impl ApiVersion {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}
