//! Requests whose body is read while it is sent.

use std::pin::pin;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Notify, oneshot};

use super::*;

/// A client's body that counts what is read of it.
struct Upload {
    left: u64,
    read: Arc<AtomicU64>,
    has_length: bool,
    end: UploadEnd,
}

#[derive(Debug, Clone, Copy)]
enum UploadEnd {
    Clean,
    Break(RequestBodyError),
    /// The client says nothing more.
    Silence,
}

impl Upload {
    fn new(length: u64, end: UploadEnd) -> Self {
        Self { left: length, read: Arc::default(), has_length: true, end }
    }

    fn without_length(self) -> Self {
        Self { has_length: false, ..self }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        static PIECE: [u8; 64 << 10] = [b'u'; 64 << 10];
        if self.left == 0 {
            return match self.end {
                UploadEnd::Clean => Poll::Ready(None),
                UploadEnd::Break(error) => Poll::Ready(Some(Err(error))),
                UploadEnd::Silence => Poll::Pending,
            };
        }
        let length = self.left.min(PIECE.len() as u64);
        self.left -= length;
        self.read.fetch_add(length, Ordering::SeqCst);
        let piece = &PIECE[..usize::try_from(length).unwrap()];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length {
            // A client that breaks off has announced more than it sends.
            let more = u64::from(!matches!(self.end, UploadEnd::Clean));
            SizeHint::with_exact(self.left + more)
        } else {
            SizeHint::default()
        }
    }
}

const EVERY_VERSION: [Tls; 3] = [Tls::None, Tls::Http1, Tls::Http2 { streams: 100 }];

fn upload_to(server: &TestServer) -> Request<()> {
    Request::post(server.url("/upload")).body(()).unwrap()
}

async fn send(
    client: &HttpClient,
    request: Request<()>,
    upload: Upload,
) -> Result<Response<Body>, SendError> {
    let sending = async { client.send_streamed(request, pin!(upload)).await };
    tokio::time::timeout(Duration::from_secs(20), sending).await.expect("no test hangs")
}

/// Answers with the length of the body, and how the length was announced.
async fn measure(request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let header = |name| request.headers().get(name).map(|value| format!("{value:?}"));
    let announced = format!("{:?} {:?}", header("content-length"), header("transfer-encoding"));
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.into_data().unwrap_or_default().len();
    }
    Response::new(full(&format!("{length} {announced}")))
}

#[tokio::test]
async fn a_streamed_body_arrives_whole_with_its_length_if_it_has_one() {
    for tls in EVERY_VERSION {
        let server = TestServer::start(tls, measure).await;
        let client = server.client(&[]);
        let is_http2 = matches!(tls, Tls::Http2 { .. });
        for length in [0, 1, 300_000] {
            let upload = Upload::new(length, UploadEnd::Clean);
            let answer = text(send(&client, upload_to(&server), upload).await.unwrap()).await;
            let announced = format!(r#"{length} Some("\"{length}\"") None"#);
            assert_eq!(answer, announced, "{tls:?}");
            let upload = Upload::new(length, UploadEnd::Clean).without_length();
            let answer = text(send(&client, upload_to(&server), upload).await.unwrap()).await;
            let chunked = if is_http2 { "None" } else { r#"Some("\"chunked\"")"# };
            assert_eq!(answer, format!("{length} None {chunked}"), "{tls:?}");
        }
    }
}

#[tokio::test]
async fn an_http2_upload_is_read_no_faster_than_the_peer_takes_it() {
    const LENGTH: u64 = 64 << 20;
    // The peer's window of a stream, and what the client may hold.
    const MOST: u64 = (64 << 10) + (256 << 10);
    let upload = Upload::new(LENGTH, UploadEnd::Clean);
    let read = Arc::clone(&upload.read);
    let (most, largest) = (Arc::new(AtomicU64::new(0)), Arc::clone(&read));
    let seen = Arc::clone(&most);
    let peer = RawHttp2::start(move |mut connection, _| {
        let (read, most) = (Arc::clone(&largest), Arc::clone(&seen));
        async move {
            let (request, mut answer) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let mut body = request.into_body();
            let mut received = 0;
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                most.fetch_max(read.load(Ordering::SeqCst) - received, Ordering::SeqCst);
                received += piece.len() as u64;
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            assert_eq!(received, LENGTH);
            answer.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let client = peer.client(quick());
    let answer = send(&client, upload_to(&peer.server), upload).await.unwrap();
    assert_eq!(answer.status(), 200);
    let most = most.load(Ordering::SeqCst);
    assert!((64 << 10..=MOST).contains(&most), "{most} bytes were under way");
}

#[tokio::test]
async fn an_http1_upload_waits_for_a_peer_that_reads_nothing() {
    const LENGTH: u64 = 256 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let upload = Upload::new(LENGTH, UploadEnd::Clean);
    let read = Arc::clone(&upload.read);
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut received, mut buffer, mut most) = (0, vec![0; 1 << 20], 0);
        while received < LENGTH {
            received += stream.read(&mut buffer).await.unwrap() as u64;
            most = read.load(Ordering::SeqCst).saturating_sub(received).max(most);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        most
    });
    let request = Request::post(url).body(()).unwrap();
    send(&plain(&[]), request, upload).await.unwrap();
    // Most of it is in the buffers of both sockets.
    let most = peer.await.unwrap();
    assert!(most < 16 << 20, "{most} bytes were under way");
}

async fn yield_often() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Refuses before the body has come.
async fn refuse(_: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let mut refused = Response::new(full("too large"));
    *refused.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
    refused
}

#[tokio::test]
async fn an_early_answer_is_returned_and_the_upload_stops() {
    for tls in EVERY_VERSION {
        let server = TestServer::start(tls, refuse).await;
        let client = server.client(&[]);
        let silent = Upload::new(1000, UploadEnd::Silence);
        let answer = send(&client, upload_to(&server), silent).await.unwrap();
        assert_eq!(text(answer).await, "too large", "{tls:?}");
        server.await_streams(0).await;
    }
    let http2 = TestServer::start(Tls::Http2 { streams: 100 }, refuse).await;
    let upload = Upload::new(1 << 30, UploadEnd::Clean);
    let answer = send(&http2.client(&[]), upload_to(&http2), upload).await.unwrap();
    assert_eq!(text(answer).await, "too large");
}

#[tokio::test]
async fn an_http1_peer_that_answers_early_and_reads_on_is_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (head_came, has_head) = oneshot::channel();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 No\r\ncontent-length: 9\r\n\r\ntoo ").await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let draining =
            tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        has_head.await.unwrap();
        writer.write_all(b"large").await.unwrap();
        // It ends when the client closes the connection.
        draining.await.unwrap()
    });
    let request = Request::post(url).body(()).unwrap();
    let upload = Upload::new(1 << 30, UploadEnd::Clean);
    let answer = send(&plain(&[]), request, upload).await.unwrap();
    assert_eq!(answer.status(), 413);
    // The connection's task sees that the upload has stopped before the rest of the answer comes.
    yield_often().await;
    head_came.send(()).unwrap();
    assert_eq!(text(answer).await, "too large");
    let received = peer.await.unwrap().unwrap_or(0);
    assert!(received < 64 << 20, "{received} bytes were sent");
}

