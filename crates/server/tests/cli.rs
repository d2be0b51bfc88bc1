//! The real binary from outside: arguments, environment, files in; text and exit codes out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

#[test]
fn config_lists_every_setting_with_its_source_and_no_secret() {
    let home = Home::new();
    home.write("c.toml", "log_level = \"warn\"\nport = 1\noauth_client_secret = \"hush-file\"\n");
    let output = home.run_with(
        &["--config", "c.toml", "config", "--host", "localhost"],
        &[
            ("PORT", "2"),
            ("PROXY_API_KEYS", "ada:hush-key"),
            ("GCP_SERVICE_ACCOUNT", "{\"refresh_token\":\"hush-token\"}"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "hush-access"),
            ("https_proxy", "http://ada:hush-pass@proxy:3128"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    let line = |name: &str| {
        let of_it: Vec<&String> =
            lines.iter().filter(|line| line.starts_with(&format!("{name}="))).collect();
        assert_eq!(of_it.len(), 1, "{name}");
        of_it[0].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("HOST"), "HOST=localhost # from flag");
    assert_eq!(line("PORT"), "PORT=2 # from env");
    assert_eq!(line("LOG_LEVEL"), "LOG_LEVEL=warn # from file");
    assert_eq!(line("LOG_FORMAT"), "LOG_FORMAT=json # from default");
    assert_eq!(line("PROXY_API_KEYS"), "PROXY_API_KEYS=*** # from env");
    assert_eq!(line("GCP_SERVICE_ACCOUNT"), "GCP_SERVICE_ACCOUNT=*** # from env");
    assert_eq!(line("OAUTH_CLIENT_SECRET"), "OAUTH_CLIENT_SECRET=*** # from file");
    assert_eq!(line("HTTPS_PROXY"), "HTTPS_PROXY=http://***@proxy:3128 # from env");
    assert_eq!(line("GEMINI_PROJECT_ID"), "GEMINI_PROJECT_ID= # from default");
    let kv = home.path("data/code-assist-proxy/kv.redb");
    assert_eq!(line("KV_URL"), format!("KV_URL=file:{} # from default", kv.display()));
    let printed = format!("{}{}", stdout(&output), stderr(&output));
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn every_problem_is_told_at_once_and_nothing_starts() {
    let home = Home::new();
    home.write("c.toml", "prot = 1\nproxy_api_keys = \"hush key\"\n");
    let env = [
        ("CODE_ASSIST_PROXY_CONFIG", "c.toml"),
        ("MAX_RETRY_ATTEMPTS", "11"),
        ("GOOGLE_CLOUD_PROJECT", "123456"),
    ];
    for command in ["serve", "config", "check", "models", "kv list"] {
        let arguments: Vec<&str> = command.split(' ').chain(["--port=-1"]).collect();
        let output = home.run_with(&arguments, &env);
        assert_eq!(output.status.code(), Some(2), "{command}: {output:?}");
        let told = format!("{}{}", stdout(&output), stderr(&output));
        for words in [
            "prot in c.toml: is not a setting; did you mean port?",
            "PORT: \"-1\" (from flag) is out of range; wanted: a whole number from 0 to 65535",
            "MAX_RETRY_ATTEMPTS: \"11\" (from env) is out of range",
            "GOOGLE_CLOUD_PROJECT: \"123456\" (from env) is a project number",
            "PROXY_API_KEYS: the value (from file) entry 1 has a key",
        ] {
            assert!(told.contains(words), "{command}: {words} in {told}");
        }
        assert!(!told.contains("hush"), "{command}: {told}");
        assert_eq!(stdout(&output).contains("PORT=-1"), command == "config");
    }
}

#[test]
fn a_public_host_without_keys_refuses_to_start() {
    let home = Home::new();
    let output = home.run_with(&["serve", "--host", "0.0.0.0", "--port", "0"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("error: HOST: refuses to listen on 0.0.0.0 without keys"), "{told}");
    assert!(told.contains("PROXY_API_KEYS") && told.contains("ALLOW_UNAUTHENTICATED=true"));
}

#[test]
fn the_file_is_the_flags_else_the_variables_else_the_default_one() {
    let home = Home::new();
    fs::create_dir_all(home.path("config/code-assist-proxy")).unwrap();
    home.write("config/code-assist-proxy/config.toml", "port = 1\n");
    home.write("by-variable.toml", "port = 2\n");
    home.write("by-flag.toml", "port = 3\n");
    let port = |arguments: &[&str], env: &[(&str, &str)]| {
        let output = home.run_with(&[arguments, &["config"]].concat(), env);
        let listing = stdout(&output);
        listing.lines().find_map(|line| line.strip_prefix("PORT=")).unwrap()[..1].to_owned()
    };
    let variable = [("CODE_ASSIST_PROXY_CONFIG", "by-variable.toml")];
    assert_eq!(port(&[], &[]), "1");
    assert_eq!(port(&[], &variable), "2");
    assert_eq!(port(&["--config", "by-flag.toml"], &variable), "3");

    for (arguments, env) in [
        (vec!["--config", "nowhere.toml"], [("X", "")]),
        (vec![], [("CODE_ASSIST_PROXY_CONFIG", "nowhere.toml")]),
    ] {
        let output = home.run_with(&[&arguments[..], &["config"]].concat(), &env);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("error: nowhere.toml: No such file"), "{output:?}");
    }
    fs::remove_file(home.path("config/code-assist-proxy/config.toml")).unwrap();
    assert_eq!(home.run_with(&["config"], &[]).status.code(), Some(0));
    let nobody = home.run_with(&["config"], &[("XDG_CONFIG_HOME", "/dev/null/.config")]);
    assert_eq!((nobody.status.code(), stderr(&nobody).as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    home.write("c.toml", "oauth_client_id = \"a\"\noauth_client_secret = \"hush\"\n");
    let told_at = |mode| {
        fs::set_permissions(home.path("c.toml"), fs::Permissions::from_mode(mode)).unwrap();
        stderr(&home.run_with(&["--config", "c.toml", "kv", "list"], &[]))
    };
    assert!(told_at(0o644).contains("warning: c.toml: holds secrets"));
    assert_eq!(told_at(0o600), "");
}

#[test]
fn bad_usage_is_2_and_help_and_version_are_0() {
    let home = Home::new();
    for bad in [
        vec!["frobnicate"],
        vec!["--frob"],
        vec!["kv"],
        vec!["kv", "import"],
        vec!["completions", "tcsh"],
        vec!["serve", "--proxy-api-keys", "hush"],
    ] {
        let output = home.run_with(&bad, &[]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(!stderr(&output).contains("hush"), "{bad:?}");
    }
    for good in [vec!["--help"], vec!["--version"], vec!["kv", "export", "--help"], vec!["help"]] {
        assert_eq!(home.run_with(&good, &[]).status.code(), Some(0), "{good:?}");
    }
    let version = stdout(&home.run_with(&["--version"], &[]));
    assert_eq!(version, format!("code-assist-proxy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_says_where_settings_come_from_and_names_every_flag() {
    let home = Home::new();
    let help = stdout(&home.run_with(&["serve", "--help"], &[]));
    for knob in code_assist_core::settings::SETTINGS {
        match knob.flag() {
            Some(flag) => assert!(help.contains(&format!("--{flag}")), "{flag}"),
            None => assert!(help.contains(knob.name), "{} is told to have no flag", knob.name),
        }
    }
    for command in ["", "serve", "check", "config", "models", "kv list", "kv export"] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = stdout(&home.run_with(&arguments, &[]));
        assert!(help.contains("Exit codes: 0"), "{command}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = home.run_with(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        let script = stdout(&output);
        assert!(script.contains("kv-url") && script.contains("emulator"), "{shell}");
    }
}

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
    let told = "2 entries read from in.json, 1 left out because they have expired\n";
    assert_eq!(stdout(&output), told);

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
    // All but the seconds that are left, which go on.
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
fn a_damaged_store_is_set_aside_and_told() {
    let home = Home::new();
    fs::write(home.path("kv.redb"), "garbage".repeat(1000)).unwrap();
    let output = home.run_with(&["kv", "list", "--kv-url", "file:kv.redb"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("warning: the key-value store kv.redb is damaged"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    let aside = fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(aside.filter(|name| name.to_string_lossy().contains(".damaged-")).count(), 1);
}

#[cfg(unix)]
#[test]
fn a_store_that_another_process_has_is_told_and_left_alone() {
    let home = Home::new();
    home.write("one.json", r#"[{"key":"a","value":"1"}]"#);
    let import = ["kv", "import", "one.json", "--kv-url", "file:kv.redb"];
    assert_eq!(home.run_with(&import, &[]).status.code(), Some(0));
    // Another process with the lock that a running proxy holds.
    let file = fs::File::options().read(true).write(true).open(home.path("kv.redb")).unwrap();
    file.lock().unwrap();
    for command in ["list", "clear", "export"] {
        let output = home.run_with(&["kv", command, "--kv-url", "file:kv.redb"], &[]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let told = stderr(&output);
        assert!(told.contains("kv.redb is in use by another process"), "{command}: {told}");
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
    let told = stderr(&output);
    assert!(told.contains("key-value store kv.redb") && !told.contains("panicked"), "{told}");
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
    // How long one whole import takes here spreads the kills over all of it.
    let begun = std::time::Instant::now();
    assert_eq!(home.run_with(&["kv", "import", "in.json"], &env).status.code(), Some(0));
    let whole = begun.elapsed();

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
    // On a machine whose speed changes, few may be hit in the middle, but not none.
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

#[test]
fn config_md_is_what_the_table_says() {
    is_generated("docs/CONFIG.md", &code_assist_core::settings::reference(), "config_md");
}

#[test]
fn dev_vars_example_has_every_setting_of_the_worker() {
    let example = code_assist_core::settings::worker_example();
    is_generated("crates/worker/.dev.vars.example", &example, "dev_vars");
}

/// `UPDATE_DOCS=1` writes the file anew.
#[track_caller]
fn is_generated(name: &str, content: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(&path, content).expect("a writable folder");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == content,
        "{name} is stale: UPDATE_DOCS=1 cargo test -p code-assist-proxy --test cli {test}"
    );
}

/// A home folder of its own, and the binary run in it with nothing else in the environment.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a writable folder");
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a readable folder");
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn command(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = self.command_of(BINARY, env);
        command.args(arguments);
        command
    }

    fn command_of(&self, program: &str, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.0.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .envs(env.iter().copied())
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        self.command(arguments, env).output().expect("the binary runs")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn seconds_from_now(seconds: u64) -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock past 1970");
    since.as_secs() + seconds
}

const BINARY: &str = env!("CARGO_BIN_EXE_code-assist-proxy");
