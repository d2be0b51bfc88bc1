//! Paths of the Gemini API that are copied: where a request may go, what goes with it, and what comes back.

use std::fmt::Write as _;

use code_assist_harness::samples::GENERATE;
use code_assist_harness::{
    ProxyBuilder, ReceivedRequest, ScriptedUpstream, TestProxy, get, post, request,
};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Copies of the Gemini API"
    both {
    }
    native {
        paths_elsewhere: "`/upload/../`, `%2e%2e`, `//host`, `@host`, `;`, backslashes, an escaped slash or escape, overlong UTF-8, control bytes, `http://host/` as the target",
            "404 or 400, or a path of the Gemini API at the configured endpoint; never another host or a path with dots",
            because "the runtime resolves paths";
        methods_elsewhere: "TRACE, CONNECT, PROPFIND and unknown methods on paths that are copied",
            "404, 405 or 400; an upstream that answers TRACE would show the operator's key", because "the runtime knows few methods";
        credential_carriers: "two keys, a key twice, Bearer, Basic, a cookie, `x-goog-iam-authorization-token`, an assertion of Identity-Aware Proxy, a project to bill, and all of them in trailers and `Connection`",
            "the operator's key, once, and nothing of the client's", because "not run against the Worker yet";
        credential_parameters: "`key=` as `%6bey`, `KEY`, `$key`, `%24key`, twice, empty; `access_token`, `oauth_token`, `$userProject`, `$httpMethod`",
            "none of them goes on, and the other parameters keep their bytes", because "not run against the Worker yet";
        ephemeral_tokens: "`auth_tokens` with another case, without its underscore, escaped, with `;` or a method, in another version, below `upload` and `interactions`",
            "403 `NOT_ALLOWED`, and no request", because "not run against the Worker yet";
        copied_answers: "a redirect to another host, `Set-Cookie`, `Alt-Svc`, CORS headers, line ends in values, an upload URL at a path of its own",
            "no request follows, the headers are left out, a bare line end is 502, and such a URL is not passed on", because "the runtime reads heads";
        odd_upstream_names: "`x-proxy-upstream` empty, of 8 KB, with bytes, twice, with a comma or another case",
            "400 `UNKNOWN_UPSTREAM`, or the upstream of this name; the header never goes on", because "not run against the Worker yet";
        pages_at_copies: "a page of another site that posts a file, deletes one, opens a WebSocket, without keys",
            "403 `ORIGIN_NOT_ALLOWED`, and nothing is sent", because "not run against the Worker yet";
        secrets_of_copies: "failures of every kind at `LOG_LEVEL=trace`, with upstreams that repeat the operator's key",
            "the key, the client's key and the upload's id are in no log line and no error", because "not run against the Worker yet";
    }
    proved {
    }
}

/// The operator's key for Google.
const OPERATORS: &str = "AQ.operators-key-0123456789";

/// The keys of the proxy's clients.
pub(crate) const KEYS: &str = "ada:adas-key-0123456789,bob:bobs-key-0123456789";
pub(crate) const ADA: &str = "x-goog-api-key: adas-key-0123456789";

pub(crate) const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"all"}]},"finishReason":"STOP"}]}"#;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";

pub(crate) fn in_front_of(upstream: &ScriptedUpstream) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "gemini-api")
        .env("GEMINI_API_KEY", OPERATORS)
        .env("GEMINI_API_ENDPOINT", upstream.url())
}

/// An upstream that answers every request, and the start of an upload with a URL.
pub(crate) fn google() -> ScriptedUpstream {
    ScriptedUpstream::new(|request, connection| {
        let mut more = String::new();
        if request.head.to_ascii_lowercase().contains("x-goog-upload-command: start") {
            let path = request.head.split(' ').nth(1).expect("a path");
            let path = path.split('?').next().expect("a path");
            let _ = write!(
                more,
                "X-Goog-Upload-Status: active\r\nX-Goog-Upload-URL: \
                 https://generativelanguage.googleapis.com{path}?upload_id=SESSION-1&upload_protocol=resumable\r\n"
            );
        }
        connection.write(format!("{OK}{}\r\n{more}\r\n{WHOLE}", WHOLE.len()));
    })
}

/// A request line of what upstream has received, without its version.
pub(crate) fn line(request: &ReceivedRequest) -> &str {
    let line = request.head.lines().next().expect("a request line");
    line.strip_suffix(" HTTP/1.1").expect("HTTP/1.1")
}

pub(crate) fn values<'a>(request: &'a ReceivedRequest, name: &str) -> Vec<&'a str> {
    let fields = request.head.lines().filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

