//! Requests that ask for a WebSocket.

use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;

use super::*;

/// Reads a request's head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";

#[tokio::test]
async fn a_websocket_has_an_http1_connection_also_where_the_peer_prefers_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, certificate) = acceptor_for(&[b"h2", b"http/1.1"]);
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let asked = head(&mut stream).await;
        stream.write_all(SWITCHING).await.unwrap();
        stream.flush().await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        stream.write_all(&echo).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.read(&mut echo).await.unwrap_or(0), 0);
        asked
    });
    let counts = Arc::default();
    let server = TestServer { address, secure: true, certificate, counts };
    let client = server.client(&[]);
    let request = Request::get(server.url("/ws/live?a=b"))
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let response = client.upgrade(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upstream = response.extensions().get::<UpgradedUpstream>().cloned().unwrap();
    let (io, _) = upstream.take().unwrap();
    assert!(upstream.take().is_none(), "the first one to take it has it");
    // The response's body holds nothing that the connection needs.
    drop(response);
    let mut io = TokioIo::new(io);
    let mut first = [0; 5];
    io.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    io.write_all(b"ping").await.unwrap();
    io.flush().await.unwrap();
    io.read_exact(&mut first[..4]).await.unwrap();
    assert_eq!(&first[..4], b"ping");
    drop(io);
    let asked = peer.await.unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get /ws/live?a=b http/1.1\r\n"), "{asked}");
    for line in
        ["\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n", "\r\nhost: localhost:"]
    {
        assert!(asked.contains(line), "{asked}");
    }
}

#[tokio::test]
async fn a_refused_websocket_is_an_answer_with_a_body() {
    let refuse = |_| async {
        let mut refused = Response::new(full("no key"));
        *refused.status_mut() = http::StatusCode::FORBIDDEN;
        refused
    };
    for tls in [Tls::None, Tls::Http1] {
        let server = TestServer::start(tls, refuse).await;
        let client = server.client(&[]);
        let response = client.upgrade(Request::get(server.url("/")).body(()).unwrap()).await;
        let response = response.unwrap();
        assert_eq!(response.status(), 403);
        assert!(response.extensions().get::<UpgradedUpstream>().is_none());
        assert_eq!(text(response).await, "no key");
        server.await_open(0).await;
    }
}

#[tokio::test]
async fn a_websocket_that_breaks_before_its_answer_is_not_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            head(&mut stream).await;
        }
    });
    let broken = plain(&[]).upgrade(Request::get(&url).body(()).unwrap()).await;
    assert!(matches!(broken, Err(SendError::Disconnected(_))), "{broken:?}");
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let request = Request::get(format!("http://{closed}/")).body(()).unwrap();
    let refused = plain(&[]).upgrade(request).await;
    assert!(matches!(refused, Err(SendError::Connect(_))), "{refused:?}");
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_for_a_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (end, abort) = watch::channel(false);
    let client = HttpClient::new(&settings(&[]), abort).unwrap();
    let request = Request::get(&url).body(()).unwrap();
    let ending = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        end.send(true).unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    };
    let (asked, ()) = tokio::join!(client.upgrade(request), ending);
    assert_eq!(asked.unwrap_err(), SendError::ShuttingDown);
}
