//! The account (discovery, onboarding, quota) and the smaller RPCs.

use code_assist_emulator::{ACCESS_TOKEN, Options, PROJECT};
use serde_json::{Value, json};

use crate::client::{control, prompt, rpc, send, started, state, stream};

fn metadata() -> Value {
    json!({"ideType": "IDE_UNSPECIFIED", "platform": "PLATFORM_UNSPECIFIED",
           "pluginType": "GEMINI"})
}

async fn poll(google: &code_assist_emulator::Emulator, name: &str) -> crate::client::Answer {
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    send(google, "GET", &format!("/v1internal/{name}"), &headers, b"").await
}

#[tokio::test]
async fn an_onboarded_account_has_a_tier_and_a_project() {
    let google = started().await;
    let answer = rpc(&google, "loadCodeAssist", &json!({"metadata": metadata()})).await;
    let body = answer.json();
    assert_eq!(body["currentTier"]["id"], "standard-tier");
    assert_eq!(body["cloudaicompanionProject"], PROJECT);
    assert_eq!(answer.headers["server"], "ESF");
    assert_eq!(answer.headers["vary"], "Origin, X-Origin, Referer");
    assert!(answer.headers["server-timing"].starts_with("gfet4t7; dur="));
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert_eq!(answer.headers["x-cloudaicompanion-trace-id"].len(), 16);
}

#[tokio::test]
async fn onboarding_is_an_operation_that_is_done_after_its_polls() {
    let options = Options { onboarded: false, ..Options::default() };
    let google = code_assist_emulator::start(options).await.unwrap();
    let load = json!({"metadata": metadata()});
    let reply = rpc(&google, "loadCodeAssist", &load).await.json();
    assert!(reply.get("currentTier").is_none());
    assert_eq!(reply["allowedTiers"][0]["id"], "free-tier");
    assert_eq!(rpc(&google, "generateContent", &prompt("hi")).await.status, 403);

    let body = json!({"tierId": "free-tier", "metadata": metadata()});
    let operation = rpc(&google, "onboardUser", &body).await.json();
    assert_eq!(operation["done"], false);
    let name = operation["name"].as_str().unwrap();
    assert_eq!(poll(&google, name).await.json(), json!({"name": name, "done": false}));
    let done = poll(&google, name).await.json();
    assert_eq!(done["done"], true);
    assert_eq!(done["response"]["cloudaicompanionProject"]["id"], PROJECT);

    let reply = rpc(&google, "loadCodeAssist", &load).await.json();
    assert_eq!(reply["currentTier"]["id"], "standard-tier");
    assert_eq!(rpc(&google, "generateContent", &prompt("hi")).await.status, 200);
    assert_eq!(poll(&google, "operations/other").await.status, 404);
}

#[tokio::test]
async fn a_standard_tier_is_onboarded_with_the_users_own_project() {
    let google = started().await;
    state(&google, json!({"account": "needs_onboarding", "onboarding_polls": 0})).await;
    let without = json!({"tierId": "standard-tier", "metadata": metadata()});
    assert_eq!(rpc(&google, "onboardUser", &without).await.status, 500);
    let with = json!({"tierId": "standard-tier", "cloudaicompanionProject": "mine",
                      "metadata": metadata()});
    let done = rpc(&google, "onboardUser", &with).await.json();
    assert_eq!(done["response"]["cloudaicompanionProject"]["id"], "mine");
}

#[tokio::test]
async fn a_free_tier_with_a_project_fails_its_precondition() {
    let google = started().await;
    let body = json!({"tierId": "free-tier", "cloudaicompanionProject": "p"});
    let answer = rpc(&google, "onboardUser", &body).await;
    assert_eq!((answer.status, answer.message().as_str()), (400, "Precondition check failed."));
    assert_eq!(answer.json()["error"]["status"], "FAILED_PRECONDITION");
}

#[tokio::test]
async fn an_onboarding_may_end_in_an_error() {
    let google = started().await;
    let error = json!({"code": 7, "message": "No."});
    state(
        &google,
        json!({"account": "needs_onboarding", "onboarding_polls": 1,
                          "onboarding_error": error}),
    )
    .await;
    let body = json!({"tierId": "free-tier", "metadata": metadata()});
    let name = rpc(&google, "onboardUser", &body).await.json()["name"].clone();
    let name = name.as_str().unwrap();
    let done = poll(&google, name).await.json();
    assert_eq!(done, json!({"name": name, "done": true, "error": error}));
}

