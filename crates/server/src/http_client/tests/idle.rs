//! Connections that were silent before a request: which one the request takes, and what the peer sees.

use std::sync::atomic::AtomicU64;

use super::frames::*;
use super::*;

#[tokio::test]
async fn a_connection_that_went_silent_while_idle_gets_no_request() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    peer.fall_silent();
    client.await_silence().await;
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(0), [Request, Ping]);
    assert_eq!(peer.seen_on(1), [Request]);
}

#[tokio::test]
async fn a_live_idle_connection_gets_the_request_after_the_answer_to_a_ping() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    client.await_silence().await;
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(0), [Request, Ping, Pong, Request]);
    assert_eq!(peer.server.opened(), 1);
}

#[tokio::test]
async fn a_burst_on_a_dead_idle_connection_is_answered_over_one_new_connection() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    peer.fall_silent();
    client.await_silence().await;
    peer.send_burst(&client).await;
    assert_eq!(peer.seen_on(0), [Request, Ping]);
    assert_eq!(peer.seen_on(1), [Request; 20]);
    assert_eq!(peer.server.opened(), 2);
}

#[tokio::test]
async fn a_burst_on_a_live_idle_connection_shares_one_ping() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    client.await_silence().await;
    peer.send_burst(&client).await;
    assert_eq!(peer.seen_on(0), [&[Request, Ping, Pong][..], &[Request; 20]].concat());
    assert_eq!(peer.server.opened(), 1);
}

#[tokio::test]
async fn a_busy_connection_gets_no_ping() {
    let peer = SilentPeer::start().await;
    let options = PoolOptions { idle_before_check: Duration::from_secs(2), ..checking() };
    let client = peer.server.client(options);
    let begun = Instant::now();
    // Longer than the silence that is looked for.
    while begun.elapsed() < Duration::from_millis(2500) {
        client.send_cloned(peer.server.get()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!peer.seen_on(0).contains(&Ping));
    assert_eq!(peer.server.opened(), 1);
}

#[tokio::test]
async fn a_connection_opened_ahead_is_checked_like_one_that_was_used() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.warm(&peer.server.server.url("")).await;
    peer.fall_silent();
    client.await_silence().await;
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!((peer.seen_on(0), peer.seen_on(1)), (vec![Ping], vec![Request]));
}

#[tokio::test]
async fn a_request_after_one_that_was_cancelled_on_a_silent_connection_takes_another() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    peer.fall_silent();
    tokio::select! {
        biased;
        answered = client.send_cloned(peer.server.get()) => panic!("{answered:?}"),
        () = client.await_silence() => {}
    }
    // The connection has been without a stream for no time at all.
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(0), [Request, Request, Ping]);
    assert_eq!(peer.seen_on(1), [Request]);
}

#[tokio::test]
async fn a_failed_check_breaks_no_open_stream() {
    let peer = SilentPeer::start().await;
    let client = peer.server.client(checking());
    client.send_cloned(peer.server.get()).await.unwrap();
    peer.fall_silent();
    let mut waiting = Box::pin(client.send_cloned(peer.server.get()));
    tokio::select! {
        biased;
        answered = &mut waiting => panic!("{answered:?}"),
        () = client.await_silence() => {}
    }
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(1), [Request]);
    peer.silent.send_replace(false);
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(0), [Request, Request, Ping]);
}

#[tokio::test]
async fn a_connection_is_checked_after_the_machine_has_slept() {
    static SLEPT: AtomicU64 = AtomicU64::new(0);
    fn wall_clock() -> SystemTime {
        SystemTime::now() + Duration::from_secs(SLEPT.load(Ordering::SeqCst))
    }
    let peer = SilentPeer::start().await;
    let idle_before_check = Duration::from_secs(60);
    let client = peer.server.client(PoolOptions { wall_clock, idle_before_check, ..checking() });
    client.send_cloned(peer.server.get()).await.unwrap();
    SLEPT.store(3600, Ordering::SeqCst);
    client.send_cloned(peer.server.get()).await.unwrap();
    assert_eq!(peer.seen_on(0), [Request, Ping, Pong, Request]);
    peer.fall_silent();
    SLEPT.store(7200, Ordering::SeqCst);
    assert_eq!(client.send_cloned(peer.server.get()).await.unwrap().status(), 200);
    assert_eq!(peer.seen_on(0), [Request, Ping, Pong, Request, Ping]);
    assert_eq!(peer.seen_on(1), [Request]);
}

