//! Whether a key may use more.

use std::pin::Pin;
use std::time::Duration;

use code_assist_testkit::client::{all, get, later};
use serde_json::json;

use crate::fixture::{
    Fixture, GENERATE, HELLO, STREAM, TOKENS, in_order, key, post_as, whole_answer,
};

/// The path and the body of a request in each dialect, whole and streamed.
const CALLS: [(&str, &str); 8] = [
    (GENERATE, HELLO),
    (STREAM, HELLO),
    (
        "/v1/chat/completions",
        r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"Hello"}]}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"gemini-2.5-flash","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#,
    ),
    ("/v1/responses", r#"{"model":"gemini-2.5-flash","input":"Hello"}"#),
    (
        "/v1/messages",
        r#"{"model":"gemini-2.5-flash","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"gemini-2.5-flash","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#,
    ),
    (
        "/v1internal:generateContent",
        r#"{"model":"gemini-2.5-flash","project":"p","request":{"contents":[]}}"#,
    ),
];

#[test]
fn of_thirty_concurrent_requests_those_that_fit_are_served_and_no_more() {
    for (path, body) in CALLS {
        let fixture = Fixture::new(&[key("ada", json!({"tokens_per_day": 10 * TOKENS}))]);
        let asking = || fixture.asking(post_as("ada", path, body));
        let answers = fixture.run(all((0..30).map(|_| asking()).collect()));
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(served, 10, "{path} {body}");
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(refused.status, 429, "{path}: {}", refused.text());
        }
        assert_eq!(fixture.used("ada"), (10 * TOKENS, 10), "{path} {body}");
        assert_eq!(fixture.counted(), 10 * TOKENS, "{path} {body}");
    }
}

#[test]
fn a_budget_that_is_used_up_says_which_and_when_it_begins_anew() {
    let fixture = Fixture::new(&[key("ada", json!({"tokens_per_day": 50}))]);
    let first = fixture.ask(post_as("ada", GENERATE, HELLO));
    assert_eq!(first.status, 200);
    let refused = fixture.ask(post_as("ada", GENERATE, HELLO));
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (429, "BUDGET_EXHAUSTED"));
    let body: serde_json::Value = serde_json::from_str(&refused.text()).unwrap();
    let metadata = &body["error"]["details"][0]["metadata"];
    assert_eq!(metadata["budget"], "tokens_per_day");
    assert_eq!((&metadata["limit"], &metadata["used"]), (&json!("50"), &json!("100")));
    assert_eq!(metadata["resets_at"], "2025-06-16T00:00:00Z");
    // The scripted clock began at 15:06:40.
    let left: u64 = refused.header("retry-after").parse().unwrap();
    assert!((31_990..=32_000).contains(&left), "{left}");
    let standing = ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|it| refused.header(it));
    assert_eq!(standing, ["50", "0"]);
}

#[test]
fn a_day_begins_anew_at_midnight_and_a_month_at_its_end() {
    let limits = json!({"tokens_per_day": TOKENS, "tokens_per_month": 3 * TOKENS});
    let fixture = Fixture::new(&[key("ada", limits)]);
    let ask = || fixture.ask(post_as("ada", GENERATE, HELLO));
    let day = |days: i64| fixture.script.shift_wall_clock(days * 86_400);
    for used_up in ["tokens_per_day", "tokens_per_day", "tokens_per_month"] {
        assert_eq!(ask().status, 200);
        assert!(ask().text().contains(used_up));
        day(1);
    }
    assert!(ask().text().contains("tokens_per_month"), "the day's budget is not used up");
    day(30 - 18);
    assert!(ask().text().contains("tokens_per_month"), "on the last day of the month");
    day(1);
    assert_eq!(ask().status, 200);
    let days: Vec<_> = fixture.usage("ada").iter().map(|row| row.day.to_string()).collect();
    assert_eq!(days, ["2025-06-15", "2025-06-16", "2025-06-17", "2025-07-01"]);
}

