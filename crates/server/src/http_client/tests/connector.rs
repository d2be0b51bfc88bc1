//! Timeouts, certificates and forward proxies.

use super::*;

#[tokio::test]
async fn a_connection_that_takes_too_long_is_an_error() {
    // It accepts, and answers the TLS hello with nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = plain(&[("CONNECTION_TIMEOUT_MS", "200")]);
    let begun = Instant::now();
    let request = Request::get(format!("https://{address}/")).body(Payload::default()).unwrap();
    let error = client.send_cloned(request).await.unwrap_err();
    assert!(matches!(&error, SendError::Connect(why) if why.contains("within 200 ms")));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connect_timeout_does_not_limit_the_response() {
    let server = TestServer::start(Tls::Http2 { streams: 100 }, |_| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Response::new(full("slow"))
    })
    .await;
    let client = server.client(&[("CONNECTION_TIMEOUT_MS", "600")]);
    assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "slow");
}

#[tokio::test]
async fn only_certificates_of_the_named_file_are_trusted() {
    let server =
        TestServer::start(Tls::Http2 { streams: 9 }, |_| async { Response::new(full("ok")) }).await;
    let other = TestServer::start(Tls::Http1, |_| async { Response::new(full("ok")) }).await;
    let client = server.client(&[]);
    assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "ok");
    let error = client.send_cloned(other.get("/")).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Connect(why) if why.contains("invalid peer certificate")),
        "{error}"
    );

    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [empty.to_str().unwrap(), "/nowhere/ca.pem"] {
        let (_, abort) = watch::channel(false);
        let error = HttpClient::new(&settings(&[("SSL_CERT_FILE", path)]), abort).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&format!("SSL_CERT_FILE={path} holds no usable")), "{message}");
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_the_proxy_with_credentials() {
    let server =
        TestServer::start(Tls::Http2 { streams: 9 }, |_| async { Response::new(full("ok")) }).await;
    for (login, wanted) in [("", None), ("ada:p%40ss@", Some("Basic YWRhOnBAc3M="))] {
        let proxy = CorporateProxy::start(wanted).await;
        let url = format!("http://{login}{}", proxy.address);
        let client = server.client(&[("HTTPS_PROXY", &url)]);
        assert_eq!(text(client.send_cloned(server.get("/x")).await.unwrap()).await, "ok");
        assert_eq!(text(client.send_cloned(server.get("/x")).await.unwrap()).await, "ok");
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "one tunnel: {heads:?}");
        let connect = format!("CONNECT localhost:{} HTTP/1.1", server.address.port());
        assert!(heads[0].starts_with(&connect), "{heads:?}");
        let login = heads[0].lines().find(|line| line.to_lowercase().starts_with("proxy-auth"));
        assert_eq!(login.map(|line| line.split_once(": ").unwrap().1), wanted);
    }
}

#[tokio::test]
async fn a_proxy_that_rejects_the_credentials_is_a_connect_error() {
    let proxy = CorporateProxy::start(Some("Basic other")).await;
    let url = format!("http://ada:hush@{}", proxy.address);
    let client = plain(&[("HTTPS_PROXY", &url)]);
    let request = Request::get("https://localhost:1/").body(Payload::default()).unwrap();
    let error = client.send_cloned(request).await.unwrap_err();
    assert!(matches!(&error, SendError::Connect(_)), "{error}");
    assert!(error.to_string().contains("proxy auth"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn plain_http_goes_to_the_proxy_in_absolute_form_with_credentials() {
    for (login, wanted) in [("", None), ("ada:pass@", Some("Basic YWRhOnBhc3M="))] {
        let proxy = CorporateProxy::start(wanted).await;
        let url = format!("http://{login}{}", proxy.address);
        let client = plain(&[("HTTP_PROXY", &url)]);
        let request = Request::get("http://far.example:81/x?y=1").body(Payload::default()).unwrap();
        assert_eq!(text(client.send_cloned(request).await.unwrap()).await, "by proxy");
        let heads = proxy.heads();
        assert!(heads[0].starts_with("GET http://far.example:81/x?y=1 HTTP/1.1\r\n"), "{heads:?}");
        assert!(heads[0].contains("host: far.example:81\r\n"), "{heads:?}");
        let login = heads[0].lines().find(|line| line.starts_with("proxy-authorization"));
        assert_eq!(login.map(|line| line.split_once(": ").unwrap().1), wanted);
    }
}

#[tokio::test]
async fn hosts_in_no_proxy_are_reached_directly() {
    let server = TestServer::start(Tls::Http1, |_| async { Response::new(full("straight")) }).await;
    let proxy = CorporateProxy::start(None).await;
    let url = format!("http://{}", proxy.address);
    let client = server.client(&[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost,10.0.0.0/8")]);
    assert_eq!(text(client.send_cloned(server.get("/")).await.unwrap()).await, "straight");
    assert_eq!(proxy.heads(), [""; 0]);
}
