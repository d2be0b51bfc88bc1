//! Retries.

use code_assist_core::SendError;
use code_assist_testkit::client::{all, impatient, later, post, with};
use code_assist_testkit::google::{event, last_event, sse};
use code_assist_testkit::script::{Piece, Reply};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, PRO, STREAM, always, error, error_body, in_turn, ms, reason,
    retry_info, together,
};

#[test]
fn a_500_and_then_a_200_are_two_tries_and_one_200_for_the_client() {
    let fixture = Fixture::new(&[], in_turn([error(500, "")]));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let calls = fixture.script.all_received();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(fixture.metric(r#"retries_total{reason="server_error"}"#), 1.0);
}

#[test]
fn every_temporary_failure_is_retried_and_counted_by_its_reason() {
    let refused = || Reply::unreachable(SendError::Connect("refused".to_owned()));
    let unprocessed = || Reply::unreachable(SendError::NotProcessed("refused stream".to_owned()));
    let full = || Reply::unreachable(SendError::Resources("Too many open files".to_owned()));
    let faults = [
        ("server_error", error(502, "")),
        ("server_error", error(503, "")),
        ("server_error", error(504, "")),
        ("server_error", Reply::status(502, "<html>Bad Gateway</html>")),
        ("connect", refused()),
        ("connect", full()),
        ("disconnected", unprocessed()),
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
fn a_request_that_may_have_been_carried_out_is_sent_once_and_the_client_learns_why() {
    let broken = || Reply::unreachable(SendError::Disconnected("reset".to_owned()));
    let cut = |status, begun: &'static str| {
        Reply::status(status, "")
            .then([Piece::Data(begun.into()), Piece::Break("reset".to_owned())])
    };
    let operations = [GENERATE, STREAM, COUNT, "/v1internal:generateContent"];
    let mut cases: Vec<_> = operations.map(|path| (path, broken())).into();
    for path in [GENERATE, STREAM, COUNT] {
        cases.push((path, cut(200, "{\"resp")));
        cases.push((path, cut(200, "")));
        cases.push((path, cut(503, "{\"err")));
    }
    for (path, fault) in cases {
        let fixture = Fixture::new(&[TWO], in_turn([fault.clone()]));
        let answer = fixture.ask(post(path, HELLO));
        let seen = (answer.status.as_u16(), answer.reason());
        assert_eq!(seen, (502, "UPSTREAM_DISCONNECTED".to_owned()), "{path} {fault:?}");
        let words = "may have carried the request out and counted it against the quota, so the proxy did not send it again";
        assert!(answer.text().contains(words), "{path} {}", answer.text());
        assert_eq!(fixture.calls().len(), 1, "{path} {fault:?}");
    }
}

#[test]
fn an_error_below_500_whose_body_breaks_off_is_judged_by_its_status() {
    let cut = Reply::status(429, "").then([Piece::Break("reset".to_owned())]);
    let fixture = Fixture::new(&[], in_turn([cut]));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.calls().len(), 2);
}

#[test]
fn a_peer_that_processes_no_request_is_a_502_that_says_so_after_all_tries() {
    let refusal = Reply::unreachable(SendError::NotProcessed("refused stream".to_owned()));
    let fixture = Fixture::new(&[("MAX_RETRY_ATTEMPTS", "2")], always(refusal));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (502, "UPSTREAM_DISCONNECTED"));
    assert!(answer.text().contains("Nothing was carried out"), "{}", answer.text());
    assert_eq!(fixture.calls().len(), 3);
}

#[test]
fn a_machine_without_file_handles_is_no_failure_of_the_endpoint() {
    let full = Reply::unreachable(SendError::Resources("Too many open files".to_owned()));
    let settings = [TWO, ("MAX_RETRY_ATTEMPTS", "1"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")];
    let fixture = Fixture::new(&settings, always(full));
    fixture.script.fix_random(u64::MAX);
    for _ in 0..3 {
        let answer = fixture.ask(post(GENERATE, HELLO));
        let seen = (answer.status.as_u16(), answer.reason());
        assert_eq!(seen, (503, "UPSTREAM_UNREACHABLE".to_owned()));
        assert!(answer.text().contains("LimitNOFILE"), "{}", answer.text());
    }
    assert_eq!(fixture.calls(), [0, 1000, 1000, 2000, 2000, 3000], "each retry has its pause");
}

#[test]
fn retries_back_off_below_doubling_ceilings_and_end_after_max_retry_attempts() {
    let settings = [
        ("MAX_RETRY_ATTEMPTS", "4"),
        ("RETRY_BASE_DELAY_MS", "1000"),
        ("RETRY_MAX_DELAY_MS", "5000"),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100"),
    ];
    let cases = [
        (u64::MAX, [0, 1000, 3000, 7000, 12_000]),
        (u64::MAX / 2, [0, 500, 1500, 3500, 6000]),
        (0, [0, 0, 0, 0, 0]),
    ];
    for (bits, expected) in cases {
        let fixture = Fixture::new(&settings, always(error(500, "")));
        fixture.script.fix_random(bits);
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), answer.text()), (500, error_body(500, "")));
        assert_eq!(fixture.calls(), expected);
        assert_eq!(fixture.metric(r#"retries_total{reason="server_error"}"#), 4.0);
    }
}

#[test]
fn without_retry_attempts_only_a_rejected_token_leads_to_another_try() {
    let fixture = Fixture::new(&[("MAX_RETRY_ATTEMPTS", "0")], always(error(500, "")));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 500);
    assert_eq!(fixture.calls().len(), 1);

    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("GOOGLE_CLOUD_ACCESS_TOKEN", "")];
    let settings = [&settings[..], &[("OAUTH_TOKEN_URL", "https://oauth.test/token")]].concat();
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
        fixture.metric(r#"breaker_transitions_total{endpoint="https://one.test",state="open"}"#),
        0.0
    );
}

