//! Tokens: refresh, check, expiry, revocation.

use serde_json::{Value, json};

use crate::client::{
    CLIENT, GOOD_REFRESH, REFRESH, prompt, refresh, rpc_with, send, started, state,
};

#[tokio::test]
async fn a_refresh_issues_a_token_that_code_assist_accepts() {
    let google = started().await;
    let answer = refresh(&google, &GOOD_REFRESH).await;
    assert_eq!(answer.status, 200);
    let grant = answer.json();
    assert_eq!(grant["expires_in"], 3599);
    assert_eq!(grant["token_type"], "Bearer");
    assert!(grant.get("refresh_token").is_none(), "refresh tokens do not rotate");
    let token = grant["access_token"].as_str().unwrap();
    assert!(token.starts_with("ya29.emulator-"));
    let answer = rpc_with(&google, "generateContent", token, &prompt("hi")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn each_mistake_in_a_refresh_has_its_own_answer() {
    let google = started().await;
    state(&google, json!({"client_secret": "the secret"})).await;
    let good = |name: &'static str| GOOD_REFRESH.into_iter().filter(move |field| field.0 != name);
    let cases = [
        (good("grant_type").collect(), 400, "invalid_request", "grant_type"),
        (good("client_id").collect(), 400, "invalid_request", "client ID"),
        (good("client_secret").collect(), 400, "invalid_request", "client_secret is missing."),
        (GOOD_REFRESH.to_vec(), 401, "invalid_client", "Unauthorized"),
        (
            good("client_id").chain([("client_id", "other")]).collect(),
            401,
            "invalid_client",
            "The OAuth client was not found.",
        ),
        (
            good("grant_type").chain([("grant_type", "password")]).collect(),
            400,
            "unsupported_grant_type",
            "password",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT),
                ("client_secret", "the secret"),
            ],
            400,
            "invalid_request",
            "Missing required parameter: refresh_token",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT),
                ("client_secret", "the secret"),
                ("refresh_token", "1//of-another-client"),
            ],
            400,
            "invalid_grant",
            "Bad Request",
        ),
    ];
    for (fields, status, error, why) in cases {
        let answer = refresh(&google, &fields).await;
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)), "{why}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_json_body_is_no_form() {
    let google = started().await;
    let headers = [("content-type", "application/json")];
    let body = json!({"grant_type": "refresh_token", "refresh_token": REFRESH}).to_string();
    let answer = send(&google, "POST", "/token", &headers, body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn a_revoked_refresh_token_is_invalid_grant_while_its_access_token_works() {
    let google = started().await;
    let token = refresh(&google, &GOOD_REFRESH).await.json()["access_token"].clone();
    state(&google, json!({"revoke_refresh": true})).await;
    let answer = refresh(&google, &GOOD_REFRESH).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": "invalid_grant",
               "error_description": "Token has been expired or revoked."})
    );
    let token = token.as_str().unwrap();
    let answer = rpc_with(&google, "generateContent", token, &prompt("hi")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_rotated_refresh_token_replaces_the_old_one() {
    let google = started().await;
    state(&google, json!({"rotate_refresh": true})).await;
    let grant = refresh(&google, &GOOD_REFRESH).await.json();
    let rotated = grant["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&google, &GOOD_REFRESH).await.json()["error"], "invalid_grant");
    let mut fields = GOOD_REFRESH;
    fields[3].1 = rotated;
    assert_eq!(refresh(&google, &fields).await.status, 200);
}

#[tokio::test]
async fn tokens_expire_after_their_lifetime_and_on_demand() {
    let google = started().await;
    state(&google, json!({"token_lifetime_ms": 0})).await;
    let short = refresh(&google, &GOOD_REFRESH).await.json()["access_token"].clone();
    state(&google, json!({"token_lifetime_ms": 60_000})).await;
    let long = refresh(&google, &GOOD_REFRESH).await.json()["access_token"].clone();
    let status = async |token: &Value| {
        let token = token.as_str().unwrap();
        rpc_with(&google, "generateContent", token, &prompt("hi")).await.status
    };
    assert_eq!(status(&short).await, 401);
    assert_eq!(status(&long).await, 200);
    state(&google, json!({"expire_tokens": true})).await;
    assert_eq!(status(&long).await, 401);
}

#[tokio::test]
async fn a_401_names_what_is_wrong_with_the_token() {
    let google = started().await;
    let expired: Value = serde_json::from_str(&google.expired_credentials()).unwrap();
    assert!(expired["expiry_date"].as_i64().unwrap() > 1_000_000_000_000, "milliseconds");
    let expired = expired["access_token"].as_str().unwrap();
    for (token, reason) in
        [(expired, "ACCESS_TOKEN_EXPIRED"), ("ya29.never-issued", "ACCESS_TOKEN_TYPE_UNSUPPORTED")]
    {
        let answer = rpc_with(&google, "generateContent", token, &prompt("hi")).await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        let error = &answer.json()["error"];
        assert_eq!(error["status"], "UNAUTHENTICATED");
        assert_eq!(error["details"][0]["reason"], reason);
        assert_eq!(error["details"][0]["metadata"]["service"], "cloudcode-pa.googleapis.com");
    }
    let answer = send(&google, "POST", "/v1internal:generateContent", &[], b"{}").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["error"]["details"][0]["reason"], "CREDENTIALS_MISSING");
}

#[tokio::test]
async fn the_printed_credentials_work() {
    let google = started().await;
    let good: Value = serde_json::from_str(&google.credentials()).unwrap();
    let token = good["access_token"].as_str().unwrap();
    assert_eq!(rpc_with(&google, "generateContent", token, &prompt("hi")).await.status, 200);
    state(&google, json!({"revoke_refresh": true})).await;
    let again: Value = serde_json::from_str(&google.credentials()).unwrap();
    let mut fields = GOOD_REFRESH;
    fields[3].1 = again["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&google, &fields).await.status, 200);
}

#[tokio::test]
async fn tokeninfo_describes_a_token_from_header_or_query() {
    let google = started().await;
    let bearer = [("authorization", "Bearer ya29.emulator-access")];
    let by_header = send(&google, "POST", "/tokeninfo", &bearer, b"").await;
    let target = "/tokeninfo?access_token=ya29.emulator-access";
    let by_query = send(&google, "GET", target, &[], b"").await;
    for answer in [by_header, by_query] {
        assert_eq!(answer.status, 200);
        let info = answer.json();
        assert_eq!((&info["aud"], &info["azp"]), (&json!(CLIENT), &json!(CLIENT)));
        assert!(info["scope"].as_str().unwrap().contains("auth/cloud-platform"));
        assert_eq!(info["expires_in"], "3599");
        assert_eq!(info["email"], "someone@emulator.example");
    }
    let bad = send(&google, "GET", "/tokeninfo?access_token=no", &[], b"").await;
    assert_eq!((bad.status, &bad.json()["error"]), (400, &json!("invalid_token")));
    let none = send(&google, "POST", "/tokeninfo", &[], b"").await;
    assert_eq!((none.status, &none.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn userinfo_needs_a_valid_token() {
    let google = started().await;
    let bearer = [("authorization", "Bearer ya29.emulator-access")];
    let answer = send(&google, "GET", "/oauth2/v2/userinfo", &bearer, b"").await;
    assert_eq!(answer.json()["email"], "someone@emulator.example");
    assert_eq!(send(&google, "GET", "/oauth2/v2/userinfo", &[], b"").await.status, 401);
}

#[tokio::test]
async fn a_revoked_token_ends_the_whole_grant() {
    let google = started().await;
    let answer = send(&google, "POST", "/revoke?token=ya29.emulator-access", &[], b"").await;
    assert_eq!(answer.status, 200);
    let answer = rpc_with(&google, "generateContent", "ya29.emulator-access", &prompt("x")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(refresh(&google, &GOOD_REFRESH).await.json()["error"], "invalid_grant");
    let again = send(&google, "POST", "/revoke?token=ya29.emulator-access", &[], b"").await;
    assert_eq!((again.status, &again.json()["error"]), (400, &json!("invalid_token")));
}

#[tokio::test]
async fn the_token_endpoint_fails_as_the_state_says() {
    let google = started().await;
    let failing = json!({"token_status": 503, "token_body": "<html>busy</html>"});
    state(&google, failing).await;
    let answer = refresh(&google, &GOOD_REFRESH).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "<html>busy</html>"));
    state(&google, json!({"token_status": null, "token_body": null})).await;
    assert_eq!(refresh(&google, &GOOD_REFRESH).await.status, 200);
    state(&google, json!({"token_delay_ms": 50})).await;
    let before = std::time::Instant::now();
    assert_eq!(refresh(&google, &GOOD_REFRESH).await.status, 200);
    assert!(before.elapsed().as_millis() >= 50);
}
