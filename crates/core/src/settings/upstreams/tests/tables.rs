//! The `[[upstream]]` tables.

use secrecy::ExposeSecret;

use super::*;
use crate::settings::tests::HOME;

#[test]
fn tables_are_upstreams_in_their_order_unless_a_setting_orders_them() {
    let mut paid = table("paid", "gemini-api");
    paid.api_key = Some("AIza-2".into());
    paid.models = vec!["gemini-2.5-*".into(), "models/x".into()];
    paid.model_map = vec![("a".into(), "models/b".into())];
    let mut eu = table("eu", "vertex");
    eu.project = Some("p".into());
    eu.location = Some("eu".into());
    eu.api_version = Some("v1".into());
    let mut work = table("work", "code-assist");
    work.credentials = Some("~/w.json".into());
    work.endpoint = Some("https://a.example,https://b.example".into());
    let tables = [paid, eu, work];
    let (settings, warnings) = read(&[HOME], &tables).unwrap();
    assert_eq!((names(&settings), warnings.len()), (vec!["paid", "eu", "work"], 0));
    let [paid, eu, work] = &settings.upstreams[..] else { panic!() };
    assert!(paid.serves("gemini-2.5-pro") && paid.serves("x") && !paid.serves("y"));
    assert_eq!(paid.model_map, [ModelAlias { from: "a".into(), to: "b".into() }]);
    assert_eq!(eu.endpoints, ["https://aiplatform.eu.rep.googleapis.com"]);
    assert!(eu.serves("anything"));
    assert_eq!(work.endpoints, ["https://a.example", "https://b.example"]);
    let AccountSettings::CodeAssist(account) = &work.account else { panic!("{work:?}") };
    assert_eq!(account.credentials_file.as_deref(), Some("/home/ada/w.json"));
    assert_eq!(names(&good_with(&[HOME, ("UPSTREAMS", "work,paid")], &tables)), ["work", "paid"]);

    // A short setting adds an upstream, which only UPSTREAMS brings into use.
    let key = ("GEMINI_API_KEY", "AIza-1");
    let settings = good_with(&[HOME, key], &tables);
    assert_eq!(names(&settings), ["paid", "eu", "work"]);
    assert_eq!(settings.unused_upstreams[0].hint, "UPSTREAMS=paid,eu,work,gemini-api");
    let settings = good_with(&[HOME, key, ("UPSTREAMS", "paid,gemini-api")], &tables);
    assert_eq!(names(&settings), ["paid", "gemini-api"]);
}

#[test]
fn a_table_with_the_name_of_its_provider_takes_the_rest_from_the_short_settings() {
    let mut gemini = table("gemini-api", "gemini-api");
    gemini.models = vec!["a*".into()];
    let set = [HOME, ("GEMINI_API_KEY", "AIza-1")];
    let settings = good_with(&set, &[gemini.clone()]);
    let AccountSettings::GeminiApi(account) = &settings.upstreams[0].account else { panic!() };
    assert_eq!(account.api_key.expose_secret(), "AIza-1");
    assert!(!settings.upstreams[0].serves("b"));
    gemini.api_key = Some("AIza-1".into());
    good_with(&set, &[gemini.clone()]);
    gemini.api_key = Some("AIza-other".into());
    let problems = read(&set, &[gemini]).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "api_key of upstream gemini-api in the settings file: GEMINI_API_KEY (from the environment) says \
         something else; unset it, or give the table another name"
    );
    assert_eq!(problems.len(), 1);
    // The CLI's file is the default of the namesake of Code Assist, and a default is no conflict.
    let mut work = table("code-assist", "code-assist");
    good_with(&[HOME], std::slice::from_ref(&work));
    work.credentials = Some("/w.json".into());
    good_with(&[HOME], std::slice::from_ref(&work));
    read(&[HOME, ("GCP_SERVICE_ACCOUNT", "{}")], &[work]).unwrap_err();
}

