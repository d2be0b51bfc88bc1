//! Where a request ends, and which one it is.

use code_assist_harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2Connection, head_block, pseudo,
};
use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, TestProxy, get};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Framing and smuggling"
    both {}
    native {
        two_framings: "`Content-Length` and `Transfer-Encoding` in one request, in either order, with a second request inside",
            "the chunks count; the second request is not answered, and the connection is closed",
            because "the runtime frames requests";
        odd_transfer_encodings: "`xchunked`, `chunked, identity`, a blank before the colon, a control character, chunks in HTTP/1.0",
            "400, and nothing goes upstream", because "the runtime frames requests";
        odd_lengths: "two different lengths, `5, 6`, `+5`, `-1`, hexadecimal, more than 64 bits hold",
            "400; 413 where it is a number", because "the runtime frames requests";
        broken_chunks: "a chunk's size that is no number, without its line end, with a bare line feed, with an extension of 20 KB; 1,000 trailers",
            "400, and nothing goes upstream", because "the runtime frames requests";
        trailers: "trailers that are called `Host`, `Authorization` and `x-goog-api-key`",
            "they are dropped: upstream sees the request as without them", because "the runtime frames requests";
        malformed_heads: "a bare carriage return, a folded line, a NUL, a blank in a name, HTTP/1.2, HTTP/0.9",
            "400, 505 or closed", because "the runtime reads heads";
        without_host: "HTTP/1.1 without `Host`, with and without a key, and with two of them", "400 `HOST_MISSING`, and nothing goes upstream",
            because "the runtime reads `Host`";
        upgrades: "`Upgrade: h2c` and `Upgrade: websocket`", "the request is answered as if it were not there",
            because "the runtime reads heads";
        requests_in_bodies: "a request in the body of a request that is refused",
            "it is never answered: the body is drained, or the connection is closed", because "the runtime frames requests";
        expectations: "`Expect: 100-continue` from a stranger, and no body",
            "401 without waiting for the body", because "the runtime answers `Expect`";
        heads_too_large: "101 headers, a head of 300 KB, a request line of 70 KB", "431, or 414",
            because "the runtime reads heads";
        http2_malformed: "HTTP/2 with `connection`, `transfer-encoding`, `te: gzip`, a name in upper case, CRLF or NUL in a value, a pseudo-header twice, unknown or last",
            "the stream or the connection is ended", because "the runtime speaks HTTP/2";
        http2_lengths: "HTTP/2 with `content-length: 5` and no body, a longer body, or DATA after the end",
            "the stream or the connection is ended, and nothing goes upstream", because "the runtime speaks HTTP/2";
        http2_frames: "HTTP/2 frames of a wrong size, on stream 0 or on an even stream, CONTINUATION without HEADERS",
            "the connection is ended", because "the runtime speaks HTTP/2";
    }
    proved {
        garbage: "bytes that are not HTTP", "400, or closed",
            by "crates/server/tests/faults/callers.rs::client_sends_garbage";
    }
}

