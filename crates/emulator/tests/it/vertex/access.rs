//! Credentials, headers, projects, locations and models.

use code_assist_emulator::{
    ACCESS_TOKEN, GEMINI_API_KEY, Options, Played, VERTEX_ACCESS_TOKEN, VERTEX_API_KEY,
    VERTEX_PROJECT,
};
use serde_json::{Value, json};

use crate::client::{Answer, prompt, rpc, send, settled_log, started};
use crate::vertex_client::{body, call, path, path_at, post, post_as, set, vertex};

const EXPRESS: &str = "/v1/publishers/google/models/gemini-2.5-flash:generateContent";

async fn with(target: &str, headers: &[(&str, &str)]) -> Answer {
    let google = vertex().await;
    let body = body("hi", &json!({})).to_string();
    send(&google, "POST", target, headers, body.as_bytes()).await
}

fn reason(answer: &Answer) -> Value {
    answer.json()["error"]["details"][0]["reason"].clone()
}

#[tokio::test]
async fn a_token_is_required_and_must_be_of_vertex_ai() {
    let google = vertex().await;
    let target = path("generateContent");
    assert_eq!(post(&google, &target, &body("hi", &json!({}))).await.status, 200);
    for (token, wanted) in [
        ("", "CREDENTIALS_MISSING"),
        ("ya29.unknown", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        (ACCESS_TOKEN, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ] {
        let answer = if token.is_empty() {
            send(&google, "POST", &target, &[], b"{}").await
        } else {
            post_as(&google, token, &target, &json!({})).await
        };
        assert_eq!((answer.status, reason(&answer)), (401, json!(wanted)), "{token}");
        let metadata = &answer.json()["error"]["details"][0]["metadata"];
        assert_eq!(metadata["service"], "aiplatform.googleapis.com");
        let method = "google.cloud.aiplatform.v1beta1.PredictionService.GenerateContent";
        assert_eq!(metadata["method"], method);
    }
}

#[tokio::test]
async fn a_key_is_taken_in_the_express_form_only() {
    let key = ("x-goog-api-key", VERTEX_API_KEY);
    assert_eq!(with(EXPRESS, &[key]).await.status, 200);
    let beta = EXPRESS.replace("/v1/", "/v1beta1/");
    assert_eq!(with(&beta, &[key]).await.status, 200);

    let answer = with(&path("generateContent"), &[key]).await;
    assert_eq!((answer.status, reason(&answer)), (401, json!("CREDENTIALS_MISSING")));
    assert!(
        answer.message().starts_with("API keys are not supported by this API. Expected OAuth2")
    );

    let answer = with(EXPRESS, &[("x-goog-api-key", "AIza-of-the-gemini-api")]).await;
    assert_eq!((answer.status, reason(&answer)), (400, json!("API_KEY_INVALID")));
    let predict = EXPRESS.replace("generateContent", "predict");
    assert_eq!(with(&predict, &[key]).await.status, 401, "no documented method");
    let answer = with(&format!("{EXPRESS}?key={VERTEX_API_KEY}"), &[]).await;
    assert_eq!(answer.status, 400, "the key would be in logs");
}

#[tokio::test]
async fn two_credentials_are_one_too_many() {
    let bearer = format!("Bearer {VERTEX_ACCESS_TOKEN}");
    let both = [("authorization", bearer.as_str()), ("x-goog-api-key", VERTEX_API_KEY)];
    for target in [path("generateContent"), EXPRESS.to_owned()] {
        let answer = with(&target, &both).await;
        assert_eq!(answer.status, 400);
        let text = "Multiple authentication credentials received. Please pass only one.";
        assert_eq!(answer.message(), text);
    }
    let twice = [("authorization", bearer.as_str()), ("authorization", "Bearer other")];
    assert_eq!(with(&path("generateContent"), &twice).await.status, 400);
}

#[tokio::test]
async fn what_must_not_reach_google_is_refused() {
    let bearer = format!("Bearer {VERTEX_ACCESS_TOKEN}");
    let token = ("authorization", bearer.as_str());
    for name in [
        "cookie",
        "origin",
        "referer",
        "forwarded",
        "via",
        "x-api-key",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-proxy-upstream",
        "x-goog-user-project",
    ] {
        let answer = with(&path("generateContent"), &[token, (name, "mine")]).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.message().contains(name), "{}", answer.message());
    }
    for query in ["access_token=x", "key=x", "foo=x"] {
        let target = format!("{}?{query}", path("generateContent"));
        assert_eq!(with(&target, &[token]).await.status, 400, "{query}");
    }
    let google = vertex().await;
    send(&google, "POST", &path("generateContent"), &[token, ("cookie", "a=b")], b"{}").await;
    assert_eq!(settled_log(&google).await[0]["violation"], "cookie");
    let harmless = [token, ("x-goog-api-client", "gl-python"), ("x-server-timeout", "60")];
    assert_eq!(with(&path("generateContent"), &harmless).await.status, 200);
}

#[tokio::test]
async fn only_the_configured_quota_project_is_accepted() {
    let google = vertex().await;
    set(&google, "vertex", json!({"quota_project": "payer"})).await;
    let bearer = format!("Bearer {VERTEX_ACCESS_TOKEN}");
    for (project, status) in [("payer", 200), ("other", 400)] {
        let headers = [("authorization", bearer.as_str()), ("x-goog-user-project", project)];
        let body = body("hi", &json!({})).to_string();
        let target = path("generateContent");
        let answer = send(&google, "POST", &target, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{project}");
    }
}

#[tokio::test]
async fn another_project_is_forbidden() {
    let google = vertex().await;
    let target = path("generateContent").replace(VERTEX_PROJECT, "of-the-client");
    let answer = post(&google, &target, &body("hi", &json!({}))).await;
    assert_eq!((answer.status, reason(&answer)), (403, json!("IAM_PERMISSION_DENIED")));
    assert_eq!(
        answer.message(),
        "Permission 'aiplatform.endpoints.predict' denied on resource \
         '//aiplatform.googleapis.com/projects/of-the-client/locations/global/publishers/google/\
         models/gemini-2.5-flash' (or it may not exist)."
    );
}

#[tokio::test]
async fn a_model_exists_in_its_locations_only() {
    let google = vertex().await;
    for (location, model, status) in [
        ("global", "gemini-2.5-flash", 200),
        ("us-central1", "gemini-2.5-flash", 200),
        ("eu", "gemini-2.5-pro", 200),
        ("global", "gemini-3-flash-preview", 200),
        ("us-central1", "gemini-3-flash-preview", 404),
        ("global", "gemini-3-flash", 404),
        ("global", "gemini-flash-latest", 404),
        ("mars", "gemini-2.5-flash", 404),
    ] {
        let target = path_at(location, model, "generateContent");
        let answer = post(&google, &target, &body("hi", &json!({}))).await;
        assert_eq!(answer.status, status, "{location} {model}");
        if status == 404 {
            let start = format!(
                "Publisher Model `projects/{VERTEX_PROJECT}/locations/{location}/publishers/google/\
                 models/{model}` was not found or your project does not have access to it."
            );
            assert!(answer.message().starts_with(&start), "{}", answer.message());
        }
    }
}

#[tokio::test]
async fn every_other_path_is_the_page_not_found() {
    let google = vertex().await;
    for (method, target) in [
        ("GET", path("generateContent")),
        ("POST", path("generateAnything")),
        ("POST", path("generateContent").replace("v1beta1", "v2")),
        ("POST", path("generateContent").replace("/google/", "/anthropic/")),
        ("POST", "/v1beta/models/gemini-2.5-flash:generateContent".to_owned()),
        ("POST", "/v1internal:generateContent".to_owned()),
        ("GET", "/v1/publishers/google/models".to_owned()),
        ("GET", format!("/v1/projects/{VERTEX_PROJECT}/locations/global/cachedContents/")),
    ] {
        let answer = call(&google, method, &target).await;
        assert_eq!(answer.status, 404, "{method} {target}");
        assert!(answer.headers["content-type"].starts_with("text/html"), "{target}");
    }
    // Without Vertex AI, its paths are unknown.
    let google = started().await;
    assert_eq!(call(&google, "POST", &path("generateContent")).await.status, 404);
}

#[tokio::test]
async fn a_colon_may_be_percent_encoded() {
    let google = vertex().await;
    let target = path("generateContent").replace(':', "%3A");
    assert_eq!(post(&google, &target, &body("hi", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn all_providers_share_one_port() {
    let options = Options { played: Played::All, ..Options::default() };
    let google = code_assist_emulator::start(options).await.unwrap();
    let body = body("hi", &json!({}));
    assert_eq!(post(&google, &path("generateContent"), &body).await.status, 200);
    assert_eq!(rpc(&google, "generateContent", &prompt("hi")).await.status, 200);
    let key = [("x-goog-api-key", GEMINI_API_KEY)];
    for version in ["v1", "v1beta"] {
        let target = format!("/{version}/models/gemini-2.5-flash:generateContent");
        let answer = send(&google, "POST", &target, &key, body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{version}");
    }
    let key = [("x-goog-api-key", VERTEX_API_KEY)];
    assert_eq!(send(&google, "POST", EXPRESS, &key, body.to_string().as_bytes()).await.status, 200);
}
