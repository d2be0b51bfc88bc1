//! The list of models, and one model.

use std::time::Duration;

use code_assist_testkit::client::get;
use code_assist_testkit::script::Reply;
use serde_json::Value;

use crate::{GOOGLE, account, answering, at_vertex, run, sent, with_google};

#[test]
fn a_client_of_the_gemini_api_gets_the_catalogue_in_its_own_form() {
    let (script, proxy) = with_google(account(), |request| {
        if request.line.ends_with("pageToken=a%2Fb") {
            Reply::ok(r#"{"publisherModels":[{"name":"publishers/google/models/gemini-9-pro"}]}"#)
        } else {
            Reply::ok(
                r#"{"publisherModels":[{"name":"publishers/google/models/gemini-9"},{"name":"publishers/google/models/text-bison"}],"nextPageToken":"a/b"}"#,
            )
        }
    });
    for _ in 0..2 {
        let answer = run(&script, &proxy, get("/v1beta/models?pageSize=1"));
        let list: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(list["models"][0]["name"], "models/gemini-9", "{list}");
        assert!(list["nextPageToken"].is_string());
    }
    let asked = at_vertex(&script);
    assert_eq!(asked.len(), 2, "the list is kept for a while");
    assert_eq!(
        asked[0].line,
        format!("GET {GOOGLE}/v1beta1/publishers/google/models?pageSize=200")
    );
    // A user's credentials name who is charged.
    assert_eq!(asked[0].headers["x-goog-user-project"], "own");
    script.advance(Duration::from_secs(61));
    run(&script, &proxy, get("/v1beta/models"));
    assert_eq!(at_vertex(&script).len(), 4);
}

#[test]
fn one_model_is_read_from_the_catalogue() {
    let (script, proxy) =
        answering(|| Reply::ok(r#"{"name":"publishers/google/models/gemini-9"}"#));
    let answer = run(&script, &proxy, get("/v1beta/models/gemini-9"));
    let model: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(model["name"], "models/gemini-9");
    assert_eq!(
        sent(&script).line,
        format!("GET {GOOGLE}/v1beta1/publishers/google/models/gemini-9")
    );
    let (script, proxy) =
        answering(|| Reply::ok(r#"{"name":"publishers/google/models/text-bison"}"#));
    let answer = run(&script, &proxy, get("/v1beta/models/text-bison"));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (404, "NOT_FOUND"));
}

#[test]
fn a_client_in_vertex_mode_gets_the_catalogue_as_it_is() {
    let text = "{ \"publisherModels\": [] }\n";
    for (path, at_google) in [
        (
            "/v1beta1/publishers/google/models?pageSize=7&key=K",
            "publishers/google/models?pageSize=7",
        ),
        ("/v1/projects/p/locations/l/publishers/google/models/m", "publishers/google/models/m"),
    ] {
        let (script, proxy) = answering(move || Reply::ok(text));
        let answer = run(&script, &proxy, get(path));
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, text));
        assert_eq!(sent(&script).line, format!("GET {GOOGLE}/v1beta1/{at_google}"));
    }
}

#[test]
fn a_catalogue_that_is_refused_says_that_models_can_be_called() {
    let (script, proxy) = answering(|| {
        Reply::status(
            403,
            r#"{"error":{"code":403,"message":"No right.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED","domain":"iam.googleapis.com"}]}}"#,
        )
    });
    let answer = run(&script, &proxy, get("/v1beta/models"));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (403, "IAM_PERMISSION_DENIED"));
    let text = answer.text();
    assert!(
        text.contains("models can be called all the same") && text.contains("No right."),
        "{text}"
    );
}
