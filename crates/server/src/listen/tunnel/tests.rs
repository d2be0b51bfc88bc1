use code_assist_core::settings::{Layer, Settings, Source};
use code_assist_core::{Caller, Platform as _, WebSocketRequest};
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::app::App;
use crate::listen::client_stream::{ClientStream, DetectedStream};
use crate::listen::connection::ClientConnection;
use crate::listen::memory::{ConnectionMemory, ListenerMemory};
use crate::listen::places::Places;
use crate::listen::response::StallTimeouts;
use crate::listen::watched::WatchedConnection;
use crate::listen::{Phase, http1_server};
use crate::store::Store;

/// A tunnel between two in-memory connections. `client` and `upstream` are their far ends.
struct Joined {
    client: DuplexStream,
    upstream: DuplexStream,
    abort: watch::Sender<bool>,
    end: tokio::task::JoinHandle<(TunnelEnd, u64, u64)>,
}

impl Joined {
    fn start() -> Self {
        let (client, near_client) = duplex(1024);
        let (upstream, near_upstream) = duplex(1024);
        let (abort, aborted) = watch::channel(false);
        let end = tokio::spawn(async move {
            let (from_client, from_upstream) = (Flow::default(), Flow::default());
            let client = Side { io: near_client, flow: &from_client };
            let upstream = Side { io: near_upstream, flow: &from_upstream };
            let end = join(client, upstream, aborted).await;
            (end, from_client.bytes(), from_upstream.bytes())
        });
        Self { client, upstream, abort, end }
    }
}

#[tokio::test]
async fn both_directions_are_copied_until_both_sides_have_closed() {
    let Joined { mut client, mut upstream, abort: _abort, end } = Joined::start();
    client.write_all(b"question").await.unwrap();
    let mut read = [0; 8];
    upstream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"question");
    upstream.write_all(b"answer").await.unwrap();
    client.read_exact(&mut read[..6]).await.unwrap();
    assert_eq!(&read[..6], b"answer");
    client.shutdown().await.unwrap();
    assert_eq!(upstream.read(&mut read).await.unwrap(), 0);
    upstream.write_all(b"bye").await.unwrap();
    client.read_exact(&mut read[..3]).await.unwrap();
    assert!(!end.is_finished());
    drop(upstream);
    assert_eq!(end.await.unwrap(), (TunnelEnd::Closed, 8, 9));
}

#[tokio::test]
async fn a_side_that_takes_nothing_holds_the_other_one_back() {
    let Joined { mut client, upstream: _upstream, abort: _abort, .. } = Joined::start();
    let mut sent = 0;
    let flood = async {
        loop {
            sent += client.write(&[0; 4096]).await.unwrap();
        }
    };
    // Both in-memory connections hold 1 KiB, and nothing else runs.
    tokio::select! {
        biased;
        () = flood => unreachable!(),
        () = yield_often() => {}
    }
    assert!((BUFFER..=BUFFER + 2 * 1024).contains(&sent), "{sent}");
}

