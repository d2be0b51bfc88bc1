//! Whole requests to the Gemini API, over a scripted platform: what the client wrote reaches Google, and what
//! Google answered reaches the client.

mod answers;
mod copies;
mod errors;
mod requests;
mod sockets;
mod streams;
mod uploads;

use code_assist_core::settings::{AccountSettings, GeminiApiSettings, Settings, UpstreamSettings};
use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, ask};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::settings;
use http::Request;

/// The operator's key, which no client may ever see.
pub(crate) const OPERATORS_KEY: &str = "operators-own-key-0123456789";

/// The upstream's base URL.
pub(crate) const GOOGLE: &str = "https://google.test";

/// Settings with the Gemini API as the only upstream.
pub(crate) fn gemini_settings(more: &[(&str, &str)]) -> Settings {
    let mut settings = settings(more);
    settings.upstreams = vec![upstream("gemini-api")];
    settings
}

pub(crate) fn upstream(name: &str) -> UpstreamSettings {
    UpstreamSettings {
        name: name.into(),
        account: AccountSettings::GeminiApi(GeminiApiSettings {
            api_key: OPERATORS_KEY.to_owned().into(),
        }),
        endpoints: vec![GOOGLE.to_owned()],
        models: Vec::new(),
        model_map: Vec::new(),
    }
}

/// A proxy in front of a Google that answers everything with this.
pub(crate) fn answering(reply: impl Fn() -> Reply + Send + 'static) -> (ScriptedPlatform, Proxy) {
    with_google(move |_| reply())
}

pub(crate) fn with_google(
    google: impl FnMut(&Received) -> Reply + Send + 'static,
) -> (ScriptedPlatform, Proxy) {
    let script = ScriptedPlatform::new(google);
    let proxy = Proxy::new(gemini_settings(&[("MAX_RETRY_ATTEMPTS", "2")]), &script);
    (script, proxy)
}

pub(crate) fn run(script: &ScriptedPlatform, proxy: &Proxy, request: Request<Payload>) -> Answer {
    let answer = script.run(proxy, ask(proxy, script, request));
    assert!(!answer.text().contains(OPERATORS_KEY), "the operator's key in a body");
    for (name, value) in &answer.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains(OPERATORS_KEY), "the operator's key in {name}");
    }
    answer
}

pub(crate) const GENERATE: &str = "/v1/models/gemini-9:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-9:streamGenerateContent?alt=sse";
pub(crate) const ARRAY: &str = "/v1beta/models/gemini-9:streamGenerateContent";
pub(crate) const HELLO: &str = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
