//! Equal questions, shared and kept answers.

use code_assist_testkit::client::{Answer, all, impatient, later, post, with};
use code_assist_testkit::script::{Received, Reply};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, PRO, STREAM, ZERO, error, in_turn, ms, together,
};

/// Upstream thinks for a second, and no two answers are equal.
fn thoughtful() -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    let mut serial = 0;
    move |request| {
        serial += 1;
        let answer = if request.is(":countTokens") {
            format!(r#"{{"totalTokens":{serial}}}"#)
        } else {
            format!(
                r#"{{"response":{{"serial":{serial},"usageMetadata":{{"promptTokenCount":10}}}}}}"#
            )
        };
        (!request.line.contains("stream")).then(|| Reply::ok(answer).after(ms(1000)))
    }
}

fn x_caches(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.header("x-cache")).collect()
}

fn x_cache(fixture: &Fixture, request: http::Request<code_assist_core::Payload>) -> String {
    fixture.ask(request).header("x-cache").to_owned()
}

fn results(fixture: &Fixture) -> [f64; 4] {
    ["miss", "hit", "coalesced", "bypass"]
        .map(|result| fixture.metric(&format!("cache_requests_total{{result=\"{result}\"}}")))
}

#[test]
fn twenty_equal_questions_are_asked_once_and_answered_alike() {
    for path in [GENERATE, COUNT] {
        let fixture = Fixture::new(&[], thoughtful());
        let asked = (0..20).map(|_| fixture.asking(post(path, ZERO))).collect();
        let answers = fixture.run(all(asked));
        assert_eq!(fixture.calls().len(), 1);
        let mut expected = vec!["COALESCED"; 20];
        expected[0] = "MISS";
        assert_eq!(x_caches(&answers), expected);
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), &answer.pieces), (200, &answers[0].pieces));
            assert_eq!(answer.header("content-type"), answers[0].header("content-type"));
        }
        let ids: std::collections::BTreeSet<_> =
            answers.iter().map(|answer| answer.header("x-request-id")).collect();
        assert_eq!(ids.len(), 20, "an id is the request's own");
        assert_eq!(results(&fixture), [1.0, 0.0, 19.0, 0.0]);
        if path == GENERATE {
            let prompt = r#"tokens_total{model="gemini-2.5-flash",kind="prompt"}"#;
            assert_eq!(fixture.metric(prompt), 10.0, "tokens are counted once");
        }
    }
}

#[test]
fn followers_have_their_answer_within_a_blink_of_the_leader() {
    let fixture = Fixture::new(&[], thoughtful());
    let answers = fixture.run(all((0..20).map(|_| fixture.timed(post(GENERATE, ZERO))).collect()));
    assert!(answers.iter().all(|(at, _)| (1000..=1050).contains(at)), "{answers:?}");
}

#[test]
fn sampled_requests_and_streams_are_left_alone() {
    let nearly =
        r#"{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0.01}}"#;
    let requests = [(GENERATE, HELLO), (GENERATE, nearly), (STREAM, HELLO), (STREAM, ZERO)];
    for (path, body) in requests {
        let fixture = Fixture::new(&[], thoughtful());
        let mut answers =
            fixture.run(all((0..5).map(|_| fixture.asking(post(path, body))).collect()));
        answers.push(fixture.ask(post(path, body)));
        assert_eq!(x_caches(&answers), ["BYPASS"; 6], "{path} {body}");
        assert_eq!(fixture.calls().len(), 6);
        if path == GENERATE {
            let texts: std::collections::BTreeSet<_> = answers.iter().map(Answer::text).collect();
            assert_eq!(texts.len(), 6, "two questions have two answers");
        }
    }
    let fixture = Fixture::new(&[], |_| None);
    let keyed = || with(post(STREAM, HELLO), "idempotency-key", "k");
    fixture.run(all((0..3).map(|_| fixture.asking(keyed())).collect()));
    assert_eq!(fixture.calls().len(), 3, "not even a key makes a stream one for sharing");
}

#[test]
fn within_the_window_an_answer_is_shared_even_when_none_are_kept() {
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "0"), ("REQUEST_DEDUP_WINDOW_MS", "500")];
    let fixture = Fixture::new(&settings, thoughtful());
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "MISS");
    fixture.script.pass(ms(499));
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "COALESCED");
    fixture.script.pass(ms(1));
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "MISS");
    assert_eq!(fixture.calls().len(), 2);
}

#[test]
fn an_answer_is_kept_for_its_time_and_no_longer() {
    let fixture = Fixture::new(&[("RESPONSE_CACHE_TTL_SECONDS", "300")], thoughtful());
    let first = fixture.ask(post(GENERATE, ZERO));
    fixture.script.pass(ms(299_999));
    let kept = fixture.ask(post(GENERATE, ZERO));
    assert_eq!((kept.header("x-cache"), &kept.pieces), ("HIT", &first.pieces));
    fixture.script.pass(ms(1));
    let anew = fixture.ask(post(GENERATE, ZERO));
    assert_eq!(anew.header("x-cache"), "MISS");
    assert_ne!(anew.pieces, first.pieces);
    assert_eq!(results(&fixture), [2.0, 1.0, 0.0, 0.0]);
}

