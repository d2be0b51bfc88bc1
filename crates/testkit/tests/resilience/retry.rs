//! Trying again.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, impatient, later, post, with};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};

use crate::fixture::{
    Fixture, GENERATE, HELLO, PRO, STREAM, always, error, error_body, in_turn, ms, reason,
    retry_info, together,
};

#[test]
fn a_500_and_then_a_200_is_one_200_for_the_client_and_two_tries() {
    let fixture = Fixture::new(&[], in_turn([error(500, "")]));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let calls = fixture.script.all_received();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(fixture.metric(r#"retries_total{reason="server_error"}"#), 1.0);
}

#[test]
fn every_passing_failure_is_tried_again_and_counted_by_its_reason() {
    let refused = || Reply::unreachable(SendError::Connect("refused".to_owned()));
    let broken = || Reply::unreachable(SendError::Disconnected("reset".to_owned()));
    let half = || Reply::pieces([Piece::Data("{\"resp".into()), Piece::Break("reset".to_owned())]);
    let faults = [
        ("server_error", error(502, "")),
        ("server_error", error(503, "")),
        ("server_error", error(504, "")),
        ("server_error", Reply::status(502, "<html>Bad Gateway</html>")),
        ("connect", refused()),
        ("disconnected", broken()),
        ("disconnected", half()),
        ("rate_limited", error(429, "")),
        ("rate_limited", error(429, &retry_info("0s"))),
    ];
    for (label, fault) in faults {
        let fixture = Fixture::new(&[], in_turn([fault.clone()]));
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200, "{label} {fault:?}");
        assert_eq!(fixture.calls().len(), 2, "{label} {fault:?}");
        assert_eq!(
            fixture.metric(&format!("retries_total{{reason=\"{label}\"}}")),
            1.0,
            "{fault:?}"
        );
    }
}

#[test]
fn retries_back_off_below_doubling_ceilings_and_end_after_max_retry_attempts() {
    let settings = [
        ("MAX_RETRY_ATTEMPTS", "4"),
        ("RETRY_BASE_DELAY_MS", "1000"),
        ("RETRY_MAX_DELAY_MS", "5000"),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100"),
    ];
    let ways = [
        (u64::MAX, [0, 1000, 3000, 7000, 12_000]),
        (u64::MAX / 2, [0, 500, 1500, 3500, 6000]),
        (0, [0, 0, 0, 0, 0]),
    ];
    for (bits, expected) in ways {
        let fixture = Fixture::new(&settings, always(error(500, "")));
        fixture.script.draw(bits);
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), answer.text()), (500, error_body(500, "")));
        assert_eq!(fixture.calls(), expected);
        assert_eq!(fixture.metric(r#"retries_total{reason="server_error"}"#), 4.0);
    }
}

#[test]
fn with_no_retry_attempts_the_first_answer_counts_but_an_old_token_is_still_replaced() {
    let fixture = Fixture::new(&[("MAX_RETRY_ATTEMPTS", "0")], always(error(500, "")));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(fixture.calls().len(), 1);

    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("GOOGLE_CLOUD_ACCESS_TOKEN", "")];
    let settings = [&settings[..], &[("OAUTH_TOKEN_URL", "http://oauth.test/token")]].concat();
    let fixture = Fixture::new(&settings, |request| {
        let old = request.headers.get("authorization").is_some_and(|it| it == "Bearer ya29.old");
        old.then(|| error(401, ""))
    });
    fixture.script.write_login(
        r#"{"access_token":"ya29.old","refresh_token":"1//r","expiry_date":1750003000000}"#,
    );
    fixture.tick();
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.metric(r#"retries_total{reason="unauthorized"}"#), 1.0);
    assert_eq!(
        fixture.metric(r#"breaker_transitions_total{endpoint="http://one.test",state="open"}"#),
        0.0
    );
}

#[test]
fn a_stated_delay_is_kept_to_the_millisecond_wherever_it_is_stated() {
    let prose = r#"{"error":{"code":429,"message":"Please retry in 2s.","status":"S"}}"#;
    let metadata = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","metadata":{"quotaResetDelay":"2000ms"}}"#;
    let throttled = format!("{},{}", reason("RATE_LIMIT_EXCEEDED"), retry_info("2s"));
    let overloaded = format!("{},{}", reason("MODEL_CAPACITY_EXHAUSTED"), retry_info("2s"));
    for reply in [
        error(429, &throttled),
        error(503, &overloaded),
        error(429, metadata),
        Reply::status(429, prose),
        Reply::status(429, "busy").with_header("retry-after", "2"),
    ] {
        let fixture = Fixture::new(&[], in_turn([reply.clone()]));
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!(answer.status, 200, "{reply:?}");
        assert_eq!(fixture.calls(), [0, 2000], "{reply:?}");
        assert!(answer.header("retry-after").is_empty());
    }
}

#[test]
fn a_delay_beyond_the_longest_is_delivered_at_once_with_retry_after() {
    let details = format!("{},{}", reason("RATE_LIMIT_EXCEEDED"), retry_info("30.2s"));
    for status in [429, 503] {
        let fixture = Fixture::new(&[], always(error(status, &details)));
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), fixture.now()), (status, 0));
        assert_eq!(answer.header("retry-after"), "31");
        assert_eq!(answer.text(), error_body(status, &details));
        assert_eq!(fixture.calls().len(), 1);
    }
}

