//! Several endpoints.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, get, impatient, later, post};
use code_assist_testkit::google::{event, sse};
use code_assist_testkit::script::{Piece, Received, Reply};

use crate::life::{GENERATE, HELLO, Life, STREAM, always, error, ms, reason, together};

const TWO: (&str, &str) = ("CODE_ASSIST_ENDPOINT", "http://one.test,http://two.test");

fn at(request: &Received, host: &str) -> bool {
    request.line.contains(&format!("//{host}/"))
}

/// The first endpoint always does this.
fn one_does(reply: Reply) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    move |request| at(request, "one.test").then(|| reply.clone())
}

fn open_breakers(life: &Life) -> Vec<bool> {
    let open = |host: &str| {
        let sample = format!(r#"breaker_state{{endpoint="http://{host}",state="open"}}"#);
        life.metric(&sample) == 1.0
    };
    ["one.test", "two.test"].map(open).into()
}

#[test]
fn a_failed_try_moves_to_the_other_endpoint_at_once() {
    let failures = [
        Reply::unreachable(SendError::Connect("refused".to_owned())),
        Reply::unreachable(SendError::Disconnected("reset".to_owned())),
        error(500, ""),
        error(503, ""),
        Reply::pieces([Piece::Break("reset".to_owned())]),
    ];
    for failure in failures {
        let life = Life::new(&[TWO], one_does(failure));
        life.script.draw(u64::MAX);
        let answer = life.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), life.now()), (200, 0));
        assert_eq!(life.hosts(), ["one.test", "two.test"]);
    }
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_alone_and_nobody_notices() {
    let life = Life::new(&[TWO], one_does(error(500, "")));
    for _ in 0..100 {
        assert_eq!(life.ask(post(GENERATE, HELLO)).status, 200);
    }
    assert_eq!(life.hosts().iter().filter(|host| *host == "one.test").count(), 5);
    assert_eq!(open_breakers(&life), [true, false]);
    assert_eq!(life.now(), 0);
}

#[test]
fn when_all_rest_the_shortest_rest_is_told() {
    let settings = [TWO, ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1"), ("MAX_RETRY_ATTEMPTS", "0")];
    let life = Life::new(&settings, always(error(500, "")));
    life.ask(post(GENERATE, HELLO));
    life.script.pass(ms(20_000));
    life.ask(post(GENERATE, HELLO));
    assert_eq!(open_breakers(&life), [true, true]);
    let answer = life.ask(post(GENERATE, HELLO));
    assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("CIRCUIT_OPEN", "40"));
    assert_eq!(life.hosts(), ["one.test", "two.test"]);
}

#[test]
fn after_all_have_been_tried_the_tries_go_round_with_pauses() {
    let settings = [TWO, ("MAX_RETRY_ATTEMPTS", "4"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "9")];
    let life = Life::new(&settings, always(error(500, "")));
    life.script.draw(u64::MAX);
    assert_eq!(life.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(life.hosts(), ["one.test", "two.test", "one.test", "two.test", "one.test"]);
    assert_eq!(life.calls(), [0, 0, 2000, 6000, 14_000]);
}

#[test]
fn a_quota_is_the_accounts_so_no_other_endpoint_is_asked() {
    let life = Life::new(&[TWO], one_does(error(429, &reason("QUOTA_EXHAUSTED"))));
    assert_eq!(life.ask(post(GENERATE, HELLO)).status, 429);
    assert_eq!(life.hosts(), ["one.test"]);
}

#[test]
fn the_one_with_the_fewest_in_flight_is_called() {
    // Streams at the first endpoint stay, those at the second end at once.
    let life = Life::new(&[TWO], |request| {
        at(request, "one.test").then(|| sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))]))
    });
    let asked = (0..10)
        .map(|n| later(&life.script, ms(1 + n * 10), life.asking(post(STREAM, HELLO))))
        .collect();
    life.run(all(asked));
    let hosts = life.hosts();
    assert_eq!(hosts.iter().filter(|host| *host == "one.test").count(), 1, "{hosts:?}");
}

#[test]
fn equal_endpoints_share_the_load() {
    let life = Life::new(&[TWO], |_| Some(Reply::ok(r#"{"response":{}}"#).after(ms(1000))));
    life.run(all((0..40).map(|_| life.asking(post(GENERATE, HELLO))).collect()));
    assert_eq!(life.hosts().iter().filter(|host| *host == "one.test").count(), 20);
}

#[test]
fn clients_that_leave_do_not_weigh_on_an_endpoint() {
    for (path, reply) in [
        (GENERATE, Reply::ok("").after(ms(100_000))),
        (STREAM, sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))])),
        ("/v1internal:x", Reply::pieces([Piece::Silence(ms(100_000))])),
    ] {
        let life = Life::new(&[TWO], one_does(reply));
        for _ in 0..20 {
            let asking = life.asking(post(path, HELLO));
            life.run(impatient(&life.script, ms(1000), asking));
        }
        let hosts = life.hosts();
        assert_eq!(hosts.iter().filter(|host| *host == "one.test").count(), 10, "{path} {hosts:?}");
    }
}

#[test]
fn in_flight_is_told_by_endpoint_while_it_lasts() {
    let life = Life::new(&[TWO], |request| {
        at(request, "one.test").then(|| Reply::ok(r#"{"response":{}}"#).after(ms(5000)))
    });
    let mut seen = String::new();
    life.run(all(together([
        Box::pin(async {
            life.asking(post(GENERATE, HELLO)).await;
        }),
        Box::pin(async {
            let asking = life.asking(get("/metrics"));
            seen = later(&life.script, ms(1000), asking).await.text();
        }),
    ])));
    for (host, count) in [("one.test", 1.0), ("two.test", 0.0)] {
        let sample = format!(r#"upstream_requests_in_flight{{endpoint="http://{host}"}}"#);
        assert_eq!(crate::life::sample_of(&seen, &sample), count, "{host}");
    }
}

#[test]
fn tokens_go_to_configured_endpoints_only() {
    let redirects = [301, 302, 303, 307, 308];
    for status in redirects {
        let away = Reply::status(status, "").with_header("location", "http://evil.test/");
        for path in [GENERATE, STREAM, "/v1internal:generateContent"] {
            let life = Life::new(&[TWO], always(away.clone()));
            let answer = life.ask(post(path, HELLO));
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (502, "UPSTREAM_MALFORMED")
            );
            assert!(answer.header("location").is_empty());
            let hosts = life.hosts();
            assert!(hosts.iter().all(|host| host == "one.test" || host == "two.test"), "{hosts:?}");
        }
    }
}
