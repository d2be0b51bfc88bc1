//! The contract of a key-value store (`docs/OPERATING.md`), as one test that every store passes, and
//! that of the distributed locks of a shared store.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, LOCK_TTL, LockResult};

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

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
