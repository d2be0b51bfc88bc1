//! Start: what is printed, what is refused, and what survives a `kill -9`.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use code_assist_harness::{GoogleEmulator, ProxyBuilder, post};
use serde_json::json;

use crate::{GENERATE, HELLO};

#[test]
fn the_banner_contains_address_credentials_and_store() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials_file(&google.credentials())
        .env("KV_URL", "file:kv.redb");
    let proxy = setup.start();
    let output = proxy.stdout();
    for part in [
        format!("listening on http://{}", proxy.address()),
        google.url(),
        setup.path(".gemini/oauth_creds.json").display().to_string(),
        "kv.redb".to_owned(),
        format!("curl -s http://{}/v1beta/models/", proxy.address()),
    ] {
        assert!(output.contains(&part), "no {part} in {output}");
    }
    assert_ne!(proxy.address(), "127.0.0.1:0");
    // The command can be pasted into a shell.
    let line = output.lines().find_map(|line| line.trim().strip_prefix("try ")).unwrap().trim();
    let run = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    if run.status.success() {
        let answer = String::from_utf8(run.stdout).unwrap();
        assert!(answer.contains("You said: Hello"), "{answer}");
    }
}

#[test]
fn a_dialect_that_is_off_is_named_and_the_example_is_in_one_that_is_served() {
    let google = GoogleEmulator::start();
    let all = ProxyBuilder::for_emulator(&google).start();
    assert!(!all.stdout().contains("  dialects "), "{}", all.stdout());
    for (dialects, named, path) in [
        ("openai,anthropic", "openai, anthropic", "/v1/chat/completions"),
        ("anthropic", "anthropic", "/v1/messages"),
        ("gemini", "gemini", "/v1beta/models/gemini-2.5-flash:generateContent"),
    ] {
        let proxy = ProxyBuilder::for_emulator(&google).env("DIALECTS", dialects).start();
        let output = proxy.stdout();
        assert!(output.contains(&format!("  dialects     {named} only (DIALECTS)\n")), "{output}");
        let line = output.lines().find_map(|line| line.trim().strip_prefix("try ")).unwrap();
        let (_, rest) = line.split_once(&format!("{}{path} ", proxy.address())).expect(line);
        let (_, body) = rest.split_once("-d '").expect(rest);
        let answer = proxy.post(path, body.trim_end_matches('\''));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.text().contains("You said: Hello"), "{}", answer.text());
        let listed = proxy.get("/").json()["endpoints"]["proxy"].to_string();
        for (listed_path, name) in [
            ("POST /v1/chat/completions", "openai"),
            ("POST /v1/messages", "anthropic"),
            ("POST /v1beta/models/{model}:generateContent", "gemini"),
        ] {
            let is_on = dialects.contains(name);
            assert_eq!(listed.contains(&format!("\"{listed_path}\"")), is_on, "{listed}");
        }
    }
}

#[test]
fn a_port_in_use_is_reported_and_the_exit_code_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = ProxyBuilder::without_upstream().env("PORT", &port).run_to_exit();
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{message}");
    assert!(message.contains("another PORT"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_project_number_is_refused_with_the_name_of_its_setting() {
    let refused =
        ProxyBuilder::without_upstream().env("GEMINI_PROJECT_ID", "123456789").run_to_exit();
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("GEMINI_PROJECT_ID"), "{message}");
}

#[test]
fn a_public_address_without_keys_is_refused() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let refused = ProxyBuilder::without_upstream().env("HOST", host).run_to_exit();
        assert_eq!(refused.status.code(), Some(2), "{host}");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains("PROXY_API_KEYS"), "{message}");
        assert!(!String::from_utf8(refused.stdout).unwrap().contains("listening"));
    }
    let google = GoogleEmulator::start();
    let with_keys = ProxyBuilder::for_emulator(&google)
        .env("HOST", "0.0.0.0")
        .env("PROXY_API_KEYS", "one:0123456789abcdef,fedcba9876543210")
        .start();
    let output = with_keys.stdout();
    assert!(output.contains("listening on http://0.0.0.0:"), "{output}");
    assert!(output.contains("  access       keys: 2\n"), "{output}");
    assert_eq!(with_keys.stderr(), "");
    let allowed = ProxyBuilder::for_emulator(&google)
        .env("HOST", "0.0.0.0")
        .env("ALLOW_UNAUTHENTICATED", "true");
    let output = allowed.start().stdout();
    assert!(output.contains("listening on http://0.0.0.0:"), "{output}");
    assert!(output.contains("  access       no keys: everyone who reaches the port\n"), "{output}");
    let local = ProxyBuilder::for_emulator(&google).start().stdout();
    assert!(local.contains("  access       no keys: local programs only\n"), "{local}");
}

