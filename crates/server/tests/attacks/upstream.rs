//! Where the token goes, and answers that lie. HTTP/2 is in `upstream_http2.rs`.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{EVENT, GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, TestProxy, post};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Where the token goes, and upstreams that lie"
    both {
        access_tokens: "a token endpoint whose token has a line end, is empty, 300 KB, a number or null, or lives for 0, -5, 1, 1e300 seconds, text or null",
            "200, or 503 with what to do; no header is added to a request, and the endpoint is asked a few times only";
        two_framings_of_an_answer: "`Content-Length` and `Transfer-Encoding` in one answer",
            "the chunks count, or 502";
        hostile_errors: "640 errors: eight statuses, with delays, times and numbers that are negative, enormous, no number, or of another shape",
            "each status as upstream sent it, and JSON; no error of the proxy's own, and no long wait";
        text_that_is_no_utf8: "an event and a whole answer that are not UTF-8", "502 `UPSTREAM_MALFORMED`";
    }
    native {
        endpoints_with_parts: "an endpoint with a login, a query, a fragment or another scheme, an API version with dots",
            "exit 2: it does not start", because "a Worker has no exit code";
        corporate_proxies: "a corporate proxy that answers CONNECT with garbage, a head that does not end, 302, `2000 OK`, a byte at a time, silence, or closes",
            "503 `UPSTREAM_UNREACHABLE` within `CONNECTION_TIMEOUT_MS` a try; nothing but CONNECT and TLS is sent",
            because "a Worker has no forward proxy";
        interim_answers: "20,000 interim answers before the answer", "200",
            because "the runtime accepts no interim responses";
        endless_answer: "a whole answer that does not end", "502 at `MAX_EVENT_BYTES`, and bounded memory",
            because "the runtime controls memory";
        bytes_behind_an_answer: "a second answer behind the first", "it is never given to the next request",
            because "the runtime keeps the connections";
        odd_answer_heads: "NUL in a header, 20,000 trailers, `HTTP/3.0`, a status of 2000, two lengths, a negative length, a bad chunk size",
            "502, or the answer without the oddity", because "the runtime reads heads";
    }
    proved {
        redirected: "307 to another host, from upstream", "502 `UPSTREAM_MALFORMED`; no request, so no token, goes there",
            by "crates/server/tests/faults/answers.rs::redirect";
        unknown_certificate: "a certificate of an unknown authority", "503; the token is not sent",
            by "crates/server/tests/faults/network.rs::tls_certificate_unknown";
        endpoints_of_others: "requests while an endpoint fails", "the token goes to configured endpoints only",
            by "crates/testkit/tests/resilience/endpoints.rs::tokens_go_to_configured_endpoints_only";
        secrets: "requests and faults that mention each secret", "no secret in a log line, an error or an answer",
            by "crates/server/tests/conformance/secrets.rs::no_secret_is_in_any_log_error_or_answer";
        endless_event: "an event beyond `MAX_EVENT_BYTES`", "the events before it, then `UPSTREAM_MALFORMED`",
            by "crates/server/tests/faults/answers.rs::event_too_long";
        endless_comments: "a stream of comments that does not end", "504 after `FIRST_BYTE_TIMEOUT_MS`",
            by "crates/server/tests/faults/answers.rs::comments_for_ever";
        endless_answer_heads: "a header that does not end, headers that do not end", "502 or 503, memory bounded",
            by "crates/server/tests/faults/network.rs::endless_header";
    }
}

