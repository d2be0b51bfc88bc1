//! The contract of a key-value store (`docs/OPERATING.md`), as one test that every store passes, that of
//! its usage, and those of the locks and the budgets of a shared store.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{
    Charge, Cost, Day, FencingToken, LOCK_TTL, Limits, LockResult, ProcessId, Reserved,
    SharedReservation, SharedStanding, UsageBatch, UsageRow,
};

/// Tests an empty `store` against the contract, through its own methods. `advance` lets time pass.
///
/// # Panics
///
/// The store breaks a promise.
pub async fn store_contract<S, E: Debug>(
    store: &S,
    advance: impl AsyncFn(Duration),
    load: impl AsyncFn(&S, &str) -> Result<Option<Bytes>, E>,
    save: impl AsyncFn(&S, &str, Bytes, Duration) -> Result<(), E>,
    entries: impl AsyncFn(&S) -> Result<Vec<(String, Bytes)>, E>,
    clear: impl AsyncFn(&S) -> Result<usize, E>,
) {
    let value = Bytes::from_static;
    let some = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let got = async |key: &str| load(store, key).await.expect("load works");
    let put = async |key: &str, bytes: Bytes, ttl: Duration| {
        save(store, key, bytes, ttl).await.expect("save works");
    };
    let listed = async || entries(store).await.expect("entries works");

    // An unknown key has no value.
    assert_eq!(got("unknown").await, None);
    assert_eq!(listed().await, []);
    assert_eq!(clear(store).await.expect("clearing nothing works"), 0);

    // The last write wins, its time to live included.
    put("token", value(b"one"), HOUR).await;
    assert_eq!(got("token").await, some(b"one"));
    put("token", value(b"two"), 2 * HOUR).await;
    assert_eq!(got("token").await, some(b"two"));
    advance(HOUR).await;
    assert_eq!(got("token").await, some(b"two"), "the second time to live counts");
    assert_eq!(clear(store).await.expect("clear works"), 1);
    assert_eq!(got("token").await, None);

    // A value is any bytes: no byte, every byte, many bytes.
    put("empty", value(b""), HOUR).await;
    assert_eq!(got("empty").await, some(b""));
    let all: Bytes = (0..=u8::MAX).collect();
    put("binary", all.clone(), HOUR).await;
    assert_eq!(got("binary").await, Some(all));
    let large: Bytes =
        (0..3_000_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    put("large", large.clone(), HOUR).await;
    assert_eq!(got("large").await, Some(large));

    // A key is any text. A key that begins with another key is a key of its own.
    let odd = ["", " ", "a", "a ", "a/b:c?d=e&f", "A", "\u{e9}\u{1F511}", "\"\\\n\t\0", "..", "*"];
    for (n, key) in odd.iter().enumerate() {
        put(key, Bytes::from(format!("odd {n}")), HOUR).await;
    }
    for (n, key) in odd.iter().enumerate() {
        assert_eq!(got(key).await, Some(Bytes::from(format!("odd {n}"))), "{key:?}");
    }

    // Entries are listed in the order of their keys' bytes. Clearing returns how many there were.
    let mut expected: Vec<&str> = odd.into_iter().chain(["binary", "empty", "large"]).collect();
    expected.sort_unstable();
    let keys: Vec<String> = listed().await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, expected);
    assert_eq!(clear(store).await.expect("clear works"), expected.len());
    assert_eq!(listed().await, []);
    assert_eq!(got("large").await, None);

    // An entry expires after its own time to live and not before.
    put("short", value(b"s"), MINUTE).await;
    put("long", value(b"l"), HOUR).await;
    advance(MINUTE / 2).await;
    assert_eq!(got("short").await, some(b"s"));
    advance(MINUTE / 2).await;
    assert_eq!(got("short").await, None);
    assert_eq!(listed().await, [("long".to_owned(), value(b"l"))]);
    put("short", value(b"again"), MINUTE).await;
    assert_eq!(got("short").await, some(b"again"));
    put("long", value(b"l"), Duration::ZERO).await;
    assert_eq!(got("long").await, None, "an entry without time to live expires at once");
    put("short", value(b"kept"), Duration::MAX).await;
    advance(24 * HOUR).await;
    assert_eq!(got("short").await, some(b"kept"), "the longest time to live does not overflow");
    clear(store).await.expect("clear works");
}

