use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use code_assist_core::{ROTATED_KEY, Timestamp};
use code_assist_testkit::contract::store_contract;
use tempfile::TempDir;

use super::*;
use crate::store::manual_clock::ManualClock;
use crate::store::{Backend, Store, settings};

#[tokio::test]
async fn the_file_store_fulfils_the_contract() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::at(NOON);
    let (store, notice) = FileStore::open(&folder.path().join("kv.redb"), clock.clock()).unwrap();
    assert_eq!(notice, None);
    store_contract(
        &Store::of(Backend::File(store)),
        async |how_long| clock.advance(how_long),
        Store::load,
        async |store, key, value, ttl| store.save(key, value, ttl, None).await,
        async |store: &Store| {
            let entries = store.entries().await?;
            Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
        },
        Store::clear,
    )
    .await;
}

#[tokio::test]
async fn entries_and_their_time_to_live_survive_the_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let clock = ManualClock::at(NOON);
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    store.save("short", Bytes::from_static(b"s"), Duration::from_secs(60)).await.unwrap();
    store.save("long", Bytes::from_static(b"l"), Duration::from_secs(3600)).await.unwrap();
    let forever = Entry { key: "ever".into(), value: Bytes::from_static(b"e"), expires_at: None };
    store.restore(vec![forever.clone()]).await.unwrap();
    drop(store);

    clock.advance(Duration::from_secs(60));
    let (store, notice) = FileStore::open(&path, clock.clock()).unwrap();
    assert_eq!(notice, None);
    assert_eq!(store.load("short").await.unwrap(), None);
    let long = Entry {
        key: "long".into(),
        value: Bytes::from_static(b"l"),
        expires_at: Some(Timestamp(NOON + 3_600_000)),
    };
    assert_eq!(store.entries().await.unwrap(), [forever, long]);
}

#[tokio::test]
async fn expired_entries_are_swept_by_opening_and_by_writing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let clock = ManualClock::at(NOON);
    let rows = |store: &FileStore| {
        let opened = store.database.lock().unwrap();
        let reading = opened.as_ref().unwrap().database.begin_read().unwrap();
        reading.open_table(TABLE).unwrap().iter().unwrap().count()
    };
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    store.save("a", Bytes::new(), Duration::from_secs(1)).await.unwrap();
    store.save("b", Bytes::new(), Duration::from_secs(9)).await.unwrap();
    assert_eq!(rows(&store), 2);
    clock.advance(Duration::from_secs(1));
    store.save("c", Bytes::new(), Duration::from_secs(9)).await.unwrap();
    assert_eq!(rows(&store), 2, "a is swept");
    drop(store);
    clock.advance(Duration::from_secs(9));
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    assert_eq!(rows(&store), 0);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_reported() {
    let fine = {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kv.redb");
        let (store, _) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
        for n in 0..50 {
            let value = Bytes::from(vec![n; 500]);
            store.save(&format!("key {n}"), value, Duration::from_secs(60)).await.unwrap();
        }
        drop(store);
        fs::read(&path).unwrap()
    };
    let mut old_version = fine.clone();
    old_version[64] = 1;
    let half_zero = |from: usize| {
        let mut bytes = fine.clone();
        let to = (from + fine.len() / 2).min(fine.len());
        bytes[from..to].fill(0);
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", b"not a database".repeat(500)),
        ("one byte", b"x".to_vec()),
        ("truncated in the header", fine[..100].to_vec()),
        ("truncated to one page", fine[..4096].to_vec()),
        ("header without its fields", [&fine[..9], &[0xFF; 8000]].concat()),
        ("zeros from the second page on", half_zero(4096)),
        ("two versions in one header", old_version),
    ];
    for (what, bytes) in cases {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kv.redb");
        fs::write(&path, &bytes).unwrap();
        let (store, notice) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
        let aside = folder.path().join(format!("kv.redb.damaged-{NOON}"));
        let notice = notice.unwrap_or_else(|| panic!("{what}: no notice")).to_string();
        assert!(
            notice.contains("is damaged") && notice.contains(aside.to_str().unwrap()),
            "{what}"
        );
        assert!(aside.exists(), "{what}");
        assert_eq!(store.entries().await.unwrap(), [], "{what}");
        store.save("a", Bytes::from_static(b"1"), Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.load("a").await.unwrap(), Some(Bytes::from_static(b"1")), "{what}");
    }
}

