//! `code-assist-proxy` at the edge: hands on Cloudflare.
//!
//! In scope: the events of a Worker, the platform over its runtime (`edge`, `alarm`), the
//! store over Workers
//! KV (`store`) with a Durable Object for what must be done once (`register`), answers (`reply`),
//! what is asked of the runtime (`runtime`), and log lines (`log`). Out of scope: everything that the proxy knows, which is `code-assist-core`'s.

#![forbid(unsafe_code)]

mod alarm;
mod edge;
mod isolate;
mod log;
mod register;
mod reply;
mod runtime;
mod store;

use std::net::IpAddr;

use code_assist_core::platform::Peer;
use code_assist_core::refusal::Refusal;
use http::{Request, Version};
use worker::{Context, Env, ScheduleContext, ScheduledEvent, event};

use crate::edge::{Edge, Life};
use crate::runtime::Chunks;

/// Answers one request.
#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    context: Context,
) -> worker::Result<web_sys::Response> {
    let edge = Edge::new(env, Life::Request(context));
    let proxy = match isolate::proxy(&edge) {
        Ok(proxy) => proxy,
        Err(refusal) => return Ok(reply::refused(refusal)),
    };
    let asked = match asked(&request) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(reply::refused(&refusal)),
    };
    let answer = Box::pin(proxy.handle(&edge, asked));
    Ok(reply::unless_gone(&edge, &request.signal(), answer).await)
}

/// Cron: the next access token is got before the old one expires, so that no request waits for it.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    let edge = Edge::new(env, Life::Schedule(context));
    if let Ok(proxy) = isolate::proxy(&edge) {
        Box::pin(proxy.tend(&edge)).await;
    }
}

/// The runtime's request as the core has it.
fn asked(request: &web_sys::Request) -> Result<Request<Chunks>, Refusal> {
    let headers = runtime::headers_from(&request.headers());
    let mut asked = Request::new(Chunks::of(request, request.body(), &headers));
    let unreadable = || Refusal::NotFound { what: "this path".to_owned() };
    *asked.method_mut() = request.method().parse().map_err(|_| unreadable())?;
    *asked.uri_mut() = request.url().parse().map_err(|_| unreadable())?;
    *asked.headers_mut() = headers;
    // What is left of a refused request's body is read by the runtime, not by us as on a socket.
    *asked.version_mut() = Version::HTTP_2;
    if let Some(peer) = peer(&asked) {
        asked.extensions_mut().insert(peer);
    }
    Ok(asked)
}

/// Cloudflare sets this header itself: what a client sends under its name does not arrive.
fn peer(request: &Request<Chunks>) -> Option<Peer> {
    let address = request.headers().get("cf-connecting-ip")?.to_str().ok()?;
    address.parse::<IpAddr>().ok().map(Peer)
}
