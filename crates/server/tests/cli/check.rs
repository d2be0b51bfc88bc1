//! `check` and `models` with one and with several upstreams, in front of the emulator.

use code_assist_emulator::{
    GEMINI_API_KEY, Options, Played, VERTEX_API_KEY, VERTEX_PROJECT, service_account_json,
};
use code_assist_harness::GoogleEmulator;
use serde_json::{Value, json};

use crate::{Home, stderr, stdout};

/// A home folder with accounts at the emulator.
struct Accounts {
    google: GoogleEmulator,
    home: Home,
    env: Vec<(&'static str, String)>,
}

impl Accounts {
    /// `upstreams` in order, each with a credential that works.
    fn new(upstreams: &str) -> Self {
        let played = Options { played: Played::All, ..Options::default() };
        let google = GoogleEmulator::start_with(played);
        let mut env = vec![
            ("UPSTREAMS", upstreams.to_owned()),
            ("KV_URL", "memory:".to_owned()),
            ("OAUTH_TOKEN_URL", google.token_url()),
            ("OAUTH_TOKENINFO_URL", google.tokeninfo_url()),
        ];
        if upstreams.contains("code-assist") {
            env.push(("CODE_ASSIST_ENDPOINT", google.url()));
            env.push(("GCP_SERVICE_ACCOUNT", google.credentials()));
        }
        if upstreams.contains("gemini-api") {
            env.push(("GEMINI_API_ENDPOINT", google.url()));
            env.push(("GEMINI_API_KEY", GEMINI_API_KEY.to_owned()));
        }
        if upstreams.contains("vertex") {
            env.push(("VERTEX_ENDPOINT", google.url()));
            env.push(("VERTEX_PROJECT", VERTEX_PROJECT.to_owned()));
            env.push(("VERTEX_CREDENTIALS", service_account_json(&google.url())));
        }
        Self { google, home: Home::new(), env }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| *known != name);
        self
    }

