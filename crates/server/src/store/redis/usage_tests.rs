//! Usage and budgets against a real server, and what remains when that is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use code_assist_core::{
    Charge, Cost, Day, Limits, ProcessId, Reserved, SharedLedger, SharedReservation, UsageBatch,
    UsageRow,
};
use code_assist_harness::RedisServer;
use code_assist_testkit::contract::{budget_contract, usage_contract};

use super::RedisStore;
use super::link::COMMAND_TIMEOUT;
use super::tests::{open, until};
use crate::store::{Backend, Store};

#[tokio::test]
async fn the_redis_store_fulfils_the_contract_of_usage() {
    let server = RedisServer::start(&[]);
    let store = Store::of(Backend::Redis(open(&server).await));
    usage_contract(&store, Store::add_usage, Store::usage, Store::remove_usage).await;
}

#[tokio::test]
async fn the_redis_store_fulfils_the_contract_of_budgets() {
    let server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    budget_contract(
        (&a, &b),
        async |how_long| age_budgets(&server, how_long.as_secs()),
        RedisStore::reserve,
        RedisStore::add_usage,
    )
    .await;
}

#[tokio::test]
async fn the_scripts_decide_as_the_shared_ledger_does_on_random_histories() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let (mut granted, mut refused) = (0, 0);
    for round in 0..60 {
        let mut random = fastrand::Rng::with_seed(round);
        let (begun, key) = (Instant::now(), Arc::from(format!("key {round}")));
        let mut ledger = SharedLedger::default();
        ledger.restore_month(today(), []).unwrap();
        let mut clock = today().begin();
        let mut last: HashMap<ProcessId, u64> = HashMap::new();
        for step in 0..40 {
            let process = ProcessId(round * 10 + random.u64(0..3));
            match random.u32(0..10) {
                // Multiples of seven seconds are far from the end of a minute, and of ten seconds.
                0 => {
                    let seconds = 7 * random.u64(1..=3);
                    age_budgets(&server, seconds);
                    clock = clock + Duration::from_secs(seconds);
                }
                1..=3 => {
                    let last = last.entry(process).or_default();
                    let number = (*last + random.u64(0..3)).max(1);
                    *last = number.max(*last);
                    let rows = vec![row(&key, random.u64(0..40))];
                    let reserved = vec![(Arc::clone(&key), reserved(&mut random))];
                    let batch = UsageBatch { process, number, rows, reserved };
                    store.add_usage(&batch).await.unwrap();
                    ledger.add(&batch, clock);
                }
                _ => {
                    let request = request(&mut random, process, &key);
                    let expected = ledger.reserve(&request, clock);
                    let standing = store.reserve(&request).await.unwrap();
                    if begun.elapsed() > Duration::from_secs(2) {
                        // Too slow a machine: the real clock counts too.
                        break;
                    }
                    assert_eq!(standing.counts, expected.counts, "round {round}, step {step}");
                    assert_eq!(standing.is_granted, expected.is_granted, "{round}: {request:?}");
                    *(if standing.is_granted { &mut granted } else { &mut refused }) += 1;
                }
            }
        }
    }
    assert!(granted > 200 && refused > 200, "{granted} granted, {refused} refused");
}

#[tokio::test]
async fn many_requests_at_once_do_not_exceed_a_budget() {
    let server = RedisServer::start(&[]);
    let mut asking = tokio::task::JoinSet::new();
    // Each process has one request, since a process knows its own ones.
    for process in 0..30 {
        let store = open(&server).await;
        let one = Reserved { tokens: 10, cost: Cost(0), calls: 1 };
        let request = SharedReservation {
            process: ProcessId(process),
            key: "ada".into(),
            limits: Limits { tokens_per_month: Some(100), ..Limits::default() },
            estimate: one,
            own: Reserved::default(),
            day: today(),
        };
        asking.spawn(async move { store.reserve(&request).await.unwrap().is_granted });
    }
    let granted = asking.join_all().await.into_iter().filter(|granted| *granted).count();
    assert_eq!(granted, 10);
}

