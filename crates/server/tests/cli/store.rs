//! `kv`: the store is listed, exported, imported and cleared, and survives crashes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
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
    let metadata = serde_json::json!({"code_assist_proxy_format": 1});
    assert_eq!(
        exported,
        serde_json::json!([
            {"key": "binary", "value": "/wA=", "base64": true, "metadata": metadata},
            {"key": "oauth_token_cache", "value": "{\"access_token\":\"hush\"}",
             "expiration": in_an_hour, "metadata": metadata},
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
fn clearing_leaves_usage_unless_it_is_named() {
    use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

    let home = Home::new();
    let usage: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("usage");
    home.write("one.json", r#"[{"key":"a","value":"1"}]"#);
    let kv = |words: &[&str]| {
        let words = [&["kv"], words, &["--kv-url", "file:kv.redb"]].concat();
        stdout(&home.run_with(&words, &[]))
    };
    kv(&["import", "one.json"]);
    {
        let database = Database::open(home.path("kv.redb")).unwrap();
        let writing = database.begin_write().unwrap();
        let name = ("2026-11-26", "ada", "gemini-2.5-pro");
        writing.open_table(usage).unwrap().insert(name, &[0; 48][..]).unwrap();
        writing.commit().unwrap();
    }
    let rows = || {
        let database = Database::open(home.path("kv.redb")).unwrap();
        database.begin_read().unwrap().open_table(usage).unwrap().len().unwrap()
    };
    assert_eq!(kv(&["list"]).lines().count(), 2, "usage is no entry");
    assert!(!kv(&["export"]).contains("gemini-2.5-pro"));
    assert_eq!(kv(&["clear"]), "1 entries removed\n");
    assert_eq!(rows(), 1);
    kv(&["import", "one.json"]);
    let removed = "1 entries removed\n1 rows of usage removed\n";
    assert_eq!(kv(&["clear", "--usage"]), removed);
    assert_eq!(rows(), 0);
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

#[test]
fn the_last_two_damaged_stores_are_kept() {
    let home = Home::new();
    home.write("kv.redb.damaged-17", "the first");
    home.write("kv.redb.damaged-notes", "the operator's");
    for round in 0..4 {
        fs::write(home.path("kv.redb"), format!("garbage {round}").repeat(1000)).unwrap();
        let output = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let names = home.names();
    let mut damaged: Vec<_> =
        names.iter().filter(|name| name.starts_with("kv.redb.damaged-")).collect();
    damaged.sort();
    assert_eq!(damaged.len(), 3, "{damaged:?}");
    assert_eq!(damaged[2], "kv.redb.damaged-notes");
    for (name, content) in [(damaged[0], "garbage 2"), (damaged[1], "garbage 3")] {
        assert!(fs::read_to_string(home.path(name)).unwrap().starts_with(content), "{name}");
        #[cfg(unix)]
        assert_eq!(mode(&home.path(name)), 0o600, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_store_behind_a_symbolic_link_or_of_another_user_is_refused_and_left_alone() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    let home = Home::new();
    let refused = |reason: &str| {
        let output = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = stderr(&output);
        assert!(
            message.contains("kv.redb cannot be used") && message.contains(reason),
            "{message}"
        );
    };
    home.write("diary.txt", "Dear diary");
    let set = |name: &str| {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    };
    set("diary.txt");
    symlink("diary.txt", home.path("kv.redb")).unwrap();
    refused("it is a symbolic link");
    symlink("nowhere", home.path("dangling")).unwrap();
    fs::rename(home.path("dangling"), home.path("kv.redb")).unwrap();
    refused("it is a symbolic link");
    assert_eq!(fs::read_to_string(home.path("diary.txt")).unwrap(), "Dear diary");
    assert_eq!(mode(&home.path("diary.txt")), 0o644);
    assert!(!home.path("nowhere").exists());

    fs::remove_file(home.path("kv.redb")).unwrap();
    home.write("kv.redb", "");
    set("kv.redb");
    // Only root can give a file away.
    if chown(home.path("kv.redb"), Some(NOT_US), None).is_ok() {
        refused("it belongs to the user with the number");
        assert_eq!(mode(&home.path("kv.redb")), 0o644);
    }
}

#[test]
fn a_store_of_the_first_format_opens_with_every_entry() {
    let home = Home::new();
    fs::write(home.path("kv.redb"), first_format()).unwrap();
    assert_eq!(about(&home), None);
    let export = ["kv", "export", "--kv-url", "file:kv.redb"];
    for _ in 0..2 {
        let output = home.run_with(&export, &[]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let expiries: Vec<_> = rows.iter().map(|row| row["expiration"].as_u64()).collect();
        let values: BTreeMap<_, _> =
            rows.iter().map(|row| (row["key"].as_str(), row["value"].as_str())).collect();
        assert_eq!(expiries, [None, Some(IN_2100), Some(IN_2100), Some(IN_2100), None]);
        assert_eq!(values[&Some("binary")], Some("/wAB"));
        assert_eq!(values[&Some("terms_notice_shown")], Some("true"));
        let project = r#"{"project":"fixture-project","credential":"fixture"}"#;
        assert_eq!(values[&Some("project_id_cache")], Some(project));
        let rotated = r#"{"refresh_token":"1//fixture-rotated","credential":"fixture"}"#;
        assert_eq!(values[&Some("oauth_refresh_token")], Some(rotated));
        assert!(values[&Some("oauth_token_cache")].unwrap().contains("ya29.fixture"));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(about(&home), Some(("2".to_owned(), version)));
    }
}

#[test]
fn a_process_killed_while_it_migrates_leaves_every_entry() {
    let home = Home::new();
    let list = ["kv", "list", "--kv-url", "file:kv.redb"];
    for n in 0..20 {
        fs::write(home.path("kv.redb"), first_format()).unwrap();
        let mut migrating = home.command(&list, &[]);
        let mut child = migrating.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(1500 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = home.run_with(&list, &[]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "round {n}");
        assert_eq!(stdout(&output).lines().count(), 6, "round {n}");
    }
}

#[test]
fn a_store_of_a_later_version_is_left_as_it_is() {
    use redb::{Database, TableDefinition};

    let home = Home::new();
    fs::write(home.path("kv.redb"), first_format()).unwrap();
    let database = Database::create(home.path("kv.redb")).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let about: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
        let mut about = writing.open_table(about).unwrap();
        about.insert("format", "3").unwrap();
        about.insert("written_by", "9.1.0").unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    let later = fs::read(home.path("kv.redb")).unwrap();
    let mut other_redb = first_format();
    (other_redb[64], other_redb[192]) = (4, 4);
    let mut older_redb = first_format();
    (older_redb[64], older_redb[192]) = (2, 2);

    for (content, says) in [
        (later, "code-assist-proxy 9.1.0 has written it in format 3"),
        (other_redb, "a redb file of version 4"),
        (older_redb, "a redb file of version 2"),
    ] {
        fs::write(home.path("kv.redb"), &content).unwrap();
        let output = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = stderr(&output);
        assert!(message.contains(says) && message.contains("It is left as it is"), "{message}");
        assert!(fs::read(home.path("kv.redb")).unwrap() == content, "not a byte is changed");
        let names = home.names();
        assert_eq!(names.iter().filter(|name| name.contains("kv.redb")).count(), 1, "{names:?}");
    }
}

/// A store that version 0.2.0 has written.
fn first_format() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kv-v1.redb.gz");
    let packed = fs::read(path).expect("a file of the repository");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("a whole file");
    bytes
}

/// The format of the store and the version that has written it.
fn about(home: &Home) -> Option<(String, String)> {
    use redb::{Database, ReadableDatabase, TableDefinition};

    let copy = home.path("copy.redb");
    fs::copy(home.path("kv.redb"), &copy).expect("a store");
    let about: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
    let database = Database::open(copy).expect("a store");
    let about = database.begin_read().expect("a store").open_table(about).ok()?;
    let text = |key| about.get(key).ok().flatten().map(|value| value.value().to_owned());
    text("format").zip(text("written_by"))
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
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
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows.len(), 100, "round {n}");
        let now: usize = rows[0]["value"].as_str().unwrap().parse().unwrap();
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

/// When the entries of the fixture expire: 2100-01-01.
const IN_2100: u64 = 4_102_444_800;
/// A user that exists on every system and that no test runs as.
#[cfg(unix)]
const NOT_US: u32 = 65_534;
