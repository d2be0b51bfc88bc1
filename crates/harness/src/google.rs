//! The emulator in this process, and its control.

use std::time::{Duration, Instant};

use code_assist_emulator::{Emulator, Options};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::{Connection, get, post, request};

/// A running emulator, for one test.
pub(crate) struct Google {
    emulator: Emulator,
    /// After the emulator: fields are dropped in their order.
    _runtime: Runtime,
}

impl Google {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let emulator = runtime.block_on(code_assist_emulator::start(options)).expect("a free port");
        Self { emulator, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        self.emulator.url()
    }

    pub(crate) fn token_url(&self) -> String {
        self.emulator.token_url()
    }

    pub(crate) fn tokeninfo_url(&self) -> String {
        self.emulator.tokeninfo_url()
    }

    /// An `oauth_creds.json` whose access token works.
    pub(crate) fn login(&self) -> String {
        self.emulator.credentials()
    }

    /// An `oauth_creds.json` that has to be refreshed first.
    pub(crate) fn expired_login(&self) -> String {
        self.emulator.expired_credentials()
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub(crate) fn state(&self, change: Value) {
        self.control(&post("/__emulator/state", &[], change.to_string()));
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub(crate) fn script(&self, rules: Value) {
        self.control(&post("/__emulator/script", &[], rules.to_string()));
    }

    pub(crate) fn forget_script(&self) {
        self.control(&request("DELETE", "/__emulator/script", &[], b""));
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        let Value::Array(log) = self.control(&get("/__emulator/log", &[])) else {
            panic!("the log is an array")
        };
        log
    }

    /// What came for an RPC.
    pub(crate) fn received(&self, rpc: &str) -> Vec<Value> {
        self.log().into_iter().filter(|record| record["rpc"] == rpc).collect()
    }

    pub(crate) fn count(&self, rpc: &str) -> u64 {
        self.control(&get("/__emulator/counts", &[]))[rpc].as_u64().unwrap_or(0)
    }

    /// Waits until the log has a record of this RPC for which `is` holds, and says how long it took.
    #[track_caller]
    pub(crate) fn await_record(&self, rpc: &str, is: impl Fn(&Value) -> bool) -> Duration {
        let begun = Instant::now();
        while !self.received(rpc).iter().any(&is) {
            assert!(begun.elapsed() < Duration::from_secs(10), "never: {:?}", self.received(rpc));
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    fn control(&self, request: &[u8]) -> Value {
        let answer = Connection::to(self.url().trim_start_matches("http://")).ask(request);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }
}
