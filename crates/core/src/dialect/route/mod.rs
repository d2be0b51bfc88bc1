//! The routes of OpenAI's and Anthropic's dialects: HTTP method, path, query and headers
//! (`docs/reference/dialects.md` 1.1).

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::{Dialect, Operation};
use crate::error::{Error, Refusal, RefusalCode};

/// A request in the dialect of OpenAI or Anthropic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectRoute {
    /// Whose dialect it is.
    pub dialect: Dialect,
    /// What the request asks for.
    pub call: DialectCall,
    /// The path is also one of the Gemini API, `/v1beta/openai/…`, under which Google has an endpoint of
    /// OpenAI's dialect itself.
    pub is_google_path: bool,
}

/// What a request in OpenAI's or Anthropic's dialect asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialectCall {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `GET /api/hello`: a client asks whether the server is there. The answer is empty.
    Hello,
    /// `POST /v1/responses/input_tokens`.
    InputTokens,
    /// `POST /v1/messages`.
    Messages,
    /// `GET /v1/models/{name}`.
    Model {
        /// The name as the client wrote it, with its prefixes.
        name: String,
    },
    /// `GET /v1/models`.
    Models(ModelsPage),
    /// The dialect has this path, or could have it, and it is not offered here.
    NotOffered {
        /// The path without its prefixes, or a part of it.
        what: Cow<'static, str>,
        /// The Gemini API has a collection of this name.
        gemini_has_it: bool,
    },
    /// `POST /v1/responses`.
    Responses,
    /// `/v1/responses/{id}…` and `/v1/chat/completions/{id}…`: an answer that was not kept.
    StoredResponse {
        /// The answer's id, shortened.
        id: String,
    },
    /// The path is known, but not with this HTTP method.
    WrongMethod {
        /// The value for `Allow`.
        allow: &'static str,
    },
}

impl DialectRoute {
    /// What the request does. An answer may yet turn out to be wanted as a stream. `None` for a call that is
    /// refused.
    pub(crate) fn operation(&self) -> Option<Operation> {
        Some(match &self.call {
            DialectCall::ChatCompletions
            | DialectCall::Completions
            | DialectCall::Messages
            | DialectCall::Responses => Operation::Generate,
            DialectCall::CountTokens | DialectCall::InputTokens => Operation::CountTokens,
            DialectCall::Embeddings => Operation::BatchEmbed,
            DialectCall::Hello => Operation::Hello,
            DialectCall::Model { .. } => Operation::GetModel,
            DialectCall::Models(_) => Operation::ListModels,
            DialectCall::NotOffered { .. }
            | DialectCall::StoredResponse { .. }
            | DialectCall::WrongMethod { .. } => return None,
        })
    }

    /// True for a path that is Google's own where an upstream has the whole Gemini API.
    pub(crate) fn is_in_gemini_api(&self) -> bool {
        self.is_google_path
            || matches!(self.call, DialectCall::NotOffered { gemini_has_it: true, .. })
    }
}

impl DialectCall {
    /// The field of the request that has the prompt.
    pub(crate) fn prompt_field(&self) -> &'static str {
        match self {
            Self::Completions => "prompt",
            Self::Embeddings | Self::InputTokens | Self::Responses => "input",
            _ => "messages",
        }
    }

    /// The error that is the whole answer to the call, if it is one.
    pub fn error(&self) -> Option<Error> {
        match self {
            Self::NotOffered { what, .. } => {
                let message = format!(
                    "{what} is not offered here. Of OpenAI's API this proxy has chat/completions, \
                     responses, completions, embeddings and models, of Anthropic's API messages, \
                     messages/count_tokens and models."
                );
                Some(Refusal::error(RefusalCode::UnsupportedEndpoint, "", message))
            }
            Self::StoredResponse { id } => {
                let message = format!("Response with id '{id}' not found.");
                Some(Refusal::error(RefusalCode::ResponseNotFound, "", message))
            }
            Self::WrongMethod { allow } => Some(Error::MethodNotAllowed { allow }),
            _ => None,
        }
    }
}

/// Which part of the list of models a client of Anthropic's dialect wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelsPage {
    /// `limit`, if it is a number.
    pub limit: Option<usize>,
    /// `after_id`.
    pub after: Option<String>,
    /// `before_id`.
    pub before: Option<String>,
}

