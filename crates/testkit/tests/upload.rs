//! Bodies that are sent upstream while they are read, over the scripted clock.

use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::intake::upload::{Paced, UploadProgress, answer_in_time};
use code_assist_core::{Platform, RequestBodyError, SendError};
use code_assist_testkit::script::{Reply, ScriptedPlatform, ScriptedTimer};
use code_assist_testkit::subject::proxy_with;
use http::Request;
use http_body::{Body, Frame};

#[test]
fn an_upload_reaches_upstream_whole_and_is_counted() {
    let (sent, progress, at) = upload(&[1000; 5], Duration::from_secs(1));
    assert_eq!(sent, Ok(200));
    assert_eq!(progress.bytes(), 5000);
    assert_eq!(at, 5);
}

#[test]
fn an_upload_that_slows_down_after_a_burst_times_out_a_minute_later() {
    let mut sizes = vec![20 << 20];
    sizes.extend([1; 1000]);
    let (sent, _, at) = upload(&sizes, Duration::from_secs(20));
    assert_eq!(sent, Err(SendError::Client(RequestBodyError::TooSlow)));
    assert_eq!(at, 100, "the burst came after 20 seconds");
}

#[test]
fn an_upload_that_stops_times_out_after_thirty_seconds() {
    let (sent, progress, at) = upload(&[1000, 1000], Duration::from_secs(31));
    assert_eq!(sent, Err(SendError::Client(RequestBodyError::TooSlow)));
    assert_eq!((progress.bytes(), at), (0, 30));
}

#[test]
fn an_upload_over_a_slow_connection_arrives() {
    let (sent, progress, _) = upload(&[64 * 1024; 300], Duration::from_secs(20));
    assert_eq!(sent, Ok(200));
    assert_eq!(progress.bytes(), 300 * 64 * 1024);
}

#[test]
fn the_time_that_upstream_takes_does_not_count_against_the_client() {
    let script = answering();
    let proxy = proxy_with(&script, &[]);
    let progress = UploadProgress::default();
    let mut body = pin!(Pieces::new(&script, &[1; 20], Duration::ZERO));
    let mut paced = Paced::new(body.as_mut(), &script, &progress);
    let reading = async {
        for _ in 0..20 {
            script.timer(Duration::from_secs(60)).await;
            let frame = std::future::poll_fn(|cx| Pin::new(&mut paced).poll_frame(cx)).await;
            assert!(frame.expect("there are pieces left").is_ok());
        }
    };
    script.run(&proxy, reading);
}

#[test]
fn an_upstream_that_takes_nothing_is_given_up() {
    let script = answering();
    let proxy = proxy_with(&script, &[]);
    let began = script.now();
    let progress = UploadProgress::default();
    let sending = pending::<Result<(), SendError>>();
    let longest = Duration::from_secs(50);
    let answer = script.run(&proxy, answer_in_time(&script, longest, &progress, sending));
    assert_eq!(answer, None);
    assert_eq!(script.now().since(began), longest);
    let sending = ready(Ok(()));
    let answer = script.run(&proxy, answer_in_time(&script, longest, &progress, sending));
    assert_eq!(answer, Some(Ok(())));
}

#[test]
fn an_upstream_that_waits_for_its_client_is_not_given_up() {
    let script = answering();
    let proxy = proxy_with(&script, &[]);
    let progress = UploadProgress::default();
    let mut body = pin!(Pieces::new(&script, &[64 * 1024; 20], Duration::from_secs(20)));
    let mut paced = Paced::new(body.as_mut(), &script, &progress);
    let request = Request::post("https://upstream.test/").body(()).expect("a valid request");
    let sending = script.send_streamed(request, Pin::new(&mut paced));
    let longest = Duration::from_secs(3);
    let answer = script.run(&proxy, answer_in_time(&script, longest, &progress, sending));
    assert!(answer.expect("it is not given up").is_ok());
}

fn answering() -> ScriptedPlatform {
    ScriptedPlatform::new(|_| Reply::ok("{}"))
}

/// Uploads pieces of these sizes with a pause before each. Returns the status or the error, how far it came,
/// and the seconds that it took.
fn upload(sizes: &[usize], pause: Duration) -> (Result<u16, SendError>, UploadProgress, u64) {
    let script = answering();
    let proxy = proxy_with(&script, &[]);
    let progress = UploadProgress::default();
    let mut body = pin!(Pieces::new(&script, sizes, pause));
    let began = script.now();
    let mut paced = Paced::new(body.as_mut(), &script, &progress);
    let request = Request::post("https://upstream.test/").body(()).expect("a valid request");
    let sending = script.send_streamed(request, Pin::new(&mut paced));
    let sent = script.run(&proxy, sending).map(|response| response.status().as_u16());
    (sent, progress, script.now().since(began).as_secs())
}

/// A body in pieces, with a pause before each.
struct Pieces {
    script: ScriptedPlatform,
    sizes: std::vec::IntoIter<usize>,
    pause: Duration,
    timer: Option<ScriptedTimer>,
}

impl Pieces {
    fn new(script: &ScriptedPlatform, sizes: &[usize], pause: Duration) -> Self {
        let sizes = Vec::from(sizes).into_iter();
        Self { script: script.clone(), sizes, pause, timer: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Self { script, sizes, pause, timer } = &mut *self;
        if sizes.len() == 0 {
            return Poll::Ready(None);
        }
        let waiting = timer.get_or_insert_with(|| script.timer(*pause));
        if Pin::new(waiting).poll(cx).is_pending() {
            return Poll::Pending;
        }
        *timer = None;
        Poll::Ready(sizes.next().map(|size| Ok(Frame::data(Bytes::from(vec![b'u'; size])))))
    }
}
