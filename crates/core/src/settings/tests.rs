use std::collections::HashMap;

use secrecy::ExposeSecret;

use super::*;

fn code_assist(settings: &Settings) -> &CodeAssistSettings {
    match &settings.upstreams[0].account {
        AccountSettings::CodeAssist(account) => account,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_set_gives_the_defaults_of_the_table() {
    let (settings, warnings) = read(&[], &[("HOME", "/home/ada")], &[]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 8787));
    assert_eq!(settings.upstreams[0].endpoints, ["https://cloudcode-pa.googleapis.com"]);
    assert_eq!(settings.token_url, "https://oauth2.googleapis.com/token");
    assert_eq!(settings.tokeninfo_url, "https://oauth2.googleapis.com/tokeninfo");
    assert_eq!(settings.api_version, "v1internal");
    assert_eq!(
        code_assist(&settings).credentials_file.as_deref(),
        Some("/home/ada/.gemini/oauth_creds.json")
    );
    assert_eq!(
        settings.kv_url,
        KvUrl::File("/home/ada/.local/share/code-assist-proxy/kv.redb".into())
    );
    assert!(settings.connection_pooling && settings.validate_tokens && settings.model_name_cache);
    assert!(!settings.allow_unauthenticated && !settings.trust_forwarded_for);
    assert_eq!(settings.token_refresh_buffer, Duration::from_secs(300));
    assert_eq!(settings.token_cache_ttl, Duration::from_secs(3600));
    assert_eq!(settings.project_cache_ttl, Duration::from_secs(3600));
    assert_eq!(settings.connection_timeout, Duration::from_secs(30));
    assert_eq!(settings.first_byte_timeout, Duration::from_secs(300));
    assert_eq!(settings.stream_idle_timeout, Duration::from_secs(300));
    assert_eq!(settings.keep_alive_timeout, Duration::from_secs(60));
    assert_eq!(settings.shutdown_grace, Duration::from_secs(30));
    assert_eq!(settings.max_request_body_bytes, 100 << 20);
    assert_eq!(settings.max_event_bytes, 64 << 20);
    assert_eq!((settings.max_concurrent_requests, settings.max_retries), (100, 3));
    assert_eq!((settings.breaker_threshold, settings.rate_limit), (5, 0));
    assert_eq!((settings.log_level.as_str(), settings.log_format), ("info", LogFormat::Json));
    assert!(settings.api_keys.is_empty() && code_assist(&settings).project_id.is_none());
    assert_eq!(settings.code_assist_protocol, AllowedProtocol::Generate);
}

#[test]
fn one_caller_holds_half_of_the_permits_where_there_are_several_keys_unless_a_setting_says_otherwise()
 {
    for (set, keys, share) in [
        (&[][..], 0, 100),
        (&[], 1, 100),
        (&[], 2, 50),
        (&[("MAX_CONCURRENT_REQUESTS", "1")], 2, 1),
        (&[("MAX_CONCURRENT_REQUESTS", "7")], 2, 3),
        (&[("MAX_CONCURRENT_REQUESTS_PER_CALLER", "9")], 0, 9),
        (&[("MAX_CONCURRENT_REQUESTS_PER_CALLER", "9")], 2, 9),
        (&[("MAX_CONCURRENT_REQUESTS_PER_CALLER", "900")], 2, 100),
    ] {
        let (settings, _) = read(&[], &[&[HOME], set].concat(), &[]).unwrap();
        assert_eq!(settings.permits_per_caller(keys), share, "{set:?} with {keys} keys");
    }
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let port = |flag: &[(&str, &str)], env: &[(&str, &str)], file: &[(&str, &str)]| {
        read(flag, env, file).unwrap().0.port
    };
    let [one, two, three] = [[("PORT", "1")], [("PORT", "2")], [("PORT", "3")]];
    assert_eq!(port(&one, &two, &three), 1);
    assert_eq!(port(&[], &two, &three), 2);
    assert_eq!(port(&[], &[], &three), 3);
    assert_eq!(port(&[], &[("PORT", " ")], &three), 3, "empty counts as unset");
}

#[test]
fn a_layer_of_defaults_replaces_the_default_and_nothing_else() {
    let on_a_terminal = |name: &str| (name == "LOG_FORMAT").then(|| "pretty".to_owned());
    let from_env = |name: &str| (name == "LOG_FORMAT").then(|| "JSON".to_owned());
    let default = Layer { source: Source::Default, lookup: &on_a_terminal };
    let env = Layer { source: Source::Env, lookup: &from_env };
    assert_eq!(Settings::read(&[default]).unwrap().0.log_format, LogFormat::Pretty);
    assert_eq!(Settings::read(&[env, default]).unwrap().0.log_format, LogFormat::Json);
}

#[test]
fn the_memory_limit_of_a_control_group_is_a_default() {
    let of_group = |name: &str| (name == "MEMORY_BUDGET_BYTES").then(|| "96MiB".to_owned());
    let set = |name: &str| (name == "MEMORY_BUDGET_BYTES").then(|| "64MiB".to_owned());
    let group = Layer { source: Source::Cgroup, lookup: &of_group };
    let env = Layer { source: Source::Env, lookup: &set };
    let budget = |layers: &[Layer<'_>]| Settings::read(layers).unwrap().0.memory_budget_bytes;
    assert_eq!(budget(&[]), 1 << 30);
    assert_eq!(budget(&[group]), 96 << 20);
    assert_eq!(budget(&[env, group]), 64 << 20);
    let effective = Settings::effective(&[group]);
    let line = effective.iter().find(|line| line.name == "MEMORY_BUDGET_BYTES").unwrap();
    assert_eq!((line.value.as_str(), line.source.to_string()), ("96MiB", "cgroup".to_owned()));
}

#[test]
fn every_alias_works_when_the_first_name_is_unset() {
    for spec in SETTINGS.iter().filter(|spec| !spec.aliases.is_empty()) {
        let value = match spec.kind {
            Kind::Switch => "false",
            Kind::Bytes { .. } | Kind::Whole { .. } | Kind::Decimal { .. } => "7",
            Kind::Choice(_) | Kind::Text(_) => "some-value",
        };
        for alias in spec.aliases {
            let env = HashMap::from([((*alias).to_owned(), value.to_owned())]);
            let lookup = |name: &str| env.get(name).cloned();
            let layers = [Layer { source: Source::Env, lookup: &lookup }];
            let effective = Settings::effective(&layers);
            let line = effective.iter().find(|line| line.name == spec.name).unwrap();
            assert_eq!((line.source, line.value.as_str()), (Source::Env, &*spec.redacted(value)));
            Settings::read(&layers).unwrap();
        }
    }
    let (settings, _) = read(&[], &[("CLOUDCODE_GCP_PROJECT_ID", "a-b")], &[]).unwrap();
    assert_eq!(code_assist(&settings).project_id.as_deref(), Some("a-b"));
}

#[test]
fn the_first_name_wins_over_an_alias_and_a_disagreement_is_a_warning() {
    let env = [("GEMINI_PROJECT_ID", "mine"), ("GOOGLE_CLOUD_PROJECT", "other"), HOME];
    let (settings, warnings) = read(&[], &env, &[]).unwrap();
    assert_eq!(code_assist(&settings).project_id.as_deref(), Some("mine"));
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        warnings[0].to_string(),
        "GEMINI_PROJECT_ID: GOOGLE_CLOUD_PROJECT is set too, to something else (both in the environment); \
         GEMINI_PROJECT_ID is used"
    );

    let env = [("GEMINI_PROJECT_ID", "same"), ("GOOGLE_CLOUD_PROJECT", "same"), HOME];
    assert_eq!(read(&[], &env, &[]).unwrap().1, []);

    // A stronger source wins even by an alias.
    let env = [("GOOGLE_CLOUD_PROJECT", "env"), HOME];
    let (settings, warnings) = read(&[], &env, &[("GEMINI_PROJECT_ID", "file")]).unwrap();
    assert_eq!((code_assist(&settings).project_id.as_deref(), warnings.len()), (Some("env"), 0));
}

#[test]
fn every_problem_is_reported_at_once_by_name_with_the_range() {
    let env = [
        ("PORT", "65536"),
        ("CIRCUIT_BREAKER_THRESHOLD", "0"),
        ("TOKEN_REFRESH_BUFFER_MINUTES", "31"),
        ("PROJECT_ID_CACHE_TTL_HOURS", "NaN"),
        ("MAX_RETRY_ATTEMPTS", "99999999999999999999999999"),
        ("ENABLE_CONNECTION_POOLING", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("GEMINI_PROJECT_ID", "123456789012"),
        ("CODE_ASSIST_ENDPOINT", "https://fine.example,ftp://not"),
        ("KV_URL", "sqlite:x"),
        ("HOST", "0.0.0.0"),
    ];
    let problems = read(&[], &env, &[]).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for (name, _) in env {
        let of_it = lines.iter().filter(|line| line.starts_with(&format!("{name}: "))).count();
        assert_eq!(of_it, 1, "{name} in {lines:#?}");
    }
    assert_eq!(lines.len(), env.len());
    let all = lines.join("\n");
    for words in [
        "\"65536\" (from the environment) is out of range; wanted: a whole number from 0 to 65535",
        "from 1 to 100",
        "from 1 to 30",
        "a number from 0.1 to 168",
        "from 0 to 10",
        "true or false",
        "one of error, warn, info, debug, trace",
        "is a project number",
        "set PROXY_API_KEYS",
    ] {
        assert!(all.contains(words), "{words} in {all}");
    }
}

#[test]
fn bounds_are_inclusive_and_values_beyond_them_are_refused() {
    for spec in SETTINGS {
        let (inside, outside): (Vec<String>, Vec<String>) = match spec.kind {
            Kind::Bytes { min, max } => (
                vec![min.to_string(), max.to_string(), "3mib".into(), "2 GiB".into()],
                vec![
                    (max + 1).to_string(),
                    (i128::from(min) - 1).to_string(),
                    "64MB".into(),
                    "MiB".into(),
                ],
            ),
            Kind::Whole { min, max } => (
                vec![min.to_string(), max.to_string()],
                vec![(max + 1).to_string(), (i128::from(min) - 1).to_string(), "1.5".into()],
            ),
            Kind::Decimal { min, max } => (
                vec![min.to_string(), max.to_string(), "1.5".into()],
                vec![(max + 0.01).to_string(), (min - 0.01).to_string(), "inf".into()],
            ),
            Kind::Choice(words) => (words.iter().map(|w| w.to_uppercase()).collect(), vec![]),
            Kind::Switch => (
                ["true", "FALSE", "1", "0", "Yes", "no"].map(str::to_owned).into(),
                vec!["2".into(), "on".into()],
            ),
            Kind::Text(_) => continue,
        };
        for value in inside {
            read(&[(spec.name, &value)], &[], &[]).unwrap_or_else(|e| panic!("{value}: {e:?}"));
        }
        for value in outside {
            let problems = read(&[(spec.name, &value)], &[], &[]).unwrap_err();
            assert_eq!(problems[0].name, spec.name, "{value}");
        }
    }
}

#[test]
fn urls_are_bases_without_login() {
    let endpoints = |text: &str| read(&[("CODE_ASSIST_ENDPOINT", text)], &[HOME], &[]);
    let (settings, warnings) = endpoints("https://a.example/x//, https://b.example/").unwrap();
    assert_eq!(settings.upstreams[0].endpoints, ["https://a.example/x", "https://b.example"]);
    assert_eq!(warnings, []);
    assert_eq!(
        endpoints(" , ").unwrap().0.upstreams[0].endpoints,
        ["https://cloudcode-pa.googleapis.com"]
    );
    for plain in ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9/"] {
        assert_eq!(endpoints(plain).unwrap().1, [], "{plain}");
    }
    for bad in [
        "a.example",
        "/x",
        "https://",
        "https://a:b",
        "https://u:p@a.example",
        "https://a.example/?q=1",
    ] {
        endpoints(bad).unwrap_err();
    }
}

#[test]
fn the_store_is_a_file_memory_or_a_server() {
    let kv = |url: &str| read(&[("KV_URL", url)], &[("HOME", "/h")], &[]).map(|(s, _)| s.kv_url);
    assert_eq!(kv("memory:").unwrap(), KvUrl::Memory);
    assert_eq!(kv("file:kv").unwrap(), KvUrl::File("kv".into()));
    assert_eq!(kv("file:///var/kv").unwrap(), KvUrl::File("/var/kv".into()));
    assert_eq!(kv("file:~/kv").unwrap(), KvUrl::File("/h/kv".into()));
    let redis = |url: &str| match kv(url).unwrap() {
        KvUrl::Redis(url) => *url,
        other => panic!("{other:?}"),
    };
    let plain = redis("redis://R.example");
    assert_eq!(plain.to_string(), "redis://r.example:6379/0");
    assert_eq!((plain.tls, plain.user, plain.prefix.as_str()), (false, None, "code-assist-proxy:"));
    let whole = redis("rediss://ada:p%40ss@[::1]:7000/3?prefix=team-a%3A");
    assert_eq!(whole.to_string(), "rediss://[::1]:7000/3");
    assert_eq!((&whole.hosts[..], whole.database), (&[("::1".to_owned(), 7000)][..], 3));
    assert_eq!((whole.user.as_deref(), whole.prefix.as_str()), (Some("ada"), "team-a:"));
    assert_eq!(whole.password.as_ref().unwrap().expose_secret(), "p@ss");
    assert!(!format!("{whole:?}").contains("p@ss"), "{whole:?}");
    let watched = redis("redis://u:p@a,b:7/1?sentinel=main&prefix=x:");
    assert_eq!(watched.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 7)]);
    assert_eq!(watched.to_string(), "redis://a:26379,b:7/1?sentinel=main");
    assert_eq!((watched.sentinel.as_deref(), watched.prefix.as_str()), (Some("main"), "x:"));
    assert_eq!(redis("redis://:old@r/").password.unwrap().expose_secret(), "old");
    for bad in ["kv.redb", "file:", "file:dir/", "memory:x"] {
        kv(bad).unwrap_err();
    }
    for bad in [
        "redis:r",
        "redis://",
        "redis://r:x",
        "redis://a,b",
        "redis://a,/?sentinel=main",
        "redis://a/?sentinel=",
        "redis://r:99999",
        "redis://u:geheim@",
        "redis://geheim@r",
        "redis://u:geheim@r/zero",
        "redis://r?password=geheim",
        "redis://u:geheim@r?prefix=",
        "redis://u:geheim@r#x",
    ] {
        let problem = kv(bad).unwrap_err().remove(0).to_string();
        assert!(!problem.contains("geheim"), "{problem}");
    }
    let warned = |url: &str| read(&[("KV_URL", url)], &[], &[]).unwrap().1.len();
    assert_eq!([warned("redis://r"), warned("rediss://r"), warned("redis://[::1]:7")], [1, 0, 0]);
    let (settings, warnings) = read(&[], &[], &[]).unwrap();
    assert_eq!((settings.kv_url, warnings.len()), (KvUrl::Memory, 1), "no HOME, no file");
    let env = [("XDG_DATA_HOME", "/d"), ("GEMINI_CLI_HOME", "/g")];
    let (settings, _) = read(&[], &env, &[]).unwrap();
    assert_eq!(settings.kv_url, KvUrl::File("/d/code-assist-proxy/kv.redb".into()));
    assert_eq!(
        code_assist(&settings).credentials_file.as_deref(),
        Some("/g/.gemini/oauth_creds.json")
    );
}

