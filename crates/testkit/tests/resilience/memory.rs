//! `MEMORY_BUDGET_BYTES`: what is reserved, who waits, and who is refused.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::RequestBodyError;
use code_assist_testkit::client::{Answer, all, get, later, post, with};
use code_assist_testkit::google::{event, sse};
use code_assist_testkit::script::{HeavyThreads, Piece, Reply};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body::{Body, Frame};

use crate::fixture::{Fixture, GENERATE, HELLO, STREAM, ZERO, always, ms, together};

const MEBIBYTE: usize = 1 << 20;

/// A body of this length, repeatable or not.
fn large(length: usize, repeatable: bool) -> String {
    let body = if repeatable { ZERO } else { HELLO };
    body.replace("Hello", &"x".repeat(length - body.len() + "Hello".len()))
}

fn after_a_second() -> Reply {
    Reply::ok(r#"{"response":{}}"#).after(ms(1000))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn packed(body: Vec<u8>) -> Request<code_assist_core::Payload> {
    let request = with(post(GENERATE, ""), "content-encoding", "gzip");
    request.map(|_| Bytes::from(body).into())
}

#[test]
fn a_body_waits_for_memory_and_is_sent_when_another_has_ended() {
    let settings = [("MEMORY_BUDGET_BYTES", "4MiB")];
    let fixture = Fixture::new(&settings, always(after_a_second()));
    let body = large(3 * MEBIBYTE, false);
    let asking = (0..3).map(|_| fixture.asking(post(GENERATE, &body))).collect();
    let answers = fixture.run(all(asking));
    assert!(answers.iter().all(|answer| answer.status == 200));
    let calls = fixture.calls();
    assert_eq!(calls[0], 0);
    assert!((1000..1060).contains(&calls[1]) && (2000..2120).contains(&calls[2]), "{calls:?}");
    let timing = answers[2].header("server-timing");
    assert!(timing.contains("queue;dur=2"), "{timing}");
}

#[test]
fn a_body_that_gets_no_memory_in_time_is_refused_unread() {
    let settings = [("MEMORY_BUDGET_BYTES", "4MiB"), ("QUEUE_TIMEOUT_MS", "700")];
    let fixture = Fixture::new(&settings, always(after_a_second()));
    let body = large(3 * MEBIBYTE, false);
    let taken = Arc::new(AtomicUsize::new(0));
    let second = Request::post(GENERATE)
        .version(http::Version::HTTP_2)
        .header("host", "127.0.0.1:8787")
        .header("content-length", body.len())
        .body(Chunks::new(vec![Bytes::from(body.clone())], &taken))
        .expect("a valid request");
    let refused = async {
        let response = fixture.proxy.handle(&fixture.script, second).await;
        (fixture.now(), read(response).await)
    };
    let both = together([Box::pin(fixture.timed(post(GENERATE, &body))), Box::pin(refused)]);
    let answers = fixture.run(all(both));
    let (at, refused) = &answers[1];
    assert_eq!(answers[0].1.status, 200);
    assert_eq!((*at, refused.status.as_u16()), (700, 503));
    assert_eq!((refused.reason().as_str(), refused.header("retry-after")), ("OVERLOADED", "1"));
    assert_eq!(taken.load(Relaxed), 0, "nothing was read of its body");
    assert_eq!(fixture.metric(r#"refusals_total{reason="overloaded"}"#), 1.0);
}

#[test]
fn the_clients_deadline_bounds_the_wait_for_memory() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(after_a_second()));
    let body = large(3 * MEBIBYTE, false);
    let second = with(post(GENERATE, &body), "x-server-timeout", "0.3");
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, &body))),
        Box::pin(fixture.timed(second)),
    ])));
    assert_eq!((answers[1].0, answers[1].1.status.as_u16()), (300, 504));
}

#[test]
fn a_body_that_can_never_fit_is_refused_at_once_with_the_setting() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(after_a_second()));
    let answer = fixture.ask(post(GENERATE, &large(4 * MEBIBYTE, false)));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert!(answer.text().contains("MEMORY_BUDGET_BYTES"), "{}", answer.text());
    assert_eq!(fixture.now(), 0);
}

#[test]
fn a_body_without_a_length_that_can_never_fit_is_refused_when_it_is_seen() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(after_a_second()));
    let taken = Arc::new(AtomicUsize::new(0));
    let pieces = vec![Bytes::from(vec![b' '; MEBIBYTE]); 100];
    let answer = fixture.run(async {
        let request = chunked(Chunks::new(pieces, &taken));
        read(fixture.proxy.handle(&fixture.script, request).await).await
    });
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert_eq!(taken.load(Relaxed), 4);
}