#[test]
fn a_used_up_quota_is_asked_once_and_told_locally_until_its_reset() {
    let details = format!("{},{}", reason("QUOTA_EXHAUSTED"), retry_info("7200s"));
    let body = error_body(429, &details);
    let fixture = Fixture::new(&[], in_turn([error(429, &details)]));
    let first = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((first.status.as_u16(), first.header("retry-after")), (429, "7200"));
    fixture.script.pass(ms(3_599_500));
    for path in [GENERATE, STREAM] {
        let told = fixture.ask(post(path, HELLO));
        assert_eq!(told.status, 429);
        assert_eq!(told.text(), body, "upstream's own bytes");
        assert_eq!(told.header("retry-after"), "3601", "what is left, rounded up");
    }
    assert_eq!(fixture.calls().len(), 1);
    assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200, "other models go on");
    fixture.script.pass(ms(3_600_500));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200, "after the reset upstream is asked");
    assert_eq!(fixture.metric(r#"retries_total{reason="rate_limited"}"#), 0.0);
}

#[test]
fn what_waiting_does_not_mend_is_not_tried_again() {
    let daily = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]}"#;
    let replies = [
        error(400, ""),
        error(403, &reason("VALIDATION_REQUIRED")),
        error(404, ""),
        error(413, ""),
        error(429, daily),
        error(429, &reason("QUOTA_EXHAUSTED")),
        error(429, &reason("INSUFFICIENT_G1_CREDITS_BALANCE")),
        error(429, &reason("RATE_LIMIT_EXCEEDED")),
        Reply::ok("not JSON"),
    ];
    for reply in replies {
        for path in [GENERATE, STREAM] {
            let fixture = Fixture::new(&[], in_turn([reply.clone()]));
            fixture.ask(post(path, HELLO));
            assert_eq!(fixture.calls().len(), 1, "{path} {reply:?}");
        }
    }
}

#[test]
fn nothing_is_tried_again_once_the_first_event_went_out() {
    let fixture = Fixture::new(
        &[],
        in_turn([Reply::pieces([
            Piece::Data(format!("data: {}\r\n\r\n", event("Hel")).into()),
            Piece::Break("reset".to_owned()),
        ])]),
    );
    let answer = fixture.ask(post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("UPSTREAM_DISCONNECTED"), "{}", answer.text());
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn a_stream_that_fails_before_its_first_event_is_tried_again() {
    let fault = error_body(503, "");
    let beginnings = [
        Reply::pieces([Piece::Break("reset".to_owned())]),
        Reply::pieces([Piece::Data("data: {\"resp".into()), Piece::Break("reset".to_owned())]),
        sse(&[&fault]),
        error(503, ""),
    ];
    for beginning in beginnings {
        let fixture = Fixture::new(&[], in_turn([beginning.clone()]));
        let answer = fixture.ask(post(STREAM, HELLO));
        assert_eq!(answer.status, 200, "{beginning:?}");
        assert_eq!(answer.text().matches("data: ").count(), 2, "{}", answer.text());
        assert!(!answer.text().contains("error"), "{}", answer.text());
        assert_eq!(fixture.calls().len(), 2);
    }
}

#[test]
fn a_slow_answer_is_not_started_twice() {
    let slow = sse(&[&last_event("late")]).after(ms(300_001));
    let silent = Reply::pieces([Piece::Silence(ms(300_001))]);
    for (path, reply) in [(GENERATE, slow.clone()), (STREAM, slow), (STREAM, silent)] {
        let fixture = Fixture::new(&[], always(reply));
        let answer = fixture.ask(post(path, HELLO));
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "UPSTREAM_TIMEOUT"));
        assert_eq!((fixture.calls().len(), fixture.now()), (1, 300_000), "{path}");
    }
}

