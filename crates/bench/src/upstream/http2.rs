//! Upstream over HTTP/2 with TLS, as Google's front end does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::bodies::{AnswerFormat, event};
use super::{BODY_START, Reply, UpstreamState};
use crate::BenchError;
use crate::request::ResponsePlan;

/// A self-signed certificate for this run.
pub(super) fn tls(authority: &Path) -> Result<TlsAcceptor, BenchError> {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    std::fs::write(authority, cert.pem())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub(super) async fn accept(listener: TcpListener, tls: TlsAcceptor, google: Arc<UpstreamState>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, google) = (tls.clone(), Arc::clone(&google));
                tokio::spawn(async move { drop(serve_connection(stream, tls, google).await) });
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    google: Arc<UpstreamState>,
) -> Result<(), BenchError> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .handshake(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let google = Arc::clone(&google);
        tokio::spawn(async move { drop(answer(request, respond, &google).await) });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    google: &UpstreamState,
) -> Result<(), BenchError> {
    let (head, mut body) = request.into_parts();
    let mut beginning = Vec::with_capacity(BODY_START);
    while let Some(piece) = body.data().await {
        let piece = piece?;
        let left = BODY_START - beginning.len();
        beginning.extend_from_slice(&piece[..piece.len().min(left)]);
        body.flow_control().release_capacity(piece.len())?;
    }
    let target = head.uri.path();
    match google.reply(target, &beginning) {
        Reply::Whole { status, body, wait } => {
            google.wait_for_token(wait).await;
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status)?;
            let headers = response.headers_mut();
            headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            respond.send_response(response, false)?.send_data(body, true)?;
        }
        Reply::Stream { plan, format } => stream_events(&mut respond, plan, format).await?,
    }
    Ok(())
}

async fn stream_events(
    respond: &mut SendResponse<Bytes>,
    plan: ResponsePlan,
    format: AnswerFormat,
) -> Result<(), BenchError> {
    let response = Response::builder().header("content-type", "text/event-stream").body(())?;
    let mut events = respond.send_response(response, false)?;
    let started = Instant::now();
    for index in 0..plan.events {
        if plan.interval_ms > 0 && index > 0 {
            let after = Duration::from_millis(u64::from(index) * u64::from(plan.interval_ms));
            sleep_until(started + after).await;
        } else {
            // Otherwise all events go in one write.
            tokio::task::yield_now().await;
        }
        events.send_data(event(format, index + 1 == plan.events, false), false)?;
    }
    events.send_data(Bytes::new(), true)?;
    Ok(())
}

/// The usual limit of large front ends: a contender that needs more opens more connections.
const STREAMS: u32 = 100;

const WINDOW: u32 = 1 << 20;
