//! HAProxy in front of the fleet, as `docs/SCALING.md` says to set it up.

use std::fmt::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_testkit::redis::free_port;
use tempfile::TempDir;

use crate::client::{Connection, get};

/// A load balancer; ended when dropped.
pub(crate) struct Balancer {
    port: u16,
    statistics: u16,
    child: Child,
    _folder: TempDir,
}

impl Balancer {
    pub(crate) fn before(ports: &[u16]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (port, statistics) = (free_port(), free_port());
        let mut config = format!(
            "global
    maxconn 4000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout queue 10s
    timeout check 2s
frontend statistics
    bind 127.0.0.1:{statistics}
    stats enable
    stats uri /
frontend in
    bind 127.0.0.1:{port}
    default_backend fleet
backend fleet
    balance roundrobin
    option httpchk GET /health
    http-reuse never
    retries 3
    option redispatch 1
    # Whoever is being stopped says 503 to what it has not begun; the next one takes it.
    retry-on conn-failure empty-response 503
    default-server check inter 200ms fall 2 rise 1
"
        );
        for port in ports {
            let _ = writeln!(config, "    server p{port} 127.0.0.1:{port}");
        }
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, config).expect("a writable folder");
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is needed: `cargo xtask test` installs it (apt-get install haproxy)");
        let balancer = Self { port, statistics, child, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(balancer.address()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "haproxy does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        balancer
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until so many processes are in service.
    #[track_caller]
    pub(crate) fn await_up(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let mut connection = Connection::to(&format!("127.0.0.1:{}", self.statistics));
            let table = connection.ask(get("/;csv", &["Connection: close"])).text();
            // Backend, server, …, status and check are columns; a server's last check code is 200.
            let up = table.lines().filter(|line| {
                let mut columns = line.split(',');
                columns.next() == Some("fleet")
                    && columns.next() != Some("BACKEND")
                    && line.split(',').nth(17) == Some("UP")
                    && line.contains("L7OK")
            });
            let up = up.count();
            if up == count {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{up} of {count} are up: {table}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
