//! The Live API: a WebSocket of JSON in binary frames (docs/reference/upstreams.md 5.6).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_websockets::{CloseCode, Message, ServerBuilder};

use crate::backend::Backend;
use crate::gemini_api::call::{CallKind, GeminiCall};
use crate::log::LogEntry;
use crate::reply::Reply;
use crate::status::ApiError;

/// Answers the handshake with 101.
pub(super) fn accept(headers: &HeaderMap) -> Result<Reply, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_upgrade = text("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let key = text("sec-websocket-key").filter(|_| is_upgrade);
    let Some(key) = key.filter(|_| text("sec-websocket-version") == Some("13")) else {
        return Err(ApiError::new(400, "Expected a WebSocket handshake."));
    };
    let digest = sha1_smol::Sha1::from([key.as_bytes(), GUID].concat()).digest().bytes();
    let mut reply = Reply::new(StatusCode::SWITCHING_PROTOCOLS, "text/plain", Bytes::new());
    reply.headers = vec![
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("Upgrade")),
    ];
    Ok(reply.header("sec-websocket-accept", &STANDARD.encode(digest)))
}

/// A Live connection that was accepted.
#[derive(Debug)]
pub(crate) struct LiveSession {
    upgrade: OnUpgrade,
    entry: LogEntry,
    version: &'static str,
}

impl LiveSession {
    /// The session of a call, if it is a Live call.
    pub(crate) fn of(call: &GeminiCall, upgrade: OnUpgrade, entry: LogEntry) -> Option<Self> {
        matches!(call.kind, CallKind::Live { .. }).then_some(Self {
            upgrade,
            entry,
            version: call.version,
        })
    }

    /// Talks until either side closes.
    pub(crate) async fn run(mut self, backend: Arc<Backend>) {
        let Ok(upgraded) = self.upgrade.await else {
            return;
        };
        let mut socket = ServerBuilder::new().serve(TokioIo::new(upgraded));
        let mut conversation = Conversation { version: self.version, is_set_up: false };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
            if !message.is_text() && !message.is_binary() {
                continue; // the library answers pings
            }
            let answers = match conversation.answers(message.as_payload(), &backend) {
                Ok(answers) => answers,
                Err((code, reason)) => {
                    let close = Message::close(CloseCode::try_from(code).ok(), &reason);
                    // It fails only if the client has left.
                    let _left = socket.send(close).await;
                    break;
                }
            };
            for answer in answers {
                // Google's frames are binary.
                if socket.send(Message::binary(answer.to_string())).await.is_err() {
                    return;
                }
            }
        }
        // It fails only if the client has closed already.
        let _closed = socket.close().await;
        self.entry.end();
    }
}

/// The state of a conversation.
#[derive(Debug)]
struct Conversation {
    version: &'static str,
    is_set_up: bool,
}

impl Conversation {
    /// The answers to a message, or the code and the reason of a close.
    fn answers(&mut self, payload: &[u8], backend: &Backend) -> Result<Vec<Value>, (u16, String)> {
        let message: Value = serde_json::from_slice(payload)
            .map_err(|_| (1007, "Invalid JSON payload received. Unexpected token.".to_owned()))?;
        let Some((name, value)) = message.as_object().and_then(|members| members.iter().next())
        else {
            return Err((1007, "Request contains an invalid argument.".to_owned()));
        };
        if name == "setup" {
            if self.is_set_up {
                return Err((
                    1007,
                    "setup must be the first message and only the first".to_owned(),
                ));
            }
            self.set_up(value, backend)?;
            return Ok(vec![json!({"setupComplete": {}})]);
        }
        if !self.is_set_up {
            return Err((1007, "setup must be the first message and only the first".to_owned()));
        }
        match name.as_str() {
            "clientContent" | "client_content" => {
                let turns = value["turns"].as_array();
                let text = turns.and_then(|turns| turns.last()).map(said).unwrap_or_default();
                Ok(answered(&text))
            }
            "realtimeInput" | "realtime_input" => match value["text"].as_str() {
                Some(text) => Ok(answered(text)),
                None => Ok(Vec::new()), // sound: the emulator does not listen
            },
            "toolResponse" | "tool_response" => Ok(answered("the tool's answer")),
            other => Err((
                1007,
                format!(
                    "Invalid JSON payload received. Unknown name \"{other}\": Cannot find field."
                ),
            )),
        }
        .and_then(closed_on_demand)
    }

    fn set_up(&mut self, setup: &Value, backend: &Backend) -> Result<(), (u16, String)> {
        let model = setup["model"].as_str().unwrap_or_default();
        let id = model.strip_prefix("models/").unwrap_or_default();
        if !backend.state().gemini.models.iter().any(|known| known == id) {
            return Err((
                1008,
                format!(
                    "{model} is not found for API version {}, or is not supported for \
                     bidiGenerateContent.",
                    self.version
                ),
            ));
        }
        self.is_set_up = true;
        Ok(())
    }
}

/// The text of a content.
fn said(content: &Value) -> String {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn answered(text: &str) -> Vec<Value> {
    let parts = json!([{"text": format!("You said: {text}")}]);
    vec![
        json!({"serverContent": {"modelTurn": {"role": "model", "parts": parts}}}),
        json!({"serverContent": {"generationComplete": true}}),
        json!({"serverContent": {"turnComplete": true},
               "usageMetadata": {"promptTokenCount": 1, "responseTokenCount": 1,
                                 "totalTokenCount": 2}}),
    ]
}

/// Closes the session if the text asks for it.
fn closed_on_demand(answers: Vec<Value>) -> Result<Vec<Value>, (u16, String)> {
    let is_asked = answers.first().is_some_and(|answer| answer.to_string().contains(CLOSE_PHRASE));
    if is_asked {
        return Err((1011, "Internal error encountered.".to_owned()));
    }
    Ok(answers)
}

const CLOSE_PHRASE: &str = "close-this-session";
/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
