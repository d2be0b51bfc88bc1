//! HAProxy in front of the fleet, with the configuration of `packaging/`.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Connection, free_port, get};
use tempfile::TempDir;

/// A load balancer. Dropping it ends it.
pub(crate) struct Balancer {
    port: u16,
    statistics: u16,
    child: Child,
    folder: TempDir,
}

impl Balancer {
    pub(crate) fn before(ports: &[u16]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (port, statistics) = (free_port(), free_port());
        let config = shipped(port, statistics, ports);
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, config).expect("a writable folder");
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.path().join(LOG)).expect("a writable folder"))
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is needed: `cargo xtask test` installs it (apt-get install haproxy)");
        let balancer = Self { port, statistics, child, folder };
        let started = Instant::now();
        while TcpStream::connect(balancer.address()).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "haproxy does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        balancer
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the balancer has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).expect("a log")
    }

    /// Waits until `count` processes are in service.
    #[track_caller]
    pub(crate) fn await_up(&self, count: usize) {
        let started = Instant::now();
        loop {
            let mut connection = Connection::open(&format!("127.0.0.1:{}", self.statistics));
            let table = connection.send(get("/;csv", &["Connection: close"])).text();
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
            assert!(started.elapsed() < Duration::from_secs(10), "{up} of {count} are up: {table}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `packaging/haproxy.cfg` with the test's addresses and more frequent health checks.
fn shipped(port: u16, statistics: u16, ports: &[u16]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/haproxy.cfg");
    let mut config = std::fs::read_to_string(path).expect("a file of the repository");
    let servers: String =
        ports.iter().map(|port| format!("server p{port} 127.0.0.1:{port}\n")).collect();
    for (shipped, test) in [
        ("maxconn 20000", "maxconn 4000".to_owned()),
        ("bind :8787", format!("bind 127.0.0.1:{port}")),
        ("bind 127.0.0.1:8404", format!("bind 127.0.0.1:{statistics}")),
        ("inter 500ms", "inter 200ms".to_owned()),
        ("server-template proxy 3 proxy:8787 resolvers system init-addr last,libc,none\n", servers),
    ] {
        assert_eq!(config.matches(shipped).count(), 1, "{shipped}");
        config = config.replace(shipped, &test);
    }
    config
}

const LOG: &str = "haproxy.log";

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
