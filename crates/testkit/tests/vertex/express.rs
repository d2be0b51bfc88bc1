//! Express mode: an API key, and no project.

use code_assist_core::Proxy;
use code_assist_core::settings::{VertexAuth, VertexSettings};
use code_assist_testkit::client::{get, post};
use code_assist_testkit::script::{Reply, ScriptedPlatform};

use crate::{GOOGLE, HELLO, account, at_vertex, run, sent, with_google};

const KEY: &str = "express-key-0123456789";

fn express() -> (ScriptedPlatform, Proxy) {
    let auth = VertexAuth::ApiKey(KEY.to_owned().into());
    let account = VertexSettings { auth, project: None, ..account() };
    with_google(account, |_| Reply::status(404, "{}"))
}

#[test]
fn three_methods_have_neither_project_nor_location() {
    for (path, at_google) in [
        ("/v1beta/models/m:generateContent", "/v1beta1/publishers/google/models/m:generateContent"),
        (
            "/v1/projects/p/locations/l/publishers/google/models/m:countTokens",
            "/v1/publishers/google/models/m:countTokens",
        ),
        (
            "/v1beta1/publishers/google/models/m:streamGenerateContent?alt=sse",
            "/v1beta1/publishers/google/models/m:streamGenerateContent?alt=sse",
        ),
    ] {
        let (script, proxy) = express();
        run(&script, &proxy, post(path, HELLO));
        let sent = sent(&script);
        assert_eq!(sent.line, format!("POST {GOOGLE}{at_google}"));
        assert_eq!(sent.headers["x-goog-api-key"], KEY);
        assert!(!sent.headers.contains_key("authorization"));
    }
}

#[test]
fn what_only_a_project_has_is_refused_with_the_way_out() {
    for asked in [
        post("/v1beta/cachedContents", "{}"),
        post("/v1beta/models/m:embedContent", "{}"),
        post("/v1beta/models/m:predict", "{}"),
        post("/v1/publishers/google/models/m:predict", "{}"),
        post("/v1/projects/p/locations/l/endpoints/1:generateContent", "{}"),
        get("/v1beta/models"),
        get("/v1beta1/publishers/google/models/m"),
    ] {
        let (script, proxy) = express();
        let what = asked.uri().to_string();
        let answer = run(&script, &proxy, asked);
        assert_eq!(
            (answer.status.as_u16(), &*answer.reason()),
            (404, "NOT_OFFERED_BY_UPSTREAM"),
            "{what}"
        );
        assert!(answer.text().contains("VERTEX_PROJECT"), "{what} {}", answer.text());
        assert!(at_vertex(&script).is_empty(), "{what}");
    }
}

#[test]
fn no_project_is_the_keys_own_in_a_body() {
    let (script, proxy) = express();
    let body = r#"{"cachedContent":"projects/p/locations/l/cachedContents/1"}"#;
    let answer = run(&script, &proxy, post("/v1beta/models/m:generateContent", body));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "FIELD_NOT_TAKEN"));
}
