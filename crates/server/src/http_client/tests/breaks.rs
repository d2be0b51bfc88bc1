//! Connections that break during a request: which requests are sent again, and how often the peer sees
//! them.

use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::*;
use super::*;

/// What a peer does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reaction {
    Answer,
    /// Closes the connection without a byte, after a while.
    Close(Duration),
    /// Resets the TCP connection without a byte.
    Reset,
    /// Writes these bytes, then closes the connection.
    Write(&'static [u8]),
    /// HTTP/2: sends a GOAWAY with this last stream id. Then it closes the connection, or waits for the
    /// client to do so.
    GoAway {
        last_id: u32,
        close: bool,
    },
    /// HTTP/2: resets the stream with this code.
    ResetStream(u32),
}

const AT_ONCE: Reaction = Reaction::Close(Duration::ZERO);

/// Longer than the news of a dead connection may take.
const LATE: Reaction = Reaction::Close(Duration::from_millis(300));

const REFUSED_STREAM: u32 = 7;

#[tokio::test]
async fn a_fresh_http2_connection_repeats_only_what_the_peer_has_not_processed() {
    let cases = [
        (Reaction::ResetStream(REFUSED_STREAM), true, 1),
        (Reaction::GoAway { last_id: 0, close: false }, true, 2),
        (Reaction::GoAway { last_id: 0, close: true }, true, 2),
        (Reaction::GoAway { last_id: 1, close: true }, false, 1),
        // NO_ERROR, INTERNAL_ERROR, CANCEL.
        (Reaction::ResetStream(0), false, 1),
        (Reaction::ResetStream(2), false, 1),
        (Reaction::ResetStream(8), false, 1),
        (AT_ONCE, false, 1),
        (LATE, false, 1),
        (Reaction::Reset, false, 1),
        // The first bytes of a frame.
        (Reaction::Write(&[0, 0, 1]), false, 1),
        // No frame at all.
        (Reaction::Write(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"), false, 1),
    ];
    for (reaction, repeated, opened) in cases {
        let peer = Peer::http2(vec![reaction]).await;
        peer.assert_repeated(repeated, peer.client().send_cloned(peer.post()).await, reaction);
        assert_eq!(peer.server.opened(), opened, "{reaction:?}");
    }
}

#[tokio::test]
async fn a_fresh_http1_connection_repeats_nothing() {
    let reactions = [
        AT_ONCE,
        LATE,
        Reaction::Reset,
        Reaction::Write(b"H"),
        Reaction::Write(b"HTTP/1.1 200 OK\r\ncontent-"),
        Reaction::Write(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"),
    ];
    for tls in [Tls::None, Tls::Http1] {
        for reaction in reactions {
            let peer = Peer::http1(tls, vec![reaction]).await;
            peer.assert_repeated(false, peer.client().send_cloned(peer.post()).await, reaction);
        }
    }
}

#[tokio::test]
async fn a_connection_that_died_while_it_was_idle_costs_no_request() {
    for reaction in [AT_ONCE, Reaction::Reset] {
        for peer in Peer::all(vec![Reaction::Answer, reaction]).await {
            let client = peer.client();
            client.send_cloned(peer.post()).await.unwrap().into_body().collect().await.unwrap();
            peer.seen.store(0, Ordering::SeqCst);
            peer.assert_repeated(true, client.send_cloned(peer.post()).await, reaction);
            assert_eq!(peer.server.opened(), 2, "{reaction:?}");
        }
    }
}

#[tokio::test]
async fn a_reused_connection_that_breaks_later_or_after_a_byte_repeats_nothing() {
    for reaction in [LATE, Reaction::Write(&[0, 0, 1])] {
        for peer in Peer::all(vec![Reaction::Answer, reaction]).await {
            let client = peer.client();
            client.send_cloned(peer.post()).await.unwrap().into_body().collect().await.unwrap();
            peer.seen.store(0, Ordering::SeqCst);
            peer.assert_repeated(false, client.send_cloned(peer.post()).await, reaction);
        }
    }
    let covered = Reaction::GoAway { last_id: 3, close: true };
    let peer = Peer::http2(vec![Reaction::Answer, covered]).await;
    let client = peer.client();
    client.send_cloned(peer.post()).await.unwrap().into_body().collect().await.unwrap();
    peer.seen.store(0, Ordering::SeqCst);
    peer.assert_repeated(false, client.send_cloned(peer.post()).await, covered);
}

#[tokio::test]
async fn all_requests_of_a_burst_on_a_dead_connection_are_repeated() {
    let peer = Peer::http2(vec![Reaction::Answer, AT_ONCE]).await;
    let client = peer.client();
    client.send_cloned(peer.post()).await.unwrap().into_body().collect().await.unwrap();
    let (first, second) =
        tokio::join!(client.send_cloned(peer.post()), client.send_cloned(peer.post()));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}

#[tokio::test]
async fn a_large_body_that_was_partly_written_to_a_dead_connection_is_repeated_whole() {
    for tls in [Tls::None, Tls::Http1] {
        let peer = Peer::http1(tls, vec![Reaction::Answer, Reaction::Reset]).await;
        let client = peer.client();
        client.send_cloned(peer.post()).await.unwrap().into_body().collect().await.unwrap();
        let large = Payload::from(Bytes::from(vec![b'x'; 8 << 20]));
        let request = Request::post(peer.server.url("/")).body(large).unwrap();
        assert_eq!(client.send_cloned(request).await.unwrap().status(), 200);
        assert_eq!(peer.bytes.load(Ordering::SeqCst), 8 << 20);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_of_the_body() {
    for tls in [Tls::None, Tls::Http1] {
        let cut = Reaction::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal");
        let peer = Peer::http1(tls, vec![cut]).await;
        let response = peer.client().send_cloned(peer.post()).await.unwrap();
        let error = response.into_body().collect().await.unwrap_err();
        assert!(matches!(error, BodyError::Disconnected(_)), "{error}");
        assert_eq!(peer.seen.load(Ordering::SeqCst), 1);
    }
}

/// A server that reacts to each request as its list says, and answers all further ones.
struct Peer {
    server: TestServer,
    /// Requests that have arrived.
    seen: Arc<AtomicUsize>,
    /// The length of the last body that was read whole.
    bytes: Arc<AtomicUsize>,
}

impl Peer {
    /// One for each protocol.
    async fn all(reactions: Vec<Reaction>) -> [Self; 3] {
        [
            Self::http2(reactions.clone()).await,
            Self::http1(Tls::None, reactions.clone()).await,
            Self::http1(Tls::Http1, reactions).await,
        ]
    }

    async fn http2(reactions: Vec<Reaction>) -> Self {
        Self::start(Tls::Http2 { streams: 0 }, reactions).await
    }

    async fn http1(tls: Tls, reactions: Vec<Reaction>) -> Self {
        Self::start(tls, reactions).await
    }

    async fn start(tls: Tls, reactions: Vec<Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = acceptor(tls);
        let counts = Arc::new(Counts::default());
        let (seen, bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let secure = tls != Tls::None;
        let server = TestServer { address, secure, certificate, counts: Arc::clone(&counts) };
        let script = Script {
            reactions: Arc::new(Mutex::new(reactions.into_iter().rev().collect())),
            seen: Arc::clone(&seen),
            bytes: Arc::clone(&bytes),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counts.opened.fetch_add(1, Ordering::SeqCst);
                let (script, acceptor) = (script.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let reset = resetter(&stream);
                    let _ = match tls {
                        Tls::None => script.serve_http1(stream, &reset).await,
                        Tls::Http1 => {
                            let stream = acceptor.accept(stream).await.unwrap();
                            script.serve_http1(stream, &reset).await
                        }
                        Tls::Http2 { .. } => {
                            let stream = acceptor.accept(stream).await.unwrap();
                            script.serve_http2(stream, &reset).await
                        }
                    };
                });
            }
        });
        Self { server, seen, bytes }
    }

    fn client(&self) -> HttpClient {
        self.server.client(&[])
    }

    fn post(&self) -> Request<Payload> {
        let body = Payload::from(Bytes::from_static(b"{\"contents\":[]}"));
        Request::post(self.server.url("/")).body(body).unwrap()
    }

    /// Asserts that the request was sent twice and answered, or sent once and reported as broken.
    #[track_caller]
    fn assert_repeated(
        &self,
        repeated: bool,
        sent: Result<Response<Body>, SendError>,
        reaction: Reaction,
    ) {
        let seen = self.seen.load(Ordering::SeqCst);
        if repeated {
            assert_eq!(sent.unwrap().status(), 200, "{reaction:?}");
            assert_eq!(seen, 2, "{reaction:?}");
        } else {
            let error = sent.unwrap_err();
            let is_reset = matches!(reaction, Reaction::ResetStream(_));
            match error {
                SendError::Disconnected(_) => assert!(!is_reset, "{reaction:?}"),
                SendError::StreamReset(_) => assert!(is_reset, "{reaction:?}"),
                error => panic!("{reaction:?}: {error:?}"),
            }
            assert_eq!(seen, 1, "{reaction:?}");
        }
    }
}

/// What the connections of a peer share.
#[derive(Clone)]
struct Script {
    /// The next one at the end.
    reactions: Arc<Mutex<Vec<Reaction>>>,
    seen: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Script {
    fn next(&self) -> Reaction {
        self.seen.fetch_add(1, Ordering::SeqCst);
        lock(&self.reactions).pop().unwrap_or(Reaction::Answer)
    }

    async fn serve_http1(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        reset: &(dyn Fn() + Sync),
    ) -> io::Result<()> {
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(stream.read_u8().await?));
            }
            let reaction = self.next();
            if reaction == Reaction::Reset {
                reset();
                return Ok(());
            }
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse::<usize>().unwrap();
            stream.read_exact(&mut vec![0; length]).await?;
            self.bytes.store(length, Ordering::SeqCst);
            match reaction {
                Reaction::Answer => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
                    stream.flush().await?;
                }
                Reaction::Close(after) => {
                    tokio::time::sleep(after).await;
                    return stream.shutdown().await;
                }
                Reaction::Write(bytes) => {
                    stream.write_all(bytes).await?;
                    return stream.shutdown().await;
                }
                Reaction::Reset | Reaction::GoAway { .. } | Reaction::ResetStream(_) => {
                    unreachable!()
                }
            }
        }
    }

    /// Serves HTTP/2 frame by frame, since no library sends a GOAWAY below a stream on demand.
    async fn serve_http2(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        reset: &(dyn Fn() + Sync),
    ) -> io::Result<()> {
        read_preface(&mut stream).await?;
        write_frame(&mut stream, SETTINGS, 0, 0, &[]).await?;
        loop {
            let RawFrame { kind, flags, id, .. } = read_frame(&mut stream).await?;
            if kind == SETTINGS && flags & ACK == 0 {
                write_frame(&mut stream, SETTINGS, ACK, 0, &[]).await?;
            }
            // The last frame of a request.
            if kind != DATA || flags & END_STREAM == 0 {
                continue;
            }
            match self.next() {
                Reaction::Answer => {
                    // The indexed field ":status: 200" (RFC 7541, appendix A).
                    let flags = END_HEADERS | END_STREAM;
                    write_frame(&mut stream, HEADERS, flags, id, &[0x88]).await?;
                }
                Reaction::Close(after) => {
                    tokio::time::sleep(after).await;
                    return stream.shutdown().await;
                }
                Reaction::Write(bytes) => {
                    stream.write_all(bytes).await?;
                    return stream.shutdown().await;
                }
                Reaction::Reset => {
                    reset();
                    return Ok(());
                }
                Reaction::GoAway { last_id, close } => {
                    let payload = [last_id.to_be_bytes(), [0; 4]].concat();
                    write_frame(&mut stream, GOAWAY, 0, 0, &payload).await?;
                    if close {
                        return stream.shutdown().await;
                    }
                }
                Reaction::ResetStream(code) => {
                    write_frame(&mut stream, RST_STREAM, 0, id, &code.to_be_bytes()).await?;
                }
            }
        }
    }
}

/// Returns a function that makes the connection's end a reset: closing a socket that lingers for no time
/// sends RST.
fn resetter(stream: &TcpStream) -> impl Fn() + Send + Sync + use<> {
    let socket = rustix::io::dup(stream).unwrap();
    move || {
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    }
}
