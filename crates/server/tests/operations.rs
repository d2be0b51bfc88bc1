//! What an operator does to a running proxy: signals, reload, systemd. The real binary, real
//! sockets, an upstream that holds its streams open.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "in a helper, too, it is the test that fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

#[test]
fn sighup_reloads_keys_aliases_and_log_level_and_drops_no_stream() {
    let upstream = Upstream::start();
    let mut proxy =
        Running::start(&upstream, "proxy_api_keys = \"old-key\"\nlog_level = \"warn\"", &[]);
    assert_eq!(proxy.models("old-key", "my-model"), (200, None));
    assert_eq!(proxy.models("new-key", "my-model").0, 401);
    let mut stream = proxy.open_stream("old-key");

    assert!(!proxy.log().contains("\"level\":\"INFO\""), "{}", proxy.log());
    proxy.write_config(
        "proxy_api_keys = [\"ada:new-key\"]\nmodel_aliases = \"my-model=gemini-2.5-pro\"\n\
         log_level = \"info\"\n",
    );
    proxy.signal(Signal::HUP);
    proxy.until_logged("settings read again");
    assert_eq!(proxy.models("old-key", "my-model").0, 401);
    assert_eq!(proxy.models("new-key", "my-model"), (200, Some("gemini-2.5-pro".into())));
    proxy.until_logged("\"model\":\"gemini-2.5-pro\"");

    upstream.finish_streams();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("the end"), "{rest}");
    assert!(!proxy.log().contains("new-key") && !proxy.log().contains("old-key"));
}

#[test]
fn bad_settings_are_reported_and_the_old_ones_stay() {
    let upstream = Upstream::start();
    let mut proxy = Running::start(&upstream, "proxy_api_keys = \"old-key\"", &[]);
    for (bad, told) in [
        ("proxy_api_keys = \"hush hush\"", "PROXY_API_KEYS"),
        ("model_aliases = \"nothing\"", "MODEL_ALIASES"),
        ("log_level = \"loud\"", "LOG_LEVEL"),
        ("this is no toml", "is not TOML"),
    ] {
        proxy.write_config(bad);
        proxy.signal(Signal::HUP);
        proxy.until_logged(told);
        assert_eq!(proxy.models("old-key", "m").0, 200, "{bad}");
    }
    assert!(!proxy.log().contains("hush"), "{}", proxy.log());
}

#[test]
fn a_reload_cannot_remove_all_keys_on_a_public_address() {
    let upstream = Upstream::start();
    let file = "host = \"0.0.0.0\"\nproxy_api_keys = \"old-key\"";
    let mut proxy = Running::start(&upstream, file, &[]);
    proxy.write_config("host = \"127.0.0.1\"");
    proxy.signal(Signal::HUP);
    proxy.until_logged("refuses to listen on 0.0.0.0 without keys");
    assert_eq!(proxy.models("", "m").0, 401);
}

