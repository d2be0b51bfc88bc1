//! What happens to one account has no effect on another, both ways round.

use std::time::Duration;

use code_assist_testkit::script::Reply;

use crate::fixture::{COUNT, Fixture, GENERATE, OPERATOR, STREAM, error, of};

/// Each account that may fail, and the keys whose requests must not notice.
const OTHERS: [(&str, [&str; 2]); 3] =
    [("ada", ["ben", "eve"]), ("ben", ["ada", "eve"]), (OPERATOR, ["ada", "ben"])];

/// The key whose requests use an account.
fn key_of(account: &str) -> &str {
    if account == OPERATOR { "eve" } else { account }
}

#[test]
fn each_request_goes_out_with_the_token_and_the_project_of_its_key() {
    let fixture = Fixture::new();
    for path in [GENERATE, STREAM, COUNT] {
        for id in ["ada", "ben", "eve"] {
            let answer = fixture.ask(of(id, path));
            assert_eq!(answer.status, 200, "{id} {path}: {}", answer.text());
        }
    }
    assert_eq!(fixture.accounts()[..3], ["ada", "ben", OPERATOR]);
    assert_eq!(fixture.accounts().len(), 9);
    fixture.nothing_was_mixed();
}

#[test]
fn a_rejected_login_is_the_error_of_its_own_requests_only() {
    for (broken, others) in OTHERS {
        let fixture = Fixture::new();
        fixture.script(broken, |request| {
            let refused =
                r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#;
            request.is("/token").then(|| Reply::status(400, refused))
        });
        fixture.tick();
        for _ in 0..2 {
            let refused = fixture.generate(key_of(broken));
            assert_eq!(
                (refused.status.as_u16(), &*refused.reason()),
                (503, "CREDENTIALS_REJECTED")
            );
            let names_own_login = refused.text().contains("your own Google login");
            assert_eq!(names_own_login, broken != OPERATOR, "{}", refused.text());
            for id in others {
                assert_eq!(fixture.generate(id).status, 200, "{id}, while {broken} is broken");
            }
        }
        fixture.nothing_was_mixed();
    }
}

