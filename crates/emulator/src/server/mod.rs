//! The HTTP server: it accepts connections and takes each request from its head to its framed
//! answer.

pub(crate) mod body;
mod framing;
mod received;
mod socket;

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::control;
use crate::gemini_api::LiveSession;
use crate::log::LogEntry;
use crate::model::ResponseStamp;
use crate::oauth;
use crate::reply::Reply;
use crate::request::{ApiRequest, authority, bearer};
use crate::route::Route;
use crate::script::{MatchedRequest, Rule};

use self::body::{ConnectionCutError, ReplyBody, ResetSwitch};
pub(crate) use self::received::ReceivedBody;
use self::received::{Reading, receive};
use self::socket::ResettableStream;

/// Accepts connections until the task is aborted; the connections end with it.
pub(crate) async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&backend)));
                }
                // Likely out of file descriptors: wait until other connections have ended.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, backend: Arc<Backend>) {
    if stream.set_nodelay(true).is_err() {
        return; // the client has closed it already
    }
    let reset = ResetSwitch::default();
    let socket = ResettableStream::new(stream, reset.clone());
    let live = LiveSlot::default();
    let shared = Connection { backend: Arc::clone(&backend), reset, live: Arc::clone(&live) };
    let service = service_fn(move |request| answer(shared.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_PER_CONNECTION);
    // An error means that the client left, or that a rule cut the connection.
    let _ended = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
    let session = live.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(session) = session {
        session.run(backend).await;
    }
}

/// What the requests of one connection share.
#[derive(Clone, Debug)]
struct Connection {
    backend: Arc<Backend>,
    reset: ResetSwitch,
    live: LiveSlot,
}

/// The WebSocket that a connection becomes once its last HTTP answer is out.
type LiveSlot = Arc<Mutex<Option<LiveSession>>>;

async fn answer(
    connection: Connection,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, ConnectionCutError> {
    let Connection { backend, reset, live } = connection;
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Some(name) = path.strip_prefix("/__emulator/") {
        let body = body.collect().await.map_err(|_| ConnectionCutError)?.to_bytes();
        let reply = control::answer(&backend, &parts.method, name, &body);
        return Ok(respond(reply, &[], None, Duration::ZERO, None, reset));
    }
    let route = Route::of(&parts, backend.played);
    let name = route.name();
    let mut entry = backend.log.open(&name, &parts);
    if let Some(header) = route.violation(&parts, &backend) {
        entry.violation(header);
    }
    let trace_id = trace_id(entry.seq());
    let mut request = ApiRequest {
        authority: authority(&parts),
        path,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &[],
        bearer: bearer(&parts.headers),
        seq: entry.seq(),
        stamp: stamp(&trace_id),
        trace_id: trace_id.clone(),
    };

    let matched = |body, at_head| {
        let request = MatchedRequest { rpc: &name, path, model: route.model(), body, at_head };
        backend.script().take(&request)
    };
    let mut rule = matched(&[], true);
    let sink = route.upload_sink(&request, &backend);
    if rule.is_none() && matches!(sink, Ok(Some(_))) {
        // A rule that answers decides before the bytes of an upload count.
        rule = matched(&[], false);
    }
    let most = rule.as_ref().and_then(|rule| rule.read_body_bytes);
    let has_own_answer = rule.as_ref().is_some_and(Rule::answers);
    let reading = match &sink {
        Ok(Some(sink)) if !has_own_answer || most.is_some() => Reading::Uploaded(sink),
        Ok(None) => Reading::Whole,
        Ok(Some(_)) | Err(_) => Reading::Dropped,
    };
    let (received, is_whole) = receive(body, reading, most, &backend).await;
    entry.body(&received);
    if !is_whole {
        return Err(ConnectionCutError);
    }
    let body = unpacked(&parts.headers, received.bytes);
    request.body = &body;
    if rule.is_none() && !matches!(sink, Ok(Some(_))) {
        rule = matched(&body, false);
    }
    let mut delay =
        rule.as_ref().map_or(Duration::ZERO, |rule| Duration::from_millis(rule.delay_ms));
    let mut reply = match (&rule, sink) {
        (Some(rule), _) if rule.answers() => {
            rule.own_reply(|error, status| route.scripted_error(error, status, &request, &backend))
        }
        (_, Err(refusal)) => refusal,
        (_, Ok(_)) => {
            let (reply, route_delay) = route.answer(&request, &backend);
            delay = delay.max(route_delay);
            reply
        }
    };
    if let Some(name) = route.trace_header() {
        reply = reply.header(name, &trace_id);
    }
    if let Some(rule) = &rule {
        rule.change(&mut reply);
        if rule.gzip {
            reply = reply.header("content-encoding", "gzip");
        }
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if rule.as_ref().is_some_and(|rule| rule.close_before_head) {
        entry.end();
        return Err(ConnectionCutError);
    }
    entry.status(reply.status.as_u16());
    let mut entry = Some(entry);
    if reply.status == StatusCode::SWITCHING_PROTOCOLS
        && let Route::GeminiApi(call) = &route
        && let Some(entry) = entry.take()
    {
        let session = LiveSession::of(call, upgrade, entry);
        *live.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
    let interval = backend.state().pacing().interval;
    Ok(respond(reply, route.front_end(), rule.as_ref(), interval, entry, reset))
}

fn respond(
    reply: Reply,
    front_end: &[(&'static str, &'static str)],
    rule: Option<&Rule>,
    interval: Duration,
    entry: Option<LogEntry>,
    reset: ResetSwitch,
) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in FRONT_END.iter().chain(front_end) {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    for (name, value) in reply.headers {
        headers.insert(name, value);
    }
    let mut response = Response::new(ReplyBody::new(reply.content, rule, interval, entry, reset));
    *response.status_mut() = reply.status;
    *response.headers_mut() = headers;
    response
}

/// The body without its gzip coding, which Google accepts.
fn unpacked(headers: &HeaderMap, body: Bytes) -> Bytes {
    if headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding != "gzip") {
        return body;
    }
    let mut plain = Vec::new();
    match MultiGzDecoder::new(&*body).read_to_end(&mut plain) {
        Ok(_) => plain.into(),
        Err(_) => body, // not gzip: the JSON parser refuses it
    }
}

fn stamp(trace_id: &str) -> ResponseStamp {
    let now = Timestamp::from_millisecond(oauth::now_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
    ResponseStamp { create_time: format!("{now:.6}"), response_id: format!("emulator-{trace_id}") }
}

/// 16 hex digits that look random and depend on the request's number only (splitmix64).
fn trace_id(seq: u64) -> String {
    let mut mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", mixed ^ (mixed >> 31))
}

/// The headers that Google's front end adds to every answer (docs/reference/protocol.md 2.2).
const FRONT_END: [(&str, &str); 5] = [
    ("server", "ESF"),
    ("vary", "Origin, X-Origin, Referer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-xss-protection", "0"),
];
/// What Google announces; the 101st concurrent stream needs a second connection.
const STREAMS_PER_CONNECTION: u32 = 100;