#[test]
fn a_drain_refuses_new_requests_on_open_connections_and_lets_streams_finish() {
    let upstream = Upstream::start();
    let mut proxy = Running::start(&upstream, "", &[]);
    let mut idle = TcpStream::connect(proxy.address).unwrap();
    assert!(ask_on(&mut idle, "GET /health").starts_with("HTTP/1.1 200"));
    let mut other = TcpStream::connect(proxy.address).unwrap();
    assert!(ask_on(&mut other, "GET /health").starts_with("HTTP/1.1 200"));
    let mut stream = proxy.open_stream("");

    proxy.signal(Signal::TERM);
    proxy.until_logged("shutting down");
    let refused = ask_on(&mut idle, "GET /v1beta/models/m");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    assert!(refused.contains("SHUTTING_DOWN"), "{refused}");
    let health = ask_on(&mut other, "GET /health");
    assert!(health.starts_with("HTTP/1.1 503"), "{health}");
    let mut fresh = TcpStream::connect(proxy.address).unwrap();
    assert!(ask_on(&mut fresh, "GET /health").starts_with("HTTP/1.1 503"));

    upstream.finish_streams();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("the end") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let upstream = Upstream::start();
    let mut proxy = Running::start(&upstream, "", &[]);
    let _stream = proxy.open_stream("");
    proxy.signal(Signal::TERM);
    proxy.until_logged("shutting down");
    let begun = Instant::now();
    proxy.signal(Signal::INT);
    assert_eq!(proxy.exit_code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn systemd_is_notified_of_each_change_of_state_and_of_liveness() {
    let upstream = Upstream::start();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let told = || {
        let mut state = [0; 512];
        let length = socket.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    let until = |wanted: &str| loop {
        let state = told();
        if state.starts_with(wanted) {
            return state;
        }
        assert_eq!(state, "WATCHDOG=1", "before {wanted}");
    };
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let mut proxy = Running::start(&upstream, "", &env);
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    proxy.signal(Signal::HUP);
    let reloading = until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    until("READY=1");
    proxy.signal(Signal::TERM);
    until("STOPPING=1");
    assert_eq!(proxy.exit_code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_notified_on_an_abstract_socket_too() {
    use std::os::linux::net::SocketAddrExt;

    let upstream = Upstream::start();
    let name = format!("code-assist-proxy-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _proxy = Running::start(&upstream, "", &[("NOTIFY_SOCKET", &format!("@{name}"))]);
    let mut state = [0; 64];
    let length = socket.recv(&mut state).unwrap();
    assert_eq!(&state[..length], b"READY=1");
}

/// The binary, serving.
struct Running {
    child: Child,
    address: SocketAddr,
    home: TempDir,
    lines: Arc<Mutex<Vec<String>>>,
    seen: usize,
}

impl Running {
    fn start(upstream: &Upstream, file: &str, env: &[(&str, &str)]) -> Self {
        let home = TempDir::new().unwrap();
        std::fs::write(home.path().join("c.toml"), file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"))
            .args(["--config", "c.toml", "serve", "--port", "0"])
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("KV_URL", "memory:")
            .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.test")
            .env("GEMINI_PROJECT_ID", "test-project")
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
            .env("CODE_ASSIST_ENDPOINT", format!("http://{}", upstream.address))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().replace("0.0.0.0", "127.0.0.1").parse().unwrap();
            }
        };
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let mut running = Self { child, address, home, lines, seen: 0 };
        // Signals are heeded once requests are answered.
        running.models("", "m");
        running
    }

    fn write_config(&self, text: &str) {
        std::fs::write(self.home.path().join("c.toml"), text).unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line that has not been waited for before.
    fn until_logged(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap();
            let found = lines[self.seen..].iter().position(|line| line.contains(text));
            if let Some(at) = found {
                self.seen += at + 1;
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no {text} in {lines:#?}");
            drop(lines);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Generates with this key and model: the status, and the model that was used instead.
    fn models(&mut self, key: &str, model: &str) -> (u16, Option<String>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let path = format!("/v1beta/models/{model}:generateContent");
        stream.write_all(post(&path, key).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let used = answer.lines().find_map(|line| line.strip_prefix("x-proxy-model: "));
        (answer[9..12].parse().unwrap(), used.map(str::to_owned))
    }

    /// A stream whose first event has come.
    fn open_stream(&self, key: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let path = "/v1beta/models/m:streamGenerateContent?alt=sse";
        stream.write_all(post(path, key).as_bytes()).unwrap();
        let mut begun = String::new();
        while !begun.contains("the beginning") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{begun}");
            begun.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        stream
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Code Assist that answers at once, and ends its streams when it is told to.
struct Upstream {
    address: SocketAddr,
    held: Arc<Mutex<Vec<Sender<()>>>>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Mutex::new(Vec::new()));
        let holding = Arc::clone(&held);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (hold, held) = channel();
                holding.lock().unwrap().push(hold);
                thread::spawn(move || answer(stream, &held));
            }
        });
        Self { address, held }
    }

    fn finish_streams(&self) {
        self.held.lock().unwrap().clear();
    }
}

fn answer(mut stream: TcpStream, held: &Receiver<()>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let event = |text: &str| {
        let part = format!("{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}}");
        format!(
            "{{\"response\":{{\"candidates\":[{{\"content\":{part},\"finishReason\":\"STOP\"}}]}}}}"
        )
    };
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type:";
    if head.contains("alt=sse") {
        let begin =
            format!("{close} text/event-stream\r\n\r\ndata: {}\r\n\r\n", event("the beginning"));
        stream.write_all(begin.as_bytes()).unwrap();
        let _ = held.recv();
        let _ = stream.write_all(format!("data: {}\r\n\r\n", event("the end")).as_bytes());
    } else {
        let _ =
            stream.write_all(format!("{close} application/json\r\n\r\n{}", event("ok")).as_bytes());
    }
}

fn post(path: &str, key: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!("x-goog-api-key: {key}\r\n") };
    let body = "{\"contents\":[{\"parts\":[{\"text\":\"Hello\"}]}]}";
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Asks on a connection that stays open, and reads one answer with a known length.
fn ask_on(stream: &mut TcpStream, line: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| body.len() >= length.parse().unwrap()) {
            return answer;
        }
    }
}
