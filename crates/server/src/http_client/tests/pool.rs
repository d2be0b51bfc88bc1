//! How connections are shared, kept and closed.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_use_five_connections_of_a_hundred_streams() {
    let barrier = Arc::new(Barrier::new(500));
    let server = TestServer::start(Tls::Http2 { streams: 100 }, move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Response::new(full("here"))
        }
    })
    .await;
    let client = server.client(&[]);
    let sent: Vec<_> = (0..500)
        .map(|_| {
            let (client, request) = (client.clone(), server.get("/"));
            tokio::spawn(async move { text(client.send_cloned(request).await.unwrap()).await })
        })
        .collect();
    let all = async {
        for response in sent {
            assert_eq!(response.await.unwrap(), "here");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("none waits for another");
    assert_eq!(server.opened(), 5);
    assert_eq!(server.open(), 5);
}

#[tokio::test]
async fn a_request_beside_as_many_streams_as_the_peer_allows_takes_another_connection() {
    let barrier = Arc::new(Barrier::new(2));
    let server = TestServer::start(Tls::Http2 { streams: 1 }, move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Response::new(full("ok"))
        }
    })
    .await;
    let client = server.client(&[]);
    let (other, request) = (client.clone(), server.get("/"));
    let first = tokio::spawn(async move { other.send_cloned(request).await });
    server.await_streams(1).await;
    let second = client.send_cloned(server.get("/"));
    let second = tokio::time::timeout(Duration::from_secs(10), second).await;
    let second = second.expect("it does not wait for the first one").unwrap();
    assert_eq!(text(second).await, "ok");
    assert_eq!(text(first.await.unwrap().unwrap()).await, "ok");
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_burst_on_a_cold_pool_dials_once() {
    let server = TestServer::start(Tls::Http2 { streams: 100 }, |_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Response::new(full("ok"))
    })
    .await;
    let client = server.client(&[]);
    let sent: Vec<_> = (0..100)
        .map(|_| {
            let (client, request) = (client.clone(), server.get("/"));
            tokio::spawn(async move { text(client.send_cloned(request).await.unwrap()).await })
        })
        .collect();
    for response in sent {
        assert_eq!(response.await.unwrap(), "ok");
    }
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_peer_that_speaks_only_http1_serves_all_waiting_requests() {
    let barrier = Arc::new(Barrier::new(20));
    let server = TestServer::start(Tls::Http1, move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Response::new(full("here"))
        }
    })
    .await;
    let client = server.client(&[]);
    let sent: Vec<_> = (0..20)
        .map(|_| {
            let (client, request) = (client.clone(), server.get("/"));
            tokio::spawn(async move { text(client.send_cloned(request).await.unwrap()).await })
        })
        .collect();
    for response in sent {
        assert_eq!(response.await.unwrap(), "here");
    }
    assert_eq!(server.opened(), 20);
}

#[tokio::test]
async fn connections_are_reused_if_pooling_is_enabled() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::Http1, Tls::None] {
        for (pooling, opened) in [("true", 1), ("false", 5)] {
            let server = TestServer::start(tls, |_| async { Response::new(full("ok")) }).await;
            let client = server.client(&[("ENABLE_CONNECTION_POOLING", pooling)]);
            for _ in 0..5 {
                assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "ok");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(server.opened(), opened, "{tls:?} {pooling}");
            if pooling == "false" {
                server.await_open(0).await;
            }
        }
    }
}

#[tokio::test]
async fn a_tls_connection_opened_ahead_serves_the_first_request() {
    for (tls, pooling, opened) in [
        (Tls::Http2 { streams: 100 }, "true", 1),
        (Tls::Http1, "true", 1),
        (Tls::Http2 { streams: 100 }, "false", 0),
        (Tls::None, "true", 0),
    ] {
        let server = TestServer::start(tls, |_| async { Response::new(full("ok")) }).await;
        let client = server.client(&[("ENABLE_CONNECTION_POOLING", pooling)]);
        client.warm(&server.url("")).await;
        assert_eq!(server.opened(), opened, "{tls:?} {pooling}");
        assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "ok");
        assert_eq!(server.opened(), 1, "{tls:?} {pooling}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_keep_alive_timeout() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::None] {
        let server = TestServer::start(tls, |_| async { Response::new(full("ok")) }).await;
        let client = server.client(&[("KEEP_ALIVE_TIMEOUT_MS", "200")]);
        text(client.send_cloned(server.get("/")).await.unwrap()).await;
        let begun = Instant::now();
        assert_eq!(server.open(), 1);
        server.await_open(0).await;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(150) && took < Duration::from_secs(2), "{took:?}");
        text(client.send_cloned(server.get("/")).await.unwrap()).await;
        assert_eq!(server.opened(), 2);
    }
}

