//! One Node process that runs every Worker of a test binary: starting Node takes five times as long
//! as starting workerd.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A Worker under a workerd of its own.
pub(crate) struct Hosted {
    id: u64,
    told: Arc<Told>,
}

impl Hosted {
    /// Asks for one with these settings, that keeps its KV in a folder. What it prints goes to
    /// `output`.
    pub(crate) fn start(
        settings: &BTreeMap<String, String>,
        state: &Path,
        output: Arc<Mutex<Vec<u8>>>,
    ) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let told = Arc::new(Told { output, so_far: Mutex::default(), more: Condvar::new() });
        let workers = HOST.workers.lock();
        workers.expect("no panic under the lock").insert(id, Arc::clone(&told));
        HOST.ask(&json!({"id": id, "start": {"settings": settings, "state": state}}));
        Self { id, told }
    }

    /// Its address, once it can be asked.
    #[track_caller]
    pub(crate) fn address(&self) -> String {
        match self.told.wait(Duration::from_secs(60), |so_far| so_far.begun.clone()) {
            Some(Ok(address)) => address,
            Some(Err(why)) => panic!("no Worker: {why}\n{}", self.told.said()),
            None => panic!("no Worker after a minute"),
        }
    }

    /// Ends it and waits until it has ended and all that it said is here.
    pub(crate) fn stop(&self) {
        HOST.ask(&json!({"id": self.id, "stop": true}));
        self.told.wait(Duration::from_secs(10), |so_far| so_far.stopped.then_some(()));
        HOST.workers.lock().expect("no panic under the lock").remove(&self.id);
    }
}

/// What the host has told of one Worker.
struct Told {
    output: Arc<Mutex<Vec<u8>>>,
    so_far: Mutex<SoFar>,
    more: Condvar,
}

#[derive(Default)]
struct SoFar {
    begun: Option<Result<String, String>>,
    stopped: bool,
}

impl Told {
    fn take(&self, message: &Value) {
        if let Some(line) = message["line"].as_str() {
            let mut output = self.output.lock().expect("no panic under the lock");
            output.extend_from_slice(line.as_bytes());
            output.push(b'\n');
        }
        let mut so_far = self.so_far.lock().expect("no panic under the lock");
        if let Some(address) = message["address"].as_str() {
            so_far.begun = Some(Ok(address.to_owned()));
        }
        if let Some(why) = message["failed"].as_str() {
            so_far.begun.get_or_insert_with(|| Err(why.to_owned()));
            so_far.stopped = true;
        }
        so_far.stopped |= message["stopped"] == true;
        self.more.notify_all();
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().expect("no panic under the lock")).into_owned()
    }

    fn wait<T>(&self, patience: Duration, is: impl Fn(&SoFar) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        let mut so_far = self.so_far.lock().expect("no panic under the lock");
        loop {
            if let Some(found) = is(&so_far) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            so_far = self.more.wait_timeout(so_far, left).expect("no panic under the lock").0;
        }
    }
}

/// The Node process. It ends when its standard input does, which is when the test binary ends.
struct Host {
    input: Mutex<ChildStdin>,
    workers: Arc<Mutex<HashMap<u64, Arc<Told>>>>,
    _node: Child,
}

impl Host {
    fn begin() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut node = Command::new("node")
            .arg(manifest.join("../harness/src/proxy/workers.mjs"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node is installed");
        let input = Mutex::new(node.stdin.take().expect("a pipe"));
        let output = BufReader::new(node.stdout.take().expect("a pipe"));
        let workers = Arc::<Mutex<HashMap<u64, Arc<Told>>>>::default();
        let known = Arc::clone(&workers);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                let id = message["id"].as_u64().unwrap_or_default();
                let told = known.lock().expect("no panic under the lock").get(&id).cloned();
                if let Some(told) = told {
                    told.take(&message);
                }
            }
            let gone = json!({"failed": "the Node process has ended, see above"});
            known.lock().expect("no panic under the lock").values().for_each(|it| it.take(&gone));
        });
        Self { input, workers, _node: node }
    }

    fn ask(&self, message: &Value) {
        let mut input = self.input.lock().expect("no panic under the lock");
        // Fails when it has ended; its Workers have been told so.
        let _ = writeln!(input, "{message}");
    }
}

static HOST: LazyLock<Host> = LazyLock::new(Host::begin);
static NEXT: AtomicU64 = AtomicU64::new(1);