#[test]
fn a_stated_delay_is_waited_to_the_millisecond_wherever_it_is_stated() {
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
fn a_stated_delay_beyond_the_maximum_is_delivered_at_once_with_retry_after() {
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
fn an_error_inside_a_whole_answer_is_retried_and_remembered_as_one_with_its_status() {
    let unavailable = Reply::ok(error_body(503, ""));
    let fixture = Fixture::new(&[], in_turn([unavailable]));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.calls().len(), 2);
    let details = format!("{},{}", reason("QUOTA_EXHAUSTED"), retry_info("7200s"));
    let fixture = Fixture::new(&[], in_turn([Reply::ok(error_body(429, &details))]));
    for _ in 0..2 {
        let answer = fixture.ask(post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "7200"));
    }
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn failures_that_waiting_does_not_cure_are_not_retried() {
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
fn a_stream_is_not_retried_after_its_first_event() {
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
fn a_stream_that_fails_before_its_first_event_is_retried() {
    let fault = error_body(503, "");
    let beginnings = [
        Reply::unreachable(SendError::NotProcessed("refused stream".to_owned())),
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
fn a_request_that_timed_out_is_not_sent_again() {
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
fn no_retry_is_begun_that_cannot_end_before_the_clients_deadline() {
    for (seconds, expected) in
        [("1", vec![0]), ("2.5", vec![0, 1000]), ("7.1", vec![0, 1000, 3000, 7000])]
    {
        let fixture = Fixture::new(&[], always(error(500, "")));
        fixture.script.fix_random(u64::MAX);
        let answer = fixture.ask(with(post(GENERATE, HELLO), "x-server-timeout", seconds));
        assert_eq!(answer.status, 500);
        assert_eq!(fixture.calls(), expected, "{seconds}");
        assert_eq!(
            fixture.now(),
            *expected.last().unwrap(),
            "the failure is delivered without a pause"
        );
    }
}

#[test]
fn the_request_of_a_client_that_left_is_not_retried() {
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
fn a_request_that_waits_for_its_retry_holds_no_permit() {
    let fixture = Fixture::new(&[], in_turn([error(429, &retry_info("20s"))]));
    fixture.script.set_permits(1);
    let answers = fixture.run(all(together([
        Box::pin(fixture.timed(post(GENERATE, HELLO))),
        Box::pin(later(&fixture.script, ms(1000), fixture.timed(post(PRO, HELLO)))),
    ])));
    let times: Vec<_> = answers.iter().map(|(at, answer)| (*at, answer.status.as_u16())).collect();
    assert_eq!(times, [(20_000, 200), (1000, 200)]);
}

#[test]
fn the_body_of_an_error_is_read_for_ten_seconds_at_most() {
    let endless = Reply::status(400, "").then([Piece::Silence(ms(200_000))]);
    let fixture = Fixture::new(&[], always(endless));
    let answer = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), fixture.now()), (400, 10_000));
}

#[test]
fn a_client_that_leaves_at_any_moment_leaves_no_permit_behind() {
    // In the queue, during the first try, in the pause, during the second try, before the stream
    // and within it.
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
        fixture.script.set_permits(1);
        fixture.script.fix_random(u64::MAX);
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

const TWO: (&str, &str) = ("CODE_ASSIST_ENDPOINT", "https://one.test,https://two.test");
