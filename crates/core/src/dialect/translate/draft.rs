//! A request to a Gemini model as a reader of another dialect has found it: the client's own pieces in
//! the client's order. [`super::request`] writes it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::text::Text;

/// A request that is read, and not yet written for Gemini.
#[derive(Debug, Default)]
pub struct DraftRequest<'a> {
    /// The parts of the system instruction.
    pub system: Vec<Text<'a>>,
    /// The conversation.
    pub pieces: Vec<Piece<'a>>,
    /// The tools, in the client's order.
    pub tools: Vec<Tool<'a>>,
    /// Which tool the model must or may call.
    pub choice: ToolChoice<'a>,
    /// What becomes `generationConfig`.
    pub config: DraftConfig<'a>,
    /// `cachedContent`, as it is written.
    pub cached_content: Option<&'a RawValue>,
    /// `safetySettings`, as they are written.
    pub safety_settings: Option<&'a RawValue>,
    /// The paths of fields that are left out, as the client knows them.
    pub dropped: Vec<String>,
}

/// A piece of a conversation. Neighbours of one side become one content.
#[derive(Debug)]
pub enum Piece<'a> {
    /// An instruction that comes after the first message.
    System(Text<'a>),
    /// A text of the user's.
    UserText(Text<'a>),
    /// An image, a document or a recording of the user's.
    UserMedia(Media<'a>),
    /// A text of the model's.
    ModelText {
        /// The text.
        text: Text<'a>,
        /// Its signature, raw.
        signature: Option<Cow<'a, str>>,
    },
    /// An image of the model's.
    ModelMedia(Media<'a>),
    /// A call of a tool.
    Call(Call<'a>),
    /// The result of a call.
    Result(ToolResult<'a>),
    /// A signature in the form of [`super::signatures`], for the next part of the model's.
    Signature(Cow<'a, str>),
    /// The side of what follows, where nothing else shows it: an empty message of the user's.
    EndOfModel,
}

/// A call of a tool in a conversation.
#[derive(Debug)]
pub struct Call<'a> {
    /// The client's id of the call.
    pub id: Cow<'a, str>,
    /// The tool's name, as the client writes it.
    pub name: ClientToolName<'a>,
    /// The arguments: exactly one JSON object.
    pub args: Cow<'a, str>,
    /// The call's signature, raw.
    pub signature: Option<Cow<'a, str>>,
}

/// The result of a call in a conversation.
#[derive(Debug)]
pub struct ToolResult<'a> {
    /// The id of the call; empty where the dialect has none (legacy functions).
    pub id: Cow<'a, str>,
    /// The tool's name, where the dialect gives it with the result.
    pub name: Option<Cow<'a, str>>,
    /// The texts, which are joined with line breaks.
    pub texts: Vec<Text<'a>>,
    /// Images and documents.
    pub media: Vec<Media<'a>>,
    /// The tool has failed.
    pub is_error: bool,
}

/// A tool's name, with the namespace that the Responses API may give it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientToolName<'a> {
    /// The namespace.
    pub namespace: Option<Cow<'a, str>>,
    /// The name.
    pub name: Cow<'a, str>,
}

impl ClientToolName<'_> {
    /// A copy that does not borrow from the request.
    pub fn to_owned_name(&self) -> ClientToolName<'static> {
        let own = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
        ClientToolName { namespace: self.namespace.as_ref().map(own), name: own(&self.name) }
    }
}

/// Data beside texts.
#[derive(Debug, Clone)]
pub enum Media<'a> {
    /// `inlineData`.
    Inline {
        /// The MIME type.
        mime: Cow<'a, str>,
        /// Base64 in the standard alphabet, which needs no escapes in JSON.
        data: Cow<'a, str>,
        /// `mediaResolution.level`, for Gemini 3 and later.
        resolution: Option<&'static str>,
    },
    /// `fileData`, which Google reads.
    File {
        /// The MIME type.
        mime: Cow<'a, str>,
        /// The URI.
        uri: Cow<'a, str>,
    },
}

/// A tool that the client offers to the model.
#[derive(Debug)]
pub enum Tool<'a> {
    /// A function.
    Function(FunctionTool<'a>),
    /// A tool that Google runs.
    Google {
        /// Which one.
        kind: GoogleTool,
        /// Its path in the client's request, for the header that names what is left out.
        path: String,
        /// The tool's own options, where the client has written Gemini's own form.
        options: Option<&'a RawValue>,
    },
}