    /// Exit code, and standard output with the emulator's address as `GOOGLE`.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let env: Vec<_> = self.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = self.home.run_with(arguments, &env);
        let text = stdout(&output).replace(&self.google.url(), "GOOGLE");
        for secret in [GEMINI_API_KEY, VERTEX_API_KEY, "PRIVATE KEY"] {
            assert!(!text.contains(secret) && !stderr(&output).contains(secret), "{text}");
        }
        (output.status.code(), text)
    }

    /// The lines of a check that fails, without those that are ok.
    fn failed(&self) -> String {
        let (code, text) = self.run(&["check"]);
        assert_eq!(code, Some(1), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with("ok"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn one_account_of_code_assist_is_checked_without_naming_an_upstream() {
    let (code, text) = Accounts::new("code-assist").run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    let names: Vec<&str> = text.lines().map(|line| &line[..19]).collect();
    let expected = ["settings", "store", "credentials", "token", "project", "quota"];
    assert_eq!(names, expected.map(|name| format!("ok    {name:11}  ")), "{text}");
}

#[test]
fn every_upstream_in_use_is_checked_and_the_order_is_named() {
    let all = Accounts::new("code-assist,gemini-api,vertex");
    let (code, text) = all.run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "ok    code-assist credentials  a refresh token and an access token",
        "ok    code-assist quota        Code Assist answers, for ",
        "ok    gemini-api credentials   an API key\n",
        "ok    gemini-api endpoint      GOOGLE\n",
        "ok    gemini-api count         the Gemini API answers, for gemini-2.5-flash\n",
        "ok    vertex credentials       service_account, from VERTEX_CREDENTIALS\n",
        "ok    vertex token             ",
        "ok    vertex project           emulator-vertex-project in global\n",
        "ok    vertex count             Vertex AI answers, for gemini-2.5-flash\n",
        "ok    order                    the first of code-assist, gemini-api, vertex that offers the \
         method and the model; FAILOVER is off\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let (code, text) = all.with("FAILOVER", "quota,account").run(&["check", "--json"]);
    let checked: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &checked["usable"]), (Some(0), &json!(true)));
    let steps = checked["steps"].as_array().unwrap();
    let order = steps.iter().find(|step| step["step"] == "order").unwrap();
    let said = "code-assist, gemini-api, vertex: the next one when one fails, for account, quota";
    assert_eq!((&order["detail"], order.get("upstream")), (&json!(said), None));
    let vertex = steps.iter().filter(|step| step["upstream"] == "vertex").count();
    assert_eq!(vertex, 5, "{text}");
}

#[test]
fn one_unusable_upstream_makes_the_check_fail() {
    let accounts = Accounts::new("code-assist,gemini-api").with("GEMINI_API_KEY", "AIzaWrong");
    let text = accounts.failed();
    assert!(text.starts_with("fail  gemini-api count         Google does not accept"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn every_failure_of_the_gemini_api_comes_with_a_remedy() {
    for (error, remedy) in [
        ("key_invalid", "https://aistudio.google.com/apikey"),
        ("key_service_blocked", "https://aistudio.google.com/apikey"),
        ("service_disabled", "enable the Generative Language API"),
        ("location", "Google does not offer the Gemini API where"),
        ("key_suspended", "do not retry"),
    ] {
        let accounts = Accounts::new("gemini-api");
        accounts.google.add_rules(json!({"match": {"rpc": "countTokens"}, "error": error}));
        let text = accounts.failed();
        assert!(text.starts_with("fail  count "), "{error}: {text}");
        assert!(text.contains(" -> ") && text.contains(remedy), "{error}: {text}");
    }
    // The proxy has chosen the model: the account is usable without it.
    let accounts = Accounts::new("gemini-api");
    accounts.google.add_rules(json!({"match": {"rpc": "countTokens"}, "error": "model_not_found"}));
    let (code, text) = accounts.run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("warn  count ") && text.contains("only this model"), "{text}");
}

#[test]
fn every_failure_of_vertex_comes_with_a_remedy() {
    for (error, remedy) in [
        ("service_disabled", "gcloud services enable aiplatform.googleapis.com"),
        ("iam_permission_denied", "grant the account roles/aiplatform.user in the project"),
        ("billing_disabled", "link a billing account"),
    ] {
        let accounts = Accounts::new("vertex");
        accounts.google.add_rules(json!({"match": {"rpc": "countTokens"}, "error": error}));
        let text = accounts.failed();
        assert!(text.starts_with("fail  count ") && text.contains(remedy), "{error}: {text}");
    }
    let wrong_project = Accounts::new("vertex").with("VERTEX_PROJECT", "another-project");
    let text = wrong_project.failed();
    assert!(text.contains("correct VERTEX_PROJECT"), "{text}");

    let wrong_key = Accounts::new("vertex")
        .without("VERTEX_PROJECT")
        .without("VERTEX_CREDENTIALS")
        .with("VERTEX_API_KEY", "AQ.wrong");
    let text = wrong_key.failed();
    assert!(text.starts_with("fail  count ") && text.contains("express mode"), "{text}");

    let broken =
        Accounts::new("vertex").with("VERTEX_CREDENTIALS", r#"{"type":"service_account"}"#);
    let text = broken.failed();
    assert!(text.starts_with("fail  credentials  "), "{text}");
    assert!(text.contains("VERTEX_CREDENTIALS"), "{text}");
}

#[test]
fn a_model_that_a_location_does_not_have_is_found() {
    let accounts = Accounts::new("vertex").without("UPSTREAMS");
    let credentials = accounts.home.path("account.json");
    std::fs::write(&credentials, service_account_json(&accounts.google.url())).unwrap();
    let table = format!(
        "[[upstream]]\nname = \"iowa\"\nprovider = \"vertex\"\nendpoint = {:?}\ncredentials = {:?}\n\
         project = {VERTEX_PROJECT:?}\nlocation = \"us-central1\"\nmodels = [\"gemini-3*\", \
         \"gemini-3-pro-preview\"]\n",
        accounts.google.url(),
        credentials.display().to_string(),
    );
    accounts.home.write("config.toml", &table);
    let accounts = accounts
        .without("VERTEX_PROJECT")
        .without("VERTEX_CREDENTIALS")
        .without("VERTEX_ENDPOINT")
        .with("CODE_ASSIST_PROXY_CONFIG", "config.toml");
    let text = accounts.failed();
    assert!(text.starts_with("fail  count ") && text.contains("gemini-3-pro-preview"), "{text}");
    assert!(text.contains("set VERTEX_LOCATION=global"), "{text}");
}

#[test]
fn a_credential_that_is_not_used_is_named_with_the_line_that_would_use_it() {
    let accounts = Accounts::new("code-assist,gemini-api").with("UPSTREAMS", "auto");
    let (code, text) = accounts.run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("ok    unused       gemini-api has a credential too -> "), "{line}");
    assert!(line.contains("UPSTREAMS=code-assist,gemini-api"), "{line}");
}

#[test]
fn the_models_of_each_upstream_are_listed_under_its_name() {
    let accounts = Accounts::new("code-assist,gemini-api,vertex");
    let (code, text) = accounts.run(&["models"]);
    assert_eq!(code, Some(0), "{text}");
    let sections: Vec<&str> = text.split("\n\n").collect();
    let of = |name: &str| {
        *sections.iter().find(|section| section.starts_with(name)).expect("the upstream's section")
    };
    assert!(of("code-assist\n").contains("QUOTA\n"), "{text}");
    let public = of("gemini-api\n");
    assert!(public.contains("gemini-2.5-flash ") && public.contains("METHODS\n"), "{text}");
    let vertex = of("vertex\n");
    assert!(vertex.contains("imagen-4.0-generate-001") && vertex.contains(" predict"), "{text}");

    let wrong = accounts.with("GEMINI_API_KEY", "AIzaWrong");
    let (code, text) = wrong.run(&["models"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("gemini-api\nFAILED: Google does not accept"), "{text}");
    assert!(text.contains("\nvertex\nMODEL"), "the others are listed: {text}");
}
