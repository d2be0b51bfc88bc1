//! Just enough HTTP/1.1 to do what the README does with curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::report::Failure;

/// An answer, its body decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// `GET base/path`.
pub(crate) fn get(base: &str, path: &str) -> Result<Answer, Failure> {
    send(base, "GET", path, "")
}

/// `POST base/path` with a JSON body.
pub(crate) fn post(base: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    send(base, "POST", path, body)
}

fn send(base: &str, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    let told = |why: &dyn std::fmt::Display| Failure::new(format!("{method} {base}{path}: {why}"));
    let host = base.trim_start_matches("http://");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(host).map_err(|why| told(&why))?;
    stream
        .set_read_timeout(Some(LIMIT))
        .map_err(|why| told(&why))?;
    stream
        .write_all(request.as_bytes())
        .map_err(|why| told(&why))?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).map_err(|why| told(&why))?;
    read(&raw).ok_or_else(|| {
        told(&format!(
            "not an HTTP answer: {}",
            String::from_utf8_lossy(&raw)
        ))
    })
}

fn read(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok()?;
    let body = &raw[end + 4..];
    let body = if head.contains("\r\ntransfer-encoding: chunked") {
        joined_chunks(body)?
    } else {
        body.to_vec()
    };
    Some(Answer {
        status,
        head,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// `None` when the last chunk is missing: a cut answer is not an answer.
fn joined_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = line + 2;
        body.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let answer = read(raw).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
    }

    #[test]
    fn a_cut_answer_is_not_an_answer() {
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            None
        );
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-"), None);
    }

    #[test]
    fn a_plain_body_is_kept_as_it_is() {
        let answer = read(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "{}"));
    }
}
