//! Uploads of files, in Google's resumable protocol.

use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{Answer, post, with};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use http::Request;

use crate::{OPERATORS_KEY, gemini_settings, run};

const CLIENTS_KEY: &str = "clients-key-0123456789";

/// Google, which repeats the key in the URL.
fn google(request: &Received) -> Reply {
    if request.line.contains("upload_id=") {
        return Reply::ok(r#"{"file":{"name":"files/abc","uri":"https://generativelanguage.googleapis.com/v1beta/files/abc"}}"#)
            .with_header("x-goog-upload-status", "final");
    }
    Reply::ok("")
        .with_header("x-goog-upload-status", "active")
        .with_header("x-goog-upload-url", "https://google.test/upload/v1beta/files?upload_id=AO%2Bx&key=operators-own-key-0123456789&upload_protocol=resumable")
        .with_header("x-goog-upload-control-url", "https://google.test/upload/v1beta/files?upload_id=AO%2Bx&upload_protocol=resumable")
        .with_header("x-goog-upload-chunk-granularity", "262144")
}

fn proxy(script: &ScriptedPlatform, more: &[(&str, &str)]) -> Proxy {
    let mut all = vec![("PROXY_API_KEYS", CLIENTS_KEY)];
    all.extend_from_slice(more);
    Proxy::new(gemini_settings(&all), script)
}

fn start(script: &ScriptedPlatform, proxy: &Proxy, more: &[(&str, &str)]) -> Answer {
    let mut request = post("/upload/v1beta/files", r#"{"file":{"mimeType":"text/plain"}}"#);
    for (name, value) in [
        ("x-goog-api-key", CLIENTS_KEY),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-length", "5"),
    ] {
        request = with(request, name, value);
    }
    let request = more.iter().fold(request, |request, (name, value)| with(request, name, value));
    run(script, proxy, request)
}

/// The second step, as an SDK sends it that takes the path from the URL.
fn finish(url: &str) -> Request<Payload> {
    let uri: http::Uri = url.parse().expect("a URL");
    let request = post(uri.path_and_query().expect("a path").as_str(), "hello");
    let request = with(request, "x-goog-upload-command", "upload, finalize");
    with(request, "x-goog-upload-offset", "0")
}

#[test]
fn a_client_uploads_a_file_in_two_steps_the_second_without_a_key() {
    let script = ScriptedPlatform::new(google);
    let proxy = proxy(&script, &[]);
    let started = start(&script, &proxy, &[]);
    assert_eq!(started.status, 200, "{}", started.text());
    let url = started.header("x-goog-upload-url").to_owned();
    let begin = "http://127.0.0.1:8787/upload/v1beta/files?upload_id=AO%2Bx&upload_protocol=resumable&proxy_upload=";
    assert!(url.starts_with(begin), "{url}");
    assert_eq!(started.header("x-goog-upload-control-url"), url);
    assert_eq!(started.header("x-goog-upload-chunk-granularity"), "262144");
    let received = script.all_received().pop().unwrap();
    assert_eq!(received.line, "POST https://google.test/upload/v1beta/files");
    assert_eq!(received.headers["x-goog-upload-command"], "start");

    let done = run(&script, &proxy, finish(&url));
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.header("x-goog-upload-status"), "final");
    assert!(done.text().contains("https://generativelanguage.googleapis.com/v1beta/files/abc"));
    let received = script.all_received().pop().unwrap();
    assert_eq!(
        received.line,
        "POST https://google.test/upload/v1beta/files?upload_id=AO%2Bx&upload_protocol=resumable"
    );
    assert_eq!(
        (&*received.body, &received.headers["x-goog-api-key"]),
        ("hello", &OPERATORS_KEY.parse().unwrap())
    );
    assert_eq!(received.headers["x-goog-upload-command"], "upload, finalize");
}

#[test]
fn another_process_accepts_a_url_too() {
    let script = ScriptedPlatform::new(google);
    let url = start(&script, &proxy(&script, &[]), &[]).header("x-goog-upload-url").to_owned();
    let restarted = proxy(&script, &[]);
    assert_eq!(run(&script, &restarted, finish(&url)).status, 200);
}

#[test]
fn nothing_else_is_let_in_by_an_upload_url() {
    let script = ScriptedPlatform::new(google);
    let proxy = proxy(&script, &[]);
    let url = start(&script, &proxy, &[]).header("x-goog-upload-url").to_owned();
    let before = script.all_received().len();
    for other in [
        url.replace("AO%2Bx", "other"),
        url.replace("/upload/v1beta/files", "/v1beta/files"),
        url.replace("/upload/v1beta/files", "/upload/v1/files"),
        url.replace("/upload/v1beta/files", "/v1beta/models/m:generateContent"),
        url.replace("proxy_upload=", "proxy_upload=0"),
        url.split("&proxy_upload").next().unwrap().to_owned(),
    ] {
        let answer = run(&script, &proxy, finish(&other));
        assert_eq!(
            (answer.status.as_u16(), &*answer.reason()),
            (401, "API_KEY_MISSING"),
            "{other}"
        );
    }
    let wrong = with(finish(&url), "x-goog-api-key", "a-wrong-key-0123456789");
    assert_eq!(run(&script, &proxy, wrong).status, 401, "a key that comes is checked");
    assert_eq!(script.all_received().len(), before);
}

#[test]
fn the_url_is_the_one_at_which_the_client_reaches_the_proxy() {
    let script = ScriptedPlatform::new(google);
    let forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "ai.example")];
    let url =
        |proxy: &Proxy| start(&script, proxy, &forwarded).header("x-goog-upload-url").to_owned();
    assert!(url(&proxy(&script, &[])).starts_with("http://127.0.0.1:8787/upload/"));
    let trusting = proxy(&script, &[("TRUST_FORWARDED_FOR", "true")]);
    assert!(url(&trusting).starts_with("https://ai.example/upload/"));
    let mut settings = gemini_settings(&[("PROXY_API_KEYS", CLIENTS_KEY)]);
    settings.public_url = Some("https://public.example/in/front".to_owned());
    let public = Proxy::new(settings, &script);
    assert!(url(&public).starts_with("https://public.example/in/front/upload/v1beta/files?"));
}

#[test]
fn a_url_that_is_none_of_an_upload_is_not_shown() {
    let script = ScriptedPlatform::new(|_| {
        Reply::ok("")
            .with_header(
                "x-goog-upload-url",
                "https://other.test/v9/x?key=operators-own-key-0123456789",
            )
            .with_header(
                "location",
                "https://google.test/v1beta/files/y?key=operators-own-key-0123456789&a=1",
            )
    });
    let proxy = proxy(&script, &[]);
    let answer = start(&script, &proxy, &[]);
    assert_eq!(answer.header("x-goog-upload-url"), "");
    assert_eq!(answer.header("location"), "http://127.0.0.1:8787/v1beta/files/y?a=1");
}
