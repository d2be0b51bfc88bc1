use serde_json::{Value, json};

use super::*;
use crate::policy::budget::Cost;
use crate::settings::{Layer, Machine, Settings, Source};

const HUSH: &str = "hush-hush-hush-hush";

fn hash() -> String {
    format!("sha256:{}", KeyDigest::of(HUSH))
}

/// A table with an id, the digest of a key that only this id has, and `more`.
fn table(id: &str, more: Value) -> Value {
    let mut table = json!({"id": id, "hash": format!("sha256:{}", KeyDigest::of(id))});
    let (Value::Object(members), Value::Object(more)) = (&mut table, more) else { panic!() };
    members.extend(more);
    table
}

fn read_with(
    env: &[(&str, &str)],
    keys: Vec<Value>,
    prices: Vec<Value>,
) -> Result<(Settings, Vec<String>), Vec<String>> {
    let lookup = |name: &str| {
        let all = [&[("HOME", "/home/ada")], env].concat();
        all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let layers = [Layer { source: Source::Env, lookup: &lookup }];
    let key_tables = KeyTables { keys, prices };
    let machine = Machine { file: Some("c.toml"), key_tables: &key_tables, ..Machine::default() };
    match Settings::read_on(&layers, &machine) {
        Ok((settings, warnings)) => {
            Ok((settings, warnings.iter().map(ToString::to_string).collect()))
        }
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

fn read(keys: Vec<Value>, prices: Vec<Value>) -> Result<(Settings, Vec<String>), Vec<String>> {
    read_with(&[], keys, prices)
}

fn problems(keys: Vec<Value>) -> Vec<String> {
    read(keys, Vec::new()).unwrap_err()
}

#[test]
fn every_key_of_a_table_is_read() {
    let ada = json!({
        "id": "ada", "hash": hash(), "models": ["gemini-2.5-*", "models/x"],
        "upstreams": ["gemini-api", "code-assist"], "requests_per_minute": 60,
        "tokens_per_minute": 200_000, "tokens_per_day": 2_000_000, "tokens_per_month": 0,
        "cost_per_month": 50, "max_concurrent": 10, "expires": "2027-01-31T00:00:00Z",
        "credentials": "~/ada.json", "project": "ada-project", "code_assist_protocol": "off",
        "admin": true,
    });
    let prices = vec![
        json!({"model": "gemini-2.5-pro", "input": 1.25, "cached": 0.31, "output": 10.0}),
        json!({"model": "*", "input": 1, "output": 2}),
    ];
    let env = [("UPSTREAMS", "code-assist,gemini-api"), ("GEMINI_API_KEY", "AIza-1")];
    let (settings, warnings) = read_with(&env, vec![ada, table("bob", json!({}))], prices).unwrap();
    assert_eq!(warnings, [""; 0]);
    let [ada, bob] = &settings.keys[..] else { panic!() };
    assert_eq!((&*ada.id, ada.digest), ("ada", KeyDigest::of(HUSH)));
    assert!(ada.allows_model("gemini-2.5-pro") && ada.allows_model("x"));
    assert!(!ada.allows_model("gemini-3-pro"));
    assert_eq!(
        ada.upstreams.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["gemini-api", "code-assist"]
    );
    assert_eq!(ada.requests_per_minute, Some(60));
    let limits = Limits {
        tokens_per_minute: Some(200_000),
        tokens_per_day: Some(2_000_000),
        tokens_per_month: None,
        cost_per_month: Some(Cost(50_000_000_000)),
        max_concurrent: Some(10),
    };
    assert_eq!(ada.limits, limits);
    assert_eq!(ada.expires.unwrap().rfc3339(), "2027-01-31T00:00:00Z");
    let own = ada.own.as_ref().unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&own.credentials), "/home/ada/ada.json");
    assert_eq!(own.project.as_deref(), Some("ada-project"));
    assert_eq!(ada.code_assist_protocol, Some(AllowedProtocol::Off));
    assert!(ada.admin);
    assert!(bob.limits.are_none() && bob.own.is_none() && bob.expires.is_none() && !bob.admin);
    assert!(bob.allows_model("anything") && bob.upstreams.is_empty());
    let price = |model| *price_of(&settings.prices, model).unwrap();
    let pro = Price {
        input: Cost(1_250_000_000),
        cached: Cost(310_000_000),
        output: Cost(10_000_000_000),
    };
    assert_eq!(price("gemini-2.5-pro"), pro);
    assert_eq!(price("x").cached, Cost(1_000_000_000));
    assert_eq!(settings.number_of_keys(), 2);
}

#[test]
fn two_tables_with_one_id_are_one_holder() {
    let second = json!({"id": "ada", "hash": hash()});
    let (settings, _) = read(vec![table("ada", json!({})), second], Vec::new()).unwrap();
    assert_eq!((settings.keys.len(), settings.number_of_keys()), (2, 1));
}

#[test]
fn a_table_that_cannot_be_right_is_a_problem_that_says_what_to_do() {
    let place = "key ada in c.toml";
    for (more, expected) in [
        (json!({"hash": 7}), format!("hash of {place}: is no string; wanted: `sha256:`")),
        (
            json!({"hash": "sha256:00"}),
            format!("hash of {place}: is no such digest; wanted: `sha256:`"),
        ),
        (json!({"hash": "md5:00"}), format!("hash of {place}: is no such digest")),
        (json!({"key": HUSH}), format!("{place}: has both hash and key; remove key")),
        (json!({"models": []}), format!("models of {place}: is empty; remove it to allow all")),
        (json!({"models": 7}), format!("models of {place}: is no list of strings; wanted: a list")),
        (
            json!({"models": ["a b"]}),
            format!("models of {place}: has an entry that is no model name"),
        ),
        (json!({"upstreams": [""]}), format!("upstreams of {place}: is empty")),
        (
            json!({"upstreams": ["vertex", "code-assist", "x"]}),
            format!(
                "upstreams of {place}: names vertex, x, and the upstreams in use are code-assist (UPSTREAMS)"
            ),
        ),
        (
            json!({"upstreams": ["code-assist", "code-assist"]}),
            format!("upstreams of {place}: names code-assist twice"),
        ),
        (
            json!({"requests_per_minute": -1}),
            format!(
                "requests_per_minute of {place}: is out of range; wanted: a whole number from 0 to 1000000"
            ),
        ),
        (
            json!({"requests_per_minute": 1_000_001}),
            format!("requests_per_minute of {place}: is out of range"),
        ),
        (
            json!({"tokens_per_day": 1.5}),
            format!("tokens_per_day of {place}: is no whole number; wanted: a whole number from 0"),
        ),
        (json!({"tokens_per_minute": "9"}), format!("tokens_per_minute of {place}: is no number")),
        (json!({"tokens_per_month": true}), format!("tokens_per_month of {place}: is no number")),
        (json!({"max_concurrent": 100_001}), format!("max_concurrent of {place}: is out of range")),
        (json!({"cost_per_month": -1}), format!("cost_per_month of {place}: is negative")),
        (json!({"cost_per_month": null}), format!("cost_per_month of {place}: is no number")),
        (
            json!({"cost_per_month": 1}),
            format!(
                "cost_per_month of {place}: needs a price for every model that the key may use, and no \
                     [[price]] table covers *; add one"
            ),
        ),
        (
            json!({"expires": "2027-01-31"}),
            format!("expires of {place}: is no such time; wanted: a time with its zone, as 2027"),
        ),
        (json!({"expires": "2027-01-31T00:00:00"}), format!("expires of {place}: is no such time")),
        (
            json!({"expires": "9999-12-31T23:59:59Z"}),
            format!("expires of {place}: is too late; without `expires` the key never ends"),
        ),
        (json!({"expires": "1960-01-31T00:00:00Z"}), format!("expires of {place}: is before 1970")),
        (
            json!({"credentials": "ya29.hush"}),
            format!("credentials of {place}: is neither a JSON object"),
        ),
        (
            json!({"credentials": "/a.json", "project": "123"}),
            format!("project of {place}: is a project number"),
        ),
        (
            json!({"project": "p"}),
            format!("project of {place}: is that of credentials, and there are none"),
        ),
        (
            json!({"code_assist_protocol": "some"}),
            format!(
                "code_assist_protocol of {place}: is none of them; wanted: one of off, generate, all"
            ),
        ),
        (json!({"admin": "yes"}), format!("admin of {place}: is neither; wanted: true or false")),
        (
            json!({"tokens_per_dya": 1}),
            format!(
                "tokens_per_dya of {place}: is not a key of these tables; did you mean tokens_per_day?"
            ),
        ),
        (
            json!({"Admin": true}),
            format!(
                "Admin of {place}: is not a key of these tables; keys are in lower case: admin"
            ),
        ),
    ] {
        let found = problems(vec![table("ada", more.clone())]);
        assert_eq!(found.len(), 1, "{more}: {found:#?}");
        assert!(found[0].starts_with(&expected), "{expected}\n{found:#?}");
        assert!(!found[0].contains("hush"), "{found:#?}");
    }
    for (value, expected) in [
        (json!(1), "[[key]] 1 in c.toml: must be a table under the line [[key]]"),
        (json!({"hash": hash()}), "[[key]] 1 in c.toml: has no id; wanted: at most 32"),
        (
            json!({"id": "Ada", "hash": hash()}),
            "id of [[key]] 1 in c.toml: is no name; wanted: at most 32",
        ),
        (
            json!({"id": "ada"}),
            "key ada in c.toml: has neither hash nor key; `code-assist-proxy keys new ID`",
        ),
        (
            json!({"id": "ada", "key": "hush hush"}),
            "key of key ada in c.toml: is something else; wanted: visible ASCII",
        ),
    ] {
        let found = problems(vec![value]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn all_problems_of_all_tables_are_reported_at_once() {
    let found = problems(vec![
        table("ada", json!({"admin": 1, "expires": 1})),
        json!({"id": "bob"}),
        json!([]),
    ]);
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn a_key_that_is_set_twice_is_a_problem_wherever_it_is_set() {
    let two = vec![
        json!({"id": "ada", "hash": hash()}),
        json!({"id": "ada", "hash": hash().to_uppercase().replace("SHA", "sha")}),
    ];
    assert_eq!(
        problems(two),
        [
            "hash of key ada ([[key]] 2) in c.toml: is that of key ada in c.toml; each table needs a key of \
          its own"
        ]
    );
    for (keys, place) in [
        (format!("team:{HUSH}"), "team in PROXY_API_KEYS"),
        (HUSH.to_owned(), "entry 1 of PROXY_API_KEYS"),
    ] {
        let env = [("PROXY_API_KEYS", &*keys)];
        let found =
            read_with(&env, vec![json!({"id": "ada", "key": HUSH})], Vec::new()).unwrap_err();
        assert_eq!(
            found,
            [format!(
                "key of key ada in c.toml: is that of {place}; each table needs a key of its own"
            )]
        );
    }
    let env = [("PROXY_API_KEYS", "ada:0123456789abcdef")];
    let found = read_with(&env, vec![table("ada", json!({}))], Vec::new()).unwrap_err();
    assert_eq!(
        found,
        [
            "id of key ada in c.toml: is also the name of a key in PROXY_API_KEYS; give one of them another \
          name"
        ]
    );
}

#[test]
fn a_key_in_the_file_is_a_warning_and_a_short_one_on_a_network_a_problem() {
    let on = |host, key: &str| {
        read_with(&[("HOST", host)], vec![json!({"id": "ada", "key": key})], Vec::new())
    };
    let (settings, warnings) = on("0.0.0.0", HUSH).unwrap();
    assert_eq!(settings.keys[0].digest, KeyDigest::of(HUSH));
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].starts_with("key of key ada in c.toml: is the key itself; with `hash`"));
    assert!(!format!("{warnings:?}{settings:?}").contains(HUSH));
    let (_, warnings) = on("127.0.0.1", "short").unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("it has fewer than 16 characters"), "{warnings:#?}");
    let found = on("0.0.0.0", "short").unwrap_err();
    assert!(found[0].contains("it has fewer than 8 characters"), "{found:#?}");
}

#[test]
fn tables_let_the_proxy_listen_on_a_network_even_if_they_have_problems_of_their_own() {
    let host = [("HOST", "0.0.0.0")];
    read_with(&host, vec![table("ada", json!({}))], Vec::new()).unwrap();
    assert_eq!(read_with(&host, vec![json!({"id": "ada"})], Vec::new()).unwrap_err().len(), 1);
    let found = read_with(&host, Vec::new(), Vec::new()).unwrap_err();
    assert!(found[0].contains("set PROXY_API_KEYS or add [[key]] tables"), "{found:#?}");
}

#[test]
fn a_cost_needs_prices_that_cover_every_allowed_model() {
    let price = |model: &str| json!({"model": model, "input": 1, "output": 1});
    for (models, prices, missing) in [
        (json!(null), &["*"][..], None),
        (json!(null), &["gemini-*"], Some("*")),
        (json!(["gemini-2.5-*"]), &["gemini-*"], None),
        (json!(["gemini-*"]), &["gemini-2.5-*"], Some("gemini-*")),
        (json!(["a", "b", "c-*"]), &["b"], Some("a, c-*")),
        (json!(["a", "b"]), &["a", "b"], None),
    ] {
        let mut more = json!({"cost_per_month": 1});
        if !models.is_null() {
            more["models"] = models;
        }
        let prices: Vec<Value> = prices.iter().map(|it| price(it)).collect();
        let found = read(vec![table("ada", more)], prices);
        match (found, missing) {
            (Ok(_), None) => {}
            (Err(found), Some(missing)) => {
                assert_eq!(found.len(), 1);
                assert!(found[0].contains(&format!("covers {missing}; add")), "{found:#?}");
            }
            (found, missing) => panic!("{found:?} {missing:?}"),
        }
    }
}

#[test]
fn a_price_is_whole_and_not_negative_and_one_that_never_counts_is_a_warning() {
    let place = "[[price]] 1 in c.toml";
    for (price, expected) in [
        (
            json!({"model": "*", "input": -1, "output": 1}),
            format!("input of {place}: is negative; wanted: a number from 0 to 1000000"),
        ),
        (
            json!({"model": "*", "input": 1, "output": 1, "cached": 1e7}),
            format!("cached of {place}: is out of range"),
        ),
        (json!({"model": "*", "input": 1}), format!("{place}: has no output; wanted: a number")),
        (
            json!({"model": "a/b", "input": 1, "output": 1}),
            format!("model of {place}: is no model name"),
        ),
        (
            json!({"model": "*", "input": "1", "output": 1}),
            format!("input of {place}: is no number"),
        ),
        (
            json!({"model": "*", "input": 1, "output": 1, "outptu": 1}),
            format!("outptu of {place}: is not a key of these tables; did you mean output?"),
        ),
        (json!("x"), format!("{place}: must be a table under the line [[price]]")),
    ] {
        let found = read(Vec::new(), vec![price]).unwrap_err();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&expected), "{expected}\n{found:#?}");
    }
    let prices =
        ["gemini-*", "gemini-2.5-pro"].map(|it| json!({"model": it, "input": 1, "output": 1}));
    let (_, warnings) = read(Vec::new(), prices.to_vec()).unwrap();
    assert_eq!(
        warnings,
        [
            "[[price]] 2 in c.toml: never counts, since gemini-* in a table above it covers the same models; \
          put it first"
        ]
    );
}

