//! What web pages may reach without keys.

use super::*;

#[test]
fn with_keys_neither_host_nor_origin_is_checked() {
    let access = access("127.0.0.1", &[("alice", "secret-a")], &[]);
    let lines =
        [("host", "evil.example"), ("origin", "https://evil.example"), ("x-api-key", "secret-a")];
    assert_eq!(admit(&access, &lines, "/"), alice());
    assert!(access.cors(&headers(&lines)).is_empty());
}

#[test]
fn without_keys_a_presented_key_means_nothing() {
    assert_eq!(admit(&local(), &[("x-goog-api-key", "x")], "/?key=y"), Ok(None));
}

#[test]
fn on_a_loopback_address_only_loopback_names_are_admitted() {
    for host in [
        "localhost",
        "localhost:8787",
        "LOCALHOST:1",
        "localhost.",
        "app.localhost:8787",
        "127.0.0.1",
        "127.0.0.1:8787",
        "127.255.0.3:1",
        "[::1]",
        "[::1]:8787",
        "[::ffff:127.0.0.1]:1",
        "localhost:",
    ] {
        assert_eq!(admit(&local(), &[("host", host)], "/"), Ok(None), "{host}");
        let target = format!("http://{host}/");
        if target.parse::<Uri>().is_ok() {
            assert_eq!(admit(&local(), &[], &target), Ok(None), "{host}");
        }
    }
    for host in [
        "",
        "evil.example",
        "evil.example:8787",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost:8787@evil.example",
        "localhost:80:80",
        "localhost:x",
        "0.0.0.0",
        "192.168.1.2:8787",
        "0x7f.1",
        "[::]",
        "[::1",
        "::1",
        "[fe80::1]:8787",
        "localhost/evil",
        "evil.example/.localhost",
    ] {
        let denied = Err(AccessError::HostNotAllowed { host: host.to_owned() });
        assert_eq!(admit(&local(), &[("host", host)], "/"), denied, "{host}");
    }
}

#[test]
fn every_host_that_a_request_names_is_checked() {
    let denied = Err(AccessError::HostNotAllowed { host: "evil.example".to_owned() });
    let good = ("host", "localhost");
    assert_eq!(admit(&local(), &[good], "http://evil.example/"), denied);
    assert_eq!(admit(&local(), &[good, ("host", "evil.example")], "/"), denied);
    assert_eq!(admit(&local(), &[], "/"), Ok(None), "HTTP/1.0 names no host");
}

#[test]
fn the_loopback_settings_are_recognised() {
    for (host, is_local) in [
        ("127.0.0.1", true),
        ("localhost", true),
        ("::1", true),
        ("[::1]", true),
        ("0.0.0.0", false),
        ("::", false),
        ("192.168.1.2", false),
    ] {
        assert_eq!(access(host, &[], &[]).is_local, is_local, "{host}");
    }
}

#[test]
fn on_a_network_without_keys_addresses_and_allowed_names_are_admitted() {
    let access =
        named("0.0.0.0", &[("proxy.lan", None), ("gateway", Some(8787)), ("web", Some(80))]);
    let admitted = |host: &str| admit(&access, &[("host", host)], "/").is_ok();
    for host in [
        "192.168.1.2:8787",
        "10.0.0.1",
        "[2001:db8::1]:8787",
        "[fe80::1]",
        "0.0.0.0",
        "localhost:8787",
        "127.0.0.1",
        "proxy.lan",
        "Proxy.LAN.:8787",
        "gateway:8787",
        "web",
        "web:80",
    ] {
        assert!(admitted(host), "{host}");
    }
    for host in [
        "evil.example",
        "proxy.lan.evil.example",
        "evilproxy.lan",
        "gateway",
        "gateway:80",
        "web:8080",
        "192.168.1.2.nip.io",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "[fe80::1%25lo]",
        "[2001:db8::1",
        "192.168.1.2:x",
        "192.168.1.2:99999999",
        "",
    ] {
        assert!(!admitted(host), "{host}");
    }
    // The name of a page that was resolved to this machine is its own origin too.
    let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
    assert!(matches!(admit(&access, &rebound, "/"), Err(AccessError::HostNotAllowed { .. })));
    let own = [("host", "proxy.lan:8787"), ("origin", "http://proxy.lan:8787")];
    assert_eq!(admit(&access, &own, "/"), Ok(None));
}

