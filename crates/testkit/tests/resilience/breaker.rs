//! Circuit breakers.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, get, impatient, later, post, with};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, PRO, STREAM, ZERO, always, error, error_body, in_turn, ms,
    page, retry_info, together,
};

/// The breaker opens for a minute after three failures. There are no retries, so each failed request
/// is one failure.
const THREE: [(&str, &str); 3] = [
    ("MAX_RETRY_ATTEMPTS", "0"),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3"),
    ("CIRCUIT_BREAKER_TIMEOUT_MS", "60000"),
];

fn state(fixture: &Fixture) -> String {
    let health: serde_json::Value =
        serde_json::from_str(&fixture.ask(get("/health")).text()).unwrap_or_default();
    health["metrics"]["circuit_breaker_state"].as_str().unwrap_or_default().to_owned()
}

fn transitions(fixture: &Fixture) -> [f64; 3] {
    ["open", "half_open", "closed"].map(|state| {
        fixture.metric(&format!(
            r#"breaker_transitions_total{{endpoint="https://one.test",state="{state}"}}"#
        ))
    })
}

#[test]
fn the_breaker_opens_after_the_threshold_and_closes_after_one_probe() {
    let fixture = Fixture::new(&THREE, in_turn((0..3).map(|_| page(500))));
    for _ in 0..3 {
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    }
    assert_eq!(state(&fixture), "open");
    fixture.script.advance(ms(19_001));
    for path in [GENERATE, STREAM, "/v1internal:generateContent"] {
        let answer = fixture.ask(post(path, HELLO));
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "CIRCUIT_OPEN"));
        assert_eq!(answer.header("retry-after"), "41", "40.999 s are left");
        assert!(answer.text().contains("40.999s"), "{}", answer.text());
    }
    assert_eq!(fixture.calls().len(), 3, "no call while the breaker is open");
    fixture.script.advance(ms(40_999));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    assert_eq!(state(&fixture), "closed");
    assert_eq!(transitions(&fixture), [1.0, 1.0, 1.0]);
}

#[test]
fn of_fifty_concurrent_requests_one_is_the_probe() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        Some(if serial <= 3 { page(500) } else { Reply::ok(r#"{"response":{}}"#).after(ms(2000)) })
    });
    for _ in 0..3 {
        fixture.ask(post(GENERATE, HELLO));
    }
    fixture.script.advance(ms(60_000));
    let answers = fixture.run(all((0..50).map(|_| fixture.timed(post(GENERATE, HELLO))).collect()));
    let served = answers.iter().filter(|(_, answer)| answer.status == 200).count();
    assert_eq!((served, fixture.calls().len()), (1, 4));
    for (at, answer) in answers.iter().filter(|(_, answer)| answer.status != 200) {
        assert_eq!((*at, answer.reason().as_str()), (60_000, "CIRCUIT_OPEN"), "refused at once");
    }
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200, "the breaker has closed");
}

#[test]
fn the_breaker_is_half_open_while_a_probe_is_in_flight() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        (serial <= 3).then(|| page(500)).or(Some(page(500).after(ms(2000))))
    });
    for _ in 0..3 {
        fixture.ask(post(GENERATE, HELLO));
    }
    fixture.script.advance(ms(60_000));
    let answers = fixture.run(all(together([
        Box::pin(fixture.asking(post(GENERATE, HELLO))),
        Box::pin(later(&fixture.script, ms(1000), fixture.asking(get("/health")))),
    ])));
    assert!(answers[1].text().contains("half_open"), "{}", answers[1].text());
    assert_eq!(state(&fixture), "open", "the probe has failed");
    assert_eq!(transitions(&fixture), [2.0, 1.0, 0.0]);
    let refused = fixture.ask(post(GENERATE, HELLO));
    assert_eq!(
        refused.header("retry-after"),
        "60",
        "a whole timeout from the failure of the probe"
    );
}

#[test]
fn constant_failures_cost_upstream_the_threshold_and_one_probe_per_timeout() {
    let fixture = Fixture::new(&[("CIRCUIT_BREAKER_TIMEOUT_MS", "60000")], always(page(500)));
    fixture.run(all((0..3600)
        .map(|n| later(&fixture.script, ms(n * 500), fixture.asking(post(GENERATE, HELLO))))
        .collect()));
    let calls = fixture.calls().len();
    // Each of the first five requests is tried four times.
    assert!((5 * 4..=5 * 4 + 30).contains(&calls), "{calls} calls in half an hour");
}

