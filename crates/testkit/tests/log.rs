//! The log line of a request. Alone in its program: what a subscriber is asked for depends on what
//! other tests log at the same time.

use std::fmt;
use std::sync::{Arc, Mutex};

use code_assist_core::Proxy;
use code_assist_core::settings::{Layer, Settings, Source};
use code_assist_testkit::client::{ask, get, post};
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use tracing::field::{Field, Visit};
use tracing::span;

#[test]
fn one_line_a_request_has_every_key_and_no_secret() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let script = ScriptedPlatform::new(google_but(|request| {
            request.body.contains("quota").then(|| Reply::status(429, "{}"))
        }));
        let proxy = proxy(&script);
        for (path, body) in [
            (GENERATE, HELLO),
            (STREAM, HELLO),
            (COUNT, HELLO),
            (GENERATE, r#"{"contents":[{"parts":[{"text":"quota"}]}]}"#),
            (GENERATE, "{"),
            ("/v1beta/models/gemini-2.5-pro:embedContent", HELLO),
        ] {
            script.run(&proxy, ask(&proxy, &script, post(path, body)));
        }
        let response = script.run(&proxy, proxy.handle(&script, post(STREAM, HELLO)));
        drop(response);
        script.run(&proxy, ask(&proxy, &script, get("/health")));
    });
    let lines: Vec<_> = log.0.lock().unwrap().iter().map(|fields| fields.0.clone()).collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    for line in &lines {
        let names: Vec<&str> = line.iter().map(|(name, _)| *name).collect();
        // `timestamp` is the subscriber's.
        for key in [
            "request_id",
            "duration_ms",
            "cache_hit",
            "model",
            "status",
            "x_cache",
            "method",
            "stream",
            "upstream_ms",
            "overhead_ms",
            "ttfb_ms",
            "retries",
            "trace_id",
            "client",
            "bytes_in",
            "bytes_out",
            "outcome",
        ] {
            assert_eq!(names.iter().filter(|name| **name == key).count(), 1, "{key} in {names:?}");
        }
        assert!(!format!("{line:?}").contains("secret"), "{line:?}");
    }
    let outcomes: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.iter().find(|(name, _)| *name == "outcome"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(
        outcomes,
        ["ok", "ok", "ok", "refused", "refused", "refused", "client_gone"]
            .map(|it| format!("{it:?}"))
    );
}

/// Keeps the fields of the request lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Fields>>>);

#[derive(Debug, Clone)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "request"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        self.0.lock().expect("no test panics with it").push(fields);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn proxy(script: &ScriptedPlatform) -> Proxy {
    script.write_login(
        r#"{"access_token":"ya29.secret-access","refresh_token":"1//secret-refresh","expiry_date":1750003600000}"#,
    );
    let ours = [
        ("CODE_ASSIST_ENDPOINT", "http://127.0.0.1:1"),
        ("OAUTH_TOKEN_URL", "http://127.0.0.1:2/token"),
        ("OAUTH_TOKENINFO_URL", "http://127.0.0.1:2/tokeninfo"),
        ("HOME", "/home/test"),
    ];
    let lookup = |name: &str| {
        let found = ours.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let layers = [Layer { source: Source::Env, lookup: &lookup }];
    let (settings, _) = Settings::read(&layers).expect("the test's settings are good");
    Proxy::new(settings, script)
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
