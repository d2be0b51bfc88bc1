//! The script: rules that a test adds, each of which changes some of the next answers.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::code_assist;
use crate::gemini_api;
use crate::reply::{Reply, ReplyContent, StreamEvent};
use crate::status::http_status;
use crate::vertex;

/// The rules that are not used up, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: VecDeque<Rule>,
}

impl Script {
    pub(crate) fn push(&mut self, rule: Rule) {
        self.rules.push_back(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn rules(&self) -> Vec<&Rule> {
        self.rules.iter().collect()
    }

    /// The first rule that matches the request. It is used once by this call.
    pub(crate) fn take(&mut self, request: &MatchedRequest<'_>) -> Option<Rule> {
        let mut at = 0;
        while let Some(rule) = self.rules.get_mut(at) {
            if rule.read_body_bytes.is_some() != request.at_head || !rule.filter.matches(request) {
                at += 1;
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                at += 1;
                continue;
            }
            let taken = rule.clone();
            // 0 means "until deleted".
            match rule.times {
                0 => {}
                1 => {
                    self.rules.remove(at);
                }
                _ => rule.times -= 1,
            }
            return Some(taken);
        }
        None
    }
}

/// What a rule is matched against.
#[derive(Debug)]
pub(crate) struct MatchedRequest<'a> {
    pub(crate) rpc: &'a str,
    pub(crate) path: &'a str,
    /// The model of the path; without it that of the body counts.
    pub(crate) model: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// Whether the body has not been read yet.
    pub(crate) at_head: bool,
}

/// A rule of the script. `docs/EMULATOR.md` describes every field.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(rename = "match")]
    pub(crate) filter: RequestFilter,
    #[serde(default = "once")]
    pub(crate) times: u32,
    pub(crate) skip: u32,

    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) read_body_bytes: Option<u64>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
    pub(crate) body_base64: Option<String>,
    pub(crate) events: Option<Vec<ScriptedEvent>>,
    pub(crate) event_bytes: Option<usize>,
    pub(crate) keep_events: Option<usize>,
    pub(crate) append: Vec<ScriptedEvent>,
    pub(crate) tail_error: Option<String>,

    pub(crate) delay_ms: u64,
    pub(crate) body_delay_ms: u64,
    pub(crate) close_before_head: bool,
    pub(crate) event_interval_ms: Option<u64>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) chunk_interval_ms: u64,
    pub(crate) cut_after_bytes: Option<u64>,
    pub(crate) cut: CutMode,
    pub(crate) hang: bool,

    pub(crate) line_ending: LineEnding,
    pub(crate) data_prefix: Option<String>,
    pub(crate) multi_line: bool,
    pub(crate) no_final_blank_line: bool,
    pub(crate) gzip: bool,
}

