//! Several endpoints.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, get, impatient, later, post};
use code_assist_testkit::google::{event, sse};
use code_assist_testkit::script::{Piece, Received, Reply};

use crate::fixture::{Fixture, GENERATE, HELLO, STREAM, always, error, ms, page, reason, together};

const TWO: (&str, &str) = ("CODE_ASSIST_ENDPOINT", "https://one.test,https://two.test");

fn at(request: &Received, host: &str) -> bool {
    request.line.contains(&format!("//{host}/"))
}

/// The first endpoint always gives this reply.
fn first_endpoint_gives(reply: Reply) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    move |request| at(request, "one.test").then(|| reply.clone())
}

fn open_breakers(fixture: &Fixture) -> Vec<bool> {
    let open = |host: &str| {
        let sample = format!(r#"breaker_state{{endpoint="https://{host}",state="open"}}"#);
        fixture.metric(&sample) == 1.0
    };
    ["one.test", "two.test"].map(open).into()
}

#[test]
fn a_failed_try_moves_to_the_other_endpoint_at_once() {
    let failures = [
        Reply::unreachable(SendError::Connect("refused".to_owned())),
        Reply::unreachable(SendError::NotProcessed("refused stream".to_owned())),
        error(500, ""),
        error(503, ""),
    ];
    for failure in failures {
        let fixture = Fixture::new(&[TWO], first_endpoint_gives(failure));
        fixture.script.fix_random(u64::MAX);
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), fixture.now()), (200, 0));
        assert_eq!(fixture.hosts(), ["one.test", "two.test"]);
    }
}

#[test]
fn an_endpoint_that_keeps_failing_is_not_called_and_clients_see_no_failure() {
    let fixture = Fixture::new(&[TWO], first_endpoint_gives(page(500)));
    for _ in 0..100 {
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    }
    assert_eq!(fixture.hosts().iter().filter(|host| *host == "one.test").count(), 5);
    assert_eq!(open_breakers(&fixture), [true, false]);
    assert_eq!(fixture.now(), 0);
}

#[test]
fn when_all_breakers_are_open_the_error_states_the_shortest_wait() {
    let settings = [TWO, ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1"), ("MAX_RETRY_ATTEMPTS", "0")];
    let fixture = Fixture::new(&settings, always(page(500)));
    fixture.ask(post(GENERATE, HELLO));
    fixture.script.advance(ms(20_000));
    fixture.ask(post(GENERATE, HELLO));
    assert_eq!(open_breakers(&fixture), [true, true]);
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("CIRCUIT_OPEN", "40"));
    assert_eq!(fixture.hosts(), ["one.test", "two.test"]);
}

#[test]
fn after_all_endpoints_have_been_tried_the_tries_alternate_with_pauses() {
    let settings = [TWO, ("MAX_RETRY_ATTEMPTS", "4"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "9")];
    let fixture = Fixture::new(&settings, always(error(500, "")));
    fixture.script.fix_random(u64::MAX);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(fixture.hosts(), ["one.test", "two.test", "one.test", "two.test", "one.test"]);
    assert_eq!(fixture.calls(), [0, 0, 2000, 6000, 14_000]);
}

#[test]
fn a_quota_error_is_not_retried_at_another_endpoint() {
    let fixture =
        Fixture::new(&[TWO], first_endpoint_gives(error(429, &reason("QUOTA_EXHAUSTED"))));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    assert_eq!(fixture.hosts(), ["one.test"]);
}

#[test]
fn the_endpoint_with_the_fewest_requests_in_flight_is_called() {
    // Streams of the first endpoint last, those of the second end at once.
    let fixture = Fixture::new(&[TWO], |request| {
        at(request, "one.test").then(|| sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))]))
    });
    let asked = (0..10)
        .map(|n| later(&fixture.script, ms(1 + n * 10), fixture.asking(post(STREAM, HELLO))))
        .collect();
    fixture.run(all(asked));
    let hosts = fixture.hosts();
    assert_eq!(hosts.iter().filter(|host| *host == "one.test").count(), 1, "{hosts:?}");
}

#[test]
fn equal_endpoints_share_the_load() {
    let fixture = Fixture::new(&[TWO], |_| Some(Reply::ok(r#"{"response":{}}"#).after(ms(1000))));
    fixture.run(all((0..40).map(|_| fixture.asking(post(GENERATE, HELLO))).collect()));
    assert_eq!(fixture.hosts().iter().filter(|host| *host == "one.test").count(), 20);
}

#[test]
fn requests_of_clients_that_left_do_not_count_as_in_flight() {
    for (path, reply) in [
        (GENERATE, Reply::ok("").after(ms(100_000))),
        (STREAM, sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))])),
        ("/v1internal:recordCodeAssistMetrics", Reply::pieces([Piece::Silence(ms(100_000))])),
    ] {
        let fixture = Fixture::new(&[TWO], first_endpoint_gives(reply));
        for _ in 0..20 {
            let asking = fixture.asking(post(path, HELLO));
            fixture.run(impatient(&fixture.script, ms(1000), asking));
        }
        let hosts = fixture.hosts();
        assert_eq!(hosts.iter().filter(|host| *host == "one.test").count(), 10, "{path} {hosts:?}");
    }
}

#[test]
fn the_metrics_count_requests_in_flight_by_endpoint() {
    let fixture = Fixture::new(&[TWO], |request| {
        at(request, "one.test").then(|| Reply::ok(r#"{"response":{}}"#).after(ms(5000)))
    });
    let mut seen = String::new();
    fixture.run(all(together([
        Box::pin(async {
            fixture.asking(post(GENERATE, HELLO)).await;
        }),
        Box::pin(async {
            let asking = fixture.asking(get("/metrics"));
            seen = later(&fixture.script, ms(1000), asking).await.text();
        }),
    ])));
    for (host, count) in [("one.test", 1.0), ("two.test", 0.0)] {
        let sample = format!(r#"upstream_requests_in_flight{{endpoint="https://{host}"}}"#);
        assert_eq!(crate::fixture::sample_of(&seen, &sample), count, "{host}");
    }
}

#[test]
fn tokens_go_to_configured_endpoints_only() {
    let redirects = [301, 302, 303, 307, 308];
    for status in redirects {
        let away = Reply::status(status, "").with_header("location", "http://evil.test/");
        for path in [GENERATE, STREAM, "/v1internal:generateContent"] {
            let fixture = Fixture::new(&[TWO], always(away.clone()));
            let answer = fixture.ask(post(path, HELLO));
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (502, "UPSTREAM_MALFORMED")
            );
            assert!(answer.header("location").is_empty());
            let hosts = fixture.hosts();
            assert!(hosts.iter().all(|host| host == "one.test" || host == "two.test"), "{hosts:?}");
        }
    }
}
