//! Client bodies that arrive slowly, over the scripted clock.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Caller, Error, OnAdmission, Peer};
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;
use code_assist_testkit::subject::{login, proxy_with};
use http::Request;
use http_body::{Body, Frame};

#[test]
fn a_body_that_arrives_byte_by_byte_times_out() {
    let (taken, status, _) = collected(&[1; 1000], Duration::from_secs(29));
    assert_eq!(status, 408);
    assert_eq!(taken, 3, "the slow start is over after 60 seconds");
}

#[test]
fn a_body_that_slows_down_after_a_burst_times_out_a_minute_later() {
    let mut sizes = vec![20 << 20];
    sizes.extend([1; 1000]);
    let (taken, status, at) = collected(&sizes, Duration::from_secs(20));
    assert_eq!(status, 408);
    assert_eq!((taken, at), (5, 100), "the burst came after 20 seconds");
}

#[test]
fn a_body_over_a_slow_connection_arrives() {
    let (taken, status, _) = collected(&[64 * 1024; 300], Duration::from_secs(20));
    assert_eq!(status, 400, "it is no JSON");
    assert_eq!(taken, 300);
}

#[test]
fn a_small_body_may_arrive_slowly_at_the_start() {
    let (taken, status, _) = collected(&[10; 4], Duration::from_secs(14));
    assert_eq!((taken, status), (4, 400));
}

#[test]
fn an_announced_body_that_never_comes_delays_a_refusal_for_a_fifth_of_a_second() {
    let (status, took, _) = exchanged(&["x-goog-api-key"], "wrong");
    assert_eq!(status, 401);
    assert_eq!(took, Duration::from_millis(200));
}

#[test]
fn a_connection_that_is_left_for_probes_is_refused_without_waiting_for_a_body() {
    let script = ScriptedPlatform::new(google());
    let proxy = proxy_with(&script, &[]);
    let request = Request::post("/").body(Never).expect("a valid request");
    let began = code_assist_core::Platform::now(&script);
    let error = Error::ConnectionsExhausted;
    let refusing = async { proxy.refuse(None, &script, request, &error).await.status().as_u16() };
    assert_eq!(script.run(&proxy, refusing), 503);
    assert_eq!(code_assist_core::Platform::now(&script), began);
}

#[test]
fn the_shell_learns_before_the_body_is_read_whether_a_request_is_admitted() {
    let (status, _, seen) = exchanged(&["x-goog-api-key"], "wrong");
    assert_eq!((status, seen.as_slice()), (401, &["refused"][..]));
    let (status, _, seen) = exchanged(&["x-goog-api-key"], KEY);
    assert_eq!((status, seen.as_slice()), (408, &["admitted"][..]));
    let (status, _, seen) = exchanged(&["x-goog-api-key", "x-no-memory"], KEY);
    assert_eq!((status, seen.as_slice()), (503, &["no memory", "refused"][..]));
}

/// Sends a request whose body never comes, with this key in each of the headers. Returns the status, how
/// long it took, and what the shell has learned.
fn exchanged(headers: &[&str], key: &str) -> (u16, Duration, Vec<&'static str>) {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("ya29.warm", "1//refresh", 3000));
    let proxy = proxy_with(&script, &[("PROXY_API_KEYS", KEY)]);
    let has_memory = !headers.contains(&"x-no-memory");
    let shell = Arc::new(Shell { has_memory, seen: Mutex::default() });
    let admission: Arc<dyn OnAdmission> = Arc::clone(&shell) as _;
    let peer = Peer { address: None, admission: Some(admission) };
    let mut request = Request::post("/v1beta/models/gemini-2.5-flash:generateContent")
        .header("host", "127.0.0.1:8787")
        .header("content-length", "9");
    for header in headers {
        request = request.header(*header, key);
    }
    let request = request.body(Never).expect("a valid request");
    let began = code_assist_core::Platform::now(&script);
    let status = script
        .run(&proxy, async { proxy.handle_from(peer, &script, request).await.status().as_u16() });
    let took = code_assist_core::Platform::now(&script).since(began);
    let seen = shell.seen.lock().expect("no panic").clone();
    (status, took, seen)
}

struct Shell {
    has_memory: bool,
    seen: Mutex<Vec<&'static str>>,
}

impl OnAdmission for Shell {
    fn admitted(&self, caller: Caller) -> bool {
        assert!(matches!(caller, Caller::Key(_)));
        let what = if self.has_memory { "admitted" } else { "no memory" };
        self.seen.lock().expect("no panic").push(what);
        self.has_memory
    }

    fn refused(&self) {
        self.seen.lock().expect("no panic").push("refused");
    }
}

/// A body that is announced and never comes.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

const KEY: &str = "a-key-of-this-proxy";

/// Sends a body of chunks with a pause before each. Returns how many chunks were taken, the status of
/// the answer, and when it came, in seconds.
fn collected(sizes: &[usize], pause: Duration) -> (usize, u16, u64) {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("ya29.warm", "1//refresh", 3000));
    let proxy = proxy_with(&script, &[]);
    let mut body = Trickle { script: script.clone(), sizes: sizes.to_vec(), taken: 0, pause };
    let request = Request::post("/v1beta/models/gemini-2.5-flash:generateContent")
        .version(http::Version::HTTP_2)
        .header("host", "127.0.0.1:8787")
        .body(&mut body)
        .expect("a valid request");
    let began = code_assist_core::Platform::now(&script);
    let status = script.run(&proxy, async {
        let response = proxy.handle(&script, request).await;
        let (head, mut body) = response.into_parts();
        while poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_some() {}
        head.status.as_u16()
    });
    let at = code_assist_core::Platform::now(&script).since(began).as_secs();
    (body.taken, status, at)
}

/// A body that advances the clock before each chunk.
struct Trickle {
    script: ScriptedPlatform,
    sizes: Vec<usize>,
    taken: usize,
    pause: Duration,
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(size) = self.sizes.get(self.taken).copied() else { return Poll::Ready(None) };
        self.taken += 1;
        self.script.advance(self.pause);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'.'; size])))))
    }
}
