//! An upstream whose every byte, and whose every pause, is written by the test.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::client::find;

/// A listening socket, and what came in.
pub(crate) struct Upstream {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers every request with `respond`, which writes to the connection as it likes.
    pub(crate) fn new(respond: impl Fn(&Received, &mut Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (respond, log) = (Arc::new(respond), Arc::clone(&received));
        let count = Arc::clone(&connections);
        // The thread ends with the process: one socket a test.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (respond, log) = (Arc::clone(&respond), Arc::clone(&log));
                thread::spawn(move || {
                    let mut wire = Wire::on(stream);
                    while let Some(request) = wire.request() {
                        log.lock().expect("no panic under the lock").push(request.clone());
                        respond(&request, &mut wire);
                        if !wire.open {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, received, connections }
    }

    /// Hands over every connection as it is, nothing read. One that is dropped unread is reset: with
    /// bytes waiting to be read, closing sends RST and not FIN (RFC 2525, 2.17).
    pub(crate) fn raw(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::<AtomicUsize>::default();
        let (each, count) = (Arc::new(each), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let each = Arc::clone(&each);
                thread::spawn(move || each(stream));
            }
        });
        Self { address, received: Arc::default(), connections }
    }

    /// The same whole answer for every request.
    pub(crate) fn answering(status: &str, headers: &str, body: &str) -> Self {
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        Self::new(move |_, wire| wire.write(&answer))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic under the lock").clone()
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("JSON is text")
    }

    /// What stands behind `"request":` in the generate envelope, without the envelope's brace.
    #[track_caller]
    pub(crate) fn inner(&self) -> &str {
        let (_, rest) = self.text().split_once(r#","request":"#).expect("an envelope");
        rest.strip_suffix('}').expect("an envelope")
    }

    fn length(&self) -> Option<usize> {
        let lower = self.head.to_ascii_lowercase();
        let value = lower.lines().find_map(|line| line.strip_prefix("content-length:"))?;
        Some(value.trim().parse().expect("a number"))
    }
}

/// The proxy's connection to us.
pub(crate) struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
    open: bool,
}

impl Wire {
    /// On a connection of which nothing has been read.
    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, ahead: Vec::new(), open: true }
    }

    /// False when either side has closed.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Writes; a proxy that has gone is no failure here.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.open &= self.stream.write_all(bytes.as_ref()).is_ok();
    }

    /// The head of an event stream in chunks.
    pub(crate) fn begin_stream(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        );
    }

    /// One chunk of a chunked body.
    pub(crate) fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(framed);
    }

    /// The end of a chunked body.
    pub(crate) fn end(&mut self) {
        self.write("0\r\n\r\n");
    }

    /// Closes with FIN, wherever the answer is.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.open = false;
    }

    /// True when the proxy has closed the connection within so long.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("a TCP option");
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        self.stream.set_read_timeout(None).expect("a TCP option");
        closed
    }

    /// Writes as much of `count` times `piece` as is taken before nothing moves for `patience`, and
    /// says how many bytes that were.
    pub(crate) fn pour(&mut self, piece: &[u8], count: usize, patience: Duration) -> u64 {
        self.stream.set_write_timeout(Some(patience)).expect("a TCP option");
        let mut written = 0;
        for _ in 0..count {
            let mut rest = piece;
            while !rest.is_empty() {
                let Ok(taken @ 1..) = self.stream.write(rest) else { return written };
                written += taken as u64;
                rest = &rest[taken..];
            }
        }
        written
    }

    /// The next request, `None` when the proxy has closed.
    pub(crate) fn request(&mut self) -> Option<Received> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
        self.ahead.drain(..end);
        let mut received = Received { head, body: Vec::new() };
        let length = received.length().unwrap_or(0);
        while self.ahead.len() < length {
            self.more()?;
        }
        received.body = self.ahead.drain(..length).collect();
        Some(received)
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 256 * 1024];
        let read = self.stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        self.ahead.extend_from_slice(&buffer[..read]);
        Some(())
    }
}