/// What upstream got since the last call.
fn since<'a>(all: &'a [ReceivedRequest], seen: &mut usize) -> &'a [ReceivedRequest] {
    let new = &all[*seen..];
    *seen = all.len();
    new
}

fn paths_elsewhere() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let mut seen = upstream.received().len();
    for target in [
        "/upload/../v1internal:x",
        "/upload/v1beta/../../files",
        "/v1beta/../files",
        "/v1beta/%2e%2e/files",
        "/v1beta/files/%2E./x",
        "/v1beta/files/..;/x",
        "/v1beta/files/..%3b/x",
        "/v1beta/files/%252e%252e/x",
        "/v1beta/files/..%2f..%2fx",
        "/v1beta/files/a%5c..%5cx",
        "/v1beta/files/%c0%ae%c0%ae/x",
        "/v1beta/files/%e0%80%ae/x",
        "/v1beta/files/a%00",
        "/v1beta/files/a%0d%0aHost:%20evil.test",
        "/v1beta/files/a%3fkey=x",
        "/v1beta/files/a%23x",
        "/v1beta/models/..%2ffiles",
        "/v1beta/models/%2e%2e:generateContent",
        "/v1beta/models/a%3fb:predict",
        "//evil.test/v1beta/files",
        "/@evil.test/v1beta/files",
        "/v1beta@evil.test/files",
        "/v1beta:80@evil.test/files",
        "/.evil.test/v1beta/files",
        "http://localhost/upload/../files",
        "/v1beta/\\evil.test/files",
        "/v1beta/files/a\u{7f}",
    ] {
        let mut connection = proxy.connect();
        connection.write(get(target, &[]));
        let status = connection.try_head().map_or(400, |head| head.status);
        assert!([400, 404].contains(&status), "{target}: {status}");
        let received = upstream.received();
        assert!(since(&received, &mut seen).is_empty(), "{target}: {:?}", received.last());
    }
    for (target, path) in [
        ("//v1beta//files", "/v1beta/files"),
        ("http://localhost/v1beta/files", "/v1beta/files"),
        ("http://localhost//v1beta/files?x=http://evil.test", "/v1beta/files?x=http://evil.test"),
        ("/v1beta/files/a;b", "/v1beta/files/a;b"),
        ("/v1beta/files/@evil.test", "/v1beta/files/@evil.test"),
        ("/v1beta/files%2Fabc", "/v1beta/files%2Fabc"),
        ("/v1beta/https:%2Fevil.test", "/v1beta/https:%2Fevil.test"),
        ("/v1beta/files?a=%0d%0aHost:%20evil.test", "/v1beta/files?a=%0d%0aHost:%20evil.test"),
    ] {
        assert_eq!(proxy.send(get(target, &[])).status(), 200, "{target}");
        let received = upstream.received();
        let [one] = since(&received, &mut seen) else { panic!("{target}") };
        assert_eq!(line(one), format!("GET {path}"), "{target}");
        assert_eq!(format!("http://{}", values(one, "host")[0]), upstream.url(), "{target}");
    }
    // A target in absolute form with another host is one of a web page, or of a client that takes the proxy
    // for a forward proxy.
    let answer = proxy.send(get("http://evil.test/v1beta/files", &[]));
    assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".to_owned()));
    assert_eq!(upstream.received().len(), seen);
    vec![proxy.into()]
}

