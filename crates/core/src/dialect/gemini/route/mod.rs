//! The routes of the proxy: HTTP method, path and query (`docs/API.md`).

mod absent;
pub mod copied;
mod form;
mod vertex;

use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::dialect::operation::Operation;
use crate::dialect::route::DialectRoute;
use crate::error::Error;
use absent::{ABSENT_METHODS, absent_collection};
pub use copied::{Beyond, CopiedPath};
pub use form::{ApiVersion, ClientMode, PathForm};
pub use vertex::VertexResource;

/// The target of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST …:generateContent`.
    Generate {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The API that the path belongs to.
        form: PathForm,
    },
    /// `POST …:streamGenerateContent`.
    Stream {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The framing that the client asks for.
        framing: Framing,
        /// The API that the path belongs to.
        form: PathForm,
    },
    /// A path of the Gemini API that is copied, with any HTTP method. [`read`] returns none:
    /// [`copied::read`] does, where an upstream has the whole API.
    Copy(Box<CopiedPath>),
    /// `POST …:embedContent` and `POST …:batchEmbedContents`, likewise.
    Embed {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The version in the path.
        form: PathForm,
        /// Several contents.
        batch: bool,
    },
    /// `POST …:countTokens`.
    Count {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The API that the path belongs to.
        form: PathForm,
    },
    /// `GET …/models`.
    Models {
        /// `pageSize` as the client wrote it, if it is a number.
        page_size: Option<usize>,
        /// `pageToken`.
        page_token: Option<String>,
        /// The API that the path belongs to.
        form: PathForm,
    },
    /// `GET …/models/{m}`.
    Model {
        /// The model as the client wrote it, without prefixes.
        model: Arc<str>,
        /// The API that the path belongs to.
        form: PathForm,
    },
    /// `/v1internal…`: a request in Code Assist's own protocol, which is passed on.
    PassThrough {
        /// What follows the version: `:loadCodeAssist` or `/operations/x`.
        suffix: String,
        /// The value of `alt`, such as `sse`: lower-case letters only. It is the only parameter
        /// that is passed on.
        alt: Option<String>,
    },
    /// A request of OpenAI's or Anthropic's dialect. [`read`] returns none: [`crate::dialect::route::read`]
    /// does.
    Translated(Box<DialectRoute>, Operation),
    /// A path of Vertex AI that is none of the above, with any HTTP method.
    VertexResource(Box<VertexResource>),
    /// `GET /`.
    Root,
    /// `GET /health`.
    Health,
    /// `GET /health/detailed`.
    HealthDetailed,
    /// `GET /live`.
    Live,
    /// `GET /metrics`.
    Metrics {
        /// The value of `?format=`.
        format: Option<String>,
    },
    /// `OPTIONS` on any path.
    Options,
    /// `GET /ready`.
    Ready,
    /// `GET /usage`, whose parameters are read where it is answered.
    Usage,
}

impl Route {
    /// The model in the path of a request that asks one.
    pub(crate) fn model(&self) -> Option<&Arc<str>> {
        match self {
            Self::Count { model, .. }
            | Self::Embed { model, .. }
            | Self::Generate { model, .. }
            | Self::Stream { model, .. } => Some(model),
            _ => None,
        }
    }

    /// What the request does.
    pub fn operation(&self) -> Operation {
        match self {
            Self::PassThrough { .. } => Operation::PassThrough,
            Self::Copy(path) => Operation::Copy(path.kind),
            Self::Count { .. } => Operation::CountTokens,
            Self::Embed { batch: true, .. } => Operation::BatchEmbed,
            Self::Embed { batch: false, .. } => Operation::Embed,
            Self::Generate { .. } => Operation::Generate,
            Self::Health => Operation::Health,
            Self::HealthDetailed => Operation::HealthDetailed,
            Self::Live => Operation::Live,
            Self::Metrics { .. } => Operation::Metrics,
            Self::Model { .. } => Operation::GetModel,
            Self::Models { .. } => Operation::ListModels,
            Self::Options => Operation::Options,
            Self::Ready => Operation::Ready,
            Self::Root => Operation::Root,
            Self::Stream { .. } => Operation::Stream,
            Self::Translated(_, operation) => *operation,
            Self::Usage => Operation::Usage,
            Self::VertexResource(_) => Operation::VertexResource,
        }
    }
}

