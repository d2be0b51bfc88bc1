//! The contract of a key-value store (`docs/OPERATING.md`), as one test that every store passes.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;

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

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
