//! Who gets in.

use code_assist_harness::http2::Http2Connection;
use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy, get, post, request};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Who gets in"
    both {
        foreign_origins: "`Origin` of another site in nine spellings, without keys",
            "403 `ORIGIN_NOT_ALLOWED`, and no header that lets the page read the answer";
        foreign_preflight: "a preflight of another site, with private network access, without keys",
            "no permission in the answer";
        keys_in_odd_carriers: "a key that is wrong, cut, in upper case, with its name, two in one, in another scheme, after a wrong one",
            "401, and nothing goes upstream; a blank carrier is passed over";
        keys_in_odd_queries: "`KEY=`, `access_token=`, a NUL behind the key, a wrong key before the right one",
            "401, and nothing goes upstream; an escaped name or value is read";
        paths_without_a_key: "other spellings of `/health/detailed`, `/metrics` and the API, without a key",
            "401 or 404: only `/`, `/health`, `/live`, `/ready` and `OPTIONS` are open";
    }
    native {
        foreign_hosts: "`Host` of another site in eighteen spellings, without keys", "403 `HOST_NOT_ALLOWED`",
            because "the runtime reads `Host`";
        two_hosts: "a good and a foreign `Host` in either order, and one that is folded",
            "400", because "the runtime reads `Host`";
        foreign_targets: "a foreign host in the request line with a good `Host`, and the reverse; `CONNECT`",
            "403 `HOST_NOT_ALLOWED`", because "the runtime reads the request line";
        foreign_authorities: "HTTP/2 with a foreign `:authority` and a good `host`, and the reverse",
            "403 `HOST_NOT_ALLOWED`, or the stream is reset", because "the runtime reads `:authority`";
        public_without_keys: "a start on `0.0.0.0`, `::`, `[::]` or a name that is not loopback, without keys",
            "exit 2: it does not listen", because "a Worker is always public";
    }
    proved {
        host_of_other_sites: "`Host` of another site, to a Worker too", "403 `HOST_NOT_ALLOWED`",
            by "crates/server/tests/conformance/access.rs::only_loopback_names_are_answered_without_keys";
    }
}

fn foreign_origins() -> Vec<Attacked> {
    let proxy = TestProxy::start(ProxyBuilder::without_upstream(), &[]);
    let own = proxy.address().to_owned();
    let port = own.rsplit_once(':').expect("a port").1;
    let mut spellings = vec![
        "null".to_owned(),
        "http://evil.com".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        format!("http://localhost:{port}"),
        "file://".to_owned(),
        "chrome-extension://abcdefghijklmnop".to_owned(),
        format!("http://{own}.evil.com"),
        format!("http://evil.com#{own}"),
    ];
    // workerd drops a header without a value.
    if proxy.is_native() {
        spellings.push(String::new());
    }
    for origin in spellings {
        let headers = [&*format!("Host: {own}"), &*format!("Origin: {origin}")];
        for sent in [get("/v1beta/models", &headers), post(GENERATE, &headers, HELLO)] {
            let answer = proxy.send(sent);
            assert_eq!(answer.status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()), "{origin}");
            assert_eq!(answer.head.find("access-control-allow-origin"), None);
        }
    }
    vec![Attacked::without_upstream(proxy)]
}

fn foreign_preflight() -> Vec<Attacked> {
    let proxy = TestProxy::start(ProxyBuilder::without_upstream(), &[]);
    let asked = [
        "Origin: http://evil.com",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type, x-goog-api-key",
        "Access-Control-Request-Private-Network: true",
    ];
    let answer = proxy.send(request("OPTIONS", GENERATE, &asked, b""));
    for name in ["origin", "methods", "headers", "private-network", "credentials"] {
        let name = format!("access-control-allow-{name}");
        assert_eq!(answer.head.find(&name), None, "{name}");
    }
    vec![Attacked::without_upstream(proxy)]
}

