//! A client: requests to a proxy, and its answers read to the end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Payload, Peer, Platform as _, Proxy};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body::Body;

use crate::script::ScriptedPlatform;

/// An answer that has been read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: HeaderMap,
    /// The chunks of the body.
    pub pieces: Vec<Bytes>,
}

impl Answer {
    /// The whole body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.pieces.concat()).into_owned()
    }

    /// A header's value, empty without the header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// `reason` of an error that the proxy itself has made, in `error.details`.
    pub fn reason(&self) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.text()).unwrap_or_default();
        let error = if value.is_array() { &value[0]["error"] } else { &value["error"] };
        error["details"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// A `POST` from a local client.
pub fn post(path: &str, body: &str) -> Request<Payload> {
    Request::post(path)
        .header("host", "127.0.0.1:8787")
        .body(Payload::from(Bytes::from(body.to_owned())))
        .expect("a test names a valid path")
}

/// A `GET` from a local client.
pub fn get(path: &str) -> Request<Payload> {
    Request::get(path)
        .header("host", "127.0.0.1:8787")
        .body(Payload::default())
        .expect("a test names a valid path")
}

/// Sends a request and reads the answer to its end. A [`Peer`] in its extensions is its client's.
pub async fn ask(
    proxy: &Proxy,
    script: &ScriptedPlatform,
    mut request: Request<Payload>,
) -> Answer {
    let peer = request.extensions_mut().remove::<Peer>().unwrap_or_default();
    let response = proxy.handle_from(peer, script, request).await;
    let (head, mut body) = response.into_parts();
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { break };
        pieces.extend(frame.into_data());
    }
    Answer { status: head.status, headers: head.headers, pieces }
}

/// The request with one more header.
pub fn with(mut request: Request<Payload>, name: &str, value: &str) -> Request<Payload> {
    let name = HeaderName::try_from(name).expect("a test names a valid header");
    let value = HeaderValue::try_from(value).expect("a test names a valid value");
    request.headers_mut().append(name, value);
    request
}

/// The future's output. The future begins after `delay`.
pub async fn later<F: Future>(script: &ScriptedPlatform, delay: Duration, future: F) -> F::Output {
    script.timer(delay).await;
    future.await
}

/// The future's output, or `None` when it takes longer than `limit`. It is dropped then, as when a
/// client goes away.
pub async fn impatient<F: Future>(
    script: &ScriptedPlatform,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut timer = script.timer(limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut timer).poll(cx).map(|()| None),
    })
    .await
}

/// The outputs of futures that run at the same time, in order.
pub async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|it| (Box::pin(it), None)).collect();
    poll_fn(|cx| {
        for (future, output) in &mut running {
            if output.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        match running.iter().all(|(_, output)| output.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
