//! A proxy with the operator's login and keys with logins of their own, in front of a strict Google.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::settings::{KeySettings, OwnCredentials, Settings};
use code_assist_core::{KeyDigest, Limits, Payload, Platform as _, Proxy};
use code_assist_testkit::client::{Answer, all, ask, later, post, with};
use code_assist_testkit::google::google;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject;
use http::Request;
use serde_json::Value;

/// The path of the operator's credential file.
pub(crate) const OPERATORS_FILE: &str = "/home/test/.gemini/oauth_creds.json";

/// The accounts at Google. `None` of a request's key is the operator's.
pub(crate) const OPERATOR: &str = "operator";

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
pub(crate) const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;

type Script = Box<dyn FnMut(&Received) -> Option<Reply> + Send>;

/// A Google that knows several accounts.
#[derive(Default)]
pub(crate) struct Google {
    /// The number of the last token.
    issued: usize,
    /// The account of each access token that is valid.
    tokens: BTreeMap<String, String>,
    /// What an account answers in place of the usual.
    scripts: BTreeMap<String, Script>,
    /// Requests that no proxy may send.
    pub(crate) wrong: String,
    /// The accounts of model calls, in order, each with the key that the body names.
    pub(crate) calls: Vec<(String, String)>,
}

impl Google {
    fn answer(&mut self, request: &Received, usual: &mut dyn FnMut(&Received) -> Reply) -> Reply {
        if request.is("/token") {
            let field = |form: &str| form.strip_prefix("refresh_token=1%2F%2F").map(str::to_owned);
            let Some(account) = request.body.split('&').find_map(field) else {
                return Reply::status(400, r#"{"error":"invalid_grant"}"#);
            };
            if let Some(reply) = self.special(&account, request) {
                return reply;
            }
            self.issued += 1;
            let token = format!("ya29.{account}-{}", self.issued);
            self.tokens.insert(token.clone(), account);
            return Reply::ok(format!(r#"{{"access_token":"{token}","expires_in":3599}}"#));
        }
        let bearer = request.headers.get("authorization").and_then(|it| it.to_str().ok());
        let token = bearer.and_then(|it| it.strip_prefix("Bearer ")).unwrap_or_default();
        let Some(account) = self.tokens.get(token).cloned() else {
            return Reply::status(
                401,
                r#"{"error":{"code":401,"message":"Invalid credentials","status":"UNAUTHENTICATED"}}"#,
            );
        };
        if request.is(":loadCodeAssist") {
            if let Some(reply) = self.special(&account, request) {
                return reply;
            }
            return Reply::ok(format!(
                r#"{{"currentTier":{{"id":"standard-tier"}},"cloudaicompanionProject":"project-of-{account}"}}"#
            ));
        }
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let project = body["project"].as_str().unwrap_or_default();
        if !project.is_empty() && project != format!("project-of-{account}") {
            let _ = writeln!(self.wrong, "{account} with {project}: {}", request.line);
        }
        let is_model_call = request.line.contains("enerateContent") || request.is(":countTokens");
        if is_model_call {
            // Requests of tests name the key that they are sent with.
            let text = request.body.split("key-of-").nth(1).unwrap_or_default();
            let key = text.split('"').next().unwrap_or_default().to_owned();
            self.calls.push((account.clone(), key));
        }
        if let Some(reply) = self.special(&account, request) {
            return reply;
        }
        if request.is(":retrieveUserQuota") {
            return Reply::ok(format!(r#"{{"buckets":[{{"modelId":"gemini-of-{account}"}}]}}"#));
        }
        if request.is(":generateContent") {
            return Reply::ok(format!(
                r#"{{"response":{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"I am {account}"}}]}},"finishReason":"STOP"}}]}},"traceId":"t1"}}"#
            ));
        }
        usual(request)
    }

    fn special(&mut self, account: &str, request: &Received) -> Option<Reply> {
        self.scripts.get_mut(account).and_then(|script| script(request))
    }

    /// Makes every access token of an account invalid.
    pub(crate) fn revoke(&mut self, account: &str) {
        self.tokens.retain(|_, owner| owner != account);
    }
}

pub(crate) struct Fixture {
    pub(crate) script: ScriptedPlatform,
    pub(crate) proxy: Proxy,
    pub(crate) google: Arc<Mutex<Google>>,
    pub(crate) settings: Settings,
}

/// The table of a key with a login of its own.
pub(crate) fn key(id: &str, own: Option<String>) -> KeySettings {
    KeySettings {
        id: id.into(),
        digest: KeyDigest::of(&format!("key-of-{id}")),
        models: Vec::new(),
        upstreams: Vec::new(),
        requests_per_minute: None,
        limits: Limits::default(),
        expires: None,
        own: own.map(|text| OwnCredentials { credentials: text.into(), project: None }),
        code_assist_protocol: None,
        admin: false,
    }
}

/// A login that needs a refresh before its first use.
pub(crate) fn login(account: &str) -> String {
    format!(r#"{{"refresh_token":"1//{account}"}}"#)
}

impl Fixture {
    /// The keys `ada` and `ben` with logins of their own, and `eve` without.
    pub(crate) fn new() -> Self {
        Self::with(&[], |settings| {
            settings.keys = vec![
                key("ada", Some(login("ada"))),
                key("ben", Some(login("ben"))),
                key("eve", None),
            ];
        })
    }

    /// Other keys, and other settings.
    pub(crate) fn with(more: &[(&str, &str)], change: impl FnOnce(&mut Settings)) -> Self {
        let google_state = Arc::new(Mutex::new(Google::default()));
        let script = Self::platform(&google_state);
        let usual = [
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("MAX_RETRY_ATTEMPTS", "0"),
            ("RETRY_BASE_DELAY_MS", "1"),
        ];
        let all: Vec<_> = more.iter().chain(&usual).copied().collect();
        let mut settings = subject::settings(&all);
        change(&mut settings);
        let proxy = Proxy::new(settings.clone(), &script);
        script.write_file(OPERATORS_FILE, login(OPERATOR));
        Self { script, proxy, google: google_state, settings }
    }

    fn platform(google_state: &Arc<Mutex<Google>>) -> ScriptedPlatform {
        let state = Arc::clone(google_state);
        let mut usual = google();
        ScriptedPlatform::new(move |request| lock(&state).answer(request, &mut usual))
    }

    pub(crate) fn google(&self) -> MutexGuard<'_, Google> {
        lock(&self.google)
    }

    /// Lets an account answer by this script, where the script has an answer.
    pub(crate) fn script(
        &self,
        account: &str,
        script: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) {
        self.google().scripts.insert(account.to_owned(), Box::new(script));
    }

    pub(crate) fn ask(&self, request: Request<Payload>) -> Answer {
        self.script.run(&self.proxy, ask(&self.proxy, &self.script, request))
    }

    /// A whole answer, for a key.
    pub(crate) fn generate(&self, id: &str) -> Answer {
        self.ask(of(id, GENERATE))
    }

    /// The answers to requests that are sent at the same time.
    pub(crate) fn together(&self, requests: Vec<Request<Payload>>) -> Vec<(Answer, Duration)> {
        let began = self.script.now();
        let asking = requests.into_iter().map(|request| async {
            let answer =
                later(&self.script, Duration::ZERO, ask(&self.proxy, &self.script, request));
            let answer = answer.await;
            (answer, self.script.now().since(began))
        });
        self.script.run(&self.proxy, all(asking.collect()))
    }

    pub(crate) fn tick(&self) {
        self.script.run(&self.proxy, self.proxy.tick(&self.script));
    }

    /// The accounts that served the model calls so far.
    pub(crate) fn accounts(&self) -> Vec<String> {
        self.google().calls.iter().map(|(account, _)| account.clone()).collect()
    }

    /// Fails if a request went out with another account's token or project than its key's.
    pub(crate) fn nothing_was_mixed(&self) {
        let google = self.google();
        assert_eq!(google.wrong, "");
        for (account, key) in &google.calls {
            let expected = if key == "eve" { OPERATOR } else { key };
            let is_expected = account.strip_suffix("-new").unwrap_or(account) == expected;
            assert!(is_expected, "a request of {key} has gone out with {account}");
        }
    }

    pub(crate) fn json(&self, path: &str) -> (u16, Value) {
        let answer = self.ask(of_operator(path));
        (answer.status.as_u16(), serde_json::from_str(&answer.text()).unwrap_or_default())
    }
}

fn lock(google: &Mutex<Google>) -> MutexGuard<'_, Google> {
    google.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request of a key. Its body names the key.
pub(crate) fn of(id: &str, path: &str) -> Request<Payload> {
    let body = HELLO.replace("hi", &format!("hi, key-of-{id}"));
    with(post(path, &body), "x-goog-api-key", &format!("key-of-{id}"))
}

/// What the operator reads.
pub(crate) fn of_operator(path: &str) -> Request<Payload> {
    with(code_assist_testkit::client::get(path), "x-goog-api-key", "key-of-the-operator")
}

/// An error of Google's.
pub(crate) fn error(code: u16, status: &str, reason: &str) -> Reply {
    Reply::status(
        code,
        format!(
            r#"{{"error":{{"code":{code},"message":"No.","status":"{status}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"cloudcode-pa.googleapis.com"}}]}}}}"#
        ),
    )
    .with_header("content-type", "application/json")
}
