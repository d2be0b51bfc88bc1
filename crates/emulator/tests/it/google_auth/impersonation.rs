//! `generateAccessToken` of IAM credentials.

use code_assist_emulator::{Emulator, TARGET_ACCOUNT, impersonated_json};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::vertex_client::{claims, now, post_as, set, signed, status_of, vertex};

fn target() -> String {
    format!("/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken")
}

fn good() -> Value {
    json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "3600s",
           "delegates": []})
}

async fn generate(google: &Emulator, body: &Value) -> Answer {
    post_as(google, &signed(&claims()), &target(), body).await
}

#[tokio::test]
async fn impersonation_gives_a_token_with_the_time_of_its_end() {
    let google = vertex().await;
    let file: Value = serde_json::from_str(&impersonated_json(&google.url(), true)).unwrap();
    let url = file["service_account_impersonation_url"].as_str().unwrap();
    assert_eq!(url, format!("{}{}", google.url(), target()));
    assert_eq!(file["source_credentials"]["type"], "authorized_user");
    let answer = generate(&google, &good()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let grant = answer.json();
    let until: jiff::Timestamp = grant["expireTime"].as_str().unwrap().parse().unwrap();
    assert!((3595..=3605).contains(&(until.as_second() - now())), "{grant}");
    assert_eq!(status_of(&google, grant["accessToken"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn each_mistake_in_the_request_is_refused() {
    let google = vertex().await;
    for (name, value) in [
        ("scope", json!([])),
        ("scope", json!("https://www.googleapis.com/auth/cloud-platform")),
        ("scope", json!(["email"])),
        ("lifetime", json!("0s")),
        ("lifetime", json!("3601s")),
        ("lifetime", json!(3600)),
        ("lifetime", json!("1h")),
        ("delegates", json!(["x@y.example"])),
        ("expireTime", json!("x")),
    ] {
        let mut body = good();
        body[name] = value;
        assert_eq!(generate(&google, &body).await.status, 400, "{body}");
    }
    let answer = post_as(&google, "ya29.unknown", &target(), &good()).await;
    assert_eq!(answer.status, 401);
    let other = target().replace("target@", "other@");
    assert_eq!(post_as(&google, &signed(&claims()), &other, &good()).await.status, 403);
}

#[tokio::test]
async fn a_source_without_the_role_is_denied() {
    let google = vertex().await;
    set(&google, "google-auth", json!({"iam_denied": true})).await;
    let answer = generate(&google, &good()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.message().contains("iam.serviceAccounts.getAccessToken"));
    let reason = &answer.json()["error"]["details"][0]["reason"];
    assert_eq!(*reason, json!("IAM_PERMISSION_DENIED"));
}
