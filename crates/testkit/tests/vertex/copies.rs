//! What is copied besides the calls of models.

use code_assist_core::{Proxy, SendError};
use code_assist_testkit::client::{post, with};
use code_assist_testkit::script::{Reply, ScriptedPlatform};

use crate::{GOOGLE, PLACE, answering, at_vertex, request, run, sent};

fn google() -> (ScriptedPlatform, Proxy) {
    answering(|| Reply::ok("{ \"name\":\"projects/123/x\" }\n").with_header("etag", "e"))
}

#[test]
fn each_resource_reaches_the_operators_project_and_its_answer_comes_as_it_is() {
    let theirs = "projects/theirs/locations/us-central1";
    for (line, body, at_google, sent_body) in [
        (
            "POST /v1beta1/P/publishers/google/models/m:embedContent",
            "{ }",
            "POST /v1beta1/P/publishers/google/models/m:embedContent",
            "{ }",
        ),
        (
            "POST /v1/P/publishers/google/models/m%3Apredict?key=K",
            "x",
            "POST /v1/P/publishers/google/models/m:predict",
            "x",
        ),
        (
            "POST /publishers/google/models/m:predictLongRunning",
            "x",
            "POST /v1beta1/P/publishers/google/models/m:predictLongRunning",
            "x",
        ),
        (
            "POST /v1/P/publishers/google/models/m:fetchPredictOperation",
            r#"{"operationName":"projects/123/locations/europe-west4/publishers/google/models/m/operations/o"}"#,
            "POST /v1/P/publishers/google/models/m:fetchPredictOperation",
            r#"{"operationName":"projects/own/locations/europe-west4/publishers/google/models/m/operations/o"}"#,
        ),
        (
            "POST /v1beta1/P/cachedContents",
            r#"{"ttl":"1s","model":"projects/theirs/locations/us-central1/publishers/google/models/m"}"#,
            "POST /v1beta1/P/cachedContents",
            r#"{"ttl":"1s","model":"projects/own/locations/europe-west4/publishers/google/models/m"}"#,
        ),
        ("GET /v1/P/cachedContents?pageSize=7", "", "GET /v1/P/cachedContents?pageSize=7", ""),
        ("GET /v1/P/cachedContents/1", "", "GET /v1/P/cachedContents/1", ""),
        (
            "PATCH /v1/P/cachedContents/1?updateMask=ttl",
            r#"{"ttl":"2s"}"#,
            "PATCH /v1/P/cachedContents/1?updateMask=ttl",
            r#"{"ttl":"2s"}"#,
        ),
        ("DELETE /v1/P/cachedContents/1", "", "DELETE /v1/P/cachedContents/1", ""),
        // A client of the Gemini API, with a name that it got.
        ("DELETE /v1beta/P/cachedContents/1", "", "DELETE /v1beta1/P/cachedContents/1", ""),
        (
            "POST /v1beta/cachedContents",
            r#"{"model":"models/m","contents":[{"parts":[]}]}"#,
            "POST /v1beta1/P/cachedContents",
            r#"{"model":"projects/own/locations/europe-west4/publishers/google/models/m","contents":[{"role":"user","parts":[]}]}"#,
        ),
        ("GET /v1beta/cachedContents/1", "", "GET /v1beta1/P/cachedContents/1", ""),
        ("DELETE /v1/cachedContents/1", "", "DELETE /v1beta1/P/cachedContents/1", ""),
        (
            "POST /v1beta/models/imagen-4:predict",
            "x",
            "POST /v1beta1/P/publishers/google/models/imagen-4:predict",
            "x",
        ),
        (
            "POST /v1beta/models/veo:predictLongRunning",
            "x",
            "POST /v1beta1/P/publishers/google/models/veo:predictLongRunning",
            "x",
        ),
        (
            "POST /v1beta/models/veo:fetchPredictOperation",
            r#"{"operationName":"projects/1/locations/europe-west4/x/1"}"#,
            "POST /v1beta1/P/publishers/google/models/veo:fetchPredictOperation",
            r#"{"operationName":"projects/own/locations/europe-west4/x/1"}"#,
        ),
        (
            "POST /v1beta1/P/endpoints/12:generateContent",
            r#"{"cachedContent":"projects/9/locations/europe-west4/cachedContents/1"}"#,
            "POST /v1beta1/P/endpoints/12:generateContent",
            r#"{"cachedContent":"projects/own/locations/europe-west4/cachedContents/1"}"#,
        ),
        (
            "POST /v1beta1/P/endpoints/openapi/chat/completions",
            "x",
            "POST /v1beta1/P/endpoints/openapi/chat/completions",
            "x",
        ),
        (
            "POST /v1/P/publishers/anthropic/models/c%401:streamRawPredict",
            "x",
            "POST /v1/P/publishers/anthropic/models/c@1:streamRawPredict",
            "x",
        ),
        (
            "GET /v1/publishers/anthropic/models/c",
            "",
            "GET /v1beta1/publishers/anthropic/models/c",
            "",
        ),
        (
            "GET /v1beta1/P/models?filter=labels.tune-type:*",
            "",
            "GET /v1beta1/P/models?filter=labels.tune-type:*",
            "",
        ),
        ("GET /v1beta1/P/operations/1", "", "GET /v1beta1/P/operations/1", ""),
        (
            "POST /v1beta1/P/batchPredictionJobs",
            r#"{"model":"publishers/google/models/m"}"#,
            "POST /v1beta1/P/batchPredictionJobs",
            r#"{"model":"publishers/google/models/m"}"#,
        ),
        ("GET /v1beta1/P/tuningJobs/1", "", "GET /v1beta1/P/tuningJobs/1", ""),
        ("POST /v1beta1/P/interactions", "{}", "POST /v1beta1/P/interactions", "{}"),
        ("GET /v1beta1/P/ragCorpora/1/ragFiles", "", "GET /v1beta1/P/ragCorpora/1/ragFiles", ""),
    ] {
        let (script, proxy) = google();
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.replace("/P/", &format!("/{theirs}/"));
        let answer = run(&script, &proxy, request(method, &path, body));
        assert_eq!(answer.status, 200, "{line} {}", answer.text());
        assert_eq!(answer.text(), "{ \"name\":\"projects/123/x\" }\n", "{line}");
        assert_eq!(answer.header("etag"), "e");
        let sent = sent(&script);
        let at_google = at_google.replacen(' ', &format!(" {GOOGLE}"), 1);
        assert_eq!(sent.line, at_google.replace("/P/", &format!("/{PLACE}/")), "{line}");
        assert_eq!(sent.body, sent_body, "{line}");
    }
}

