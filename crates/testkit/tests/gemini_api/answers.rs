//! Whole answers on their way to the client.

use code_assist_testkit::client::{get, post};
use code_assist_testkit::script::Reply;

use crate::{GENERATE, HELLO, answering, run};

#[test]
fn a_whole_answer_keeps_its_bytes_and_the_headers_that_clients_know() {
    let text = "{\n  \"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\\u00e9\u{2028}\"}]}, \"x\": 1.50, \"x\": 2}],\n  \"usageMetadata\": {\"promptTokenCount\": 4}\n}\n";
    let (script, proxy) = answering(move || {
        Reply::ok(text)
            .with_header("content-type", "application/json; charset=UTF-8")
            .with_header("x-gemini-service-tier", "flex")
            .with_header("server-timing", "gfet4t7; dur=361")
            .with_header("alt-svc", "h3=\":443\"")
            .with_header("server", "scaffolding on HTTPServer2")
            .with_header("vary", "Origin, X-Origin, Referer")
            .with_header("set-cookie", "a=b")
            .with_header("access-control-allow-origin", "*")
            .with_header("strict-transport-security", "max-age=1")
    });
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.text(), text);
    let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["content-type", "server-timing", "x-cache", "x-gemini-service-tier", "x-request-id"]
            .iter()
            .filter(|name| answer.headers.contains_key(**name))
            .copied()
            .collect::<Vec<_>>()
    );
    assert_eq!(answer.header("x-gemini-service-tier"), "flex");
    let timings: Vec<_> = answer.headers.get_all("server-timing").iter().collect();
    assert_eq!(timings[0], "gfet4t7; dur=361");
    assert_eq!(timings.len(), 2, "the proxy's own follows");
}

#[test]
fn the_models_are_googles_own_list_with_the_clients_page() {
    let list = "{\n  \"models\": [ {\"name\": \"models/x\", \"thinking\": true} ],\n  \"nextPageToken\": \"p\"\n}\n";
    let (script, proxy) = answering(move || Reply::ok(list));
    let answer = run(&script, &proxy, get("/v1/models?pageSize=1&pageToken=a%3D&key=K"));
    assert_eq!(answer.text(), list);
    let answer = run(&script, &proxy, get("/v1beta/models/x"));
    assert_eq!(answer.text(), list);
    let lines: Vec<_> = script.all_received().into_iter().map(|it| it.line).collect();
    assert_eq!(
        lines,
        [
            "GET https://google.test/v1/models?pageSize=1&pageToken=a%3D",
            "GET https://google.test/v1beta/models/x"
        ]
    );
}
