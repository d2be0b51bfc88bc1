//! What the parts that serve one connection share: its place, its memory and its open responses.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use code_assist_core::{Caller, ConnectionEnd, Error};
use h2::Reason;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::memory::{ConnectionMemory, StrangersBytes};
use super::places::PlaceGuard;
use super::response::{OpenResponse, OpenResponses, StallTimeouts};
use super::{MAX_HEAD, WINDOW};
use crate::http_version::HttpVersion;

/// One connection of a client.
pub(super) struct ClientConnection {
    pub(super) version: HttpVersion,
    pub(super) place: PlaceGuard,
    memory: ConnectionMemory,
    responses: Mutex<OpenResponses>,
    /// The socket, while hyper has it.
    socket: OnceLock<Weak<Mutex<TcpStream>>>,
    /// hyper waits for bytes, so that it sees by itself when the client leaves.
    is_reading: AtomicBool,
    /// A request was admitted, so that the client is no stranger.
    is_admitted: AtomicBool,
    /// How many responses are open.
    open: AtomicU32,
    /// How many bytes were read since the last request began.
    read: AtomicUsize,
    /// What is held for them.
    read_held: AtomicUsize,
    /// The sum of the request bodies that may arrive before the service reads them.
    unread_bodies: Mutex<usize>,
}

impl ClientConnection {
    pub(super) fn new(version: HttpVersion, place: PlaceGuard, memory: ConnectionMemory) -> Self {
        Self {
            version,
            place,
            memory,
            responses: Mutex::default(),
            socket: OnceLock::new(),
            is_reading: AtomicBool::new(false),
            is_admitted: AtomicBool::new(false),
            open: AtomicU32::new(0),
            read: AtomicUsize::new(0),
            read_held: AtomicUsize::new(0),
            unread_bodies: Mutex::new(0),
        }
    }

    pub(super) fn set_socket(&self, socket: &Arc<Mutex<TcpStream>>) {
        let _ = self.socket.set(Arc::downgrade(socket));
    }

    /// hyper has looked for bytes.
    pub(super) fn note_read(&self, polled: &Poll<io::Result<()>>) {
        self.is_reading.store(polled.is_pending(), Ordering::Relaxed);
    }

    /// True if an HTTP/1.1 client has left while it waits for its response. If it has not, the task is woken
    /// when it does. A client that has closed only its own direction counts as one that has left.
    pub(super) fn has_left(&self, cx: &mut Context<'_>) -> bool {
        if self.version == HttpVersion::Http2 || self.is_reading.load(Ordering::Relaxed) {
            return false;
        }
        let Some(socket) = self.socket.get().and_then(Weak::upgrade) else { return false };
        let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
        // What has come is left to hyper: a pipelined request.
        let peeked = socket.poll_peek(cx, &mut ReadBuf::new(&mut [0]));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }

    /// A request has arrived. It is in flight until the response is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> Result<Arc<OpenResponse>, RefusedRequest> {
        if !self.place.place.begin_request() {
            return Err(RefusedRequest);
        }
        if self.version == HttpVersion::Http2 && !self.memory.try_hold(STREAM_COST) {
            self.place.place.end_request();
            return Err(self.no_memory());
        }
        self.read.store(0, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(self.responses().register(self))
    }

    /// The request of a response that is dropped is over.
    pub(super) fn end_request(&self, response: &OpenResponse) {
        self.responses().remove(response);
        let was_last = self.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if self.version == HttpVersion::Http2 {
            let read = if was_last && self.is_admitted() {
                // The HTTP/2 layer keeps no more than one frame of what it has read.
                self.read_held.swap(0, Ordering::Relaxed)
            } else {
                0
            };
            self.memory.release(STREAM_COST + response.held() + read);
        }
        if response.take_in_flight() {
            self.place.place.end_request();
        }
    }

    /// A request was admitted.
    pub(super) fn admitted(&self, caller: Caller) {
        if !self.is_admitted.swap(true, Ordering::Relaxed) {
            self.place.place.admitted();
            self.memory.admitted(caller);
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Relaxed)
    }

    /// Holds memory for a request's head.
    pub(super) fn hold_head(&self, bytes: usize) -> Result<(), Error> {
        let after = Duration::from_secs(1);
        self.memory.try_hold(bytes).then_some(()).ok_or(Error::Overloaded { after })
    }