#[test]
fn every_mistake_in_tables_is_reported_at_once_and_no_secret_is_shown() {
    let mut odd = table("Odd", "gemini-api");
    odd.api_key = Some("hush hush".into());
    let mut clear = table("clear", "gemini-api");
    clear.api_key = Some("hush".into());
    clear.endpoint = Some("http://g.example".into());
    clear.location = Some("eu".into());
    clear.models = vec!["a/b".into()];
    clear.model_map =
        vec![("a".into(), "b/c".into()), ("x".into(), "y".into()), ("x".into(), "z".into())];
    let mut far = table("far", "vertex");
    far.project = Some("p".into());
    far.location = Some("evil.example/".into());
    far.credentials = Some("ya29.hush".into());
    let tables = [
        odd,
        clear,
        far,
        table("", "vertex"),
        table("none", ""),
        table("what", "openai"),
        table("vertex", "gemini-api"),
        table("auto", "vertex"),
        table("bare", "vertex"),
        table("bare", "vertex"),
        table("work", "code-assist"),
        table("keyless", "gemini-api"),
    ];
    let problems = read(&[HOME], &tables).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let all = lines.join("\n");
    let file = "in the settings file";
    for line in [
        format!("name of [[upstream]] 1 {file}: \"Odd\" is no name of an upstream"),
        format!("location of upstream clear {file}: is nothing that the provider gemini-api has"),
        format!("models of upstream clear {file}: has an entry that is no model name"),
        format!("model_map of upstream clear {file}: has an entry that is not two model names"),
        format!("model_map of upstream clear {file}: maps the same name twice"),
        format!("location of upstream far {file}: \"evil.example/\" is no location"),
        format!("credentials of upstream far {file}: the value is neither a JSON object nor"),
        format!("[[upstream]] 4 {file}: has no name"),
        format!(
            "upstream none {file}: has no provider; wanted: one of code-assist, gemini-api, vertex"
        ),
        format!("upstream what {file}: has an unknown provider"),
        format!("upstream vertex {file}: has the name of a provider, and its own is gemini-api"),
        format!("name of [[upstream]] 8 {file}: \"auto\" is a word of its own"),
        format!("upstream bare {file}: is there twice"),
        format!("upstream bare {file}: has neither project nor api_key"),
        format!("upstream work {file}: has no credentials"),
        format!("upstream keyless {file}: has neither api_key nor api_key_file"),
    ] {
        assert_eq!(all.matches(&line).count(), 1, "{line} in {all}");
    }
    assert_eq!(lines.len(), 16, "{all}");
    assert!(!all.contains("hush"), "{all}");
    // A list that names a table with a mistake has no second mistake.
    let problems = read(&[HOME, ("UPSTREAMS", "what,none")], &tables).unwrap_err();
    assert!(!problems.iter().any(|problem| problem.name == "UPSTREAMS"), "{problems:?}");
}

#[test]
fn an_endpoint_of_a_table_must_be_encrypted_too() {
    let mut clear = table("clear", "gemini-api");
    clear.api_key = Some("k".into());
    clear.endpoint = Some("http://g.example".into());
    let problems = read(&[HOME], &[clear]).unwrap_err();
    let text = problems[0].to_string();
    assert!(text.starts_with("endpoint of upstream clear in the settings file: refuses"), "{text}");
}

#[test]
fn a_listing_of_a_table_shows_no_secret() {
    let mut table = table("a", "vertex");
    table.api_key = Some("hush".into());
    table.credentials = Some("hush".into());
    table.endpoint = Some("https://u:hush@v.example".into());
    table.models = vec!["a".into(), "b*".into()];
    table.model_map = vec![("c".into(), "d".into())];
    let lines: Vec<String> =
        table.listing().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        lines,
        [
            "provider=vertex",
            "endpoint=https://***@v.example",
            "api_key=***",
            "credentials=***",
            "models=a,b*",
            "model_map=c=d"
        ]
    );
}
