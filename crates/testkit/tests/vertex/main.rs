//! Whole requests to Vertex AI, over a scripted platform: what reaches Google of a client's request, and what
//! the client gets of Google's answer.

mod calls;
mod copies;
mod express;
mod models;
mod project;

use code_assist_core::settings::{
    AccountSettings, CredentialsJson, GoogleCredentials, Settings, UpstreamSettings, VertexAuth,
    VertexSettings,
};
use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, ask};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::settings;
use http::Request;

/// A token that no client may ever see.
pub(crate) const TOKEN: &str = "ya29.operators-token";

/// The upstream's base URL.
pub(crate) const GOOGLE: &str = "https://vertex.test";

/// What stands before every resource of the operator's.
pub(crate) const PLACE: &str = "projects/own/locations/europe-west4";

pub(crate) fn account() -> VertexSettings {
    let user =
        r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    VertexSettings {
        auth: VertexAuth::Google(GoogleCredentials::Json(CredentialsJson::from(user.to_owned()))),
        project: Some("own".to_owned()),
        location: "europe-west4".to_owned(),
        api_version: "v1beta1".to_owned(),
        quota_project: None,
    }
}

pub(crate) fn vertex_settings(account: VertexSettings, more: &[(&str, &str)]) -> Settings {
    let mut settings = settings(more);
    settings.upstreams = vec![UpstreamSettings {
        name: "vertex".into(),
        account: AccountSettings::Vertex(account),
        endpoints: vec![GOOGLE.to_owned()],
        models: Vec::new(),
        model_map: Vec::new(),
    }];
    settings
}

/// A proxy in front of a Vertex AI that answers everything with this.
pub(crate) fn answering(reply: impl Fn() -> Reply + Send + 'static) -> (ScriptedPlatform, Proxy) {
    with_google(account(), move |_| reply())
}

pub(crate) fn with_google(
    account: VertexSettings,
    mut google: impl FnMut(&Received) -> Reply + Send + 'static,
) -> (ScriptedPlatform, Proxy) {
    let script = ScriptedPlatform::new(move |request| match request.is("/token") {
        true => Reply::ok(format!(r#"{{"access_token":"{TOKEN}","expires_in":3599}}"#)),
        false => google(request),
    });
    let settings = vertex_settings(account, &[("MAX_RETRY_ATTEMPTS", "2")]);
    let proxy = Proxy::new(settings, &script);
    (script, proxy)
}

pub(crate) fn run(script: &ScriptedPlatform, proxy: &Proxy, request: Request<Payload>) -> Answer {
    let answer = script.run(proxy, ask(proxy, script, request));
    assert!(!answer.text().contains(TOKEN), "the operator's token in a body");
    answer
}

/// The requests that Vertex AI got.
pub(crate) fn at_vertex(script: &ScriptedPlatform) -> Vec<Received> {
    let all = script.all_received().into_iter();
    all.filter(|request| request.line.contains(GOOGLE)).collect()
}

/// The only request that Vertex AI got.
pub(crate) fn sent(script: &ScriptedPlatform) -> Received {
    let mut all = at_vertex(script);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Payload> {
    let mut request = code_assist_testkit::client::post(path, body);
    *request.method_mut() = method.parse().expect("a test names a method");
    request
}

pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