fn keys_in_odd_carriers() -> Vec<Attacked> {
    let google = |header: &str| format!("x-goog-api-key: {header}");
    let bearer = |header: &str| format!("Authorization: {header}");
    let refused = [
        vec![google("wrong"), google(KEY)],
        vec![google("wrong"), bearer(&format!("Bearer {KEY}"))],
        vec![bearer("Bearer wrong"), format!("x-api-key: {KEY}")],
        vec![bearer(&format!("Bearer\t{KEY}"))],
        vec![bearer(KEY)],
        vec![bearer(&format!("Token {KEY}"))],
        // The key as the user of a password, and no base64.
        vec![bearer("Basic YWxpY2VzLXNlY3JldC1rZXk6")],
        vec![bearer("Basic !!!!")],
        vec![google("alice")],
        vec![google(&format!("alice:{KEY}"))],
        vec![google(&KEY[..KEY.len() - 1])],
        vec![google(&KEY.to_uppercase())],
        vec![google(&format!("{KEY},{OTHER}"))],
        vec![google(&format!("{KEY} {OTHER}"))],
        vec![google(&format!("{KEY}é"))],
        vec![google("")],
        vec![],
    ];
    let blank_first = [
        vec![google(""), google(KEY)],
        vec![google(""), bearer(&format!("Bearer {KEY}"))],
        vec![bearer("Bearer "), format!("x-api-key: {KEY}")],
    ];
    // A few for each proxy, since an address has only so many guesses.
    let mut attacked: Vec<TestProxy> = Vec::new();
    for carriers in refused.chunks(6) {
        let proxy = keyed();
        for carrier in carriers {
            let headers: Vec<&str> = carrier.iter().map(String::as_str).collect();
            let answer = proxy.send(post(GENERATE, &headers, HELLO));
            assert_eq!(answer.status(), 401, "{carrier:?}: {}", answer.text());
        }
        assert_eq!(proxy.google().count("generateContent"), 0);
        attacked.push(proxy);
    }
    // workerd joins a header that is there twice, so that the key there is another one.
    let joined = if attacked[0].is_native() { 0 } else { 1 };
    for carrier in &blank_first[joined..] {
        let headers: Vec<&str> = carrier.iter().map(String::as_str).collect();
        let answer = attacked[0].send(post(GENERATE, &headers, HELLO));
        assert_eq!(answer.status(), 200, "{carrier:?}: {}", answer.text());
    }
    attacked.into_iter().map(Attacked::from).collect()
}

fn keys_in_odd_queries() -> Vec<Attacked> {
    let proxy = keyed();
    for query in [
        format!("key=wrong&key={KEY}"),
        format!("KEY={KEY}"),
        format!("access_token={KEY}"),
        format!("key={KEY}%00"),
        format!("key={KEY}%26"),
        format!("x=key={KEY}"),
    ] {
        let answer = proxy.post(&format!("{GENERATE}?{query}"), HELLO);
        assert_eq!(answer.status(), 401, "{query}: {}", answer.text());
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    let escaped = KEY.replace('-', "%2d");
    for query in
        [format!("key=&key={KEY}"), format!("k%65y={KEY}"), format!("key={escaped}&alt=json")]
    {
        let answer = proxy.post(&format!("{GENERATE}?{query}"), HELLO);
        assert_eq!(answer.status(), 200, "{query}: {}", answer.text());
    }
    for call in proxy.google().received("generateContent") {
        assert!(!call.to_string().contains("secret"), "a client's key went upstream: {call}");
    }
    vec![proxy.into()]
}

fn paths_without_a_key() -> Vec<Attacked> {
    let proxy = keyed();
    for (method, path) in [
        ("GET", "/health/detailed"),
        ("GET", "/health/detailed/"),
        ("GET", "//health/detailed"),
        ("GET", "/health%2fdetailed"),
        ("GET", "/%2e%2e/health/detailed"),
        ("GET", "/health/detailed?x=/health"),
        ("GET", "/metrics"),
        ("GET", "/metrics/"),
        ("GET", "/%6detrics"),
        ("HEAD", "/metrics"),
        ("GET", "/health/../metrics"),
        ("GET", "/v1beta/models"),
        ("POST", "/health/v1beta/models/gemini-2.5-flash:generateContent"),
        ("POST", GENERATE),
        ("DELETE", "/"),
        ("TRACE", "/"),
    ] {
        // workerd resolves dots in a path before the proxy sees it.
        if !proxy.is_native() && (path.contains("..") || path.contains("%2e")) {
            continue;
        }
        let mut connection = proxy.connect();
        connection.write(request(method, path, &["Connection: close"], b""));
        let Some(head) = connection.try_head() else { continue };
        assert!(matches!(head.status, 401 | 404 | 405), "{method} {path}: {}", head.status);
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    for (method, path, status) in
        [("GET", "/", 200), ("GET", "/health", 200), ("OPTIONS", GENERATE, 204)]
    {
        assert_eq!(proxy.send(request(method, path, &[], b"")).status(), status, "{path}");
    }
    vec![proxy.into()]
}

fn foreign_hosts() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for host in FOREIGN {
        let answer = proxy.send(get("/v1beta/models", &[&format!("Host: {host}")]));
        assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".into()), "{host}");
    }
    vec![proxy.into()]
}

fn two_hosts() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for hosts in [
        ["Host: localhost", "Host: evil.com"],
        ["Host: evil.com", "Host: localhost"],
        ["Host: localhost", " evil.com"],
    ] {
        let mut connection = proxy.connect();
        connection.write(get("/v1beta/models", &hosts));
        assert_eq!(connection.head().status, 400, "{hosts:?}");
    }
    vec![proxy.into()]
}

