//! The loads: a fixed number of requests over connections that are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::report::Failure;

/// A kind of request, and how many are under way at a time.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// How many are counted at a time.
    pub(super) requests: usize,
    pub(super) connections: usize,
    path: &'static str,
    /// The body up to its prompt, the prompt's first word for upstream, and the rest.
    body: (&'static str, &'static str, &'static str),
}

impl Load {
    pub(super) const ALL: &[Self] = &[
        Self {
            name: "unary",
            what: "a request of 1 KiB, 64 at a time",
            requests: 600,
            connections: 64,
            path: GENERATE,
            body: (GEMINI.0, "plan:0x0; ", GEMINI.1),
        },
        Self {
            name: "unary_alone",
            what: "the same, one at a time",
            requests: 200,
            connections: 1,
            path: GENERATE,
            body: (GEMINI.0, "plan:0x0; ", GEMINI.1),
        },
        Self {
            name: "streamed",
            what: "a streamed request, 20 events sent at once, 64 at a time",
            requests: 600,
            connections: 64,
            path: STREAM,
            body: (GEMINI.0, "plan:20x0; ", GEMINI.1),
        },
        Self {
            name: "chat",
            what: "a chat request of OpenAI, 1 KiB, 64 at a time",
            requests: 600,
            connections: 64,
            path: "/v1/chat/completions",
            body: (CHAT.0, "plan:0x0; ", CHAT.1),
        },
    ];

    /// Sends `requests`; each connection sends its next one as soon as it has the answer.
    pub(super) fn send(
        &self,
        connections: &mut [Connection],
        requests: usize,
    ) -> Result<(), Failure> {
        let request = self.request();
        let begun = AtomicUsize::new(0);
        let sent: Sent = std::thread::scope(|scope| {
            let senders: Vec<_> = connections
                .iter_mut()
                .map(|connection| {
                    scope.spawn(|| {
                        while begun.fetch_add(1, Relaxed) < requests {
                            connection.exchange(&request)?;
                        }
                        Sent::Ok(())
                    })
                })
                .collect();
            let mut ended = senders.into_iter().map(|sender| sender.join());
            ended.try_for_each(|end| end.unwrap_or_else(|_| Err("a sender panicked".into())))
        });
        sent.map_err(|why| Failure::new(format!("{}: {why}", self.name)))
    }

    fn request(&self) -> Vec<u8> {
        let (before, plan, after) = self.body;
        let padding = BODY_BYTES.saturating_sub(before.len() + plan.len() + after.len());
        let prose: String = PROSE.chars().cycle().take(padding).collect();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Authorization: Bearer sk-costs\r\nx-goog-api-key: sk-costs\r\nUser-Agent: costs\r\n\
             Accept: */*\r\nContent-Length: {}\r\n\r\n",
            self.path,
            before.len() + plan.len() + prose.len() + after.len(),
        );
        [&*head, before, plan, &*prose, after].concat().into_bytes()
    }
}

pub(super) fn connect(connections: usize, address: &str) -> Result<Vec<Connection>, Failure> {
    (0..connections).map(|_| Connection::open(address).map_err(failed)).collect()
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn exchange(&mut self, request: &[u8]) -> Sent {
        self.0.get_mut().write_all(request)?;
        let body = read_answer(&mut self.0)?;
        if !body.contains("index") {
            return Err(format!("not an answer of upstream: {body}").into());
        }
        Ok(())
    }
}

/// Reads an answer with status 200 and returns its body.
fn read_answer(from: &mut impl BufRead) -> Sent<String> {
    let mut status = String::new();
    from.read_line(&mut status)?;
    let mut length = Some(0);
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", number)) => length = Some(number.parse()?),
            Some(("transfer-encoding", "chunked")) => length = None,
            Some(_) => {}
            None if line.is_empty() => break,
            None => return Err(format!("not a header: `{line}`").into()),
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            from.take(length).read_to_end(&mut body)?;
        }
        None => loop {
            let mut size = String::new();
            from.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim_end(), 16)?;
            from.take(size).read_to_end(&mut body)?;
            let mut end = String::new();
            from.read_line(&mut end)?;
            if size == 0 {
                break;
            }
        },
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{} {body}", status.trim_end()).into());
    }
    Ok(body)
}

type Sent<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot connect to the server: {why}"))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

const GEMINI: (&str, &str) = (
    r#"{"contents":[{"role":"user","parts":[{"text":""#,
    r#""}]}],"generationConfig":{"temperature":1,"maxOutputTokens":1024}}"#,
);

const CHAT: (&str, &str) = (
    r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":""#,
    r#""}],"temperature":1,"max_tokens":1024}"#,
);

const BODY_BYTES: usize = 1024;

const PROSE: &str = r"The quick brown fox jumps over the lazy dog, and says a word or two.";

/// An answer takes some milliseconds under valgrind.
const TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_one_kibibyte_and_name_the_plan_of_upstream() {
        for load in Load::ALL {
            let request = String::from_utf8(load.request()).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), BODY_BYTES);
            assert!(head.ends_with("Content-Length: 1024"), "{head}");
            assert!(body.contains("plan:"));
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }

    #[test]
    fn an_answer_ends_where_its_length_or_its_last_chunk_says() {
        let mut two = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
                       HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"
            .as_bytes();
        assert_eq!(read_answer(&mut two).unwrap(), "abc");
        assert_eq!(read_answer(&mut two).unwrap(), "def");
        assert!(two.is_empty());
    }

    #[test]
    fn a_refusal_and_a_closed_connection_are_failures() {
        let mut refused = "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nwhy?".as_bytes();
        assert_eq!(read_answer(&mut refused).unwrap_err().to_string(), "HTTP/1.1 503 No why?");
        assert!(read_answer(&mut "".as_bytes()).is_err());
    }
}
