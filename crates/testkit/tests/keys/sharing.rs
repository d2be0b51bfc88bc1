//! Processes that share a store share the budgets.

use std::time::Duration;

use code_assist_testkit::client::all;
use serde_json::json;

use crate::fixture::{Fixture, GENERATE, HELLO, TOKENS, key, post_as};

#[test]
fn of_thirty_concurrent_requests_at_two_processes_those_that_fit_are_served_and_no_more() {
    let keys = [key("ada", json!({"tokens_per_day": 10 * TOKENS}))];
    let one = Fixture::new(&keys);
    let other = one.another(&keys);
    let fleet = [(&one.script, &one.proxy), (&other.script, &other.proxy)];
    let asking = |number: usize| {
        let fixture = if number.is_multiple_of(2) { &one } else { &other };
        fixture.asking(post_as("ada", GENERATE, HELLO))
    };
    // The shells tick meanwhile.
    let ticks = async {
        for _ in 0..60 {
            code_assist_core::Platform::timer(&one.script, Duration::from_secs(1)).await;
            one.proxy.tick(&one.script).await;
            other.proxy.tick(&other.script).await;
        }
    };
    let mut ticks = Box::pin(ticks);
    let mut asked = Box::pin(all((0..30).map(asking).collect()));
    let answers = one.script.run_fleet(
        &fleet,
        std::future::poll_fn(|cx| {
            let _ = ticks.as_mut().poll(cx);
            asked.as_mut().poll(cx)
        }),
    );
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, 10);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 429));
    let _ = one.used("ada");
    assert_eq!(other.used("ada"), (10 * TOKENS, 10));
}

#[test]
fn what_another_process_has_used_holds_on_while_the_store_is_gone() {
    let keys = [key("ada", json!({"tokens_per_day": 3 * TOKENS}))];
    let one = Fixture::new(&keys);
    let other = one.another(&keys);
    for _ in 0..2 {
        assert_eq!(one.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    }
    one.tick();
    let answer = other.ask(post_as("ada", GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    other.script.break_store(true);
    assert_eq!(other.ask(post_as("ada", GENERATE, HELLO)).reason(), "BUDGET_EXHAUSTED");
    other.script.break_store(false);
    other.tick();
    assert_eq!(one.ask(post_as("ada", GENERATE, HELLO)).reason(), "BUDGET_EXHAUSTED");
    assert_eq!(one.used("ada"), (3 * TOKENS, 3));
}

#[test]
fn requests_of_a_minute_are_counted_among_all_processes() {
    let keys = [key("ada", json!({"requests_per_minute": 3}))];
    let one = Fixture::new(&keys);
    let other = one.another(&keys);
    let ask = |fixture: &Fixture| fixture.ask(post_as("ada", GENERATE, HELLO)).status.as_u16();
    assert_eq!([ask(&one), ask(&other), ask(&one)], [200, 200, 200]);
    assert_eq!([ask(&one), ask(&other)], [429, 429]);
}

#[test]
fn what_a_dead_process_had_reserved_is_free_after_ten_seconds() {
    let keys = [key("ada", json!({"max_concurrent": 1}))];
    let one = Fixture::new(&keys);
    let other = one.another(&keys);
    assert_eq!(one.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    let mut dead = one.asking(post_as("ada", GENERATE, HELLO));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(dead.as_mut().poll(&mut cx).is_pending());
    assert_eq!(one.script.exchanges(), 1);
    let began = one.script.elapsed();
    assert_eq!(other.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    let waited = one.script.elapsed().saturating_sub(began);
    assert!((9..12).contains(&waited.as_secs()), "{waited:?}");
    std::mem::forget(dead);
}

#[test]
fn a_request_that_another_process_leaves_no_place_for_is_not_counted_here() {
    let keys = [key("ada", json!({"requests_per_minute": 3}))];
    let one = Fixture::new(&keys);
    let other = one.another(&keys);
    let ask = |fixture: &Fixture| fixture.ask(post_as("ada", GENERATE, HELLO)).status.as_u16();
    assert_eq!([ask(&one), ask(&one), ask(&other), ask(&one)], [200, 200, 200, 429]);
    one.script.lose_counts();
    assert_eq!([ask(&one), ask(&one)], [200, 429]);
}

#[test]
fn a_client_that_leaves_while_the_store_is_asked_has_reserved_nothing() {
    let keys = [key("ada", json!({"max_concurrent": 1}))];
    let one = Fixture::new(&keys);
    let _other = one.another(&keys);
    assert_eq!(one.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    one.script.delay_reservations(Duration::from_secs(1));
    let mut leaves = one.asking(post_as("ada", GENERATE, HELLO));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(leaves.as_mut().poll(&mut cx).is_pending());
    assert_eq!(one.script.exchanges(), 0, "the store is asked first");
    drop(leaves);
    one.script.delay_reservations(Duration::ZERO);
    let began = one.script.elapsed();
    assert_eq!(one.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    let took = one.script.elapsed().saturating_sub(began);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