/// Reads the line of a request and its headers. `None` for what belongs to neither dialect, which is
/// left to the routes of the Gemini API.
///
/// Tolerated are doubled and trailing slashes, escapes, a repeated or missing `/v1`, and any query.
pub fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<DialectRoute> {
    let path = uri.path();
    let last = memchr::memrchr(b'/', path.as_bytes()).map_or(path, |at| &path[at..]);
    // A method of Google's follows a colon.
    if *method == Method::OPTIONS || path.len() > LONGEST_PATH || last.contains(':') {
        return None;
    }
    let decoded = match memchr::memchr(b'%', path.as_bytes()) {
        None => Cow::Borrowed(path),
        Some(_) => percent_decode_str(path).decode_utf8().ok()?,
    };
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    let (prefix, segments) = Prefix::of(&segments);
    let line = RequestLine { method, headers, query: uri.query().unwrap_or_default(), prefix };
    let (dialect, call) = line.read(segments)?;
    Some(DialectRoute { dialect, call, is_google_path: line.prefix.is_google })
}

/// What stands before the resource.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    /// The dialect that the path names.
    dialect: Option<Dialect>,
    /// It is that of Google's own endpoint.
    is_google: bool,
    /// It has a version.
    has_version: bool,
}

impl Prefix {
    /// Takes a prefix off: `/v1`, `/openai`, `/anthropic` and combinations of them, since SDKs append
    /// paths with and without a version to whatever base URL they get.
    fn of<'a, 'b>(segments: &'a [&'b str]) -> (Self, &'a [&'b str]) {
        let (dialect, is_google, rest) = match segments {
            ["v1" | "v1alpha" | "v1beta", "openai", rest @ ..] => {
                (Some(Dialect::OpenAi), true, rest)
            }
            ["openai", rest @ ..] => (Some(Dialect::OpenAi), false, rest),
            ["anthropic", rest @ ..] => (Some(Dialect::Anthropic), false, rest),
            rest => (None, false, rest),
        };
        let versions = rest.iter().take_while(|segment| **segment == "v1").count();
        (Self { dialect, is_google, has_version: versions > 0 }, &rest[versions..])
    }
}

/// A request line with its headers, for the steps of [`read`].
struct RequestLine<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    query: &'a str,
    prefix: Prefix,
}

