//! The Cloudflare shell of `code-assist-proxy`.
//!
//! It has the events of a Worker and their tasks (`executor`, `completion`), the platform over the
//! Workers runtime (`edge`), the store over Workers KV (`store`) with a Durable Object for
//! distributed locks (`lock_object`), answers (`reply`), the border to JavaScript (`runtime`) and log
//! lines (`log`). Everything that the proxy does is in `code-assist-core`.

#![forbid(unsafe_code)]

mod completion;
mod edge;
mod executor;
mod isolate;
mod lock_object;
mod log;
mod reply;
mod runtime;
mod store;
mod usage_flush;
mod usage_object;

use std::net::IpAddr;
use std::rc::Rc;

use code_assist_core::{EarlyHead, Error, Peer, Platform as _};
use http::{HeaderMap, Method, Request, Version};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::Env;
use worker::js_sys::Promise;

use crate::edge::Edge;
use crate::runtime::Chunks;

/// Answers one request.
#[wasm_bindgen]
pub fn fetch(request: &JsValue, env: Env, ctx: JsValue) -> Promise {
    let edge = Edge::new(request, env, ctx);
    let task = Rc::clone(edge.task());
    let promise = task.event().promise();
    task.start(answer(edge));
    promise
}

/// Runs on cron: refreshes the access token before it expires, so that no request waits for it.
#[wasm_bindgen]
pub fn scheduled(_event: &JsValue, env: Env, ctx: JsValue) -> Promise {
    let edge = Edge::new(&JsValue::UNDEFINED, env, ctx);
    let task = Rc::clone(edge.task());
    let promise = task.event().promise();
    task.start(async move {
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
        Err(error) => return reply::refused(&edge, error),
    };
    match read_request(&edge) {
        Ok((peer, mut request)) => {
            let early = proxy.early_heartbeat().map(|after| (EarlyHead::default(), after));
            if let Some((early, _)) = &early {
                request.extensions_mut().insert(early.clone());
            }
            let answering =
                reply::unless_gone(&edge, Box::pin(proxy.handle_from(peer, &edge, request)), early);
            match proxy.counts_usage() && edge.has_shared_usage() {
                true => usage_flush::counted(&edge, proxy, Box::pin(answering)).await,
                false => answering.await,
            }
        }
        Err(error) => reply::refused(&edge, &error),
    }
}

/// Reads the runtime's request.
fn read_request(edge: &Edge) -> Result<(Peer, Request<Chunks>), Error> {
    let text = edge.task().event().request_head();
    let mut lines = text.split('\n');
    let [method, url] = [lines.next(), lines.next()].map(Option::unwrap_or_default);
    let headers = runtime::headers_from(lines);
    let unreadable = || Error::NotFound { what: "this path".to_owned() };
    let method: Method = method.parse().map_err(|_| unreadable())?;
    let mut request = Request::new(Chunks::of_request(edge.task(), &method, &headers));
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|_| unreadable())?;
    *request.headers_mut() = headers;
    // As with HTTP/2, the core need not read the rest of a refused request's body: the runtime does.
    *request.version_mut() = Version::HTTP_2;
    let peer = Peer { address: address(request.headers()), admission: None };
    Ok((peer, request))
}

/// The client's address. Cloudflare sets the header itself and drops what a client sends under its name.
fn address(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get("cf-connecting-ip")?.to_str().ok()?.parse().ok()
}