#[test]
fn a_reload_that_raises_a_limit_keeps_what_was_used() {
    let of = |limit: u64| [key("ada", json!({"tokens_per_month": limit}))];
    let fixture = Fixture::new(&of(TOKENS));
    let ask = || fixture.ask(post_as("ada", GENERATE, HELLO)).status;
    assert_eq!([ask().as_u16(), ask().as_u16()], [200, 429]);
    fixture.reload(&of(2 * TOKENS));
    assert_eq!([ask().as_u16(), ask().as_u16()], [200, 429]);
    assert_eq!(fixture.used("ada"), (2 * TOKENS, 2));
}

#[test]
fn two_tables_with_one_id_share_the_counts_and_have_limits_of_their_own() {
    let second = json!({
        "id": "ada", "key": "cap_secret-of-the-key-of-ada-2", "tokens_per_day": 3 * TOKENS,
    });
    let fixture = Fixture::new(&[key("ada", json!({"tokens_per_day": TOKENS})), second]);
    let ask = |id: &str| fixture.ask(post_as(id, GENERATE, HELLO)).status.as_u16();
    assert_eq!(ask("ada-2"), 200);
    assert_eq!(ask("ada"), 429, "what the other key has used counts");
    assert_eq!([ask("ada-2"), ask("ada-2"), ask("ada-2")], [200, 200, 429]);
    assert_eq!(fixture.used("ada"), (3 * TOKENS, 3));
}

#[test]
fn two_keys_of_one_id_share_cached_answers() {
    let second = json!({"id": "ada", "key": "cap_secret-of-the-key-of-ada-2"});
    let keys = [key("ada", json!({})), second, key("bob", json!({}))];
    let settings = [("RESPONSE_CACHE_TTL_MS", "60000")];
    let fixture = Fixture::with(&keys, &settings, Box::new(|_| None));
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"temperature":0}}"#;
    let cached = |id: &str| {
        let answer = fixture.ask(post_as(id, GENERATE, body));
        answer.header("x-cache").to_owned()
    };
    assert_eq!(["ada", "ada-2", "bob"].map(cached), ["MISS", "HIT", "MISS"]);
}

#[test]
fn a_cost_is_limited_by_the_prices() {
    // 10 tokens at 1 and 90 at 2 for a million: 0.00019.
    let fixture = Fixture::new(&[key("ada", json!({"cost_per_month": 0.0005}))]);
    let ask = || fixture.ask(post_as("ada", GENERATE, HELLO));
    let first = ask();
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-limit"), "0.0005");
    assert_eq!([ask().status.as_u16(), ask().status.as_u16()], [200, 200]);
    let refused = ask();
    assert!(refused.text().contains("cost_per_month"), "{}", refused.text());
    assert!(refused.text().contains("0.00057"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), (16 * 86_400 - 54_400).to_string());
}

#[test]
fn counting_tokens_and_listing_models_are_free() {
    let fixture = Fixture::new(&[key("ada", json!({"tokens_per_day": 50}))]);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 429);
    let count = "/v1beta/models/gemini-2.5-flash:countTokens";
    assert_eq!(fixture.ask(post_as("ada", count, HELLO)).status, 200);
    let load = fixture.ask(post_as("ada", "/v1internal:loadCodeAssist", "{}"));
    assert_eq!(load.status, 200, "{}", load.text());
    let mut list = get("/v1beta/models");
    list.headers_mut().clone_from(post_as("ada", "/", "").headers());
    assert_eq!(fixture.ask(list).status, 200);
    assert_eq!(fixture.used("ada"), (TOKENS, 1));
}

#[test]
fn the_tokens_of_a_minute_are_refused_at_once_and_free_again_by_the_second() {
    let fixture = Fixture::new(&[key("ada", json!({"tokens_per_minute": TOKENS}))]);
    let ask = || fixture.ask(post_as("ada", GENERATE, HELLO));
    assert_eq!(ask().status, 200);
    let refused = ask();
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (429, "RATE_LIMITED"));
    assert!(refused.text().contains("tokens_per_minute"));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((60..=61).contains(&after), "{after}");
    fixture.script.advance(Duration::from_secs(after));
    assert_eq!(ask().status, 200);
}