#[test]
fn on_a_loopback_address_a_name_can_be_allowed_and_an_address_cannot() {
    let access = named("127.0.0.1", &[("proxy.lan", None)]);
    let admitted = |host: &str| admit(&access, &[("host", host)], "/").is_ok();
    assert!(admitted("proxy.lan") && admitted("proxy.lan:443") && admitted("localhost"));
    for host in ["10.0.0.1", "[::]", "0.0.0.0", "evil.example"] {
        assert!(!admitted(host), "{host}");
    }
    let any = Access::of("0.0.0.0", &[], &AllowedHosts::Any, &[]);
    assert_eq!(admit(&any, &[("host", "name.workers.dev")], "/"), Ok(None));
}

#[test]
fn without_keys_a_page_of_another_site_needs_an_allowed_origin_also_where_it_sends_none() {
    let listed = access("127.0.0.1", &[], &["https://app.example"]);
    let open = access("127.0.0.1", &[], &["*"]);
    let send = |access: &Access, site: &str, origin: &str| {
        let mut lines = vec![("host", "localhost:8787"), ("sec-fetch-site", site)];
        if !origin.is_empty() {
            lines.push(("origin", origin));
        }
        admit(access, &lines, "/").is_ok()
    };
    for site in ["cross-site", "same-site"] {
        for access in [&local(), &listed] {
            assert!(!send(access, site, ""), "{site}");
            assert!(!send(access, site, "https://evil.example"));
            assert!(
                !send(access, site, "http://localhost:8787"),
                "not of the same origin, it says"
            );
        }
        assert!(send(&listed, site, "https://app.example"));
        assert!(!send(&local(), site, "https://app.example"));
        assert!(send(&open, site, "") && send(&open, site, "https://evil.example"));
    }
    for site in ["same-origin", "none"] {
        assert!(send(&local(), site, ""));
        assert!(send(&local(), site, "http://localhost:8787"));
        assert!(!send(&local(), site, "https://evil.example"));
    }
    let twice = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
    assert!(admit(&local(), &twice, "/").is_err());
    let with_key = [("sec-fetch-site", "cross-site"), ("x-api-key", "secret-a")];
    assert_eq!(admit(&keyed(), &with_key, "/"), alice());
}

#[test]
fn a_link_from_another_site_reaches_only_the_status_page() {
    let guesses = SharedKeyGuesses::default();
    let send = |mode: &str, needs: Needs| {
        let lines = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode)];
        let attempt = attempt(&guesses, 1, 0);
        local().admit(&headers(&lines), &Uri::from_static("/"), needs, &attempt).is_ok()
    };
    assert!(send("navigate", Needs::Nothing));
    for (mode, needs) in
        [("navigate", Needs::Key), ("navigate", Needs::NoKey), ("no-cors", Needs::Nothing)]
    {
        assert!(!send(mode, needs), "{mode} {needs:?}");
    }
}

