//! Each kind of failure, with failover on and off.

use std::time::Duration;

use code_assist_core::SendError;
use code_assist_core::settings::{Failover, FailoverReason};
use code_assist_testkit::client::with;
use code_assist_testkit::script::{Piece, Reply};

use crate::fixture::{Fixture, count, generate, google_error, on, quota, stream};

/// A failure of the primary, and the reason in the header if another upstream takes the request.
struct Cell {
    primary: &'static str,
    reply: Reply,
    moves: Option<(FailoverReason, &'static str)>,
}

fn cell(primary: &'static str, reply: Reply, reason: FailoverReason, word: &'static str) -> Cell {
    Cell { primary, reply, moves: Some((reason, word)) }
}

fn stays(primary: &'static str, reply: Reply) -> Cell {
    Cell { primary, reply, moves: None }
}

fn violated(quota: &str) -> Reply {
    Reply::status(
        429,
        format!(
            r#"{{"error":{{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{quota}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}}]}}}}"#
        ),
    )
}

/// The rows of `docs/reference/upstreams.md` 4.3 and 7.1, and those of 7.2.
fn cells() -> Vec<Cell> {
    use FailoverReason as R;
    let error = google_error;
    let denied = |reason| error(403, "PERMISSION_DENIED", "No.", reason);
    let exhausted = |message| error(429, "RESOURCE_EXHAUSTED", message, "");
    let (ca, gemini, vertex) = ("code-assist", "gemini-api", "vertex");
    let not_found = |message| error(404, "NOT_FOUND", message, "");
    vec![
        // Accounts.
        cell(ca, denied("SUBSCRIPTION_REQUIRED"), R::Account, "SUBSCRIPTION_REQUIRED"),
        cell(ca, denied("VALIDATION_REQUIRED"), R::Account, "VALIDATION_REQUIRED"),
        cell(ca, denied("CONSUMER_INVALID"), R::Account, "CONSUMER_INVALID"),
        cell(ca, denied("SERVICE_DISABLED"), R::Account, "SERVICE_DISABLED"),
        cell(ca, Reply::status(401, "{}"), R::Account, "CREDENTIALS_REJECTED"),
        cell(
            gemini,
            error(400, "INVALID_ARGUMENT", "API key not valid.", "API_KEY_INVALID"),
            R::Account,
            "CREDENTIALS_REJECTED",
        ),
        cell(
            gemini,
            error(
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
                "",
            ),
            R::Account,
            "FAILED_PRECONDITION",
        ),
        cell(
            gemini,
            error(401, "UNAUTHENTICATED", "No.", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
            R::Account,
            "CREDENTIALS_REJECTED",
        ),
        cell(gemini, denied("SERVICE_DISABLED"), R::Account, "SERVICE_DISABLED"),
        cell(gemini, denied("BILLING_DISABLED"), R::Account, "BILLING_DISABLED"),
        cell(gemini, denied("API_KEY_SERVICE_BLOCKED"), R::Account, "CREDENTIALS_REJECTED"),
        cell(vertex, denied("IAM_PERMISSION_DENIED"), R::Account, "IAM_PERMISSION_DENIED"),
        // Quotas of a day or more.
        cell(ca, quota(), R::Quota, "QUOTA_EXHAUSTED"),
        cell(
            ca,
            error(429, "RESOURCE_EXHAUSTED", "None.", "INSUFFICIENT_G1_CREDITS_BALANCE"),
            R::Quota,
            "INSUFFICIENT_G1_CREDITS_BALANCE",
        ),
        cell(gemini, violated("GenerateRequestsPerDay"), R::Quota, "RESOURCE_EXHAUSTED"),
        cell(gemini, exhausted("Quota exceeded, limit: 0"), R::Quota, "RESOURCE_EXHAUSTED"),
        // Capacity.
        cell(
            ca,
            error(429, "RESOURCE_EXHAUSTED", "No.", "MODEL_CAPACITY_EXHAUSTED"),
            R::Capacity,
            "MODEL_CAPACITY_EXHAUSTED",
        ),
        cell(ca, error(503, "UNAVAILABLE", "Overloaded.", ""), R::Capacity, "UNAVAILABLE"),
        cell(gemini, violated("RequestsPerMinute"), R::Capacity, "RESOURCE_EXHAUSTED"),
        cell(gemini, error(503, "UNAVAILABLE", "Busy.", ""), R::Capacity, "UNAVAILABLE"),
        cell(
            vertex,
            exhausted("Resource exhausted. Please try again later."),
            R::Capacity,
            "RESOURCE_EXHAUSTED",
        ),
        // Not reached, or not working.
        cell(
            vertex,
            Reply::unreachable(SendError::Connect("refused".to_owned())),
            R::Unreachable,
            "UPSTREAM_UNREACHABLE",
        ),
        cell(
            gemini,
            Reply::unreachable(SendError::NotProcessed("GOAWAY".to_owned())),
            R::Unreachable,
            "UPSTREAM_DISCONNECTED",
        ),
        cell(gemini, error(500, "INTERNAL", "An internal error.", ""), R::Unreachable, "INTERNAL"),
        cell(ca, Reply::status(502, "<html>Bad Gateway</html>"), R::Unreachable, "UNAVAILABLE"),
        // Models.
        cell(ca, not_found("Requested entity was not found."), R::NotFound, "NOT_FOUND"),
        cell(
            gemini,
            not_found("models/x is not found for API version v1beta"),
            R::NotFound,
            "NOT_FOUND",
        ),
        cell(vertex, not_found("Publisher Model `x` was not found"), R::NotFound, "NOT_FOUND"),
        // Money.
        cell(gemini, Reply::status(402, "{}"), R::Billing, "INVALID_ARGUMENT"),
        cell(
            gemini,
            exhausted("Your prepayment credits are depleted."),
            R::Billing,
            "RESOURCE_EXHAUSTED",
        ),
        cell(
            gemini,
            exhausted("Your project has exceeded its spending cap."),
            R::Billing,
            "RESOURCE_EXHAUSTED",
        ),
        // Never.
        stays(ca, error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.", "")),
        stays(gemini, error(400, "INVALID_ARGUMENT", "Corrupted thought signature.", "")),
        stays(gemini, error(413, "INVALID_ARGUMENT", "Too large.", "")),
        stays(gemini, denied("CONSUMER_SUSPENDED")),
        stays(
            ca,
            error(403, "PERMISSION_DENIED", "Disabled for violation of Terms of Service.", ""),
        ),
        stays(gemini, not_found("File files/abc does not exist.")),
        stays(gemini, Reply::status(499, "{}")),
        stays(gemini, error(504, "DEADLINE_EXCEEDED", "Late.", "")),
        stays(gemini, Reply::unreachable(SendError::Disconnected("reset".to_owned()))),
        stays(gemini, Reply::unreachable(SendError::StreamReset("reset".to_owned()))),
        stays(gemini, Reply::ok("{}").after(Duration::from_secs(3600))),
        stays(ca, Reply::pieces([Piece::Break("cut".to_owned())])),
        stays(gemini, Reply::ok(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#)),
        stays(gemini, Reply::ok(r#"{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}"#)),
    ]
}

/// The upstreams in use, the primary first.
fn with_another(primary: &'static str) -> [&'static str; 2] {
    [primary, if primary == "gemini-api" { "vertex" } else { "gemini-api" }]
}

#[test]
fn every_failure_that_another_upstream_may_not_have_moves_a_request() {
    for Cell { primary, reply, moves } in cells() {
        let Some((reason, word)) = moves else { continue };
        for request in [generate("hi"), stream(), count()] {
            let names = with_another(primary);
            let only = Failover::OFF.and(reason);
            let fixture = Fixture::with(&names, |settings| settings.failover = only);
            fixture.answers(primary, reply.clone());
            let line = request.uri().to_string();
            let answer = fixture.ask(request);
            let case = format!("{line} {reply:?} {}", answer.text());
            assert_eq!(answer.status, 200, "{case}");
            assert_eq!(answer.header("x-proxy-upstream"), names[1], "{case}");
            let told = format!("{primary};reason={word}");
            assert_eq!(answer.header("x-proxy-failover"), told, "{case}");
        }
    }
}

#[test]
fn no_failure_moves_a_request_whose_reason_is_not_among_those_of_the_setting() {
    for Cell { primary, reply, moves } in cells() {
        let reason = moves.map(|(reason, _)| reason);
        let others = FailoverReason::ALL.into_iter().filter(|it| Some(*it) != reason);
        for failover in [Failover::OFF, others.fold(Failover::OFF, Failover::and)] {
            let names = with_another(primary);
            let fixture = Fixture::with(&names, |settings| settings.failover = failover);
            fixture.answers(primary, reply.clone());
            for _ in 0..2 {
                let answer = fixture.ask(stream());
                assert_eq!(answer.header("x-proxy-upstream"), primary, "{reply:?}");
                assert_eq!(answer.header("x-proxy-failover"), "", "{reply:?}");
                assert_eq!(answer.header("x-proxy-tried"), "", "{reply:?}");
            }
            assert_eq!(fixture.calls(names[1]), 0, "{reply:?}");
        }
    }
}

#[test]
fn what_must_never_move_a_request_does_not() {
    let all = FailoverReason::ALL.into_iter().fold(Failover::OFF, Failover::and);
    for Cell { primary, reply, moves } in cells() {
        if moves.is_some() {
            continue;
        }
        for request in [generate("hi"), stream(), count()] {
            let names = with_another(primary);
            let fixture = Fixture::with(&names, |settings| settings.failover = all);
            fixture.answers(primary, reply.clone());
            let line = request.uri().to_string();
            let answer = fixture.ask(request);
            assert_eq!(fixture.calls(names[1]), 0, "{line} {reply:?}");
            assert_eq!(answer.header("x-proxy-upstream"), primary, "{line} {reply:?}");
        }
    }
}

#[test]
fn billing_is_in_no_failover_that_does_not_name_it() {
    let fixture = Fixture::with(&["gemini-api", "vertex"], |settings| {
        settings.failover = on().and(FailoverReason::Billing);
    });
    fixture.answers("gemini-api", Reply::status(402, "{}"));
    assert_eq!(fixture.generate().header("x-proxy-upstream"), "vertex");
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", Reply::status(402, "{}"));
    assert_eq!(fixture.generate().status, 402);
}

#[test]
fn a_request_with_an_idempotency_key_moves_only_if_it_was_certainly_not_carried_out() {
    let named = || with(generate("hi"), "idempotency-key", "k1");
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", google_error(500, "INTERNAL", "An internal error.", ""));
    let answer = fixture.ask(named());
    assert_eq!(answer.status, 500);
    assert_eq!(fixture.calls("vertex"), 0);
    for reply in [quota(), Reply::unreachable(SendError::Connect("refused".to_owned()))] {
        let fixture = Fixture::new(&["gemini-api", "vertex"]);
        fixture.answers("gemini-api", reply);
        assert_eq!(fixture.ask(named()).header("x-proxy-upstream"), "vertex");
    }
}

#[test]
fn the_primarys_own_short_retries_come_first() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    let mut failures = 1;
    fixture.script("gemini-api", move |_| {
        failures -= 1;
        (failures >= 0).then(|| Reply::status(503, "{}"))
    });
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
    assert_eq!((fixture.calls("gemini-api"), fixture.calls("vertex")), (2, 0));
    fixture.answers("gemini-api", Reply::status(503, "{}"));
    assert_eq!(fixture.generate().header("x-proxy-upstream"), "vertex");
    assert_eq!((fixture.calls("gemini-api"), fixture.calls("vertex")), (4, 1));
}

#[test]
fn no_time_is_left_for_another_upstream_after_the_clients_deadline() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    let late = Reply::status(503, "{}").after(Duration::from_secs(5));
    fixture.answers("gemini-api", late);
    let answer = fixture.ask(with(generate("hi"), "x-server-timeout", "5"));
    assert_ne!(answer.status, 200);
    assert_eq!(fixture.calls("vertex"), 0);
}

#[test]
fn the_next_upstream_is_tried_while_the_open_breaker_of_the_first_saves_its_calls() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", Reply::unreachable(SendError::Connect("refused".to_owned())));
    for number in 0..20 {
        let answer = fixture.ask(generate(&format!("{number}")));
        assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    }
    assert!(fixture.calls("gemini-api") < 20, "{}", fixture.calls("gemini-api"));
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=CIRCUIT_OPEN");
}

#[test]
fn a_stream_that_breaks_after_its_first_byte_moves_nowhere() {
    let fixture = Fixture::new(&["code-assist", "gemini-api"]);
    let event = code_assist_testkit::google::event("Hel");
    let reply = code_assist_testkit::google::sse(&[&event]).then([Piece::Break("cut".to_owned())]);
    fixture.answers("code-assist", reply);
    let answer = fixture.ask(stream());
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("UPSTREAM_DISCONNECTED"), "{}", answer.text());
    assert_eq!(fixture.calls("gemini-api"), 0);
}

#[test]
fn an_account_without_credentials_or_project_is_left_for_the_next_one() {
    let fixture = Fixture::with(&["code-assist", "gemini-api"], |settings| {
        settings.failover = on();
        settings.upstreams[0].account =
            code_assist_testkit::subject::settings(&[]).upstreams.remove(0).account;
    });
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
    assert_eq!(answer.header("x-proxy-failover"), "code-assist;reason=CREDENTIALS_MISSING");
}

#[test]
fn an_error_in_place_of_the_first_event_moves_a_stream() {
    let stated =
        r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    for primary in ["code-assist", "gemini-api"] {
        let fixture = Fixture::new(&[primary, "vertex"]);
        let sse = format!("data: {stated}\r\n\r\n");
        fixture.answers(primary, Reply::ok(sse).with_header("content-type", "text/event-stream"));
        let answer = fixture.ask(stream());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-proxy-upstream"), "vertex");
        assert_eq!(answer.header("x-proxy-failover"), format!("{primary};reason=UNAVAILABLE"));
    }
}

#[test]
fn embeddings_move_among_the_upstreams_that_have_them() {
    let fixture = Fixture::new(&["code-assist", "gemini-api", "second"]);
    fixture.script("gemini-api", |_| Some(Reply::status(503, "{}")));
    fixture.script("second", |_| Some(Reply::ok(r#"{"embedding":{"values":[0.5]}}"#)));
    let body = r#"{"content":{"parts":[{"text":"hi"}]}}"#;
    let answer = fixture.ask(code_assist_testkit::client::post(
        "/v1beta/models/gemini-embedding-001:embedContent",
        body,
    ));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-proxy-upstream"), "second");
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=UNAVAILABLE");
    // An upstream that does not offer the method has not failed.
    assert_eq!(fixture.calls("code-assist"), 0);
}

#[test]
fn what_creates_something_never_moves() {
    let fixture = Fixture::new(&["gemini-api", "second"]);
    fixture.script("gemini-api", |_| Some(Reply::status(503, "{}")));
    for path in [
        "/v1beta/cachedContents",
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        "/v1beta/models/veo-3:predictLongRunning",
    ] {
        let answer = fixture.ask(code_assist_testkit::client::post(path, "{}"));
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
    }
    let received = fixture.script.all_received();
    assert!(received.iter().all(|it| crate::fixture::host_of(it) == "gemini-api"));
    assert!(received.len() >= 3);
}