impl Rule {
    /// Reads a rule from JSON.
    pub(crate) fn read(value: serde_json::Value) -> Result<Self, String> {
        let rule: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if rule.chunk_size == Some(0) {
            return Err("chunk_size must be at least 1".to_owned());
        }
        if let Some(text) = &rule.body_base64 {
            STANDARD.decode(text).map_err(|error| format!("body_base64: {error}"))?;
        }
        if rule.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("status must be from 200 to 599".to_owned());
        }
        for name in [&rule.error, &rule.tail_error].into_iter().flatten() {
            if !gemini_api::errors::is_known(name) && vertex::sample_error(name).is_none() {
                return Err(format!("error: there is no error `{name}`"));
            }
        }
        for (name, value) in &rule.headers {
            HeaderName::try_from(name.as_str()).map_err(|error| format!("headers: {error}"))?;
            HeaderValue::try_from(value.as_str()).map_err(|error| format!("headers: {error}"))?;
        }
        Ok(rule)
    }

    /// Whether the rule has an answer of its own, which replaces the ordinary one.
    pub(crate) fn answers(&self) -> bool {
        self.status.is_some()
            || self.error.is_some()
            || self.body.is_some()
            || self.body_base64.is_some()
            || self.events.is_some()
            || self.event_bytes.is_some()
            || self.close_before_head
    }

    /// The rule's own answer. `error` makes the error that it names, or that of its status.
    pub(crate) fn own_reply(&self, error: impl FnOnce(Option<&str>, u16) -> Reply) -> Reply {
        let mut reply = if let Some(items) = &self.events {
            Reply::events(items.iter().map(ScriptedEvent::event).collect())
        } else if let Some(bytes) = self.event_bytes {
            Reply::events(vec![code_assist::image_event(bytes)])
        } else if let Some(body) = self.own_body() {
            Reply::new(http::StatusCode::OK, "application/json; charset=UTF-8", body)
        } else {
            error(self.error.as_deref(), self.status.unwrap_or(500))
        };
        if let Some(code) = self.status {
            reply.status = http_status(code);
        }
        reply
    }

    /// Changes the answer, the rule's own or the ordinary one.
    pub(crate) fn change(&self, reply: &mut Reply) {
        if let ReplyContent::Events(events) | ReplyContent::Array(events) = &mut reply.content {
            if let Some(kept) = self.keep_events {
                events.truncate(kept);
            }
            events.extend(self.append.iter().map(ScriptedEvent::event));
            // An error inside a stream stands there bare (docs/reference/upstreams.md 4.2).
            let tail = self.tail_error.as_deref().and_then(|name| {
                gemini_api::errors::sample(name).or_else(|| vertex::sample_error(name))
            });
            events.extend(tail.map(|error| StreamEvent::Raw(error.pretty())));
        }
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.as_str());
            if let (Ok(name), Ok(value)) = (name, value) {
                reply.set(name, value);
            }
        }
    }

    fn own_body(&self) -> Option<Bytes> {
        if let Some(text) = &self.body {
            return Some(Bytes::from(text.clone()));
        }
        let text = self.body_base64.as_ref()?;
        STANDARD.decode(text).ok().map(Bytes::from)
    }
}

/// The requests that a rule matches: those for which every given condition holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestFilter {
    pub(crate) rpc: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) body_contains: Option<String>,
}

impl RequestFilter {
    fn matches(&self, request: &MatchedRequest<'_>) -> bool {
        self.rpc.as_ref().is_none_or(|rpc| rpc == request.rpc)
            && self.path.as_ref().is_none_or(|path| path == request.path)
            && self.body_contains.as_ref().is_none_or(|text| contains(request.body, text))
            && self.model.as_ref().is_none_or(|model| match request.model {
                Some(named) => model == named,
                None => *model == Self::model(request.body),
            })
    }

    fn model(body: &[u8]) -> String {
        #[derive(Deserialize)]
        struct Envelope {
            model: Option<String>,
            request: Option<InnerRequest>,
        }
        #[derive(Deserialize)]
        struct InnerRequest {
            model: Option<String>,
        }
        let Ok(named) = serde_json::from_slice::<Envelope>(body) else {
            return String::new();
        };
        let inner = || named.request.and_then(|request| request.model);
        let model = named.model.or_else(inner).unwrap_or_default();
        model.strip_prefix("models/").unwrap_or(&model).to_owned()
    }
}

/// An event of a rule: a payload to be framed, or raw bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum ScriptedEvent {
    Payload(String),
    Raw { raw: String },
}

impl ScriptedEvent {
    fn event(&self) -> StreamEvent {
        match self {
            Self::Payload(text) => StreamEvent::Payload(text.clone()),
            Self::Raw { raw } => StreamEvent::Raw(raw.clone()),
        }
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CutMode {
    /// FIN before the end of the body.
    #[default]
    Close,
    /// RST.
    Reset,
}

/// The end of a line in an event stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LineEnding {
    Cr,
    #[default]
    Crlf,
    Lf,
}

impl LineEnding {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Cr => "\r",
            Self::Crlf => "\r\n",
            Self::Lf => "\n",
        }
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes())
}

fn once() -> u32 {
    1
}
