//! The response cache: answers that equal requests share, and answers that are kept.

use code_assist_testkit::client::{Answer, all, impatient, later, post, with};
use code_assist_testkit::script::{Received, Reply};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, PRO, STREAM, ZERO, error, in_turn, ms, together,
};

/// Upstream answers after a second, and no two answers are equal.
fn slow_and_distinct() -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    let mut serial = 0;
    move |request| {
        serial += 1;
        let answer = if request.is(":countTokens") {
            format!(r#"{{"totalTokens":{serial}}}"#)
        } else {
            format!(
                r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"text":"{serial}"}}]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":10}}}}}}"#
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
fn of_twenty_equal_requests_one_goes_upstream_and_all_get_its_answer() {
    for path in [GENERATE, COUNT] {
        let fixture = Fixture::new(&[], slow_and_distinct());
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
        assert_eq!(ids.len(), 20, "each request has its own id");
        assert_eq!(results(&fixture), [1.0, 0.0, 19.0, 0.0]);
        if path == GENERATE {
            let prompt = r#"tokens_total{model="gemini-2.5-flash",kind="prompt"}"#;
            assert_eq!(fixture.metric(prompt), 10.0, "tokens are counted once");
        }
    }
}

#[test]
fn waiters_get_the_leaders_answer_within_fifty_milliseconds() {
    let fixture = Fixture::new(&[], slow_and_distinct());
    let answers = fixture.run(all((0..20).map(|_| fixture.timed(post(GENERATE, ZERO))).collect()));
    assert!(answers.iter().all(|(at, _)| (1000..=1050).contains(at)), "{answers:?}");
}

#[test]
fn sampled_requests_and_streams_bypass_the_cache() {
    let nearly =
        r#"{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0.01}}"#;
    let requests = [(GENERATE, HELLO), (GENERATE, nearly), (STREAM, HELLO), (STREAM, ZERO)];
    for (path, body) in requests {
        let fixture = Fixture::new(&[], slow_and_distinct());
        let mut answers =
            fixture.run(all((0..5).map(|_| fixture.asking(post(path, body))).collect()));
        answers.push(fixture.ask(post(path, body)));
        assert_eq!(x_caches(&answers), ["BYPASS"; 6], "{path} {body}");
        assert_eq!(fixture.calls().len(), 6);
        if path == GENERATE {
            let texts: std::collections::BTreeSet<_> = answers.iter().map(Answer::text).collect();
            assert_eq!(texts.len(), 6, "each request has its own answer");
        }
    }
    let fixture = Fixture::new(&[], |_| None);
    let keyed = || with(post(STREAM, HELLO), "idempotency-key", "k");
    fixture.run(all((0..3).map(|_| fixture.asking(keyed())).collect()));
    assert_eq!(fixture.calls().len(), 3, "a stream is not shared even with an Idempotency-Key");
}

#[test]
fn an_answer_is_shared_within_the_window_even_when_no_answer_is_kept() {
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "0"), ("REQUEST_DEDUP_WINDOW_MS", "500")];
    let fixture = Fixture::new(&settings, slow_and_distinct());
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "MISS");
    fixture.script.advance(ms(499));
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "COALESCED");
    fixture.script.advance(ms(1));
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "MISS");
    assert_eq!(fixture.calls().len(), 2);
}

#[test]
fn an_answer_is_kept_for_its_time_to_live() {
    let fixture = Fixture::new(&[("RESPONSE_CACHE_TTL_SECONDS", "300")], slow_and_distinct());
    let first = fixture.ask(post(GENERATE, ZERO));
    fixture.script.advance(ms(299_999));
    let kept = fixture.ask(post(GENERATE, ZERO));
    assert_eq!((kept.header("x-cache"), &kept.pieces), ("HIT", &first.pieces));
    fixture.script.advance(ms(1));
    let anew = fixture.ask(post(GENERATE, ZERO));
    assert_eq!(anew.header("x-cache"), "MISS");
    assert_ne!(anew.pieces, first.pieces);
    assert_eq!(results(&fixture), [2.0, 1.0, 0.0, 0.0]);
}

#[test]
fn with_window_and_time_to_live_at_zero_no_answer_is_shared() {
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "0"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let fixture = Fixture::new(&settings, slow_and_distinct());
    let answers = fixture.run(all((0..3).map(|_| fixture.asking(post(GENERATE, ZERO))).collect()));
    assert_eq!(x_caches(&answers), ["BYPASS"; 3]);
    assert_eq!(fixture.calls().len(), 3);
}

#[test]
fn without_a_window_answers_are_kept_but_no_request_waits_for_another() {
    let fixture = Fixture::new(&[("REQUEST_DEDUP_WINDOW_MS", "0")], slow_and_distinct());
    fixture.run(all((0..3).map(|_| fixture.asking(post(GENERATE, ZERO))).collect()));
    assert_eq!(fixture.calls(), [0, 0, 0]);
    assert_eq!(x_cache(&fixture, post(GENERATE, ZERO)), "HIT");
}