/// Tests the locks of a store that the processes `a` and `b` share. `advance` lets time pass.
///
/// # Panics
///
/// The store breaks a promise.
pub async fn lock_contract<S>(
    (a, b): (&S, &S),
    advance: impl AsyncFn(Duration),
    claim: impl AsyncFn(&S, &str, Duration) -> LockResult,
    renew: impl AsyncFn(&S, &str, FencingToken, Duration) -> bool,
    release: impl AsyncFn(&S, &str, FencingToken),
) {
    let taken = async |store: &S, key: &str| match claim(store, key, LOCK_TTL).await {
        LockResult::Acquired(token) => token,
        other => panic!("the lock of {key} is free: {other:?}"),
    };
    let is_held =
        async |store: &S, key: &str| claim(store, key, LOCK_TTL).await == LockResult::Held;

    // One process holds a lock, until its time to live is over. Each key has its own lock.
    let first = taken(a, "died").await;
    assert!(is_held(b, "died").await);
    taken(b, "another").await;
    advance(LOCK_TTL).await;
    let second = taken(b, "died").await;
    assert!(second > first, "a later holder has a greater token");

    // A renewal with an old token fails, and takes nothing from the new holder.
    assert!(!renew(a, "died", first, LOCK_TTL).await);
    assert!(is_held(a, "died").await);
    advance(LOCK_TTL / 2).await;
    assert!(renew(b, "died", second, LOCK_TTL).await);
    advance(LOCK_TTL / 2).await;
    assert!(!renew(a, "died", first, LOCK_TTL).await);
    assert!(is_held(a, "died").await, "the new holder has renewed it");

    // A renewed lock outlasts its first time to live by far.
    let token = taken(a, "slow").await;
    for _ in 0..10 {
        advance(LOCK_TTL * 2 / 3).await;
        assert!(renew(a, "slow", token, LOCK_TTL).await);
        assert!(is_held(b, "slow").await);
    }
    advance(LOCK_TTL).await;
    assert!(taken(b, "slow").await > token);

    // A lock that has expired, and that no other process has taken, is renewed like any other.
    let token = taken(a, "late").await;
    advance(LOCK_TTL * 2).await;
    assert!(renew(a, "late", token, LOCK_TTL).await);
    assert!(is_held(b, "late").await);

    // A released lock is free at once, and is not renewed.
    release(a, "late", token).await;
    assert!(!renew(a, "late", token, LOCK_TTL).await);
    let next = taken(b, "late").await;
    assert!(next > token);
    release(a, "late", token).await;
    assert!(is_held(a, "late").await, "a late release frees nothing");

    // There is no lock to renew where none was taken.
    assert!(!renew(a, "never", next, LOCK_TTL).await);
}

