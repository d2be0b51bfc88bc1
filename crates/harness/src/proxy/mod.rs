//! The proxy with nothing but its settings in its environment: the real binary as a child, or the
//! Worker under workerd.

mod host;
mod subject;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, Connection, get, post};
use crate::google::Google;
use crate::upstream::Upstream;
use host::Hosted;
pub(crate) use subject::Subject;

/// How a proxy is to be started.
pub(crate) struct Setup {
    subject: Subject,
    home: Arc<TempDir>,
    env: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// The largest file that it may write, in blocks of 512 bytes.
    file_limit: Option<u32>,
}

impl Setup {
    /// Against the emulator, with a login that works.
    pub(crate) fn on(google: &Google) -> Self {
        Self::bare()
            .env("CODE_ASSIST_ENDPOINT", google.url())
            .env("OAUTH_TOKEN_URL", google.token_url())
            .env("OAUTH_TOKENINFO_URL", google.tokeninfo_url())
            .login(&google.login())
    }

    /// Against a scripted upstream, with token and project given: only what the test asks for
    /// arrives there.
    pub(crate) fn at(upstream: &Upstream) -> Self {
        Self::bare()
            .env("CODE_ASSIST_ENDPOINT", upstream.url())
            .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.given")
            .env("GEMINI_PROJECT_ID", "given-project")
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
    }

    /// Without credentials, and with every Google address pointing at nothing.
    pub(crate) fn bare() -> Self {
        let home = Arc::new(TempDir::new().expect("a temporary folder"));
        let nowhere = "http://127.0.0.1:9";
        let (subject, env) = (Subject::chosen(), BTreeMap::new());
        Self { subject, home, env, arguments: Vec::new(), file_limit: None }
            .env("CODE_ASSIST_ENDPOINT", nowhere)
            .env("OAUTH_TOKEN_URL", nowhere)
            .env("OAUTH_TOKENINFO_URL", nowhere)
            .env("KV_URL", "memory:")
            .env("PORT", "0")
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// The same home with another setting.
    pub(crate) fn env_of(&self, name: &str, value: impl Into<String>) -> Self {
        let mut env = self.env.clone();
        env.insert(name.to_owned(), value.into());
        let (home, arguments) = (Arc::clone(&self.home), self.arguments.clone());
        Self { home, env, arguments, ..*self }
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a limit on the size of files, in blocks of 512 bytes: writes fail as on a full disk.
    pub(crate) fn file_limit(mut self, blocks: u32) -> Self {
        self.file_limit = Some(blocks);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Gives the CLI's login, as every subject can take it.
    pub(crate) fn login(self, content: &str) -> Self {
        self.env("GCP_SERVICE_ACCOUNT", content)
    }

    /// Writes the CLI's credential file, and gives no login but that.
    pub(crate) fn login_file(self, content: &str) -> Self {
        self.write(".gemini/oauth_creds.json", content);
        self.without("GCP_SERVICE_ACCOUNT")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// Starts the proxy and waits until it listens. Can be called again, in the same home.
    #[track_caller]
    pub(crate) fn start(&self) -> Proxy {
        let mut proxy = match self.subject {
            Subject::Native => self.spawn(),
            Subject::Worker => self.host(),
        };
        proxy.address = proxy.await_address();
        proxy
    }

    /// Runs a proxy that is not going to start.
    pub(crate) fn refuse(&self) -> Output {
        let mut proxy = self.spawn();
        let status = proxy.wait(Duration::from_secs(20));
        let (stdout, stderr) = proxy.all_output();
        Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
    }

    fn spawn(&self) -> Proxy {
        let mut child = self
            .command()
            .arg("serve")
            .args(&self.arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(&self.env)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = Pipe::drain(child.stdout.take().expect("a pipe"));
        let stderr = Pipe::drain(child.stderr.take().expect("a pipe"));
        let (address, home) = (String::new(), Arc::clone(&self.home));
        Proxy { address, running: Running::Native(child), stdout, stderr, home }
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_code-assist-proxy");
        match self.file_limit {
            None => Command::new(binary),
            Some(blocks) => {
                let mut shell = Command::new("/bin/sh");
                let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script, binary]);
                shell
            }
        }
    }

    fn host(&self) -> Proxy {
        let stdout = Pipe::default();
        let worker = Hosted::start(&self.env, &self.path("kv"), Arc::clone(&stdout.so_far));
        let (address, home) = (String::new(), Arc::clone(&self.home));
        let running = Running::Worker(worker);
        Proxy { address, running, stdout, stderr: Pipe::default(), home }
    }
}

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    pub(crate) address: String,
    running: Running,
    stdout: Pipe,
    stderr: Pipe,
    home: Arc<TempDir>,
}

enum Running {
    Native(Child),
    Worker(Hosted),
}

impl Proxy {
    /// Whether it is the binary, for what only that promises.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self.running, Running::Native(_))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(&self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().ask(request)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(get(path, &[]))
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(post(path, &[], body))
    }

    /// What it has written so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for a piece of text in the output.
    #[track_caller]
    pub(crate) fn await_output(&self, text: &str) {
        let begun = Instant::now();
        while !self.stdout().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(10), "no {text:?} in {}", self.stdout());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log lines of requests.
    pub(crate) fn request_lines(&self) -> Vec<Value> {
        let stdout = self.stdout();
        let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "request").collect()
    }