#[test]
fn the_tables_may_be_a_setting_but_not_in_two_places() {
    let tables = json!({"key": [{"id": "ada", "hash": hash()}], "price": []}).to_string();
    let env = [("PROXY_KEYS_JSON", &*tables)];
    let (settings, _) = read_with(&env, Vec::new(), Vec::new()).unwrap();
    assert_eq!(&*settings.keys[0].id, "ada");
    let found = read_with(&env, vec![table("bob", json!({}))], Vec::new()).unwrap_err();
    assert_eq!(
        found,
        [
            "PROXY_KEYS_JSON: is set, and c.toml has [[key]] or [[price]] tables too; remove one of them"
        ]
    );
    for (text, expected) in [
        ("", "is set and empty"),
        ("hush", "is no JSON (line 1, column 1)"),
        ("[]", "is no JSON object"),
        ("{\"keys\":[]}", "has something else than `key` and `price`"),
        ("{\"key\":{}}", "has a `key` or `price` that is no list"),
        ("{\"key\":[{\"id\":\"ada\"}]}", "key ada in PROXY_KEYS_JSON: has neither hash nor key"),
        ("{\"key\":[{}]}", "[[key]] 1 in PROXY_KEYS_JSON: has no id"),
    ] {
        let found = read_with(&[("PROXY_KEYS_JSON", text)], Vec::new(), Vec::new()).unwrap_err();
        assert!(found.iter().any(|it| it.contains(expected)), "{expected}\n{found:#?}");
        assert!(!found.concat().contains("hush"), "{found:#?}");
    }
}