#[tokio::test]
async fn a_dropped_body_closes_its_http1_connection() {
    let server = TestServer::start(Tls::None, endless_or_not).await;
    let client = server.client(&[]);
    let mut endless = client.send_cloned(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    drop(endless);
    server.await_open(0).await;
    server.await_streams(0).await;
}

#[tokio::test]
async fn a_request_dropped_before_its_response_is_cancelled_at_the_server() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::None] {
        let server = TestServer::start(tls, |_| async {
            std::future::pending::<()>().await;
            Response::new(full("never"))
        })
        .await;
        let client = server.client(&[]);
        let sent = client.send_cloned(server.get("/"));
        tokio::time::timeout(Duration::from_millis(200), sent).await.expect_err("no answer");
        server.await_streams(0).await;
        server.await_open(usize::from(tls != Tls::None)).await;
    }
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    for tls in [Tls::Http2 { streams: 100 }, Tls::Http1, Tls::None] {
        let server = TestServer::start(tls, |request| async move {
            let length = request.headers().get("content-length").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
            Response::new(full(&format!("{length:?} {} {sum}", body.len())))
        })
        .await;
        let client = server.client(&[]);
        for size in [0, 1, 5000, 20_000_000] {
            let mut payload = Payload::default();
            payload.push("{\"a\":");
            payload.push(vec![1_u8; size]);
            payload.push("}");
            let request = Request::post(server.url("/")).body(payload).unwrap();
            let sum = size + "{\"a\":}".bytes().map(usize::from).sum::<usize>();
            let received = text(client.send_cloned(request).await.unwrap()).await;
            assert_eq!(received, format!("Some(\"{}\") {} {sum}", size + 6, size + 6), "{tls:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_reused() {
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
    let client = plain(&[]);
    for _ in 0..20 {
        let request = Request::post(format!("http://{address}/")).body(Payload::default()).unwrap();
        assert_eq!(text(client.send_cloned(request).await.unwrap()).await, "ok");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_refused_connection_fails_all_waiting_requests_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let client = plain(&[]);
        let ask = || {
            let request = Request::get(format!("{scheme}://{address}/"));
            client.send_cloned(request.body(Payload::default()).unwrap())
        };
        for sent in <[_; 3]>::from(tokio::join!(ask(), ask(), ask())) {
            let error = sent.unwrap_err();
            assert!(matches!(&error, SendError::Connect(why) if why.contains("refused")));
        }
    }
}

#[tokio::test]
async fn requests_in_flight_end_when_a_shutdown_aborts_them() {
    let server = TestServer::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let (end, abort) = watch::channel(false);
    let client = HttpClient::new(&server.settings(&[]), abort).unwrap();
    let mut endless = client.send_cloned(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    end.send(true).unwrap();
    loop {
        match endless.body_mut().frame().await.unwrap() {
            Ok(_) => {}
            Err(error) => break assert_eq!(error, BodyError::ShuttingDown),
        }
    }
    let error = client.send_cloned(server.get("/endless")).await;
    assert_eq!(error.unwrap_err(), SendError::ShuttingDown);
}

#[tokio::test]
async fn requests_without_an_answer_end_when_a_shutdown_aborts_them() {
    for tls in [Tls::None, Tls::Http1, Tls::Http2 { streams: 1 }] {
        let server = TestServer::start(tls, |_| std::future::pending()).await;
        let (end, abort) = watch::channel(false);
        let client = HttpClient::new(&server.settings(&[]), abort).unwrap();
        // The second one has an HTTP/2 connection of its own, or waits for it.
        let asked = async {
            tokio::join!(client.send_cloned(server.get("/")), client.send_cloned(server.get("/")))
        };
        let ending = async {
            server.await_streams(2).await;
            end.send(true).unwrap();
        };
        let ((first, second), ()) = tokio::join!(asked, ending);
        for sent in [first, second] {
            assert_eq!(sent.unwrap_err(), SendError::ShuttingDown, "{tls:?}");
        }
    }
}

#[tokio::test]
async fn an_http1_answer_ends_when_a_shutdown_aborts_it() {
    let server = TestServer::start(Tls::None, endless_or_not).await;
    let (end, abort) = watch::channel(false);
    let client = HttpClient::new(&server.settings(&[]), abort).unwrap();
    let mut endless = client.send_cloned(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    end.send(true).unwrap();
    let error = loop {
        if let Err(error) = endless.body_mut().frame().await.unwrap() {
            break error;
        }
    };
    assert_eq!(error, BodyError::ShuttingDown);
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_ends_when_a_shutdown_aborts_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, abort) = watch::channel(false);
    let client = HttpClient::new(&settings(&[]), abort).unwrap();
    let request = Request::get(format!("https://{address}/")).body(Payload::default()).unwrap();
    let ending = async {
        // TLS gets no answer.
        let accepted = listener.accept().await.unwrap();
        end.send(true).unwrap();
        accepted
    };
    let (sent, _accepted) = tokio::join!(client.send_cloned(request), ending);
    assert_eq!(sent.unwrap_err(), SendError::ShuttingDown);
}