    /// Waits for so many log lines of requests.
    #[track_caller]
    pub(crate) fn await_request_lines(&self, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let lines = self.request_lines();
            if lines.len() >= count {
                return lines;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{lines:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes the CLI's credential file anew, while the proxy runs.
    pub(crate) fn login(&self, content: &str) {
        let path = self.path(".gemini/oauth_creds.json");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// A path in its home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(begun.elapsed() < patience, "still running: {}", self.stdout());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with -9; a Worker is stopped.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Everything it has ever written; ends it if it still runs.
    pub(crate) fn all_output(mut self) -> (String, String) {
        self.end();
        (self.stdout.end(), self.stderr.end())
    }

    /// A line of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("a Linux with /proc");
        let line = status.lines().find(|line| line.starts_with(what)).expect("a known line");
        let kilobytes = line.split_whitespace().nth(1).expect("a number");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// How many file descriptors it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.proc("fd")).expect("a Linux with /proc").count()
    }

    /// Makes `VmHWM` begin anew.
    pub(crate) fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").expect("a process of our own");
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid()).join(name)
    }

    fn pid(&self) -> String {
        let Running::Native(child) = &self.running else { panic!("{OF_THE_BINARY}") };
        child.id().to_string()
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let Running::Native(child) = &mut self.running else { panic!("{OF_THE_BINARY}") };
        child.try_wait().expect("a child of ours")
    }

    #[track_caller]
    fn await_address(&mut self) -> String {
        if let Running::Worker(worker) = &self.running {
            return worker.address();
        }
        let begun = Instant::now();
        loop {
            let said = self.stdout();
            let mut lines = said.lines().map(str::trim);
            let address = lines.find_map(|line| line.strip_prefix("listening on http://"));
            if let Some(address) = address
                && said.contains("  store  ")
            {
                return address.to_owned();
            }
            let too_late = begun.elapsed() > Duration::from_secs(20);
            let ended = self.try_wait().is_some();
            assert!(!ended && !too_late, "no proxy: {said} {}", self.stderr());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(&mut self) {
        match &mut self.running {
            Running::Native(child) => {
                // Both fail only when it has ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Worker(worker) => worker.stop(),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// A child's output, read all the time: a full pipe would stop the child.
#[derive(Default)]
struct Pipe {
    so_far: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn drain(mut from: impl Read + Send + 'static) -> Self {
        let so_far = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&so_far);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                into.lock().expect("no panic under the lock").extend_from_slice(&buffer[..read]);
            }
        });
        Self { so_far, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.so_far.lock().expect("no panic under the lock")).into_owned()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.text()
    }
}

/// Why a Worker cannot do it: it is no process of its own.
const OF_THE_BINARY: &str = "only the binary has this: the case belongs to a native suite";
