//! Paths that are copied.

use code_assist_core::Proxy;
use code_assist_testkit::client::{get, post, with};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with, settings};

use crate::{HELLO, OPERATORS_KEY, answering, gemini_settings, run, upstream};

#[test]
fn a_path_is_copied_in_both_directions_with_the_headers_that_matter() {
    let (script, proxy) = answering(|| {
        Reply::status(206, "\u{1}binary")
            .with_header("content-type", "video/mp4")
            .with_header("content-range", "bytes 0-6/100")
            .with_header("accept-ranges", "bytes")
            .with_header("etag", "\"x\"")
            .with_header("content-disposition", "attachment")
            .with_header("alt-svc", "h3")
            .with_header("server-timing", "gfet4t7; dur=1")
            .with_header("access-control-allow-origin", "*")
    });
    let request = get("/v1beta/files/x:download?alt=media&key=K");
    let request = with(request, "range", "bytes=0-6");
    let request = with(request, "accept-encoding", "gzip;q=0.5");
    let request = with(request, "x-goog-api-key", "clients-key");
    let answer = run(&script, &proxy, request);
    assert_eq!((answer.status.as_u16(), &*answer.text()), (206, "\u{1}binary"));
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("content-range", "bytes 0-6/100"),
        ("accept-ranges", "bytes"),
        ("etag", "\"x\""),
        ("content-disposition", "attachment"),
        ("alt-svc", ""),
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(answer.headers.get_all("server-timing").iter().count(), 2);
    let received = &script.all_received()[0];
    assert_eq!(received.line, "GET https://google.test/v1beta/files/x:download?alt=media");
    assert_eq!(received.headers["range"], "bytes=0-6");
    assert_eq!(received.headers["accept-encoding"], "gzip;q=0.5");
    assert_eq!(received.headers["x-goog-api-key"], OPERATORS_KEY);
    assert!(!received.headers.contains_key("content-type"), "a GET has no content");
}

#[test]
fn a_body_is_copied_whatever_it_is_and_however_long() {
    let long = "x".repeat(300_000);
    let script = ScriptedPlatform::new(|_| Reply::ok("{}"));
    let proxy = Proxy::new(gemini_settings(&[("MAX_REQUEST_BODY_BYTES", "1024")]), &script);
    let request = with(post("/v1beta/somethingNew:do", &long), "content-encoding", "br");
    let answer = run(&script, &proxy, with(request, "content-type", "text/x"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = &script.all_received()[0];
    assert_eq!(received.body, long);
    assert_eq!(received.headers["content-encoding"], "br");
    assert_eq!(received.headers["content-type"], "text/x");
}

#[test]
fn events_of_another_dialect_keep_their_bytes() {
    let events = "event: interaction.created\ndata: {\"event_type\":\"interaction.created\"}\n\nevent: done\ndata: [DONE]\n\n";
    let (script, proxy) =
        answering(move || Reply::ok(events).with_header("content-type", "text/event-stream"));
    for path in ["/v1/interactions", "/v1beta/openai/chat/completions"] {
        let request = with(post(path, HELLO), "api-revision", "2026-05-20");
        let answer = run(&script, &proxy, request);
        assert_eq!(answer.text(), events);
        assert_eq!(answer.header("content-type"), "text/event-stream");
        let received = script.all_received().pop().unwrap();
        assert_eq!(received.headers["api-revision"], "2026-05-20");
        assert_eq!(received.body, HELLO);
    }
}

#[test]
fn tokens_that_lead_around_the_proxy_are_not_made_unless_the_operator_says_so() {
    for path in ["/v1alpha/auth_tokens", "/v1alpha/auth%5ftokens", "/v1/interactions/i/auth_tokens"]
    {
        let (script, proxy) = answering(|| Reply::ok("{}"));
        let answer = run(&script, &proxy, post(path, "{}"));
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (403, "NOT_ALLOWED"), "{path}");
        assert!(script.all_received().is_empty());
    }
    let script = ScriptedPlatform::new(|_| Reply::ok("{}"));
    let mut settings = gemini_settings(&[]);
    settings.allow_auth_tokens = true;
    let proxy = Proxy::new(settings, &script);
    assert_eq!(run(&script, &proxy, post("/v1alpha/auth_tokens", "{}")).status, 200);
}

#[test]
fn a_path_that_could_change_the_url_reaches_nothing() {
    for path in [
        "/v1beta/files/%2e%2e/%2e%2e/x",
        "/v1beta/files/..",
        "/v1beta/files/a%0d%0ax",
        "/v1beta/files%2F%2Fx",
    ] {
        let (script, proxy) = answering(|| Reply::ok("{}"));
        let answer = run(&script, &proxy, get(path));
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (404, "NOT_FOUND"), "{path}");
        assert!(script.all_received().is_empty(), "{path}");
    }
}

#[test]
fn without_the_gemini_api_the_paths_are_as_they_were() {
    let script = ScriptedPlatform::new(|_| Reply::ok("{}"));
    script.write_login(login("ya29", "1//r", 3000));
    let proxy = proxy_with(&script, &[]);
    for path in ["/v1beta/files", "/v1beta/models/m:embedContent"] {
        let answer = run(&script, &proxy, post(path, "{}"));
        assert_eq!(
            (answer.status.as_u16(), &*answer.reason()),
            (404, "NOT_OFFERED_BY_CODE_ASSIST")
        );
        assert!(answer.text().contains("GEMINI_API_KEY"), "{}", answer.text());
    }
    assert_eq!(run(&script, &proxy, post("/v1beta/somethingNew", "{}")).reason(), "NOT_FOUND");
}

#[test]
fn of_several_upstreams_the_one_that_has_the_path_is_asked() {
    let script = ScriptedPlatform::new(|_| Reply::ok("{}"));
    script.write_login(login("ya29", "1//r", 3000));
    let mut both = settings(&[]);
    both.upstreams.push(upstream("second"));
    let proxy = Proxy::new(both, &script);
    let answer = run(&script, &proxy, post("/v1beta/files", "{}"));
    assert_eq!((answer.status.as_u16(), answer.header("x-proxy-upstream")), (200, "second"));
    let pinned = with(post("/v1beta/files", "{}"), "x-proxy-upstream", "code-assist");
    let answer = run(&script, &proxy, pinned);
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (404, "NOT_OFFERED_BY_UPSTREAM"));
    assert!(answer.text().contains("has no files"), "{}", answer.text());
    let received = script.all_received();
    assert_eq!(received.len(), 1);
    assert!(!received[0].headers.contains_key("x-proxy-upstream"), "the header is not sent on");
}
