//! `keys usage`, and the file by which it asks a running proxy.

use std::fs;
use std::process::Output;
use std::time::Duration;

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, ScriptedUpstream, get, post};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{GENERATE, HELLO};

#[test]
fn keys_usage_asks_the_running_proxy_and_reads_the_store_without_one() {
    let google = GoogleEmulator::start();
    let builder = builder(&google, TABLES);
    let mut proxy = builder.start();
    for key in ["hush-ada", "hush-bob", "hush-ada"] {
        assert_eq!(generate(&proxy, key), 200);
    }
    assert!(builder.path("kv.redb.operator").exists());

    let usage = usage(&builder, &["--by", "key", "--json"]);
    assert_eq!(usage.status.code(), Some(0), "{usage:?}");
    let parsed: Value = serde_json::from_slice(&usage.stdout).unwrap();
    let requests = |report: &Value| -> Vec<(String, u64)> {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| (row["key"].as_str().unwrap().into(), row["requests"].as_u64().unwrap()))
            .collect()
    };
    assert_eq!(requests(&parsed), [("ada".to_owned(), 2), ("bob".to_owned(), 1)]);
    assert!(parsed["rows"][0]["prompt_tokens"].as_u64().unwrap() > 0, "{parsed}");
    let budget = &parsed["budgets"][0];
    assert_eq!((&budget["key"], &budget["limit"]), (&json!("ada"), &json!(200_000)));

    // The same as an admin gets.
    let ask = |path: &str, accept: &str| {
        proxy.send(get(path, &["x-goog-api-key: hush-admin", &format!("accept: {accept}")])).text()
    };
    assert_eq!(text(&usage), format!("{}\n", ask("/usage?by=key", "*/*")));
    let csv = self::usage(&builder, &["ada", "--csv"]);
    assert_eq!(text(&csv), ask("/usage?id=ada", "text/csv"));
    assert_eq!(text(&csv).lines().count(), 2, "{csv:?}");

    proxy.signal("TERM");
    assert!(proxy.wait_for_exit(Duration::from_secs(20)).success());
    assert!(!builder.path("kv.redb.operator").exists());
    let from_store = self::usage(&builder, &["--by", "key", "--json"]);
    assert_eq!(text(&from_store), text(&usage), "{from_store:?}");

    let table = self::usage(&builder, &["ada"]);
    let table = text(&table);
    assert!(table.contains("TOTAL") && table.contains("tokens_per_day"), "{table}");
    assert!(!table.contains("bob"), "{table}");

    // A proxy that was killed leaves its file.
    let proxy = builder.start();
    proxy.kill();
    assert!(builder.path("kv.redb.operator").exists());
    let after = self::usage(&builder, &["--by", "key", "--json"]);
    assert_eq!(text(&after), text(&usage), "{after:?}");
}

#[test]
fn the_operators_key_is_private_and_reads_usage_only() {
    let google = GoogleEmulator::start();
    let builder = builder(&google, TABLES);
    let proxy = builder.start();
    let file = builder.path("kv.redb.operator");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let content: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(content["url"], format!("http://{}", proxy.address()));
    let key = content["key"].as_str().unwrap();
    let header = format!("x-goog-api-key: {key}");
    let status = |path: &str| proxy.send(get(path, &[&header])).status();
    assert_eq!(status("/usage"), 200);
    for path in ["/metrics", "/health/detailed", "/v1beta/models"] {
        assert_eq!(status(path), 401, "{path}");
    }
    assert_eq!(proxy.send(post(GENERATE, &[&header], HELLO)).status(), 401);
    assert_eq!(google.count("generateContent"), 0);
    let metrics = proxy.send(get("/metrics", &["x-goog-api-key: hush-admin"])).text();
    assert!(!metrics.contains("operator"), "{metrics}");
    assert!(!format!("{}{}", proxy.stdout(), proxy.stderr()).contains(key));
    // Each start has a key of its own, and an old one is worth nothing.
    drop(proxy);
    let proxy = builder.start();
    assert_eq!(proxy.send(get("/usage", &[&header])).status(), 401);
}

