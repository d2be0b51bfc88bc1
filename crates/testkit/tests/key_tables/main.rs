//! Whole requests with keys of `[[key]]` tables, over a scripted platform: what a table allows and refuses.

mod admin;
mod copies;
mod models;
mod protocol;
mod retention;
mod upstreams;
mod usage;

use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, ask, with};
use code_assist_testkit::google::google;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::settings;
use http::Request;
use serde_json::{Value, json};

/// A proxy whose keys have tables. The upstreams are `code-assist`, `gemini-api` and `vertex`, of which a test
/// names those in use.
pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
}

/// A table with the key `key-of-ID`.
pub(crate) fn table(id: &str, more: Value) -> Value {
    let mut table = json!({"id": id, "key": format!("key-of-{id}")});
    if let (Value::Object(members), Value::Object(more)) = (&mut table, more) {
        members.extend(more);
    }
    table
}

impl Fixture {
    pub(crate) fn new(upstreams: &str, tables: &[Value]) -> Self {
        Self::with(&[("UPSTREAMS", upstreams)], tables, |_| None)
    }

    /// As `new`, with settings and answers of the test's own.
    pub(crate) fn with(
        more: &[(&str, &str)],
        tables: &[Value],
        special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> Self {
        Self::with_prices(more, tables, &[], special)
    }

    /// As `with`, with `[[price]]` tables.
    pub(crate) fn with_prices(
        more: &[(&str, &str)],
        tables: &[Value],
        prices: &[Value],
        mut special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let mut usual = google();
        let script = ScriptedPlatform::new(move |request| {
            if let Some(reply) = special(request) {
                return reply;
            }
            match request.line.contains("https://") {
                true => served(request),
                false => usual(request),
            }
        });
        let tables = json!({ "key": tables, "price": prices }).to_string();
        let mut all = vec![
            ("PROXY_KEYS_JSON", &*tables),
            ("PROXY_API_KEYS", "plain:key-of-plain"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.code-assist"),
            ("GEMINI_PROJECT_ID", "p"),
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("GEMINI_API_KEY", "operators-key"),
            ("GEMINI_API_ENDPOINT", "https://gemini-api.test"),
            ("VERTEX_API_KEY", "operators-key"),
            ("VERTEX_ENDPOINT", "https://vertex.test"),
        ];
        all.splice(0..0, more.iter().copied());
        let proxy = Proxy::new(settings(&all), &script);
        script.run(&proxy, proxy.tick(&script));
        Self { script, proxy }
    }

    /// Asks with the key of this id.
    pub(crate) fn ask(&self, id: &str, request: Request<Payload>) -> Answer {
        let request = with(request, "x-goog-api-key", &format!("key-of-{id}"));
        self.script.run(&self.proxy, ask(&self.proxy, &self.script, request))
    }

    /// How many requests have reached Google.
    pub(crate) fn sent(&self) -> usize {
        self.script.all_received().len()
    }
}

/// The usual answer of an upstream of the Gemini API or Vertex AI.
fn served(request: &Received) -> Reply {
    if request.line.contains("/models?") || request.line.ends_with("/models") {
        return Reply::ok(
            r#"{"models":[{"name":"models/gemini-2.5-pro","supportedGenerationMethods":["generateContent"]},{"name":"models/gemini-3-pro","supportedGenerationMethods":["generateContent"]}],"nextPageToken":"t"}"#,
        );
    }
    if request.line.contains(":countTokens") {
        return Reply::ok(r#"{"totalTokens":7}"#);
    }
    let text = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"embedding":{"values":[1.0]},"embeddings":[{"values":[1.0]}]}"#;
    if request.line.contains(":streamGenerateContent") {
        return Reply::ok(format!("data: {text}\r\n\r\n"))
            .with_header("content-type", "text/event-stream");
    }
    Reply::ok(text).with_header("content-type", "application/json")
}

pub(crate) fn status_and_reason(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.reason())
}

pub(crate) fn refused() -> (u16, String) {
    (403, "MODEL_NOT_ALLOWED".to_owned())
}

pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