#[test]
fn requests_of_a_minute_are_limited_by_key() {
    let keys = [key("ada", json!({"requests_per_minute": 2})), key("bob", json!({}))];
    let fixture = Fixture::new(&keys);
    let ask = |id: &str| fixture.ask(post_as(id, GENERATE, HELLO));
    let remaining: Vec<_> =
        (0..2).map(|_| ask("ada").header("x-ratelimit-remaining").to_owned()).collect();
    assert_eq!(remaining, ["1", "0"]);
    let refused = ask("ada");
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (429, "RATE_LIMITED"));
    assert!(refused.text().contains("requests_per_minute"));
    assert_eq!(ask("bob").status, 200);
    assert_eq!(ask("bob").header("x-ratelimit-limit"), "");
    fixture.reload(&[key("ada", json!({"requests_per_minute": 3}))]);
    assert_eq!([ask("ada").status.as_u16(), ask("ada").status.as_u16()], [200, 429]);
}

#[test]
fn a_key_has_no_more_requests_in_flight_than_it_may_and_none_is_refused() {
    let keys = [key("ada", json!({"max_concurrent": 3})), key("bob", json!({}))];
    let fixture = Fixture::new(&keys);
    let asking = |_| fixture.asking(post_as("ada", GENERATE, HELLO));
    let answers = fixture.run(all((0..12).map(asking).collect()));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(fixture.script.most_exchanges(), 3);
    let fixture = Fixture::with(&keys, &[("QUEUE_TIMEOUT_MS", "100")], Box::new(|_| None));
    let asking = |_| fixture.asking(post_as("ada", GENERATE, HELLO));
    let answers = fixture.run(all((0..4).map(asking).collect()));
    assert_eq!(answers[3].reason(), "QUEUE_TIMEOUT");
    assert!(answers[..3].iter().all(|answer| answer.status == 200));
}

#[test]
fn a_request_that_waits_for_its_own_key_holds_no_permit() {
    let keys = [key("ada", json!({"max_concurrent": 1})), key("bob", json!({}))];
    let slow = whole_answer().after(Duration::from_secs(5));
    let fixture = Fixture::with(&keys, &[], in_order(vec![slow]));
    fixture.script.set_permits(2);
    // A large body waits for its permit before it is read, and has one when it comes to the budget.
    let large = HELLO.replace("Hello", &"x".repeat(100_000));
    let sent = [("ada", HELLO), ("ada", &*large), ("bob", HELLO)].into_iter().zip(1..);
    let asking = sent.map(|((id, body), number)| {
        let asking = fixture.asking(post_as(id, GENERATE, body));
        let script = &fixture.script;
        Box::pin(async move {
            let answer = later(script, Duration::from_millis(10 * number), asking).await;
            (answer.status.as_u16(), script.elapsed())
        }) as Pin<Box<dyn Future<Output = _> + '_>>
    });
    let answers = fixture.run(all(asking.collect()));
    assert!(answers.iter().all(|(status, _)| *status == 200_u16));
    assert!(answers[2].1 < Duration::from_secs(1), "{:?}", answers[2].1);
}

#[test]
fn a_client_that_leaves_the_line_does_not_block_it() {
    let fixture = Fixture::new(&[key("ada", json!({"max_concurrent": 1}))]);
    let asking = || fixture.asking(post_as("ada", GENERATE, HELLO));
    let (mut first, mut gone, last) = (asking(), asking(), asking());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending() && gone.as_mut().poll(&mut cx).is_pending());
    let answers = fixture.run(async {
        let rest = all(vec![first, last]);
        drop(gone);
        rest.await
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[test]
fn the_tightest_limit_is_told() {
    let limits =
        json!({"requests_per_minute": 4, "tokens_per_day": 1000, "tokens_per_month": 9000});
    let fixture = Fixture::new(&[key("ada", limits)]);
    let ask = || {
        let answer = fixture.ask(post_as("ada", GENERATE, HELLO));
        ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|it| answer.header(it).to_owned())
    };
    let [limit, left] = ask();
    // The request itself has reserved what it may use.
    let left: u64 = left.parse().unwrap();
    assert!(limit == "1000" && (700..750).contains(&left), "{limit} {left}");
    assert_eq!(ask()[0], "4");
}

#[test]
fn without_limits_or_tables_nothing_is_reserved_and_nothing_is_told() {
    let fixture = Fixture::new(&[key("ada", json!({}))]);
    let answer = fixture.ask(post_as("ada", GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, ""));
    assert_eq!(fixture.used("ada"), (TOKENS, 1));
}