#[test]
fn without_keys_no_foreign_page_is_admitted() {
    let from = |access: &Access, host: &str, origin: &str| {
        admit(access, &[("host", host), ("origin", origin)], "/").is_ok()
    };
    for (host, origin) in [
        ("localhost:8787", "http://localhost:8787"),
        ("localhost:8787", "http://LOCALHOST:8787"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost:443"),
        ("[::1]:8787", "http://[::1]:8787"),
    ] {
        assert!(from(&local(), host, origin), "{origin}");
    }
    for origin in [
        "null",
        "",
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1:8787",
        "https://evil.example",
        "file://localhost:8787",
        "http://localhost:8787.evil.example",
        "http://localhost:8787/",
    ] {
        let denied = Err(AccessError::OriginNotAllowed { origin: origin.to_owned() });
        let lines = [("host", "localhost:8787"), ("origin", origin)];
        assert_eq!(admit(&local(), &lines, "/"), denied, "{origin}");
        assert!(from(&access("127.0.0.1", &[], &["*"]), "localhost:8787", origin), "{origin}");
    }
    let listed = access("127.0.0.1", &[], &["https://App.example/", "http://localhost:3000"]);
    assert!(from(&listed, "localhost:8787", "https://app.example"));
    assert!(from(&listed, "localhost:8787", "http://localhost:3000"));
    assert!(!from(&listed, "localhost:8787", "http://app.example"));
    assert!(!from(&listed, "localhost:8787", "https://app.example.evil"));
    assert!(!from(&listed, "localhost:8787", "null"));
}

#[test]
fn origins_without_a_host_and_of_custom_schemes_can_be_allowed() {
    let opaque =
        ["null", "file://", "app://obsidian.md", "vscode-webview://0a1b", "capacitor://localhost"];
    for allowed in opaque {
        let access = access("127.0.0.1", &[], &[allowed]);
        for origin in opaque {
            let lines = [("host", "localhost:8787"), ("origin", origin)];
            assert_eq!(
                admit(&access, &lines, "/").is_ok(),
                origin == allowed,
                "{origin} {allowed}"
            );
            let cors = access.cors(&headers(&[("origin", origin)]));
            let echoed = cors.get("access-control-allow-origin").map(|it| it.to_str().unwrap());
            assert_eq!(echoed, (origin == allowed).then_some(origin));
            let preflight = access.preflight(&headers(&[("origin", origin)]));
            assert_eq!(
                preflight.contains_key("access-control-allow-origin"),
                origin == allowed,
                "{origin} {allowed}"
            );
        }
        for origin in ["", "file:", "file:///", "file://localhost", "nul", "null/"] {
            let lines = [("host", "localhost:8787"), ("origin", origin)];
            assert!(admit(&access, &lines, "/").is_err(), "{origin} {allowed}");
        }
    }
}

#[test]
fn an_allowed_page_may_read_the_proxys_headers() {
    let listed = access("127.0.0.1", &[], &["https://app.example"]);
    let cors = listed.cors(&headers(&[("origin", "https://app.example")]));
    assert_eq!(cors["access-control-allow-origin"], "https://app.example");
    assert_eq!(cors["vary"], "Origin");
    let exposed = cors["access-control-expose-headers"].to_str().unwrap();
    for name in [
        "x-request-id",
        "request-id",
        "x-should-retry",
        "x-proxy-model",
        "retry-after",
        "server-timing",
        "x-cache",
    ] {
        assert!(exposed.split(", ").any(|own| own == name), "{name}");
    }
    let other = listed.cors(&headers(&[("origin", "https://evil.example")]));
    assert_eq!(other, headers(&[("vary", "Origin")]));
    assert_eq!(listed.cors(&HeaderMap::new()), headers(&[("vary", "Origin")]));
    assert!(local().cors(&headers(&[("origin", "https://app.example")])).is_empty());
    let all = access("127.0.0.1", &[], &["*"]).cors(&headers(&[("origin", "null")]));
    assert_eq!(all["access-control-allow-origin"], "null");
}

#[test]
fn a_preflight_is_allowed_what_it_asks_for() {
    let listed = access("127.0.0.1", &[], &["https://app.example"]);
    let asked = "content-type,x-goog-api-client, x-goog-api-key,x-new_one";
    let answer = listed.preflight(&headers(&[
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
        ("access-control-request-private-network", "true"),
    ]));
    assert_eq!(answer["access-control-allow-origin"], "https://app.example");
    assert_eq!(
        answer["access-control-allow-methods"],
        "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    );
    assert_eq!(answer["access-control-allow-headers"], asked);
    assert_eq!(answer["access-control-max-age"], "7200");
    assert_eq!(answer["access-control-allow-private-network"], "true");
    assert!(answer["vary"].to_str().unwrap().starts_with("Origin"));
}

#[test]
fn a_preflight_of_an_sdk_in_a_browser_is_allowed() {
    let all = access("127.0.0.1", &[], &["*"]);
    // As @anthropic-ai/sdk and openai send them, and one of the SDKs' that is not known here.
    let asked = "anthropic-dangerous-direct-browser-access,anthropic-version,authorization,content-type,\
                 openai-organization,x-api-key,x-stainless-arch,x-stainless-new-one";
    let lines = [("origin", "https://a.example"), ("access-control-request-headers", asked)];
    assert_eq!(all.preflight(&headers(&lines))["access-control-allow-headers"], asked);
}

#[test]
fn a_preflight_without_a_valid_header_list_gets_the_fixed_list() {
    let all = access("127.0.0.1", &[], &["*"]);
    let long = "x".repeat(2049);
    for asked in ["", "a\tb", "x:y", "(x)", &long] {
        let lines = [("origin", "https://a.example"), ("access-control-request-headers", asked)];
        let answer = all.preflight(&headers(&lines));
        assert_eq!(answer["access-control-allow-headers"], CLIENT_HEADERS, "{asked}");
        assert!(!answer.contains_key("access-control-allow-private-network"));
    }
    for name in [
        "x-goog-api-key",
        "x-goog-api-client",
        "content-type",
        "authorization",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "idempotency-key",
        "x-stainless-lang",
        "x-stainless-retry-count",
    ] {
        assert!(CLIENT_HEADERS.split(", ").any(|own| own == name), "{name}");
    }
    assert!(!CLIENT_HEADERS.contains("  "));
}

#[test]
fn a_preflight_from_elsewhere_gets_no_permission() {
    for lines in [&[][..], &[("origin", "https://evil.example")], &[("origin", "null")]] {
        let answer = access("127.0.0.1", &[], &["https://app.example"]).preflight(&headers(lines));
        assert_eq!(answer["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        assert!(answer.keys().all(|name| !name.as_str().starts_with("access-control")));
    }
}