#[tokio::test]
async fn damage_at_any_byte_neither_panics_nor_prevents_a_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let (store, _) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
    store.save("token", Bytes::from_static(b"right"), Duration::from_secs(60)).await.unwrap();
    drop(store);
    let fine = fs::read(&path).unwrap();
    let (mut aside, mut survived) = (0, 0);
    // All of the header, and samples of the pages behind it.
    let offsets = (0..400).chain((400..fine.len()).step_by(40_009));
    for offset in offsets {
        let mut bytes = fine.clone();
        bytes[offset] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        let (store, notice) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
        match store.load("token").await {
            Ok(None) => assert!(notice.is_some(), "byte {offset}: lost without a notice"),
            Ok(Some(value)) => assert_eq!(value, "right", "byte {offset}"),
            Err(error) => panic!("byte {offset}: {error}"),
        }
        *(if notice.is_some() { &mut aside } else { &mut survived }) += 1;
    }
    assert!(aside > 10 && survived > 10, "{aside} set aside, {survived} survived");
}

#[tokio::test]
async fn of_database_and_safety_copy_the_later_value_is_kept_in_both() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let clock = ManualClock::at(NOON);
    let ttl = Duration::from_secs(3600);
    let save = async |value: &'static str| {
        let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
        store.save(ROTATED_KEY, Bytes::from_static(value.as_bytes()), ttl).await.unwrap();
        clock.advance(Duration::from_secs(1));
        drop(store);
        (fs::read(&path).unwrap(), fs::read(safety_copy::path_of(&path)).unwrap())
    };
    let (earlier, earlier_copy) = save("earlier").await;
    let (later, later_copy) = save("later").await;
    // A version without copies has written last; the last write to the database failed.
    for (database, copy) in [(&later, &earlier_copy), (&earlier, &later_copy)] {
        fs::write(&path, database).unwrap();
        fs::write(safety_copy::path_of(&path), copy).unwrap();
        let (store, notice) = FileStore::open(&path, clock.clock()).unwrap();
        assert_eq!(notice, None);
        assert_eq!(store.load(ROTATED_KEY).await.unwrap().unwrap(), "later");
        assert_eq!(fs::read(safety_copy::path_of(&path)).unwrap(), later_copy);
    }
    clock.advance(ttl);
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    assert_eq!(store.load(ROTATED_KEY).await.unwrap(), None, "both have expired");
}

#[tokio::test]
async fn the_rotated_tokens_of_keys_and_of_named_upstreams_are_copied_as_the_operators_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let clock = ManualClock::at(NOON);
    let ttl = Duration::from_secs(3600);
    let of_ada = format!("{ROTATED_KEY}/key/ada");
    let all = [ROTATED_KEY, of_ada.as_str(), "oauth_refresh_token/second"];
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    for key in all.into_iter().chain(["oauth_refresh_tokens", "oauth_token_cache/key/ada"]) {
        store.save(key, Bytes::from(key.to_owned()), ttl).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    store.save(&of_ada, Bytes::from_static(b"later"), ttl).await.unwrap();
    drop(store);

    let kept = safety_copy::read(&path, clock.clock().now());
    assert_eq!(kept.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), all);
    fs::write(&path, b"nonsense".repeat(4096)).unwrap();
    let (store, notice) = FileStore::open(&path, clock.clock()).unwrap();
    assert!(notice.unwrap().to_string().contains("copies are kept"));
    assert_eq!(store.load(&of_ada).await.unwrap().unwrap(), "later");
    assert_eq!(store.load(ROTATED_KEY).await.unwrap().unwrap(), ROTATED_KEY);
    assert_eq!(store.entries().await.unwrap(), kept);

    // The others expire a second earlier.
    clock.advance(ttl - Duration::from_millis(500));
    drop(store);
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    let left = safety_copy::read(&path, clock.clock().now());
    assert_eq!(left.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), [&*of_ada]);
    store.clear().await.unwrap();
    assert!(!safety_copy::path_of(&path).exists());
}

#[tokio::test]
async fn a_safety_copy_of_an_earlier_version_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let clock = ManualClock::at(NOON);
    let earlier =
        r#"{"format":1,"key":"oauth_refresh_token","value":"bWluZQ==","expires_at":null}"#;
    fs::write(safety_copy::path_of(&path), earlier).unwrap();
    let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
    assert_eq!(store.load(ROTATED_KEY).await.unwrap().unwrap(), "mine");
    let text = fs::read_to_string(safety_copy::path_of(&path)).unwrap();
    assert_eq!(text, earlier, "it says the same");
}