#[test]
fn bodies_without_a_length_wait_for_memory_that_another_request_gives_back() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(after_a_second()));
    let first = fixture.asking(post(GENERATE, &large(27 * MEBIBYTE / 10, false)));
    let mut asked = vec![first];
    let taken = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let body = Bytes::from(large(MEBIBYTE, false));
        let pieces = (0..16).map(|at| body.slice(at << 16..(at + 1) << 16)).collect();
        let request = chunked(Chunks::new(pieces, &taken));
        asked.push(Box::pin(async {
            read(fixture.proxy.handle(&fixture.script, request).await).await
        }));
    }
    let answers = fixture.run(all(asked));
    assert!(answers.iter().all(|answer| answer.status == 200));
    let calls = fixture.calls();
    assert!(calls[0] == 0 && calls[1] >= 1000 && calls.len() == 3, "{calls:?}");
}

#[test]
fn with_several_keys_one_leaves_memory_to_the_others() {
    let settings =
        [("MEMORY_BUDGET_BYTES", "8MiB"), ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob")];
    let fixture = Fixture::new(&settings, always(after_a_second()));
    let body = large(3 * MEBIBYTE, false);
    let of = |key: &str, body: &str| with(post(GENERATE, body), "x-goog-api-key", key);
    let mut asked: Vec<_> = (0..20).map(|_| fixture.asking(of("key-of-ann", &body))).collect();
    asked.push(fixture.asking(of("key-of-bob", &body)));
    let answers = fixture.run(all(asked));
    assert_eq!(answers[20].status, 200);
    let served = answers.iter().take(20).filter(|answer| answer.status == 200).count();
    assert_eq!(served, 10, "one after the other within the ten seconds of the queue");
    assert_eq!(&fixture.calls()[..2], [0, 0], "both keys had memory from the start");
    let too_large = fixture.ask(of("key-of-bob", &large(4 * MEBIBYTE, false)));
    assert_eq!(too_large.status, 413);
}

#[test]
fn a_large_body_is_read_when_its_request_has_a_permit() {
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits(1);
    let body = large(MEBIBYTE, false);
    let taken = Arc::new(AtomicUsize::new(0));
    let answers = fixture.run(async {
        let first = fixture.asking(post(GENERATE, HELLO));
        let second = Box::pin(async {
            let request = chunked(Chunks::new(vec![Bytes::from(body)], &taken));
            read(fixture.proxy.handle(&fixture.script, request).await).await
        });
        let watch = Box::pin(async {
            code_assist_core::Platform::timer(&fixture.script, ms(900)).await;
            assert_eq!(taken.load(Relaxed), 0, "it waits unread");
            fixture.asking(get("/health")).await
        });
        all(together([first, second, watch])).await
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(fixture.calls(), [0, 1000]);
}

#[test]
fn a_large_request_that_waits_for_an_equal_one_gives_its_permit_back() {
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits(2);
    let body = large(MEBIBYTE, true);
    let mut asked: Vec<_> = (0..5).map(|_| fixture.asking(post(GENERATE, &body))).collect();
    asked.push(Box::pin(later(&fixture.script, ms(100), fixture.asking(post(GENERATE, HELLO)))));
    let answers = fixture.run(all(asked));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(fixture.calls(), [0, 100], "the last one had a permit while the equal ones waited");
}

#[test]
fn an_answer_for_which_there_is_no_memory_is_refused_and_no_breaker_counts_it() {
    let settings = [("MEMORY_BUDGET_BYTES", "2MiB"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")];
    let text = "x".repeat(4 * MEBIBYTE);
    let answer = format!(r#"{{"response":{{"candidates":[],"x":"{text}"}}}}"#);
    let mut first = true;
    let fixture = Fixture::new(&settings, move |_| {
        std::mem::replace(&mut first, false).then(|| Reply::ok(answer.clone()))
    });
    let refused = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (503, "OVERLOADED"));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_whole_answer_holds_its_memory_until_the_client_has_read_it() {
    let text = "x".repeat(MEBIBYTE);
    let answer = format!(r#"{{"response":{{"candidates":[],"x":"{text}"}}}}"#);
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(Reply::ok(answer)));
    let used = || fixture.proxy.memory().used();
    fixture.run(async {
        let response = fixture.proxy.handle(&fixture.script, post(GENERATE, HELLO)).await;
        assert!((MEBIBYTE..MEBIBYTE + (256 << 10)).contains(&used()), "{}", used());
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let piece = frame.into_data().unwrap().len();
            assert!(piece <= 64 << 10, "the shell would buffer {piece} bytes");
            length += piece;
        }
        assert!(length > MEBIBYTE);
        drop(body);
        assert_eq!(used(), 0);
    });
}

#[test]
fn a_stream_whose_event_gets_no_memory_ends_with_an_error_event() {
    let large = event(&"x".repeat(3 * MEBIBYTE));
    let pieces = format!("data: {large}\r\n\r\n").into_bytes();
    let reply = move |_: &_| {
        let mut reply = sse(&[&event("Hel")]);
        for piece in pieces.chunks(16 << 10) {
            reply = reply.then([Piece::Data(Bytes::copy_from_slice(piece))]);
        }
        Some(reply)
    };
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "2MiB")], reply.clone());
    let answer = fixture.ask(post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("Hel") && answer.text().contains("OVERLOADED"));
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "16MiB")], reply);
    let answer = fixture.ask(post(STREAM, HELLO));
    assert!(answer.text().len() > 3 * MEBIBYTE && !answer.text().contains("OVERLOADED"));
}