fn two_framings() -> Vec<Attacked> {
    let proxy = keyed();
    let chunked = format!("{:x}\r\n{HELLO}\r\n0\r\n\r\n", HELLO.len());
    let smuggled = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n\r\n");
    let length = format!("Content-Length: {}", chunked.len() + smuggled.len());
    let chunks = "Transfer-Encoding: chunked".to_owned();
    for framings in [[&length, &chunks], [&chunks, &length]] {
        let mut connection = proxy.connect();
        connection.write(format!(
            "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n{}\r\n{}\r\n\r\n{chunked}{smuggled}",
            framings[0], framings[1]
        ));
        let text = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
    assert_eq!(proxy.google().count("generateContent"), 2);
    vec![proxy.into()]
}

fn odd_transfer_encodings() -> Vec<Attacked> {
    let proxy = keyed();
    let chunked = format!("{:x}\r\n{HELLO}\r\n0\r\n\r\n", HELLO.len());
    for (version, framing) in [
        ("1.1", "Transfer-Encoding: xchunked"),
        ("1.1", "Transfer-Encoding: chunked, identity"),
        ("1.1", "Transfer-Encoding : chunked"),
        ("1.1", "Transfer-Encoding: \x0bchunked"),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("1.0", "Transfer-Encoding: chunked"),
    ] {
        let sent = format!(
            "POST {GENERATE} HTTP/{version}\r\nHost: localhost\r\n{KEY}\r\n{framing}\r\n\r\n{chunked}"
        );
        assert_refused(&proxy, &sent, &[400]);
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn odd_lengths() -> Vec<Attacked> {
    let proxy = keyed();
    let length = HELLO.len();
    for (framing, status) in [
        (format!("Content-Length: {length}\r\nContent-Length: {}", length + 1), 400),
        (format!("Content-Length: {length}, {}", length + 1), 400),
        (format!("Content-Length: +{length}"), 400),
        ("Content-Length: -1".to_owned(), 400),
        (format!("Content-Length: {length:#x}"), 400),
        (format!("Content-Length: {length} {length}"), 400),
        ("Content-Length: 18446744073709551616".to_owned(), 400),
        ("Content-Length: 9223372036854775808".to_owned(), 413),
    ] {
        let head = format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n{framing}");
        assert_refused(&proxy, &format!("{head}\r\n\r\n{HELLO}"), &[status]);
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn broken_chunks() -> Vec<Attacked> {
    let proxy = keyed();
    let length = HELLO.len();
    for body in [
        format!("xyz\r\n{HELLO}\r\n0\r\n\r\n"),
        format!("-1\r\n{HELLO}\r\n0\r\n\r\n"),
        format!("0x{length:x}\r\n{HELLO}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff\r\n{HELLO}\r\n0\r\n\r\n"),
        format!("{length:x}\r\n{HELLO}0\r\n\r\n"),
        format!("{length:x}\n{HELLO}\r\n0\r\n\r\n"),
        format!("{length:x};{}\r\n{HELLO}\r\n0\r\n\r\n", "x".repeat(20_000)),
        format!("{length:x}\r\n{HELLO}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(1000)),
    ] {
        let head = format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{KEY}");
        let sent = format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_refused(&proxy, &sent, &[400]);
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn trailers() -> Vec<Attacked> {
    let proxy = keyed();
    let sent = format!(
        "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{HELLO}\r\n0\r\nHost: evil.com\r\nAuthorization: Bearer evil\r\n\
         x-goog-api-key: evil\r\nContent-Length: 3\r\n\r\n",
        HELLO.len()
    );
    let answer = proxy.send(sent);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let calls = proxy.google().received("generateContent");
    assert_eq!(calls.len(), 1);
    assert!(!calls[0].to_string().contains("evil"), "{}", calls[0]);
    vec![proxy.into()]
}

fn malformed_heads() -> Vec<Attacked> {
    let proxy = keyed();
    for head in [
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nX: a\rb"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nX: a\r\n b"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nX: a\0b"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nX Y: a"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n: a"),
        format!("GET /met\0rics HTTP/1.1\r\nHost: localhost\r\n{KEY}"),
        format!("GET /metrics HTTP/1.2\r\nHost: localhost\r\n{KEY}"),
        format!("GET  /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}"),
        format!("G\u{e4}T /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}"),
        "GET /metrics".to_owned(),
    ] {
        assert_refused(&proxy, &format!("{head}\r\n\r\n"), &[400, 505]);
    }
    vec![proxy.into()]
}

fn without_host() -> Vec<Attacked> {
    let proxy = keyed();
    for fields in [KEY, "x-other: y", &format!("{KEY}\r\nHost: localhost\r\nHost: localhost")] {
        let length = HELLO.len();
        let sent = format!(
            "POST {GENERATE} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n{HELLO}"
        );
        let mut connection = proxy.connect();
        connection.write(sent);
        let refused = connection.response().status_and_reason();
        assert_eq!(refused, (400, "HOST_MISSING".into()), "{fields}");
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn upgrades() -> Vec<Attacked> {
    let proxy = keyed();
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        let mut connection = proxy.connect();
        connection.write(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n"));
        assert_eq!(connection.response().status(), 200);
        assert_eq!(connection.send(get("/nowhere", &[KEY])).status(), 404, "still HTTP/1.1");
    }
    vec![proxy.into()]
}

fn requests_in_bodies() -> Vec<Attacked> {
    let proxy = keyed();
    let inner = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n\r\n");
    let length = inner.len();
    for (head, status) in [
        (format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost"), 401),
        (format!("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{KEY}"), 404),
        (format!("DELETE {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{KEY}"), 405),
        (format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{KEY}"), 200),
    ] {
        let mut connection = proxy.connect();
        connection.write(format!("{head}\r\nContent-Length: {length}\r\n\r\n{inner}"));
        assert_eq!(connection.response().status(), status, "{head}");
        // The next answer is to this request, or the connection is closed.
        connection.try_write(get("/nowhere", &["Connection: close", KEY]));
        if let Some(next) = connection.try_head() {
            assert_eq!(next.status, 404, "{head}");
            connection.body(&next);
            assert_eq!(connection.until_closed(), b"", "{head}");
        }
    }
    vec![proxy.into()]
}

fn expectations() -> Vec<Attacked> {
    let proxy = keyed();
    let mut connection = proxy.connect();
    connection.write(format!(
        "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    assert_eq!(connection.response().status(), 401);
    assert_eq!(connection.until_closed(), b"");
    vec![proxy.into()]
}

fn heads_too_large() -> Vec<Attacked> {
    let proxy = keyed();
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    assert_refused(&proxy, &format!("{head}{}\r\n", "x: y\r\n".repeat(100)), &[431]);
    assert_refused(&proxy, &format!("{head}x: {}\r\n\r\n", "y".repeat(300_000)), &[431]);
    let line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    assert_refused(&proxy, &line, &[414, 431]);
    vec![proxy.into()]
}

fn http2_malformed() -> Vec<Attacked> {
    let proxy = keyed();
    let [method, scheme, path, authority] = pseudo("GET", "/health");
    let with = |field| vec![method, scheme, path, authority, field];
    for fields in [
        with(("connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("te", "gzip")),
        with(("upgrade", "h2c")),
        with(("X-Upper", "case")),
        with(("x-split", "a\r\nx-other: b")),
        with(("x-nul", "a\0b")),
        with(("x blank", "a")),
        with((":path", "/metrics")),
        with((":unknown", "a")),
        with((":status", "200")),
        vec![method, scheme, authority],
        vec![method, path, authority, ("x", "y"), scheme],
        vec![method, scheme, ("path", "/health"), authority],
        vec![method, scheme, (":path", ""), authority],
    ] {
        let mut connection = Http2Connection::open(proxy.address());
        assert!(connection.head(1, &fields, true));
        let answer = connection.answer(1);
        assert!(answer.is_refused() || answer.status() == 400, "{fields:?}: {answer:?}");
    }
    assert_http2_serves(&proxy);
    vec![proxy.into()]
}

fn http2_lengths() -> Vec<Attacked> {
    let proxy = keyed();
    let [method, scheme, path, authority] = pseudo("POST", GENERATE);
    let key = ("x-goog-api-key", &KEY["x-goog-api-key: ".len()..]);
    let fields = |length| [method, scheme, path, authority, key, ("content-length", length)];
    let mut none = Http2Connection::open(proxy.address());
    assert!(none.head(1, &fields("5"), true));
    let mut longer = Http2Connection::open(proxy.address());
    assert!(longer.head(1, &fields("5"), false));
    assert!(longer.frame(DATA, END_STREAM, 1, HELLO.as_bytes()));
    let mut shorter = Http2Connection::open(proxy.address());
    assert!(shorter.head(1, &fields("500"), false));
    assert!(shorter.frame(DATA, END_STREAM, 1, HELLO.as_bytes()));
    let mut words = Http2Connection::open(proxy.address());
    assert!(words.head(1, &fields("5, 5"), false));
    for mut connection in [none, longer, shorter, words] {
        let answer = connection.answer(1);
        assert!(answer.is_refused() || answer.status() == 400, "{answer:?}");
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    assert_http2_serves(&proxy);
    vec![proxy.into()]
}

fn http2_frames() -> Vec<Attacked> {
    let proxy = keyed();
    let block = head_block(&pseudo("GET", "/health"));
    let whole = END_HEADERS | END_STREAM;
    for (kind, flags, stream, payload) in [
        (HEADERS, whole, 0, &block[..]),
        (HEADERS, whole, 2, &block),
        (DATA, END_STREAM, 1, b"idle"),
        (DATA, END_STREAM, 0, b"none"),
        (CONTINUATION, END_HEADERS, 1, &block),
        (3, 0, 1, &[0; 4]),
        (3, 0, 1, &[0; 3]),
        (4, 0, 0, &[0; 5]),
        (4, 1, 0, &[0; 6]),
        (6, 0, 0, &[0; 7]),
        (8, 0, 0, &[0; 4]),
        (8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        (DATA, 0, 1, &[0; 16_385]),
        // Padding that is longer than the frame, and a head that no decoder reads.
        (HEADERS, whole | 8, 1, &[200, 0, 0]),
        (HEADERS, whole, 1, &[0xff; 16]),
    ] {
        let mut connection = Http2Connection::open(proxy.address());
        assert!(connection.frame(kind, flags, stream, payload));
        while connection.read().is_some() {}
    }
    assert_http2_serves(&proxy);
    vec![proxy.into()]
}

/// Asserts that the proxy answers with one of these statuses, or closes at once, and takes no other
/// request from that connection.
#[track_caller]
fn assert_refused(proxy: &TestProxy, sent: &str, statuses: &[u16]) {
    let mut connection = proxy.connect();
    connection.try_write(sent);
    let Some(head) = connection.try_head() else { return };
    let start: String = sent.chars().take(300).collect();
    assert!(statuses.contains(&head.status), "{}: {start:?}", head.status);
    connection.body(&head);
    assert_eq!(connection.until_closed(), b"", "{start:?}");
}

#[track_caller]
fn assert_http2_serves(proxy: &TestProxy) {
    let mut honest = Http2Connection::open(proxy.address());
    assert!(honest.get(1, "/health"));
    assert_eq!(honest.answer(1).status(), 200);
}

/// A proxy whose key the attacker has, so that a request that gets through goes upstream.
fn keyed() -> TestProxy {
    TestProxy::for_emulator(GoogleEmulator::start(), &[("PROXY_API_KEYS", "eve:eves-own-long-key")])
}

const KEY: &str = "x-goog-api-key: eves-own-long-key";