#[tokio::test]
async fn an_interrupted_creation_is_restarted_without_a_notice() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    for bytes in [vec![], vec![0; 4096], vec![0; 1 << 20]] {
        fs::write(&path, bytes).unwrap();
        let (store, notice) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
        assert_eq!(notice, None);
        assert_eq!(store.entries().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_process_killed_while_it_writes_loses_at_most_the_last_write() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let mut before = 0;
    for round in 1..=15_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::file::tests::writes_until_killed", "--ignored"])
            .arg("--nocapture")
            .env(PATH_OF_WRITER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after some acknowledged writes, at a different point of the next write each time.
        let number = |line: &str| line.strip_prefix("saved ").and_then(|n| n.parse::<u64>().ok());
        let mut acknowledged = 0;
        for line in output.by_ref().map_while(Result::ok).filter_map(|line| number(&line)) {
            acknowledged = line;
            if acknowledged >= before + round {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let more = output.map_while(Result::ok).filter_map(|line| number(&line)).last();
        let acknowledged = more.unwrap_or(acknowledged);
        assert!(acknowledged >= before + round, "the writer wrote");

        let (store, notice) = FileStore::open(&path, Clock::system()).unwrap();
        assert_eq!(notice, None, "round {round}");
        let value = store.load("counter").await.unwrap().unwrap();
        let counter: u64 = std::str::from_utf8(&value).unwrap().trim().parse().unwrap();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&counter),
            "round {round}: {counter} is there, {acknowledged} was acknowledged"
        );
        before = counter;
    }
}

#[tokio::test]
#[ignore = "the process that the previous test kills"]
async fn writes_until_killed() {
    let Some(path) = std::env::var_os(PATH_OF_WRITER) else {
        return;
    };
    let (store, _) = FileStore::open(Path::new(&path), Clock::system()).unwrap();
    let value = store.load("counter").await.unwrap().unwrap_or_default();
    let mut counter: u64 = std::str::from_utf8(&value).unwrap().trim().parse().unwrap_or(0);
    loop {
        counter += 1;
        // Long enough for several pages.
        let value = Bytes::from(format!("{counter:>20000}"));
        store.save("counter", value, Duration::from_secs(3600)).await.unwrap();
        // Written to the pipe directly, since the test harness captures `println!`.
        writeln!(io::stdout().lock(), "saved {counter}").unwrap();
    }
}

#[tokio::test]
async fn a_second_owner_gets_an_error_and_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("kv.redb");
    let (first, _) = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap();
    let refused = FileStore::open(&path, ManualClock::at(NOON).clock()).unwrap_err().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
    assert!(refused.contains(path.to_str().unwrap()), "{refused}");

    let url = settings(&format!("file:{}", path.display()));
    let (second, notice) = Store::open(&url).await;
    assert!(matches!(second.backend, Backend::Memory(_)) && !second.connected());
    assert!(notice.unwrap().to_string().contains("in memory only"));
    Store::open_only(&url).await.unwrap_err();

    drop(first);
    let (third, notice) = Store::open(&url).await;
    assert!(third.connected() && notice.is_none());
    assert_eq!(third.describe(), format!("file {}", path.display()));
}

#[tokio::test]
async fn an_unusable_path_falls_back_to_memory() {
    let folder = TempDir::new().unwrap();
    let occupied = folder.path().join("file");
    fs::write(&occupied, "").unwrap();
    for path in [folder.path().to_path_buf(), occupied.join("kv.redb"), "/proc/nowhere/kv".into()] {
        let (store, notice) = Store::open(&settings(&format!("file:{}", path.display()))).await;
        assert!(matches!(store.backend, Backend::Memory(_)), "{path:?}");
        assert!(notice.unwrap().to_string().contains("cannot be used"), "{path:?}");
    }
}

#[tokio::test]
async fn after_a_panic_the_database_is_reopened() {
    let folder = TempDir::new().unwrap();
    let (store, _) =
        FileStore::open(&folder.path().join("kv.redb"), ManualClock::at(NOON).clock()).unwrap();
    store.save("a", Bytes::from_static(b"1"), Duration::from_secs(60)).await.unwrap();
    let failed: Result<(), StoreError> = store.run(|_| panic!("like redb")).await;
    assert!(failed.unwrap_err().to_string().contains("internal check"));
    assert!(!store.connected());
    assert_eq!(store.load("a").await.unwrap(), Some(Bytes::from_static(b"1")));
    assert!(store.connected());
}

#[cfg(unix)]
#[test]
fn file_and_folder_are_private_to_the_owner() {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/code-assist-proxy/kv.redb");
    let parent = path.parent().unwrap();
    let open = |path: &Path| drop(FileStore::open(path, ManualClock::at(NOON).clock()).unwrap());
    open(&path);
    assert_eq!((mode(&path), mode(parent)), (0o600, 0o700));

    set(&path, 0o644).unwrap();
    set(parent, 0o755).unwrap();
    open(&path);
    assert_eq!((mode(&path), mode(parent)), (0o600, 0o700), "tightened");

    // A folder that holds other files stays as it is.
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("thesis.txt"), "").unwrap();
    set(&home, 0o755).unwrap();
    open(&home.join("kv.redb"));
    assert_eq!((mode(&home), mode(&home.join("kv.redb"))), (0o755, 0o600));
}

const PATH_OF_WRITER: &str = "STORE_TEST_WRITER_PATH";
const NOON: u64 = 1_700_000_000_000;
