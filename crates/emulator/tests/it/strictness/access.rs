//! Calls that are refused for what they name: model, project, key, query parameter.

use code_assist_emulator::ACCESS_TOKEN;
use serde_json::{Value, json};

use crate::client::{prompt, rpc, send, started};

#[tokio::test]
async fn unknown_models_and_projects_are_refused() {
    let google = started().await;
    for model in ["gemini-3.5-flash", "models/gemini-2.5-pro", "nothing"] {
        let mut body = prompt("hi");
        body["model"] = json!(model);
        let answer = rpc(&google, "generateContent", &body).await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (404, "Requested entity was not found."),
            "{model}"
        );
        assert_eq!(answer.json()["error"]["status"], "NOT_FOUND");
    }
    for project in [json!("default"), Value::Null] {
        let mut body = prompt("hi");
        body["project"] = project;
        let answer = rpc(&google, "generateContent", &body).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.json()["error"]["details"][1]["reason"], "CONSUMER_INVALID");
    }
}

#[tokio::test]
async fn client_keys_foreign_projects_and_unknown_query_parameters_are_refused() {
    let google = started().await;
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let body = prompt("hi").to_string();
    let status = async |target: &str, header: (&str, &str)| {
        let headers = [("authorization", bearer.as_str()), header];
        send(&google, "POST", target, &headers, body.as_bytes()).await.status
    };
    let plain = "/v1internal:generateContent";
    assert_eq!(status(plain, ("x-plain", "1")).await, 200);
    assert_eq!(status(plain, ("x-goog-user-project", "mine")).await, 403);
    assert_eq!(status(plain, ("x-goog-api-key", "k")).await, 400);
    assert_eq!(status("/v1internal:generateContent?key=k", ("x-plain", "1")).await, 400);
    assert_eq!(status("/v1internal:generateContent?foo=k", ("x-plain", "1")).await, 400);
    assert_eq!(status("/v1internal:generateContent?alt=json", ("x-plain", "1")).await, 200);
}