#[test]
fn own_credentials_need_an_upstream_of_code_assist_in_the_keys_list() {
    let env = [("UPSTREAMS", "code-assist,gemini-api"), ("GEMINI_API_KEY", "AIza-1")];
    let with = |upstreams: Value| {
        let more = json!({"credentials": "{\"refresh_token\":\"hush\"}", "upstreams": upstreams});
        read_with(&env, vec![table("ada", more)], Vec::new())
    };
    let (settings, _) = with(json!(["gemini-api", "code-assist"])).unwrap();
    assert!(settings.keys[0].own.is_some());
    let found = with(json!(["gemini-api"])).unwrap_err();
    assert!(found[0].contains("names no upstream of the provider code-assist"), "{found:#?}");
}

#[test]
fn the_endpoint_of_own_credentials_is_the_operators_wherever_the_tables_are() {
    let endpoint = "https://assist.example";
    let more = json!({"credentials": "/ada.json"});
    let tables = vec![table("ada", more)];
    let json = json!({ "key": tables }).to_string();
    let env = [
        ("UPSTREAMS", "gemini-api"),
        ("GEMINI_API_KEY", "AIza-1"),
        ("CODE_ASSIST_ENDPOINT", endpoint),
    ];
    let (of_file, _) = read_with(&env, tables, Vec::new()).unwrap();
    let with_json = [&env[..], &[("PROXY_KEYS_JSON", &*json)]].concat();
    let (of_json, _) = read_with(&with_json, Vec::new(), Vec::new()).unwrap();
    for settings in [of_file, of_json] {
        assert_eq!(settings.code_assist_endpoints, [endpoint]);
    }
}

