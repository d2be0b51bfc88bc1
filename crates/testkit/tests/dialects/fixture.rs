//! The three dialects on a proxy with scripted upstreams.

use code_assist_core::Proxy;
use code_assist_testkit::client::{Answer, ask, post};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;
use serde_json::Value;

/// A dialect with one call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Responses,
    Messages,
}

pub(crate) const ALL: [Api; 3] = [Api::Chat, Api::Responses, Api::Messages];

impl Api {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// A request with one short text. `more` begins with a comma.
    pub(crate) fn body(self, model: &str, more: &str) -> String {
        match self {
            Self::Chat => format!(
                r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{more}}}"#
            ),
            Self::Responses => format!(r#"{{"model":"{model}","input":"hi"{more}}}"#),
            Self::Messages => format!(
                r#"{{"model":"{model}","max_tokens":100,"messages":[{{"role":"user","content":"hi"}}]{more}}}"#
            ),
        }
    }

    /// The text in a whole answer.
    pub(crate) fn text(self, answer: &Answer) -> String {
        let body: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
        let text = match self {
            Self::Chat => &body["choices"][0]["message"]["content"],
            Self::Responses => &body["output"][0]["content"][0]["text"],
            Self::Messages => &body["content"][0]["text"],
        };
        text.as_str().unwrap_or_default().to_owned()
    }
}

/// A proxy with Code Assist, which answers some calls in a way of the test's own.
pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(&[], |_| None)
    }

    pub(crate) fn with(
        settings: &[(&str, &str)],
        special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let script = ScriptedPlatform::new(google_but(special));
        let mut all = vec![
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.t"),
            ("GEMINI_PROJECT_ID", "p"),
            ("MAX_RETRY_ATTEMPTS", "0"),
        ];
        all.splice(0..0, settings.iter().copied());
        let proxy = proxy_with(&script, &all);
        let fixture = Self { script, proxy };
        fixture.script.run(&fixture.proxy, fixture.proxy.tick(&fixture.script));
        fixture
    }

    pub(crate) fn ask(&self, path: &str, body: &str) -> Answer {
        self.script.run(&self.proxy, ask(&self.proxy, &self.script, post(path, body)))
    }

    /// The bodies of all calls to a model, out of their envelopes.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        let calls = self.script.all_received();
        let calls = calls.iter().filter(|it| it.line.contains("enerateContent"));
        calls
            .map(|call| {
                let body: Value = serde_json::from_str(&call.body).expect("JSON goes upstream");
                body["request"].clone()
            })
            .collect()
    }
}
