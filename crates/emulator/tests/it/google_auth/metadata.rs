//! The metadata server.

use code_assist_emulator::{Emulator, SERVICE_ACCOUNT, VERTEX_PROJECT};
use serde_json::{Value, json};

use crate::client::{Answer, control, send, state};
use crate::vertex_client::{set, status_of, vertex};

const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");
const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token?scopes=\
                     https://www.googleapis.com/auth/cloud-platform";

async fn get(google: &Emulator, target: &str) -> Answer {
    send(google, "GET", target, &[FLAVOR], b"").await
}

#[tokio::test]
async fn the_machines_token_is_good_for_vertex_ai() {
    let google = vertex().await;
    let answer = get(&google, TOKEN).await;
    assert_eq!(answer.headers["metadata-flavor"], "Google");
    let grant = answer.json();
    assert_eq!((&grant["expires_in"], &grant["token_type"]), (&json!(3599), &json!("Bearer")));
    assert_eq!(status_of(&google, grant["access_token"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn the_token_stays_the_same_until_five_minutes_before_its_end() {
    let google = vertex().await;
    let token = async || get(&google, TOKEN).await.json()["access_token"].clone();
    let first = token().await;
    assert_eq!(token().await, first);
    state(&google, json!({"expire_tokens": true})).await;
    let second = token().await;
    assert_ne!(second, first);
    state(&google, json!({"expire_tokens": true, "token_lifetime_ms": 299_000})).await;
    let third = token().await;
    assert_ne!(token().await, third, "less than five minutes are left");
}

#[tokio::test]
async fn a_request_needs_the_flavor_and_must_not_come_from_a_proxy() {
    let google = vertex().await;
    assert_eq!(send(&google, "GET", TOKEN, &[], b"").await.status, 403);
    let wrong = [("metadata-flavor", "google")];
    assert_eq!(send(&google, "GET", TOKEN, &wrong, b"").await.status, 403);
    for header in [("x-forwarded-for", "1.2.3.4"), ("via", "1.1 x"), ("authorization", "Bearer x")]
    {
        let answer = send(&google, "GET", TOKEN, &[FLAVOR, header], b"").await;
        assert_eq!(answer.status, 403, "{header:?}");
    }
    let bad = TOKEN.replace("cloud-platform", "drive");
    assert_eq!(get(&google, &bad).await.status, 400);
}

#[tokio::test]
async fn the_server_knows_project_account_and_universe() {
    let google = vertex().await;
    let base = "/computeMetadata/v1";
    let project = format!("{base}/project/project-id");
    assert_eq!(get(&google, &project).await.text(), VERTEX_PROJECT);
    let account = format!("{base}/instance/service-accounts/default");
    assert_eq!(get(&google, &format!("{account}/email")).await.text(), SERVICE_ACCOUNT);
    let universe = format!("{base}/universe/universe-domain");
    assert_eq!(get(&google, &universe).await.status, 404, "the default one");
    set(&google, "google-auth", json!({"universe": "example.goog"})).await;
    assert_eq!(get(&google, &universe).await.text(), "example.goog");
    assert_eq!(get(&google, "/").await.status, 200, "the presence check");
    assert_eq!(send(&google, "GET", "/", &[], b"").await.status, 404);
    let counts = control(&google, "GET", "counts", &Value::Null).await;
    assert_eq!(counts, json!({"metadata": 5, "unknown": 1}));
}

#[tokio::test]
async fn the_server_can_lack_an_account_or_the_flavor_or_be_starting() {
    let google = vertex().await;
    set(&google, "google-auth", json!({"metadata_account": false})).await;
    assert_eq!(get(&google, TOKEN).await.status, 404);
    assert_eq!(get(&google, "/computeMetadata/v1/project/project-id").await.status, 200);
    set(&google, "google-auth", json!({"metadata_account": true, "metadata_flavor": false})).await;
    let answer = get(&google, TOKEN).await;
    assert_eq!((answer.status, answer.headers.get("metadata-flavor")), (200, None));
    set(&google, "google-auth", json!({"metadata_starting": true})).await;
    assert_eq!(get(&google, TOKEN).await.status, 503);
}