#[test]
fn the_failure_that_opens_the_breaker_is_delivered_without_a_pause() {
    let settings = [("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2")];
    let fixture = Fixture::new(&settings, always(page(500)));
    fixture.script.fix_random(u64::MAX);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(fixture.calls(), [0, 1000, 3000, 7000], "one request is one failure");
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(fixture.calls(), [0, 1000, 3000, 7000, 7000]);
    assert_eq!(fixture.now(), 7000);
}

#[test]
fn an_open_breaker_refuses_a_request_before_it_joins_the_wait_queue() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        Some(match serial {
            1 => sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))]),
            _ => page(500),
        })
    });
    let others = async {
        for _ in 0..3 {
            fixture.asking(post(GENERATE, HELLO)).await;
        }
        // From now on the stream holds the only permit.
        fixture.script.set_permits(1);
        for path in [GENERATE, STREAM, COUNT, "/v1internal:listExperiments"] {
            let (at, answer) = fixture.timed(post(path, HELLO)).await;
            assert_eq!((at, answer.reason().as_str()), (0, "CIRCUIT_OPEN"), "{path}");
        }
    };
    let stream = async {
        fixture.asking(post(STREAM, HELLO)).await;
    };
    fixture.run(all(together([Box::pin(stream), Box::pin(others)])));
}

#[test]
fn an_open_breaker_refuses_a_request_before_a_project_is_discovered() {
    let settings =
        [THREE[0], ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1"), ("GEMINI_PROJECT_ID", "")];
    let fixture = Fixture::new(&settings, in_turn([page(500)]));
    fixture.ask(post(COUNT, HELLO));
    fixture.script.advance(ms(59_000));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("CIRCUIT_OPEN", "1"));
    assert_eq!(fixture.now(), 59_000);
    fixture.script.advance(ms(1000));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_request_whose_breaker_opens_during_its_pause_delivers_its_own_failure() {
    let fixture = Fixture::new(&[("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2")], always(page(500)));
    fixture.script.fix_random(u64::MAX);
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, HELLO))),
        Box::pin(later(&fixture.script, ms(500), fixture.timed(post(GENERATE, HELLO)))),
    ])));
    let delivered: Vec<_> =
        answers.iter().map(|(at, answer)| (*at, answer.status.as_u16())).collect();
    assert_eq!(delivered, [(1000, 500), (500, 500)]);
    assert_eq!(fixture.calls(), [0, 500]);
}

#[test]
fn answers_below_500_do_not_open_the_breaker_and_reset_the_count() {
    for status in [400, 403, 404, 429] {
        let fixture = Fixture::new(&THREE, always(error(status, &retry_info("100s"))));
        for _ in 0..10 {
            assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, status);
        }
        assert_eq!(transitions(&fixture), [0.0; 3]);
    }
    let replies = [500, 500, 400, 500, 500, 404, 500, 500].map(|status| match status {
        500 => page(500),
        status => error(status, ""),
    });
    let fixture = Fixture::new(&THREE, in_turn(replies));
    for _ in 0..8 {
        fixture.ask(post(GENERATE, HELLO));
    }
    assert_eq!(state(&fixture), "closed");
}

#[test]
fn every_kind_of_endpoint_failure_counts_with_equal_bodies_too() {
    let failures = [
        (GENERATE, Reply::unreachable(SendError::Connect("refused".to_owned()))),
        (GENERATE, Reply::unreachable(SendError::Disconnected("reset".to_owned()))),
        (GENERATE, Reply::status(302, "").with_header("location", "http://evil.test/")),
        (GENERATE, page(200)),
        (GENERATE, page(502)),
        (GENERATE, Reply::status(503, "\u{feff} <!doctype html>")),
        (STREAM, page(200)),
        (STREAM, page(504)),
        (COUNT, page(500)),
        ("/v1internal:streamGenerateContent?alt=sse", page(503)),
    ];
    for (path, failure) in failures {
        let fixture = Fixture::new(&THREE, always(failure.clone()));
        for _ in 0..2 {
            fixture.ask(post(path, HELLO));
        }
        assert_eq!(state(&fixture), "closed", "{path} {failure:?}");
        fixture.ask(post(path, HELLO));
        assert_eq!(state(&fixture), "open", "{path} {failure:?}");
        assert_eq!(fixture.calls().len(), 3);
        for path in [path, PRO, STREAM, COUNT, "/v1internal:listExperiments"] {
            assert_eq!(fixture.ask(post(path, HELLO)).reason(), "CIRCUIT_OPEN");
        }
        assert!(
            fixture.hosts().iter().all(|host| host == "one.test"),
            "redirects are not followed"
        );
    }
}

