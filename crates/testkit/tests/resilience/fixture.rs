//! A proxy on a scripted platform.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use code_assist_core::settings::{Layer, Settings, Source};
use code_assist_core::{Payload, Platform as _, Proxy};
use code_assist_testkit::client::{Answer, ask, get, with};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use http::Request;

/// A proxy on a scripted platform. When the fixture is dropped, no request, no permit and no exchange
/// with upstream may be left.
pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
}

impl Fixture {
    /// Upstream answers as Google does, except where `special` answers.
    pub(crate) fn new(
        settings: &[(&str, &str)],
        special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let script = ScriptedPlatform::new(google_but(special));
        let ours = [
            ("CODE_ASSIST_ENDPOINT", "https://one.test"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.mine"),
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("GEMINI_PROJECT_ID", "p"),
            ("HOME", "/home/test"),
        ];
        let lookup = |name: &str| {
            let found = settings.iter().chain(&ours).find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let layers = [Layer { source: Source::Env, lookup: &lookup }];
        let (settings, _) = Settings::read(&layers).expect("the test's settings are valid");
        let fixture = Self { proxy: Proxy::new(settings, &script), script };
        fixture.tick();
        fixture
    }

    /// Runs the tick that reads the credentials, after which the proxy has a token.
    pub(crate) fn tick(&self) {
        self.run(self.proxy.tick(&self.script));
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.script.run(&self.proxy, future)
    }

    pub(crate) fn ask(&self, request: Request<Payload>) -> Answer {
        self.run(self.asking(request))
    }

    pub(crate) fn asking(
        &self,
        request: Request<Payload>,
    ) -> Pin<Box<dyn Future<Output = Answer> + '_>> {
        Box::pin(ask(&self.proxy, &self.script, request))
    }

    /// The answer, and the time in milliseconds at which it had been read.
    pub(crate) async fn timed(&self, request: Request<Payload>) -> (u64, Answer) {
        let answer = self.asking(request).await;
        (self.now(), answer)
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.script.now().0 / 1000
    }

    /// When the calls came to upstream, in milliseconds.
    pub(crate) fn calls(&self) -> Vec<u64> {
        self.script.all_received().iter().map(|call| call.at.0 / 1000).collect()
    }

    /// The hosts that were called, in order.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let host = |call: &Received| call.line.split('/').nth(2).map(str::to_owned);
        self.script.all_received().iter().filter_map(host).collect()
    }

    /// The value of a sample of `GET /metrics`, such as `retries_total{reason="connect"}`.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        sample_of(&self.metrics(), sample)
    }

    fn metrics(&self) -> String {
        self.ask(with(get("/metrics"), "x-goog-api-key", "key-of-ann")).text()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.proxy.metrics().in_flight(), 0, "requests in flight");
        assert_eq!(self.proxy.memory().used(), 0, "memory reserved");
        assert_eq!(self.script.queued(), 0, "permits held or waited for");
        assert_eq!(self.script.exchanges(), 0, "exchanges with upstream");
        let metrics = self.metrics();
        let gauges = ["requests_in_flight ", "requests_queued ", "upstream_requests_in_flight{"];
        for gauge in gauges.map(|gauge| format!("code_assist_proxy_{gauge}")) {
            let lines: Vec<&str> = metrics.lines().filter(|it| it.starts_with(&gauge)).collect();
            assert!(!lines.is_empty(), "no {gauge} in\n{metrics}");
            assert!(lines.iter().all(|line| line.ends_with(" 0.0")), "{lines:?}");
        }
    }
}

/// The value of a sample in the text of `GET /metrics`.
pub(crate) fn sample_of(metrics: &str, sample: &str) -> f64 {
    let sample = format!("code_assist_proxy_{sample} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&sample));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {sample}\n{metrics}"))
}

/// Upstream gives these answers, one for each call, and then Google's usual ones.
pub(crate) fn in_turn(
    replies: impl IntoIterator<Item = Reply>,
) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    let mut replies: VecDeque<Reply> = replies.into_iter().collect();
    move |_| replies.pop_front()
}

/// Upstream always gives this answer.
pub(crate) fn always(reply: Reply) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    move |_| Some(reply.clone())
}

/// A load balancer's page, for which the endpoint is at fault.
pub(crate) fn page(status: u16) -> Reply {
    Reply::status(status, "<html>Sorry</html>").with_header("content-type", "text/html")
}

/// A request that differs from those with other numbers. Equal requests count once for a model's
/// breaker.
pub(crate) fn hello(n: usize) -> String {
    HELLO.replace("Hello", &format!("Hello {n}"))
}

/// An error in Code Assist's format, for which the model is at fault.
pub(crate) fn error(status: u16, details: &str) -> Reply {
    Reply::status(status, error_body(status, details)).with_header("content-type", "text/plain")
}

pub(crate) fn error_body(status: u16, details: &str) -> String {
    format!(
        r#"{{"error":{{"code":{status},"message":"No.","status":"SOME_STATUS","details":[{details}]}}}}"#
    )
}

pub(crate) fn reason(reason: &str) -> String {
    format!(
        r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"cloudcode-pa.googleapis.com"}}"#
    )
}

pub(crate) fn retry_info(delay: &str) -> String {
    format!(r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}"#)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const PRO: &str = "/v1beta/models/gemini-2.5-pro:generateContent";
pub(crate) const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
pub(crate) const ZERO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;

/// Futures of different kinds, to be polled together.
pub(crate) fn together<'a, T, const N: usize>(
    futures: [Pin<Box<dyn Future<Output = T> + 'a>>; N],
) -> Vec<Pin<Box<dyn Future<Output = T> + 'a>>> {
    futures.into()
}
