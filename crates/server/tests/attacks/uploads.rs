//! Uploads to the Gemini API: whose step is taken, where its URL leads, and what is sent of its body.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use code_assist_harness::samples::GENERATE;
use code_assist_harness::{ScriptedUpstream, TestProxy, post, request};

use crate::attacked::Attacked;
use crate::copies::{ADA, KEYS, OK, WHOLE, google, in_front_of, line};
use crate::table::attacks;

attacks! {
    "Uploads"
    both {
    }
    native {
        forged_uploads: "an `upload_id` that was not issued, an issued one at another path, with another command, method or parameter, without a command, and with two signatures",
            "401 without a key; with a key it is the client's own request", because "not run against the Worker yet";
        upload_hosts: "`Host`, `X-Forwarded-Host` and `X-Forwarded-Proto` of an attacker at the start of an upload",
            "only the client's own answer names its `Host`; a forwarded one counts with `TRUST_FORWARDED_FOR` only, `PUBLIC_URL` before all, and nothing is kept for the next client",
            because "not run against the Worker yet";
        framing_of_copies: "uploads with two framings, trailers, chunk extensions, a request behind them, `Expect`, and a GET with a body",
            "upstream sees one framing and one request, and no trailer", because "the runtime reads bodies";
        broken_uploads: "60 uploads with a bad chunk, too few bytes, or a client that leaves",
            "400 or nothing; no breaker counts them, and others are served", because "the runtime reads bodies";
    }
    proved {
        slow_uploads: "an upload that slows down after a burst, and one that stops", "408 a minute later, or after 30 seconds",
            by "crates/testkit/tests/upload.rs::an_upload_that_slows_down_after_a_burst_times_out_a_minute_later";
        left_uploads: "a client that leaves within an upload, in either framing", "upstream sees a connection that breaks, never the end of the body",
            by "crates/server/tests/serve/copies.rs::a_client_that_leaves_an_upload_resets_the_upstream_request";
        many_uploads: "100 uploads at once, with a budget of 16 MiB", "they share the budget; what is held of one does not depend on its length",
            by "crates/server/tests/serve/copies.rs::a_hundred_uploads_at_once_stay_within_a_small_memory_budget";
        unread_downloads: "a download whose client does not read", "upstream is read no further, and no memory is held",
            by "crates/server/tests/serve/copies.rs::a_download_whose_client_does_not_read_stops_upstream_and_takes_no_memory";
    }
}