impl RequestLine<'_> {
    fn read(&self, segments: &[&str]) -> Option<(Dialect, DialectCall)> {
        let (openai, anthropic) = match self.prefix.dialect {
            None => (true, true),
            Some(dialect) => (dialect == Dialect::OpenAi, dialect == Dialect::Anthropic),
        };
        let call = match segments {
            ["models", names @ ..] => return Some((self.dialect()?, self.models(names)?)),
            ["files" | "batches", ..] => return self.shared(segments),
            _ if openai => self.openai(segments).map(|call| (Dialect::OpenAi, call)),
            _ => None,
        };
        let call = call.or_else(|| {
            let call = self.anthropic(segments).filter(|_| anthropic)?;
            Some((Dialect::Anthropic, call))
        });
        call.or_else(|| {
            let is_anthropics = self.prefix.has_version && self.has(&VERSION);
            let by_header = || is_anthropics.then_some(Dialect::Anthropic);
            let dialect = self.prefix.dialect.or_else(by_header)?;
            let what = match segments {
                [] => Cow::Borrowed("This path"),
                _ => Cow::Owned(shown(&segments.join("/"))),
            };
            Some((dialect, self.not_offered(what)))
        })
    }

    fn openai(&self, segments: &[&str]) -> Option<DialectCall> {
        Some(match segments {
            ["chat", "completions"] => self.posting(DialectCall::ChatCompletions),
            ["completions"] => self.posting(DialectCall::Completions),
            ["embeddings"] => self.posting(DialectCall::Embeddings),
            ["responses"] if self.asks_for_socket() => self.not_offered("A WebSocket at responses"),
            ["responses"] => self.posting(DialectCall::Responses),
            ["responses", "input_tokens"] => self.posting(DialectCall::InputTokens),
            ["responses", "compact"] => self.not_offered("responses/compact"),
            ["responses", id, ..] | ["chat", "completions", id, ..] => {
                DialectCall::StoredResponse { id: shown(id) }
            }
            // Anthropic has some of the names too.
            [first, ..] if !self.has(&VERSION) => {
                let what = OPENAI_ELSEWHERE.into_iter().find(|what| what == first)?;
                self.not_offered(what)
            }
            _ => return None,
        })
    }

    fn anthropic(&self, segments: &[&str]) -> Option<DialectCall> {
        Some(match segments {
            ["messages"] => self.posting(DialectCall::Messages),
            ["messages", "count_tokens"] => self.posting(DialectCall::CountTokens),
            ["messages", "batches", ..] => self.not_offered("messages/batches"),
            ["messages", ..] => self.not_offered("This part of messages"),
            ["complete"] => self.not_offered("complete"),
            ["api", "hello"] => self.reading(DialectCall::Hello),
            // A base URL that a client looks at.
            [] if self.prefix.dialect == Some(Dialect::Anthropic) => {
                self.reading(DialectCall::Hello)
            }
            _ => return None,
        })
    }

    /// `models…`, which all three dialects have.
    fn models(&self, names: &[&str]) -> Option<DialectCall> {
        if names.iter().any(|name| name.contains(':')) {
            return None;
        }
        let call = match names {
            [] => DialectCall::Models(ModelsPage {
                limit: self.parameter("limit").and_then(|limit| limit.parse().ok()),
                after: self.parameter("after_id"),
                before: self.parameter("before_id"),
            }),
            names => DialectCall::Model { name: shown(&names.join("/")) },
        };
        Some(self.reading(call))
    }

    /// Collections that the Gemini API has under the same names.
    fn shared(&self, segments: &[&str]) -> Option<(Dialect, DialectCall)> {
        let dialect = self.dialect()?;
        let what = if segments[0] == "files" { "files" } else { "batches" };
        let gemini_has_it =
            dialect == Dialect::OpenAi && (self.prefix.is_google || self.prefix.dialect.is_none());
        Some((dialect, DialectCall::NotOffered { what: what.into(), gemini_has_it }))
    }

    /// The dialect of a path that the Gemini API has too. Its own clients say in a header who they are, or
    /// have their key in a place of Google's.
    fn dialect(&self) -> Option<Dialect> {
        if self.prefix.dialect.is_some() {
            return self.prefix.dialect;
        }
        if self.has(&VERSION) {
            return Some(Dialect::Anthropic);
        }
        let is_googles = |name: &HeaderName| name.as_str().starts_with("x-goog-");
        let is_openai = self.headers.contains_key(header::AUTHORIZATION)
            && !self.headers.keys().any(is_googles)
            && self.parameter("key").is_none();
        is_openai.then_some(Dialect::OpenAi)
    }

    fn posting(&self, call: DialectCall) -> DialectCall {
        if self.method == Method::POST { call } else { DialectCall::WrongMethod { allow: "POST" } }
    }

    /// A call by GET, or by HEAD, which counts as GET.
    fn reading(&self, call: DialectCall) -> DialectCall {
        if self.method == Method::GET || self.method == Method::HEAD {
            call
        } else {
            DialectCall::WrongMethod { allow: "GET, HEAD" }
        }
    }

    fn not_offered(&self, what: impl Into<Cow<'static, str>>) -> DialectCall {
        DialectCall::NotOffered { what: what.into(), gemini_has_it: self.prefix.is_google }
    }

    fn asks_for_socket(&self) -> bool {
        let upgrade = self.headers.get(header::UPGRADE);
        self.method == Method::GET
            && upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    fn has(&self, header: &HeaderName) -> bool {
        self.headers.contains_key(header)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        let value = pairs.find(|(key, _)| key == name).map(|(_, value)| value)?;
        Some(value.into_owned()).filter(|value| !value.is_empty())
    }
}

/// A part of a path for errors: printable and shortened.
fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(LONGEST_NAME).collect()
}

/// First segments of OpenAI's API that are not offered.
const OPENAI_ELSEWHERE: [&str; 19] = [
    "assistants",
    "audio",
    "chat",
    "chatkit",
    "containers",
    "conversations",
    "edits",
    "engines",
    "evals",
    "fine_tuning",
    "images",
    "moderations",
    "organization",
    "realtime",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// All clients of Anthropic's API send this header.
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Longer than any known path: bounds the work for a hostile one.
const LONGEST_PATH: usize = 2048;

/// How many characters of a name are kept.
const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests;