#[tokio::test]
async fn each_account_status_shows_in_load_and_in_generate() {
    let google = started().await;
    let cases = [
        ("ineligible", "INELIGIBLE_ACCOUNT", 403, "SUBSCRIPTION_REQUIRED"),
        ("unsupported_client", "UNSUPPORTED_CLIENT", 403, "SUBSCRIPTION_REQUIRED"),
        ("validation_required", "VALIDATION_REQUIRED", 403, "VALIDATION_REQUIRED"),
    ];
    for (account, code, status, reason) in cases {
        state(&google, json!({"account": account})).await;
        let reply = rpc(&google, "loadCodeAssist", &json!({})).await.json();
        assert!(reply.get("currentTier").is_none(), "{account}");
        assert_eq!(reply["ineligibleTiers"][0]["reasonCode"], code);
        let answer = rpc(&google, "generateContent", &prompt("hi")).await;
        assert_eq!(answer.status, status, "{account}");
        assert_eq!(answer.json()["error"]["details"][0]["reason"], reason, "{account}");
    }
    state(&google, json!({"account": "no_project"})).await;
    let reply = rpc(&google, "loadCodeAssist", &json!({})).await.json();
    assert_eq!(reply["currentTier"]["id"], "standard-tier");
    assert!(reply.get("cloudaicompanionProject").is_none());
}

#[tokio::test]
async fn metadata_has_a_closed_list_of_values() {
    let google = started().await;
    let body = json!({"metadata": {"ideType": "ANTIGRAVITY"}});
    let answer = rpc(&google, "loadCodeAssist", &body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("Invalid value at 'metadata.ide_type' ("));
}

#[tokio::test]
async fn quota_has_a_bucket_for_each_model_and_can_be_set() {
    let google = started().await;
    let reply = rpc(&google, "retrieveUserQuota", &json!({"project": PROJECT})).await.json();
    let first = &reply["buckets"][0];
    assert_eq!(first["modelId"], "gemini-2.5-pro");
    assert_eq!(first["remainingAmount"], "985");
    state(&google, json!({"quota": [{"modelId": "m", "remainingFraction": 0.5}]})).await;
    let reply = rpc(&google, "retrieveUserQuota", &json!({"project": PROJECT})).await.json();
    assert_eq!(reply, json!({"buckets": [{"modelId": "m", "remainingFraction": 0.5}]}));
}

#[tokio::test]
async fn the_smaller_rpcs_answer_and_are_strict() {
    let google = started().await;
    for name in ["listExperiments", "fetchAdminControls", "retrieveUserQuota"] {
        let good = rpc(&google, name, &json!({"project": PROJECT})).await;
        assert_eq!(good.status, 200, "{name}");
        let wrong = rpc(&google, name, &json!({"project": "default"})).await;
        assert_eq!(wrong.status, 403, "{name}");
        let unknown = rpc(&google, name, &json!({"project": PROJECT, "x": 1})).await;
        assert_eq!(unknown.status, 400, "{name}");
    }
    let metrics = json!({"project": PROJECT, "metrics": [{"timestamp": "t",
        "conversationOffered": {"status": 1}}]});
    assert_eq!(rpc(&google, "recordCodeAssistMetrics", &metrics).await.json(), json!({}));
    let setting = json!({"freeTierDataCollectionOptin": true});
    let reply = rpc(&google, "setCodeAssistGlobalUserSetting", &setting).await.json();
    assert_eq!(reply["freeTierDataCollectionOptin"], true);
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let target = "/v1internal:getCodeAssistGlobalUserSetting";
    let reply = send(&google, "GET", target, &headers, b"").await.json();
    assert_eq!(reply["cloudaicompanionProject"], PROJECT);
}

#[tokio::test]
async fn an_unknown_path_is_googles_html_page() {
    let google = started().await;
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let cases = [
        ("POST", "/v1internal:embedContent"),
        ("POST", "/v1internal:fetchAvailableModels"),
        ("POST", "/v2internal:generateContent"),
        ("POST", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("GET", "/v1internal:generateContent"),
        ("POST", "/v1internal/operations/x"),
        ("GET", "/token"),
        ("GET", "//v1internal:loadCodeAssist"),
        ("GET", "/"),
    ];
    for (method, target) in cases {
        let answer = send(&google, method, target, &headers, b"").await;
        assert_eq!(answer.status, 404, "{method} {target}");
        assert_eq!(answer.headers["content-type"], "text/html; charset=UTF-8");
        assert!(answer.text().contains("was not found on this server."));
    }
    let counts = control(&google, "GET", "counts", &Value::Null).await;
    assert_eq!(counts, json!({"unknown": cases.len()}));
}

#[tokio::test]
async fn http2_with_prior_knowledge_works_on_the_same_port() {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    let google = started().await;
    let client: Client<_, Full<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = http::Request::post(format!("{}/v1internal:generateContent", google.url()))
        .header("authorization", format!("Bearer {ACCESS_TOKEN}"))
        .body(prompt("over two").to_string().into())
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["response"]["candidates"][0]["content"]["parts"][0]["text"],
        "You said: over two"
    );
}

#[tokio::test]
async fn a_stopped_emulator_does_not_listen() {
    let google = started().await;
    assert_eq!(stream(&google, &prompt("hi")).await.status, 200);
    let address = google.url().strip_prefix("http://").unwrap().to_owned();
    google.stop();
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(&address).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the stopped emulator still listens");
}