/// Tests the usage of a `store` that has none.
///
/// # Panics
///
/// The store breaks a promise.
pub async fn usage_contract<S, E: Debug>(
    store: &S,
    add: impl AsyncFn(&S, &UsageBatch) -> Result<(), E>,
    usage: impl AsyncFn(&S, RangeInclusive<Day>, Option<&str>) -> Result<Vec<UsageRow>, E>,
    remove: impl AsyncFn(&S, Day) -> Result<(), E>,
) {
    let put = async |process, number, rows: &[UsageRow]| {
        let batch = UsageBatch {
            process: ProcessId(process),
            number,
            rows: rows.to_vec(),
            reserved: Vec::new(),
        };
        add(store, &batch).await.expect("adding works");
    };
    let listed = async |first: &str, last: &str, key: Option<&str>| {
        usage(store, day(first)..=day(last), key).await.expect("listing works")
    };
    let all = async || listed("2026-01-01", "2027-12-31", None).await;
    remove(store, day("2026-01-01")).await.expect("removing nothing works");
    assert_eq!(all().await, []);

    // What is added is there, in the order of day, key and model.
    let first = [
        row("bob", "gemini-2.5-pro", "2026-11-26", 1, 10),
        row("ada", "gemini-2.5-pro", "2026-11-27", 2, 20),
        row("ada", "gemini-2.5-pro", "2026-11-26", 3, 30),
        row("ada", "gemini-2.5-flash", "2026-11-26", 4, 0),
    ];
    put(1, 1, &first).await;
    let [bob, next_day, pro, flash] = first;
    assert_eq!(all().await, [flash.clone(), pro.clone(), bob.clone(), next_day.clone()]);

    // A batch that comes again, or after a later one, counts once. Each process has its own numbers.
    put(1, 1, std::slice::from_ref(&pro)).await;
    put(1, 3, std::slice::from_ref(&bob)).await;
    put(1, 2, std::slice::from_ref(&bob)).await;
    put(1, 3, std::slice::from_ref(&bob)).await;
    put(2, 1, std::slice::from_ref(&bob)).await;
    put(1, 1, std::slice::from_ref(&bob)).await;
    let mut thrice = bob.clone();
    thrice.requests = 3;
    (0..2).for_each(|_| thrice.charge += bob.charge);
    assert_eq!(all().await, [flash.clone(), pro.clone(), thrice.clone(), next_day.clone()]);
    put(2, 2, &[]).await;
    assert_eq!(all().await.len(), 4);

    // Ranges are inclusive, and an empty one has nothing.
    assert_eq!(listed("2026-11-27", "2026-11-27", None).await, [next_day.clone()]);
    assert_eq!(listed("2026-11-25", "2026-11-26", None).await.len(), 3);
    assert_eq!(listed("2026-11-28", "2026-12-31", None).await, []);
    assert_eq!(listed("2026-11-27", "2026-11-26", None).await, []);
    let of_ada = listed("2026-11-01", "2026-11-30", Some("ada")).await;
    assert_eq!(of_ada, [flash.clone(), pro.clone(), next_day.clone()]);
    assert_eq!(listed("2026-11-01", "2026-11-30", Some("ad")).await, []);

    // Ids and models are any text.
    let odd = [
        row("*", "m", "2027-01-01", 1, 1),
        row("?da", "m\0:", "2027-01-01", 1, 1),
        row("[ab]da", "'); redis.call('FLUSHALL') --", "2027-01-01", 1, 1),
        row("ada:2", "a b", "2027-01-01", 1, 1),
        row("\u{e9}\\", "\u{1F511}", "2027-01-01", 1, 1),
    ];
    put(1, 4, &odd).await;
    for row in odd {
        let key = row.key.clone();
        assert_eq!(listed("2027-01-01", "2027-01-01", Some(&key)).await, [row]);
    }

    // Sums stay at the greatest number that the store knows.
    let mut huge = row("huge", "m", "2027-01-02", u64::MAX, u64::MAX);
    put(1, 5, std::slice::from_ref(&huge)).await;
    put(1, 6, std::slice::from_ref(&huge)).await;
    let found = listed("2027-01-02", "2027-01-02", None).await;
    assert!(found[0].charge.prompt_tokens >= i64::MAX as u64, "{found:?}");
    // A number of the size of a large budget is exact.
    huge = row("large", "m", "2027-01-03", 1, (1 << 60) + 1);
    put(1, 7, std::slice::from_ref(&huge)).await;
    assert_eq!(listed("2027-01-03", "2027-01-03", None).await, [huge]);

    // Removal takes whole days, and leaves later ones.
    remove(store, day("2026-11-27")).await.expect("removing works");
    assert_eq!(listed("2026-01-01", "2026-12-31", None).await, [next_day]);
    remove(store, day("2027-12-31")).await.expect("removing works");
    assert_eq!(all().await, []);
    put(1, 7, std::slice::from_ref(&bob)).await;
    assert_eq!(all().await, [], "numbers outlive the rows");
}

