//! Where settings come from, and what is printed when they are wrong.

use std::fs;

use crate::{Home, stderr, stdout};

#[test]
fn config_prints_every_setting_with_its_source_and_no_secret() {
    let home = Home::new();
    home.write("c.toml", "log_level = \"warn\"\nport = 1\noauth_client_secret = \"hush-file\"\n");
    let output = home.run_with(
        &["--config", "c.toml", "config", "--host", "localhost"],
        &[
            ("PORT", "2"),
            // Its default follows the machine's control group.
            ("MEMORY_BUDGET_BYTES", "64MiB"),
            ("PROXY_API_KEYS", "ada:hush-key"),
            ("GCP_SERVICE_ACCOUNT", "{\"refresh_token\":\"hush-token\"}"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "hush-access"),
            ("https_proxy", "http://ada:hush-pass@proxy:3128"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // The width of the columns depends on the folder's name.
    let listing = stdout(&output).replace(&*home.0.path().to_string_lossy(), "[HOME]");
    let lines: Vec<String> =
        listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let printed = format!("{}{}", stdout(&output), stderr(&output));
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn every_command_prints_all_problems_of_the_settings_and_starts_nothing() {
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
        let printed = format!("{}{}", stdout(&output), stderr(&output));
        let problems: Vec<&str> = printed
            .lines()
            .filter_map(|line| {
                line.strip_prefix("error: ").or_else(|| line.strip_prefix("fail  settings     "))
            })
            .collect();
        insta::allow_duplicates! { insta::assert_snapshot!(problems.join("\n")) };
        assert!(!printed.contains("hush"), "{command}: {printed}");
        assert_eq!(stdout(&output).contains("PORT=-1"), command == "config");
    }
}

#[test]
fn tables_of_upstreams_are_listed_without_their_secrets() {
    let home = Home::new();
    home.write("key", "hush-key\n");
    home.write(
        "c.toml",
        "upstreams = [\"eu\", \"team\"]\n\
         [[upstream]]\nname = \"team\"\nprovider = \"gemini-api\"\napi_key_file = \"~/key\"\n\
         models = [\"gemini-2.5-*\", \"x\"]\n\
         [[upstream]]\nname = \"eu\"\nprovider = \"vertex\"\nproject = \"p\"\nlocation = \"eu\"\n\
         credentials = '{\"refresh_token\":\"hush\"}'\nmodel_map = { a = \"b\" }\n",
    );
    let output = home.run_with(&["--config", "c.toml", "config"], &[("VERTEX_API_KEY", "hush")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<String> = stdout(&output)
        .lines()
        .filter(|line| line.starts_with("upstream.") || line.ends_with("# from env"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "VERTEX_API_KEY=*** # from env",
            "upstream.team.provider=gemini-api # from file",
            "upstream.team.api_key=*** # from file",
            "upstream.team.models=gemini-2.5-*,x # from file",
            "upstream.eu.provider=vertex # from file",
            "upstream.eu.credentials=*** # from file",
            "upstream.eu.project=p # from file",
            "upstream.eu.location=eu # from file",
            "upstream.eu.model_map=a=b # from file",
        ]
    );
    assert!(!format!("{output:?}").contains("hush"), "{output:?}");
}

#[test]
fn tables_of_keys_are_listed_with_a_part_of_their_digests_and_no_key() {
    let home = Home::new();
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    home.write(
        "c.toml",
        &format!(
            "[[key]]\nid = \"ada\"\nhash = \"sha256:{digest}\"\nmodels = [\"gemini-2.5-*\", \"x\"]\n\
             expires = 2127-01-31T00:00:00Z\nadmin = true\n\
             credentials = '{{\"refresh_token\":\"hush\"}}'\n\
             [[key]]\nid = \"bob\"\nkey = \"hush-hush-hush-hush\"\ncredentials = \"/bob.json\"\n\
             [[price]]\nmodel = \"*\"\ninput = 1.25\noutput = 10\n"
        ),
    );
    let tables = |env: &[(&str, &str)]| {
        let output = home.run_with(&["--config", "c.toml", "config"], env);
        assert!(!format!("{output:?}").contains("hush"), "{output:?}");
        let lines = stdout(&output);
        let lines =
            lines.lines().filter(|line| line.starts_with("key.") || line.starts_with("price."));
        let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        (lines.collect::<Vec<_>>(), output.status.code(), stderr(&output))
    };
    let (lines, code, messages) = tables(&[]);
    assert_eq!(code, Some(0), "{messages}");
    assert!(messages.contains("key of key bob in c.toml: is the key itself"), "{messages}");
    assert_eq!(
        lines,
        [
            "key.ada.hash=sha256:9f86d081… # from file",
            "key.ada.models=gemini-2.5-*,x # from file",
            "key.ada.expires=2127-01-31T00:00:00Z # from file",
            "key.ada.credentials=*** # from file",
            "key.ada.admin=true # from file",
            "key.bob.key=*** # from file",
            "key.bob.credentials=/bob.json # from file",
            "price.1.model=* # from file",
            "price.1.input=1.25 # from file",
            "price.1.output=10 # from file",
        ]
    );
    let json = format!("{{\"key\":[{{\"id\":\"eve\",\"hash\":\"sha256:{digest}\"}}]}}");
    let (lines, code, messages) = tables(&[("PROXY_KEYS_JSON", &json)]);
    assert_eq!(lines, ["key.eve.hash=sha256:9f86d081… # from env"]);
    assert_eq!(code, Some(2));
    assert!(messages.contains("PROXY_KEYS_JSON: is set, and c.toml has [[key]]"), "{messages}");
}

#[test]
fn an_upstream_without_its_key_or_project_refuses_to_start() {
    let home = Home::new();
    home.write(
        "c.toml",
        "[[upstream]]\nname = \"team\"\nprovider = \"gemini-api\"\nend_point = \"x\"\n\
         [[upstream]]\nname = \"eu\"\nprovider = \"vertex\"\napi_key_file = \"nowhere\"\n",
    );
    let output = home.run_with(&["serve", "--upstreams", "vertex,gemini-api"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let message = stderr(&output);
    assert!(message.contains("error: VERTEX_PROJECT: is not set, and neither is VERTEX_API_KEY"));
    assert!(message.contains("error: GEMINI_API_KEY: is not set"), "{message}");

    let output = home.run_with(&["serve", "--config", "c.toml"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let message = stderr(&output);
    for line in [
        "error: end_point of [[upstream]] 1 in c.toml: is not a key of these tables; did you mean endpoint?",
        "error: upstream team in c.toml: has neither api_key nor api_key_file",
        "error: api_key_file of [[upstream]] 2 in c.toml: nowhere cannot be used: No such file",
    ] {
        assert!(message.contains(line), "{line} in {message}");
    }
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn the_clis_own_file_makes_code_assist_the_upstream_if_it_is_there() {
    let home = Home::new();
    // A number is no project for Code Assist, and no concern of the Gemini API.
    let env = [("GOOGLE_CLOUD_PROJECT", "123456"), ("GEMINI_API_KEY", "any")];
    assert_eq!(home.run_with(&["config"], &env).status.code(), Some(0));
    fs::create_dir(home.path(".gemini")).unwrap();
    home.write(".gemini/oauth_creds.json", "{}");
    let output = home.run_with(&["config"], &env);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is a project number"), "{output:?}");
}

#[test]
fn a_public_host_without_keys_refuses_to_start() {
    let home = Home::new();
    let output = home.run_with(&["serve", "--host", "0.0.0.0", "--port", "0"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("error: HOST: refuses to listen on 0.0.0.0 without keys"),
        "{message}"
    );
    assert!(message.contains("PROXY_API_KEYS") && message.contains("ALLOW_UNAUTHENTICATED=true"));
}

#[test]
fn the_config_file_is_the_flags_else_the_variables_else_the_default_one() {
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
    let unreadable = home.run_with(&["config"], &[("XDG_CONFIG_HOME", "/dev/null/.config")]);
    assert_eq!((unreadable.status.code(), stderr(&unreadable).as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_others_can_read_is_reported() {
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