#[test]
fn a_client_of_the_gemini_api_embeds_with_the_gemini_models_of_vertex() {
    let (script, proxy) = answering(|| Reply::ok(r#"{"embedding": {"values": [1]}}"#));
    let body = r#"{ "content":{"parts":[{"text":"x"}]} }"#;
    let answer = run(&script, &proxy, post("/v1beta/models/gemini-embedding-2:embedContent", body));
    assert_eq!(answer.text(), r#"{"embedding": {"values": [1]}}"#);
    let sent = sent(&script);
    let path = format!("/v1beta1/{PLACE}/publishers/google/models/gemini-embedding-2:embedContent");
    assert_eq!((sent.line, &*sent.body), (format!("POST {GOOGLE}{path}"), body));
}

#[test]
fn what_could_do_more_than_call_models_is_not_offered() {
    for line in [
        "POST /v1/P/customJobs",
        "GET /v1/P/customJobs/1",
        "POST /v1/P/endpoints/1:deployModel",
        "POST /v1/P/endpoints/1:setIamPolicy",
        "DELETE /v1/P/models/1",
        "POST /v1/P/publishers/google/models/m:export",
        "POST /v1beta/models/m:batchEmbedContents",
        "POST /v1beta/models/m:batchGenerateContent",
        "POST /v1beta/files",
        "POST /v1beta/tunedModels/x:predict",
    ] {
        let (script, proxy) = google();
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.replace("/P/", "/projects/theirs/locations/us-central1/");
        let answer = run(&script, &proxy, request(method, &path, "{}"));
        assert_eq!(answer.status, 404, "{line} {}", answer.text());
        assert!(answer.reason().starts_with("NOT_OFFERED"), "{line} {}", answer.text());
        assert!(at_vertex(&script).is_empty(), "{line}");
    }
}

#[test]
fn a_name_in_another_project_is_refused_before_anything_is_sent() {
    for (path, body) in [
        (
            "/v1/publishers/google/models/m:fetchPredictOperation",
            r#"{"operationName":"projects/other/locations/europe-west4/publishers/google/models/m/operations/1"}"#,
        ),
        (
            "/v1/projects/p/locations/l/endpoints/1:streamGenerateContent",
            r#"{"cachedContent":"projects/own/locations/us/cachedContents/1"}"#,
        ),
    ] {
        let (script, proxy) = google();
        let answer = run(&script, &proxy, post(path, body));
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "FIELD_NOT_TAKEN"), "{path}");
        assert!(at_vertex(&script).is_empty());
    }
}

#[test]
fn a_broken_connection_is_repaired_only_where_that_costs_nothing() {
    let broken = Reply::unreachable(SendError::Disconnected("reset".to_owned()));
    let refused = Reply::unreachable(SendError::Connect("refused".to_owned()));
    for (line, body, sent_if_broken, sent_if_refused) in [
        ("GET /v1/projects/p/locations/l/cachedContents/1", "", 3, 3),
        ("GET /v1beta1/publishers/google/models", "", 3, 3),
        ("DELETE /v1beta/cachedContents/1", "", 3, 3),
        ("POST /v1/projects/p/locations/l/cachedContents", "{}", 1, 1),
        ("POST /v1beta/models/imagen:predict", "{}", 1, 1),
        ("POST /v1/publishers/anthropic/models/c:rawPredict", "{}", 1, 1),
        ("POST /v1/projects/p/locations/l/endpoints/1:generateContent", "{}", 1, 1),
        ("POST /v1/projects/p/locations/l/interactions", "{}", 1, 1),
    ] {
        for (reply, times) in [(&broken, sent_if_broken), (&refused, sent_if_refused)] {
            let reply = reply.clone();
            let (script, proxy) = answering(move || reply.clone());
            let (method, path) = line.split_once(' ').unwrap();
            let answer = run(&script, &proxy, request(method, path, body));
            assert!(answer.status.is_server_error(), "{line}");
            assert_eq!(at_vertex(&script).len(), times, "{line}");
        }
    }
}

#[test]
fn the_headers_of_claudes_clients_go_on() {
    let (script, proxy) = google();
    let asked = post("/v1/publishers/anthropic/models/c:rawPredict", "{}");
    let asked = with(asked, "anthropic-beta", "b1");
    run(&script, &proxy, with(asked, "authorization", "Bearer theirs"));
    let sent = sent(&script);
    assert_eq!(sent.headers["anthropic-beta"], "b1");
    assert_eq!(sent.headers["authorization"], format!("Bearer {}", crate::TOKEN));
}

#[test]
fn an_error_of_a_copy_comes_byte_for_byte() {
    let error =
        "{\n  \"error\": {\"code\": 404, \"message\": \"no\", \"status\": \"NOT_FOUND\"}\n}\n";
    let (script, proxy) = answering(move || Reply::status(404, error));
    let path = "/v1/projects/p/locations/l/cachedContents/1";
    let answer = run(&script, &proxy, request("GET", path, ""));
    assert_eq!((answer.status.as_u16(), &*answer.text()), (404, error));
}
