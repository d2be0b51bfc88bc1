//! What an upstream is known to be unable to do, by the scripted clock.

use code_assist_testkit::client::{all, ask};
use code_assist_testkit::script::Reply;

use crate::fixture::{Fixture, at, count, generate, google_error, on, quota};

const MINUTE: u64 = 60;

fn denied() -> Reply {
    google_error(403, "PERMISSION_DENIED", "No.", "SERVICE_DISABLED")
}

fn not_found() -> Reply {
    google_error(404, "NOT_FOUND", "models/x is not found for API version v1beta", "")
}

fn other_model() -> http::Request<code_assist_core::Payload> {
    code_assist_testkit::client::post(
        "/v1beta/models/gemini-2.5-pro:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
    )
}

#[test]
fn a_refused_account_gets_no_call_for_five_minutes_and_then_one_probe() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", denied());
    fixture.generate();
    for request in [generate("hi"), other_model(), count()] {
        let answer = fixture.ask(request);
        assert_eq!(answer.header("x-proxy-upstream"), "vertex");
        assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=SERVICE_DISABLED");
    }
    assert_eq!(fixture.calls("gemini-api"), 1);
    fixture.wait(5 * MINUTE);
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=SERVICE_DISABLED");
    fixture.generate();
    assert_eq!(fixture.calls("gemini-api"), 2);
    fixture.recovers("gemini-api").wait(5 * MINUTE);
    for _ in 0..2 {
        let answer = fixture.generate();
        assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
        assert_eq!(answer.header("x-proxy-failover"), "");
    }
}

#[test]
fn of_many_requests_one_is_the_probe() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", denied());
    fixture.generate();
    fixture.wait(5 * MINUTE);
    let asking =
        |number: i32| ask(&fixture.proxy, &fixture.script, generate(&format!("question {number}")));
    let answers = fixture.script.run(&fixture.proxy, all((0..8).map(asking).collect()));
    assert!(answers.iter().all(|it| it.header("x-proxy-upstream") == "vertex"));
    assert_eq!(fixture.calls("gemini-api"), 2);
}

#[test]
fn a_model_that_is_not_found_is_asked_for_elsewhere_for_an_hour() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.script("gemini-api", |request| {
        request.line.contains("models/gemini-2.5-flash:").then(not_found)
    });
    fixture.generate();
    let answer = fixture.wait(59 * MINUTE).generate();
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=NOT_FOUND");
    assert_eq!(fixture.calls("gemini-api"), 1);
    assert_eq!(fixture.ask(other_model()).header("x-proxy-upstream"), "gemini-api");
    fixture.recovers("gemini-api").wait(MINUTE);
    assert_eq!(fixture.generate().header("x-proxy-upstream"), "gemini-api");
}

#[test]
fn an_exhausted_quota_of_a_model_is_asked_for_elsewhere_until_its_reset() {
    for primary in ["code-assist", "gemini-api"] {
        let fixture = Fixture::new(&[primary, "vertex"]);
        fixture.answers(primary, quota());
        for _ in 0..3 {
            let answer = fixture.generate();
            assert_eq!(
                answer.header("x-proxy-failover"),
                format!("{primary};reason=QUOTA_EXHAUSTED")
            );
        }
        assert_eq!(fixture.calls(primary), 1, "{primary}");
        fixture.recovers(primary);
        assert_eq!(fixture.ask(other_model()).header("x-proxy-upstream"), primary);
        fixture.wait(120 * MINUTE);
        assert_eq!(fixture.generate().header("x-proxy-upstream"), primary);
    }
}

#[test]
fn a_spending_cap_concerns_every_model() {
    let fixture = Fixture::with(&["gemini-api", "vertex"], |settings| {
        settings.failover = on().and(code_assist_core::settings::FailoverReason::Billing);
    });
    let capped = "Your project has exceeded its spending cap.";
    fixture.answers("gemini-api", google_error(429, "RESOURCE_EXHAUSTED", capped, ""));
    fixture.generate();
    let answer = fixture.ask(other_model());
    assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    assert_eq!(fixture.calls("gemini-api"), 1);
}

#[test]
fn a_remembered_error_is_the_primarys_if_all_fail() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", denied());
    fixture.generate();
    fixture.answers("vertex", Reply::status(503, "{}"));
    let answer = fixture.generate();
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("SERVICE_DISABLED"), "{}", answer.text());
    assert_eq!(answer.header("x-proxy-tried"), "gemini-api;SERVICE_DISABLED, vertex;UNAVAILABLE");
    assert_eq!(fixture.calls("gemini-api"), 1);
}

#[test]
fn without_failover_and_with_a_named_upstream_a_remembered_failure_moves_nothing() {
    let off = code_assist_core::settings::Failover::OFF;
    let fixture = Fixture::with(&["gemini-api", "vertex"], |settings| settings.failover = off);
    fixture.answers("gemini-api", denied());
    for _ in 0..3 {
        assert_eq!(fixture.generate().header("x-proxy-upstream"), "gemini-api");
    }
    assert_eq!(fixture.calls("gemini-api"), 3);

    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", denied());
    fixture.generate();
    let answer = fixture.ask(at(generate("hi"), "gemini-api"));
    assert_eq!((answer.status.as_u16(), fixture.calls("gemini-api")), (403, 2));
}

#[test]
fn a_changed_credential_ends_the_memory_of_its_account() {
    // Of the same account, and of another one.
    for refresh in ["refresh-1", "refresh-2"] {
        let fixture = Fixture::with(&["code-assist", "gemini-api"], |settings| {
            settings.failover = on();
            let own = [("GEMINI_PROJECT_ID", "p")];
            let file = code_assist_testkit::subject::settings(&own).upstreams.remove(0);
            settings.upstreams[0].account = file.account;
        });
        let login = code_assist_testkit::subject::login;
        fixture.script.write_login(login("ya29.first", "refresh-1", 3000));
        fixture.script.run(&fixture.proxy, fixture.proxy.tick(&fixture.script));
        fixture.answers("code-assist", denied());
        fixture.generate();
        fixture.recovers("code-assist");
        assert_eq!(fixture.generate().header("x-proxy-upstream"), "gemini-api");
        fixture.script.write_login(login("ya29.second", refresh, 3600));
        fixture.wait(2);
        fixture.script.run(&fixture.proxy, fixture.proxy.tick(&fixture.script));
        assert_eq!(fixture.generate().header("x-proxy-upstream"), "code-assist", "{refresh}");
    }
}

#[test]
fn a_reload_of_the_quotas_asks_every_upstream_again() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", denied());
    fixture.generate();
    fixture.recovers("gemini-api");
    fixture.proxy.retry_quotas(&fixture.script);
    assert_eq!(fixture.generate().header("x-proxy-upstream"), "gemini-api");
}
