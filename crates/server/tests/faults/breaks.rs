//! Connections that break when upstream may have carried out the request, or certainly has not.

use std::io::Write;
use std::thread;
use std::time::Duration;

use code_assist_harness::samples::{COUNT, GENERATE, HELLO, OWN, STREAM, WHOLE, ok};
use code_assist_harness::{ScriptedUpstream, TestProxy, UpstreamConnection};

use crate::network::{SETTLE, unread};

pub(crate) fn broken_after_two_seconds() -> Vec<TestProxy> {
    let reset = ScriptedUpstream::raw(|stream| {
        unread(&stream);
        thread::sleep(Duration::from_secs(2));
    });
    let closed = ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_secs(2));
        connection.close();
    });
    let proxies = [reset, closed].map(|upstream| {
        let proxy = TestProxy::for_upstream(&upstream, &[]);
        thread::scope(|scope| {
            for path in [GENERATE, STREAM, COUNT, OWN] {
                scope.spawn(|| not_sent_again(&proxy, &[path]));
            }
        });
        assert_eq!(upstream.connections(), 4);
        proxy
    });
    proxies.into()
}

pub(crate) fn broken_after_one_byte() -> Vec<TestProxy> {
    let reset = ScriptedUpstream::raw(|mut stream| {
        unread(&stream);
        let _ = stream.write_all(ONE_BYTE.as_bytes());
        thread::sleep(SETTLE);
    });
    let closed = ScriptedUpstream::new(|_, connection| {
        connection.write(ONE_BYTE);
        connection.close();
    });
    let proxies = [reset, closed].map(|upstream| {
        let proxy = TestProxy::for_upstream(&upstream, &[]);
        not_sent_again(&proxy, &[GENERATE, STREAM, COUNT]);
        assert_eq!(upstream.connections(), 3);
        proxy
    });
    proxies.into()
}

pub(crate) fn error_broken_off() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write("HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n{\"error\":");
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE, STREAM, COUNT]);
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn idle_connection_dead() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::raw(|stream| {
        let mut connection = UpstreamConnection::new(stream);
        if connection.request().is_some() {
            connection.write(ok(WHOLE));
            // The next request meets a connection that is gone, and its client does not know yet.
            let _ = connection.request();
        }
    });
    let settings = [("KEEP_ALIVE_TIMEOUT_MS", "1000"), ("MAX_RETRY_ATTEMPTS", "0")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    for connections in [1, 2, 3] {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(upstream.connections(), connections);
    }
    vec![proxy]
}

/// Asserts that a request to each path ends as broken, and that the client learns why it was sent once.
#[track_caller]
pub(crate) fn not_sent_again(proxy: &TestProxy, paths: &[&str]) {
    for path in paths {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()), "{path}");
        let words = "may have carried the request out and counted it against the quota";
        assert!(answer.text().contains(words), "{path}: {}", answer.text());
    }
}

/// A head, and the first byte of its answer.
const ONE_BYTE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