#[test]
fn a_used_up_quota_is_remembered_for_its_own_account_only() {
    for (empty, others) in OTHERS {
        let fixture = Fixture::new();
        fixture.script(empty, |request| {
            let is_call = request.is(":generateContent");
            is_call.then(|| error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXHAUSTED"))
        });
        assert_eq!(fixture.generate(key_of(empty)).status, 429);
        let asked = fixture.accounts().len();
        assert_eq!(fixture.generate(key_of(empty)).status, 429);
        assert_eq!(fixture.accounts().len(), asked, "the second answer is from memory");
        for id in others {
            assert_eq!(fixture.generate(id).status, 200, "{id}, while {empty} has no quota");
        }
        fixture.nothing_was_mixed();
    }
}

#[test]
fn a_slow_refresh_makes_only_its_own_requests_wait() {
    for (slow, others) in OTHERS {
        let fixture = Fixture::new();
        fixture.script(slow, |request| {
            let token = r#"{"access_token":"never-valid","expires_in":3599}"#;
            request.is("/token").then(|| Reply::ok(token).after(Duration::from_secs(8)))
        });
        let requests = [key_of(slow), others[0], others[1]].map(|id| of(id, GENERATE));
        let answers = fixture.together(requests.into());
        assert!(answers[0].1 >= Duration::from_secs(8), "{slow} waited {:?}", answers[0].1);
        for (answer, took) in &answers[1..] {
            assert_eq!(answer.status, 200);
            assert!(*took < Duration::from_secs(1), "{took:?}, while {slow} is slow");
        }
        fixture.nothing_was_mixed();
    }
}

#[test]
fn an_open_breaker_stops_the_requests_of_its_own_account_only() {
    for (failing, others) in OTHERS {
        let fixture = Fixture::new();
        fixture.script(failing, |request| {
            request.line.contains("enerateContent").then(|| Reply::status(502, "<html>bad gateway"))
        });
        for _ in 0..8 {
            assert!(fixture.generate(key_of(failing)).status.is_server_error());
        }
        let resting = fixture.generate(key_of(failing));
        assert_eq!(resting.reason(), "CIRCUIT_OPEN", "{}", resting.text());
        for id in others {
            assert_eq!(fixture.generate(id).status, 200, "{id}, while {failing} rests");
        }
        fixture.nothing_was_mixed();
    }
}

#[test]
fn a_slow_refresh_in_the_regular_work_delays_no_other_login() {
    for slow in ["ada", OPERATOR] {
        let fixture = Fixture::new();
        fixture.script(slow, |request| {
            let slow = Reply::status(503, "").after(Duration::from_secs(9));
            request.is("/token").then_some(slow)
        });
        fixture.tick();
        let asked = fixture.script.received("/token");
        let of_ben =
            asked.iter().find(|it| it.body.contains("ben")).expect("ben's token is asked for");
        assert_eq!(of_ben.at, asked[0].at, "while {slow} is slow");
    }
}

#[test]
fn a_broken_login_of_a_key_makes_neither_health_nor_readiness_worse() {
    let fixture = Fixture::new();
    fixture.script("ada", |request| {
        let is_token = request.is("/token");
        is_token.then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    });
    fixture.script("ben", |_| Some(Reply::status(502, "<html>bad gateway")));
    fixture.tick();
    assert_eq!(fixture.generate("eve").status, 200);
    for _ in 0..8 {
        assert!(fixture.generate("ada").status.is_server_error());
        assert!(fixture.generate("ben").status.is_server_error());
    }
    assert_eq!(fixture.json("/ready").0, 200);
    let (status, health) = fixture.json("/health");
    assert_eq!((status, health["status"].as_str()), (200, Some("healthy")), "{health}");
    assert_eq!(health["upstream_status"], "healthy", "{health}");
    assert_eq!(health["metrics"]["circuit_breaker_state"], "closed", "{health}");
    assert_eq!(health["metrics"]["cache_hit_rate"], 1.0, "{health}");
}

#[test]
fn a_working_login_of_a_key_makes_a_proxy_ready_whose_operator_has_none() {
    let fixture = Fixture::new();
    fixture.script.write_file(crate::fixture::OPERATORS_FILE, "{}");
    fixture.script("ben", |request| {
        let is_token = request.is("/token");
        is_token.then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    });
    let (status, not_yet) = fixture.json("/ready");
    assert_eq!((status, &not_yet["reasons"][0]), (503, &"credentials_not_tried".into()));
    assert_eq!(fixture.json("/ready").0, 200, "the login of ada works");
    assert_eq!(fixture.generate("ada").status, 200);
    assert_eq!(fixture.generate("eve").status, 503);
}

#[test]
fn the_state_of_each_login_is_shown_to_the_operator_without_secrets() {
    let fixture = Fixture::with(&[("PROXY_API_KEYS", "key-of-the-operator")], |settings| {
        use crate::fixture::{key, login};
        settings.keys = vec![key("ada", Some(login("ada"))), key("ben", Some(login("ben")))];
    });
    fixture.script("ada", |request| {
        let is_token = request.is("/token");
        is_token.then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    });
    fixture.tick();
    let (_, detailed) = fixture.json("/health/detailed");
    let logins = &detailed["checks"]["key_logins"];
    assert_eq!(logins[0]["key"], "ada");
    assert_eq!(logins[0]["credentials"]["status"], "own_credentials_rejected");
    assert_eq!(logins[1]["credentials"]["status"], "ok");
    assert_eq!(logins[1]["token"]["status"], "alive");
    let metrics = fixture.ask(crate::fixture::of_operator("/metrics")).text();
    for line in [
        "code_assist_proxy_key_login_ok{key=\"ada\"} 0",
        "code_assist_proxy_key_login_ok{key=\"ben\"} 1",
        "code_assist_proxy_key_login_refreshes_total{key=\"ada\",result=\"failed\"} 1",
        "code_assist_proxy_key_login_refreshes_total{key=\"ben\",result=\"ok\"} 1",
        "code_assist_proxy_token_refreshes_total{result=\"failed\"} 0",
        "code_assist_proxy_credentials_ok 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    for shown in [detailed.to_string(), metrics] {
        assert!(!shown.contains("1//") && !shown.contains("ya29."), "{shown}");
    }
}
