//! WebSockets of the Live API: who may open one, what goes through, and when it ends.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::GENERATE;
use code_assist_harness::{ScriptedUpstream, TestProxy, get};

use crate::attacked::Attacked;
use crate::copies::in_front_of;
use crate::table::attacks;

attacks! {
    "WebSockets"
    both {
    }
    native {
        upgrades_elsewhere: "an upgrade on a model's method, on `/health`, on files and on `/`; to h2c, to `foo`, without `Connection`, with POST, with a body, in HTTP/1.0",
            "an ordinary answer or error, never 101; what follows is the next request, and upstream sees no upgrade",
            because "the runtime upgrades connections";
        sockets_without_a_key: "a WebSocket without a key, with a wrong one, with an ephemeral token in its place",
            "401, or 403 `NOT_ALLOWED` for an ephemeral token beside a key; no connection to upstream", because "not run against the Worker yet";
        bytes_behind_an_upgrade: "a request behind the request for an upgrade, which upstream refuses",
            "upstream gets none of it in the refused connection; the proxy answers it as the next request, with its own key",
            because "the runtime upgrades connections";
        lies_of_upstream: "101 to a request that asked for none, 101 without an upgrade, bytes behind 101 in the same packet, 200 to an upgrade",
            "502, or the bytes for this client alone", because "the runtime upgrades connections";
        many_sockets: "1,000 WebSockets that stay open, of one key of two, with 100 places",
            "half of the places at most; the others get 503, another key is served, and all places are free again when the clients have left",
            because "not run against the Worker yet";
        sockets_at_the_end: "20 WebSockets that stay open when the proxy stops", "the process has ended within `SHUTDOWN_GRACE_MS`",
            because "a Worker does not stop";
    }
    proved {
        silent_sockets: "a WebSocket on which neither side sends, and one that only one side has closed",
            "closed after 10 minutes, or after 10 seconds", by "crates/server/src/listen/tunnel/tests.rs::a_tunnel_ends_when_both_sides_have_been_silent_for_ten_minutes";
    }
}

const SOCKET: &str =
    "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}]}"#;
const KEYS: &str = "ada:adas-key-0123456789,bob:bobs-key-0123456789";
const BOB: &str = "x-goog-api-key: bobs-key-0123456789";
const HANDSHAKE: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn ok() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{WHOLE}", WHOLE.len())
}

/// An upstream that answers 101 to a WebSocket and echoes its bytes, and 200 to all else.
fn live() -> ScriptedUpstream {
    ScriptedUpstream::raw(|mut stream| {
        let mut buffer = vec![0; 64 << 10];
        let mut head = Vec::new();
        let mut is_open = false;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if is_open {
                let _ = stream.write_all(&buffer[..read]);
                continue;
            }
            head.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let Some((first, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = first.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() < length.map_or(0, |it| it.parse().expect("a length")) {
                continue;
            }
            is_open = first.contains("upgrade: websocket");
            let answer = if is_open { SWITCHING.to_owned() } else { ok() };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            head.clear();
        }
    })
}

fn asking(headers: &[&str]) -> Vec<u8> {
    get(SOCKET, &[&HANDSHAKE, headers].concat())
}

fn upgrades_elsewhere() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        let head = request.head.to_ascii_lowercase();
        assert!(!head.contains("upgrade"), "{head}");
        connection.write(ok());
    });
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let handshake = HANDSHAKE.join("\r\n");
    let with = |line: &str, upgrade: &str, rest: &str| {
        let handshake = handshake.replace("websocket", upgrade);
        format!("{line}\r\nHost: localhost\r\n{handshake}\r\n{rest}")
    };
    let long = "Content-Length: 2\r\n\r\n{}";
    for request in [
        with("GET /health HTTP/1.1", "websocket", "\r\n"),
        with("GET / HTTP/1.1", "websocket", "\r\n"),
        with("GET /v1beta/files HTTP/1.1", "websocket", "\r\n"),
        with("GET /v1beta/models HTTP/1.1", "websocket", "\r\n"),
        with("POST /upload/v1beta/files HTTP/1.1", "websocket", long),
        with(&format!("POST {GENERATE} HTTP/1.1"), "websocket", long),
        with(&format!("POST {SOCKET} HTTP/1.1"), "websocket", long),
        with(&format!("GET {SOCKET} HTTP/1.1"), "websocket", long),
        with(
            &format!("GET {SOCKET} HTTP/1.1"),
            "h2c",
            "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        ),
        with(&format!("GET {SOCKET} HTTP/1.1"), "foo", "\r\n"),
        with(
            "GET /v1beta/files HTTP/1.1",
            "h2c",
            "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        ),
        with(&format!("GET {SOCKET} HTTP/1.1"), "websocket", "\r\n")
            .replace("Connection: Upgrade\r\n", ""),
        with(&format!("GET {SOCKET} HTTP/1.1"), "websocket", "\r\n")
            .replace("Upgrade: websocket\r\n", ""),
    ] {
        let mut connection = proxy.connect();
        connection.write(&request);
        let head = connection.head();
        assert_ne!(head.status, 101, "{request}");
        connection.body(&head);
        // The connection is still one of HTTP, unless the error has closed it.
        if head.header("connection") != "close"
            && connection.try_write(get("/health", &[]))
            && let Some(head) = connection.try_head()
        {
            assert_eq!(head.status, 200, "{request}");
        }
    }
    let old = asking(&[]);
    let old = String::from_utf8(old).expect("text").replace("HTTP/1.1", "HTTP/1.0");
    assert_ne!(proxy.send(old).status(), 101);
    vec![proxy.into()]
}

fn sockets_without_a_key() -> Vec<Attacked> {
    let upstream = live();
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    let connections = upstream.connections();
    let token = "Authorization: Token auth_tokens/x";
    for (headers, expected) in [
        (&[][..], 401),
        (&["x-goog-api-key: wrong-key-0123456789"], 401),
        (&[token], 401),
        (&[token, BOB], 403),
    ] {
        assert_eq!(proxy.send(asking(headers)).status(), expected, "{headers:?}");
    }
    let query = format!("{SOCKET}Constrained?access_token=auth_tokens/x");
    assert_eq!(proxy.send(get(&query, &HANDSHAKE)).status(), 401);
    let query = format!("{SOCKET}?access_token=auth_tokens/x");
    assert_eq!(proxy.send(get(&query, &[&HANDSHAKE[..], &[BOB]].concat())).status(), 403);
    let path = format!("{SOCKET}Constrained");
    assert_eq!(proxy.send(get(&path, &[&HANDSHAKE[..], &[BOB]].concat())).status(), 403);
    assert_eq!(upstream.connections(), connections);
    vec![proxy.into()]
}

fn bytes_behind_an_upgrade() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        if request.head.contains("/ws/") {
            let body = "refused";
            connection
                .write(format!("HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\n{body}"));
            // Whatever comes next on this connection would be smuggled.
            if let Some(next) = connection.request() {
                panic!("smuggled: {next:?}");
            }
            return connection.close();
        }
        connection.write(ok());
    });
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    let behind = get("/v1beta/files?smuggled=1", &[]);
    let mut connection = proxy.connect();
    connection.write([asking(&[BOB]), behind].concat());
    assert_eq!(connection.response().status(), 400);
    if let Some(head) = connection.try_head() {
        assert_eq!(head.status, 401, "it has no key of its own");
    }
    let received = upstream.received();
    assert!(!received.iter().any(|request| request.head.contains("smuggled")), "{received:?}");
    vec![proxy.into()]
}

