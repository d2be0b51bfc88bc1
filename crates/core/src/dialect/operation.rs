//! The operations of requests, in any dialect.

/// What a request does, in any dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Embeds several contents.
    BatchEmbed,
    /// A request that is copied to the Gemini API and back.
    Copy(CopiedKind),
    /// Counts the tokens of a request.
    CountTokens,
    /// Embeds one content.
    Embed,
    /// Generates an answer that comes whole.
    Generate,
    /// Describes one model.
    GetModel,
    /// `GET /api/hello` of Anthropic's clients.
    Hello,
    /// `GET /health`.
    Health,
    /// `GET /health/detailed`.
    HealthDetailed,
    /// Lists the models.
    ListModels,
    /// `GET /live`.
    Live,
    /// `GET /metrics`.
    Metrics,
    /// `OPTIONS` on any path.
    Options,
    /// A method of the provider's own protocol, passed through.
    PassThrough,
    /// `GET /ready`.
    Ready,
    /// `GET /`.
    Root,
    /// Generates an answer that comes as a stream of events.
    Stream,
    /// `GET /usage`.
    Usage,
    /// A method or resource of Vertex AI that is copied.
    VertexResource,
}

impl Operation {
    /// The name in logs and metrics. It is the Gemini API's name where there is one.
    pub fn label(self) -> &'static str {
        match self {
            Self::BatchEmbed => "batchEmbedContents",
            Self::Copy(kind) => kind.label(),
            Self::CountTokens => "countTokens",
            Self::Embed => "embedContent",
            Self::Generate => "generateContent",
            Self::GetModel => "models.get",
            Self::Hello => "hello",
            Self::Health => "health",
            Self::HealthDetailed => "health/detailed",
            Self::ListModels => "models.list",
            Self::Live => "live",
            Self::Metrics => "metrics",
            Self::Options => "options",
            Self::PassThrough => "v1internal",
            Self::Ready => "ready",
            Self::Root => "root",
            Self::Stream => "streamGenerateContent",
            Self::Usage => "usage",
            Self::VertexResource => "vertex",
        }
    }

    /// True if answering may need upstream. False for requests about the proxy itself.
    pub fn asks_upstream(self) -> bool {
        match self {
            Self::BatchEmbed
            | Self::Copy(_)
            | Self::CountTokens
            | Self::Embed
            | Self::Generate
            | Self::GetModel
            | Self::ListModels
            | Self::PassThrough
            | Self::Stream
            | Self::VertexResource => true,
            Self::Health
            | Self::HealthDetailed
            | Self::Hello
            | Self::Live
            | Self::Metrics
            | Self::Options
            | Self::Ready
            | Self::Root
            | Self::Usage => false,
        }
    }

    /// True if the request asks a model for something.
    pub fn asks_model(self) -> bool {
        match self {
            Self::BatchEmbed
            | Self::CountTokens
            | Self::Embed
            | Self::Generate
            | Self::PassThrough
            | Self::Stream
            | Self::VertexResource => true,
            Self::Copy(kind) => matches!(
                kind,
                CopiedKind::Batches
                    | CopiedKind::Interactions
                    | CopiedKind::LiveSocket
                    | CopiedKind::OpenAi
                    | CopiedKind::Other
                    | CopiedKind::Predict
            ),
            _ => false,
        }
    }

    /// True if the request is answered while the proxy stops.
    pub fn is_answered_while_stopping(self) -> bool {
        matches!(self, Self::Health | Self::Live | Self::Ready)
    }

    /// True when a client must send a key, if keys are set (`docs/ACCESS.md`).
    pub fn needs_key(self) -> bool {
        !matches!(
            self,
            Self::Root | Self::Health | Self::Hello | Self::Live | Self::Options | Self::Ready
        )
    }
}

/// What a copied request concerns, as far as logs and metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopiedKind {
    /// `batches`, and the methods that create them.
    Batches,
    /// `cachedContents`.
    CachedContents,
    /// `files`, and downloads.
    Files,
    /// `fileSearchStores`.
    FileSearchStores,
    /// `interactions`.
    Interactions,
    /// A WebSocket of the Live API.
    LiveSocket,
    /// Google's endpoint for clients of OpenAI's API.
    OpenAi,
    /// `operations`, of any resource.
    Operations,
    /// Any other path.
    Other,
    /// `:predict` and `:predictLongRunning`: images and videos.
    Predict,
    /// `upload`.
    Upload,
}

impl CopiedKind {
    /// The name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::CachedContents => "cachedContents",
            Self::Files => "files",
            Self::FileSearchStores => "fileSearchStores",
            Self::Interactions => "interactions",
            Self::LiveSocket => "bidiGenerateContent",
            Self::OpenAi => "openai",
            Self::Operations => "operations",
            Self::Other => "copied",
            Self::Predict => "predict",
            Self::Upload => "upload",
        }
    }
}

/// The operations that send a body to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelCall {
    /// The answer comes as a stream of events.
    Stream,
    /// The answer comes whole.
    Whole(WholeCall),
}

/// The operations that send a body to a model and get a whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeCall {
    /// Embeds several contents.
    BatchEmbed,
    /// Counts the tokens of a request.
    CountTokens,
    /// Embeds one content.
    Embed,
    /// Generates an answer.
    Generate,
}
