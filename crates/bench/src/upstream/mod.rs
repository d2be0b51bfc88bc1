//! A fast stand-in for Google: OAuth, `loadCodeAssist`, answers and streams, over HTTP/1.1 and over
//! HTTP/2 with TLS. It checks nothing; the emulator, which checks requests, would be the slowest part.

mod bodies;
mod http1;
mod http2;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::BenchError;
use crate::request::ResponsePlan;
use bodies::{AnswerFormat, Bodies};

/// The ports that upstream listens on, printed as one line of JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// HTTP/1.1 without TLS.
    pub(crate) plain: u16,
    /// HTTP/2 with TLS.
    pub(crate) tls: u16,
}

/// What upstream has done until now, at `GET /bench/count`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct UpstreamCounts {
    /// Answers and streams.
    pub(crate) answers: u64,
    /// Access tokens.
    pub(crate) tokens: u64,
}

/// Serves until it is killed. Writes the certificate that clients must trust to the file `authority`.
pub(crate) async fn serve(authority: &Path) -> Result<(), BenchError> {
    let google = Arc::new(UpstreamState::default());
    let plain = TcpListener::bind("127.0.0.1:0").await?;
    let secure = TcpListener::bind("127.0.0.1:0").await?;
    let tls = http2::tls(authority)?;
    let ports = Ports { plain: plain.local_addr()?.port(), tls: secure.local_addr()?.port() };
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(&ports)?)?;
    out.flush()?;
    tokio::join!(
        http1::accept(plain, Arc::clone(&google)),
        http2::accept(secure, tls, Arc::clone(&google)),
    );
    Ok(())
}

/// The state that all connections share.
#[derive(Debug)]
struct UpstreamState {
    answers: AtomicU64,
    tokens: AtomicU64,
    token_delay_ms: AtomicU64,
    token_lifetime_s: AtomicU64,
    /// While true, token requests wait.
    tokens_held: AtomicBool,
    answer: Bodies,
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self {
            answers: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            token_delay_ms: AtomicU64::new(0),
            token_lifetime_s: AtomicU64::new(3599),
            tokens_held: AtomicBool::new(false),
            answer: Bodies::default(),
        }
    }
}

/// The answer to a request. Only the token endpoint has a `wait`.
#[derive(Debug)]
enum Reply {
    Stream { plan: ResponsePlan, format: AnswerFormat },
    Whole { status: u16, body: bytes::Bytes, wait: Option<Duration> },
}

impl UpstreamState {
    /// Answers a request by its `target` and the beginning of its body.
    fn reply(&self, target: &str, body: &[u8]) -> Reply {
        let path = target.split('?').next().unwrap_or_default();
        if let Some((format, streams)) = generation(path, body) {
            self.answers.fetch_add(1, Relaxed);
            if streams {
                let one = ResponsePlan { events: 1, interval_ms: 0 };
                let plan = ResponsePlan::read(body).unwrap_or(one);
                return Reply::Stream { plan, format };
            }
            return Reply::Whole { status: 200, body: self.answer.whole(format), wait: None };
        }
        let mut wait = None;
        let (status, text) = match path {
            "/token" => {
                let serial = self.tokens.fetch_add(1, Relaxed) + 1;
                let lifetime = self.token_lifetime_s.load(Relaxed);
                wait = Some(Duration::from_millis(self.token_delay_ms.load(Relaxed)));
                let token = serde_json::json!({
                    "access_token": format!("ya29.bench-{serial}"),
                    "expires_in": lifetime,
                    "token_type": "Bearer",
                    "scope": "https://www.googleapis.com/auth/cloud-platform",
                });
                (200, token.to_string())
            }
            "/tokeninfo" => {
                let lifetime = self.token_lifetime_s.load(Relaxed).to_string();
                (200, serde_json::json!({ "expires_in": lifetime }).to_string())
            }
            // A gateway asks them before it sends requests.
            "/health" => (200, "{}".to_owned()),
            "/v1/models" => {
                (200, r#"{"object":"list","data":[{"id":"gemini-2.5-flash","object":"model"}]}"#.to_owned())
            }
            "/bench/count" => {
                let (answers, tokens) = (self.answers.load(Relaxed), self.tokens.load(Relaxed));
                let count = UpstreamCounts { answers, tokens };
                (200, serde_json::to_string(&count).unwrap_or_default())
            }
            "/bench/set" => {
                self.set(target);
                (200, "{}".to_owned())
            }
            _ if path.ends_with(":loadCodeAssist") => (
                200,
                r#"{"currentTier":{"id":"standard-tier"},"cloudaicompanionProject":"bench-project"}"#
                    .to_owned(),
            ),
            _ if path.ends_with(":retrieveUserQuota") => {
                (200, r#"{"buckets":[{"modelId":"gemini-2.5-flash"}]}"#.to_owned())
            }
            _ => (404, r#"{"error":{"code":404,"message":"no such thing","status":"NOT_FOUND"}}"#.to_owned()),
        };
        Reply::Whole { status, body: text.into(), wait }
    }

    /// Waits as `/bench/set` has asked of the token endpoint.
    async fn wait_for_token(&self, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        sleep(wait).await;
        while self.tokens_held.load(Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// `/bench/set?token_delay_ms=500&token_lifetime_s=303`.
    fn set(&self, target: &str) {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let Ok(value) = value.parse::<u64>() else { continue };
            match name {
                "hold_tokens" => self.tokens_held.store(value == 1, Relaxed),
                "token_delay_ms" => self.token_delay_ms.store(value, Relaxed),
                "token_lifetime_s" => self.token_lifetime_s.store(value, Relaxed),
                _ => {}
            }
        }
    }
}

/// The format of the answer, and whether it is a stream. `None` is a request for something else.
fn generation(path: &str, body: &[u8]) -> Option<(AnswerFormat, bool)> {
    if path == "/v1/chat/completions" {
        let streams = ResponsePlan::read(body).is_some_and(|plan| plan.events > 0);
        return Some((AnswerFormat::OpenaiChat, streams));
    }
    let (path, method) = path.rsplit_once(':')?;
    let format = match path {
        "/v1internal" => AnswerFormat::CodeAssist,
        _ => AnswerFormat::Gemini,
    };
    match method {
        "generateContent" => Some((format, false)),
        "streamGenerateContent" => Some((format, true)),
        _ => None,
    }
}

/// How much of a request's body is kept; larger allocations are slow.
const BODY_START: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_is_answered_in_its_own_format() {
        let vertex =
            "/v1beta1/projects/p/locations/global/publishers/google/models/m:generateContent";
        for (path, body, expected) in [
            ("/v1internal:generateContent", "", Some((AnswerFormat::CodeAssist, false))),
            ("/v1internal:streamGenerateContent", "", Some((AnswerFormat::CodeAssist, true))),
            ("/v1beta/models/m:streamGenerateContent", "", Some((AnswerFormat::Gemini, true))),
            (vertex, "", Some((AnswerFormat::Gemini, false))),
            ("/v1/chat/completions", "plan:0x0;", Some((AnswerFormat::OpenaiChat, false))),
            ("/v1/chat/completions", "plan:20x50;", Some((AnswerFormat::OpenaiChat, true))),
            ("/v1internal:loadCodeAssist", "", None),
            ("/token", "", None),
        ] {
            assert_eq!(generation(path, body.as_bytes()), expected, "{path} {body}");
        }
    }
}
