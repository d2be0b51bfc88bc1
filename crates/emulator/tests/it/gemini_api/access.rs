//! Credentials and headers.

use code_assist_emulator::{ACCESS_TOKEN, GEMINI_API_KEY, GEMINI_STANDARD_API_KEY, Options};
use serde_json::{Value, json};

use super::{GENERATE, STREAM, change, get, post, prompt, reason, started};
use crate::client::{Answer, log, send};

async fn with(
    google: &code_assist_emulator::Emulator,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    send(google, "POST", target, headers, prompt("hi").to_string().as_bytes()).await
}

#[tokio::test]
async fn exactly_one_credential_is_taken() {
    let google = started().await;
    assert_eq!(with(&google, GENERATE, &[("x-goog-api-key", GEMINI_API_KEY)]).await.status, 200);
    let target = format!("{GENERATE}?key={GEMINI_STANDARD_API_KEY}");
    assert_eq!(with(&google, &target, &[]).await.status, 200);
    for headers in [
        [("x-goog-api-key", GEMINI_API_KEY), ("authorization", "Bearer x")],
        [("x-goog-api-key", GEMINI_API_KEY), ("x-goog-api-key", GEMINI_API_KEY)],
        [("authorization", "Basic eDp5"), ("x-goog-api-key", GEMINI_API_KEY)],
    ] {
        let answer = with(&google, GENERATE, &headers).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        assert_eq!(
            answer.message(),
            "Multiple authentication credentials received. Please pass only one."
        );
    }
    let both = with(&google, &target, &[("x-goog-api-key", GEMINI_API_KEY)]).await;
    assert_eq!(both.status, 400);
    let none = with(&google, GENERATE, &[]).await;
    assert_eq!(
        (none.status, none.json()["error"]["status"].as_str()),
        (403, Some("PERMISSION_DENIED"))
    );
}

#[tokio::test]
async fn a_key_as_bearer_is_taken_by_openai_paths_only() {
    let google = started().await;
    let bearer = format!("Bearer {GEMINI_API_KEY}");
    let headers = [("authorization", bearer.as_str())];
    let native = with(&google, GENERATE, &headers).await;
    assert_eq!((native.status, reason(&native).as_str()), (401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    let metadata = &native.json()["error"]["details"][0]["metadata"];
    assert_eq!(
        metadata["method"],
        "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent"
    );
    let models = send(&google, "GET", "/v1beta/openai/models", &headers, b"").await;
    assert_eq!(models.status, 200);
    let oauth = format!("Bearer {ACCESS_TOKEN}");
    let oauth = with(&google, GENERATE, &[("authorization", &oauth)]).await;
    assert_eq!((oauth.status, reason(&oauth).as_str()), (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"));
}

#[tokio::test]
async fn an_unknown_key_is_400_with_a_localized_message() {
    let google = started().await;
    let answer = with(&google, GENERATE, &[("x-goog-api-key", "wrong")]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                 "reason": "API_KEY_INVALID",
                 "domain": "googleapis.com",
                 "metadata": {"service": "generativelanguage.googleapis.com"}},
                {"@type": "type.googleapis.com/google.rpc.LocalizedMessage",
                 "locale": "en-US",
                 "message": "API key not valid. Please pass a valid API key."},
            ],
        }})
    );
}

#[tokio::test]
async fn an_auth_key_in_the_query_is_refused() {
    let google = started().await;
    let answer = with(&google, &format!("{GENERATE}?key={GEMINI_API_KEY}"), &[]).await;
    assert_eq!((answer.status, reason(&answer).as_str()), (401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
}

#[tokio::test]
async fn every_status_of_a_key_has_its_own_refusal() {
    let google = started().await;
    for (status, code, reason_or_text) in [
        ("expired", 400, "API_KEY_INVALID"),
        ("ip_blocked", 403, "API_KEY_IP_ADDRESS_BLOCKED"),
        ("leaked", 403, "Your API key was reported as leaked. Please use another API key."),
        ("referrer_blocked", 403, "API_KEY_HTTP_REFERRER_BLOCKED"),
        ("service_blocked", 403, "API_KEY_SERVICE_BLOCKED"),
        ("suspended", 403, "CONSUMER_SUSPENDED"),
        ("unsupported", 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ] {
        change(&google, json!({"keys": {"k": {"status": status}}})).await;
        let answer = with(&google, GENERATE, &[("x-goog-api-key", "k")]).await;
        assert_eq!(answer.status, code, "{status}");
        assert!(answer.text().contains(reason_or_text), "{status}: {}", answer.text());
    }
    change(&google, json!({"keys": {"secret-k": {"status": "suspended"}}})).await;
    let suspended = with(&google, GENERATE, &[("x-goog-api-key", "secret-k")]).await;
    assert!(suspended.message().contains("api_key:secret-k"), "Google prints the key");
    change(&google, json!({"keys": {"secret-k": null}})).await;
    let removed = with(&google, GENERATE, &[("x-goog-api-key", "secret-k")]).await;
    assert_eq!(reason(&removed), "API_KEY_INVALID");
}

#[tokio::test]
async fn a_free_key_has_no_quota_for_paid_models() {
    let google = started().await;
    change(
        &google,
        json!({"keys": {"free": {"tier": "free"}}, "paid_models": ["gemini-2.5-flash"]}),
    )
    .await;
    let answer = with(&google, GENERATE, &[("x-goog-api-key", "free")]).await;
    assert_eq!(answer.status, 429);
    assert!(answer.message().contains("limit: 0, model: gemini-2.5-flash"));
    assert_eq!(with(&google, GENERATE, &[("x-goog-api-key", GEMINI_API_KEY)]).await.status, 200);
}

#[tokio::test]
async fn headers_that_a_proxy_must_not_send_are_refused_and_recorded() {
    let google = started().await;
    for header in [
        "cookie",
        "origin",
        "referer",
        "forwarded",
        "x-api-key",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-goog-user-project",
        "x-proxy-upstream",
    ] {
        let answer =
            with(&google, GENERATE, &[("x-goog-api-key", GEMINI_API_KEY), (header, "x")]).await;
        assert_eq!(answer.status, 400, "{header}");
        let log = log(&google).await;
        assert_eq!(log.last().unwrap()["violation"], header);
    }
    change(&google, json!({"strict_headers": false})).await;
    let headers = [("x-goog-api-key", GEMINI_API_KEY), ("origin", "https://example.org")];
    assert_eq!(with(&google, GENERATE, &headers).await.status, 200);
    assert!(log(&google).await.last().unwrap().get("violation").is_none());
}

#[tokio::test]
async fn answers_have_the_headers_of_googles_front_end() {
    let google = started().await;
    let answer = post(&google, STREAM, &prompt("hi")).await;
    assert_eq!(answer.headers["server-timing"], "gfet4t7; dur=361");
    assert_eq!(answer.headers["x-gemini-service-tier"], "standard");
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.headers["content-disposition"], "attachment");
    for name in ["alt-svc", "access-control-allow-origin", "set-cookie", "vary"] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_played_does_not_exist() {
    let google = code_assist_emulator::start(Options::default()).await.unwrap();
    assert_eq!(get(&google, "/v1beta/models").await.status, 404);
    let google = started().await;
    let answer = send(&google, "POST", "/v1internal:loadCodeAssist", &[], b"{}").await;
    assert_eq!(answer.status, 404);
    assert!(answer.headers["content-type"].starts_with("text/html"));
    let unknown = post(&google, "/v2/models/x:generateContent", &Value::Null).await;
    assert!(unknown.text().contains("<code>/v2/models/x:generateContent</code>"));
}
