//! `MAX_CONCURRENT_REQUESTS`: the wait queue, fair among callers.

use code_assist_testkit::client::{all, get, impatient, later, post, with};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};

use crate::fixture::{
    Fixture, GENERATE, HELLO, STREAM, always, error, ms, retry_info, sample_of, together,
};

fn numbered(n: usize) -> String {
    format!(r#"{{"contents":[{{"parts":[{{"text":"caller {n}."}}]}}]}}"#)
}

/// The callers' numbers in the order in which their requests came to upstream.
fn order(fixture: &Fixture) -> Vec<usize> {
    let number = |body: &str| {
        let (_, rest) = body.split_once("caller ")?;
        rest.split_once('.')?.0.parse().ok()
    };
    fixture.script.all_received().iter().filter_map(|call| number(&call.body)).collect()
}

fn after_a_second() -> Reply {
    Reply::ok(r#"{"response":{}}"#).after(ms(1000))
}

#[test]
fn with_one_permit_twenty_requests_are_sent_one_at_a_time_and_in_order() {
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits(1);
    let asked = (0..20).map(|n| fixture.asking(post(GENERATE, &numbered(n)))).collect();
    let answers = fixture.run(all(asked));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(order(&fixture), (0..20).collect::<Vec<_>>());
    assert_eq!(fixture.calls(), (0..20).map(|n| n * 1000).collect::<Vec<_>>());
    assert_eq!(fixture.script.most_exchanges(), 1);
    assert!(answers[19].header("server-timing").contains("queue;dur=19000.000"));
}

#[test]
fn upstream_never_has_more_requests_than_there_are_permits() {
    let mut n = 0;
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "600000")], move |_| {
        n += 1;
        Some(match n % 4 {
            0 => error(500, "").after(ms(300)),
            1 => after_a_second(),
            2 => sse(&[&event("x")]).then([Piece::Silence(ms(700))]),
            _ => error(429, "").after(ms(50)),
        })
    });
    fixture.script.set_permits(7);
    let paths = [GENERATE, STREAM].into_iter().cycle();
    let asked = paths.take(200).map(|path| fixture.asking(post(path, HELLO))).collect();
    fixture.run(all(asked));
    assert_eq!(fixture.script.most_exchanges(), 7);
}

#[test]
fn a_client_that_leaves_gives_back_its_permit_or_its_place_in_the_queue() {
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits(1);
    let caller = |n: usize, patience: u64| {
        let asking = fixture.asking(post(GENERATE, &numbered(n)));
        impatient(&fixture.script, ms(patience), asking)
    };
    let answers = fixture.run(all(vec![
        caller(0, 400),
        caller(1, 60_000),
        caller(2, 700),
        caller(3, 60_000),
    ]));
    let served: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(served, [false, true, false, true]);
    assert_eq!(order(&fixture), [0, 1, 3]);
    assert_eq!(fixture.calls(), [0, 400, 1400]);
    assert_eq!(fixture.metric(r#"client_disconnects_total{phase="before_answer"}"#), 2.0);
}

#[test]
fn a_request_that_waits_too_long_for_a_permit_gets_an_error() {
    let slow = || sse(&[&event("Hel")]).then([Piece::Silence(ms(30_000))]);
    let fixture = Fixture::new(&[("QUEUE_TIMEOUT_MS", "10000")], always(slow()));
    fixture.script.set_permits(1);
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(STREAM, HELLO))),
        Box::pin(later(&fixture.script, ms(500), fixture.timed(post(GENERATE, HELLO)))),
    ])));
    let (at, answer) = &answers[1];
    assert_eq!(
        (*at, answer.status.as_u16(), answer.reason().as_str()),
        (10_500, 503, "QUEUE_TIMEOUT")
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn a_stream_holds_its_permit_until_it_ends() {
    let stream = || {
        sse(&[&event("Hel")]).then([
            Piece::Silence(ms(5000)),
            Piece::Data(format!("data: {}\r\n\r\n", last_event("lo")).into()),
        ])
    };
    for path in [STREAM, "/v1internal:streamGenerateContent?alt=sse"] {
        let fixture = Fixture::new(&[], always(stream()));
        fixture.script.set_permits(1);
        fixture.run(all((0..2).map(|_| fixture.asking(post(path, HELLO))).collect()));
        assert_eq!(fixture.calls(), [0, 5000], "{path}");
    }
}

#[test]
fn a_complete_answer_holds_no_permit_while_the_client_reads_it() {
    let replies = [Reply::ok(r#"{"response":{}}"#), error(400, ""), Reply::ok("not JSON")];
    for reply in replies {
        let fixture = Fixture::new(&[], always(reply));
        fixture.script.set_permits(1);
        fixture.run(async {
            let unread = fixture.proxy.handle(&fixture.script, post(GENERATE, HELLO)).await;
            fixture.asking(post(GENERATE, HELLO)).await;
            drop(unread);
        });
        assert_eq!(fixture.calls(), [0, 0]);
    }
}

#[test]
fn a_list_of_models_holds_no_permit_while_the_client_reads_it() {
    let fixture = Fixture::new(&[], |_| None);
    fixture.script.set_permits(1);
    fixture.run(async {
        let unread = fixture.proxy.handle(&fixture.script, get("/v1/models")).await;
        fixture.asking(post(GENERATE, HELLO)).await;
        drop(unread);
    });
    // The request for the list looks for the answer after two milliseconds.
    assert_eq!(fixture.calls(), [0, 2]);
}

#[test]
fn a_retry_that_gets_no_permit_delivers_the_failure_of_the_first_try() {
    let mut n = 0;
    let fixture = Fixture::new(&[], move |_| {
        n += 1;
        Some(match n {
            1 => error(429, &retry_info("2s")),
            _ => Reply::ok(r#"{"response":{}}"#).after(ms(100_000)),
        })
    });
    fixture.script.set_permits(1);
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, HELLO))),
        Box::pin(later(&fixture.script, ms(1000), fixture.timed(post(GENERATE, HELLO)))),
    ])));
    let (at, answer) = &answers[0];
    assert_eq!((*at, answer.status.as_u16(), answer.header("retry-after")), (12_000, 429, "2"));
    assert_eq!(fixture.metric(r#"retries_total{reason="rate_limited"}"#), 0.0, "no retry was sent");
}

#[test]
fn a_stream_that_failed_holds_no_permit_while_the_client_reads_the_error() {
    let broken = sse(&[&event("Hel")]).then([Piece::Break("reset".to_owned())]);
    let fixture = Fixture::new(&[], always(broken));
    fixture.script.set_permits(1);
    fixture.run(async {
        let response = fixture.proxy.handle(&fixture.script, post(STREAM, HELLO)).await;
        let mut body = response.into_body();
        for _ in 0..2 {
            let frame = std::future::poll_fn(|cx| {
                http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)
            });
            assert!(frame.await.is_some());
        }
        fixture.asking(post(GENERATE, HELLO)).await;
        drop(body);
    });
    assert!(fixture.calls().len() > 1);
    assert!(fixture.calls().iter().take(2).all(|at| *at == 0));
}