fn methods_elsewhere() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let seen = upstream.received().len();
    for method in ["TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG", "get", "PRI"] {
        for path in ["/v1beta/files", "/upload/v1beta/files", "/v1beta/interactions/live"] {
            let mut connection = proxy.connect();
            connection.write(request(method, path, &[], b""));
            let status = connection.try_head().map_or(400, |head| head.status);
            assert!([400, 404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    assert_eq!(upstream.received().len(), seen, "{:?}", upstream.received().last());
    vec![proxy.into()]
}

fn credential_carriers() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    let headers = [
        ADA,
        "x-goog-api-key: CLIENTS",
        "X-GOOG-API-KEY: CLIENTS",
        "Authorization: Bearer CLIENTS",
        "Authorization: Basic CLIENTS",
        "Authorization: Token auth_tokens/CLIENTS",
        "Proxy-Authorization: Basic CLIENTS",
        "X-Api-Key: CLIENTS",
        "Cookie: sid=CLIENTS",
        "X-Goog-Iam-Authorization-Token: CLIENTS",
        "X-Goog-Iam-Authority-Selector: CLIENTS",
        "X-Goog-Authenticated-User-Email: CLIENTS",
        "X-Goog-Iap-Jwt-Assertion: CLIENTS",
        "X-Goog-Spatula: CLIENTS",
        "X-Goog-User-Project: CLIENTS",
        "X-Forwarded-For: CLIENTS",
        "X-Forwarded-Host: CLIENTS",
        "Forwarded: for=CLIENTS",
        "X-Real-IP: CLIENTS",
        "X-Http-Method-Override: CLIENTS",
        "Origin: https://CLIENTS",
        "Referer: https://CLIENTS/",
        "X-Proxy-Upstream: gemini-api",
        "X-Goog-Custom-Hop: CLIENTS",
        "Connection: keep-alive, x-goog-custom-hop, authorization",
        "TE: trailers",
        "Api-Revision: 2026-05-20",
    ];
    for (method, path) in [
        ("GET", "/v1beta/files"),
        ("POST", "/v1beta/files:register"),
        ("POST", "/upload/v1beta/files"),
        ("POST", "/v1beta/openai/chat/completions"),
        ("POST", "/v1/interactions"),
        ("POST", "/v1beta/models/m:predict"),
        ("POST", GENERATE),
    ] {
        let body = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
        let body = if method == "POST" { body } else { "" };
        let answer = proxy.send(request(method, path, &headers, body.as_bytes()));
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let received = upstream.received();
        let received = received.last().expect("a request");
        let head = received.head.to_ascii_lowercase();
        assert!(!head.contains("clients") && !head.contains("adas-key"), "{path}: {head}");
        assert_eq!(values(received, "x-goog-api-key"), [OPERATORS], "{path}");
        for name in ["authorization", "cookie", "x-proxy-upstream", "te", "proxy-authorization"] {
            assert!(values(received, name).is_empty(), "{path}: {name}");
        }
        assert_eq!(values(received, "api-revision"), ["2026-05-20"], "{path}");
    }
    vec![proxy.into()]
}

fn credential_parameters() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[("PROXY_API_KEYS", KEYS)]);
    for name in [
        "key",
        "%6bey",
        "%6B%65%79",
        "KEY",
        "Key",
        "$key",
        "%24key",
        "access_token",
        "access%5Ftoken",
        "$access_token",
        "oauth_token",
        "%6fauth_token",
        "OAUTH_TOKEN",
        "$oauth_token",
        "bearer_token",
        "$userProject",
        "userProject",
        "user_project",
        "$httpMethod",
        "%24httpMethod",
    ] {
        // An empty parameter is passed on, like everything else that means nothing to the proxy.
        for (query, left) in [
            (format!("a=%2f&{name}=SMUGGLED&b=1"), "a=%2f&b=1"),
            (format!("{name}=SMUGGLED&a=%2f&{name}=SMUGGLED&&b=1&{name}"), "a=%2f&&b=1"),
        ] {
            for path in ["/v1beta/files", "/upload/v1beta/files", "/v1beta/openai/models"] {
                let answer = proxy.send(get(&format!("{path}?{query}"), &[ADA]));
                assert_eq!(answer.status(), 200, "{query}: {}", answer.text());
                let received = upstream.received();
                let received = received.last().expect("a request");
                assert_eq!(line(received), format!("GET {path}?{left}"), "{query}");
                assert_eq!(values(received, "x-goog-api-key"), [OPERATORS], "{query}");
            }
        }
    }
    // A key in the query is the client's, and the first one counts.
    let answer =
        proxy.send(get("/v1beta/files?key=wrong-key-0123456789&key=adas-key-0123456789", &[]));
    assert_eq!(answer.status(), 401);
    let answer = proxy.send(get("/v1beta/files?key=&%6bey=adas-key-0123456789", &[]));
    assert_eq!(answer.status(), 200);
    assert_eq!(line(upstream.received().last().expect("a request")), "GET /v1beta/files");
    vec![proxy.into()]
}

fn ephemeral_tokens() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let seen = upstream.received().len();
    for path in [
        "/v1alpha/auth_tokens",
        "/v1beta/auth_tokens",
        "/v1/auth_tokens/",
        "/auth_tokens",
        "/v1alpha//auth_tokens//",
        "/v1alpha/v1beta/auth_tokens",
        "/v1alpha/%61uth_tokens",
        "/v1alpha/auth%5ftokens",
        "/v1alpha/AUTH_TOKENS",
        "/v1alpha/Auth_Tokens",
        "/v1alpha/authTokens",
        "/v1alpha/auth-tokens",
        "/v1alpha/auth_tokens;x=1",
        "/v1alpha/auth_tokens:create",
        "/v1alpha/auth_tokens%3acreate",
        "/v1alpha/auth_tokens%20",
        "/v1alpha/auth_tokens?alt=json",
        "/v1alpha/authToken:create",
        "/upload/v1alpha/auth_tokens",
        "/v1beta/interactions/x/auth_tokens",
        "/v1beta/interactions/x/auth_tokens/",
        "/v1beta/interactions%2fx%2fauth_tokens",
        "/v1beta/models/m/auth_tokens",
    ] {
        let answer = proxy.send(post(path, &[], "{}"));
        assert_eq!(answer.status_and_reason(), (403, "NOT_ALLOWED".to_owned()), "{path}");
    }
    assert_eq!(upstream.received().len(), seen, "{:?}", upstream.received().last());
    vec![proxy.into()]
}