/// Tests the budgets of a store that the processes `a` and `b` share. `advance` lets time pass.
///
/// # Panics
///
/// The store breaks a promise.
pub async fn budget_contract<S, E: Debug>(
    (a, b): (&S, &S),
    advance: impl AsyncFn(Duration),
    reserve: impl AsyncFn(&S, &SharedReservation) -> Option<SharedStanding>,
    add: impl AsyncFn(&S, &UsageBatch) -> Result<(), E>,
) {
    let held = |tokens| Reserved { tokens, cost: Cost(tokens * 2), calls: u64::from(tokens > 0) };
    let request = |process, key: &str, estimate, own| SharedReservation {
        process: ProcessId(process),
        key: key.into(),
        limits: Limits {
            tokens_per_minute: Some(100),
            tokens_per_day: Some(100),
            tokens_per_month: Some(200),
            ..Limits::default()
        },
        estimate: held(estimate),
        own: held(own),
        day: day("2026-11-29"),
    };
    let ask = async |store: &S, request: SharedReservation| {
        reserve(store, &request).await.expect("the store is shared")
    };
    let put = async |store: &S, process, number, key: &str, tokens, reserved| {
        let rows = (tokens > 0).then(|| row(key, "m", "2026-11-29", 1, tokens));
        let batch = UsageBatch {
            process: ProcessId(process),
            number,
            rows: rows.into_iter().collect(),
            reserved: vec![(key.into(), held(reserved))],
        };
        add(store, &batch).await.expect("adding works");
    };

    // What one process has reserved is missing to the other. Each key has its own budget.
    let standing = ask(a, request(1, "ada", 60, 0)).await;
    assert!(standing.is_granted);
    assert_eq!(standing.counts, code_assist_core::Counts::default());
    let standing = ask(b, request(2, "ada", 60, 0)).await;
    assert!(!standing.is_granted);
    assert_eq!(standing.counts.reserved, held(60));
    assert!(ask(b, request(2, "ada:", 60, 0)).await.is_granted);

    // What a process says of itself replaces what the store knew of it.
    let standing = ask(a, request(1, "ada", 30, 0)).await;
    assert_eq!((standing.is_granted, standing.counts.reserved), (true, held(0)));
    let standing = ask(b, request(2, "ada", 60, 0)).await;
    assert_eq!((standing.is_granted, standing.counts.reserved), (true, held(30)));
    assert!(!ask(a, request(1, "ada", 20, 30)).await.is_granted);

    // A process that has died holds nothing for longer than ten seconds; one that lives renews its time.
    advance(Duration::from_secs(7)).await;
    put(a, 1, 1, "ada", 0, 30).await;
    assert!(!ask(a, request(1, "ada", 20, 30)).await.is_granted, "the other lives");
    advance(Duration::from_secs(4)).await;
    let standing = ask(a, request(1, "ada", 20, 30)).await;
    assert_eq!((standing.is_granted, standing.counts.reserved), (true, held(30)));
    let standing = ask(b, request(2, "ada", 50, 0)).await;
    assert!(standing.is_granted, "{standing:?}");
    assert_eq!(standing.counts.reserved.tokens, 50, "the first process is alive");

    // Usage counts for the minute, the day and the month, once a batch. A settled reservation is gone.
    put(a, 1, 2, "ada", 70, 0).await;
    put(a, 1, 2, "ada", 70, 0).await;
    put(b, 2, 1, "ada", 0, 0).await;
    let standing = ask(b, request(2, "ada", 31, 0)).await;
    assert!(standing.is_granted, "alone it may begin");
    let mut counts = standing.counts;
    assert_eq!((counts.minute_tokens, counts.day_tokens, counts.month_tokens), (70, 70, 70));
    assert_eq!((counts.month_cost, counts.reserved), (Cost(140), held(0)));
    assert!(standing.minute_frees_in > Duration::from_secs(55));
    assert!(standing.minute_frees_in <= Duration::from_secs(61));
    assert!(!ask(a, request(1, "ada", 1, 0)).await.is_granted);

    // Tokens leave the minute. The day and the month keep them until they end.
    put(b, 2, 2, "ada", 0, 0).await;
    advance(Duration::from_secs(30)).await;
    put(b, 2, 3, "ada", 20, 0).await;
    counts = ask(a, request(1, "ada", 0, 0)).await.counts;
    assert_eq!((counts.minute_tokens, counts.day_tokens), (90, 90));
    advance(Duration::from_secs(32)).await;
    let standing = ask(a, request(1, "ada", 0, 0)).await;
    assert_eq!((standing.counts.minute_tokens, standing.counts.day_tokens), (20, 90));
    assert!(standing.minute_frees_in <= Duration::from_secs(29), "{standing:?}");
    advance(Duration::from_secs(62)).await;
    let standing = ask(a, request(1, "ada", 0, 0)).await;
    assert_eq!((standing.counts.minute_tokens, standing.minute_frees_in), (0, Duration::ZERO));
    for (at, used) in [("2026-11-30", (0, 90)), ("2026-12-01", (0, 0)), ("2026-11-29", (90, 90))] {
        let request = SharedReservation { day: day(at), ..request(1, "ada", 0, 0) };
        let counts = ask(a, request).await.counts;
        assert_eq!((counts.day_tokens, counts.month_tokens), used, "{at}");
    }
}

/// A row with so many tokens in each of its counts.
fn row(key: &str, model: &str, at: &str, requests: u64, tokens: u64) -> UsageRow {
    let charge = Charge {
        prompt_tokens: tokens,
        cached_tokens: tokens / 2,
        output_tokens: 0,
        thought_tokens: 0,
        cost: Cost(tokens.saturating_mul(2)),
    };
    UsageRow { key: key.into(), model: model.into(), day: day(at), requests, charge }
}

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