/// The framing of a stream to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A JSON array, element by element.
    Array,
    /// Server-sent events.
    Sse,
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is unknown.
    #[error("no such path: {path}")]
    NotFound {
        /// The path, shortened and without its query.
        path: String,
    },
    /// The public API has this method or collection, Code Assist has not.
    #[error("Code Assist does not offer {what}")]
    NotOffered {
        /// The method or collection, such as `embedContent` or `files`.
        what: String,
        /// The model in the path, if there is one.
        model: Option<String>,
    },
    /// `POST /`: a client in Vertex mode that knows a base URL and nothing else.
    #[error("the URL has no path")]
    NoPath,
    /// Another dialect has the path, and the request is refused.
    #[error("{0}")]
    Refused(Box<Error>),
    /// The path is known, but not with this HTTP method.
    #[error("this path allows {allow}")]
    WrongMethod {
        /// The value for `Allow`.
        allow: &'static str,
    },
}

/// The provider that has whatever the public API has.
const GEMINI_API: &str = "gemini-api";

impl From<RouteError> for Error {
    fn from(no: RouteError) -> Self {
        match no {
            RouteError::NotFound { path } => Self::NotFound { what: path },
            RouteError::NotOffered { what, model } => {
                let provider = Some(GEMINI_API);
                Self::NotOffered { what, model, upstream: None, others: Vec::new(), provider }
            }
            RouteError::NoPath => Self::NotFound { what: NO_PATH.to_owned() },
            RouteError::Refused(error) => *error,
            RouteError::WrongMethod { allow } => Self::MethodNotAllowed { allow },
        }
    }
}

/// Reads method, path and query.
///
/// Tolerated, since real clients send them (`docs/reference/clients.md` R9): doubled and trailing
/// slashes, escapes, a version that is repeated or missing, `models/` repeated or missing.
pub fn read(method: &Method, uri: &Uri) -> Result<Route, RouteError> {
    if method == Method::OPTIONS {
        return Ok(Route::Options);
    }
    let path = uri.path();
    let line = RequestLine { method, path, query: uri.query().unwrap_or_default() };
    if path.len() > LONGEST_PATH {
        return Err(line.not_found());
    }
    if let Some(last) = path.strip_prefix(USUAL_PREFIX)
        && memchr::memchr(b':', last.as_bytes()).is_some()
        && memchr::memchr2(b'/', b'%', last.as_bytes()).is_none()
    {
        // The path of nearly every request. The way below has the same result.
        return line.model(last, true, PathForm::USUAL);
    }
    // A segment may hide a slash (`models%2Fgemini-2.5-pro`), so escapes come off first.
    let decoded = match memchr::memchr(b'%', path.as_bytes()) {
        None => Cow::Borrowed(path),
        Some(_) => percent_decode_str(path).decode_utf8().map_err(|_| line.not_found())?,
    };
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    line.by_segments(&segments)
}

/// True for the path of nearly every request, which no other dialect has.
pub(crate) fn is_usual(uri: &Uri) -> bool {
    uri.path().starts_with(USUAL_PREFIX)
}

/// The error for a path that is not served.
pub fn not_found(method: &Method, uri: &Uri) -> RouteError {
    let query = uri.query().unwrap_or_default();
    RequestLine { method, path: uri.path(), query }.not_found()
}

/// True for a path of Code Assist's own protocol.
pub(crate) fn is_own_path(path: &str) -> bool {
    path.trim_start_matches('/').starts_with(ASSIST_VERSION)
}

/// A request line, for the steps of [`read`].
struct RequestLine<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
}

