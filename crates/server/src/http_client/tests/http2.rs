//! Streams, limits, GOAWAY and PING on HTTP/2 connections.

use super::*;

#[tokio::test]
async fn a_dropped_body_resets_its_stream_and_no_other() {
    let server = TestServer::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let client = server.client(&[]);
    let mut endless = client.send_cloned(server.get("/endless")).await.unwrap();
    endless.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(server.streams(), 1);
    drop(endless);
    server.await_streams(0).await;
    assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "ok");
    assert_eq!((server.opened(), server.open()), (1, 1));
}

#[tokio::test]
async fn unread_bodies_do_not_block_other_streams_of_their_connection() {
    let server = TestServer::start(Tls::Http2 { streams: 100 }, endless_or_not).await;
    let client = server.client(&[]);
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(client.send_cloned(server.get("/flood")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = client.send_cloned(server.get("/"));
    let answer = tokio::time::timeout(Duration::from_secs(5), sent).await.unwrap().unwrap();
    assert_eq!(text(answer).await, "ok");
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_refused_stream_is_retried_and_a_peer_that_refuses_all_is_an_error() {
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
        let sent = server.client(quick()).send_cloned(server.get()).await;
        assert_eq!(sent.is_ok(), answered, "{sent:?}");
        if let Err(error) = sent {
            assert!(error.to_string().contains("refused"), "{error}");
        }
    }
}

#[tokio::test]
async fn after_a_goaway_requests_use_a_new_connection_and_open_streams_complete() {
    let server = RawHttp2::start(|mut connection, _| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        connection.graceful_shutdown();
        let sending = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            body.send_data(Bytes::from_static(b"whole"), true).unwrap();
        });
        while connection.accept().await.is_some() {}
        sending.await.unwrap();
    })
    .await;
    let client = server.client(quick());
    let first = client.send_cloned(server.get()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = client.send_cloned(server.get()).await.unwrap();
    assert_eq!(text(first).await, "whole");
    assert_eq!(text(second).await, "whole");
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_stream_that_ends_beside_another_one_serves_a_request_that_waits_for_a_dial() {
    let (end, ends) = watch::channel(false);
    let (full, mut is_full) = watch::channel(false);
    let full = Arc::new(full);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = RawHttp2::over(listener, move |number, mut stream| {
        let (ends, full) = (ends.clone(), Arc::clone(&full));
        async move {
            if number > 0 {
                // It never says how many streams it allows, so that it has one.
                frames::read_preface(&mut stream).await.unwrap();
                while frames::read_frame(&mut stream).await.unwrap().kind != frames::HEADERS {}
                full.send_replace(true);
                std::future::pending::<()>().await;
            }
            let mut builder = h2::server::Builder::new();
            let handshake = builder.max_concurrent_streams(2).handshake::<_, Bytes>(stream);
            let mut connection = handshake.await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let mut ends = ends.clone();
                tokio::spawn(async move {
                    match request.uri().path() {
                        "/never" => std::future::pending().await,
                        "/later" => _ = ends.wait_for(|end| *end).await.unwrap(),
                        _ => {}
                    }
                    respond.send_response(Response::new(()), true).unwrap();
                });
            }
        }
    });
    let seconds = Duration::from_secs;
    let client = server.client(PoolOptions {
        ping_interval: seconds(60),
        settings_timeout: seconds(60),
        ..quick()
    });
    let send = |path: &str| {
        let (client, request) = (client.clone(), server.server.get(path));
        tokio::spawn(async move { text(client.send_cloned(request).await.unwrap()).await })
    };
    send("/").await.unwrap();
    let (_never, later) = (send("/never"), send("/later"));
    tokio::task::yield_now().await;
    // One of them gets the new connection, and never an answer.
    let (one, other) = (send("/"), send("/"));
    is_full.wait_for(|full| *full).await.unwrap();
    end.send_replace(true);
    later.await.unwrap();
    let served = async {
        tokio::select! {
            served = one => served.unwrap(),
            served = other => served.unwrap(),
        }
    };
    tokio::time::timeout(seconds(10), served).await.expect("it has the stream that has ended");
}

#[tokio::test]
async fn a_silent_connection_is_detected_by_ping() {
    let server = RawHttp2::start(|mut connection, _| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let body = respond.send_response(Response::new(()), false).unwrap();
        // Lets the head go out, then neither reads nor writes: a machine that is gone.
        let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop((body, connection));
    })
    .await;
    let client = server.client(quick());
    let begun = Instant::now();
    let mut response = client.send_cloned(server.get()).await.unwrap();
    let error = response.body_mut().frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer to a PING within 200 ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // The next request does not go there.
    client.send_cloned(server.get()).await.unwrap();
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_quiet_stream_on_a_live_connection_stays_open() {
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
    let client = server.client(quick());
    assert_eq!(text(client.send_cloned(server.get()).await.unwrap()).await, "late");
}

#[tokio::test]
async fn a_peer_that_sends_no_settings_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = RawHttp2::over(listener, |_, mut stream| async move {
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    let client = server.client(quick());
    let (first, second) =
        tokio::join!(client.send_cloned(server.get()), client.send_cloned(server.get()));
    for sent in [first, second] {
        let error = sent.unwrap_err().to_string();
        assert!(error.contains("no SETTINGS within 300 ms"), "{error}");
    }
}