#[test]
fn a_worker_has_the_tables_as_json_and_no_paths() {
    let read = |credentials: &str| {
        let tables =
            json!({"key": [table("ada", json!({"credentials": credentials}))]}).to_string();
        let env = |name: &str| (name == "PROXY_KEYS_JSON").then(|| tables.clone());
        let layers = [Layer { source: Source::Env, lookup: &env }];
        let machine = Machine { is_on_network: true, has_path: None, ..Machine::default() };
        Settings::read_on(&layers, &machine)
    };
    assert_eq!(read("{\"refresh_token\":\"hush\"}").unwrap().0.keys.len(), 1);
    let found = read("/ada.json").unwrap_err();
    assert!(found[0].text.contains("a Worker has no files"), "{found:?}");
}

#[test]
fn an_emulator_has_no_account_but_its_own_and_only_its_upstreams() {
    let more = json!({"credentials": "/ada.json", "upstreams": ["team", "code-assist"]});
    let tables = KeyTables { keys: vec![table("ada", more)], prices: Vec::new() };
    let machine =
        Machine { key_tables: &tables, emulated: Some(&["code-assist"]), ..Machine::default() };
    let (settings, _) = Settings::read_on(&[], &machine).unwrap();
    assert!(settings.keys[0].own.is_none());
    assert_eq!(
        settings.keys[0].upstreams.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["code-assist"]
    );
}