#[test]
fn the_stores_key_is_32_bytes_and_may_be_followed_by_the_previous_one() {
    let keys = |text: &str| {
        let (settings, _) = read(&[], &[("KV_ENCRYPTION_KEY", text), ("HOME", "/h")], &[]).ok()?;
        let keys = settings.kv_encryption_key?;
        Some((*keys.first.expose_secret(), keys.second.map(|it| *it.expose_secret())))
    };
    let (hex, base64) = ("0f".repeat(32), format!("{}=", "Dw8P".repeat(11).split_at(43).0));
    let key = Some(([15; 32], None));
    assert_eq!(keys(&hex), key);
    assert_eq!(keys(&hex.to_uppercase()), key);
    assert_eq!(keys(&format!("{}8=", &base64[..42])), key);
    assert_eq!(keys(&format!("{hex}, {}", "00".repeat(32))), Some(([15; 32], Some([0; 32]))));
    for bad in ["hush", "0f", &"0g".repeat(32), &format!("{hex},{hex},{hex}"), ",", &"é".repeat(32)]
    {
        assert_eq!(keys(bad), None, "{bad}");
    }
    let problems = read(&[], &[("KV_ENCRYPTION_KEY", "hush"), ("HOME", "/h")], &[]).unwrap_err();
    assert!(!problems[0].to_string().contains("hush"), "{problems:?}");
}

