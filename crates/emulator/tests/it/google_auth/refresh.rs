//! The refresh grant of an `authorized_user` file.

use code_assist_emulator::authorized_user_json;
use serde_json::{Value, json};

use crate::client::{Answer, GOOD_REFRESH, control, refresh, send, state};
use crate::vertex_client::{form, set, status_of, vertex};

async fn granted(google: &code_assist_emulator::Emulator, change: &[(&str, &str)]) -> Answer {
    let file: Value = serde_json::from_str(&authorized_user_json(&google.url())).unwrap();
    assert_eq!(file["type"], "authorized_user");
    let mut fields = vec![("grant_type", "refresh_token")];
    for name in ["client_id", "client_secret", "refresh_token"] {
        fields.push((name, file[name].as_str().unwrap()));
    }
    for (name, value) in change {
        match fields.iter_mut().find(|(known, _)| known == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    form(google, "/token", &[], &fields).await
}

#[tokio::test]
async fn the_refresh_grant_gives_a_token_for_vertex_ai() {
    let google = vertex().await;
    let grant = granted(&google, &[]).await.json();
    assert_eq!(grant["expires_in"], 3599);
    assert!(grant.get("refresh_token").is_none());
    let token = grant["access_token"].as_str().unwrap();
    assert_eq!(status_of(&google, token).await, 200);
    state(&google, json!({"expire_tokens": true})).await;
    assert_eq!(status_of(&google, token).await, 401);
    let counts = control(&google, "GET", "counts", &Value::Null).await;
    assert_eq!(counts, json!({"token": 1, "generateContent": 2}));
}

#[tokio::test]
async fn each_mistake_in_the_refresh_grant_is_refused() {
    let google = vertex().await;
    for (change, status, error) in [
        (("client_secret", "wrong"), 401, "invalid_client"),
        (("client_secret", ""), 400, "invalid_request"),
        (("refresh_token", "1//other"), 400, "invalid_grant"),
        (("grant_type", "password"), 400, "unsupported_grant_type"),
        (("scope", "x"), 400, "invalid_request"),
    ] {
        let answer = granted(&google, &[change]).await;
        let said = answer.json();
        assert_eq!((answer.status, &said["error"]), (status, &json!(error)), "{change:?}");
    }
    set(&google, "google-auth", json!({"token_error": "invalid_grant"})).await;
    let answer = granted(&google, &[]).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn a_token_of_code_assist_is_none_of_vertex_ai() {
    let google = vertex().await;
    let grant = refresh(&google, &GOOD_REFRESH).await.json();
    assert_eq!(status_of(&google, grant["access_token"].as_str().unwrap()).await, 401);
}

#[tokio::test]
async fn a_user_needs_a_quota_project_for_the_catalogue() {
    let google = vertex().await;
    set(&google, "vertex", json!({"quota_project": "payer"})).await;
    let grant = granted(&google, &[]).await.json();
    let bearer = format!("Bearer {}", grant["access_token"].as_str().unwrap());
    let target = "/v1beta1/publishers/google/models";
    let plain = [("authorization", bearer.as_str())];
    let answer = send(&google, "GET", target, &plain, b"").await;
    assert_eq!(answer.status, 403);
    assert!(answer.message().contains("requires a quota project"), "{}", answer.message());
    let paid = [("authorization", bearer.as_str()), ("x-goog-user-project", "payer")];
    assert_eq!(send(&google, "GET", target, &paid, b"").await.status, 200);
}
