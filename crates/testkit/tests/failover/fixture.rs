//! A proxy with several upstreams on a scripted platform.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::settings::{
    AccountSettings, Failover, FailoverReason, GeminiApiSettings, Settings, UpstreamSettings,
    VertexAuth, VertexSettings,
};
use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, ask, post, with};
use code_assist_testkit::google::google;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject;
use http::Request;

/// What an upstream answers in place of its usual answer.
pub(crate) type Script = Box<dyn FnMut(&Received) -> Option<Reply> + Send>;

/// A proxy with the upstreams `code-assist`, `gemini-api`, `second` (of the Gemini API too) and `vertex`,
/// of which a test names those in use.
pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
    scripts: Arc<Mutex<BTreeMap<&'static str, Script>>>,
}

pub(crate) const HOSTS: [(&str, &str); 4] = [
    ("code-assist", "https://code-assist.test"),
    ("gemini-api", "https://gemini-api.test"),
    ("second", "https://second.test"),
    ("vertex", "https://vertex.test"),
];

/// Every class of failures but `billing`.
pub(crate) fn on() -> Failover {
    let all = FailoverReason::ALL.into_iter().filter(|it| *it != FailoverReason::Billing);
    all.fold(Failover::OFF, Failover::and)
}

pub(crate) fn upstream(name: &str) -> UpstreamSettings {
    let account = match name {
        "gemini-api" | "second" => {
            AccountSettings::GeminiApi(GeminiApiSettings { api_key: key_of(name).into() })
        }
        "vertex" => AccountSettings::Vertex(VertexSettings {
            auth: VertexAuth::ApiKey(key_of(name).into()),
            project: None,
            location: "global".to_owned(),
            api_version: "v1beta1".to_owned(),
            quota_project: None,
        }),
        _ => {
            subject::settings(&[
                ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.code-assist"),
                ("GEMINI_PROJECT_ID", "p"),
            ])
            .upstreams
            .remove(0)
            .account
        }
    };
    let host = HOSTS.iter().find(|(known, _)| *known == name).expect("a known upstream").1;
    UpstreamSettings {
        name: name.into(),
        account,
        endpoints: vec![host.to_owned()],
        models: Vec::new(),
        model_map: Vec::new(),
    }
}

/// The credential of an upstream, which no other host may see.
pub(crate) fn key_of(name: &str) -> String {
    if name == "code-assist" { "ya29.code-assist".to_owned() } else { format!("key-of-{name}") }
}

/// The upstream that a request has gone to.
pub(crate) fn host_of(request: &Received) -> &'static str {
    let of = |(name, host): &(&'static str, &str)| request.line.contains(host).then_some(*name);
    HOSTS.iter().find_map(of).unwrap_or("elsewhere")
}

impl Fixture {
    /// These upstreams, in order, and the failover of most tests.
    pub(crate) fn new(names: &[&str]) -> Self {
        Self::with(names, |settings| settings.failover = on())
    }

    /// These upstreams, in order, with settings of the test's own.
    pub(crate) fn with(names: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let scripts: Arc<Mutex<BTreeMap<&'static str, Script>>> = Arc::default();
        let own = Arc::clone(&scripts);
        let mut usual = google();
        let script = ScriptedPlatform::new(move |request| {
            let name = host_of(request);
            let special = lock(&own).get_mut(name).and_then(|script| script(request));
            special.unwrap_or_else(|| match name {
                "code-assist" | "elsewhere" => usual(request),
                name => served(name, request),
            })
        });
        let login = [
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.code-assist"),
            ("GEMINI_PROJECT_ID", "p"),
        ];
        let mut settings = subject::settings(&login);
        settings.max_retries = 1;
        settings.upstreams = names.iter().map(|name| upstream(name)).collect();
        change(&mut settings);
        let fixture = Self { proxy: Proxy::new(settings, &script), script, scripts };
        fixture.script.run(&fixture.proxy, fixture.proxy.tick(&fixture.script));
        fixture
    }

    /// Lets an upstream answer by this script, where the script has an answer.
    pub(crate) fn script(
        &self,
        name: &'static str,
        script: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> &Self {
        lock(&self.scripts).insert(name, Box::new(script));
        self
    }

    /// Lets every call to a model at an upstream end in this way.
    pub(crate) fn answers(&self, name: &'static str, reply: Reply) -> &Self {
        self.script(name, move |request| is_model_call(request).then(|| reply.clone()))
    }

    /// Lets an upstream answer as usual again.
    pub(crate) fn recovers(&self, name: &str) -> &Self {
        lock(&self.scripts).remove(name);
        self
    }

    pub(crate) fn ask(&self, request: Request<Payload>) -> Answer {
        self.script.run(&self.proxy, ask(&self.proxy, &self.script, request))
    }

    /// Asks for a short whole answer.
    pub(crate) fn generate(&self) -> Answer {
        self.ask(generate("hi"))
    }

    /// Lets both clocks go on.
    pub(crate) fn wait(&self, seconds: u64) -> &Self {
        self.script.advance(Duration::from_secs(seconds));
        self
    }

    /// How many calls to a model have gone to an upstream.
    pub(crate) fn calls(&self, name: &str) -> usize {
        self.script
            .all_received()
            .iter()
            .filter(|it| host_of(it) == name && is_model_call(it))
            .count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_model_call(request: &Received) -> bool {
    [":generateContent", ":streamGenerateContent", ":countTokens"]
        .iter()
        .any(|method| request.line.contains(method))
}

/// The usual answer of an upstream of the Gemini API or Vertex AI. It has the upstream's name.
fn served(name: &str, request: &Received) -> Reply {
    let text = format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{name}"}}]}},"finishReason":"STOP"}}]}}"#
    );
    if request.line.contains(":countTokens") {
        return Reply::ok(r#"{"totalTokens":7}"#);
    }
    if request.line.contains(":streamGenerateContent") {
        return Reply::ok(format!("data: {text}\r\n\r\n"))
            .with_header("content-type", "text/event-stream");
    }
    Reply::ok(text).with_header("content-type", "application/json")
}

pub(crate) fn generate(text: &str) -> Request<Payload> {
    post(
        "/v1beta/models/gemini-2.5-flash:generateContent",
        &format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{text}"}}]}}]}}"#),
    )
}

pub(crate) fn stream() -> Request<Payload> {
    post(
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
    )
}

pub(crate) fn count() -> Request<Payload> {
    post(
        "/v1beta/models/gemini-2.5-flash:countTokens",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
    )
}

pub(crate) fn at(request: Request<Payload>, upstream: &str) -> Request<Payload> {
    with(request, "x-proxy-upstream", upstream)
}

/// An error of Google's, with a reason if it is not empty.
pub(crate) fn google_error(code: u16, status: &str, message: &str, reason: &str) -> Reply {
    let details = match reason {
        "" => String::new(),
        reason => format!(
            r#","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}]"#
        ),
    };
    Reply::status(
        code,
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}"{details}}}}}"#
        ),
    )
    .with_header("content-type", "application/json")
}

pub(crate) fn quota() -> Reply {
    google_error(
        429,
        "RESOURCE_EXHAUSTED",
        "You are out of quota. Resets in 2h.",
        "QUOTA_EXHAUSTED",
    )
}
