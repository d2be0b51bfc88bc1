//! Connections over real sockets, against small servers that count what is opened.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use code_assist_core::settings::{Layer, Source as From};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};
use tokio_rustls::TlsAcceptor;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_open_at_once_over_five_connections_of_a_hundred() {
    let all_here = Arc::new(Barrier::new(500));
    let server = Server::start(Tls::Http2 { streams: 100 }, move |_| {
        let all_here = Arc::clone(&all_here);
        async move {
            all_here.wait().await;
            Response::new(full("here"))
        }
    })
    .await;
    let upstream = server.upstream(&[]);
    let asked: Vec<_> = (0..500)
        .map(|_| {
            let (upstream, request) = (upstream.clone(), server.get("/"));
            tokio::spawn(async move { text(upstream.send(request).await.unwrap()).await })
        })
        .collect();
    let all = async {
        for one in asked {
            assert_eq!(one.await.unwrap(), "here");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("none waits for another");
    assert_eq!(server.opened(), 5);
    assert_eq!(server.open(), 5);
}

#[tokio::test]
async fn a_burst_on_a_cold_pool_dials_once() {
    let server = Server::start(Tls::Http2 { streams: 100 }, |_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Response::new(full("ok"))
    })
    .await;
    let upstream = server.upstream(&[]);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let (upstream, request) = (upstream.clone(), server.get("/"));
            tokio::spawn(async move { text(upstream.send(request).await.unwrap()).await })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), "ok");
    }
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_peer_that_turns_out_to_speak_only_http1_serves_all_who_waited() {
    let all_here = Arc::new(Barrier::new(20));
    let server = Server::start(Tls::Http1, move |_| {
        let all_here = Arc::clone(&all_here);
        async move {
            all_here.wait().await;
            Response::new(full("here"))
        }
    })
    .await;
    let upstream = server.upstream(&[]);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (upstream, request) = (upstream.clone(), server.get("/"));
            tokio::spawn(async move { text(upstream.send(request).await.unwrap()).await })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), "here");
    }
    assert_eq!(server.opened(), 20);
}

