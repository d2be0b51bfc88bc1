//! `code-assist-proxy` at the edge: hands on Cloudflare.
//!
//! In scope: the events of a Worker, the platform over its runtime (`edge`), the store over Workers
//! KV (`store`) with a Durable Object for what must be done once (`register`), answers (`reply`) and
//! log lines (`log`). Out of scope: everything that the proxy knows, which is `code-assist-core`'s.

#![forbid(unsafe_code)]

mod edge;
mod isolate;
mod log;
mod register;
mod reply;
mod store;

use std::net::IpAddr;

use code_assist_core::platform::Peer;
use http::Version;
use worker::{
    AbortSignal, Context, Env, HttpRequest, Response, ScheduleContext, ScheduledEvent, event,
};

use crate::edge::{Edge, Life};

/// Answers one request.
#[event(fetch, respond_with_errors)]
async fn fetch(mut request: HttpRequest, env: Env, context: Context) -> worker::Result<Response> {
    let edge = Edge::new(env, Life::Request(context));
    let proxy = match isolate::proxy(&edge) {
        Ok(proxy) => proxy,
        Err(refusal) => return Ok(reply::refused(refusal)),
    };
    // What is left of a refused request's body is read by the runtime, not by us as on a socket.
    *request.version_mut() = Version::HTTP_2;
    if let Some(peer) = peer(&request) {
        request.extensions_mut().insert(peer);
    }
    let gone = request.extensions_mut().remove::<AbortSignal>();
    reply::unless_gone(&edge, gone, proxy.handle(&edge, request)).await
}

/// Cron: the next access token is got before the old one expires, so that no request waits for it.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    let edge = Edge::new(env, Life::Schedule(context));
    if let Ok(proxy) = isolate::proxy(&edge) {
        proxy.tend(&edge).await;
    }
}

/// Cloudflare sets this header itself: what a client sends under its name does not arrive.
fn peer(request: &HttpRequest) -> Option<Peer> {
    let address = request.headers().get("cf-connecting-ip")?.to_str().ok()?;
    address.parse::<IpAddr>().ok().map(Peer)
}
