//! A proxy that is looked at before and after a fault.

use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, ScriptedUpstream, get};
use serde_json::Value;

/// A running proxy, what is upstream of it, and how many files the binary had open at rest.
pub(crate) struct Bench {
    proxy: Proxy,
    google: Option<GoogleEmulator>,
    files: Option<usize>,
    /// For the pages that need one where keys are set.
    key: String,
}

impl Bench {
    /// In front of an upstream whose bytes the row writes.
    pub(crate) fn at(upstream: &ScriptedUpstream, settings: &[(&str, &str)]) -> Self {
        Self::of(ProxyBuilder::for_upstream(upstream), settings)
    }

    /// In front of endpoints, in this order.
    pub(crate) fn before(endpoints: &[String], settings: &[(&str, &str)]) -> Self {
        let given = [
            ("CODE_ASSIST_ENDPOINT", &*endpoints.join(",")),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.given"),
            ("GEMINI_PROJECT_ID", "given-project"),
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
        ];
        Self::of(ProxyBuilder::without_upstream(), &[&given[..], settings].concat())
    }

    /// In front of the emulator.
    pub(crate) fn on(google: GoogleEmulator, settings: &[(&str, &str)]) -> Self {
        let setup = ProxyBuilder::for_emulator(&google);
        Self::of(setup, settings).with(google)
    }

    /// In front of the emulator, with an access token that has to be renewed first.
    pub(crate) fn signed_out(google: GoogleEmulator, settings: &[(&str, &str)]) -> Self {
        let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
        Self::of(setup, settings).with(google)
    }

    /// As it was set up, but quick: short pauses, and idle connections that soon go.
    pub(crate) fn of(setup: ProxyBuilder, settings: &[(&str, &str)]) -> Self {
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
        // The last answer's connection may still be about to close: the least is what it rests at.
        let looks = (0..10).filter_map(|_| {
            thread::sleep(Duration::from_millis(5));
            open_files(&proxy)
        });
        let files = looks.min();
        Self { proxy, google: None, files, key }
    }

    /// Holds on to the emulator that it was set up with.
    pub(crate) fn with(mut self, google: GoogleEmulator) -> Self {
        self.google = Some(google);
        self
    }

    /// The emulator, where there is one.
    pub(crate) fn google(&self) -> &GoogleEmulator {
        self.google.as_ref().expect("a row with an emulator")
    }

    /// The `checks` of `/health/detailed`.
    pub(crate) fn checks(&self) -> Value {
        self.proxy.send(get("/health/detailed", &[&self.key])).json()["checks"].take()
    }

    /// The state of the breaker of the first endpoint.
    pub(crate) fn breaker(&self) -> String {
        self.checks()["endpoints"][0]["breaker"].as_str().expect("a state").to_owned()
    }

    /// The log line of the request that ended last, when there are `count`.
    pub(crate) fn last_line(&self, count: usize) -> Value {
        self.proxy.await_request_lines(count).pop().expect("at least one")
    }

    /// Waits until something holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let checks = self.checks();
            assert!(begun.elapsed() < PATIENCE, "never {what}: {checks}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing is in flight or in line, no endpoint is busy, no file is open that was not open
    /// before.
    pub(crate) fn leaks_nothing(self) {
        let begun = Instant::now();
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
                begun.elapsed() < PATIENCE,
                "left behind: {files:?} files open, were {before:?}; {checks}\n{}",
                self.proxy.stdout()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Deref for Bench {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

/// Those of the binary; workerd's are its own.
fn open_files(proxy: &Proxy) -> Option<usize> {
    proxy.is_native().then(|| proxy.open_files())
}

/// Generous: only a row that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(10);