#[test]
fn a_caller_that_holds_its_share_delays_no_other_caller() {
    let keys = ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob");
    let fixture = Fixture::new(&[keys, ("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits_and_share(2, 1);
    let of = |key, n| fixture.timed(with(post(GENERATE, &numbered(n)), "x-goog-api-key", key));
    let answers = fixture.run(all(vec![
        Box::pin(of("key-of-ann", 0)),
        Box::pin(of("key-of-ann", 1)),
        Box::pin(of("key-of-ann", 2)),
        Box::pin(of("key-of-bob", 3)),
    ]));
    assert_eq!(order(&fixture), [0, 3, 1, 2]);
    assert_eq!(answers.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1000, 2000, 3000, 1000]);
}

#[test]
fn callers_that_wait_get_permits_in_turn_however_many_requests_each_has() {
    let keys = ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob");
    let fixture = Fixture::new(&[keys, ("QUEUE_TIMEOUT_MS", "60000")], always(after_a_second()));
    fixture.script.set_permits(1);
    let of = |key, n| fixture.asking(with(post(GENERATE, &numbered(n)), "x-goog-api-key", key));
    let mut asked: Vec<_> = (0..10).map(|n| of("key-of-ann", n)).collect();
    asked.extend((10..13).map(|n| of("key-of-bob", n)));
    fixture.run(all(asked));
    assert_eq!(order(&fixture), [0, 10, 1, 11, 2, 12, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn the_error_of_the_queue_says_whether_the_share_or_all_permits_are_taken() {
    for (share, advice) in
        [(1, "MAX_CONCURRENT_REQUESTS_PER_CALLER"), (2, "raise MAX_CONCURRENT_REQUESTS.")]
    {
        let settings = [("PROXY_API_KEYS", "ann:key-of-ann"), ("QUEUE_TIMEOUT_MS", "100")];
        let fixture = Fixture::new(&settings, always(after_a_second()));
        fixture.script.set_permits_and_share(2, share);
        let asked = || fixture.asking(with(post(GENERATE, HELLO), "x-goog-api-key", "key-of-ann"));
        let answers = fixture.run(all(vec![asked(), asked(), asked()]));
        let refused = answers.last().unwrap();
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (503, "QUEUE_TIMEOUT"));
        assert!(refused.text().contains(advice), "{}", refused.text());
    }
}

#[test]
fn the_metrics_count_the_requests_in_the_queue() {
    let fixture = Fixture::new(&[], always(after_a_second()));
    fixture.script.set_permits(2);
    let mut seen = String::new();
    let mut tasks = together([Box::pin(async {
        seen = later(&fixture.script, ms(500), fixture.asking(get("/metrics"))).await.text();
    })]);
    for n in 0..7 {
        let asking = fixture.asking(post(GENERATE, &numbered(n)));
        tasks.push(Box::pin(async {
            asking.await;
        }));
    }
    fixture.run(all(tasks));
    assert_eq!(sample_of(&seen, "requests_queued"), 5.0);
    assert_eq!(sample_of(&seen, "concurrency_in_use"), 2.0);
    assert_eq!(sample_of(&seen, "concurrency_limit"), 100.0, "MAX_CONCURRENT_REQUESTS");
    assert_eq!(fixture.metric("concurrency_in_use"), 0.0);
    assert_eq!(sample_of(&seen, "requests_in_flight"), 7.0);
    let endpoint = r#"upstream_requests_in_flight{endpoint="https://one.test"}"#;
    assert_eq!(sample_of(&seen, endpoint), 2.0);
}

#[test]
fn health_metrics_and_cached_answers_need_no_permit() {
    let mut first = true;
    let fixture =
        Fixture::new(&[], move |_| (!std::mem::replace(&mut first, false)).then(after_a_second));
    fixture.ask(post(GENERATE, crate::fixture::ZERO));
    fixture.script.set_permits(0);
    for path in ["/health", "/metrics", "/"] {
        assert_eq!(fixture.ask(get(path)).status, 200);
    }
    let kept = fixture.ask(post(GENERATE, crate::fixture::ZERO));
    assert_eq!((kept.header("x-cache"), fixture.now()), ("HIT", 0));
}