/// What a server has seen of a request's body at its end.
#[derive(Debug, PartialEq)]
enum Seen {
    Whole(usize),
    Broken(usize),
}

/// A server that reports how each body has ended, and then never answers.
async fn watching(tls: Tls) -> (TestServer, mpsc::UnboundedReceiver<Seen>, oneshot::Receiver<()>) {
    let (report, reports) = mpsc::unbounded_channel();
    let (begun, has_begun) = oneshot::channel();
    let begun = Arc::new(Mutex::new(Some(begun)));
    let server = TestServer::start(tls, move |request: Request<Incoming>| {
        let (report, begun) = (report.clone(), Arc::clone(&begun));
        async move {
            let mut body = request.into_body();
            let mut length = 0;
            let seen = loop {
                match body.frame().await {
                    Some(Ok(frame)) => length += frame.into_data().unwrap_or_default().len(),
                    Some(Err(_)) => break Seen::Broken(length),
                    None => break Seen::Whole(length),
                }
                if let Some(begun) = lock(&begun).take() {
                    let _ = begun.send(());
                }
            };
            report.send(seen).unwrap();
            std::future::pending().await
        }
    })
    .await;
    (server, reports, has_begun)
}

#[tokio::test]
async fn a_body_that_breaks_breaks_the_upstream_request_off() {
    for tls in EVERY_VERSION {
        for has_length in [true, false] {
            for error in [RequestBodyError::Disconnected, RequestBodyError::Malformed] {
                let (server, mut seen, _) = watching(tls).await;
                let mut upload = Upload::new(1000, UploadEnd::Break(error));
                upload.has_length = has_length;
                let sent = send(&server.client(&[]), upload_to(&server), upload).await;
                assert_eq!(sent.unwrap_err(), SendError::Client(error), "{tls:?}");
                // A stream that is reset may lose what came before.
                let seen = seen.try_recv().ok().or(seen.recv().await).unwrap();
                assert!(matches!(seen, Seen::Broken(_)), "{tls:?} {has_length} {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_broken() {
    for tls in EVERY_VERSION {
        let (server, _, _) = watching(tls).await;
        // It announces one byte more than it has.
        let upload = ShortUpload(Upload::new(1000, UploadEnd::Silence));
        let client = server.client(&[]);
        let sent = client.send_streamed(upload_to(&server), pin!(upload)).await;
        assert_eq!(sent.unwrap_err(), SendError::Client(RequestBodyError::Malformed), "{tls:?}");
    }
}

/// Ends where the other one falls silent.
struct ShortUpload(Upload);

impl http_body::Body for ShortUpload {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match Pin::new(&mut self.0).poll_frame(cx) {
            Poll::Pending => Poll::Ready(None),
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[tokio::test]
async fn a_client_that_leaves_breaks_the_upstream_request_off() {
    for tls in EVERY_VERSION {
        for has_length in [true, false] {
            let (server, mut seen, has_begun) = watching(tls).await;
            let mut upload = Upload::new(1000, UploadEnd::Silence);
            upload.has_length = has_length;
            let client = server.client(&[]);
            let request = upload_to(&server);
            tokio::select! {
                sent = send(&client, request, upload) => panic!("{sent:?}"),
                begun = has_begun => begun.unwrap(),
            }
            let seen = seen.recv().await.unwrap();
            assert!(matches!(seen, Seen::Broken(_)), "{tls:?} {has_length} {seen:?}");
        }
    }
}

/// Accepts connections, and closes each once the body has begun. Counts the connections.
async fn breaking() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
        }
    });
    (url, opened)
}

#[tokio::test]
async fn an_upload_that_upstream_breaks_is_reported_and_never_repeated() {
    let (url, opened) = breaking().await;
    for length in [0, 10, 10 << 20] {
        opened.store(0, Ordering::SeqCst);
        let request = Request::post(&url).body(()).unwrap();
        let error = send(&plain(&[]), request, Upload::new(length, UploadEnd::Clean)).await;
        assert!(matches!(error, Err(SendError::Disconnected(_))), "{error:?}");
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }
    // A stream that the peer refuses, so that any other request would be sent again.
    let peer = RawHttp2::start(|mut connection, _| async move {
        while let Some(Ok((_, mut answer))) = connection.accept().await {
            answer.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
    .await;
    let client = peer.client(quick());
    let upload = Upload::new(10, UploadEnd::Clean);
    let error = send(&client, upload_to(&peer.server), upload).await;
    assert!(matches!(error, Err(SendError::NotProcessed(_))), "{error:?}");
    assert_eq!(peer.opened(), 1);
}

#[tokio::test]
async fn an_http1_upload_uses_no_pooled_connection_and_leaves_none() {
    for tls in [Tls::None, Tls::Http1] {
        let server = TestServer::start(tls, measure).await;
        let client = server.client(&[]);
        text(client.send_cloned(server.get("/")).await.unwrap()).await;
        assert_eq!(server.opened(), 1, "{tls:?}");
        for uploads in 1..=2 {
            let upload = Upload::new(10, UploadEnd::Clean);
            text(send(&client, upload_to(&server), upload).await.unwrap()).await;
            assert_eq!(server.opened(), 1 + uploads, "{tls:?}");
        }
        server.await_open(1).await;
        text(client.send_cloned(server.get("/")).await.unwrap()).await;
        assert_eq!(server.opened(), 3, "{tls:?}");
    }
}

#[tokio::test]
async fn an_http2_upload_shares_a_live_connection_and_leaves_a_dead_one() {
    let dies = Arc::new(Notify::new());
    let death = Arc::clone(&dies);
    let peer = RawHttp2::start(move |mut connection, number| {
        let death = Arc::clone(&death);
        async move {
            let serving = async {
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(_)) = body.data().await {}
                        answer.send_response(Response::new(()), true).unwrap();
                    });
                }
            };
            tokio::select! {
                () = serving => {}
                // The socket stays open, and no PING is answered.
                () = death.notified(), if number == 0 => std::future::pending().await,
            }
        }
    })
    .await;
    let options = PoolOptions { recent_use: Duration::ZERO, ..quick() };
    let client = peer.client(PoolOptions { ping_interval: Duration::from_secs(60), ..options });
    client.send_cloned(peer.get()).await.unwrap().into_body().collect().await.unwrap();
    dies.notify_one();
    let upload = Upload::new(1000, UploadEnd::Clean);
    let answer = send(&client, upload_to(&peer.server), upload).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    assert_eq!(peer.opened(), 2);
    let upload = Upload::new(1000, UploadEnd::Clean);
    send(&client, upload_to(&peer.server), upload).await.unwrap();
    assert_eq!(peer.opened(), 2, "the live connection is shared");
}

#[tokio::test]
async fn a_shutdown_ends_an_upload() {
    for tls in EVERY_VERSION {
        let (server, mut seen, has_begun) = watching(tls).await;
        let (end, abort) = watch::channel(false);
        let client = HttpClient::new(&server.settings(&[]), abort).unwrap();
        let upload = Upload::new(1000, UploadEnd::Silence);
        let ending = async {
            has_begun.await.unwrap();
            end.send(true).unwrap();
        };
        let (sent, ()) = tokio::join!(send(&client, upload_to(&server), upload), ending);
        assert_eq!(sent.unwrap_err(), SendError::ShuttingDown, "{tls:?}");
        assert!(matches!(seen.recv().await, Some(Seen::Broken(_))), "{tls:?}");
    }
}
