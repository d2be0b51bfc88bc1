//! Settings that protect the account: keys, allowed hosts, encryption.

use super::tests::{HOME, read};
use secrecy::ExposeSecret;

use super::*;

#[test]
fn a_key_setting_that_is_set_and_empty_is_a_problem_in_every_layer() {
    for name in ["PROXY_API_KEYS", "KV_ENCRYPTION_KEY"] {
        let good = "0f".repeat(32);
        for blank in ["", " ", "\t\n"] {
            let expected = |place: &str| {
                format!(
                    "{name}: is set and empty (in {place}), which protects nothing; give it a value, \
                     or remove it"
                )
            };
            let problem = |env: &[(&str, &str)], file: &[(&str, &str)]| {
                read(&[], env, file).unwrap_err().remove(0).to_string()
            };
            assert_eq!(problem(&[(name, blank)], &[]), expected("the environment"));
            assert_eq!(problem(&[], &[(name, blank)]), expected("the settings file"));
            // The key of the file does not replace it: the operator would not notice that.
            assert_eq!(problem(&[(name, blank)], &[(name, &good)]), expected("the environment"));
            read(&[], &[(name, &good), HOME], &[(name, blank)]).unwrap();
        }
        read(&[], &[HOME], &[]).unwrap();
    }
}

