use code_assist_core::settings::FailoverModel;
use code_assist_testkit::script::Reply;

use crate::fixture::{Fixture, at, count, generate, google_error, on, quota, stream};

#[test]
fn an_answer_of_another_upstream_says_which_one_has_failed_and_why() {
    let fixture = Fixture::new(&["code-assist", "gemini-api"]);
    fixture.answers("code-assist", quota());
    for request in [generate("hi"), stream()] {
        let answer = fixture.ask(request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("gemini-api"), "{}", answer.text());
        assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
        assert_eq!(answer.header("x-proxy-failover"), "code-assist;reason=QUOTA_EXHAUSTED");
        assert_eq!(answer.header("x-proxy-tried"), "");
    }
}

#[test]
fn an_answer_of_the_primary_has_its_name_and_nothing_of_a_failover() {
    let fixture = Fixture::new(&["code-assist", "gemini-api"]);
    for request in [generate("hi"), stream(), count()] {
        let answer = fixture.ask(request);
        assert_eq!(answer.header("x-proxy-upstream"), "code-assist");
        assert_eq!(answer.header("x-proxy-failover"), "");
    }
    assert_eq!(fixture.calls("gemini-api"), 0);
}

#[test]
fn if_all_fail_the_primarys_error_is_the_answer_and_all_are_named() {
    let fixture = Fixture::new(&["code-assist", "gemini-api", "vertex"]);
    fixture.answers("code-assist", quota());
    fixture.answers("gemini-api", Reply::status(503, "{}"));
    fixture.answers("vertex", google_error(403, "PERMISSION_DENIED", "no", "SERVICE_DISABLED"));
    let answer = fixture.generate();
    assert_eq!(answer.status, 429);
    assert!(answer.text().contains("You are out of quota"), "{}", answer.text());
    assert_eq!(answer.header("x-proxy-upstream"), "code-assist");
    assert_eq!(answer.header("x-proxy-failover"), "");
    assert_eq!(
        answer.header("x-proxy-tried"),
        "code-assist;QUOTA_EXHAUSTED, gemini-api;UNAVAILABLE, vertex;SERVICE_DISABLED"
    );
}

#[test]
fn the_header_names_the_upstream_that_failed_last() {
    let fixture = Fixture::new(&["code-assist", "gemini-api", "vertex"]);
    fixture.answers("code-assist", quota());
    fixture.answers("gemini-api", Reply::status(503, "{}"));
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=UNAVAILABLE");
}

#[test]
fn what_the_second_upstream_finds_wrong_with_a_request_is_the_answer() {
    let fixture = Fixture::new(&["code-assist", "gemini-api"]);
    fixture.answers("code-assist", quota());
    fixture.answers("gemini-api", google_error(400, "INVALID_ARGUMENT", "Bad schema.", ""));
    let answer = fixture.generate();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("Bad schema."), "{}", answer.text());
    assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
    assert_eq!(answer.header("x-proxy-failover"), "code-assist;reason=QUOTA_EXHAUSTED");
}

#[test]
fn a_failure_of_the_second_upstream_that_moves_nothing_leaves_the_primarys_error() {
    let fixture = Fixture::new(&["code-assist", "gemini-api", "vertex"]);
    fixture.answers("code-assist", quota());
    fixture.answers("gemini-api", Reply::status(504, "{}"));
    let answer = fixture.generate();
    assert_eq!(answer.status, 429);
    assert_eq!(
        answer.header("x-proxy-tried"),
        "code-assist;QUOTA_EXHAUSTED, gemini-api;DEADLINE_EXCEEDED"
    );
    assert_eq!(fixture.calls("vertex"), 0);
}

#[test]
fn a_request_that_names_its_upstream_stays_there() {
    let fixture = Fixture::new(&["code-assist", "gemini-api"]);
    fixture.answers("code-assist", quota());
    let answer = fixture.ask(at(generate("hi"), "code-assist"));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("x-proxy-tried"), "");
    assert_eq!(answer.header("x-proxy-upstream"), "code-assist");
    assert_eq!(fixture.calls("gemini-api"), 0);
    // The header is the proxy's alone.
    fixture.ask(at(generate("hi"), "gemini-api"));
    let received = fixture.script.received(":generateContent");
    assert!(received.iter().all(|it| !it.headers.contains_key("x-proxy-upstream")));
}

#[test]
fn the_upstream_that_stands_in_gets_the_model_that_the_operator_names() {
    let model = FailoverModel {
        model: "gemini-2.5-flash".to_owned(),
        upstream: "gemini-api".to_owned(),
        name: "gemini-3.5-flash".to_owned(),
    };
    let fixture = Fixture::with(&["code-assist", "gemini-api", "vertex"], |settings| {
        (settings.failover, settings.failover_models) = (on(), vec![model]);
    });
    fixture.answers("code-assist", quota());
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-model"), "gemini-3.5-flash");
    assert_eq!(fixture.script.received("models/gemini-3.5-flash:generateContent").len(), 1);
    // Without an entry the name stays.
    fixture.answers("gemini-api", Reply::status(503, "{}"));
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    assert_eq!(answer.header("x-proxy-model"), "");
    assert_eq!(fixture.script.received("models/gemini-2.5-flash:generateContent").len(), 1);
}