#[test]
fn keys_that_protect_nothing_are_refused_and_short_ones_warned_of() {
    let run = |env: &[(&str, &str)], file: &str| {
        let setup = ProxyBuilder::without_upstream();
        setup.write("config.toml", file);
        let setup = env.iter().fold(setup, |setup, (name, value)| setup.env(name, *value));
        let refused = setup.env("CODE_ASSIST_PROXY_CONFIG", "config.toml").run_to_exit();
        assert_eq!(refused.status.code(), Some(2), "{env:?} {file}");
        String::from_utf8(refused.stderr).unwrap()
    };
    let good = "proxy_api_keys = \"0123456789abcdef\"";
    for name in ["PROXY_API_KEYS", "KV_ENCRYPTION_KEY"] {
        for value in ["", "  "] {
            let message = run(&[(name, value)], good);
            assert!(message.contains(&format!("{name}: is set and empty")), "{message}");
            let message = run(&[], &format!("{} = \"{value}\"", name.to_lowercase()));
            assert!(message.contains(&format!("{name}: is set and empty")), "{message}");
        }
    }
    let message = run(&[("HOST", "0.0.0.0"), ("PROXY_API_KEYS", "ada:1234567")], "");
    assert!(message.contains("the key of ada has fewer than 8 characters"), "{message}");
    let local = ProxyBuilder::without_upstream().env("PROXY_API_KEYS", "a1").start();
    let warning = local.stderr();
    assert!(warning.contains("PROXY_API_KEYS: key 1 has fewer than 16 characters"), "{warning}");
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    for name in ["CODE_ASSIST_ENDPOINT", "OAUTH_TOKEN_URL", "OAUTH_TOKENINFO_URL"] {
        let setup = ProxyBuilder::without_upstream().env(name, "http://upstream.invalid");
        let refused = setup.run_to_exit();
        assert_eq!(refused.status.code(), Some(2), "{name}");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains(name) && message.contains("in the clear"), "{message}");
        let allowed = setup.env("ALLOW_INSECURE_UPSTREAM", "true").start();
        assert!(allowed.stderr().contains("in the clear"), "{}", allowed.stderr());
    }
}

#[test]
fn a_host_that_is_no_address_is_called_so_with_its_source() {
    // conda's compilers export this. `.invalid` never has an address (RFC 6761).
    for host in ["x86_64-conda-linux-gnu", "no-such-host.invalid"] {
        for key in [None, Some("0123456789abcdef")] {
            let setup = ProxyBuilder::without_upstream().env("HOST", host);
            let setup = match key {
                Some(key) => setup.env("PROXY_API_KEYS", key),
                None => setup,
            };
            let refused = setup.run_to_exit();
            assert_eq!(refused.status.code(), Some(2), "{host}");
            let message = String::from_utf8(refused.stderr).unwrap();
            let said = format!("error: HOST: {host} (from the environment) is no address");
            assert!(message.contains(&said) && message.contains("unset HOST"), "{message}");
            assert!(!message.contains("PROXY_API_KEYS"), "{message}");
            assert!(!message.contains("ALLOW_UNAUTHENTICATED"), "{message}");
        }
    }
}