#[test]
fn a_large_event_holds_its_memory_until_the_client_has_taken_it() {
    // The last one becomes three times as long, since each of its characters is escaped.
    let texts = ["x".repeat(MEBIBYTE), "y".repeat(2 * MEBIBYTE), "\u{85}".repeat(MEBIBYTE / 2)];
    let written = [MEBIBYTE, 2 * MEBIBYTE, 3 * MEBIBYTE];
    let reply = move |_: &_| {
        let mut reply = sse(&[]);
        for text in &texts {
            for piece in format!("data: {}\r\n\r\n", event(text)).as_bytes().chunks(16 << 10) {
                reply = reply.then([Piece::Data(Bytes::copy_from_slice(piece))]);
            }
        }
        Some(reply.then([Piece::Data(Bytes::from(format!("data: {}\r\n\r\n", event("end"))))]))
    };
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "16MiB")], reply);
    let used = || fixture.proxy.memory().used();
    fixture.run(async {
        let response = fixture.proxy.handle(&fixture.script, post(STREAM, HELLO)).await;
        assert!(used() > written[0], "{} bytes before the first is taken", used());
        let mut body = response.into_body();
        for length in written {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let piece = frame.expect("an event").expect("no error").into_data().expect("data");
            assert!(piece.len() > length, "{} bytes", piece.len());
            let needed = piece.len()..piece.len() + (256 << 10);
            assert!(needed.contains(&used()), "{} bytes for {}", used(), piece.len());
        }
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(frame.is_some() && used() <= 256 << 10, "{} bytes are left", used());
    });
}

