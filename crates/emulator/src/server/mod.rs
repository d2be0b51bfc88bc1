//! The listening port: connections, and one request from its head to its framed answer.

mod body;
mod socket;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::request::Parts;
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
use crate::code_assist::rpc::{Rpc, RpcRequest};
use crate::control;
use crate::model::answer::ResponseStamp;
use crate::oauth::{self, OAuthEndpoint, OAuthRequest};
use crate::reply::Reply;
use crate::script::MatchedRequest;
use crate::status::{ApiError, page_not_found};

use self::body::{ConnectionCutError, ReplyBody, ResetSwitch};
use self::socket::ResettableStream;

/// Accepts connections until the task is aborted; they end with it.
pub(crate) async fn accept(listener: TcpListener, google: Arc<Backend>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&google)));
                }
                // Out of file descriptors, say: others may end meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, google: Arc<Backend>) {
    if stream.set_nodelay(true).is_err() {
        return; // gone already
    }
    let link = ResetSwitch::default();
    let socket = ResettableStream::new(stream, link.clone());
    let service = service_fn(move |request| answer(Arc::clone(&google), link.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_PER_CONNECTION);
    // An error here is a client that left or a cut that was asked for.
    let _ended = builder.serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    google: Arc<Backend>,
    link: ResetSwitch,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, ConnectionCutError> {
    let (parts, body) = request.into_parts();
    if let Some(below) = parts.uri.path().strip_prefix("/__emulator/") {
        let body = body.collect().await.map_err(|_| ConnectionCutError)?.to_bytes();
        let reply = control::answer(&google, &parts.method, below, &body);
        return Ok(respond(reply.status, reply, None, Duration::ZERO, None, link));
    }
    let asked = Route::of(&parts);
    let mut entry = google.log.open(asked.name(), &parts);
    let body = body.collect().await.map_err(|_| ConnectionCutError)?.to_bytes();
    entry.body(&body);
    let body = decoded(&parts.headers, body);

    let rule = google.script().take(&MatchedRequest {
        rpc: asked.name(),
        path: parts.uri.path(),
        body: &body,
    });
    let mut delay =
        rule.as_ref().map_or(Duration::ZERO, |rule| Duration::from_millis(rule.delay_ms));
    let trace_id = trace_id(entry.seq());
    let mut reply = match &rule {
        Some(rule) if rule.answers() => rule.own_reply(asked.streams()),
        _ => {
            let (reply, wait) = asked.answer(&google, &parts, &body, entry.seq(), &trace_id);
            delay = delay.max(wait);
            reply
        }
    };
    if matches!(asked, Route::Assist(_)) {
        reply = reply.header("x-cloudaicompanion-trace-id", &trace_id);
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
    let interval = google.state().pace().interval;
    Ok(respond(reply.status, reply, rule.as_ref(), interval, Some(entry), link))
}

fn respond(
    status: StatusCode,
    reply: Reply,
    rule: Option<&crate::script::Rule>,
    interval: Duration,
    entry: Option<crate::log::LogEntry>,
    link: ResetSwitch,
) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in FRONT_END {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in reply.headers {
        headers.insert(name, value);
    }
    let mut response = Response::new(ReplyBody::new(reply.content, rule, interval, entry, link));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What a request is for.
enum Route {
    Assist(Rpc),
    Nothing,
    OAuth(OAuthEndpoint),
}

impl Route {
    fn of(parts: &Parts) -> Self {
        let path = parts.uri.path();
        if let Some(endpoint) = OAuthEndpoint::of(&parts.method, path) {
            return Self::OAuth(endpoint);
        }
        Rpc::of(&parts.method, path).map_or(Self::Nothing, Self::Assist)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Assist(rpc) => rpc.name(),
            Self::Nothing => "unknown",
            Self::OAuth(endpoint) => endpoint.name(),
        }
    }

    fn streams(&self) -> bool {
        matches!(self, Self::Assist(rpc) if rpc.streams())
    }

    fn answer(
        &self,
        google: &Backend,
        parts: &Parts,
        body: &Bytes,
        seq: u64,
        trace_id: &str,
    ) -> (Reply, Duration) {
        let query = parts.uri.query().unwrap_or_default();
        let bearer = bearer(&parts.headers);
        match self {
            Self::Assist(rpc) => {
                let call = RpcRequest {
                    query,
                    headers: &parts.headers,
                    body,
                    bearer,
                    seq,
                    stamp: stamp(trace_id),
                    trace_id: trace_id.to_owned(),
                };
                let answered = rpc.answer(&call, google);
                let reply =
                    answered.unwrap_or_else(|failure: ApiError| failure.reply(rpc.streams()));
                (reply, Duration::ZERO)
            }
            Self::Nothing => (page_not_found(parts.uri.path()), Duration::ZERO),
            Self::OAuth(endpoint) => {
                let form = parts
                    .headers
                    .get(header::CONTENT_TYPE)
                    .is_some_and(|media| media.as_bytes().starts_with(FORM));
                let call = OAuthRequest { query, form, body, bearer };
                endpoint.answer(&call, &mut google.state())
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The body as the service reads it: Google takes gzip.
fn decoded(headers: &HeaderMap, body: Bytes) -> Bytes {
    if headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding != "gzip") {
        return body;
    }
    let mut plain = Vec::new();
    match MultiGzDecoder::new(&*body).read_to_end(&mut plain) {
        Ok(_) => plain.into(),
        Err(_) => body, // not gzip after all: the JSON reader will say so
    }
}

fn stamp(trace_id: &str) -> ResponseStamp {
    let now = Timestamp::from_millisecond(oauth::now_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
    ResponseStamp { create_time: format!("{now:.6}"), response_id: format!("emulator-{trace_id}") }
}

/// 16 hex digits that look random and depend only on the request's number (splitmix64).
fn trace_id(seq: u64) -> String {
    let mut mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", mixed ^ (mixed >> 31))
}

/// What Google's front end adds to every answer (protocol.md 2.2).
const FRONT_END: [(&str, &str); 6] = [
    ("server", "ESF"),
    ("server-timing", "gfet4t7; dur=12"),
    ("vary", "Origin, X-Origin, Referer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-xss-protection", "0"),
];
const FORM: &[u8] = b"application/x-www-form-urlencoded";
/// As Google announces it; the 101st stream needs a second connection.
const STREAMS_PER_CONNECTION: u32 = 100;