impl RequestLine<'_> {
    fn by_segments(&self, segments: &[&str]) -> Result<Route, RouteError> {
        match segments {
            [] if self.method == Method::POST => Err(RouteError::NoPath),
            [] => self.reading(Route::Root),
            ["health"] => self.reading(Route::Health),
            ["health", "detailed"] => self.reading(Route::HealthDetailed),
            ["live"] => self.reading(Route::Live),
            ["ready"] => self.reading(Route::Ready),
            ["usage"] => self.reading(Route::Usage),
            ["metrics"] => self
                .reading(Route::Metrics { format: self.parameter("format").map(Cow::into_owned) }),
            [first, rest @ ..] if first.starts_with(ASSIST_VERSION) => {
                self.pass_through(first, rest)
            }
            _ => self.gemini(segments),
        }
    }

    /// `/v1internal:{method}` and `/v1internal/{name…}`. The suffix becomes part of an upstream
    /// URL: characters that could change the URL's meaning are refused.
    fn pass_through(&self, first: &str, rest: &[&str]) -> Result<Route, RouteError> {
        let after_version = &first[ASSIST_VERSION.len()..];
        if let Some(name) = after_version.strip_prefix(':') {
            let is_method = name.len() <= LONGEST_NAME
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && name.starts_with(|c: char| c.is_ascii_alphabetic());
            if !rest.is_empty() || !is_method {
                return Err(self.not_found());
            }
            // Web pages can make a browser send GETs, so that only a method that needs them takes them.
            if self.method != Method::POST && !(self.is_reading() && READ_METHODS.contains(&name)) {
                let allow = if READ_METHODS.contains(&name) { "GET, HEAD, POST" } else { "POST" };
                return Err(RouteError::WrongMethod { allow });
            }
            return Ok(Route::PassThrough { suffix: format!(":{name}"), alt: self.safe_alt() });
        }
        let is_safe = |segment: &&str| {
            let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
            segment.len() <= LONGEST_NAME
                && segment.bytes().all(harmless)
                && segment.bytes().any(|byte| byte != b'.')
        };
        if !after_version.is_empty() || rest.is_empty() || !rest.iter().all(is_safe) {
            return Err(self.not_found());
        }
        let suffix = format!("/{}", rest.join("/"));
        self.reading(Route::PassThrough { suffix, alt: self.safe_alt() })
    }

    fn gemini(&self, segments: &[&str]) -> Result<Route, RouteError> {
        if let Some(collection) = absent_collection(segments[0]) {
            return Err(RouteError::NotOffered { what: collection.to_owned(), model: None });
        }
        let versioned = skip(segments, |segment| ApiVersion::named(segment).is_some());
        if let Some(collection) = versioned.first().and_then(|first| absent_collection(first)) {
            return Err(RouteError::NotOffered { what: collection.to_owned(), model: None });
        }
        let version = segments[..segments.len() - versioned.len()].last();
        let version = version.and_then(|version| ApiVersion::named(version));
        let (in_project, rest) = match versioned {
            ["projects", project, "locations", location, rest @ ..]
                if vertex::is_place(project, location) =>
            {
                (true, rest)
            }
            ["publishers", ..] => (false, versioned),
            _ => return self.models(versioned, PathForm { mode: ClientMode::Gemini, version }),
        };
        let known = match rest {
            ["publishers", "google", published @ ..] => {
                self.models(published, PathForm { mode: ClientMode::Vertex, version })
            }
            _ => Err(self.not_found()),
        };
        match known {
            Err(error @ (RouteError::NotFound { .. } | RouteError::NotOffered { .. })) => {
                let resource = VertexResource::new(version, in_project, rest);
                resource.map(|it| Route::VertexResource(Box::new(it))).ok_or(error)
            }
            known => known,
        }
    }

    /// `models…`, in either API.
    fn models(&self, published: &[&str], form: PathForm) -> Result<Route, RouteError> {
        let in_models = skip(published, |segment| segment == "models");
        let says_models = in_models.len() < published.len();
        match in_models {
            [] if says_models => self.reading(Route::Models {
                page_size: self.either("pageSize", "page_size").and_then(|size| size.parse().ok()),
                page_token: self
                    .either("pageToken", "page_token")
                    .map(Cow::into_owned)
                    .filter(|t| !t.is_empty()),
                form,
            }),
            [last] => self.model(last, says_models, form),
            // The poll of a long-running method, none of which is offered.
            [model, "operations", ..] if says_models => Err(RouteError::NotOffered {
                what: "operations".to_owned(),
                model: model_name(model).map(str::to_owned),
            }),
            _ => Err(self.not_found()),
        }
    }

    /// `{m}:{method}`, or `{m}` alone.
    #[inline]
    fn model(&self, last: &str, says_models: bool, form: PathForm) -> Result<Route, RouteError> {
        let colon = memchr::memchr(b':', last.as_bytes());
        let Some((model, verb)) = colon.map(|at| (&last[..at], &last[at + 1..])) else {
            // Without `models/` only an unmistakable name is read as a model.
            let is_obvious =
                form.version.is_some() && OBVIOUS_MODELS.iter().any(|m| last.starts_with(m));
            let model = model_name(last).filter(|_| says_models || is_obvious);
            let Some(model) = model else {
                return Err(self.not_found());
            };
            return self.reading(Route::Model { model: model.into(), form });
        };
        // `/v1beta/v1internal:generateContent` is a wrong base URL, not a model of that name.
        let is_assist = !says_models && model.starts_with(ASSIST_VERSION);
        let model = model_name(model).filter(|_| !is_assist);
        let route = match (verb, model) {
            ("generateContent", Some(model)) => Route::Generate { model: model.into(), form },
            ("streamGenerateContent", Some(model)) => {
                Route::Stream { model: model.into(), framing: self.framing(), form }
            }
            ("countTokens", Some(model)) => Route::Count { model: model.into(), form },
            (verb, model) if ABSENT_METHODS.contains(&verb) => {
                let model = model.map(str::to_owned);
                return Err(RouteError::NotOffered { what: verb.to_owned(), model });
            }
            _ => return Err(self.not_found()),
        };
        if self.method == Method::POST {
            Ok(route)
        } else {
            Err(RouteError::WrongMethod { allow: "POST" })
        }
    }

    /// A route for GET, and for HEAD, which counts as GET.
    fn reading(&self, route: Route) -> Result<Route, RouteError> {
        if self.is_reading() {
            Ok(route)
        } else {
            Err(RouteError::WrongMethod { allow: "GET, HEAD" })
        }
    }

    fn is_reading(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    fn framing(&self) -> Framing {
        let alt = self.either("alt", "$alt");
        let is_sse = alt.is_some_and(|alt| without_options(&alt).eq_ignore_ascii_case("sse"));
        if is_sse { Framing::Sse } else { Framing::Array }
    }

    fn safe_alt(&self) -> Option<String> {
        let is_word = |alt: &String| {
            (1..=16).contains(&alt.len()) && alt.bytes().all(|byte| byte.is_ascii_lowercase())
        };
        let alt = self.either("alt", "$alt")?;
        Some(without_options(&alt).to_ascii_lowercase()).filter(is_word)
    }

    /// The parameter in its first or second spelling.
    fn either(&self, name: &str, other: &str) -> Option<Cow<'_, str>> {
        self.parameter(name).or_else(|| self.parameter(other))
    }

    fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn not_found(&self) -> RouteError {
        // The usual path is shown as it is.
        let plain = self.path.bytes().take(SHOWN_PATH).take_while(u8::is_ascii_graphic).count();
        let (start, rest) = self.path.split_at(plain);
        let mut path = start.to_owned();
        if !rest.is_empty() {
            path.extend(rest.chars().filter(char::is_ascii_graphic).take(SHOWN_PATH - plain));
            path.push_str("...");
        }
        RouteError::NotFound { path }
    }
}

