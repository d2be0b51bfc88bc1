//! Credentials over time: a credential file that changes while requests are served, accounts that
//! follow each other, tokens that expire, a token endpoint that fails.

mod accounts;
mod check;
mod clock;
mod file;
mod google_cloud;
mod models;
mod not_renewable;
mod project;
mod token_endpoint;

use std::time::Duration;

use code_assist_core::{Payload, Platform as _, Proxy};
use code_assist_testkit::client::{Answer, all, ask, get, post};
use code_assist_testkit::script::ScriptedPlatform;
use http::Request;

/// An event of a test.
pub(crate) enum Event {
    /// A client sends a `GET` to this path.
    Get(&'static str),
    /// A client sends a `POST` with this body to this path.
    Post(&'static str, &'static str),
    /// The shell calls `tick`.
    Tick,
    /// The CLI writes the credential file.
    Write(String),
}

/// Runs events, each after its number of milliseconds. Returns the clients' answers in order.
pub(crate) fn play(
    script: &ScriptedPlatform,
    proxy: &Proxy,
    events: impl IntoIterator<Item = (u64, Event)>,
) -> Vec<Answer> {
    let running = events.into_iter().map(|(after_ms, event)| async move {
        script.timer(Duration::from_millis(after_ms)).await;
        match event {
            Event::Get(path) => return Some(ask(proxy, script, get(path)).await),
            Event::Post(path, body) => return Some(ask(proxy, script, post(path, body)).await),
            Event::Tick => proxy.tick(script).await,
            Event::Write(login) => script.write_login(login),
        }
        None
    });
    script.run(proxy, all(running.collect())).into_iter().flatten().collect()
}

pub(crate) fn hello() -> Event {
    Event::Post(GENERATE, HELLO)
}

pub(crate) fn run(script: &ScriptedPlatform, proxy: &Proxy, request: Request<Payload>) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const MODELS: &str = "/v1beta/models?pageSize=1000";
pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