#[tokio::test]
async fn a_batch_that_was_carried_out_unseen_counts_once_when_the_server_is_back() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let batch = |number, tokens| UsageBatch {
        process: ProcessId(7),
        number,
        rows: vec![row("ada", tokens)],
        reserved: Vec::new(),
    };
    store.add_usage(&batch(1, 5)).await.unwrap();
    // The server gets the batch, and this process does not get the answer.
    server.pause();
    let begun = Instant::now();
    store.add_usage(&batch(2, 7)).await.unwrap_err();
    assert!(begun.elapsed() < COMMAND_TIMEOUT * 3, "{:?}", begun.elapsed());
    let begun = Instant::now();
    let request = request(&mut fastrand::Rng::with_seed(1), ProcessId(7), &Arc::from("ada"));
    assert_eq!(store.reserve(&request).await, None);
    store.add_usage(&batch(2, 7)).await.unwrap_err();
    store.usage(today()..=today(), None).await.unwrap_err();
    store.remove_usage(today()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    server.resume();
    until(|| store.connected()).await;
    store.add_usage(&batch(2, 7)).await.unwrap();
    store.add_usage(&batch(3, 1)).await.unwrap();
    let rows = store.usage(today()..=today(), None).await.unwrap();
    assert_eq!((rows[0].requests, rows[0].charge.tokens()), (3, 13));
}

#[tokio::test]
async fn clearing_entries_leaves_usage_and_budgets_unless_they_are_named() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let batch = UsageBatch {
        process: ProcessId(7),
        number: 1,
        rows: vec![row("ada", 7)],
        reserved: Vec::new(),
    };
    store.add_usage(&batch).await.unwrap();
    store.save("token", Bytes::from_static(b"one"), Duration::from_secs(60), None).await.unwrap();
    assert_eq!(store.clear().await.unwrap(), 1);
    let used = async || {
        let request = request(&mut fastrand::Rng::with_seed(1), ProcessId(7), &Arc::from("ada"));
        let counts = store.reserve(&request).await.unwrap().counts;
        (store.usage(today()..=today(), None).await.unwrap().len(), counts.day_tokens)
    };
    assert_eq!(used().await, (1, 7));
    assert_eq!(store.clear_usage().await.unwrap(), 1);
    assert_eq!(used().await, (0, 0));
    store.add_usage(&batch).await.unwrap();
    assert_eq!(used().await, (0, 0), "a batch that comes again after that adds nothing");
}

#[tokio::test]
async fn a_key_of_another_program_counts_nothing_and_stops_no_batch() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    server.cli(&["SET", &format!("code-assist-proxy:usage:{}:ada", today()), "theirs"]);
    let batch = |number| UsageBatch {
        process: ProcessId(7),
        number,
        rows: vec![row("ada", 7)],
        reserved: Vec::new(),
    };
    for number in 1..=2 {
        store.add_usage(&batch(number)).await.unwrap();
    }
    let request = request(&mut fastrand::Rng::with_seed(1), ProcessId(7), &Arc::from("ada"));
    assert_eq!(store.reserve(&request).await.unwrap().counts.month_tokens, 14);
    store.usage(today()..=today(), None).await.unwrap_err();
    assert!(store.connected());
}

#[tokio::test]
async fn a_reservation_of_before_the_clock_was_put_back_does_not_count() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let held = "99999999999999 50 0 1";
    server.cli(&["HSET", "code-assist-proxy:budget-reserved:ada", "8", held]);
    let request = request(&mut fastrand::Rng::with_seed(1), ProcessId(7), &Arc::from("ada"));
    assert_eq!(store.reserve(&request).await.unwrap().counts.reserved, request.own);
}

