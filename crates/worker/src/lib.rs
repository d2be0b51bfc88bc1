//! `code-assist-proxy` at the edge: hands on Cloudflare.
//!
//! In scope: the events of a Worker, each with its work (`task`), the platform over its runtime
//! (`edge`), the store over Workers KV (`store`) with a Durable Object for what must be done once
//! (`register`), answers (`reply`), what is asked of the runtime (`runtime`), and log lines
//! (`log`). Out of scope: everything that the proxy knows, which is `code-assist-core`'s.

#![forbid(unsafe_code)]

mod edge;
mod isolate;
mod log;
mod register;
mod reply;
mod runtime;
mod store;
mod task;

use std::net::IpAddr;
use std::rc::Rc;

use code_assist_core::{Error, Peer};
use http::{Request, Version};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::Env;
use worker::js_sys::Promise;

use crate::edge::Edge;
use crate::runtime::Chunks;

/// Answers one request.
#[wasm_bindgen]
pub fn fetch(request: &JsValue, env: Env, life: JsValue) -> Promise {
    let edge = Edge::new(request, env, life);
    let task = Rc::clone(edge.task());
    let promise = task.event().promise();
    task.begin(answer(edge));
    promise
}

/// Cron: the next access token is got before the old one expires, so that no request waits for it.
#[wasm_bindgen]
pub fn scheduled(_event: &JsValue, env: Env, life: JsValue) -> Promise {
    let edge = Edge::new(&JsValue::UNDEFINED, env, life);
    let task = Rc::clone(edge.task());
    let promise = task.event().promise();
    task.begin(async move {
        if let Ok(proxy) = isolate::proxy(&edge) {
            Box::pin(proxy.tick(&edge)).await;
        }
        edge.task().event().done();
    });
    promise
}

async fn answer(edge: Edge) {
    let proxy = match isolate::proxy(&edge) {
        Ok(proxy) => proxy,
        Err(refusal) => return reply::refused(&edge, refusal),
    };
    match asked(&edge) {
        Ok(asked) => reply::unless_gone(&edge, Box::pin(proxy.handle(&edge, asked))).await,
        Err(refusal) => reply::refused(&edge, &refusal),
    }
}

/// The runtime's request as the core has it.
fn asked(edge: &Edge) -> Result<Request<Chunks>, Error> {
    let text = edge.task().event().asked();
    let mut lines = text.split('\n');
    let [method, url] = [lines.next(), lines.next()].map(Option::unwrap_or_default);
    let headers = runtime::headers_from(lines);
    let unreadable = || Error::NotFound { what: "this path".to_owned() };
    let mut asked = Request::new(Chunks::of_request(edge.task(), &headers));
    *asked.method_mut() = method.parse().map_err(|_| unreadable())?;
    *asked.uri_mut() = url.parse().map_err(|_| unreadable())?;
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