/// `alt` without its options: `json;enum-encoding=int` is `json` (`docs/reference/clients.md` R10).
fn without_options(alt: &str) -> &str {
    alt.split(';').next().unwrap_or_default().trim()
}

/// The segments after those at the start that `is_skipped` accepts.
fn skip<'a, 'b>(segments: &'a [&'b str], is_skipped: impl Fn(&str) -> bool) -> &'a [&'b str] {
    let skipped = segments.iter().take_while(|segment| is_skipped(segment)).count();
    &segments[skipped..]
}

/// A segment as a model's name: letters, digits and `._@-`, the first one a letter or digit.
pub(crate) fn model_name(segment: &str) -> Option<&str> {
    let is_plain =
        |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'@' | b'-');
    let is_name = segment.len() <= LONGEST_NAME
        && segment.bytes().all(is_plain)
        && segment.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_name.then_some(segment)
}

/// The path prefix of Code Assist's own protocol, independent of `CODE_ASSIST_API_VERSION`.
const ASSIST_VERSION: &str = "v1internal";

/// The methods of Code Assist's own protocol that its clients call with GET.
const READ_METHODS: [&str; 1] = ["getCodeAssistGlobalUserSetting"];

/// The path prefix of models in all SDKs.
const USUAL_PREFIX: &str = "/v1beta/models/";

/// A name with this prefix is a model, also without `models/` before it and a method after it.
const OBVIOUS_MODELS: [&str; 2] = ["gemini-", "gemma-"];

/// What is not found with `POST /` (`docs/reference/upstreams.md` 8.1).
const NO_PATH: &str = "A client in Vertex mode that has a base URL and nothing else takes it for the whole URL, \
                       and the model is lost: set its project and location too, or \
                       base_url_resource_scope. POST /";

/// Longer than any known path: bounds the work for a hostile one.
const LONGEST_PATH: usize = 2048;

/// For models, methods and the segments of operation names. Google's longest have fewer than 64
/// characters.
const LONGEST_NAME: usize = 128;

/// How many characters of an unknown path an error shows.
const SHOWN_PATH: usize = 120;

#[cfg(test)]
mod tests;