#[test]
fn a_key_that_is_no_admins_may_not_name_another_one() {
    let google = GoogleEmulator::start();
    let proxy = builder(&google, TABLES).start();
    let status = |path: &str| proxy.send(get(path, &["x-goog-api-key: hush-bob"])).status();
    assert_eq!((status("/usage?id=bob"), status("/usage?id=ada")), (200, 403));
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
    let google = GoogleEmulator::start();
    let builder = builder(&google, TABLES);
    let failed = |output: Output, says: &[&str]| {
        assert_eq!((output.status.code(), text(&output).as_str()), (Some(1), ""), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        for part in says {
            assert!(message.contains(part), "{part} in {message}");
        }
    };
    failed(usage(&builder, &["--kv-url", "memory:"]), &["KV_URL is memory:"]);
    let inverse = ["--since", "2026-11-02", "--until", "2026-11-01"];
    failed(usage(&builder, &inverse), &["`since` (2026-11-02) is after"]);

    let proxy = builder.start();
    fs::remove_file(builder.path("kv.redb.operator")).unwrap();
    failed(usage(&builder, &[]), &["in use by another process", "kv.redb.operator that this user"]);
    fs::write(builder.path("kv.redb.operator"), r#"{"url":"http://127.0.0.1:1","key":"k"}"#)
        .unwrap();
    failed(usage(&builder, &[]), &["in use by another process", "does not answer"]);
    drop(proxy);

    // Another program has the port of a proxy that was killed.
    let other = ScriptedUpstream::answering("401 Unauthorized", "", "hush");
    let stale = json!({"url": other.url(), "key": "k"}).to_string();
    fs::write(builder.path("kv.redb.operator"), stale).unwrap();
    let read = usage(&builder, &[]);
    assert_eq!(read.status.code(), Some(0), "{read:?}");
    assert!(text(&read).contains("There is none."), "{read:?}");
    assert!(text(&read).contains("No running proxy has the store"), "{read:?}");

    builder.write("keys.toml", "");
    failed(usage(&builder, &[]), &["no [[key]] table", "keys new ID --append"]);
}

#[test]
fn a_reload_with_the_first_tables_lets_keys_usage_in() {
    let google = GoogleEmulator::start();
    let builder = builder(&google, "");
    let proxy = builder.start();
    builder.write("keys.toml", hashed(TABLES));
    let refused = usage(&builder, &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let before = proxy.stdout().len();
    proxy.signal("HUP");
    proxy.await_output_after(before, "settings read again");
    let read = usage(&builder, &[]);
    assert_eq!(read.status.code(), Some(0), "{read:?}");
}

fn builder(google: &GoogleEmulator, tables: &str) -> ProxyBuilder {
    let builder = ProxyBuilder::for_emulator(google)
        .env("CODE_ASSIST_PROXY_CONFIG", "keys.toml")
        .env("KV_URL", "file:kv.redb");
    builder.write("keys.toml", hashed(tables));
    builder
}

/// Puts the digests of keys in place of `hash = <key>`.
fn hashed(tables: &str) -> String {
    let line = |line: &str| match line.strip_prefix("hash = ") {
        Some(key) => {
            let digest = Sha256::digest(key.as_bytes());
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hash = \"sha256:{digits}\"\n")
        }
        None => format!("{line}\n"),
    };
    tables.lines().map(line).collect()
}

fn generate(proxy: &Proxy, key: &str) -> u16 {
    proxy.send(post(GENERATE, &[&format!("x-goog-api-key: {key}")], HELLO)).status()
}

/// Runs the command beside the proxy.
fn usage(builder: &ProxyBuilder, arguments: &[&str]) -> Output {
    let mut command = builder.command(&["--config", "keys.toml", "keys", "usage"]);
    command.env("KV_URL", "file:kv.redb").args(arguments).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

const TABLES: &str = "\
[[key]]
id = \"ada\"
hash = hush-ada
tokens_per_day = 200000
[[key]]
id = \"bob\"
hash = hush-bob
[[key]]
id = \"admin\"
hash = hush-admin
admin = true";
