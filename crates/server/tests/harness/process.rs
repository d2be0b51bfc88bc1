//! The real binary as a child, with nothing else in its environment.

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

/// How a proxy is to be started.
pub(crate) struct Setup {
    home: Arc<TempDir>,
    env: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// The largest file that it may write, in blocks of 512 bytes.
    file_limit: Option<u32>,
}

impl Setup {
    /// Against the emulator, with a login file that works.
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
        Self { home, env: BTreeMap::new(), arguments: vec!["serve".to_owned()], file_limit: None }
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
        Self { home, env, arguments, file_limit: self.file_limit }
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

    /// Writes the CLI's credential file.
    pub(crate) fn login(self, content: &str) -> Self {
        self.write(".gemini/oauth_creds.json", content);
        self
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// Starts the proxy and waits until it listens. Can be called again, in the same home.
    #[track_caller]
    pub(crate) fn start(&self) -> Proxy {
        let child = self.command().spawn().expect("the binary runs");
        let mut proxy = Proxy::around(child, Arc::clone(&self.home));
        let begun = Instant::now();
        proxy.address = loop {
            let said = proxy.stdout();
            let line =
                said.lines().find_map(|line| line.trim().strip_prefix("listening on http://"));
            if let Some(address) = line
                && said.contains("  store  ")
            {
                break address.to_owned();
            }
            let ended = proxy.child.try_wait().expect("a child of ours");
            let too_late = begun.elapsed() > Duration::from_secs(20);
            assert!(ended.is_none() && !too_late, "no proxy: {said} {}", proxy.stderr());
            thread::sleep(Duration::from_millis(2));
        };
        proxy
    }

    /// Runs a proxy that is not going to start.
    pub(crate) fn refuse(&self) -> Output {
        let child = self.command().spawn().expect("the binary runs");
        let mut proxy = Proxy::around(child, Arc::clone(&self.home));
        let status = proxy.wait(Duration::from_secs(20));
        let (stdout, stderr) = proxy.all_output();
        Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_code-assist-proxy");
        let mut command = match self.file_limit {
            None => Command::new(binary),
            Some(blocks) => {
                let mut shell = Command::new("/bin/sh");
                let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script, binary]);
                shell
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(&self.env)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    pub(crate) address: String,
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
    home: Arc<TempDir>,
}

impl Proxy {
    fn around(mut child: Child, home: Arc<TempDir>) -> Self {
        let stdout = Pipe::drain(child.stdout.take().expect("a pipe"));
        let stderr = Pipe::drain(child.stderr.take().expect("a pipe"));
        Self { address: String::new(), child, stdout, stderr, home }
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
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(begun.elapsed() < patience, "still running: {}", self.stdout());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with -9.
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
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// A child's output, read all the time: a full pipe would stop the child.
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