#[test]
fn the_terms_are_printed_at_the_first_start_only() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    let terms = "Google's terms restrict";
    let first = setup.start();
    first.await_output(terms);
    first.kill();
    let second = setup.start();
    thread::sleep(Duration::from_millis(200));
    assert!(!second.stdout().contains(terms), "{}", second.stdout());
}

#[test]
fn a_killed_proxy_restores_token_and_project() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&google.expired_credentials())
        .env("KV_URL", "file:data/kv.redb");
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!((google.count("token"), google.count("loadCodeAssist")), (1, 1));
    proxy.kill();
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!((google.count("token"), google.count("loadCodeAssist")), (1, 1), "found again");
    assert!(proxy.get("/health").text().contains(r#""kv_status":"connected""#));
    proxy.kill();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = |name: &str| std::fs::metadata(setup.path(name)).unwrap().permissions().mode();
        assert_eq!(mode("data/kv.redb") & 0o777, 0o600);
        assert_eq!(mode("data") & 0o777, 0o700);
    }
}

#[test]
fn a_proxy_killed_at_any_moment_restarts_with_an_intact_store() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    // The first request writes to the store. Each round refreshes a token, and is killed a little later.
    for round in 0..12 {
        google.set_state(json!({"expire_tokens": true}));
        let proxy = setup.start();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut connection = proxy.connect();
                connection.try_write(post(GENERATE, &[], HELLO));
                thread::sleep(Duration::from_millis(500));
            });
            thread::sleep(Duration::from_millis(round * 8));
            proxy.signal("KILL");
        });
        let output = proxy.into_output();
        assert!(!output.0.contains("damaged"), "round {round}: {}", output.0);
    }
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let (stdout, stderr) = proxy.into_output();
    assert!(!stdout.contains("WARN") && stderr.is_empty(), "{stdout} {stderr}");
    let names = std::fs::read_dir(setup.path(".")).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("damaged")), "{names:?}");
}

#[test]
fn a_second_process_on_the_same_file_works_from_memory_and_reports_it() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    let first = setup.start();
    let second = setup.start();
    assert_eq!(first.post(GENERATE, HELLO).status(), 200);
    assert_eq!(second.post(GENERATE, HELLO).status(), 200);
    second.await_output("in use by another process");
    assert!(second.stdout().contains("memory"), "{}", second.stdout());
    assert!(first.get("/health").text().contains(r#""kv_status":"connected""#));
    let health = second.get("/health").json();
    assert_eq!(
        (&health["kv_status"], &health["status"]),
        (&json!("disconnected"), &json!("degraded"))
    );
    first.kill();
    drop(second);
    let again = setup.start();
    assert_eq!(again.post(GENERATE, HELLO).status(), 200);
    assert!(!again.stdout().contains("damaged"), "{}", again.stdout());
    assert_eq!(google.count("loadCodeAssist"), 2, "the first one's entries are still there");
}

#[test]
fn a_damaged_store_is_set_aside_and_reported() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    setup.write("kv.redb", "garbage".repeat(1000));
    let proxy = setup.start();
    proxy.await_output("damaged");
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert!(proxy.get("/health").text().contains(r#""kv_status":"connected""#));
    assert!(!proxy.stderr().contains("panicked"), "{}", proxy.stderr());
    let names = std::fs::read_dir(setup.path(".")).unwrap().flatten();
    let aside = names.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn the_bundled_emulator_serves_without_account_and_network() {
    let setup =
        ProxyBuilder::without_upstream().without_env("CODE_ASSIST_ENDPOINT").argument("--emulator");
    let proxy = setup.env("KV_URL", "file:kv.redb").start();
    assert!(proxy.stdout().contains("emulator on http://127.0.0.1:"), "{}", proxy.stdout());
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().contains("You said: Hello"));
    let answer = proxy.post(crate::STREAM, HELLO);
    assert!(answer.events().len() >= 2, "{}", answer.text());
    // Tokens of the emulator are not stored.
    assert!(!proxy.path("kv.redb").exists());
}
