//! A proxy with keys, in front of a Google that counts.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use code_assist_core::settings::{AccountSettings, GeminiApiSettings, UpstreamSettings};
use code_assist_core::{Payload, Proxy, UsageRow};
use code_assist_testkit::client::{Answer, ask, post, with};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Piece, Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::settings;
use http::Request;
use serde_json::{Value, json};

/// What upstream counts for each answer.
pub(crate) const PROMPT: u64 = 10;
pub(crate) const OUTPUT: u64 = 80;
pub(crate) const THOUGHTS: u64 = 10;
pub(crate) const TOKENS: u64 = PROMPT + OUTPUT + THOUGHTS;

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

/// A proxy with keys on a scripted platform.
pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
    /// The tokens that upstream has counted.
    pub(crate) counted: Arc<AtomicU64>,
    more: Vec<(String, String)>,
}

/// How upstream answers a request instead of the usual way. A reply's tokens are the test's to count.
pub(crate) type Special = Box<dyn FnMut(&Received) -> Option<Reply> + Send>;

impl Fixture {
    /// A proxy with these `[[key]]` tables.
    pub(crate) fn new(keys: &[Value]) -> Self {
        Self::with(keys, &[], Box::new(|_| None))
    }

    pub(crate) fn with(keys: &[Value], more: &[(&str, &str)], mut special: Special) -> Self {
        let counted = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&counted);
        let script = ScriptedPlatform::new(google_but(move |request| {
            special(request).or_else(|| counted_reply(request, &counting))
        }));
        let more: Vec<_> =
            more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let proxy = Proxy::new(read(keys, &more), &script);
        Self { script, proxy, counted, more }
    }

    /// A proxy with the Gemini API as its only upstream, which answers everything with this.
    pub(crate) fn gemini(
        keys: &[Value],
        google: impl FnMut(&Received) -> Reply + Send + 'static,
    ) -> Self {
        let script = ScriptedPlatform::new(google);
        let mut settings = read(keys, &[]);
        settings.upstreams = vec![UpstreamSettings {
            name: "gemini-api".into(),
            account: AccountSettings::GeminiApi(GeminiApiSettings {
                api_key: "operators-own-key-0123456789".to_owned().into(),
            }),
            endpoints: vec!["https://google.test".to_owned()],
            models: Vec::new(),
            model_map: Vec::new(),
        }];
        let proxy = Proxy::new(settings, &script);
        Self { script, proxy, counted: Arc::default(), more: Vec::new() }
    }

    /// Another process with the same settings, which shares upstream, clock and store.
    pub(crate) fn another(&self, keys: &[Value]) -> Self {
        let script = self.script.another_process();
        let proxy = Proxy::new(read(keys, &self.more), &script);
        Self { script, proxy, counted: Arc::clone(&self.counted), more: self.more.clone() }
    }

    /// The process once more, after it has stopped.
    pub(crate) fn restarted(&self, keys: &[Value]) -> Self {
        let proxy = Proxy::new(read(keys, &self.more), &self.script);
        let (script, counted) = (self.script.clone(), Arc::clone(&self.counted));
        Self { script, proxy, counted, more: self.more.clone() }
    }

    pub(crate) fn reload(&self, keys: &[Value]) {
        self.proxy.reload(&read(keys, &self.more));
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.script.run(&self.proxy, future)
    }

    pub(crate) fn ask(&self, request: Request<Payload>) -> Answer {
        self.run(ask(&self.proxy, &self.script, request))
    }

    pub(crate) fn asking(
        &self,
        request: Request<Payload>,
    ) -> Pin<Box<dyn Future<Output = Answer> + '_>> {
        Box::pin(ask(&self.proxy, &self.script, request))
    }

    /// One tick of the shell.
    pub(crate) fn tick(&self) {
        self.run(self.proxy.tick(&self.script));
    }

    /// The usage of a key in the store, after all has been sent there.
    pub(crate) fn usage(&self, id: &str) -> Vec<UsageRow> {
        self.run(self.proxy.flush_usage(&self.script));
        self.script.stored_usage(id)
    }

    /// The tokens and the requests of a key in the store, after all has been sent there.
    pub(crate) fn used(&self, id: &str) -> (u64, u64) {
        let rows = self.usage(id);
        let tokens = rows.iter().map(|row| row.charge.tokens()).sum();
        (tokens, rows.iter().map(|row| row.requests).sum())
    }

    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Relaxed)
    }
}

fn read(keys: &[Value], more: &[(String, String)]) -> code_assist_core::settings::Settings {
    let prices = json!([{"model": "*", "input": 1, "cached": 0.5, "output": 2}]);
    let tables = json!({"key": keys, "price": prices}).to_string();
    let mut all = vec![
        ("PROXY_KEYS_JSON", &*tables),
        ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.mine"),
        ("VALIDATE_TOKENS_BEFORE_USE", "false"),
        ("GEMINI_PROJECT_ID", "p"),
        ("MAX_RETRY_ATTEMPTS", "2"),
    ];
    all.splice(0..0, more.iter().map(|(name, value)| (&**name, &**value)));
    settings(&all)
}

/// A `[[key]]` table.
pub(crate) fn key(id: &str, more: Value) -> Value {
    let mut table = json!({"id": id, "key": secret(id)});
    let (Some(table), Value::Object(more)) = (table.as_object_mut(), more) else {
        panic!("a test gives an object")
    };
    table.extend(more);
    json!(table)
}

fn secret(id: &str) -> String {
    format!("cap_secret-of-the-key-of-{id}")
}

/// A `POST` of a key's holder.
pub(crate) fn post_as(id: &str, path: &str, body: &str) -> Request<Payload> {
    with(post(path, body), "x-goog-api-key", &secret(id))
}

/// `usageMetadata` after this many tokens of output.
pub(crate) fn metadata(output: u64, thoughts: u64) -> String {
    format!(
        r#""usageMetadata":{{"promptTokenCount":{PROMPT},"candidatesTokenCount":{output},"thoughtsTokenCount":{thoughts}}}"#
    )
}

/// An event with these counts.
pub(crate) fn counted_event(output: u64, thoughts: u64, more: &str) -> Piece {
    let metadata = metadata(output, thoughts);
    Piece::Data(
        format!(
            "data: {{\"response\":{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":[{{\"text\":\"Hi\"}}]}}{more}}}],{metadata}}}}}\r\n\r\n"
        )
        .into(),
    )
}

/// A whole answer with its counts.
pub(crate) fn whole_answer() -> Reply {
    let metadata = metadata(OUTPUT, THOUGHTS);
    Reply::ok(format!(
        r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"Hello"}}]}},"finishReason":"STOP"}}],{metadata}}}}}"#
    ))
}

fn counted_reply(request: &Received, counted: &AtomicU64) -> Option<Reply> {
    let reply = if request.is(":generateContent") {
        whole_answer()
    } else if request.is(":streamGenerateContent?alt=sse") {
        Reply::pieces([
            counted_event(1, 0, ""),
            counted_event(OUTPUT, THOUGHTS, r#","finishReason":"STOP""#),
        ])
    } else {
        return None;
    };
    counted.fetch_add(TOKENS, Relaxed);
    Some(reply.after(Duration::from_millis(200)))
}

/// Gives these replies in order, each with the tokens that upstream counts, and then the usual ones.
pub(crate) fn in_order(replies: Vec<Reply>) -> Special {
    let replies = Mutex::new(replies.into_iter());
    Box::new(move |request| {
        let is_model = request.line.contains("enerateContent");
        replies.lock().expect("nothing panics").next().filter(|_| is_model)
    })
}