/// A function that the client runs.
#[derive(Debug)]
pub struct FunctionTool<'a> {
    /// Its name.
    pub name: ClientToolName<'a>,
    /// What it does.
    pub description: Option<Text<'a>>,
    /// The JSON schema of its arguments, as it is written. `None` for a function without arguments.
    pub schema: Option<&'a RawValue>,
    /// The arguments must match the schema.
    pub strict: bool,
    /// The function takes one text, as `custom` tools of OpenAI do.
    pub takes_text: bool,
}

/// A tool that Google runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoogleTool {
    /// `googleSearch`.
    Search,
    /// `codeExecution`.
    CodeExecution,
    /// `urlContext`.
    UrlContext,
}

/// Which tool the model must or may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// One of these, with the path of the choice for errors.
    Named {
        /// The names.
        names: Vec<ClientToolName<'a>>,
        /// The path in the client's request.
        path: &'static str,
    },
    /// The model decides, among these only. A tool that Google runs goes by the type that the client
    /// gives it, such as `web_search`.
    Among(Vec<ClientToolName<'a>>),
}

/// What becomes `generationConfig`. Numbers keep their digits.
#[derive(Debug, Default)]
pub struct DraftConfig<'a> {
    /// `maxOutputTokens`, before it is limited to what the model has.
    pub max_output_tokens: Option<u64>,
    /// `temperature`.
    pub temperature: Option<&'a RawValue>,
    /// `topP`.
    pub top_p: Option<&'a RawValue>,
    /// `topK`.
    pub top_k: Option<&'a RawValue>,
    /// `stopSequences`; at most the first five that are not empty are sent.
    pub stop: Vec<Text<'a>>,
    /// `candidateCount`, if it is not one.
    pub candidates: Option<u8>,
    /// `seed`.
    pub seed: Option<i64>,
    /// `presencePenalty`.
    pub presence_penalty: Option<&'a RawValue>,
    /// `frequencyPenalty`.
    pub frequency_penalty: Option<&'a RawValue>,
    /// `responseLogprobs` and `logprobs`.
    pub logprobs: Option<u8>,
    /// What the answer's text must be.
    pub format: AnswerFormat<'a>,
    /// `thinkingConfig`.
    pub thinking: Thinking<'a>,
    /// `responseModalities` has an image too.
    pub wants_image: bool,
    /// `imageConfig`, in Gemini's own spelling: (`aspectRatio`, `imageSize`).
    pub image_config: Option<(Option<&'a RawValue>, Option<&'a RawValue>)>,
    /// How the client's dialect names what may be left out.
    pub paths: FieldPaths,
}

/// The paths of fields in a dialect, for the header that names what is left out.
#[derive(Debug, Clone, Copy)]
pub struct FieldPaths {
    /// The stop sequences.
    pub stop: &'static str,
    /// The form of the answer's text.
    pub format: &'static str,
    /// The conversation.
    pub input: &'static str,
}

impl FieldPaths {
    /// OpenAI's Chat Completions.
    pub const CHAT: Self = Self { stop: "stop", format: "response_format", input: "messages" };
    /// OpenAI's Responses.
    pub const RESPONSES: Self = Self { stop: "stop", format: "text.format", input: "input" };
    /// Anthropic's Messages.
    pub const MESSAGES: Self =
        Self { stop: "stop_sequences", format: "output_config.format", input: "messages" };
}

impl Default for FieldPaths {
    fn default() -> Self {
        Self::CHAT
    }
}

/// What the answer's text must be.
#[derive(Debug, Default)]
pub enum AnswerFormat<'a> {
    /// Any text.
    #[default]
    Text,
    /// JSON.
    Json,
    /// JSON of this schema. The path is the client's, for the header that names what is left out.
    Schema(&'a RawValue, &'static str),
}

/// How the model thinks.
#[derive(Debug, Default, Clone, PartialEq)]
pub enum Thinking<'a> {
    /// As it does without any setting.
    #[default]
    Unset,
    /// An effort, by name: see [`super::effort`].
    Effort {
        /// The effort.
        effort: super::effort::Effort,
        /// The answer shows summaries of the thoughts.
        shows: bool,
    },
    /// A budget of tokens.
    Budget {
        /// The budget; -1 lets the model decide.
        tokens: i64,
        /// The answer shows summaries of the thoughts.
        shows: bool,
    },
    /// The model decides, and the answer shows summaries of the thoughts.
    Shown,
    /// Gemini's own `thinkingConfig`, as it is written.
    Written(Cow<'a, str>),
}
