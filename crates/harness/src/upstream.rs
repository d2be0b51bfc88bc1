//! An upstream whose every byte, and whose every pause, the test writes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::client::position;

/// A listening socket, and the requests that it has received. Its threads end with the process.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: String,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    connections: Arc<AtomicUsize>,
}

impl ScriptedUpstream {
    /// Calls `respond` for every request; it writes to the connection as it likes.
    pub fn new(
        respond: impl Fn(&ReceivedRequest, &mut UpstreamConnection) + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::<Mutex<Vec<ReceivedRequest>>>::default();
        let log = Arc::clone(&received);
        let mut upstream = Self::raw(move |stream| {
            let mut connection = UpstreamConnection::new(stream);
            while let Some(request) = connection.request() {
                log.lock().expect("no panic under the lock").push(request.clone());
                respond(&request, &mut connection);
                if !connection.open {
                    return;
                }
            }
        });
        upstream.received = received;
        upstream
    }

    /// Calls `serve` with every connection, of which nothing has been read. A connection that is
    /// dropped unread is reset: closing while bytes wait to be read sends RST and not FIN (RFC 2525,
    /// 2.17).
    pub fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::<AtomicUsize>::default();
        let (serve, count) = (Arc::new(serve), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, received: Arc::default(), connections }
    }

    /// Answers every request with the same whole response.
    pub fn answering(status: &str, headers: &str, body: &str) -> Self {
        let response =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        Self::new(move |_, connection| connection.write(&response))
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests until now; none for [`Self::raw`].
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().expect("no panic under the lock").clone()
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("JSON is text")
    }

    /// The bytes of `request` in the generate envelope.
    #[track_caller]
    pub fn inner_request(&self) -> &str {
        let (_, rest) = self.text().split_once(r#","request":"#).expect("an envelope");
        rest.strip_suffix('}').expect("an envelope")
    }

    fn length(&self) -> Option<usize> {
        let lower = self.head.to_ascii_lowercase();
        let value = lower.lines().find_map(|line| line.strip_prefix("content-length:"))?;
        Some(value.trim().parse().expect("a number"))
    }
}

/// The upstream's end of a connection from the proxy.
#[derive(Debug)]
pub struct UpstreamConnection {
    stream: TcpStream,
    /// Bytes that were received and not yet used.
    buffer: Vec<u8>,
    open: bool,
}

impl UpstreamConnection {
    /// Wraps a connection of which nothing has been read.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, buffer: Vec::new(), open: true }
    }

    /// False when either side has closed.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Writes bytes. A proxy that has closed the connection is no failure here.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.open &= self.stream.write_all(bytes.as_ref()).is_ok();
    }

    /// Writes the head of an event stream in chunks.
    pub fn begin_stream(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        );
    }

    /// Writes one chunk of a chunked body.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(framed);
    }

    /// Writes the end of a chunked body.
    pub fn end(&mut self) {
        self.write("0\r\n\r\n");
    }

    /// Closes with FIN, whatever part of the response was written.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.open = false;
    }

    /// Waits at most `timeout` for the proxy to close the connection: true when it has.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.stream.set_read_timeout(Some(timeout)).expect("a TCP option");
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        self.stream.set_read_timeout(None).expect("a TCP option");
        closed
    }

    /// Writes `count` copies of `piece` until the proxy has taken nothing for `timeout`, and returns
    /// how many bytes it took.
    pub fn write_until_blocked(&mut self, piece: &[u8], count: usize, timeout: Duration) -> u64 {
        self.stream.set_write_timeout(Some(timeout)).expect("a TCP option");
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

    /// Reads the next request, `None` when the proxy has closed the connection.
    pub fn request(&mut self) -> Option<ReceivedRequest> {
        let end = loop {
            if let Some(at) = position(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut received = ReceivedRequest { head, body: Vec::new() };
        let length = received.length().unwrap_or(0);
        while self.buffer.len() < length {
            self.fill()?;
        }
        received.body = self.buffer.drain(..length).collect();
        Some(received)
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = vec![0; 256 * 1024];
        let read = self.stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        self.buffer.extend_from_slice(&bytes[..read]);
        Some(())
    }
}