fn access_tokens() -> Vec<Attacked> {
    let long = "x".repeat(300_000);
    let answers = [
        r#"{"access_token":"a\r\nX-Evil: b","expires_in":3600}"#.to_owned(),
        r#"{"access_token":"a\u0000b","expires_in":3600}"#.to_owned(),
        r#"{"access_token":"","expires_in":3600}"#.to_owned(),
        r#"{"access_token":7,"expires_in":3600}"#.to_owned(),
        r#"{"access_token":null,"expires_in":3600}"#.to_owned(),
        format!(r#"{{"access_token":"{long}","expires_in":3600}}"#),
        r#"{"access_token":"ya29.fine","expires_in":0}"#.to_owned(),
        r#"{"access_token":"ya29.fine","expires_in":-5}"#.to_owned(),
        r#"{"access_token":"ya29.fine","expires_in":1}"#.to_owned(),
        r#"{"access_token":"ya29.fine","expires_in":1e300}"#.to_owned(),
        r#"{"access_token":"ya29.fine","expires_in":"soon"}"#.to_owned(),
        r#"{"access_token":"ya29.fine","expires_in":null}"#.to_owned(),
        r#"[{"access_token":"ya29.fine"}]"#.to_owned(),
    ];
    let attack = |answer: String| {
        let shown = answer.chars().take(80).collect::<String>();
        let upstream = ScriptedUpstream::new(move |request, connection| {
            let is_token = request.head.starts_with("POST /token");
            connection.write(ok(if is_token { &answer } else { WHOLE }));
        });
        let expired = GoogleEmulator::start().expired_credentials();
        let setup = ProxyBuilder::for_upstream(&upstream)
            .without_env("GOOGLE_CLOUD_ACCESS_TOKEN")
            .env("OAUTH_TOKEN_URL", format!("{}/token", upstream.url()))
            .credentials(&expired);
        let proxy = TestProxy::start(setup, &[]);
        for _ in 0..10 {
            let answer = proxy.post(GENERATE, HELLO);
            assert!(matches!(answer.status(), 200 | 503), "{shown}: {}", answer.text());
        }
        let received = upstream.received();
        let asked = received.iter().filter(|r| r.head.starts_with("POST /token")).count();
        assert!(asked <= 12, "{shown}: asked {asked} times for ten requests");
        let evil = received.iter().find(|r| r.head.to_ascii_lowercase().contains("\r\nx-evil"));
        assert!(evil.is_none(), "{shown}: {evil:?}");
        Attacked::without_upstream(proxy)
    };
    at_once(answers.map(|answer| move || attack(answer)))
}

fn hostile_errors() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        let text = request.text();
        let (_, number) = text.split_once("gemini-").expect("a model");
        let digits = number.split('"').next().expect("a number");
        let number: usize = digits.parse().expect("a number");
        connection.write(hostile_error(number));
    });
    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let mut connection = proxy.connect();
    for number in 0..STATUSES.len() * VALUES.len() * SHAPES.len() {
        let path = format!("/v1beta/models/gemini-{number}:generateContent");
        let started = Instant::now();
        let answer = connection.send(post(&path, &[], HELLO));
        let sent = hostile_error(number);
        let status = STATUSES[number % STATUSES.len()].to_string();
        assert_eq!(answer.status().to_string(), status, "{sent}: {}", answer.text());
        assert_eq!(answer.error()["code"].to_string(), status, "{sent}: {}", answer.text());
        assert_eq!(answer.reason(), "", "{sent}: {}", answer.text());
        assert!(started.elapsed() < Duration::from_secs(5), "{sent}");
        if let Some(delay) = answer.head.find("retry-after") {
            assert!(delay.parse::<u64>().is_ok(), "{delay}: {sent}");
        }
    }
    assert_eq!(upstream.received().len(), STATUSES.len() * VALUES.len() * SHAPES.len());
    vec![Attacked::without_upstream(proxy)]
}

