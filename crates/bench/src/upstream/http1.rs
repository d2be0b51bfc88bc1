//! Upstream over HTTP/1.1.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use super::bodies::{AnswerFormat, event};
use super::{BODY_START, Reply, UpstreamState};
use crate::http1_codec::Connection;
use crate::request::ResponsePlan;

pub(super) async fn accept(listener: TcpListener, google: Arc<UpstreamState>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let google = Arc::clone(&google);
                // A client that closes early has counted the error itself.
                tokio::spawn(async move { drop(serve_connection(stream, &google).await) });
            }
            // Out of file descriptors, until other connections close.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, google: &UpstreamState) -> io::Result<()> {
    let mut connection = Connection::on(stream)?;
    let mut beginning = Vec::with_capacity(BODY_START);
    loop {
        beginning.clear();
        let read = connection.read(|piece| {
            let left = BODY_START - beginning.len();
            beginning.extend_from_slice(&piece[..piece.len().min(left)]);
        });
        let Some(head) = read.await? else { return Ok(()) };
        match google.reply(&head.target, &beginning) {
            Reply::Whole { status, body, wait } => {
                google.wait_for_token(wait).await;
                let mut answer = format!(
                    "HTTP/1.1 {status} OK\r\nContent-Type: application/json; charset=UTF-8\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                answer.extend_from_slice(&body);
                connection.write(&answer).await?;
            }
            Reply::Stream { plan, format } => stream_events(&mut connection, plan, format).await?,
        }
        if head.close {
            return Ok(());
        }
    }
}

async fn stream_events(
    connection: &mut Connection,
    plan: ResponsePlan,
    format: AnswerFormat,
) -> io::Result<()> {
    let started = Instant::now();
    for index in 0..plan.events {
        if plan.interval_ms > 0 && index > 0 {
            let after = Duration::from_millis(u64::from(index) * u64::from(plan.interval_ms));
            sleep_until(started + after).await;
        }
        let event = event(format, index + 1 == plan.events, true);
        if index > 0 {
            connection.write(&event).await?;
        } else {
            connection.write(&[HEAD, &event].concat()).await?;
        }
    }
    connection.write(b"0\r\n\r\n").await
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";
