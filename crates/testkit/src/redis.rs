//! A real `redis-server` on a port of its own, which tests may stop, kill and restart.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that keeps nothing on disk. Dropping it ends it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// There is no `redis-server` on this machine (`cargo xtask test` installs it), or it does not
    /// start.
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

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it where it stands: connections stay, and nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    ///
    /// It cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("a process of ours");
        self.child.wait().expect("a process of ours");
    }

    /// Starts it anew, empty, on the same port.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.options).expect("the port is still ours");
    }

    /// What `redis-cli` says to this.
    ///
    /// # Panics
    ///
    /// There is no `redis-cli`.
    pub fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        String::from_utf8_lossy(&out.expect("redis-cli").stdout).trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(told.expect("kill").success(), "the server is gone");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(file(self.port));
    }
}

/// A port that nobody listens on, and that no other test of this process is given: a server that is
/// killed gets its own port again, and a Sentinel must not find another test's server on it. Below
/// what the system gives to outgoing connections.
///
/// # Panics
///
/// There is none.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let turn =
            std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(turn % PORTS).expect("a small number");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn file(port: u16) -> PathBuf {
    std::env::temp_dir().join(format!("redis-{}-{port}.rdb", std::process::id()))
}

fn spawn(port: u16, options: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    // A primary writes a file for its replica all the same, and a server that finds one reads it.
    let file = file(port);
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
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some(child);
        }
        if child.try_wait().expect("a process of ours").is_some() {
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