#[test]
fn aliases_and_origins_are_lists() {
    let flags = [
        ("MODEL_ALIASES", "gpt-4=gemini-3-pro, models/a = models/b,"),
        ("ALLOWED_ORIGINS", "https://App.example/, chrome-extension://abc,http://localhost:3000"),
    ];
    let (settings, _) = read(&flags, &[], &[]).unwrap();
    let alias = |from: &str, to: &str| ModelAlias { from: from.to_owned(), to: to.to_owned() };
    assert_eq!(settings.model_aliases, [alias("gpt-4", "gemini-3-pro"), alias("a", "b")]);
    assert_eq!(
        settings.allowed_origins,
        ["https://app.example", "chrome-extension://abc", "http://localhost:3000"]
    );
    let (settings, _) =
        read(&[("MODEL_ALIASES", "claude-*=p,claude-*haiku*=f,x=y")], &[], &[]).unwrap();
    let closest = [alias("x", "y"), alias("claude-*haiku*", "f"), alias("claude-*", "p")];
    assert_eq!(settings.model_aliases, closest);
    for bad in ["a", "a=", "=b", "a=b,a=c", "a=b=c", "a=b/c", "a=b*"] {
        read(&[("MODEL_ALIASES", bad)], &[], &[]).unwrap_err();
    }
    for (given, read_as) in [
        ("null,file://", &["null", "file://"][..]),
        ("NULL, File:///", &["null", "file://"]),
        ("app://obsidian.md,vscode-webview://0A", &["app://obsidian.md", "vscode-webview://0a"]),
        ("capacitor://localhost", &["capacitor://localhost"]),
        ("*", &["*"]),
    ] {
        let (settings, warnings) = read(&[("ALLOWED_ORIGINS", given)], &[HOME], &[]).unwrap();
        assert_eq!(settings.allowed_origins, read_as, "{given}");
        let is_open = read_as.iter().any(|origin| ["null", "*"].contains(origin));
        assert_eq!(warnings.iter().any(|it| it.name == "ALLOWED_ORIGINS"), is_open, "{given}");
    }
    for bad in
        ["nul", "null/", "file:", "file", "://a", "example.com", "https://a/b", "https://u@a"]
    {
        read(&[("ALLOWED_ORIGINS", bad)], &[], &[]).unwrap_err();
    }
}