/// One of the errors, by its number.
fn hostile_error(number: usize) -> String {
    let status = STATUSES[number % STATUSES.len()];
    let value = VALUES[number / STATUSES.len() % VALUES.len()];
    let shape = SHAPES[number / STATUSES.len() / VALUES.len()];
    let bare = value.trim_matches('"');
    let body = shape.replace("CODE", &status.to_string()).replace("VALUE", value);
    format!(
        "HTTP/1.1 {status} Error\r\nRetry-After: {bare}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const STATUSES: [u16; 8] = [400, 403, 404, 409, 429, 500, 503, 504];

const VALUES: [&str; 16] = [
    "\"-1s\"",
    "\"1e308s\"",
    "\"999999999999999999999s\"",
    "\"0.0000000001s\"",
    "\"NaN\"",
    "\"s\"",
    "\"\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"0000-00-00T00:00:00Z\"",
    "\"+275760-09-13T00:00:00Z\"",
    "\"Fri, 31 Dec 9999 23:59:59 GMT\"",
    "-9223372036854775808",
    "18446744073709551616",
    "1e300",
    "null",
    "{\"seconds\":-1,\"nanos\":99999999999}",
];

const SHAPES: [&str; 5] = [
    r#"{"error":{"code":CODE,"message":"x","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":VALUE}]}}"#,
    r#"{"error":{"code":CODE,"message":"x","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","metadata":{"quotaResetDelay":VALUE,"quotaResetTimeStamp":VALUE}}]}}"#,
    r#"{"error":{"code":CODE,"message":VALUE,"status":VALUE,"details":VALUE}}"#,
    r#"[{"error":{"code":VALUE,"message":"x","details":{"@type":VALUE,"retryDelay":VALUE}}}]"#,
    r#"{"error":VALUE}"#,
];

fn two_framings_of_an_answer() -> Vec<Attacked> {
    let chunked = format!("{:x}\r\n{WHOLE}\r\n0\r\n\r\n", WHOLE.len());
    let proxy = answered(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
    ));
    let answer = proxy.post(GENERATE, HELLO);
    let is_whole = answer.status() == 200 && answer.text().contains("all");
    assert!(is_whole || answer.status() == 502, "{}", answer.text());
    vec![Attacked::without_upstream(proxy)]
}

fn bytes_behind_an_answer() -> Vec<Attacked> {
    let evil = WHOLE.replace("all", "evil");
    let proxy = answered(ok(WHOLE) + &ok(&evil));
    for _ in 0..5 {
        let answer = proxy.post(GENERATE, HELLO);
        assert!(!answer.text().contains("evil"), "{}", answer.text());
        assert!(matches!(answer.status(), 200 | 502), "{}", answer.text());
    }
    vec![Attacked::without_upstream(proxy)]
}

fn text_that_is_no_utf8() -> Vec<Attacked> {
    let (head, tail) = EVENT.split_once("some").expect("the text");
    let event = [b"data: ", head.as_bytes(), &[0xff, 0xfe], tail.as_bytes(), b"\r\n\r\n"].concat();
    let whole = [head.as_bytes(), &[0xc0, 0xa2], tail.as_bytes()].concat();
    let upstream = ScriptedUpstream::new(move |request, connection| {
        let is_stream = request.head.contains("streamGenerateContent");
        let body = if is_stream { &event } else { &whole };
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        connection.write(body);
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    for path in [GENERATE, STREAM] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()), "{path}");
    }
    vec![Attacked::without_upstream(proxy)]
}

fn endpoints_with_parts() -> Vec<Attacked> {
    for (name, value) in [
        ("CODE_ASSIST_ENDPOINT", "https://user:hush@example.com"),
        ("CODE_ASSIST_ENDPOINT", "https://example.com/?x=y"),
        ("CODE_ASSIST_ENDPOINT", "https://example.com/#x"),
        ("CODE_ASSIST_ENDPOINT", "ftp://example.com"),
        ("CODE_ASSIST_ENDPOINT", "https://"),
        ("CODE_ASSIST_ENDPOINT", "file:///etc/passwd"),
        ("CODE_ASSIST_API_VERSION", "../x"),
        ("CODE_ASSIST_API_VERSION", "v1/x"),
        ("CODE_ASSIST_API_VERSION", "v1?x=y"),
        ("OAUTH_TOKEN_URL", "ftp://example.com/token"),
    ] {
        let out = ProxyBuilder::without_upstream().env(name, value).run_to_exit();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.contains(name) && !said.contains("hush"), "{said}");
    }
    Vec::new()
}

