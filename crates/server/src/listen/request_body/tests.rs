//! Bodies in every shape, through hyper's connections.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// A client's connection to a service that answers with the body it gets. `/unread` is answered without it.
/// `/later` is answered by another task, after the body was read.
fn connect(buffer: usize) -> (DuplexStream, Arc<AtomicUsize>) {
    let (client, server) = duplex(buffer);
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    clock::spawn_holding(async move {
        let mut builder = http1::Builder::new();
        let connection =
            builder.half_close(true).serve_connection(TokioIo::new(server), service_fn(answer));
        let mut connection = pin!(connection);
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            connection.as_mut().poll(cx)
        })
        .await
    });
    (client, polls)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, RequestBodyError> {
    let version = request.version();
    let path = request.uri().path().to_owned();
    let body = RequestBody::new(request.into_body(), version);
    if path == "/unread" {
        return Ok(Response::new(Full::default()));
    }
    let collected = body.collect().await?;
    let has_trailers = collected.trailers().is_some();
    let body = collected.to_bytes();
    if path == "/later" {
        tokio::spawn(yield_now()).await.unwrap();
    }
    let mut response = Response::new(Full::new(body));
    if has_trailers {
        response.headers_mut().insert("had-trailers", http::HeaderValue::from_static("yes"));
    }
    Ok(response)
}

/// Reads a response with a content length.
async fn read_answer(client: &mut DuplexStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .split_once("content-length: ")
        .map_or(0, |(_, rest)| rest.split_once('\r').unwrap().0.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    (head, body)
}

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("nothing hangs")
}

#[tokio::test]
async fn a_request_whose_body_arrives_whole_is_one_poll_and_its_answer_by_another_task_a_second() {
    let (mut client, polls) = connect(64 << 10);
    settle().await;
    let idle = polls.load(Ordering::SeqCst);
    for (path, expected) in [("/", 1), ("/later", 2), ("/", 1)] {
        let before = polls.load(Ordering::SeqCst);
        client.write_all(&post(path, b"hello")).await.unwrap();
        assert_eq!(read_answer(&mut client).await.1, b"hello");
        settle().await;
        assert_eq!(polls.load(Ordering::SeqCst) - before, expected, "{path}");
    }
    assert_eq!(idle, 1);
}

#[tokio::test]
async fn a_body_arrives_in_one_piece_byte_by_byte_and_in_pieces_that_wait_for_each_other() {
    let body: Vec<u8> = (0..=255).cycle().take(3000).collect();
    for (buffer, piece) in [(64 << 10, 64 << 10), (64 << 10, 1), (64 << 10, 700), (16, 3000)] {
        let (mut client, _) = connect(buffer);
        for path in ["/", "/later", "/"] {
            let request = post(path, &body);
            in_time(async {
                for piece in request.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                    yield_now().await;
                }
                assert_eq!(read_answer(&mut client).await.1, body);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_with_its_trailers() {
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nx-trailer: y\r\n\r\n";
    for piece in [1, 7, request.len()] {
        let (mut client, _) = connect(64 << 10);
        for _ in 0..2 {
            in_time(async {
                for piece in request.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                    yield_now().await;
                }
                let (head, body) = read_answer(&mut client).await;
                assert!(head.contains("had-trailers"), "{head}");
                assert_eq!(body, b"hello world");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_its_answer() {
    let (mut client, _) = connect(64 << 10);
    for path in ["/", "/later"] {
        in_time(async {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let (head, _) = read_answer(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 100"), "{head}");
            client.write_all(b"hel").await.unwrap();
            settle().await;
            client.write_all(b"lo").await.unwrap();
            assert_eq!(read_answer(&mut client).await.1, b"hello");
        })
        .await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_read_and_unread() {
    for buffer in [64 << 10, 100] {
        let (client, _) = connect(buffer);
        let (mut reading, mut writing) = tokio::io::split(client);
        let paths = ["/", "/later", "/unread", "/later", "/"];
        let requests: Vec<_> = (0..10)
            .map(|number| (paths[number % 5], format!("{number}").repeat(50).into_bytes()))
            .collect();
        let all: Vec<u8> = requests.iter().flat_map(|(path, body)| post(path, body)).collect();
        let expected: Vec<u8> = requests
            .iter()
            .filter(|(path, _)| *path != "/unread")
            .flat_map(|(_, body)| body.clone())
            .collect();
        let writer = async {
            writing.write_all(&all).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let reader = async { reading.read_to_end(&mut received).await.unwrap() };
        in_time(async { tokio::join!(writer, reader) }).await;
        let text = String::from_utf8(received).unwrap();
        let bodies: String = text
            .split("HTTP/1.1 200 OK")
            .filter_map(|answer| Some(answer.split_once("\r\n\r\n")?.1))
            .collect();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 10);
        assert_eq!(bodies.as_bytes(), expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_ends_its_connection() {
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhell";
    let of_known_length = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhell";
    for sent in [chunked, of_known_length] {
        let (mut client, _) = connect(64 << 10);
        client.write_all(sent.as_bytes()).await.unwrap();
        settle().await;
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        in_time(client.read_to_end(&mut received)).await.unwrap();
        assert!(!received.starts_with(b"HTTP/1.1 200"), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_bodies_in_random_pieces_are_all_answered() {
    let clients: Vec<_> = (0..200_u64)
        .map(|seed| {
            tokio::spawn(async move {
                let mut state = seed + 1;
                let mut below = move |most: usize| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    usize::try_from(state >> 33).unwrap() % most
                };
                let (mut client, _) = connect([64, 1000, 64 << 10][below(3)]);
                for number in 0..50_u8 {
                    let body = vec![number; below(2000)];
                    let request = post(["/", "/later"][below(2)], &body);
                    let mut rest = &request[..];
                    while !rest.is_empty() {
                        let (piece, after) = rest.split_at(1 + below(rest.len()));
                        client.write_all(piece).await.unwrap();
                        rest = after;
                        if below(2) == 0 {
                            yield_now().await;
                        }
                    }
                    assert_eq!(read_answer(&mut client).await.1, body);
                }
            })
        })
        .collect();
    in_time(async {
        for client in clients {
            client.await.unwrap();
        }
    })
    .await;
}