#[tokio::test]
async fn a_counter_that_would_overflow_stays_at_its_greatest_value() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let huge = Charge { output_tokens: u64::MAX, ..Charge::default() };
    let rows = [row("ada", 7), UsageRow { charge: huge, ..row("ada", 0) }];
    for (row, number) in rows.into_iter().zip(1..) {
        let (process, rows) = (ProcessId(7), vec![row]);
        store.add_usage(&UsageBatch { process, number, rows, reserved: Vec::new() }).await.unwrap();
    }
    let stored = store.usage(today()..=today(), None).await.unwrap();
    assert_eq!((stored[0].charge.output_tokens, stored[0].requests), (i64::MAX as u64, 2));
}

#[tokio::test]
async fn everything_but_usage_expires_and_old_seconds_are_removed() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let held = Reserved { tokens: 1, cost: Cost(1), calls: 1 };
    for number in 1..=3 {
        let batch = UsageBatch {
            process: ProcessId(7),
            number,
            rows: vec![row("ada", 7)],
            reserved: vec![("ada".into(), held)],
        };
        store.add_usage(&batch).await.unwrap();
        age_budgets(&server, 62);
    }
    assert_eq!(server.cli(&["HLEN", "code-assist-proxy:budget-minute:ada"]), "1");
    let names = server.cli(&["KEYS", "*"]);
    assert_eq!(names.lines().count(), 9, "{names}");
    for name in names.lines() {
        let left: i64 = server.cli(&["TTL", name]).parse().unwrap();
        let is_kept = name.contains("usage-days") || name.contains("probe");
        assert!(left > 10 || is_kept, "{name} {left}");
    }
}

fn request(random: &mut fastrand::Rng, process: ProcessId, key: &Arc<str>) -> SharedReservation {
    let mut limit = || (random.u32(0..3) == 0).then(|| random.u64(1..300));
    let limits = Limits {
        tokens_per_minute: limit(),
        tokens_per_day: limit(),
        tokens_per_month: limit(),
        cost_per_month: limit().map(|cost| Cost(cost * 3)),
        max_concurrent: limit().map(|calls| calls / 40),
    };
    let (own, estimate) = (reserved(random), reserved(random));
    SharedReservation { process, key: Arc::clone(key), limits, estimate, own, day: today() }
}

fn reserved(random: &mut fastrand::Rng) -> Reserved {
    let calls = random.u64(0..3);
    // Without a call it is usage that is not in the store yet.
    let tokens = random.u64(0..3) / 2 * random.u64(0..60);
    Reserved { tokens, cost: Cost(tokens * 3), calls }
}

fn row(key: &str, tokens: u64) -> UsageRow {
    let charge = Charge { output_tokens: tokens, cost: Cost(tokens * 3), ..Charge::default() };
    UsageRow { key: key.into(), model: "m".into(), day: today(), requests: 1, charge }
}

fn today() -> Day {
    "2026-11-26".parse().unwrap()
}

/// Makes seconds and reservations of all budgets older. They are measured by the server's own clock.
fn age_budgets(server: &RedisServer, seconds: u64) {
    let script = "for _, key in ipairs(redis.call('KEYS', '*budget-minute:*')) do
            local all = redis.call('HGETALL', key)
            redis.call('DEL', key)
            for i = 1, #all, 2 do
                redis.call('HINCRBY', key, string.format('%.0f', all[i] - ARGV[1]), all[i + 1])
            end
            redis.call('EXPIRE', key, 100)
        end
        for _, key in ipairs(redis.call('KEYS', '*budget-reserved:*')) do
            local all = redis.call('HGETALL', key)
            for i = 1, #all, 2 do
                local at, rest = string.match(all[i + 1], '^(%d+)( .*)$')
                redis.call('HSET', key, all[i], string.format('%.0f', at - ARGV[1] * 1000) .. rest)
            end
        end";
    let said = server.cli(&["EVAL", script, "0", &seconds.to_string()]);
    assert_eq!(said, "");
}