/// Options under which only a check sends a PING.
fn checking() -> PoolOptions {
    PoolOptions {
        ping_interval: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(5),
        idle_before_check: Duration::from_millis(100),
        ..quick()
    }
}

impl HttpClient {
    /// Waits until a connection counts as silent.
    async fn await_silence(&self) {
        wait_until(|| self.pool.is_silent()).await;
    }
}

/// What a peer has read, or written in answer to a PING.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Request,
    Ping,
    Pong,
}

use Seen::{Ping, Pong, Request};

/// A server whose first connection can fall silent: it goes on reading, and holds back its answers.
struct SilentPeer {
    server: RawHttp2,
    silent: watch::Sender<bool>,
    /// By the number of the connection.
    seen: Arc<Mutex<Vec<(usize, Seen)>>>,
}

impl SilentPeer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (silent, is_silent) = watch::channel(false);
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&seen);
        let server = RawHttp2::over(listener, move |number, stream| {
            let (log, mut is_silent) = (Arc::clone(&log), is_silent.clone());
            async move {
                let saw = &|what| lock(&log).push((number, what));
                let (mut reader, mut writer) = tokio::io::split(stream);
                let (frames, mut unanswered) = mpsc::unbounded_channel();
                let reading = async move {
                    read_preface(&mut reader).await?;
                    while let Ok(frame) = read_frame(&mut reader).await {
                        match (frame.kind, frame.flags & ACK) {
                            (HEADERS, _) => saw(Request),
                            (PING, 0) => saw(Ping),
                            _ => {}
                        }
                        let _ = frames.send(frame);
                    }
                    Ok::<(), io::Error>(())
                };
                let answering = async move {
                    write_frame(&mut writer, SETTINGS, 0, 0, &[]).await?;
                    while let Some(RawFrame { kind, flags, id, payload }) = unanswered.recv().await
                    {
                        if number == 0 {
                            let _ = is_silent.wait_for(|silent| !silent).await;
                        }
                        match (kind, flags & ACK) {
                            (SETTINGS, 0) => {
                                write_frame(&mut writer, SETTINGS, ACK, 0, &[]).await?
                            }
                            (PING, 0) => {
                                // Time for a request that does not wait for the answer.
                                tokio::time::sleep(Duration::from_millis(50)).await;
                                saw(Pong);
                                write_frame(&mut writer, PING, ACK, 0, &payload).await?;
                            }
                            (HEADERS, _) => {
                                // The indexed field ":status: 200" (RFC 7541, appendix A).
                                let flags = END_HEADERS | END_STREAM;
                                write_frame(&mut writer, HEADERS, flags, id, &[0x88]).await?;
                            }
                            _ => {}
                        }
                    }
                    Ok(())
                };
                let _ = tokio::try_join!(reading, answering);
            }
        });
        Self { server, silent, seen }
    }

    fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    fn seen_on(&self, connection: usize) -> Vec<Seen> {
        let seen = lock(&self.seen);
        seen.iter().filter(|(number, _)| *number == connection).map(|(_, what)| *what).collect()
    }

    /// Sends 20 requests at once, and asserts that all are answered.
    async fn send_burst(&self, client: &HttpClient) {
        let sent: Vec<_> = (0..20)
            .map(|_| {
                let (client, request) = (client.clone(), self.server.get());
                tokio::spawn(async move { client.send_cloned(request).await.unwrap().status() })
            })
            .collect();
        for status in sent {
            assert_eq!(status.await.unwrap(), 200);
        }
    }
}
