//! A real `redis-server` on its own port.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that keeps nothing on disk. Tests may pause, kill and restart it; dropping it ends it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a server. `{port}` in an option becomes its port.
    pub fn start(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = spawn(port, &options) {
                return Self { port, options, child };
            }
        }
        panic!("redis-server does not start");
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Suspends the process: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of this process");
        self.child.wait().expect("a child of this process");
    }

    /// Starts an empty server on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.options).expect("the port is still free");
    }

    /// Runs a command with `redis-cli`, and returns what it prints.
    pub fn cli(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        String::from_utf8_lossy(&out.expect("redis-cli").stdout).trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "the server has exited");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(dump_file(self.port));
    }
}

/// A port that is free, and that no other test of this process gets: a server that is killed needs
/// its own port again, and a Sentinel must not find another test's server on it. The port is below
/// the range that the system uses for outgoing connections.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let candidate = std::process::id().wrapping_mul(97).wrapping_add(taken);
        let port = FIRST_PORT + u16::try_from(candidate % PORTS).expect("a small number");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn dump_file(port: u16) -> PathBuf {
    std::env::temp_dir().join(format!("redis-{}-{port}.rdb", std::process::id()))
}

fn spawn(port: u16, options: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    // A primary writes a dump for its replica even so, and a server that finds a dump loads it.
    let file = dump_file(port);
    let _ = std::fs::remove_file(&file);
    command.arg("--dir").arg(std::env::temp_dir());
    command.arg("--dbfilename").args(file.file_name());
    if !options.iter().any(|option| option == "--port") {
        command.args(["--port", &port.to_string()]);
    }
    let options = options.iter().map(|option| option.replace("{port}", &port.to_string()));
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command
        .spawn()
        .expect("redis-server is needed: `cargo xtask test` installs it (apt-get install redis)");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some(child);
        }
        if child.try_wait().expect("a child of this process").is_some() {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = 18_000;