/// The path and query of the URL that the proxy has issued for an upload.
fn begin_upload(proxy: &TestProxy, headers: &[&str]) -> String {
    let start = ["X-Goog-Upload-Protocol: resumable", "X-Goog-Upload-Command: start"];
    let answer = proxy.send(post("/upload/v1beta/files", &[&start, headers].concat(), "{}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.header("x-goog-upload-url").to_owned()
}

fn target(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL");
    rest[rest.find('/').expect("a path")..].to_owned()
}

fn forged_uploads() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    let issued = target(&begin_upload(&proxy, &[ADA]));
    let step = ["X-Goog-Upload-Command: upload, finalize", "X-Goog-Upload-Offset: 0"];
    for command in ["upload", "upload, finalize", "query", "cancel", "finalize"] {
        let command = format!("X-Goog-Upload-Command: {command}");
        let answer = proxy.send(post(&issued, &[&command], "x"));
        assert_eq!(answer.status(), 200, "{command}: {}", answer.text());
    }
    let received = upstream.received();
    let last = received.last().expect("a request");
    let own = "POST /upload/v1beta/files?upload_id=SESSION-1&upload_protocol=resumable";
    assert_eq!(line(last), own);
    let seen = received.len();
    let (path, query) = issued.split_once('?').expect("a query");
    let (rest, signature) = issued.split_once("&proxy_upload=").expect("a signature");
    let wrong = signature.chars().rev().collect::<String>();
    for forged in [
        "/upload/v1beta/files?upload_id=SESSION-1".to_owned(),
        format!("{rest}&proxy_upload={wrong}"),
        format!("{rest}&proxy_upload="),
        format!("{rest}&proxy_upload={}", &signature[1..]),
        format!("{rest}&proxy_upload={signature}&proxy_upload={signature}"),
        issued.replace("SESSION-1", "SESSION-2"),
        format!("{issued}&upload_id=SESSION-2"),
        format!("{issued}&uploadType=multipart"),
        format!("{issued}&upload_protocol=raw"),
        format!("{path}/x?{query}"),
        format!("/upload/v1/files?{query}"),
        format!("/v1beta/files?{query}"),
        format!("/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore?{query}"),
        format!("/v1beta/models/m:predict?{query}"),
        format!("{GENERATE}?{query}"),
    ] {
        let answer = proxy.send(post(&forged, &step, "x"));
        assert_eq!(answer.status(), 401, "{forged}: {}", answer.text());
    }
    for (method, headers) in [
        ("GET", &step[..]),
        ("DELETE", &step),
        ("PATCH", &step),
        ("POST", &[]),
        ("POST", &["X-Goog-Upload-Command: start", "X-Goog-Upload-Protocol: resumable"]),
        ("POST", &["X-Goog-Upload-Command: upload, start"]),
        ("POST", &["X-Goog-Upload-Command: upload", "X-Goog-Upload-Command: start"]),
        ("POST", &["X-Goog-Upload-Command: upload", "X-Goog-Upload-Protocol: multipart"]),
    ] {
        let answer = proxy.send(request(method, &issued, headers, b"x"));
        assert_eq!(answer.status(), 401, "{method} {headers:?}: {}", answer.text());
    }
    // A wrong key is one, whatever comes with it.
    let answer = proxy.send(post(&issued, &[&step[..], &["x-api-key: wrong"]].concat(), "x"));
    assert_eq!(answer.status(), 401);
    assert_eq!(upstream.received().len(), seen, "{:?}", upstream.received().last());
    // Another operator's key signs in another way.
    let other = TestProxy::start(
        in_front_of(&upstream).env("GEMINI_API_KEY", "AQ.another-key-0123456789"),
        &[("PROXY_API_KEYS", KEYS)],
    );
    assert_eq!(other.send(post(&issued, &step, "x")).status(), 401);
    vec![proxy.into(), other.into()]
}

fn upload_hosts() -> Vec<Attacked> {
    let upstream = google();
    let keys = ("PROXY_API_KEYS", KEYS);
    let forwarded =
        [ADA, "Host: proxy.test:8080", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https"];
    let start = |settings: &[(&str, &str)]| TestProxy::start(in_front_of(&upstream), settings);
    let plain = start(&[keys]);
    let url = begin_upload(&plain, &forwarded);
    assert!(
        url.starts_with("http://proxy.test:8080/upload/v1beta/files?upload_id=SESSION-1&"),
        "{url}"
    );
    // Nothing of one client's host is kept for the next one.
    let url = begin_upload(&plain, &[ADA, "Host: other.test"]);
    assert!(url.starts_with("http://other.test/upload/"), "{url}");
    let trusting = start(&[keys, ("TRUST_FORWARDED_FOR", "true")]);
    // The last one is of the trusted proxy, the first one of anybody.
    let headers =
        [ADA, "X-Forwarded-Host: evil.test, front.test", "X-Forwarded-Proto: javascript, https"];
    let url = begin_upload(&trusting, &headers);
    assert!(url.starts_with("https://front.test/upload/"), "{url}");
    for bad in ["evil.test/x?", "a@evil.test", "evil.test#", "evil test", "", "\"evil\""] {
        let url = begin_upload(&trusting, &[ADA, &format!("X-Forwarded-Host: {bad}")]);
        assert!(url.starts_with("http://localhost/upload/"), "{bad}: {url}");
    }
    let public = start(&[
        keys,
        ("TRUST_FORWARDED_FOR", "true"),
        ("PUBLIC_URL", "https://gemini.example/in/front"),
    ]);
    let url = begin_upload(&public, &forwarded);
    assert!(url.starts_with("https://gemini.example/in/front/upload/v1beta/files?"), "{url}");
    // Without keys a name that could be a web page's is refused.
    let open = start(&[]);
    let start = ["Host: evil.test", "X-Goog-Upload-Command: start"];
    assert_eq!(open.send(post("/upload/v1beta/files", &start, "{}")).status(), 403);
    [plain, trusting, public, open].into_iter().map(Attacked::from).collect()
}

fn framing_of_copies() -> Vec<Attacked> {
    // What came on each connection.
    let connections = Arc::new(Mutex::new(Vec::<String>::new()));
    let log = Arc::clone(&connections);
    let upstream = ScriptedUpstream::raw(move |mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !all.windows(4).any(|end| end == b"\r\n\r\n")
            && let Ok(read @ 1..) = stream.read(&mut buffer)
        {
            all.extend_from_slice(&buffer[..read]);
        }
        let _ = stream.write_all(format!("{OK}{}\r\n\r\n{WHOLE}", WHOLE.len()).as_bytes());
        let _ = stream.read_to_end(&mut all);
        log.lock().expect("no panic").push(String::from_utf8_lossy(&all).into_owned());
    });
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    let behind = "GET /v1beta/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let start = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{ADA}\r\n");
    let post = start("POST /upload/v1beta/files");
    let chunked = "Transfer-Encoding: chunked\r\n";
    for sent in [
        format!("{post}Content-Length: 4\r\n{chunked}\r\n5\r\nhello\r\n0\r\n\r\n{behind}"),
        format!("{post}{chunked}Content-Length: 100\r\n\r\n5\r\nhello\r\n0\r\n\r\n{behind}"),
        format!(
            "{post}{chunked}\r\n5;ext=\"x\"\r\nhello\r\n0\r\nx-goog-api-key: evil\r\nhost: evil\r\n\r\n{behind}"
        ),
        format!("{post}Content-Length: 5\r\n\r\nhello{behind}"),
        format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!{behind}"),
        format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{behind}"),
        format!(
            "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{behind}"
        ),
        format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{behind}"),
        format!("{post}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello{behind}"),
        format!("{}Content-Length: {}\r\n\r\n{behind}", start("GET /v1beta/files"), behind.len()),
        format!("{}{chunked}\r\n0\r\n\r\n{behind}", start("DELETE /v1beta/files/x")),
    ] {
        let mut connection = proxy.connect();
        connection.write(&sent);
        let status = connection.head().status;
        assert!([200, 100, 400].contains(&status), "{sent}: {status}");
    }
    proxy.until("all closed", |proxy| proxy.checks()["queue"]["in_flight"] == 0);
    thread::sleep(Duration::from_millis(400));
    for received in connections.lock().expect("no panic").iter().filter(|it| !it.is_empty()) {
        let (head, body) = received.split_once("\r\n\r\n").expect("a head");
        let head = head.to_ascii_lowercase();
        let framings = head.matches("\r\ncontent-length:").count()
            + head.matches("\r\ntransfer-encoding:").count();
        assert!(framings <= 1, "{received}");
        assert!(!received.contains("evil") && !head.contains("smuggled"), "{received}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        match length.map(|length| length.parse::<usize>().expect("a number")) {
            // Whatever it is, it is within the body.
            Some(length) => assert!(body.len() <= length, "{received}"),
            None => assert!(!body.contains("HTTP/1.1"), "{received}"),
        }
    }
    vec![Attacked::without_upstream(proxy)]
}

fn broken_uploads() -> Vec<Attacked> {
    let upstream = google();
    let settings = [("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3")];
    let proxy = TestProxy::start(in_front_of(&upstream), &settings);
    let post = "POST /upload/v1beta/files HTTP/1.1\r\nHost: localhost\r\n";
    for _ in 0..20 {
        for body in [
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
            "Content-Length: 100000\r\n\r\nhello",
        ] {
            let mut connection = proxy.connect();
            connection.write(format!("{post}{body}"));
            connection.end_writing();
            let status = connection.try_head().map_or(400, |head| head.status);
            assert!([200, 400, 408].contains(&status), "{body}: {status}");
        }
    }
    assert_eq!(proxy.breaker(), "closed");
    assert_eq!(proxy.get("/v1beta/files").status(), 200);
    vec![proxy.into()]
}