fn copied_answers() -> Vec<Attacked> {
    let other = ScriptedUpstream::answering("200 OK", "", "{}");
    let to = other.url();
    let upstream = ScriptedUpstream::new(move |request, connection| {
        let empty = "Content-Length: 0\r\n";
        let path = line(request).split(' ').nth(1).expect("a path");
        match path {
            "/v1beta/files/redirect" => connection.write(format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}/v1beta/x?key={OPERATORS}\r\n{empty}\r\n"
            )),
            "/v1beta/files/headers" => connection.write(format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nAlt-Svc: h3=\":443\"\r\nServer: ESF\r\n\
                 Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
                 Strict-Transport-Security: max-age=1\r\nConnection: x-goog-hop\r\nX-Goog-Hop: 1\r\n\
                 X-Proxy-Upstream: evil\r\nX-Request-Id: evil\r\nWWW-Authenticate: Basic\r\n\
                 Clear-Site-Data: \"*\"\r\nRefresh: 0; url=http://evil.test/\r\n{empty}\r\n"
            )),
            "/v1beta/files/injected" => connection
                .write(format!("HTTP/1.1 200 OK\r\nContent-Type: a\rSet-Cookie: b\r\n{empty}\r\n")),
            "/v1beta/files/url" => connection.write(format!(
                "HTTP/1.1 200 OK\r\nX-Goog-Upload-URL: https://evil.test/x?upload_id=1\r\n\
                 X-Goog-Upload-Control-URL: https://evil.test/y\r\n{empty}\r\n"
            )),
            _ => connection.write(format!("{OK}{}\r\n\r\n{WHOLE}", WHOLE.len())),
        }
    });
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let answer = proxy.get("/v1beta/files/redirect");
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.header("location"), format!("{}/v1beta/x", other.url()));
    assert!(other.received().is_empty());
    let answer = proxy.get("/v1beta/files/headers");
    assert_eq!(answer.status(), 200);
    for name in [
        "set-cookie",
        "alt-svc",
        "server",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "strict-transport-security",
        "x-goog-hop",
        "x-proxy-upstream",
        "www-authenticate",
        "clear-site-data",
        "refresh",
    ] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_ne!(answer.header("x-request-id"), "evil");
    let answer = proxy.get("/v1beta/files/injected");
    assert_eq!((answer.status(), answer.header("set-cookie")), (502, ""), "{}", answer.text());
    let answer = proxy.get("/v1beta/files/url");
    assert_eq!(answer.status(), 200);
    for name in ["x-goog-upload-url", "x-goog-upload-control-url"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    vec![proxy.into()]
}

fn odd_upstream_names() -> Vec<Attacked> {
    let upstream = google();
    let proxy = TestProxy::start(in_front_of(&upstream), &[]);
    let seen = upstream.received().len();
    let long = "x".repeat(8000);
    for name in [
        "",
        "GEMINI-API",
        "gemini-api,vertex",
        "gemini-api;q=1",
        "../x",
        "code-assist",
        "\"<b>\"",
        &long,
    ] {
        let header = format!("x-proxy-upstream: {name}");
        for path in ["/v1beta/files", "/v1beta/models/m:predict"] {
            let answer = proxy.send(post(path, &[&header], "{}"));
            assert_eq!(answer.status_and_reason(), (400, "UNKNOWN_UPSTREAM".to_owned()), "{name}");
            assert!(answer.body.len() < 2000, "{} bytes", answer.body.len());
            answer.json();
        }
    }
    let bytes =
        b"GET /v1beta/files HTTP/1.1\r\nHost: localhost\r\nx-proxy-upstream: \xff\xfe\r\n\r\n";
    assert_eq!(proxy.send(bytes).status(), 400);
    assert_eq!(upstream.received().len(), seen);
    let answer = proxy.send(get("/v1beta/files", &["x-proxy-upstream: gemini-api"]));
    assert_eq!(answer.status(), 200);
    assert!(values(&upstream.received()[seen], "x-proxy-upstream").is_empty());
    vec![proxy.into()]
}