async fn yield_often() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_when_both_sides_have_been_silent_for_ten_minutes() {
    let Joined { mut client, mut upstream, abort: _abort, end } = Joined::start();
    let begun = Instant::now();
    let mut byte = [0];
    for n in 0..4 {
        sleep(Duration::from_secs(590)).await;
        // One direction is enough.
        let (from, to) =
            if n % 2 == 0 { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
        from.write_all(b".").await.unwrap();
        to.read_exact(&mut byte).await.unwrap();
    }
    assert_eq!(end.await.unwrap(), (TunnelEnd::Idle, 2, 2));
    let took = begun.elapsed() - Duration::from_secs(4 * 590);
    assert!(took >= IDLE_LIMIT && took <= IDLE_LIMIT + 2 * CHECK_INTERVAL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_says_nothing_after_the_other_has_closed_is_closed_soon() {
    let Joined { client, upstream: _upstream, abort: _abort, end } = Joined::start();
    let begun = Instant::now();
    drop(client);
    assert_eq!(end.await.unwrap().0, TunnelEnd::Idle);
    assert!(begun.elapsed() <= CLOSE_LIMIT + 2 * CHECK_INTERVAL, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_end_of_the_grace_time_closes_both_sides() {
    let Joined { mut client, mut upstream, abort, end } = Joined::start();
    abort.send(true).unwrap();
    assert_eq!(end.await.unwrap().0, TunnelEnd::Cut);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
}

/// A listener whose core sends every WebSocket upstream, and answers 101 where upstream does.
struct Gateway {
    address: std::net::SocketAddr,
    proxy: Arc<code_assist_core::Proxy>,
    abort: watch::Sender<bool>,
    places: Arc<Places>,
    /// Resolves when the first connection is served no longer.
    served: oneshot::Receiver<()>,
}

impl Gateway {
    async fn start(upstream: std::net::SocketAddr) -> Self {
        let lookup = |name: &str| {
            let value = match name {
                "HOME" => "/nowhere",
                "KV_URL" => "memory:",
                "GOOGLE_CLOUD_ACCESS_TOKEN" => "ya29.test",
                "GEMINI_PROJECT_ID" => "test-project",
                "VALIDATE_TOKENS_BEFORE_USE" => "false",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let layers = [Layer { source: Source::Env, lookup: &lookup }];
        let (settings, _) = Settings::read(&layers).unwrap();
        let (abort, aborted) = watch::channel(false);
        let (store, _) = Store::open(&settings).await;
        let App { proxy, platform } = App::assemble(settings, store, aborted).unwrap();
        let memory = ListenerMemory::new(Arc::clone(proxy.memory()));
        let places = Places::new(16, Some(Arc::clone(&proxy)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (over, served) = oneshot::channel();
        let (core, taken) = (Arc::clone(&proxy), Arc::clone(&places));
        tokio::spawn(async move {
            let (phase, at) = watch::channel(Phase::Serving);
            let mut over = Some(over);
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let caller = Caller::new(None, Some(peer.ip()));
                let place = taken.wait_for(caller).await;
                let memory = ConnectionMemory::new(&memory, caller, Arc::clone(&place.place));
                let first = DetectedStream::first_bytes(&stream).await.unwrap();
                let stream = DetectedStream::detect(stream, first).await.unwrap();
                let connection = Arc::new(ClientConnection::new(stream.version, place, memory));
                let stall = Duration::from_secs(60);
                let stall_timeouts = StallTimeouts { admitted: stall, stranger: stall };
                let watched =
                    WatchedConnection { connection: Arc::clone(&connection), stall_timeouts };
                let stream = TokioIo::new(ClientStream::new(stream, Arc::clone(&connection)));
                let (core, platform) = (Arc::clone(&core), platform.clone());
                let (at, over) = (at.clone(), over.take());
                let keep_phase = phase.subscribe();
                tokio::spawn(async move {
                    let service = service_fn(|mut request| {
                        let open = connection.begin_request();
                        let (core, platform) = (&core, &platform);
                        async move {
                            let open = open?;
                            let client = requested(&mut request);
                            let asks = request.extensions().get::<WebSocketRequest>().is_some();
                            let plain = Request::get("http://localhost/health")
                                .body(http_body_util::Empty::new())
                                .unwrap();
                            let mut response = core.handle(platform, plain).await;
                            if asks {
                                let mut up = Request::get(format!("http://{upstream}/live"));
                                let key = request.headers()["sec-websocket-key"].clone();
                                up = up.header("sec-websocket-key", key);
                                let up = platform.upgrade(up.body(()).unwrap()).await.unwrap();
                                *response.status_mut() = up.status();
                                *response.extensions_mut() = up.extensions().clone();
                                if up.status() == StatusCode::SWITCHING_PROTOCOLS {
                                    *response.headers_mut() = up.headers().clone();
                                }
                            }
                            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                                return Ok(begin(response, client, open));
                            }
                            Ok::<_, crate::listen::connection::RefusedRequest>(
                                response.map(|body| open.with_body(body)),
                            )
                        }
                    });
                    let serving = http1_server().serve_connection(stream, service);
                    watched.run(serving.with_upgrades(), at).await;
                    drop(keep_phase);
                    if let Some(over) = over {
                        let _ = over.send(());
                    }
                });
            }
        });
        Self { address, proxy, abort, places, served }
    }
}

/// Reads a head, and what follows it.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

const ASK: &[u8] = b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_joined_to_upstreams_and_holds_its_request_until_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let asked = head(&mut upstream).await;
    assert!(asked.starts_with("get /live http/1.1\r\n"), "{asked}");
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: dghl"] {
        assert!(asked.contains(line), "{asked}");
    }
    // The first frame comes with the head.
    upstream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
              sec-websocket-protocol: chat\r\n\r\nhello",
        )
        .await
        .unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
        "sec-websocket-protocol: chat\r\n",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
    assert!(!answer.contains("transfer-encoding") && !answer.contains("content-length"));
    let mut read = [0; 5];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    client.write_all(b"world").await.unwrap();
    upstream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"world");
    // hyper serves the connection no longer, and it still has its place and its request.
    gateway.served.await.unwrap();
    assert_eq!(gateway.proxy.metrics().in_flight(), 1);
    gateway.places.evict_one();
    client.write_all(b"again").await.unwrap();
    upstream.read_exact(&mut read).await.unwrap();
    drop(client);
    assert_eq!(upstream.read(&mut read).await.unwrap(), 0);
    drop(upstream);
    while gateway.proxy.metrics().in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_grace_time_ends_a_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    head(&mut upstream).await;
    let switching = b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    upstream.write_all(switching).await.unwrap();
    head(&mut client).await;
    gateway.abort.send(true).unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(upstream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_refused_websocket_is_an_answer_and_the_connection_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("http/1.1 403 "), "{answer}");
    let length = answer.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    client.read_exact(&mut vec![0; length]).await.unwrap();
    client.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn only_a_whole_request_for_a_websocket_can_be_upgraded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(listener.local_addr().unwrap()).await;
    for asked in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAAQAAP__\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket2\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         content-length: 0\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         content-length: 1\r\n",
    ] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(format!("{asked}\r\n.").as_bytes()).await.unwrap();
        let answer = head(&mut client).await;
        assert!(answer.contains(" 200 ok"), "{asked}: {answer}");
    }
}