#[test]
fn no_cache_replaces_the_cached_answer_and_no_store_leaves_it() {
    let saying = |what| with(post(GENERATE, ZERO), "cache-control", what);
    let fixture = Fixture::new(&[], slow_and_distinct());
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
    assert_eq!(sixth.pieces, fourth.pieces, "the cached answer stays");
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn an_idempotency_key_shares_its_requests_answer_and_refuses_other_requests() {
    let keyed = |body: &str| with(post(GENERATE, body), "idempotency-key", "order-66");
    let fixture = Fixture::new(&[], slow_and_distinct());
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
fn an_idempotency_key_whose_request_failed_may_be_used_again() {
    let keyed = |body: &str| with(post(GENERATE, body), "idempotency-key", "order-66");
    let fixture = Fixture::new(&[], in_turn([error(400, "")]));
    assert_eq!(fixture.ask(keyed("{}")).status, 400);
    assert_eq!(fixture.ask(keyed(HELLO)).status, 200);
}

#[test]
fn clients_with_different_keys_never_share_answers() {
    let keys = ("PROXY_API_KEYS", "ann:key-of-ann,bob:key-of-bob");
    for idempotency_key in ["", "same"] {
        let fixture = Fixture::new(&[keys], slow_and_distinct());
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
fn requests_with_another_model_operation_or_byte_are_not_equal() {
    let fixture = Fixture::new(&[], slow_and_distinct());
    let spaced = ZERO.replace(r#"{"contents""#, r#"{ "contents""#);
    let asked = [(GENERATE, ZERO), (PRO, ZERO), (COUNT, ZERO), (GENERATE, spaced.as_str())];
    for (path, body) in asked {
        assert_eq!(x_cache(&fixture, post(path, body)), "MISS", "{path} {body}");
    }
    let alias = "/v1/models/gemini-1.5-flash:generateContent";
    assert_eq!(x_cache(&fixture, post(alias, ZERO)), "HIT", "the resolved model counts");
}

#[test]
fn a_leader_whose_client_leaves_is_replaced_by_a_waiter() {
    let fixture = Fixture::new(&[], slow_and_distinct());
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
    let waiters: Vec<Answer> = answers.into_iter().flatten().collect();
    assert_eq!(waiters.len(), 3);
    assert!(waiters.iter().all(|answer| answer.pieces == waiters[0].pieces));
    let mut results = x_caches(&waiters);
    results.sort_unstable();
    assert_eq!(results, ["COALESCED", "COALESCED", "MISS"]);
    let calls = fixture.calls();
    assert_eq!(calls.len(), 2);
    assert!((600..=650).contains(&calls[1]), "{calls:?}");
}

#[test]
fn when_the_leader_fails_all_waiters_ask_upstream_at_once() {
    let fixture =
        Fixture::new(&[("MAX_RETRY_ATTEMPTS", "0")], |_| Some(error(400, "").after(ms(1000))));
    let answers = fixture.run(all((0..20).map(|_| fixture.timed(post(GENERATE, ZERO))).collect()));
    assert_eq!(fixture.calls().len(), 20, "an error is not shared");
    assert!(answers.iter().all(|(at, answer)| answer.status == 400 && *at <= 2050), "{answers:?}");
    assert!(answers[1..].iter().all(|(_, answer)| answer.header("x-cache") == "MISS"));
}

#[test]
fn errors_are_not_cached() {
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
fn cached_answers_stay_within_the_byte_limit() {
    let fixture = Fixture::new(&[("RESPONSE_CACHE_MAX_BYTES", "100000")], |request| {
        let size = if request.body.contains("request big") { 13_000 } else { 9000 };
        let text = "x".repeat(size);
        Some(Reply::ok(format!(
            r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}},"finishReason":"STOP"}}]}}}}"#
        )))
    });
    let ask = |n: &str| {
        let body = format!(
            r#"{{"contents":[{{"parts":[{{"text":"request {n}."}}]}}],"generationConfig":{{"temperature":0}}}}"#
        );
        x_cache(&fixture, post(GENERATE, &body))
    };
    for n in 0..15 {
        assert_eq!(ask(&n.to_string()), "MISS");
    }
    let kept = (0..15).rev().take_while(|n| ask(&n.to_string()) == "HIT").count();
    assert!((9..=10).contains(&kept), "{kept} of 9 kB within 100 kB");
    assert_eq!([ask("big"), ask("big")], ["MISS", "MISS"], "larger than an eighth of the limit");
}

#[test]
fn a_waiter_that_leaves_does_not_affect_the_others() {
    let fixture = Fixture::new(&[], slow_and_distinct());
    let patient = |patience| {
        let asking = fixture.asking(post(GENERATE, ZERO));
        impatient(&fixture.script, ms(patience), asking)
    };
    let answers = fixture.run(all(vec![patient(9000), patient(100), patient(9000)]));
    let served: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!((served, fixture.calls().len()), (vec![true, false, true], 1));
}

#[test]
fn waiters_hold_no_permits() {
    let fixture = Fixture::new(&[], slow_and_distinct());
    fixture.script.set_permits(2);
    let mut tasks = together([Box::pin(async {
        later(&fixture.script, ms(10), fixture.timed(post(PRO, HELLO))).await
    })]);
    for _ in 0..20 {
        tasks.push(Box::pin(fixture.timed(post(GENERATE, ZERO))));
    }
    let answers = fixture.run(all(tasks));
    assert_eq!(answers[0].0, 1010, "twenty equal requests take one permit");
}
