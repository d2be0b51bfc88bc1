//! A proxy that does nothing but forward, with hyper and h2 as the proxy uses them: what the libraries
//! alone cost. HTTP/1.1 towards clients, one connection of HTTP/2 with TLS to upstream.

use std::path::Path;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::BenchError;
use crate::load::connect_tls;

/// Forwards what comes to `port` to `upstream`, until it is killed.
pub(crate) async fn serve(port: u16, upstream: &str, authority: &Path) -> Result<(), BenchError> {
    let secure = TokioIo::new(connect_tls(upstream, authority).await?);
    let (requests, connection) = handshake(TokioExecutor::new(), secure).await?;
    tokio::spawn(async move {
        // The requests on it report the error.
        let _ = connection.await;
    });
    let upstream: Authority = upstream.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (requests, upstream) = (requests.clone(), upstream.clone());
        let service =
            service_fn(move |request| forward(requests.clone(), upstream.clone(), request));
        // The client counts a connection that breaks.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(
    mut requests: SendRequest<Incoming>,
    upstream: Authority,
    mut request: Request<Incoming>,
) -> hyper::Result<Response<Incoming>> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(upstream);
    uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request.headers_mut().remove(http::header::HOST);
    requests.send_request(request).await
}