#[test]
fn no_retry_is_begun_that_the_client_would_not_wait_for() {
    for (seconds, expected) in
        [("1", vec![0]), ("2.5", vec![0, 1000]), ("7.1", vec![0, 1000, 3000, 7000])]
    {
        let fixture = Fixture::new(&[], always(error(500, "")));
        fixture.script.draw(u64::MAX);
        let answer = fixture.ask(with(post(GENERATE, HELLO), "x-server-timeout", seconds));
        assert_eq!(answer.status, 500);
        assert_eq!(fixture.calls(), expected, "{seconds}");
        assert_eq!(fixture.now(), *expected.last().unwrap(), "nobody waits for nothing");
    }
}

#[test]
fn nothing_is_tried_again_for_a_client_that_has_gone() {
    let fixture = Fixture::new(&[], always(error(429, &retry_info("10s"))));
    fixture.run(async {
        let gone =
            impatient(&fixture.script, ms(5000), fixture.asking(post(GENERATE, HELLO))).await;
        assert!(gone.is_none());
        later(&fixture.script, ms(60_000), async {}).await;
    });
    assert_eq!(fixture.calls(), [0]);
    assert_eq!(fixture.metric(r#"retries_total{reason="rate_limited"}"#), 0.0);
    assert_eq!(fixture.metric(r#"client_disconnects_total{phase="before_answer"}"#), 1.0);
}

#[test]
fn who_waits_for_a_retry_keeps_nobody_from_upstream() {
    let fixture = Fixture::new(&[], in_turn([error(429, &retry_info("20s"))]));
    fixture.script.places(1);
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, HELLO))),
        Box::pin(later(&fixture.script, ms(1000), fixture.timed(post(PRO, HELLO)))),
    ])));
    let times: Vec<_> = answers.iter().map(|(at, answer)| (*at, answer.status.as_u16())).collect();
    assert_eq!(times, [(20_000, 200), (1000, 200)]);
}

#[test]
fn the_words_of_an_error_are_waited_for_ten_seconds_at_most() {
    let endless = Reply::status(400, "").then([Piece::Silence(ms(200_000))]);
    let fixture = Fixture::new(&[], always(endless));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), fixture.now()), (400, 10_000));
}

#[test]
fn a_client_may_leave_at_any_moment_and_nothing_is_left_behind() {
    // In line, at the first try, in the pause, at the second, before and within the stream.
    for patience in (0..=8125).step_by(125) {
        let stream = sse(&[&event("Hel")]).then([
            Piece::Silence(ms(2000)),
            Piece::Data(format!("data: {}\r\n\r\n", last_event("lo")).into()),
        ]);
        let fixture = Fixture::new(
            &[("REQUEST_DEDUP_WINDOW_MS", "60000")],
            in_turn([
                Reply::ok("").after(ms(1000)),
                error(500, "").after(ms(500)),
                error(429, &retry_info("2s")).after(ms(500)),
                stream.after(ms(1000)),
            ]),
        );
        fixture.script.places(1);
        fixture.script.draw(u64::MAX);
        let answers = fixture.run(all(together([
            Box::pin(async { Some(fixture.asking(post(PRO, HELLO)).await) }),
            Box::pin(impatient(&fixture.script, ms(patience), fixture.asking(post(STREAM, HELLO)))),
            Box::pin(async {
                Some(
                    later(&fixture.script, ms(20_000), fixture.asking(post(GENERATE, HELLO))).await,
                )
            }),
        ])));
        assert!(answers[2].is_some());
        assert_eq!(answers[1].is_some(), patience >= 8000, "{patience} {:?}", answers[1]);
        assert_eq!(fixture.script.most_exchanges(), 1);
    }
}