#[test]
fn a_short_key_is_a_warning_and_on_a_network_a_very_short_one_a_problem() {
    let on = |host: &str, keys: &str| {
        read(&[("HOST", host)], &[("PROXY_API_KEYS", keys), HOME], &[])
            .map(|(_, warnings)| warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let sixteen = "0123456789abcdef";
    for host in ["127.0.0.1", "0.0.0.0"] {
        assert_eq!(on(host, sixteen).unwrap(), [""; 0]);
        assert_eq!(
            on(host, "0123456789abcde,ada:12345678").unwrap(),
            [
                "PROXY_API_KEYS: key 1 has fewer than 16 characters; `openssl rand -hex 32` makes a \
                 good one",
                "PROXY_API_KEYS: the key of ada has fewer than 16 characters; `openssl rand -hex 32` \
                 makes a good one"
            ]
        );
    }
    assert_eq!(on("127.0.0.1", "x").unwrap().len(), 1);
    let problems = on("0.0.0.0", &format!("{sixteen},ada:1234567")).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "PROXY_API_KEYS: the key of ada has fewer than 8 characters and can be guessed over the \
         network; `openssl rand -hex 32` makes a good one"
    );
    let env = |name: &str| (name == "PROXY_API_KEYS").then(|| "1234567".to_owned());
    let layers = [Layer { source: Source::Env, lookup: &env }];
    let worker = Machine { is_on_network: true, ..Machine::default() };
    assert_eq!(Settings::read_on(&layers, &worker).unwrap_err().len(), 1);
}

#[test]
fn plain_http_to_another_machine_must_be_allowed_explicitly() {
    for name in ["CODE_ASSIST_ENDPOINT", "OAUTH_TOKEN_URL", "OAUTH_TOKENINFO_URL"] {
        for url in ["http://a.example/x", "http://192.0.2.1:9", "http://localhost.a.example"] {
            let problems = read(&[(name, url)], &[HOME], &[]).unwrap_err();
            assert_eq!((problems.len(), problems[0].name.as_str()), (1, name), "{url}");
            assert!(problems[0].text.contains("ALLOW_INSECURE_UPSTREAM=true"), "{problems:?}");
            let allowed = [(name, url), ("ALLOW_INSECURE_UPSTREAM", "true")];
            let (_, warnings) = read(&allowed, &[HOME], &[]).unwrap();
            assert!(warnings[0].text.contains("in the clear"), "{warnings:?}");
        }
        for url in
            ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9/", "https://a.example"]
        {
            assert_eq!(read(&[(name, url)], &[HOME], &[]).unwrap().1, [], "{url}");
        }
    }
    let one_of_two = ("CODE_ASSIST_ENDPOINT", "https://a.example,http://b.example");
    read(&[one_of_two], &[HOME], &[]).unwrap_err();
}

#[test]
fn allowed_hosts_are_names_with_or_without_a_port() {
    let hosts = |text: &str| {
        read(&[("ALLOWED_HOSTS", text)], &[HOME], &[]).map(|(settings, _)| settings.allowed_hosts)
    };
    let listed = |names: &[(&str, Option<u16>)]| {
        let host = |(name, port): &(&str, Option<u16>)| AllowedHost {
            name: (*name).to_owned(),
            port: *port,
        };
        AllowedHosts::Listed(names.iter().map(host).collect())
    };
    assert_eq!(
        hosts("Proxy.LAN, proxy:8787,a.example.,").unwrap(),
        listed(&[("proxy.lan", None), ("proxy", Some(8787)), ("a.example", None)])
    );
    assert_eq!(
        hosts("[fe80::1]:80,192.0.2.1").unwrap(),
        listed(&[("fe80::1", Some(80)), ("192.0.2.1", None)])
    );
    assert_eq!(hosts("").unwrap(), listed(&[]));
    for bad in ["*", "*.lan", "http://a", "a/b", "a:b", "a:99999", "u@a", "a b", "a:80:80"] {
        assert_eq!(hosts(bad).unwrap_err()[0].name, "ALLOWED_HOSTS", "{bad}");
    }
}

#[test]
fn a_host_name_without_an_address_is_reported_with_its_source_before_keys_are_asked_for() {
    let conda = |name: &str| (name == "HOST").then(|| "x86_64-conda-linux-gnu".to_owned());
    let read_from = |source, has_host: &dyn Fn(&str) -> bool| {
        let machine = Machine { file: Some("/etc/proxy.toml"), has_host, ..Machine::default() };
        let layers = [Layer { source, lookup: &conda }];
        let problems = Settings::read_on(&layers, &machine).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    };
    for (source, expected) in [
        (
            Source::Env,
            "HOST: x86_64-conda-linux-gnu (from the environment) is no address of this machine: \
             unset HOST, or set HOST=127.0.0.1",
        ),
        (
            Source::Flag,
            "HOST: x86_64-conda-linux-gnu (from a flag) is no address of this machine: set \
             HOST=127.0.0.1",
        ),
        (
            Source::File,
            "HOST: x86_64-conda-linux-gnu (from /etc/proxy.toml) is no address of this machine: \
             set HOST=127.0.0.1",
        ),
    ] {
        assert_eq!(read_from(source, &|_| false), expected);
        assert!(read_from(source, &|_| true).contains("without keys"));
    }
    assert!(read_from(Source::Env, &|_| true).contains("HOST is from the environment: unset it"));
    let never = |host: &str| -> bool { panic!("{host} was looked up") };
    for host in ["127.0.0.1", "::1", "[::1]", "localhost", " ", "0.0.0.0"] {
        let machine = Machine { has_host: &never, ..Machine::default() };
        let lookup = |name: &str| match name {
            "HOST" => Some(host.to_owned()),
            "PROXY_API_KEYS" => Some("0123456789abcdef".to_owned()),
            _ => None,
        };
        let layers = [Layer { source: Source::Env, lookup: &lookup }];
        Settings::read_on(&layers, &machine).unwrap();
    }
}

#[test]
fn a_public_address_needs_keys_or_an_explicit_yes() {
    for host in ["0.0.0.0", "::", "[::]", "192.168.1.7", "proxy.example", "localhost.example"] {
        let problems = read(&[("HOST", host)], &[], &[]).unwrap_err();
        assert_eq!((problems.len(), problems[0].name.as_str()), (1, "HOST"), "{host}");
        read(&[("HOST", host)], &[("PROXY_API_KEYS", "0123456789abcdef")], &[]).unwrap();
        let allowed = [("HOST", host), ("ALLOW_UNAUTHENTICATED", "yes")];
        let (_, warnings) = read(&allowed, &[HOME], &[]).unwrap();
        assert_eq!(warnings[0].name, "ALLOW_UNAUTHENTICATED");
        read(&[("HOST", host)], &[("PROXY_API_KEYS", " , ")], &[]).unwrap_err();
    }
    for host in ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"] {
        assert!(read(&[("HOST", host)], &[], &[]).unwrap().0.is_loopback(), "{host}");
    }
    for host in ["127.1", "a b", "http://x", "127.0.0.1:80", "[::1]:80", "a..b", "localhost:80"] {
        read(&[("HOST", host)], &[("PROXY_API_KEYS", "0123456789abcdef")], &[]).unwrap_err();
    }
}

#[test]
fn keys_are_split_at_the_first_colon() {
    let keys = |text: &str| {
        read(&[], &[("PROXY_API_KEYS", text)], &[]).map(|(settings, _)| {
            let shown = settings.api_keys.into_iter();
            shown.map(|it| (it.name, it.key.expose_secret().to_owned())).collect::<Vec<_>>()
        })
    };
    let named = |name: &str, key: &str| (Some(name.to_owned()), key.to_owned());
    assert_eq!(
        keys("plain, ada:k1 ,bob:k:2,").unwrap(),
        [(None, "plain".to_owned()), named("ada", "k1"), named("bob", "k:2")]
    );
    for bad in ["a:", ":k", "a b:k", "a:k1,a:k2", "a:k,b:k", "k\u{e9}y", ","] {
        let problems = keys(bad).unwrap_err();
        assert_eq!(problems[0].name, "PROXY_API_KEYS", "{bad}");
    }
}
