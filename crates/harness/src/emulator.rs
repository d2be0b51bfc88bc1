//! The emulator of Google's services in this process.

use std::time::{Duration, Instant};

use code_assist_emulator::{Emulator, Options};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::{Connection, get, post, request};

/// A running emulator, for one test.
#[derive(Debug)]
pub struct GoogleEmulator {
    emulator: Emulator,
    /// After the emulator: fields are dropped in the order of their declaration.
    _runtime: Runtime,
}

impl GoogleEmulator {
    /// Starts an emulator with its usual options.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts an emulator with these options.
    pub fn start_with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let emulator = runtime.block_on(code_assist_emulator::start(options)).expect("a free port");
        Self { emulator, _runtime: runtime }
    }

    /// The base URL of its Code Assist API.
    pub fn url(&self) -> String {
        self.emulator.url()
    }

    /// The URL of its OAuth token endpoint.
    pub fn token_url(&self) -> String {
        self.emulator.token_url()
    }

    /// The URL of its tokeninfo endpoint.
    pub fn tokeninfo_url(&self) -> String {
        self.emulator.tokeninfo_url()
    }

    /// An `oauth_creds.json` whose access token works.
    pub fn credentials(&self) -> String {
        self.emulator.credentials()
    }

    /// An `oauth_creds.json` whose access token must be refreshed first.
    pub fn expired_credentials(&self) -> String {
        self.emulator.expired_credentials()
    }

    /// An `oauth_creds.json` of a further login, which is made if there is none with this name.
    pub fn credentials_of(&self, login: &str) -> String {
        self.emulator.credentials_of(login)
    }

    /// Adds, changes and removes further logins (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn set_logins(&self, change: Value) {
        self.control(&post("/__emulator/logins", &[], change.to_string()));
    }

    /// Changes its state: token lifetimes, delays, tiers (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn set_state(&self, change: Value) {
        self.control(&post("/__emulator/state", &[], change.to_string()));
    }

    /// Changes its Gemini API: keys, models, jobs (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn set_gemini_api(&self, change: Value) {
        self.control(&post("/__emulator/gemini-api", &[], change.to_string()));
    }

    /// Changes its credential services of Google Cloud (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn set_google_auth(&self, change: Value) {
        self.control(&post("/__emulator/google-auth", &[], change.to_string()));
    }

    /// Changes its Vertex AI: the project, the models (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn set_vertex(&self, change: Value) {
        self.control(&post("/__emulator/vertex", &[], change.to_string()));
    }

    /// Adds one rule or a list of rules to its script (`docs/EMULATOR.md`).
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub fn add_rules(&self, rules: Value) {
        self.control(&post("/__emulator/script", &[], rules.to_string()));
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.control(&request("DELETE", "/__emulator/script", &[], b""));
    }

    /// Every call that it has received.
    pub fn log(&self) -> Vec<Value> {
        let Value::Array(log) = self.control(&get("/__emulator/log", &[])) else {
            panic!("the log is an array")
        };
        log
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.control(&request("DELETE", "/__emulator/log", &[], b""));
    }

    /// The calls of one RPC that it has received.
    pub fn received(&self, rpc: &str) -> Vec<Value> {
        self.log().into_iter().filter(|record| record["rpc"] == rpc).collect()
    }

    /// How many calls of one RPC it has received.
    pub fn count(&self, rpc: &str) -> u64 {
        self.control(&get("/__emulator/counts", &[]))[rpc].as_u64().unwrap_or(0)
    }

    /// Waits until the log has a call of this RPC for which `matches` holds, and returns how long that
    /// took.
    #[track_caller]
    pub fn await_call(&self, rpc: &str, matches: impl Fn(&Value) -> bool) -> Duration {
        let started = Instant::now();
        while !self.received(rpc).iter().any(&matches) {
            assert!(started.elapsed() < TIMEOUT, "no such call: {:?}", self.received(rpc));
            std::thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    }

    fn control(&self, request: &[u8]) -> Value {
        let response = Connection::open(self.url().trim_start_matches("http://")).send(request);
        assert_eq!(response.status(), 200, "{}", response.text());
        response.json()
    }
}

/// Only a test that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(10);
