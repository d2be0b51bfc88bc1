//! Usage on its way to the store: nothing is lost, and nothing is counted twice.

use std::pin::Pin;
use std::time::Duration;

use code_assist_testkit::client::{all, later};
use proptest::prelude::*;
use serde_json::json;

use crate::fixture::{Fixture, GENERATE, HELLO, STREAM, TOKENS, key, post_as};

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask {
        stream: bool,
    },
    AskTogether(usize),
    Tick,
    /// The store fails, or works again.
    Break(bool),
    /// The store's answers are lost, or come again.
    Lose(bool),
    NextDay,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(|stream| Step::Ask { stream }),
        1 => (2_usize..5).prop_map(Step::AskTogether),
        4 => Just(Step::Tick),
        2 => any::<bool>().prop_map(Step::Break),
        2 => any::<bool>().prop_map(Step::Lose),
        1 => Just(Step::NextDay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_store_does_it_has_at_last_what_upstream_has_counted(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let keys = [key("ada", json!({"tokens_per_month": 1_000_000})), key("bob", json!({}))];
        let fixture = Fixture::new(&keys);
        let mut asked = 0;
        let id = |asked: u64| if asked.is_multiple_of(3) { "bob" } else { "ada" };
        for step in steps {
            match step {
                Step::Ask { stream } => {
                    let path = if stream { STREAM } else { GENERATE };
                    prop_assert_eq!(fixture.ask(post_as(id(asked), path, HELLO)).status, 200);
                    asked += 1;
                }
                Step::AskTogether(count) => {
                    let asking = |_| fixture.asking(post_as(id(asked), GENERATE, HELLO));
                    let answers = fixture.run(all((0..count).map(asking).collect()));
                    prop_assert!(answers.iter().all(|answer| answer.status == 200));
                    asked += count as u64;
                }
                Step::Tick => {
                    fixture.script.advance(Duration::from_secs(1));
                    fixture.tick();
                }
                Step::Break(broken) => fixture.script.break_store(broken),
                Step::Lose(lost) => fixture.script.lose_usage_answers(lost),
                Step::NextDay => fixture.script.shift_wall_clock(86_400),
            }
        }
        fixture.script.break_store(false);
        fixture.script.lose_usage_answers(false);
        let sum = |(tokens, requests): (u64, u64), (more, also): (u64, u64)| {
            (tokens + more, requests + also)
        };
        let stored = sum(fixture.used("ada"), fixture.used("bob"));
        prop_assert_eq!(stored, (fixture.counted(), asked));
        prop_assert_eq!(fixture.counted(), asked * TOKENS);
    }
}

#[test]
fn a_restarted_process_goes_on_with_the_counts_of_the_store() {
    let keys = [key("ada", json!({"tokens_per_month": 2 * TOKENS}))];
    let fixture = Fixture::new(&keys);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    fixture.run(fixture.proxy.flush_usage(&fixture.script));
    let restarted = Fixture::restarted(&fixture, &keys);
    assert_eq!(restarted.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    assert_eq!(restarted.ask(post_as("ada", GENERATE, HELLO)).reason(), "BUDGET_EXHAUSTED");
    assert_eq!(restarted.used("ada"), (2 * TOKENS, 2));
}

#[test]
fn usage_that_could_not_be_loaded_is_added_later_and_nothing_is_refused_meanwhile() {
    let keys = [key("ada", json!({"tokens_per_month": 2 * TOKENS}))];
    let fixture = Fixture::new(&keys);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    fixture.run(fixture.proxy.flush_usage(&fixture.script));
    fixture.script.break_store(true);
    let restarted = Fixture::restarted(&fixture, &keys);
    assert_eq!(restarted.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    restarted.script.break_store(false);
    restarted.tick();
    restarted.script.advance(Duration::from_secs(10));
    restarted.tick();
    assert_eq!(restarted.ask(post_as("ada", GENERATE, HELLO)).reason(), "BUDGET_EXHAUSTED");
    assert_eq!(restarted.used("ada"), (2 * TOKENS, 2));
}

#[test]
fn requests_wait_for_the_one_that_loads() {
    let keys = [key("ada", json!({"tokens_per_month": 2 * TOKENS}))];
    let fixture = Fixture::new(&keys);
    for _ in 0..2 {
        assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    }
    fixture.run(fixture.proxy.flush_usage(&fixture.script));
    let restarted = Fixture::restarted(&fixture, &keys);
    let asking = |_| restarted.asking(post_as("ada", GENERATE, HELLO));
    let answers = restarted.run(all((0..5).map(asking).collect()));
    assert!(answers.iter().all(|answer| answer.status == 429));
}

#[test]
fn the_last_usage_is_sent_again_if_the_store_fails_while_the_process_stops() {
    let fixture = Fixture::new(&[key("ada", json!({"tokens_per_month": 2 * TOKENS}))]);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    fixture.script.refuse_usage(true);
    let works_again = later(&fixture.script, Duration::from_millis(300), async {
        fixture.script.refuse_usage(false);
    });
    let stopping = fixture.proxy.flush_usage(&fixture.script);
    let both: Vec<Pin<Box<dyn Future<Output = ()>>>> =
        vec![Box::pin(stopping), Box::pin(works_again)];
    fixture.run(all(both));
    assert_eq!(fixture.script.stored_usage("ada").len(), 1);
}