#[test]
fn with_window_and_time_to_live_at_zero_nothing_is_shared() {
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "0"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let fixture = Fixture::new(&settings, thoughtful());
    let answers = fixture.run(all((0..3).map(|_| fixture.asking(post(GENERATE, ZERO))).collect()));
    assert_eq!(x_caches(&answers), ["BYPASS"; 3]);
    assert_eq!(fixture.calls().len(), 3);
}

#[test]
fn with_no_window_answers_are_kept_but_nobody_waits_for_another() {
    let fixture = Fixture::new(&[("REQUEST_DEDUP_WINDOW_MS", "0")], thoughtful());
    fixture.run(all((0..3).map(|_| fixture.asking(post(GENERATE, ZERO))).collect()));
    assert_eq!(fixture.calls(), [0, 0, 0]);
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "HIT");
}

#[test]
fn no_cache_asks_anew_and_keeps_and_no_store_leaves_no_trace() {
    let saying = |what| with(post(GENERATE, ZERO), "cache-control", what);
    let fixture = Fixture::new(&[], thoughtful());
    let first = fixture.ask(saying("no-store"));
    assert_eq!(first.header("x-cache"), "BYPASS");
    let second = fixture.ask(post(GENERATE, ZERO));
    assert_eq!(second.header("x-cache"), "MISS", "the first one was not kept");
    let third = fixture.ask(saying("no-cache"));
    assert_eq!(third.header("x-cache"), "BYPASS");
    assert_ne!(third.pieces, second.pieces);
    let fourth = fixture.ask(post(GENERATE, ZERO));
    assert_eq!((fourth.header("x-cache"), &fourth.pieces), ("HIT", &third.pieces));
    let fifth = fixture.ask(saying("no-store"));
    let sixth = fixture.ask(post(GENERATE, ZERO));
    assert_ne!(fifth.pieces, fourth.pieces);
    assert_eq!(sixth.pieces, fourth.pieces, "what was kept stays");
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn an_idempotency_key_shares_its_requests_answer_and_stands_for_no_other() {
    let keyed = |body: &str| with(post(GENERATE, body), "idempotency-key", "order-66");
    let fixture = Fixture::new(&[], thoughtful());
    let answers = fixture.run(all(vec![
        fixture.asking(keyed(HELLO)),
        fixture.asking(keyed(HELLO)),
        fixture.asking(keyed(ZERO)),
    ]));
    assert_eq!(x_caches(&answers)[..2], ["MISS", "COALESCED"]);
    assert_eq!(answers[0].pieces, answers[1].pieces);
    let conflict = |answer: &Answer| {
        let value: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((answer.status.as_u16(), &value["error"]["status"]), (409, &"ABORTED".into()));
    };
    conflict(&answers[2]);
    assert_eq!(x_cache(&fixture, keyed(HELLO)), "HIT");
    conflict(&fixture.ask(keyed(ZERO)));
    conflict(&fixture.ask(with(post(PRO, HELLO), "idempotency-key", "order-66")));
    let other = with(post(GENERATE, HELLO), "idempotency-key", "order-67");
    assert_eq!(x_cache(&fixture, other), "MISS");
    assert_eq!(fixture.calls().len(), 2);
}

#[test]
fn a_key_whose_request_failed_may_be_used_again() {
    let keyed = |body: &str| with(post(GENERATE, body), "idempotency-key", "order-66");
    let fixture = Fixture::new(&[], in_turn([error(400, "")]));
    assert_eq!(fixture.ask(keyed("{}")).status, 400);
    assert_eq!(fixture.ask(keyed(HELLO)).status, 200);
}

#[test]
fn clients_with_different_keys_never_share() {
    let keys = ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob");
    for idempotency_key in ["", "same"] {
        let fixture = Fixture::new(&[keys], thoughtful());
        let of = |key: &str| {
            let request = with(post(GENERATE, ZERO), "x-goog-api-key", key);
            fixture.asking(with(request, "idempotency-key", idempotency_key))
        };
        let answers = fixture.run(all(vec![of("key-of-ann"), of("key-of-bob"), of("key-of-ann")]));
        assert_eq!(x_caches(&answers), ["MISS", "MISS", "COALESCED"]);
        assert_ne!(answers[0].pieces, answers[1].pieces);
        assert_eq!(answers[0].pieces, answers[2].pieces);
    }
}

#[test]
fn another_model_method_or_a_single_byte_make_another_question() {
    let fixture = Fixture::new(&[], thoughtful());
    let spaced = ZERO.replace(r#"{"contents""#, r#"{ "contents""#);
    let asked = [(GENERATE, ZERO), (PRO, ZERO), (COUNT, ZERO), (GENERATE, spaced.as_str())];
    for (path, body) in asked {
        assert_eq!(x_cache(&fixture, post(path, body)), "MISS", "{path} {body}");
    }
    let alias = "/v1/models/gemini-1.5-flash:generateContent";
    assert_eq!(x_cache(&fixture, post(alias, ZERO)), "HIT", "it is the resolved model that counts");
}

#[test]
fn a_leader_whose_client_leaves_does_not_hurt_its_followers() {
    let fixture = Fixture::new(&[], thoughtful());
    let answers = fixture.run(all(together([
        Box::pin(async {
            let asking = fixture.asking(post(GENERATE, ZERO));
            impatient(&fixture.script, ms(600), asking).await
        }),
        Box::pin(async { Some(fixture.asking(post(GENERATE, ZERO)).await) }),
        Box::pin(async {
            Some(later(&fixture.script, ms(100), fixture.asking(post(GENERATE, ZERO))).await)
        }),
        Box::pin(async {
            Some(later(&fixture.script, ms(800), fixture.asking(post(GENERATE, ZERO))).await)
        }),
    ])));
    assert!(answers[0].is_none());
    let followers: Vec<Answer> = answers.into_iter().flatten().collect();
    assert_eq!(followers.len(), 3);
    assert!(followers.iter().all(|answer| answer.pieces == followers[0].pieces));
    let mut results = x_caches(&followers);
    results.sort_unstable();
    assert_eq!(results, ["COALESCED", "COALESCED", "MISS"]);
    let calls = fixture.calls();
    assert_eq!(calls.len(), 2);
    assert!((600..=650).contains(&calls[1]), "{calls:?}");
}

#[test]
fn a_failing_leader_does_not_make_its_followers_fail_one_after_the_other() {
    let fixture =
        Fixture::new(&[("MAX_RETRY_ATTEMPTS", "0")], |_| Some(error(400, "").after(ms(1000))));
    let answers = fixture.run(all((0..20).map(|_| fixture.timed(post(GENERATE, ZERO))).collect()));
    assert_eq!(fixture.calls().len(), 20, "an error is nobody else's");
    assert!(answers.iter().all(|(at, answer)| answer.status == 400 && *at <= 2050), "{answers:?}");
    assert!(answers[1..].iter().all(|(_, answer)| answer.header("x-cache") == "MISS"));
}

#[test]
fn errors_are_not_kept() {
    let failures =
        [error(400, ""), error(429, "").with_header("retry-after", "100"), Reply::ok("no JSON")];
    for failure in failures {
        let fixture = Fixture::new(&[], in_turn([failure]));
        assert_ne!(fixture.ask(post(GENERATE, ZERO)).status, 200);
        let second = fixture.ask(post(GENERATE, ZERO));
        assert_eq!((second.status.as_u16(), second.header("x-cache")), (200, "MISS"));
    }
}

#[test]
fn what_is_kept_stays_within_the_byte_budget() {
    let fixture = Fixture::new(&[("RESPONSE_CACHE_MAX_BYTES", "100000")], |request| {
        let size = if request.body.contains("question big") { 13_000 } else { 9000 };
        Some(Reply::ok(format!(r#"{{"response":{{"text":"{}"}}}}"#, "x".repeat(size))))
    });
    let ask = |n: &str| {
        let body = format!(
            r#"{{"contents":[{{"parts":[{{"text":"question {n}."}}]}}],"generationConfig":{{"temperature":0}}}}"#
        );
        x_cache(&fixture, post(GENERATE, &body))
    };
    for n in 0..15 {
        assert_eq!(ask(&n.to_string()), "MISS");
    }
    let kept = (0..15).rev().take_while(|n| ask(&n.to_string()) == "HIT").count();
    assert!((9..=10).contains(&kept), "{kept} of 9 kB within 100 kB");
    assert_eq!([ask("big"), ask("big")], ["MISS", "MISS"], "too large a share for one");
}

#[test]
fn a_follower_that_leaves_takes_nothing_from_the_others() {
    let fixture = Fixture::new(&[], thoughtful());
    let patient = |patience| {
        let asking = fixture.asking(post(GENERATE, ZERO));
        impatient(&fixture.script, ms(patience), asking)
    };
    let answers = fixture.run(all(vec![patient(9000), patient(100), patient(9000)]));
    let served: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!((served, fixture.calls().len()), (vec![true, false, true], 1));
}

#[test]
fn followers_hold_no_places_while_they_wait() {
    let fixture = Fixture::new(&[], thoughtful());
    fixture.script.places(2);
    let mut tasks = together([Box::pin(async {
        later(&fixture.script, ms(10), fixture.timed(post(PRO, HELLO))).await
    })]);
    for _ in 0..20 {
        tasks.push(Box::pin(fixture.timed(post(GENERATE, ZERO))));
    }
    let answers = fixture.run(all(tasks));
    assert_eq!(answers[0].0, 1010, "twenty equal questions take one place");
}
