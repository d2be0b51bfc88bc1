//! The project that the credentials name, where the operator has set none.

use code_assist_core::settings::{CredentialsJson, GoogleCredentials, VertexAuth, VertexSettings};
use code_assist_testkit::client::post;
use code_assist_testkit::rsa;
use code_assist_testkit::script::Reply;
use serde_json::json;

use crate::{GOOGLE, HELLO, account, at_vertex, run, sent, with_google};

fn with_json(text: String) -> VertexSettings {
    let auth = VertexAuth::Google(GoogleCredentials::Json(CredentialsJson::from(text)));
    VertexSettings { auth, project: None, ..account() }
}

#[test]
fn a_service_account_names_the_project() {
    let file = json!({
        "type": "service_account", "project_id": "robots-home", "private_key_id": "k",
        "private_key": rsa::pem(), "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let (script, proxy) = with_google(with_json(file.to_string()), |_| Reply::ok("{}"));
    // The names in the body of the very first request are compared with it too.
    let body = r#"{"cachedContent":"projects/other/locations/europe-west4/cachedContents/1"}"#;
    let path = "/v1beta1/publishers/google/models/m:generateContent";
    let answer = run(&script, &proxy, post(path, body));
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "FIELD_NOT_TAKEN"));
    run(&script, &proxy, post(path, HELLO));
    let place = "projects/robots-home/locations/europe-west4";
    let path = format!("/v1beta1/{place}/publishers/google/models/m:generateContent");
    assert_eq!(sent(&script).line, format!("POST {GOOGLE}{path}"));
}

#[test]
fn credentials_without_a_project_say_what_to_set() {
    let user =
        r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    let (script, proxy) = with_google(with_json(user.to_owned()), |_| Reply::ok("{}"));
    for path in ["/v1beta/models/m:generateContent", "/v1/publishers/google/models/m:predict"] {
        let answer = run(&script, &proxy, post(path, HELLO));
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "CREDENTIALS_MISSING"));
        assert!(answer.text().contains("VERTEX_PROJECT"), "{}", answer.text());
    }
    assert!(at_vertex(&script).is_empty());
}