#[test]
fn a_client_that_leaves_does_not_count_as_a_failure_of_the_endpoint() {
    let endless = || sse(&[&event("Hel")]).then([Piece::Silence(ms(100_000))]);
    for (path, reply) in [
        (GENERATE, Reply::ok("").after(ms(100_000))),
        (STREAM, Reply::ok("").after(ms(100_000))),
        (STREAM, endless()),
    ] {
        let settings = [&THREE[..], &[("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")]].concat();
        let settings: Vec<_> = settings.into_iter().rev().collect();
        let fixture = Fixture::new(&settings, always(reply));
        for _ in 0..5 {
            let asking = fixture.asking(post(path, HELLO));
            assert!(fixture.run(impatient(&fixture.script, ms(1000), asking)).is_none());
        }
        assert_eq!(fixture.calls().len(), 5);
        assert_eq!(transitions(&fixture), [0.0; 3]);
    }
}

#[test]
fn after_a_probe_whose_client_leaves_the_next_request_is_the_probe() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        match serial {
            1..=3 => Some(page(500)),
            4 => Some(Reply::ok("").after(ms(100_000))),
            _ => None,
        }
    });
    for _ in 0..3 {
        fixture.ask(post(GENERATE, HELLO));
    }
    fixture.script.advance(ms(60_000));
    let asking = fixture.asking(post(GENERATE, HELLO));
    let answers = fixture.run(all(together([
        Box::pin(async {
            assert!(impatient(&fixture.script, ms(1000), asking).await.is_none());
            fixture.timed(post(GENERATE, HELLO)).await
        }),
        Box::pin(later(&fixture.script, ms(999), fixture.timed(post(GENERATE, HELLO)))),
    ])));
    assert_eq!(answers[0].1.status, 200);
    assert_eq!(answers[1].1.reason(), "CIRCUIT_OPEN", "one probe at a time");
}

#[test]
fn a_streaming_probe_closes_the_breaker_with_its_first_event() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        match serial {
            1..=3 => Some(page(500)),
            4 => Some(sse(&[&event("Hel")]).then([Piece::Silence(ms(50_000))])),
            _ => None,
        }
    });
    for _ in 0..3 {
        fixture.ask(post(GENERATE, HELLO));
    }
    fixture.script.advance(ms(60_000));
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(STREAM, HELLO))),
        Box::pin(later(&fixture.script, ms(1), fixture.timed(post(GENERATE, HELLO)))),
    ])));
    assert_eq!((answers[1].0, answers[1].1.status.as_u16()), (60_001, 200));
}

#[test]
fn a_cached_answer_is_served_while_the_breaker_is_open() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        (serial > 1).then(|| page(500))
    });
    let first = fixture.ask(post(GENERATE, ZERO));
    for _ in 0..3 {
        fixture.ask(post(PRO, HELLO));
    }
    let kept = fixture.ask(post(GENERATE, ZERO));
    assert_eq!((kept.status.as_u16(), kept.header("x-cache")), (200, "HIT"));
    assert_eq!(kept.pieces, first.pieces);
    let anew = fixture.ask(with(post(GENERATE, ZERO), "cache-control", "no-cache"));
    assert_eq!(anew.reason(), "CIRCUIT_OPEN");
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn a_stream_that_ends_well_resets_the_count_of_failures() {
    let mut serial = 0;
    let fixture = Fixture::new(&THREE, move |_| {
        serial += 1;
        (serial % 3 != 0).then(|| page(500)).or_else(|| Some(sse(&[&last_event("x")])))
    });
    for _ in 0..12 {
        fixture.ask(post(STREAM, HELLO));
    }
    assert_eq!((fixture.calls().len(), transitions(&fixture)), (12, [0.0; 3]));
}

#[test]
fn a_failure_counts_once_in_the_upstream_status_of_health() {
    let failures = [
        (GENERATE, page(500)),
        (GENERATE, Reply::pieces([Piece::Break("reset".to_owned())])),
        (STREAM, Reply::pieces([Piece::Break("reset".to_owned())])),
        (STREAM, sse(&[&error_body(500, "")])),
        (STREAM, sse(&[&event("Hel")]).then([Piece::Break("reset".to_owned())])),
    ];
    for (path, failure) in failures {
        let settings = [THREE[0], ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100")];
        let fixture = Fixture::new(&settings, always(failure.clone()));
        for n in 1..=5 {
            fixture.ask(post(path, HELLO));
            let health = fixture.ask(get("/health")).text();
            let expected = if n < 5 { "degraded" } else { "unhealthy" };
            let expected = format!(r#""upstream_status":"{expected}""#);
            assert!(health.contains(&expected), "{path} {failure:?} {n} {health}");
        }
    }
}