#[test]
fn metrics_and_health_are_answered_while_the_budget_is_full() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "1MiB")], always(after_a_second()));
    let held = fixture.proxy.memory().try_reserve(code_assist_core::Caller::Unknown, MEBIBYTE);
    assert!(fixture.proxy.memory().is_exhausted());
    assert_eq!(fixture.metric("memory_budget_used_bytes"), MEBIBYTE as f64);
    assert_eq!(fixture.metric("memory_budget_limit_bytes"), MEBIBYTE as f64);
    assert_eq!(fixture.ask(get("/health")).status, 200);
    let detailed = fixture.ask(get("/health/detailed")).text();
    assert!(detailed.contains(r#""memory":{"limit_bytes":1048576,"used_bytes":1048576}"#));
    drop(held);
}

#[test]
fn a_body_that_unpacks_to_more_than_100_times_its_length_is_refused() {
    let fixture = Fixture::new(&[], always(after_a_second()));
    let bomb = gzip(&vec![b' '; 20 * MEBIBYTE]);
    assert!(bomb.len() < 60_000);
    let answer = fixture.ask(packed(bomb));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert!(answer.text().contains("100 times"), "{}", answer.text());
    let repetitive = gzip(large(MEBIBYTE - 1, false).as_bytes());
    assert!(repetitive.len() < 10_000, "a mebibyte is unpacked whatever the ratio");
    assert_eq!(fixture.ask(packed(repetitive)).status, 200);
}

#[test]
fn an_unpacked_body_needs_memory_before_each_step() {
    let fixture = Fixture::new(&[("MEMORY_BUDGET_BYTES", "4MiB")], always(after_a_second()));
    let mut text: Vec<u8> = Vec::new();
    for number in 0_u32.. {
        if text.len() > 8 * MEBIBYTE {
            break;
        }
        text.extend(number.wrapping_mul(2_654_435_761).to_string().bytes());
    }
    let answer = fixture.ask(packed(gzip(&text)));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert!(answer.text().contains("MEMORY_BUDGET_BYTES"), "{}", answer.text());
}

#[test]
fn a_body_of_many_members_or_of_empty_ones_is_refused() {
    let fixture = Fixture::new(&[], always(after_a_second()));
    let halves = [gzip(&HELLO.as_bytes()[..10]), gzip(&HELLO.as_bytes()[10..])].concat();
    assert_eq!(fixture.ask(packed(halves)).status, 200);
    let padded = |members: usize| {
        let mut body = gzip(HELLO.as_bytes());
        for _ in 1..members {
            body.extend(gzip(b" "));
        }
        fixture.ask(packed(body))
    };
    assert_eq!(padded(16).status, 200);
    let many = padded(17);
    assert_eq!((many.status.as_u16(), many.reason().as_str()), (400, "UNSUPPORTED_ENCODING"));
    assert!(many.text().contains("16 members"), "{}", many.text());
    let empty = fixture.ask(packed([gzip(HELLO.as_bytes()), gzip(b"")].concat()));
    assert!(empty.status == 400 && empty.text().contains("empty member"), "{}", empty.text());
    let broken = fixture.ask(packed(gzip(HELLO.as_bytes())[..20].to_vec()));
    assert_eq!(broken.status, 400);
}

#[test]
fn work_on_more_than_a_mebibyte_does_not_run_on_the_serving_threads() {
    let heavy = |request| {
        let fixture = Fixture::new(&[], always(after_a_second()));
        assert_eq!(fixture.ask(request).status, 200);
        fixture.script.heavy_work()
    };
    assert_eq!(heavy(post(GENERATE, &large(MEBIBYTE, true))), 0);
    assert_eq!(heavy(post(GENERATE, &large(MEBIBYTE + 1, false))), 1, "it is scanned");
    assert_eq!(heavy(post(GENERATE, &large(MEBIBYTE + 1, true))), 2, "and hashed");
    let lenient = large(MEBIBYTE + 1, false).replacen('"', "'", 2);
    assert_eq!(heavy(post(GENERATE, &lenient)), 3, "measured and rewritten");
    let passed = "/v1internal:generateContent";
    assert_eq!(
        heavy(post(passed, &large(MEBIBYTE + 1, false))),
        2,
        "its model and its project are looked for"
    );
}

#[test]
fn work_on_a_large_body_holds_its_memory_until_it_has_ended_though_the_client_has_gone() {
    let fixture = Fixture::new(&[], always(after_a_second()));
    fixture.script.set_heavy_threads(HeavyThreads::Slow);
    let used = || fixture.proxy.memory().used();
    fixture.run(async {
        let mut asking = fixture.asking(post(GENERATE, &large(2 * MEBIBYTE, false)));
        poll_fn(|cx| {
            assert!(asking.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(fixture.script.heavy_work(), 1);
        drop(asking);
        assert!(used() > 2 * MEBIBYTE, "{} bytes while the work goes on", used());
        fixture.script.end_heavy_work();
        assert_eq!(used(), 0);
    });
}

#[test]
fn work_on_a_large_body_that_cannot_begin_in_time_is_refused() {
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "700")], always(after_a_second()));
    fixture.script.set_heavy_threads(HeavyThreads::Taken);
    let body = large(2 * MEBIBYTE, false);
    let hurried = with(post(GENERATE, &body), "x-server-timeout", "0.3");
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, &body))),
        Box::pin(fixture.timed(hurried)),
        Box::pin(fixture.timed(packed(gzip(body.as_bytes())))),
    ])));
    let found = answers.iter().map(|(at, answer)| (*at, answer.status.as_u16()));
    assert_eq!(found.collect::<Vec<_>>(), [(700, 503), (300, 504), (700, 503)]);
    assert_eq!(answers[0].1.reason(), "OVERLOADED");
    assert!(fixture.calls().is_empty());
}

#[test]
fn a_body_whose_framing_is_broken_is_a_bad_request() {
    let fixture = Fixture::new(&[], always(after_a_second()));
    let answer = fixture.run(async {
        let request = chunked(Broken(vec![Bytes::from_static(b"{\"contents\":")]));
        read(fixture.proxy.handle(&fixture.script, request).await).await
    });
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "MALFORMED_BODY"));
}

/// A request whose body has no announced length.
fn chunked<B>(body: B) -> Request<B> {
    Request::post(GENERATE)
        .version(http::Version::HTTP_2)
        .header("host", "127.0.0.1:8787")
        .body(body)
        .expect("a valid request")
}

async fn read<B: Body<Data = Bytes> + Unpin>(response: http::Response<B>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut pieces = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        pieces.extend(frame.into_data());
    }
    Answer { status: head.status, headers: head.headers, pieces }
}

/// Chunks that are there at once. Counts how many were taken.
struct Chunks {
    pieces: std::vec::IntoIter<Bytes>,
    taken: Arc<AtomicUsize>,
}

impl Chunks {
    fn new(pieces: Vec<Bytes>, taken: &Arc<AtomicUsize>) -> Self {
        Self { pieces: pieces.into_iter(), taken: Arc::clone(taken) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.next();
        self.taken.fetch_add(usize::from(next.is_some()), Relaxed);
        Poll::Ready(next.map(Frame::data).map(Ok))
    }
}

/// Chunks with broken framing behind them.
struct Broken(Vec<Bytes>);

impl Body for Broken {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let next = self.0.pop().map(Frame::data);
        Poll::Ready(Some(next.ok_or(RequestBodyError::Malformed)))
    }
}