#[tokio::test]
async fn connections_are_kept_or_not_as_the_setting_says() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::Http1, Tls::None] {
        for (pooling, opened) in [("true", 1), ("false", 5)] {
            let server = Server::start(tls, |_| async { Response::new(full("ok")) }).await;
            let upstream = server.upstream(&[("ENABLE_CONNECTION_POOLING", pooling)]);
            for _ in 0..5 {
                assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "ok");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(server.opened(), opened, "{tls:?} {pooling}");
            if pooling == "false" {
                server.until_open(0).await;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_with_tls_that_was_opened_ahead_serves_the_first_request() {
    for (tls, pooling, opened) in [
        (Tls::Http2 { streams: 100 }, "true", 1),
        (Tls::Http1, "true", 1),
        (Tls::Http2 { streams: 100 }, "false", 0),
        (Tls::None, "true", 0),
    ] {
        let server = Server::start(tls, |_| async { Response::new(full("ok")) }).await;
        let upstream = server.upstream(&[("ENABLE_CONNECTION_POOLING", pooling)]);
        upstream.warm(&server.url("")).await;
        assert_eq!(server.opened(), opened, "{tls:?} {pooling}");
        assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "ok");
        assert_eq!(server.opened(), 1, "{tls:?} {pooling}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_keep_alive_timeout() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::None] {
        let server = Server::start(tls, |_| async { Response::new(full("ok")) }).await;
        let upstream = server.upstream(&[("KEEP_ALIVE_TIMEOUT_MS", "200")]);
        text(upstream.send(server.get("/")).await.unwrap()).await;
        let begun = Instant::now();
        assert_eq!(server.open(), 1);
        server.until_open(0).await;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(150) && took < Duration::from_secs(2), "{took:?}");
        text(upstream.send(server.get("/")).await.unwrap()).await;
        assert_eq!(server.opened(), 2);
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_resets_its_stream_and_leaves_the_others_alone() {
    let server = Server::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let upstream = server.upstream(&[]);
    let mut endless = upstream.send(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(server.streams(), 1);
    drop(endless);
    server.until_streams(0).await;
    assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "ok");
    assert_eq!((server.opened(), server.open()), (1, 1));
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_its_http1_connection() {
    let server = Server::start(Tls::None, endless_or_not).await;
    let upstream = server.upstream(&[]);
    let mut endless = upstream.send(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    drop(endless);
    server.until_open(0).await;
    server.until_streams(0).await;
}

#[tokio::test]
async fn a_request_that_is_given_up_before_its_answer_is_cancelled_upstream() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::None] {
        let server = Server::start(tls, |_| async {
            std::future::pending::<()>().await;
            Response::new(full("never"))
        })
        .await;
        let upstream = server.upstream(&[]);
        let sent = upstream.send(server.get("/"));
        tokio::time::timeout(Duration::from_millis(200), sent).await.expect_err("no answer");
        server.until_streams(0).await;
        server.until_open(usize::from(tls != Tls::None)).await;
    }
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_nobody_on_their_connection() {
    let server = Server::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let upstream = server.upstream(&[]);
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(upstream.send(server.get("/flood")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = upstream.send(server.get("/"));
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap().unwrap();
    assert_eq!(text(answer).await, "ok");
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::Http1, Tls::None] {
        let server = Server::start(tls, |request| async move {
            let length = request.headers().get("content-length").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
            Response::new(full(&format!("{length:?} {} {sum}", body.len())))
        })
        .await;
        let upstream = server.upstream(&[]);
        for size in [0, 1, 5000, 20_000_000] {
            let mut payload = Payload::default();
            payload.push("{\"a\":");
            payload.push(vec![1_u8; size]);
            payload.push("}");
            let request = Request::post(server.url("/")).body(payload).unwrap();
            let sum = size + "{\"a\":}".bytes().map(usize::from).sum::<usize>();
            let told = text(upstream.send(request).await.unwrap()).await;
            assert_eq!(told, format!("Some(\"{}\") {} {sum}", size + 6, size + 6), "{tls:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_upstream_has_closed_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            // Says nothing of closing, and closes.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let upstream = plain(&[]);
    for _ in 0..20 {
        let request = Request::post(format!("http://{address}/")).body(Payload::default()).unwrap();
        assert_eq!(text(upstream.send(request).await.unwrap()).await, "ok");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_and_a_peer_that_refuses_all_is_told_of() {
    for (refusals, answered) in [(2, true), (9, false)] {
        let server = RawHttp2::start(move |mut connection, number| async move {
            let mut seen = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen += 1;
                if number * 100 + seen <= refusals {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        })
        .await;
        let sent = server.upstream(quick()).send(server.get()).await;
        assert_eq!(sent.is_ok(), answered, "{sent:?}");
        if let Err(error) = sent {
            assert!(error.to_string().contains("refused"), "{error}");
        }
    }
}

#[tokio::test]
async fn after_a_goaway_requests_go_to_a_new_connection_and_open_streams_end_well() {
    let server = RawHttp2::start(|mut connection, _| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        connection.graceful_shutdown();
        let ending = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            body.send_data(Bytes::from_static(b"whole"), true).unwrap();
        });
        while connection.accept().await.is_some() {}
        ending.await.unwrap();
    })
    .await;
    let upstream = server.upstream(quick());
    let first = upstream.send(server.get()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = upstream.send(server.get()).await.unwrap();
    assert_eq!(text(first).await, "whole");
    assert_eq!(text(second).await, "whole");
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_connection_that_has_gone_silent_is_found_out_by_ping() {
    let server = RawHttp2::start(|mut connection, _| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let body = respond.send_response(Response::new(()), false).unwrap();
        // Lets the head go out, then neither reads nor writes: a machine that is gone.
        let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop((body, connection));
    })
    .await;
    let upstream = server.upstream(quick());
    let begun = Instant::now();
    let mut response = upstream.send(server.get()).await.unwrap();
    let error = response.body_mut().frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer to a PING within 200 ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // The next request does not go there.
    upstream.send(server.get()).await.unwrap();
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_quiet_stream_on_a_live_connection_is_left_alone() {
    let server = RawHttp2::start(|mut connection, _| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            body.send_data(Bytes::from_static(b"late"), true).unwrap();
        });
        while connection.accept().await.is_some() {}
    })
    .await;
    let upstream = server.upstream(quick());
    assert_eq!(text(upstream.send(server.get()).await.unwrap()).await, "late");
}

#[tokio::test]
async fn a_peer_that_never_says_how_many_streams_it_allows_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = RawHttp2::over(listener, |_, mut stream| async move {
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    let upstream = server.upstream(quick());
    let (first, second) = tokio::join!(upstream.send(server.get()), upstream.send(server.get()));
    for sent in [first, second] {
        let error = sent.unwrap_err().to_string();
        assert!(error.contains("no SETTINGS within 300 ms"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_given_up() {
    // It accepts, and answers the TLS hello with nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = plain(&[("CONNECTION_TIMEOUT_MS", "200")]);
    let begun = Instant::now();
    let request = Request::get(format!("https://{address}/")).body(Payload::default()).unwrap();
    let error = upstream.send(request).await.unwrap_err();
    assert!(matches!(&error, SendError::Connect(why) if why.contains("within 200 ms")));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connect_timeout_does_not_limit_the_answer() {
    let server = Server::start(Tls::Http2 { streams: 100 }, |_| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Response::new(full("slow"))
    })
    .await;
    let upstream = server.upstream(&[("CONNECTION_TIMEOUT_MS", "600")]);
    assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "slow");
}

#[tokio::test]
async fn nobody_there_is_told_at_once_to_everybody_who_waits() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let upstream = plain(&[]);
        let ask = || {
            let request = Request::get(format!("{scheme}://{address}/"));
            upstream.send(request.body(Payload::default()).unwrap())
        };
        for sent in <[_; 3]>::from(tokio::join!(ask(), ask(), ask())) {
            let error = sent.unwrap_err();
            assert!(matches!(&error, SendError::Connect(why) if why.contains("refused")));
        }
    }
}

#[tokio::test]
async fn only_certificates_of_the_named_file_are_trusted() {
    let server =
        Server::start(Tls::Http2 { streams: 9 }, |_| async { Response::new(full("ok")) }).await;
    let other = Server::start(Tls::Http1, |_| async { Response::new(full("ok")) }).await;
    let upstream = server.upstream(&[]);
    assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "ok");
    let error = upstream.send(other.get("/")).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Connect(why) if why.contains("invalid peer certificate")),
        "{error}"
    );

    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [empty.to_str().unwrap(), "/nowhere/ca.pem"] {
        let (_, ending) = watch::channel(false);
        let error = Upstream::new(&settings(&[("SSL_CERT_FILE", path)]), ending).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&format!("SSL_CERT_FILE={path} holds no usable")), "{told}");
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_the_corporate_proxy_with_its_login() {
    let server =
        Server::start(Tls::Http2 { streams: 9 }, |_| async { Response::new(full("ok")) }).await;
    for (login, wanted) in [("", None), ("ada:p%40ss@", Some("Basic YWRhOnBAc3M="))] {
        let proxy = CorporateProxy::start(wanted).await;
        let url = format!("http://{login}{}", proxy.address);
        let upstream = server.upstream(&[("HTTPS_PROXY", &url)]);
        assert_eq!(text(upstream.send(server.get("/x")).await.unwrap()).await, "ok");
        assert_eq!(text(upstream.send(server.get("/x")).await.unwrap()).await, "ok");
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "one tunnel: {heads:?}");
        let connect = format!("CONNECT localhost:{} HTTP/1.1", server.address.port());
        assert!(heads[0].starts_with(&connect), "{heads:?}");
        let login = heads[0].lines().find(|line| line.to_lowercase().starts_with("proxy-auth"));
        assert_eq!(login.map(|line| line.split_once(": ").unwrap().1), wanted);
    }
}

#[tokio::test]
async fn a_proxy_that_wants_another_login_is_no_connection() {
    let proxy = CorporateProxy::start(Some("Basic other")).await;
    let url = format!("http://ada:hush@{}", proxy.address);
    let upstream = plain(&[("HTTPS_PROXY", &url)]);
    let request = Request::get("https://localhost:1/").body(Payload::default()).unwrap();
    let error = upstream.send(request).await.unwrap_err();
    assert!(matches!(&error, SendError::Connect(_)), "{error}");
    assert!(error.to_string().contains("proxy auth"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn plain_http_goes_to_the_corporate_proxy_in_absolute_form_with_its_login() {
    for (login, wanted) in [("", None), ("ada:pass@", Some("Basic YWRhOnBhc3M="))] {
        let proxy = CorporateProxy::start(wanted).await;
        let url = format!("http://{login}{}", proxy.address);
        let upstream = plain(&[("HTTP_PROXY", &url)]);
        let request = Request::get("http://far.example:81/x?y=1").body(Payload::default()).unwrap();
        assert_eq!(text(upstream.send(request).await.unwrap()).await, "by proxy");
        let heads = proxy.heads();
        assert!(heads[0].starts_with("GET http://far.example:81/x?y=1 HTTP/1.1\r\n"), "{heads:?}");
        assert!(heads[0].contains("host: far.example:81\r\n"), "{heads:?}");
        let login = heads[0].lines().find(|line| line.starts_with("proxy-authorization"));
        assert_eq!(login.map(|line| line.split_once(": ").unwrap().1), wanted);
    }
}

#[tokio::test]
async fn no_proxy_names_what_is_reached_straight() {
    let server = Server::start(Tls::Http1, |_| async { Response::new(full("straight")) }).await;
    let proxy = CorporateProxy::start(None).await;
    let url = format!("http://{}", proxy.address);
    let upstream = server.upstream(&[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost,10.0.0.0/8")]);
    assert_eq!(text(upstream.send(server.get("/")).await.unwrap()).await, "straight");
    assert_eq!(proxy.heads(), [""; 0]);
}

#[tokio::test]
async fn what_is_in_flight_ends_when_the_shell_gives_up() {
    let server = Server::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let (end, ending) = watch::channel(false);
    let upstream = Upstream::new(&server.settings(&[]), ending).unwrap();
    let mut endless = upstream.send(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    end.send(true).unwrap();
    loop {
        match endless.body_mut().frame().await.unwrap() {
            Ok(_) => {}
            Err(error) => break assert_eq!(error, BodyError::ShuttingDown),
        }
    }
    let error = upstream.send(server.get("/endless")).await;
    assert!(error.is_ok() || error.unwrap_err() == SendError::ShuttingDown);
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tls {
    None,
    Http1,
    Http2 { streams: u32 },
}

/// A server with a certificate of its own, which counts.
struct Server {
    address: SocketAddr,
    secure: bool,
    certificate: TempDir,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
}

/// Counts one for as long as it lives.
struct Counted(Arc<Counts>, fn(&Counts) -> &AtomicUsize);

impl Counted {
    fn new(counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicUsize) -> Self {
        which(counts).fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    async fn start<F, A>(tls: Tls, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<BoxBody<Bytes, Infallible>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = acceptor(tls);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                let counts = Arc::clone(&counted);
                tokio::spawn(async move {
                    counts.opened.fetch_add(1, Ordering::SeqCst);
                    let _open = Counted::new(&counts, |counts| &counts.open);
                    let service = service_fn(|request| {
                        let counted = Counted::new(&counts, |counts| &counts.streams);
                        let answer = answer(request);
                        async move {
                            let response = answer.await;
                            Ok::<_, Infallible>(response.map(|body| {
                                body.map_frame(move |frame| {
                                    let _ = &counted;
                                    frame
                                })
                            }))
                        }
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    if let Tls::Http2 { streams } = tls {
                        server.http2().max_concurrent_streams(streams);
                    }
                    let _ = match tls {
                        Tls::None => server.serve_connection(TokioIo::new(stream), service).await,
                        Tls::Http1 | Tls::Http2 { .. } => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        Self { address, secure: tls != Tls::None, certificate, counts }
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let file = self.certificate.path().join("ca.pem");
        let ours = [("SSL_CERT_FILE", file.to_str().unwrap())];
        settings(&[more, &ours].concat())
    }

    fn upstream(&self, more: &[(&str, &str)]) -> Upstream {
        let (end, ending) = watch::channel(false);
        // Dropped, it would count as the end.
        std::mem::forget(end);
        Upstream::new(&self.settings(more), ending).unwrap()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    fn get(&self, path: &str) -> Request<Payload> {
        Request::get(self.url(path)).body(Payload::default()).unwrap()
    }

    fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::SeqCst)
    }

    async fn until_open(&self, wanted: usize) {
        until(|| self.open() == wanted).await;
    }

    async fn until_streams(&self, wanted: usize) {
        until(|| self.streams() == wanted).await;
    }
}

/// A server that handles HTTP/2 connections itself.
struct RawHttp2 {
    server: Server,
}

impl RawHttp2 {
    async fn start<F, A>(serve: F) -> Self
    where
        F: Fn(
                h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
                usize,
            ) -> A
            + Clone
            + Send
            + Sync
            + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(listener, move |number, stream| {
            let serve = serve.clone();
            async move {
                let connection = h2::server::handshake(stream).await.unwrap();
                serve(connection, number).await;
            }
        })
    }

    fn over<F, A>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(usize, tokio_rustls::server::TlsStream<TcpStream>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = acceptor(Tls::Http2 { streams: 0 });
        let counts = Arc::new(Counts::default());
        let server = Server { address, secure: true, certificate, counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counts.opened.fetch_add(1, Ordering::SeqCst);
                let stream = acceptor.accept(stream).await.unwrap();
                tokio::spawn(serve(number, stream));
            }
        });
        Self { server }
    }

    fn upstream(&self, rules: Rules) -> Upstream {
        let (end, ending) = watch::channel(false);
        std::mem::forget(end);
        let way = Way::new(&self.server.settings(&[])).unwrap();
        Upstream { pool: Arc::new(Pool::new(way, rules)), ending }
    }

    fn get(&self) -> Request<Payload> {
        self.server.get("/")
    }

    fn opened(&self) -> usize {
        self.server.opened()
    }
}

/// A corporate proxy: tunnels, and answers plain requests itself.
struct CorporateProxy {
    address: SocketAddr,
    heads: std::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl CorporateProxy {
    async fn start(login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, heads) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let told = told.clone();
                tokio::spawn(async move {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        write!(head, "{}", char::from(client.read_u8().await.unwrap())).unwrap();
                    }
                    told.send(head.clone()).unwrap();
                    if login.is_some_and(|login| !head.contains(login)) {
                        let refused = b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
                        return client.write_all(refused).await.unwrap();
                    }
                    if !head.starts_with("CONNECT ") {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nby proxy";
                        return client.write_all(answer).await.unwrap();
                    }
                    let to = head.split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
                    let mut server = TcpStream::connect(to).await.unwrap();
                    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, heads: std::sync::Mutex::new(heads) }
    }

    fn heads(&self) -> Vec<String> {
        let mut heads = self.heads.lock().unwrap();
        std::iter::from_fn(|| heads.try_recv().ok()).collect()
    }
}

async fn endless_or_not(request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let (size, pause) = match request.uri().path() {
        "/endless" => (1, 10),
        "/flood" => (1 << 16, 0),
        _ => return Response::new(full("ok")),
    };
    let (pieces, received) = mpsc::channel(1);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'.'; size]);
        while pieces.send(piece.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    });
    Response::new(Pieces(received).boxed())
}

/// A body whose pieces somebody else makes.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn full(text: &str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Settings with these names on top of the defaults.
fn settings(more: &[(&str, &str)]) -> Settings {
    let lookup = |name: &str| {
        let found = more.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let home = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
    let layers =
        [Layer { source: From::Env, lookup: &lookup }, Layer { source: From::Env, lookup: &home }];
    Settings::read(&layers).unwrap().0
}

/// An upstream that trusts the system's certificates.
fn plain(more: &[(&str, &str)]) -> Upstream {
    let (end, ending) = watch::channel(false);
    std::mem::forget(end);
    Upstream::new(&settings(more), ending).unwrap()
}

/// Rules for tests that wait for something to go wrong.
fn quick() -> Rules {
    Rules {
        pooling: true,
        keep_alive: Duration::from_secs(60),
        ping_every: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        settings_timeout: Duration::from_millis(300),
    }
}

/// A certificate for `localhost` and the server's side of it.
fn acceptor(tls: Tls) -> (TlsAcceptor, TempDir) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    if let Tls::Http2 { .. } = tls {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    (TlsAcceptor::from(Arc::new(config)), folder)
}

async fn until(done: impl Fn() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waited).await.expect("it never came to be");
}
