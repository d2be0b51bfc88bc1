//! What holds for the proxy after every attack.

use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::TestProxy;
use code_assist_harness::samples::{GENERATE, HELLO};

/// Runs a row of this module, and asserts that its proxies still work. A row that fails
/// disturbs no other row: a poisoned lock is taken as it is.
pub(crate) fn run(module: &str, row: fn() -> Vec<Attacked>) {
    static ROWS: RwLock<()> = RwLock::new(());

    let needs_all = ALONE.iter().any(|name| module.split("::").any(|part| part == *name));
    let _alone = needs_all.then(|| ROWS.write().unwrap_or_else(PoisonError::into_inner));
    let _shared = (!needs_all).then(|| ROWS.read().unwrap_or_else(PoisonError::into_inner));
    for attacked in row() {
        attacked.assert_still_works();
    }
}

/// A proxy that was attacked.
pub(crate) struct Attacked {
    proxy: TestProxy,
    /// Whether its upstream answers an honest request.
    serves: bool,
}

impl Attacked {
    /// A proxy whose upstream never answers: only its own answers can be checked.
    pub(crate) fn without_upstream(proxy: TestProxy) -> Self {
        Self { proxy, serves: false }
    }

    /// Asserts that the proxy is healthy and answers an honest request, that no request is in flight, no
    /// file is open that was not open before, and that its memory is bounded.
    fn assert_still_works(self) {
        assert_eq!(self.proxy.get("/health").status(), 200);
        if self.serves {
            let answer = self.proxy.honest(GENERATE, HELLO);
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
        if self.proxy.is_native() {
            self.assert_memory_is_bounded();
        }
        self.proxy.assert_no_leaks();
    }

    fn assert_memory_is_bounded(&self) {
        let started = Instant::now();
        while self.proxy.memory("VmRSS") > MEMORY {
            let resident = self.proxy.memory("VmRSS") >> 20;
            assert!(started.elapsed() < TIMEOUT, "{resident} MiB are resident");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl From<TestProxy> for Attacked {
    fn from(proxy: TestProxy) -> Self {
        Self { proxy, serves: true }
    }
}

/// The files whose rows take all of the machine. While one of them runs, no other row does.
const ALONE: &[&str] = &["connections", "memory"];

/// What a proxy at rest may have resident. The debug build has about 30 MiB after its start.
const MEMORY: u64 = 96 << 20;

/// Only a row that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(10);
