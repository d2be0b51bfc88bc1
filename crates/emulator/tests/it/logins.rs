//! Further logins: each has tokens, a project, a quota and failures of its own.

use code_assist_emulator::{Emulator, PROJECT};
use serde_json::{Value, json};

use crate::client::{CLIENT, control, prompt, refresh, rpc, rpc_with, started, state};

/// An access token for a login's refresh token.
async fn token(google: &Emulator, login: &str) -> String {
    let answer = refresh_of(google, login).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn refresh_of(google: &Emulator, login: &str) -> crate::client::Answer {
    let refresh_token = format!("1//emulator-of-{login}");
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("client_secret", "any"),
        ("refresh_token", &*refresh_token),
    ];
    refresh(google, &fields).await
}

async fn set(google: &Emulator, change: Value) -> Value {
    control(google, "POST", "logins", &change).await
}

/// The usual request in another project.
fn prompt_in(project: &str) -> Value {
    let mut body = prompt("hi");
    body["project"] = json!(project);
    body
}

#[tokio::test]
async fn a_token_of_a_login_works_with_its_project_and_no_other() {
    let google = started().await;
    set(&google, json!({"ada": {}, "ben": {"project": "bens"}})).await;
    assert!(google.credentials_of("ada").contains("1//emulator-of-ada"));
    let (ada, ben) = (token(&google, "ada").await, token(&google, "ben").await);
    assert!(ada.starts_with("ya29.emulator-of-ada-"), "{ada}");
    for (token, project, status) in [
        (&*ada, "project-of-ada", 200),
        (&*ada, "bens", 403),
        (&*ada, PROJECT, 403),
        (&*ben, "bens", 200),
        (&*ben, "project-of-ada", 403),
        (code_assist_emulator::ACCESS_TOKEN, PROJECT, 200),
        (code_assist_emulator::ACCESS_TOKEN, "bens", 403),
    ] {
        let answer = rpc_with(&google, "generateContent", token, &prompt_in(project)).await;
        assert_eq!(answer.status, status, "{token} {project}: {}", answer.text());
        if status == 403 {
            assert!(answer.text().contains("CONSUMER_INVALID"), "{}", answer.text());
        }
    }
    let load = json!({"metadata": {"pluginType": "GEMINI"}});
    let loaded = rpc_with(&google, "loadCodeAssist", &ben, &load).await.json();
    assert_eq!(loaded["cloudaicompanionProject"], "bens");
}

#[tokio::test]
async fn a_login_fails_as_it_is_set_to_and_the_others_go_on() {
    let google = started().await;
    set(&google, json!({"ada": {}, "ben": {}})).await;
    let (ada, ben) = (token(&google, "ada").await, token(&google, "ben").await);
    for (change, status, reason) in [
        (json!({"exhausted": true}), 429, "QUOTA_EXHAUSTED"),
        (json!({"exhausted": false, "status": 503}), 503, "UNAVAILABLE"),
    ] {
        set(&google, json!({"ada": change})).await;
        let failed = rpc_with(&google, "generateContent", &ada, &prompt_in("project-of-ada")).await;
        assert_eq!(failed.status, status);
        assert!(failed.text().contains(reason), "{}", failed.text());
        let fine = rpc_with(&google, "generateContent", &ben, &prompt_in("project-of-ben")).await;
        assert_eq!(fine.status, 200);
        assert_eq!(rpc(&google, "generateContent", &prompt("hi")).await.status, 200);
    }
    set(&google, json!({"ada": {"revoked": true}})).await;
    assert!(refresh_of(&google, "ada").await.text().contains("invalid_grant"));
    assert_eq!(refresh_of(&google, "ben").await.status, 200);

    set(&google, json!({"ben": {"rotate_refresh": true}})).await;
    assert!(refresh_of(&google, "ben").await.json()["refresh_token"].is_string());
    assert_eq!(refresh_of(&google, "ben").await.status, 400, "the old one is revoked");
}

#[tokio::test]
async fn tokens_of_logins_expire_with_all_others_and_end_with_their_login() {
    let google = started().await;
    set(&google, json!({"ada": {"quota": [{"modelId": "hers"}]}})).await;
    let first = token(&google, "ada").await;
    let body = json!({"project": "project-of-ada"});
    let quota = rpc_with(&google, "retrieveUserQuota", &first, &body).await.json();
    assert_eq!(quota["buckets"][0]["modelId"], "hers");
    state(&google, json!({"expire_tokens": true})).await;
    assert_eq!(rpc_with(&google, "retrieveUserQuota", &first, &body).await.status, 401);
    let second = token(&google, "ada").await;
    assert_eq!(rpc_with(&google, "retrieveUserQuota", &second, &body).await.status, 200);
    assert_eq!(set(&google, json!({"ada": null})).await, json!({}));
    assert_eq!(rpc_with(&google, "retrieveUserQuota", &second, &body).await.status, 401);
    assert_eq!(refresh_of(&google, "ada").await.status, 400);
}
