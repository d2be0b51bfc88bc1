//! A proxy with its open files before and after what a test does to it.

use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Response, get, post};
use crate::emulator::GoogleEmulator;
use crate::proxy::{Proxy, ProxyBuilder};
use crate::upstream::ScriptedUpstream;

/// A running proxy, its emulator, and how many files the binary had open at rest.
#[derive(Debug)]
pub struct TestProxy {
    proxy: Proxy,
    google: Option<GoogleEmulator>,
    files: Option<usize>,
    /// The header that opens the health page, where keys are configured.
    key: String,
}

impl TestProxy {
    /// A proxy in front of an upstream whose bytes the test writes.
    pub fn for_upstream(upstream: &ScriptedUpstream, settings: &[(&str, &str)]) -> Self {
        Self::start(ProxyBuilder::for_upstream(upstream), settings)
    }

    /// A proxy in front of these endpoints, in this order.
    pub fn for_endpoints(endpoints: &[String], settings: &[(&str, &str)]) -> Self {
        let given = [
            ("CODE_ASSIST_ENDPOINT", &*endpoints.join(",")),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.given"),
            ("GEMINI_PROJECT_ID", "given-project"),
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
        ];
        Self::start(ProxyBuilder::without_upstream(), &[&given[..], settings].concat())
    }

    /// A proxy in front of the emulator.
    pub fn for_emulator(google: GoogleEmulator, settings: &[(&str, &str)]) -> Self {
        let setup = ProxyBuilder::for_emulator(&google);
        Self::start(setup, settings).with(google)
    }

    /// A proxy in front of the emulator, whose access token must be refreshed first.
    pub fn with_expired_token(google: GoogleEmulator, settings: &[(&str, &str)]) -> Self {
        let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
        Self::start(setup, settings).with(google)
    }

    /// Starts a proxy with short retry delays, and idle connections that close early.
    pub fn start(setup: ProxyBuilder, settings: &[(&str, &str)]) -> Self {
        let quick = [
            ("KEEP_ALIVE_TIMEOUT_MS", "100"),
            ("RETRY_BASE_DELAY_MS", "10"),
            ("RETRY_MAX_DELAY_MS", "1000"),
            ("MAX_RETRY_ATTEMPTS", "2"),
        ];
        let all = quick.iter().chain(settings);
        let setup = all.fold(setup, |setup, (name, value)| setup.env(name, *value));
        let proxy = setup.start();
        let keys = settings.iter().find(|(name, _)| *name == "PROXY_API_KEYS");
        let first = keys.and_then(|(_, keys)| keys.split([':', ',']).nth(1)).unwrap_or("none");
        let key = format!("x-goog-api-key: {first}");
        proxy.send(get("/health/detailed", &[&key]));
        // The last answer's connection may close a little later: the minimum is the state at rest.
        let looks = (0..10).filter_map(|_| {
            thread::sleep(Duration::from_millis(5));
            open_files(&proxy)
        });
        let files = looks.min();
        Self { proxy, google: None, files, key }
    }

    /// Keeps the emulator running as long as the proxy.
    pub fn with(mut self, google: GoogleEmulator) -> Self {
        self.google = Some(google);
        self
    }

    /// Uses this key for honest requests, where the keys are in a file.
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = format!("x-goog-api-key: {key}");
        self
    }

    /// The emulator, of a proxy that has one.
    pub fn google(&self) -> &GoogleEmulator {
        self.google.as_ref().expect("a proxy in front of the emulator")
    }

    /// Sends a request with a key that opens the proxy, where keys are configured.
    pub fn honest(&self, path: &str, body: &str) -> Response {
        self.proxy.send(post(path, &[&self.key], body))
    }

    /// The `checks` of `/health/detailed`.
    pub fn checks(&self) -> Value {
        self.proxy.send(get("/health/detailed", &[&self.key])).json()["checks"].take()
    }

    /// The state of the breaker of the first endpoint.
    pub fn breaker(&self) -> String {
        self.checks()["endpoints"][0]["breaker"].as_str().expect("a state").to_owned()
    }

    /// Waits for `count` access log lines, and returns the last one.
    pub fn last_line(&self, count: usize) -> Value {
        self.proxy.await_request_lines(count).pop().expect("at least one")
    }

    /// Waits until a condition holds; `what` names it.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            let checks = self.checks();
            assert!(started.elapsed() < TIMEOUT, "never {what}: {checks}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no request is in flight or queued, no endpoint is busy, and no file is open that was
    /// not open before.
    pub fn assert_no_leaks(self) {
        let started = Instant::now();
        loop {
            let checks = self.checks();
            let endpoints = checks["endpoints"].as_array().expect("a list").clone();
            let busy = endpoints.iter().any(|endpoint| endpoint["in_flight"] != 0);
            let rests = checks["queue"]["in_flight"] == 0 && checks["queue"]["waiting"] == 0;
            let (files, before) = (open_files(&self.proxy), self.files);
            if rests && !busy && files <= before {
                return;
            }
            assert!(
                started.elapsed() < TIMEOUT,
                "leaked: {files:?} files open, were {before:?}; {checks}\n{}",
                self.proxy.stdout()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Deref for TestProxy {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

/// The open files of the binary. workerd's are not the proxy's.
fn open_files(proxy: &Proxy) -> Option<usize> {
    proxy.is_native().then(|| proxy.open_files())
}

/// Only a row that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(10);
