//! Web pages in a browser that reaches the proxy.

use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy, get, post};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Browsers"
    both {
        cross_site_reads: "GETs of another site's page without `Origin`, as for an image, a script or a link, without keys",
            "403 `ORIGIN_NOT_ALLOWED` by `Sec-Fetch-Site`, and nothing goes upstream; only a link to `GET /` is answered";
        cross_site_reads_beside_allowed_origins: "the same where `ALLOWED_ORIGINS` names another page",
            "403, unless the request names an allowed origin";
        opaque_origins: "`Origin: null` and `file://`, of sandboxed frames and of files",
            "403, unless `ALLOWED_ORIGINS` has exactly that";
    }
    native {
        rebinding_on_a_network: "`Host` of a page that was resolved to a proxy with `ALLOW_UNAUTHENTICATED` on `0.0.0.0`, with and without its own `Origin`",
            "403 `HOST_NOT_ALLOWED`: an IP address, a loopback name or one of `ALLOWED_HOSTS` is needed",
            because "Cloudflare routes only its own names to a Worker";
        odd_addresses: "`127.1`, `0x7f.0.0.1`, `2130706433`, `[::1%25lo]`, `0.0.0.0`, `[::]` and another machine's address in `Host`, on loopback",
            "403 `HOST_NOT_ALLOWED`", because "the runtime reads `Host`";
    }
    proved {
        key_in_a_page: "a cross-site request with a key, where keys are set", "served: a page cannot know the key",
            by "crates/core/src/access/tests/pages.rs::with_keys_neither_host_nor_origin_is_checked";
    }
}

fn cross_site_reads() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    assert_no_reads(&proxy);
    for site in SITES {
        let link = [site, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
        assert_eq!(proxy.send(get("/", &link)).status(), 200);
        assert_eq!(proxy.send(get("/metrics", &link)).status(), 403);
    }
    for site in ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
        assert_eq!(proxy.send(get("/v1beta/models", &[site])).status(), 200, "{site}");
    }
    vec![proxy.into()]
}

fn cross_site_reads_beside_allowed_origins() -> Vec<Attacked> {
    let settings = [("ALLOWED_ORIGINS", "https://app.example")];
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &settings);
    assert_no_reads(&proxy);
    for site in SITES {
        let evil = [site, "Origin: https://evil.example"];
        assert_eq!(proxy.send(post(GENERATE, &evil, HELLO)).status(), 403);
        let own = format!("Origin: http://{}", proxy.address());
        let host = format!("Host: {}", proxy.address());
        assert_eq!(proxy.send(post(GENERATE, &[site, &own, &host], HELLO)).status(), 403);
        let allowed = [site, "Origin: https://app.example"];
        assert_eq!(proxy.send(post(GENERATE, &allowed, HELLO)).status(), 200);
    }
    vec![proxy.into()]
}

fn opaque_origins() -> Vec<Attacked> {
    let mut attacked = Vec::new();
    for allowed in ["https://app.example", "null", "file://"] {
        let settings = [("ALLOWED_ORIGINS", allowed)];
        let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &settings);
        for origin in ["null", "file://"] {
            let answer = proxy.send(post(GENERATE, &[&format!("Origin: {origin}")], HELLO));
            let expected = if origin == allowed { 200 } else { 403 };
            assert_eq!(answer.status(), expected, "{origin} {allowed}");
        }
        attacked.push(proxy.into());
    }
    attacked
}

fn rebinding_on_a_network() -> Vec<Attacked> {
    let setup = ProxyBuilder::without_upstream();
    let settings = [
        ("HOST", "0.0.0.0"),
        ("ALLOW_UNAUTHENTICATED", "true"),
        ("ALLOWED_HOSTS", "proxy.lan,gateway:8787"),
    ];
    let proxy = TestProxy::start(setup, &settings);
    for name in
        ["evil.example", "evil.example:8787", "proxy.lan.evil.example", "gateway:1", "127.1"]
    {
        let (host, origin) = (format!("Host: {name}"), format!("Origin: http://{name}"));
        for headers in
            [&[&*host][..], &[&*host, &*origin], &[&*host, "Sec-Fetch-Site: same-origin"]]
        {
            for path in ["/v1beta/models", "/health/detailed", "/"] {
                let answer = proxy.send(get(path, headers));
                assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".into()), "{name}");
            }
        }
    }
    for name in [
        "proxy.lan",
        "Proxy.lan:99",
        "gateway:8787",
        "192.0.2.1:8787",
        "[2001:db8::1]",
        "localhost",
    ] {
        let answer = proxy.send(get("/health/detailed", &[&format!("Host: {name}")]));
        assert_eq!(answer.status(), 200, "{name}");
    }
    vec![Attacked::without_upstream(proxy)]
}

fn odd_addresses() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for host in [
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "[::1%25lo]",
        "0.0.0.0",
        "[::]",
        "192.0.2.1",
        "127.0.0.1.nip.io",
    ] {
        let answer = proxy.send(get("/v1beta/models", &[&format!("Host: {host}")]));
        assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".into()), "{host}");
    }
    vec![proxy.into()]
}

/// Asserts that no page of another site makes the proxy ask upstream.
fn assert_no_reads(proxy: &TestProxy) {
    let before = proxy.google().log().len();
    for site in SITES {
        for mode in ["no-cors", "cors", "navigate"] {
            let headers = [site, &*format!("Sec-Fetch-Mode: {mode}")];
            for path in [
                "/v1beta/models",
                "/v1beta/models/gemini-2.5-pro",
                "/v1internal/operations/x",
                "/health/detailed",
                "/metrics",
            ] {
                let answer = proxy.send(get(path, &headers));
                let refused = (403, "ORIGIN_NOT_ALLOWED".to_owned());
                assert_eq!(answer.status_and_reason(), refused, "{path} {headers:?}");
            }
        }
    }
    let asked = proxy.google().log().split_off(before);
    let is_call = |record: &serde_json::Value| record["path"].to_string().contains("v1internal");
    assert!(!asked.iter().any(is_call), "{asked:?}");
}

const SITES: [&str; 2] = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"];