fn lies_of_upstream() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        let line = request.head.lines().next().unwrap_or_default();
        if line.contains("lie") {
            connection.write(SWITCHING);
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            return connection.close();
        }
        if line.contains("Music") {
            return connection.write(ok());
        }
        if line.contains("interactions/live") {
            connection.write("HTTP/1.1 101 Switching Protocols\r\n\r\nraw");
            return connection.close();
        }
        if line.contains("/ws/") {
            connection.write(format!("{SWITCHING}first"));
            while !connection.is_closed_within(Duration::from_secs(1)) {}
            return connection.close();
        }
        connection.write(ok());
    });
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    for path in ["/v1beta/files/lie", "/v1beta/files/lie:download"] {
        let answer = proxy.get(path);
        assert_eq!((answer.status(), answer.text().contains("evil")), (502, false), "{path}");
    }
    let answer = proxy.send(post_lie());
    assert_eq!((answer.status(), answer.text().contains("evil")), (502, false));
    let mut connection = proxy.connect();
    connection.write(asking(&[]));
    assert_eq!(connection.head().status, 101);
    assert_eq!(connection.exactly(5), b"first");
    drop(connection);
    let path = SOCKET.replace("Content", "Music");
    let answer = proxy.send(get(&path, &HANDSHAKE));
    assert_eq!((answer.status(), answer.text()), (200, WHOLE.to_owned()));
    let mut connection = proxy.connect();
    connection.write(get("/v1beta/interactions/live", &HANDSHAKE));
    let status = connection.try_head().map_or(502, |head| head.status);
    assert!([101, 502].contains(&status), "{status}");
    vec![proxy.into()]
}

fn post_lie() -> Vec<u8> {
    code_assist_harness::post("/v1beta/files/lie:register", &[], "{}")
}

fn many_sockets() -> Vec<Attacked> {
    let upstream = live();
    let settings =
        [("PROXY_API_KEYS", KEYS), ("MAX_CONCURRENT_REQUESTS", "100"), ("QUEUE_TIMEOUT_MS", "100")];
    let proxy = TestProxy::start(in_front_of(&upstream), &settings);
    let before = proxy.memory("VmRSS");
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut some: Vec<_> = (0..50).map(|_| proxy.connect()).collect();
        for connection in &mut some {
            connection.write(asking(&[BOB]));
        }
        for mut connection in some {
            match connection.head().status {
                101 => open.push(connection),
                503 => refused += 1,
                status => panic!("{status}"),
            }
        }
        let honest = proxy.honest(GENERATE, r#"{"contents":[]}"#);
        assert_eq!(honest.status(), 200, "{}", honest.text());
    }
    assert_eq!((open.len(), refused), (50, 950));
    for connection in &mut open {
        connection.write("ping");
        assert_eq!(connection.exactly(4), b"ping");
    }
    let growth = proxy.memory("VmRSS").saturating_sub(before);
    assert!(growth < 24 << 20, "{} MiB for 50 WebSockets", growth >> 20);
    let in_flight = |proxy: &TestProxy| proxy.checks()["queue"]["in_flight"].clone();
    assert_eq!(in_flight(&proxy), 50);
    drop(open);
    proxy.until("free again", |proxy| in_flight(proxy) == 0);
    vec![proxy.into()]
}

fn sockets_at_the_end() -> Vec<Attacked> {
    let upstream = live();
    let mut proxy = in_front_of(&upstream).env("SHUTDOWN_GRACE_MS", "500").start();
    let mut open: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
    for connection in &mut open {
        connection.write(asking(&[]));
        assert_eq!(connection.head().status, 101);
    }
    let began = Instant::now();
    proxy.signal("TERM");
    thread::sleep(Duration::from_millis(100));
    // Those that are open go on until then.
    open[0].write("ping");
    assert_eq!(open[0].exactly(4), b"ping");
    proxy.wait_for_exit(Duration::from_secs(10));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for mut connection in open {
        connection.until_closed();
    }
    Vec::new()
}