fn pages_at_copies() -> Vec<Attacked> {
    let upstream = google();
    let proxy =
        TestProxy::start(in_front_of(&upstream), &[("ALLOWED_ORIGINS", "https://ours.test")]);
    let seen = upstream.received().len();
    let socket = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    for (method, path) in [
        ("POST", "/upload/v1beta/files"),
        ("DELETE", "/v1beta/files/x"),
        ("PATCH", "/v1beta/cachedContents/x"),
        ("GET", "/v1beta/files/x:download?alt=media"),
        ("POST", "/v1/interactions"),
        ("GET", socket),
        ("GET", "/v1beta/interactions/live"),
    ] {
        for page in [
            "Origin: https://evil.test",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let headers = [
                page,
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ];
            let answer = proxy.send(request(method, path, &headers, b""));
            let expected = (403, "ORIGIN_NOT_ALLOWED".to_owned());
            assert_eq!(answer.status_and_reason(), expected, "{page}: {method} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
    }
    assert_eq!(upstream.received().len(), seen);
    // A page that is allowed may do what the API can.
    let headers = ["Origin: https://ours.test", "Access-Control-Request-Method: DELETE"];
    let answer = proxy.send(request("OPTIONS", "/v1beta/files/x", &headers, b""));
    assert!(answer.header("access-control-allow-methods").contains("DELETE"));
    let start = ["Origin: https://ours.test", "X-Goog-Upload-Command: start"];
    let answer = proxy.send(post("/upload/v1beta/files", &start, "{}"));
    assert_eq!(answer.header("access-control-allow-origin"), "https://ours.test");
    assert!(answer.header("access-control-expose-headers").contains("x-goog-upload-url"));
    vec![proxy.into()]
}

fn secrets_of_copies() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        let path = line(request).split(' ').nth(1).expect("a path").to_owned();
        let stated = format!("the key {OPERATORS} and SESSION-1 are refused");
        let answer = |status: &str, text: &str| {
            let body = format!(
                r#"{{"error":{{"code":400,"message":"{text}","status":"INVALID_ARGUMENT"}}}}"#
            );
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        match path.split('?').next().unwrap_or_default() {
            "/v1beta/files/400" => connection.write(answer("400 Bad Request", &stated)),
            "/v1beta/files/401" => connection.write(answer("401 Unauthorized", &stated)),
            "/v1beta/files/403" => connection.write(answer("403 Forbidden", &stated)),
            "/v1beta/files/500" => connection.write(answer("500 Internal Server Error", &stated)),
            "/v1beta/files/429" => connection.write(answer("429 Too Many Requests", &stated)),
            "/v1beta/files/cut" => {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
                connection.close();
            }
            "/v1beta/files/garbage" => {
                connection.write(format!("{OPERATORS}\r\n\r\n"));
                connection.close();
            }
            "/v1beta/files/closed" => connection.close(),
            "/v1beta/files/page" => connection.write(format!(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n<html>{stated}",
                stated.len() + 6
            )),
            _ => connection.write(format!("{OK}{}\r\n\r\n{WHOLE}", WHOLE.len())),
        }
    });
    let settings = [("PROXY_API_KEYS", KEYS), ("LOG_LEVEL", "trace"), ("MAX_RETRY_ATTEMPTS", "0")];
    let proxy = TestProxy::start(in_front_of(&upstream), &settings);
    for failure in ["400", "401", "403", "500", "429", "cut", "garbage", "closed", "page"] {
        for method in ["GET", "POST"] {
            let path =
                format!("/v1beta/files/{failure}?upload_id=SESSION-1&key=adas-key-0123456789");
            let headers = [ADA, "Cookie: c=adas-key-0123456789", "Content-Type: application/json"];
            let mut connection = proxy.connect();
            connection.write(request(method, &path, &headers, b"{}"));
            let Some(head) = connection.try_head() else { continue };
            if head.status != 200 {
                let text = String::from_utf8_lossy(&connection.body(&head)).into_owned();
                assert!(!text.contains(OPERATORS), "{failure}: {text}");
            }
        }
    }
    let wrong = "wrong-key-0123456789";
    let header = format!("x-goog-api-key: {wrong}");
    proxy.send(get(&format!("/v1beta/files?key={wrong}"), &[&header]));
    proxy.send(post("/upload/v1beta/files?upload_id=SESSION-1&proxy_upload=00", &[], "x"));
    proxy.await_request_lines(10);
    let log = proxy.stdout() + &proxy.stderr();
    for secret in [OPERATORS, "adas-key", wrong, "SESSION-1"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret}: {line:?}");
    }
    vec![Attacked::without_upstream(proxy)]
}