fn foreign_targets() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let own = proxy.address().to_owned();
    for (method, target, host) in [
        ("GET", "http://evil.com/v1beta/models", "localhost"),
        ("GET", "http://localhost/v1beta/models", "evil.com"),
        ("GET", "http://127.0.0.1@evil.com/v1beta/models", "localhost"),
        ("CONNECT", "evil.com:443", "localhost"),
        ("CONNECT", "evil.com:443", "evil.com:443"),
    ] {
        let sent = request(method, target, &[&format!("Host: {host}")], b"");
        let mut connection = proxy.connect();
        connection.write(sent);
        let status = connection.head().status;
        assert!(matches!(status, 400 | 403), "{method} {target} {host}: {status}");
    }
    let honest = get(&format!("http://{own}/v1beta/models"), &[&format!("Host: {own}")]);
    assert_eq!(proxy.send(honest).status(), 200);
    vec![proxy.into()]
}

fn foreign_authorities() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for (authority, host) in [
        ("evil.com", None),
        ("evil.com", Some("localhost")),
        ("localhost", Some("evil.com")),
        ("localhost@evil.com", None),
        ("user:pw@localhost", None),
    ] {
        let mut fields = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/v1beta/models"),
            (":authority", authority),
        ];
        fields.extend(host.map(|host| ("host", host)));
        let mut connection = Http2Connection::open(proxy.address());
        assert!(connection.head(1, &fields, true));
        let answer = connection.answer(1);
        assert!(answer.status() == 403 || answer.is_refused(), "{authority} {host:?}: {answer:?}");
    }
    vec![proxy.into()]
}

fn public_without_keys() -> Vec<Attacked> {
    for host in ["0.0.0.0", "::", "[::]", "localhost.localdomain"] {
        let out = ProxyBuilder::without_upstream().env("HOST", host).run_to_exit();
        assert_eq!(out.status.code(), Some(2), "{host}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(!String::from_utf8_lossy(&out.stdout).contains("listening"), "{host}");
    }
    Vec::new()
}

fn keyed() -> TestProxy {
    let keys = format!("alice:{KEY},bob:{OTHER}");
    TestProxy::for_emulator(GoogleEmulator::start(), &[("PROXY_API_KEYS", &keys)])
}

const KEY: &str = "alices-secret-key";
const OTHER: &str = "bobs-other-secret-key";

const FOREIGN: &[&str] = &[
    "evil.com",
    "localhost.evil.com",
    "localhost@evil.com",
    "user:pw@localhost",
    "127.0.0.1.nip.io",
    "0.0.0.0",
    "[::]",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "[::1%25lo]",
    "",
    "localhost:1:2",
    "localhost:99999999",
    "localhost/evil",
    "localhost, evil.com",
    "localhost\\evil",
    "local host",
];
