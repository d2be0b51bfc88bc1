//! Whole requests, from their arrival to the end of their answers, over a scripted platform.

mod envelope;
mod errors;
mod models;
mod project;
mod protocol;
mod streams;
mod tokens;

use code_assist_core::Proxy;
use code_assist_testkit::client::{Answer, ask};
use code_assist_testkit::script::ScriptedPlatform;
use code_assist_testkit::subject::{self, proxy_with};

/// A credential file whose access token expires after `seconds`.
pub(crate) fn login(seconds: i64) -> String {
    subject::login("ya29.old", "1//refresh", seconds)
}

/// A proxy with that credential file.
pub(crate) fn signed_in(script: &ScriptedPlatform, seconds: i64) -> Proxy {
    script.write_login(login(seconds));
    proxy_with(script, &[])
}

pub(crate) fn run(
    script: &ScriptedPlatform,
    proxy: &Proxy,
    request: http::Request<code_assist_core::Payload>,
) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
pub(crate) const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