fn corporate_proxies() -> Vec<Attacked> {
    let long = "x".repeat(100_000);
    let answers: [&[u8]; 8] = [
        b"HTTP/1.1 200 OK\r\n\r\nthis is not TLS, but many bytes of another kind\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.com/\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nX: y",
        long.as_bytes(),
    ];
    let attack = |answer: Vec<u8>| {
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let log = Arc::clone(&received);
        let reply = answer.clone();
        let corporate = ScriptedUpstream::raw(move |mut stream| {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap_or(0);
            log.lock().expect("no panic under the lock").extend_from_slice(&buffer[..read]);
            let _ = stream.write_all(&reply);
            let is_open = !reply.is_empty();
            while let (true, Ok(read @ 1..)) = (is_open, stream.read(&mut buffer)) {
                log.lock().expect("no panic under the lock").extend_from_slice(&buffer[..read]);
            }
        });
        let endpoint = "https://code-assist.invalid".to_owned();
        let address = corporate.url();
        let settings = [("HTTPS_PROXY", &*address), ("CONNECTION_TIMEOUT_MS", "500")];
        let proxy = TestProxy::for_endpoints(&[endpoint], &settings);
        let started = Instant::now();
        let refused = proxy.post(GENERATE, HELLO);
        let took = started.elapsed();
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let expected = (503, "UPSTREAM_UNREACHABLE".into());
        assert_eq!(refused.status_and_reason(), expected, "{shown}");
        assert!(took < Duration::from_secs(6), "{shown}: {took:?}");
        let sent = received.lock().expect("no panic under the lock").clone();
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(sent.starts_with("CONNECT code-assist.invalid:443 HTTP/1.1\r\n"), "{sent}");
        assert!(!sent.contains("ya29") && !sent.contains("POST "), "{sent}");
        Attacked::without_upstream(proxy)
    };
    at_once(answers.map(|answer| move || attack(answer.to_vec())))
}

fn interim_answers() -> Vec<Attacked> {
    let flood = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(20_000);
    let proxy = answered(flood + &ok(WHOLE));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    vec![proxy.into()]
}

fn endless_answer() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(r#"{"response":{"candidates":[{"content":{"parts":[{"text":""#);
        let piece = "x".repeat(64 * 1024);
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        connection.write_until_blocked(chunk.as_bytes(), 20_000, Duration::from_secs(2));
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("MAX_EVENT_BYTES", "1000000")]);
    let before = proxy.memory("VmHWM");
    for path in [GENERATE, STREAM] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 502, "{path}: {}", answer.text());
    }
    let grown = proxy.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{} MiB", grown >> 20);
    vec![Attacked::without_upstream(proxy)]
}

fn odd_answer_heads() -> Vec<Attacked> {
    let length = WHOLE.len();
    let trailers = "x: y\r\n".repeat(20_000);
    let attack = |answer: String| {
        let shown: String = answer.chars().take(80).collect();
        let proxy = answered(answer);
        let answer = proxy.post(GENERATE, HELLO);
        let is_whole = answer.status() == 200 && answer.text().contains("all");
        assert!(is_whole || answer.status() == 502, "{shown:?}: {}", answer.text());
        Attacked::without_upstream(proxy)
    };
    let answers = [
        format!("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: {length}\r\n\r\n{WHOLE}"),
        format!("HTTP/3.0 200 OK\r\nContent-Length: {length}\r\n\r\n{WHOLE}"),
        format!("HTTP/1.1 2000 OK\r\nContent-Length: {length}\r\n\r\n{WHOLE}"),
        format!("HTTP/1.1 099 OK\r\nContent-Length: {length}\r\n\r\n{WHOLE}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: 5\r\n\r\n{WHOLE}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{WHOLE}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{WHOLE}\r\n0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{WHOLE}\r\n0\r\n{trailers}\r\n"
        ),
    ];
    at_once(answers.map(|answer| move || attack(answer)))
}

/// A proxy whose upstream gives this answer to each request.
fn answered(answer: String) -> TestProxy {
    let upstream = ScriptedUpstream::new(move |_, connection| connection.write(&answer));
    TestProxy::for_upstream(&upstream, &[])
}

/// Runs the variants of an attack side by side, each against a proxy of its own.
pub(crate) fn at_once<const N: usize>(
    attacks: [impl FnOnce() -> Attacked + Send; N],
) -> Vec<Attacked> {
    thread::scope(|scope| {
        let running = attacks.map(|attack| scope.spawn(attack));
        running.into_iter().map(|attack| attack.join().expect("no panic")).collect()
    })
}
