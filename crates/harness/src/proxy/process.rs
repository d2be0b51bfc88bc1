//! A running proxy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::output::CapturedOutput;
use super::worker_host::HostedWorker;
use crate::client::{Connection, Response, get, post};

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    running: Running,
    stdout: CapturedOutput,
    stderr: CapturedOutput,
    home: Arc<TempDir>,
}

#[derive(Debug)]
enum Running {
    Native(Child),
    Worker(HostedWorker),
}

impl Proxy {
    pub(super) fn spawn(mut serve: Command, home: Arc<TempDir>) -> Self {
        let mut child = serve
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let stdout = CapturedOutput::read(child.stdout.take().expect("a pipe"));
        let stderr = CapturedOutput::read(child.stderr.take().expect("a pipe"));
        Self { address: String::new(), running: Running::Native(child), stdout, stderr, home }
    }

    pub(super) fn host(settings: &BTreeMap<String, String>, home: Arc<TempDir>) -> Self {
        let stdout = CapturedOutput::default();
        let worker = HostedWorker::start(settings, &home.path().join("kv"), stdout.buffer());
        let running = Running::Worker(worker);
        Self { address: String::new(), running, stdout, stderr: CapturedOutput::default(), home }
    }

    /// Whether this is the native binary, for what only the binary promises.
    pub fn is_native(&self) -> bool {
        matches!(self.running, Running::Native(_))
    }

    /// `IP:PORT` of its listener.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// Sends one request on its own connection.
    pub fn send(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().send(request)
    }

    /// Sends a `GET` on its own connection.
    pub fn get(&self, path: &str) -> Response {
        self.send(get(path, &[]))
    }

    /// Sends a `POST` of JSON on its own connection.
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send(post(path, &[], body))
    }

    /// Its standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until its standard output contains a text.
    #[track_caller]
    pub fn await_output(&self, text: &str) {
        self.await_output_after(0, text);
    }

    /// Waits until its standard output contains a text after its first `start` bytes.
    #[track_caller]
    pub fn await_output_after(&self, start: usize, text: &str) {
        let started = Instant::now();
        while !self.stdout()[start..].contains(text) {
            assert!(started.elapsed() < LOG_TIMEOUT, "no {text:?} in {}", self.stdout());
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The access log lines until now, in any order.
    pub fn request_lines(&self) -> Vec<Value> {
        let stdout = self.stdout();
        let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "request").collect()
    }

    /// Waits for at least `count` access log lines.
    #[track_caller]
    pub fn await_request_lines(&self, count: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let lines = self.request_lines();
            if lines.len() >= count {
                return lines;
            }
            assert!(started.elapsed() < LOG_TIMEOUT, "{lines:?}");
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Overwrites Gemini CLI's credential file while the proxy runs.
    pub fn write_credentials_file(&self, content: &str) {
        let path = self.path(".gemini/oauth_creds.json");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// A path in its home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until the process has exited.
    #[track_caller]
    pub fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(started.elapsed() < timeout, "still running: {}", self.stdout());
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Kills the binary with SIGKILL; stops a Worker.
    pub fn kill(mut self) {
        self.end();
    }

    /// Ends the proxy if it still runs, and returns all of its standard output and standard error.
    pub fn into_output(mut self) -> (String, String) {
        self.end();
        (self.stdout.text_to_end(), self.stderr.text_to_end())
    }

    /// A line of `/proc/PID/status` in bytes, such as `VmRSS` or `VmHWM`.
    pub fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(self.proc_file("status")).expect("a Linux with /proc");
        let line = status.lines().find(|known| known.starts_with(line)).expect("a known line");
        let kilobytes = line.split_whitespace().nth(1).expect("a number");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// The soft and the hard limit of a line of `/proc/PID/limits`, such as `Max core file size`.
    pub fn limits(&self, line: &str) -> (String, String) {
        let limits = fs::read_to_string(self.proc_file("limits")).expect("a Linux with /proc");
        let columns = limits.lines().find_map(|known| known.strip_prefix(line));
        let mut columns = columns.expect("a known line").split_whitespace().map(str::to_owned);
        let mut next = || columns.next().expect("a column");
        (next(), next())
    }

    /// How many file descriptors it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(self.proc_file("fd")).expect("a Linux with /proc").count()
    }

    /// Sets how many file descriptors it may have, with the command of util-linux. Those that are open stay
    /// open.
    #[track_caller]
    pub fn limit_open_files(&self, limit: u32) {
        let limit = format!("--nofile={limit}:");
        let limited = Command::new("prlimit").args(["--pid", &self.pid(), &limit]).status();
        assert!(limited.expect("a Linux with prlimit").success());
    }

    /// Resets the peak memory (`VmHWM`) to the present use.
    pub fn reset_peak_memory(&self) {
        fs::write(self.proc_file("clear_refs"), "5").expect("a process of this user");
    }

    /// Waits until the proxy listens.
    #[track_caller]
    pub(super) fn await_address(&mut self) {
        self.address = match &self.running {
            Running::Worker(worker) => worker.address(),
            Running::Native(_) => self.announced_address(),
        };
    }

    /// The address in the start-up banner, once the banner is complete.
    #[track_caller]
    fn announced_address(&mut self) -> String {
        let started = Instant::now();
        loop {
            let banner = self.stdout();
            let mut lines = banner.lines().map(str::trim);
            let address = lines.find_map(|line| line.strip_prefix("listening on http://"));
            if let Some(address) = address
                && banner.contains("  store  ")
            {
                return address.to_owned();
            }
            let timed_out = started.elapsed() > START_TIMEOUT;
            let exited = self.try_wait().is_some();
            assert!(!exited && !timed_out, "no proxy: {banner} {}", self.stderr());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn proc_file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid()).join(name)
    }

    fn pid(&self) -> String {
        let Running::Native(child) = &self.running else { panic!("{ONLY_NATIVE}") };
        child.id().to_string()
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let Running::Native(child) = &mut self.running else { panic!("{ONLY_NATIVE}") };
        child.try_wait().expect("a child of this process")
    }

    fn end(&mut self) {
        match &mut self.running {
            Running::Native(child) => {
                // Both fail only when the child has exited already.
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

/// A Worker is not a process with a PID, an exit status and files.
const ONLY_NATIVE: &str = "only the native binary has this: move the case to a native suite";

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Only a test that fails waits for this time.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(20);
