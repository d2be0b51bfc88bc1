//! Where settings come from, and what is printed when they are wrong.

use std::fs;

use crate::{Home, stderr, stdout};

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