#[test]
fn no_secret_is_in_any_problem_warning_listing_or_debug() {
    // Good and bad, once as the first name and once as an alias that disagrees.
    for value in ["hush-9f3", "hush-9f3:,x y", "{\"refresh_token\":\"hush-9f3\"}"] {
        let mut env: Vec<(&str, String)> = vec![
            ("KV_URL", "redis://ada:hush-9f3@r:1".into()),
            ("HTTPS_PROXY", "http://ada:hush-9f3@p:1".into()),
            ("HTTP_PROXY", "ftp://ada:hush-9f3@p:1".into()),
            ("CODE_ASSIST_ENDPOINT", "https://a,https://ada:hush-9f3@b".into()),
            ("OAUTH_TOKEN_URL", "https://a/?key=hush-9f3".into()),
            ("GEMINI_OAUTH_CREDS_FILE", "{\"refresh_token\":\"hush-9f3\"}".into()),
        ];
        for spec in SETTINGS.iter().filter(|spec| spec.secrecy == Secrecy::Secret) {
            env.extend(spec.names().enumerate().map(|(i, n)| (n, format!("{value}{i}"))));
        }
        for bad_ones in [true, false] {
            if !bad_ones {
                let keys = ["PROXY_API_KEYS", "GEMINI_API_KEY", "GOOGLE_API_KEY", "VERTEX_API_KEY"];
                env.retain(|(name, _)| {
                    let bad = ["KV_URL", "KV_ENCRYPTION_KEY", "HTTP_PROXY", "CODE_ASSIST_ENDPOINT"];
                    let more = ["OAUTH_TOKEN_URL", "GEMINI_OAUTH_CREDS_FILE", "PROXY_KEYS_JSON"];
                    !bad.contains(name)
                        && !more.contains(name)
                        && *name != "OTEL_EXPORTER_OTLP_HEADERS"
                        && (value == "hush-9f3" || !keys.contains(name))
                });
            }
            let map: HashMap<_, _> = env.iter().cloned().collect();
            let lookup = |name: &str| map.get(name).cloned();
            let layers = [Layer { source: Source::Env, lookup: &lookup }];
            let read = Settings::read(&layers);
            assert_eq!(read.is_err(), bad_ones, "{read:?}");
            let mut printed = format!("{read:?} {:?}", Settings::effective(&layers));
            match read {
                Ok((_, warnings)) => warnings.iter().for_each(|w| printed += &w.to_string()),
                Err(problems) => problems.iter().for_each(|p| printed += &p.to_string()),
            }
            assert!(!printed.contains("hush"), "{printed}");
            assert!(printed.contains("***") || bad_ones);
        }
    }
}

#[test]
fn the_table_is_consistent() {
    let mut names: Vec<&str> = SETTINGS.iter().flat_map(SettingSpec::names).collect();
    let total = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), total, "no name twice");
    for spec in SETTINGS {
        assert_eq!(find(&spec.name.to_lowercase()).unwrap().name, spec.name);
        assert!(spec.doc.ends_with('.'), "{}", spec.name);
        assert!(Group::ALL.contains(&spec.group));
    }
}

pub(super) fn read(
    flags: &[(&str, &str)],
    env: &[(&str, &str)],
    file: &[(&str, &str)],
) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
    let look_up = |pairs: &[(&str, &str)], name: &str| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Settings::read(&[
        Layer { source: Source::Flag, lookup: &|name| look_up(flags, name) },
        Layer { source: Source::Env, lookup: &|name| look_up(env, name) },
        Layer { source: Source::File, lookup: &|name| look_up(file, name) },
    ])
}

pub(super) const HOME: (&str, &str) = ("HOME", "/home/ada");
