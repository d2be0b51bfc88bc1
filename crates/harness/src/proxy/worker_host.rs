//! One Node process that runs every Worker of a test executable.
//!
//! Starting Node takes five times as long as starting workerd, so all tests of an executable share
//! one. It is driven by lines of JSON (`workers.mjs`).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A Worker under its own workerd.
#[derive(Debug)]
pub(super) struct HostedWorker {
    id: u64,
    reports: Arc<Reports>,
}

impl HostedWorker {
    /// Starts one with these settings, which keeps its KV in the folder `state`. Its log goes to
    /// `output`.
    pub(super) fn start(
        settings: &BTreeMap<String, String>,
        state: &Path,
        output: Arc<Mutex<Vec<u8>>>,
    ) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let reports =
            Arc::new(Reports { output, status: Mutex::default(), changed: Condvar::new() });
        let workers = HOST.workers.lock();
        workers.expect("no panic under the lock").insert(id, Arc::clone(&reports));
        HOST.send(&json!({"id": id, "start": {"settings": settings, "state": state}}));
        Self { id, reports }
    }

    /// Waits until the Worker listens, and returns its address.
    #[track_caller]
    pub(super) fn address(&self) -> String {
        match self.reports.wait(Duration::from_secs(60), |status| status.started.clone()) {
            Some(Ok(address)) => address,
            Some(Err(why)) => panic!("no Worker: {why}\n{}", self.reports.output()),
            None => panic!("no Worker after a minute"),
        }
    }

    /// Ends the Worker, and waits until it has ended and its whole log has arrived.
    pub(super) fn stop(&self) {
        HOST.send(&json!({"id": self.id, "stop": true}));
        self.reports.wait(Duration::from_secs(10), |status| status.stopped.then_some(()));
        HOST.workers.lock().expect("no panic under the lock").remove(&self.id);
    }
}

/// What the Node process has reported of one Worker.
#[derive(Debug)]
struct Reports {
    output: Arc<Mutex<Vec<u8>>>,
    status: Mutex<Status>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Status {
    /// The address, or why the Worker did not start.
    started: Option<Result<String, String>>,
    stopped: bool,
}

impl Reports {
    fn apply(&self, message: &Value) {
        if let Some(line) = message["line"].as_str() {
            let mut output = self.output.lock().expect("no panic under the lock");
            output.extend_from_slice(line.as_bytes());
            output.push(b'\n');
        }
        let mut status = self.status.lock().expect("no panic under the lock");
        if let Some(address) = message["address"].as_str() {
            status.started = Some(Ok(address.to_owned()));
        }
        if let Some(why) = message["failed"].as_str() {
            status.started.get_or_insert_with(|| Err(why.to_owned()));
            status.stopped = true;
        }
        status.stopped |= message["stopped"] == true;
        self.changed.notify_all();
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().expect("no panic under the lock")).into_owned()
    }

    fn wait<T>(&self, timeout: Duration, read: impl Fn(&Status) -> Option<T>) -> Option<T> {
        let end = Instant::now() + timeout;
        let mut status = self.status.lock().expect("no panic under the lock");
        loop {
            if let Some(found) = read(&status) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            status = self.changed.wait_timeout(status, left).expect("no panic under the lock").0;
        }
    }
}

/// The Node process. It ends when its standard input does: when the test executable exits.
struct NodeHost {
    input: Mutex<ChildStdin>,
    workers: Arc<Mutex<HashMap<u64, Arc<Reports>>>>,
    _node: Child,
}

impl NodeHost {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy/workers.mjs");
        let mut node = Command::new("node")
            .arg(script)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node is installed");
        let input = Mutex::new(node.stdin.take().expect("a pipe"));
        let output = BufReader::new(node.stdout.take().expect("a pipe"));
        let workers = Arc::<Mutex<HashMap<u64, Arc<Reports>>>>::default();
        let known = Arc::clone(&workers);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                let id = message["id"].as_u64().unwrap_or_default();
                let reports = known.lock().expect("no panic under the lock").get(&id).cloned();
                if let Some(reports) = reports {
                    reports.apply(&message);
                }
            }
            let exited = json!({"failed": "the Node process has exited, see above"});
            let known = known.lock().expect("no panic under the lock");
            known.values().for_each(|reports| reports.apply(&exited));
        });
        Self { input, workers, _node: node }
    }

    fn send(&self, message: &Value) {
        let mut input = self.input.lock().expect("no panic under the lock");
        // Fails only when Node has exited, which the reader thread reports to every Worker.
        let _ = writeln!(input, "{message}");
    }
}

static HOST: LazyLock<NodeHost> = LazyLock::new(NodeHost::start);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
