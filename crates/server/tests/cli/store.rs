//! `kv`: the store is listed, exported, imported and cleared, and survives crashes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use crate::{BINARY, Home, stderr, stdout};

#[test]
fn the_store_is_exported_cleared_and_imported() {
    let home = Home::new();
    let in_an_hour = seconds_from_now(3600);
    home.write(
        "in.json",
        &format!(
            r#"[{{"key":"oauth_token_cache","value":"{{\"access_token\":\"hush\"}}","expiration":{in_an_hour}}},
                {{"key":"binary","value":"/wA=","base64":true}},
                {{"key":"old","value":"x","expiration":1}}]"#
        ),
    );
    let output = home.run_with(&["kv", "import", "in.json"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let message = "2 entries read from in.json, 1 left out because they have expired\n";
    assert_eq!(stdout(&output), message);

    let list = stdout(&home.run_with(&["kv", "list"], &[]));
    assert!(list.contains("oauth_token_cache") && list.contains("59m"), "{list}");
    assert!(list.contains("binary") && list.contains("never"), "{list}");
    assert!(!list.contains("hush"), "{list}");

    let output = home.run_with(&["kv", "export", "out.json"], &[]);
    assert_eq!(stdout(&output), "2 entries written to out.json\n");
    let exported = fs::read_to_string(home.path("out.json")).unwrap();
    assert_eq!(stdout(&home.run_with(&["kv", "export"], &[])), exported);
    let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(
        exported,
        serde_json::json!([
            {"key": "binary", "value": "/wA=", "base64": true},
            {"key": "oauth_token_cache", "value": "{\"access_token\":\"hush\"}",
             "expiration": in_an_hour},
        ])
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = fs::metadata(home.path("out.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    assert_eq!(stdout(&home.run_with(&["kv", "clear"], &[])), "2 entries removed\n");
    assert_eq!(stdout(&home.run_with(&["kv", "list"], &[])).lines().count(), 1);
    assert_eq!(home.run_with(&["kv", "import", "out.json"], &[]).status.code(), Some(0));
    // Without the seconds that are left, which change.
    let but_seconds = |list: &str| -> Vec<String> {
        list.lines().map(|line| line.split("59m").next().unwrap_or(line).to_owned()).collect()
    };
    let again = stdout(&home.run_with(&["kv", "list"], &[]));
    assert_eq!(but_seconds(&again), but_seconds(&list));
}

#[test]
fn a_bad_import_writes_nothing() {
    let home = Home::new();
    home.write("bad.json", r#"[{"key":"fine","value":"x"},{"key":"bad"}]"#);
    let output = home.run_with(&["kv", "import", "bad.json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("bad.json: entry 2: has no \"value\""), "{output:?}");
    assert_eq!(stdout(&home.run_with(&["kv", "list"], &[])).lines().count(), 1);
    let output = home.run_with(&["kv", "import", "nowhere.json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let output = home.run_with(&["kv", "list"], &[("KV_URL", "memory:")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("KV_URL is memory:"));
}

#[test]
fn a_damaged_store_is_set_aside_and_reported() {
    let home = Home::new();
    fs::write(home.path("kv.redb"), "garbage".repeat(1000)).unwrap();
    let output = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let message = stderr(&output);
    assert!(message.contains("warning: the key-value store kv.redb is damaged"), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    let aside = fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(aside.filter(|name| name.to_string_lossy().contains(".damaged-")).count(), 1);
}

#[cfg(unix)]
#[test]
fn a_store_that_another_process_has_open_is_reported_and_left_alone() {
    let home = Home::new();
    home.write("one.json", r#"[{"key":"a","value":"1"}]"#);
    let import = ["kv", "import", "one.json", "--kv-url", "file:kv.redb"];
    assert_eq!(home.run_with(&import, &[]).status.code(), Some(0));
    // This test holds the lock that a running proxy holds.
    let file = fs::File::options().read(true).write(true).open(home.path("kv.redb")).unwrap();
    file.lock().unwrap();
    for command in ["list", "clear", "export"] {
        let output = home.run_with(&["kv", command, "--kv-url", "file:kv.redb"], &[]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let message = stderr(&output);
        assert!(message.contains("kv.redb is in use by another process"), "{command}: {message}");
        assert_eq!(stdout(&output), "", "{command}");
    }
    drop(file);
    let list = stdout(&home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]));
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_is_an_error_and_not_a_crash() {
    let home = Home::new();
    let large: Vec<_> = (0..64)
        .map(|n| serde_json::json!({"key": format!("k{n}"), "value": "x".repeat(100_000)}))
        .collect();
    home.write("large.json", &serde_json::Value::Array(large).to_string());
    home.write("small.json", r#"[{"key":"small","value":"1"}]"#);
    let import = ["kv", "import", "small.json", "--kv-url", "file:kv.redb"];
    assert_eq!(home.run_with(&import, &[]).status.code(), Some(0));
    // A limit on file sizes (2 MiB) fails writes as a full disk does.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" kv import large.json";
    let mut limited = home.command_of("/bin/sh", &[("KV_URL", "file:kv.redb")]);
    let output = limited.args(["-c", script, BINARY]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = stderr(&output);
    assert!(
        message.contains("key-value store kv.redb") && !message.contains("panicked"),
        "{message}"
    );
    let list = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
    assert_eq!(stderr(&list), "");
    assert!(stdout(&list).contains("small") && !stdout(&list).contains("k1"), "{list:?}");
}

#[test]
fn a_process_killed_at_any_moment_leaves_the_store_whole() {
    let home = Home::new();
    let generation = |n: usize| {
        let rows = (0..100).map(|key| {
            serde_json::json!({"key": format!("key {key:03}"), "value": format!("{n:09000}")})
        });
        serde_json::Value::Array(rows.collect()).to_string()
    };
    let env = [("KV_URL", "file:kv.redb")];
    home.write("in.json", &generation(0));
    // The duration of one whole import spreads the kills over it.
    let started = std::time::Instant::now();
    assert_eq!(home.run_with(&["kv", "import", "in.json"], &env).status.code(), Some(0));
    let whole = started.elapsed();

    let (mut killed, mut finished) = (0, 0);
    let mut last = 0;
    for n in 1..=24 {
        home.write("in.json", &generation(n));
        let mut import = home.command(&["kv", "import", "in.json"], &env);
        let mut child = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * u32::try_from(n).unwrap() / 18);
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            true => finished += 1,
            false => killed += 1,
        }
        let output = home.run_with(&["kv", "export"], &env);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "round {n}");
        let rows: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows.len(), 100, "round {n}");
        let now: usize = rows[0]["value"].parse().unwrap();
        assert!(rows.iter().all(|row| row["value"] == rows[0]["value"]), "round {n}: half a write");
        assert!(now == last || now == n, "round {n}: neither before nor after, but {now}");
        last = now;
    }
    // On a machine whose speed changes, few kills may hit the middle of an import, but some do.
    assert!(killed >= 3, "{killed} killed, {finished} finished");
    assert!(!home.names().iter().any(|name| name.contains("damaged")));
}

#[test]
fn a_process_killed_while_it_creates_the_store_leaves_no_damage() {
    let home = Home::new();
    home.write("in.json", r#"[{"key":"a","value":"1"}]"#);
    let env = [("KV_URL", "file:kv.redb")];
    for n in 0..30 {
        let mut import = home.command(&["kv", "import", "in.json"], &env);
        let mut child = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(400 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = home.run_with(&["kv", "list"], &env);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "round {n}");
        fs::remove_file(home.path("kv.redb")).unwrap();
    }
    assert!(!home.names().iter().any(|name| name.contains("damaged")));
}

fn seconds_from_now(seconds: u64) -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock past 1970");
    since.as_secs() + seconds
}
