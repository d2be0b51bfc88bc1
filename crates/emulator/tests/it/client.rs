//! A raw HTTP/1.1 client that records how a body arrived, and the requests that tests send.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use code_assist_emulator::{ACCESS_TOKEN, Emulator, Options, PROJECT};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer and how it arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body is whole: it has its last chunk, or its `Content-Length`.
    pub(crate) complete: bool,
    pub(crate) reset: bool,
    pub(crate) reads: Vec<(Instant, usize)>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON, not {}", self.text()))
    }

    /// The payloads of a CRLF event stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        assert!(text.ends_with("\r\n\r\n"), "a blank line at the end: {text:?}");
        text.split_terminator("\r\n\r\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    /// The text of an event stream without thoughts.
    pub(crate) fn said(&self) -> String {
        let mut said = String::new();
        for event in self.events() {
            let parts = event["response"]["candidates"][0]["content"]["parts"].clone();
            for part in parts.as_array().into_iter().flatten() {
                if part["thought"] != true {
                    said.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
        }
        said
    }

    pub(crate) fn message(&self) -> String {
        let body = self.json();
        let error = if body.is_array() { &body[0]["error"] } else { &body["error"] };
        error["message"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn started() -> Emulator {
    code_assist_emulator::start(Options::default()).await.unwrap()
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    emulator: &Emulator,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = opened(emulator, method, target, headers, body).await;
    let (mut raw, mut reads, mut reset) = (Vec::new(), Vec::new(), false);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                reads.push((Instant::now(), count));
                raw.extend_from_slice(&buffer[..count]);
            }
            Err(_) => {
                reset = true;
                break;
            }
        }
    }
    parsed(&raw, reads, reset)
}

/// A connection on which a request has been sent and no answer read.
pub(crate) async fn opened(
    emulator: &Emulator,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let address = emulator.url();
    let address = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

fn parsed(raw: &[u8], reads: Vec<(Instant, usize)>, reset: bool) -> Answer {
    let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer {
            status: 0,
            headers: HashMap::new(),
            body: raw.to_vec(),
            complete: false,
            reset,
            reads,
        };
    };
    let head = std::str::from_utf8(&raw[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HashMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let rest = &raw[end + 4..];
    let (body, complete) = match headers.get("content-length") {
        Some(length) => (rest.to_vec(), rest.len() == length.parse::<usize>().unwrap()),
        None => unchunked(rest),
    };
    Answer { status, headers, body, complete, reset, reads }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..size.min(rest.len())]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    (body, false)
}

/// Calls an RPC with a valid token.
pub(crate) async fn rpc(emulator: &Emulator, name: &str, body: &Value) -> Answer {
    rpc_with(emulator, name, ACCESS_TOKEN, body).await
}

pub(crate) async fn rpc_with(emulator: &Emulator, name: &str, token: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let target = format!("/v1internal:{name}");
    send(emulator, "POST", &target, &headers, body.to_string().as_bytes()).await
}

/// Calls `streamGenerateContent` for server-sent events.
pub(crate) async fn stream(emulator: &Emulator, body: &Value) -> Answer {
    rpc(emulator, "streamGenerateContent?alt=sse", body).await
}

/// The body of a generate call with one user text.
pub(crate) fn prompt(text: &str) -> Value {
    json!({
        "model": "gemini-2.5-flash",
        "project": PROJECT,
        "user_prompt_id": "one",
        "request": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    })
}

/// The same, with more members of `request`.
pub(crate) fn prompt_with(text: &str, more: &Value) -> Value {
    let mut body = prompt(text);
    for (name, value) in more.as_object().unwrap() {
        body["request"][name] = value.clone();
    }
    body
}

pub(crate) async fn control(emulator: &Emulator, method: &str, path: &str, body: &Value) -> Value {
    let target = format!("/__emulator/{path}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = send(emulator, method, &target, &[], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

pub(crate) async fn script(emulator: &Emulator, rule: Value) {
    control(emulator, "POST", "script", &rule).await;
}

pub(crate) async fn state(emulator: &Emulator, change: Value) {
    control(emulator, "POST", "state", &change).await;
}

pub(crate) async fn log(emulator: &Emulator) -> Vec<Value> {
    control(emulator, "GET", "log", &Value::Null).await.as_array().unwrap().clone()
}

/// The log, once its last request has ended.
pub(crate) async fn settled_log(emulator: &Emulator) -> Vec<Value> {
    for _ in 0..500 {
        let log = log(emulator).await;
        if log.last().is_some_and(|last| last["ended"] == true) {
            return log;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the last request never ended");
}

pub(crate) async fn refresh(emulator: &Emulator, fields: &[(&str, &str)]) -> Answer {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    send(emulator, "POST", "/token", &headers, form.finish().as_bytes()).await
}

pub(crate) const CLIENT: &str =
    "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";
pub(crate) const REFRESH: &str = "1//emulator-refresh";
pub(crate) const GOOD_REFRESH: [(&str, &str); 4] = [
    ("grant_type", "refresh_token"),
    ("client_id", CLIENT),
    ("client_secret", "anything"),
    ("refresh_token", REFRESH),
];