    /// Gives memory back.
    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.memory.release(bytes);
        }
    }

    /// Holds memory for a response that waits for its client.
    pub(super) fn hold_response(&self, bytes: usize) -> Result<(), RefusedRequest> {
        if self.memory.try_hold(bytes) { Ok(()) } else { Err(self.no_memory()) }
    }

    /// The same for a response whose memory the core has reserved.
    pub(super) fn count_reserved(&self, bytes: usize) -> Result<StrangersBytes, RefusedRequest> {
        self.memory.count_reserved(bytes).ok_or_else(|| self.no_memory())
    }

    /// Holds memory for a request body until the guard is dropped. An HTTP/2 client may send as much
    /// of it as the windows take, before the service reads it. `None` if too little memory is free.
    pub(super) fn hold_unread(self: &Arc<Self>, length: u64) -> Option<UnreadBody> {
        let bytes = usize::try_from(length).unwrap_or(usize::MAX).min(WINDOW as usize);
        let mut sum = self.unread_bodies();
        let more = (*sum + bytes).min(WINDOW as usize) - (*sum).min(WINDOW as usize);
        if more > 0 && !self.memory.try_hold(more) {
            return None;
        }
        *sum += bytes;
        Some(UnreadBody { connection: Arc::clone(self), bytes })
    }

    /// Bytes were read from the client. False if the connection must be closed, since there is no
    /// memory for what it has sent and the service has not taken.
    pub(super) fn may_read(&self, bytes: usize) -> bool {
        let has_requests = self.open.load(Ordering::Relaxed) > 0;
        if has_requests && self.version == HttpVersion::Http1 {
            // hyper reads the body only when the service asks for it.
            return true;
        }
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if read <= FREE_READ {
            return true;
        }
        // hyper doubles its buffer. It keeps it for the next request, so that this memory is held
        // until the connection ends.
        let wanted = (2 * read.next_power_of_two()).min(2 * MAX_HEAD);
        let more = wanted.saturating_sub(self.read_held.load(Ordering::Relaxed));
        if more == 0 || self.memory.try_hold(more) {
            self.read_held.fetch_add(more, Ordering::Relaxed);
            return true;
        }
        if has_requests && self.is_admitted() {
            return true;
        }
        self.place.ended(ConnectionEnd::MemoryLimit);
        false
    }

    /// Ends the responses that the client has not read in time. Returns true if the connection must end
    /// with them: in HTTP/1 always, in HTTP/2 if a stream cannot be reset and no other one is open.
    pub(super) fn end_stalled(&self, interval: Duration, stall_timeouts: StallTimeouts) -> bool {
        let stalls = self.responses().check(interval, stall_timeouts);
        match self.version {
            _ if stalls.stalled.is_empty() => false,
            HttpVersion::Http1 => true,
            HttpVersion::Http2 => !stalls.reset_streams() && stalls.are_all,
        }
    }

    pub(super) fn responses(&self) -> MutexGuard<'_, OpenResponses> {
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_memory(&self) -> RefusedRequest {
        if let Some(proxy) = self.place.proxy() {
            proxy.metrics().connections().stream_refused();
        }
        RefusedRequest
    }

    fn unread_bodies(&self) -> MutexGuard<'_, usize> {
        self.unread_bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds memory for a request body that the service has not read.
pub(super) struct UnreadBody {
    connection: Arc<ClientConnection>,
    bytes: usize,
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        let mut sum = self.connection.unread_bodies();
        let before = (*sum).min(WINDOW as usize);
        *sum -= self.bytes;
        let less = before - (*sum).min(WINDOW as usize);
        if less > 0 {
            self.connection.memory.release(less);
        }
    }
}

/// The request was not processed, and the client may send it again.
///
/// In HTTP/2, hyper resets the stream with the reason that it finds among the error's sources. In
/// HTTP/1, it closes the connection.
#[derive(Debug)]
pub(super) struct RefusedRequest;

impl fmt::Display for RefusedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was refused")
    }
}

impl std::error::Error for RefusedRequest {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        static REFUSED: std::sync::LazyLock<h2::Error> =
            std::sync::LazyLock::new(|| h2::Error::from(Reason::REFUSED_STREAM));
        Some(&*REFUSED)
    }
}

/// What an HTTP/2 stream costs whose response has not been taken, without its body. Measured: 2.7 KiB.
const STREAM_COST: usize = 4 << 10;

/// What may be read of a request without a reservation: hyper's first buffer.
const FREE_READ: usize = 8 << 10;
