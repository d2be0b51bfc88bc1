//! Embeddings, predictions, caches, the catalogue and the endpoint that is compatible with OpenAI.

use code_assist_emulator::VERTEX_PROJECT;
use serde_json::{Value, json};

use crate::client::send;
use crate::vertex_client::{body, call, path, path_at, post, set, vertex};

fn place() -> String {
    format!("projects/{VERTEX_PROJECT}/locations/global")
}

#[tokio::test]
async fn embeddings_come_by_embed_content_or_predict() {
    let google = vertex().await;
    let content = json!({"content": {"parts": [{"text": "hello"}]}, "outputDimensionality": 4});
    let target = path_at("global", "gemini-embedding-2", "embedContent");
    let answer = post(&google, &target, &content).await.json();
    assert_eq!(answer["embedding"]["values"].as_array().unwrap().len(), 4);
    let old = path_at("global", "text-embedding-005", "embedContent");
    assert_eq!(post(&google, &old, &content).await.status, 400);
    assert_eq!(post(&google, &target, &json!({"contents": []})).await.status, 400);

    let target = path_at("us-central1", "text-embedding-005", "predict");
    let instances = json!({"instances": [{"content": "hello", "task_type": "RETRIEVAL_QUERY"}],
                           "parameters": {"outputDimensionality": 3, "autoTruncate": true}});
    let answer = post(&google, &target, &instances).await.json();
    let embeddings = &answer["predictions"][0]["embeddings"];
    assert_eq!(embeddings["values"].as_array().unwrap().len(), 3);
    assert_eq!(embeddings["statistics"], json!({"token_count": 2, "truncated": false}));
    for wrong in [
        json!({"instances": []}),
        json!({"instances": [{"text": "hello"}]}),
        json!({"content": {"parts": [{"text": "hello"}]}}),
    ] {
        assert_eq!(post(&google, &target, &wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn images_and_videos_are_predictions() {
    let google = vertex().await;
    let instances = json!({"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2}});
    let target = path_at("us-central1", "imagen-4.0-generate-001", "predict");
    let answer = post(&google, &target, &instances).await.json();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(answer["predictions"][0]["mimeType"], "image/png");
    assert_eq!(post(&google, &path("predict"), &instances).await.status, 400);

    let video = |method| path_at("us-central1", "veo-3.1-generate-001", method);
    let started = post(&google, &video("predictLongRunning"), &instances).await.json();
    let fetch = json!({"operationName": started["name"]});
    let target = video("fetchPredictOperation");
    assert!(post(&google, &target, &fetch).await.json().get("done").is_none());
    let done = post(&google, &target, &fetch).await.json();
    assert_eq!(done["done"], true);
    assert_eq!(done["response"]["videos"][0]["mimeType"], "video/mp4");
    let unknown = json!({"operationName": "operations/1"});
    assert_eq!(post(&google, &target, &unknown).await.status, 404);
}

#[tokio::test]
async fn cached_content_has_the_names_of_its_project() {
    let google = vertex().await;
    let target = format!("/v1beta1/{}/cachedContents", place());
    let model = format!("{}/publishers/google/models/gemini-2.5-flash", place());
    for wrong in ["models/gemini-2.5-flash", "gemini-2.5-flash"] {
        let answer = post(&google, &target, &body("hi", &json!({"model": wrong}))).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    let roleless = json!({"model": model, "contents": [{"parts": [{"text": "hi"}]}]});
    assert_eq!(post(&google, &target, &roleless).await.status, 400);
    let made = post(&google, &target, &body("hi", &json!({"model": model, "ttl": "60s"}))).await;
    let made = made.json();
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with(&format!("{}/cachedContents/", place())), "{name}");

    let list = call(&google, "GET", &target).await.json();
    assert_eq!(list["cachedContents"][0]["name"], name);
    let one = format!("/v1beta1/{name}");
    assert_eq!(call(&google, "GET", &one).await.json()["model"], model);

    let generate = path("generateContent");
    let using = |name: &str| body("hi", &json!({"cachedContent": name}));
    assert_eq!(post(&google, &generate, &using(name)).await.status, 200);
    let other = path_at("global", "gemini-2.5-pro", "generateContent");
    assert_eq!(post(&google, &other, &using(name)).await.status, 400, "another model");
    assert_eq!(post(&google, &generate, &using("cachedContents/1")).await.status, 400);
    let unknown = format!("{}/cachedContents/0", place());
    assert_eq!(post(&google, &generate, &using(&unknown)).await.status, 404);

    let bearer = format!("Bearer {}", code_assist_emulator::VERTEX_ACCESS_TOKEN);
    let headers = [("authorization", bearer.as_str())];
    let target = format!("{one}?updateMask=ttl");
    let answer = send(&google, "PATCH", &target, &headers, br#"{"ttl": "7200s"}"#).await.json();
    assert_ne!(answer["expireTime"], made["expireTime"]);
    assert_eq!(call(&google, "DELETE", &one).await.status, 200);
    assert_eq!(call(&google, "GET", &one).await.status, 404);
}

#[tokio::test]
async fn the_catalogue_has_pages_and_no_previews() {
    let google = vertex().await;
    let target = "/v1beta1/publishers/google/models";
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = call(&google, "GET", &format!("{target}?pageSize=4{token}")).await.json();
        let models = page["publisherModels"].as_array().unwrap().clone();
        names.extend(models.iter().map(|model| model["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextPageToken"].as_str() else { break };
        token = format!("&pageToken={next}");
    }
    assert!(names.contains(&"publishers/google/models/gemini-2.5-flash".to_owned()));
    assert!(!names.iter().any(|name| name.ends_with("-preview")), "{names:?}");
    let one = call(&google, "GET", &format!("{target}/gemini-3-flash-preview")).await.json();
    assert_eq!(one["launchStage"], "PUBLIC_PREVIEW");
    assert_eq!(call(&google, "GET", &format!("{target}/nothing")).await.status, 404);
    let key = [("x-goog-api-key", code_assist_emulator::VERTEX_API_KEY)];
    assert_eq!(send(&google, "GET", target, &key, b"").await.status, 401);
}

#[tokio::test]
async fn the_chat_endpoint_wants_the_publisher_in_the_model() {
    let google = vertex().await;
    let target = format!("/v1/{}/endpoints/openapi/chat/completions", place());
    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat =
        |model: &str, stream: bool| json!({"model": model, "messages": messages, "stream": stream});
    let answer = post(&google, &target, &chat("google/gemini-2.5-flash", false)).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "You said: hi");
    let traffic = &answer["usage"]["extra_properties"]["google"]["traffic_type"];
    assert_eq!(*traffic, json!("ON_DEMAND"));
    let answer = post(&google, &target, &chat("google/gemini-2.5-flash", true)).await;
    assert!(answer.text().ends_with("\n\ndata: [DONE]\n\n"), "{}", answer.text());
    for (model, status) in [("gemini-2.5-flash", 400), ("google/nothing", 404)] {
        let answer = post(&google, &target, &chat(model, false)).await;
        assert_eq!(answer.status, status, "{model}");
        let errors: Value = answer.json();
        assert_eq!(errors[0]["error"]["code"], status);
    }
}

#[tokio::test]
async fn a_test_may_change_the_models_and_a_mistake_in_it_changes_nothing() {
    let google = vertex().await;
    set(&google, "vertex", json!({"models": ["gemini-9"]})).await;
    let new = path_at("global", "gemini-9", "generateContent");
    assert_eq!(post(&google, &new, &body("hi", &json!({}))).await.status, 200);
    assert_eq!(post(&google, &path("generateContent"), &json!({})).await.status, 404);
    for wrong in [json!({"nothing": 1}), json!({"models": 1})] {
        let target = "/__emulator/vertex";
        let answer = send(&google, "POST", target, &[], wrong.to_string().as_bytes()).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    assert_eq!(post(&google, &new, &body("hi", &json!({}))).await.status, 200);
}
